"""Did the rows that arrived move away from the reference? All tests of one check, and their verdict.

Every test gives a p-value, and Holm's correction over all tests and tasks keeps the chance that a check
of unmoved rows says "moved" at most at ``alpha``. Half of alpha is the embeddings' (weighted Holm): that
test sees most changes of a text, and 200 permutations cannot show a p below 0.005, which an equal share
among ten tests would never accept. Where the reference is dated, or earlier samples are given, an effect
must also be larger than any that a past window showed for certain against the rest: what has always come and
gone is no drift. A test of too few rows says "cannot tell".
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from doubleroute.config import Drift
from doubleroute.corrections import holm
from doubleroute.drift.comparing import EFFECTS, Outcome, compare
from doubleroute.drift.label_shift import label_shift
from doubleroute.drift.sample import Sample
from doubleroute.drift.values import INPUTS, apart, comparisons
from doubleroute.errors import InputError

#: Past windows: at most how many are cut from the reference, and how many make a threshold.
WINDOWS, LEAST_WINDOWS = 12, 4
#: The embeddings' share of alpha; the other tests share the rest equally.
EMBEDDINGS_SHARE = 0.5


def measure(
    reference: Sample, current: Sample, options: Drift, seed: int, past: Sequence[Sample] = ()
) -> dict[str, Any]:
    """Compare a current sample with its reference: the drift document, plain JSON.

    Keys: rows, alpha, seed, tests (scope, what, method, statistic, p, p_adjusted, effect, effect_name,
    rows, verdict, why), label_shift by task (see ``label_shift``; ``why`` also warns where the inputs
    moved), verdict, moved (scopes) and attribution (None: filled by who asks for it). The verdict is
    "moved" when any test is, "cannot tell" when no test of the inputs can, else "not seen". Effects are
    in [0, 1].

    ``past``: earlier samples that were in order. Of the reference's inputs those rows are compared that
    hold the tasks in the proportions of the current rows (see ``values.matched``). Labels and answers of
    the reference should be of rows that the champion did not learn from: on those that it did learn from
    it is more often right and more certain than on any others, which is no drift. A test takes at most
    ``max_rows`` rows of a side, a sample that follows from ``seed``, as all else that is random. Raises
    InputError when embeddings are not of one width.
    """
    widths = {sample.embeddings.shape[1] for sample in (reference, current, *past)}
    if len(widths) > 1:
        raise InputError(
            f"drift: embeddings have {' and '.join(map(str, sorted(widths)))} numbers a row; reference and "
            "current rows must be embedded by one backbone: embed the reference again"
        )
    windows = apart(reference, past_windows(reference.times, len(current), options.min_rows), seed)
    outcomes = [
        compare(each, windows, options, seed) for each in comparisons([reference, current, *past], seed)
    ]
    tests = _judged(outcomes, options.alpha)
    moved = list(dict.fromkeys(test["scope"] for test in tests if test["verdict"] == "moved"))
    told = any(test["scope"] == INPUTS and test["verdict"] != "cannot tell" for test in tests)
    return {
        "rows": {"reference": len(reference), "current": len(current)},
        "alpha": options.alpha,
        "seed": seed,
        "tests": tests,
        "label_shift": _cautious(label_shift(reference, current, options.min_rows, seed), moved),
        "verdict": "moved" if moved else "not seen" if told else "cannot tell",
        "moved": moved,
        "attribution": None,
    }


def _cautious(shifts: dict[str, dict[str, Any]], moved: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The estimated shares, with a warning where the inputs moved: seen to be off by 0.13 with an interval
    of 0.1 on either side, when IMDB took the place of Rotten Tomatoes."""
    caution = "the inputs moved: where the texts of a label are not what they were, these shares are off"
    if INPUTS not in moved:
        return shifts
    return {task: {**shift, "why": shift["why"] or caution} for task, shift in shifts.items()}


def past_windows(times: Sequence[str | None], size: int, least: int) -> list[np.ndarray]:
    """Consecutive windows of the dated rows, ``size`` rows each: row numbers in order of time.

    They are not longer than one of LEAST_WINDOWS equal parts, and none are made that would have fewer
    than ``least`` rows. Of more than WINDOWS windows that many are taken, at even distances. Rows without
    a time are in none.
    """
    dated = sorted((time, row) for row, time in enumerate(times) if time is not None)
    rows = np.array([row for _, row in dated], np.int64)
    size = min(size, len(rows) // LEAST_WINDOWS)
    if size < max(1, least):
        return []
    # Whole windows, counted back from the newest row.
    whole = rows[len(rows) % size :].reshape(-1, size)
    chosen = np.linspace(0, len(whole) - 1, min(len(whole), WINDOWS)).round().astype(int)
    return list(whole[chosen])


def _judged(outcomes: Sequence[Outcome], alpha: float) -> list[dict[str, Any]]:
    """The tests of the document: all p-values corrected together, each with a verdict and why."""
    told = [outcome for outcome in outcomes if outcome.found is not None]
    others = sum(outcome.comparison.method != "mmd" for outcome in told)
    weights = [
        EMBEDDINGS_SHARE if outcome.comparison.method == "mmd" else (1 - EMBEDDINGS_SHARE) / others
        for outcome in told
    ]
    adjusted = iter(holm([outcome.found.p for outcome in told if outcome.found], weights))
    return [_test(outcome, next(adjusted) if outcome.found else None, alpha) for outcome in outcomes]


def _test(outcome: Outcome, adjusted: float | None, alpha: float) -> dict[str, Any]:
    """One test of the document."""
    comparison, found = outcome.comparison, outcome.found
    verdict, why = "cannot tell", outcome.text
    if found is not None and adjusted is not None:
        verdict, reason = _verdict(found.effect, outcome.past, adjusted, alpha)
        why = f"{outcome.text}; {reason}"
    return {
        "scope": comparison.scope,
        "what": comparison.what,
        "method": outcome.method,
        "statistic": found.statistic if found else None,
        "p": found.p if found else None,
        "p_adjusted": adjusted,
        "effect": found.effect if found else None,
        "effect_name": EFFECTS[comparison.method],
        "rows": list(outcome.rows),
        "verdict": verdict,
        "why": why,
    }


def _verdict(effect: float, past: Sequence[float], adjusted: float, alpha: float) -> tuple[str, str]:
    """The verdict of a test that can tell, and its reason."""
    chance = f"p {adjusted:.2g} over all tests"
    if adjusted > alpha:
        return "not seen", f"{chance} is above alpha {alpha:g}"
    if len(past) < LEAST_WINDOWS:
        return "moved", f"{chance} is at most alpha {alpha:g}"
    windows = f"{len(past)} past windows showed {_effects(max(past))}"
    if effect > max(past):
        return "moved", f"{chance} is at most alpha {alpha:g}, and {windows}, now {effect:.3f}"
    return "not seen", f"{chance} is at most alpha {alpha:g}, but {windows}, now {effect:.3f}"


def _effects(largest: float) -> str:
    return f"effects of up to {largest:.3f}" if largest else "no effect beyond chance"
