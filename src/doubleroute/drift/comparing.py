"""One test of a check: current against reference, and past windows against the rest of the reference."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from doubleroute.config import Drift
from doubleroute.drift import statistics
from doubleroute.drift.values import Apart, Comparison, Method, Side

#: Rows of a past window that are compared at most.
WINDOW_ROWS = 1500
#: Permutations are never fewer than this over alpha: the smallest p must be well below its threshold.
PERMUTATIONS = 10

EFFECTS: dict[Method, str] = {
    "mmd": "correlation of side and embedding",
    "ks": "largest difference of cumulative shares (D)",
    "categories": "Cramer's V, sides weighing the same",
    "flags": "Cramer's V of the label that chance explains least, sides weighing the same",
}


@dataclass(frozen=True)
class Outcome:
    """One test before the correction: rows of both sides that were used, ``past`` effects of the windows
    (0 where one may be chance), ``text``, the numbers in words. Nothing is ``found`` with too few rows."""

    comparison: Comparison
    rows: tuple[int, int]
    method: str
    found: statistics.Found | None
    past: list[float]
    text: str


def compare(comparison: Comparison, windows: Sequence[Apart], options: Drift, seed: int) -> Outcome:
    """Test the second side against the first, with the effects that ``windows`` of the first and the sides
    behind the second show. Nothing below ``min_rows`` rows is compared, and a seeded ``max_rows`` of more."""
    outcome = _compare(comparison, windows, options, seed)
    if not any(comparison.damaged):
        return outcome
    text = "{} reference and {} current rows without finite numbers left out".format(*comparison.damaged)
    return replace(outcome, text=f"{outcome.text}; {text}")


def _compare(comparison: Comparison, windows: Sequence[Apart], options: Drift, seed: int) -> Outcome:
    before, now = (some_of(side, options.max_rows, seed) for side in comparison.sides[:2])
    sizes = len(before.rows), len(now.rows)
    if min(sizes) < options.min_rows:
        side = f"{sizes[1]} current" if sizes[1] < options.min_rows else f"{sizes[0]} reference"
        text = f"{side} rows have a value; fewer than min_rows {options.min_rows} say nothing"
        return Outcome(comparison, sizes, "none", None, [], text)
    apart = list(_past(comparison, before, windows, options.min_rows, seed))
    if comparison.method == "mmd":
        return _mmd(comparison, before.values, now.values, apart, options, seed)
    found, text = _found(comparison, before.values, now.values)
    windows_found = [_found(comparison, before.values[rest], window)[0] for rest, window in apart]
    past = [_certain(each, len(windows_found), options.alpha) for each in windows_found]
    return Outcome(comparison, sizes, _method(comparison), found, past, text)


def _certain(found: statistics.Found, windows: int, alpha: float) -> float:
    """The effect of one of so many past windows, 0 where it may be chance (Bonferroni over the windows): the
    largest of many columns' effects in a window of few rows is large where nothing moves."""
    return found.effect if found.p * windows <= alpha else 0.0


def some_of(side: Side, most: int, seed: int) -> Side:
    """At most ``most`` rows of a side, in their order; which ones follows from the seed."""
    if len(side.rows) <= most:
        return side
    generator = np.random.default_rng([seed, len(side.rows)])
    chosen = np.sort(generator.choice(len(side.rows), most, replace=False))
    return Side(side.rows[chosen], side.values[chosen])


_Past = tuple[np.ndarray, np.ndarray]


def _past(
    comparison: Comparison, before: Side, windows: Sequence[Apart], least: int, seed: int
) -> Iterator[_Past]:
    """For each past window what it is compared with of the reference, bool [n], and the window's values."""
    whole = comparison.sides[0]
    for window, others in windows:
        inside = Side(*(part[np.isin(whole.rows, window)] for part in whole))
        rest = np.isin(before.rows, others)
        if min(rest.sum(), len(inside.rows)) >= least:
            yield rest, some_of(inside, WINDOW_ROWS, seed).values
    for side in comparison.sides[2:]:
        if len(side.rows) >= least:
            yield np.ones(len(before.rows), bool), some_of(side, WINDOW_ROWS, seed).values


def _mmd(
    comparison: Comparison,
    before: np.ndarray,
    now: np.ndarray,
    apart: Sequence[_Past],
    options: Drift,
    seed: int,
) -> Outcome:
    """The embeddings' test. One kernel serves the windows too. Their effect is that of one unbiased number,
    and no largest one of many: chance alone makes it small."""
    permutations = max(options.permutations, int(np.ceil(PERMUTATIONS / options.alpha)))
    kernel = statistics.kernel(np.concatenate([before, now]), options.features, seed)
    ours, theirs = kernel.features(before), kernel.features(now)
    found, usual = statistics.mmd_of_features(ours, theirs, permutations, seed)
    past = [
        statistics.spread(
            ours[rest].mean(0, dtype=np.float64),
            int(rest.sum()),
            kernel.features(window).mean(0, dtype=np.float64),
            len(window),
        )
        for rest, window in apart
    ]
    text = (
        f"MMD^2 {found.statistic:.2g}, and at most {usual:.2g} in 95 of 100 permutations; correlation of "
        f"side and embedding {found.effect:.3f}"
    )
    method = f"MMD, {ours.shape[1]} random features, {permutations} permutations"
    return Outcome(comparison, (len(before), len(now)), method, found, past, text)


def _method(comparison: Comparison) -> str:
    columns = len(comparison.names)
    if comparison.method == "categories":
        return "chi-square"
    test = "KS" if comparison.method == "ks" else "chi-square"
    return f"{test}, Bonferroni over {columns}" if columns > 1 else test


def _found(comparison: Comparison, before: np.ndarray, now: np.ndarray) -> tuple[statistics.Found, str]:
    """The test of all but embeddings, and its numbers in words."""
    if not comparison.names:  # no texts, no labels
        return statistics.Found(0.0, 1.0, 0.0), "there is nothing to count"
    return _TESTS[comparison.method](before, now, comparison.names)


def _ks(before: np.ndarray, now: np.ndarray, names: Sequence[str]) -> tuple[statistics.Found, str]:
    distances, p = statistics.ks(before, now)
    at = int(distances.argmax())
    largest = float(distances[at])
    found = statistics.Found(largest, min(1.0, float(p.min()) * len(p)), largest)
    means = (f"{side[:, at].mean():.4g}" for side in (before, now))
    return found, "D {:.3f} of {}, whose mean went from {} to {}".format(largest, names[at], *means)


def _categories(before: np.ndarray, now: np.ndarray, names: Sequence[str]) -> tuple[statistics.Found, str]:
    counts = [np.bincount(side, minlength=len(names)) for side in (before, now)]
    found = statistics.chi_square(*counts)
    return found, f"Cramer's V {found.effect:.3f}; {_largest_change(counts, names)}"


def _flags(before: np.ndarray, now: np.ndarray, names: Sequence[str]) -> tuple[statistics.Found, str]:
    counts = [side.sum(0) for side in (before, now)]
    each = [
        statistics.chi_square(*(np.array([len(side) - has[at], has[at]]) for side, has in sides))
        for at in range(len(names))
        for sides in [list(zip((before, now), counts, strict=True))]
    ]
    strongest = min(each, key=lambda found: (found.p, -found.effect))  # the effect of a rare label is chance
    p = min(1.0, strongest.p * len(each))
    shares = [has / len(side) for has, side in zip(counts, (before, now), strict=True)]
    text = f"Cramer's V {strongest.effect:.3f}; {_largest_change(shares, names, 1.0)}"
    return statistics.Found(strongest.statistic, p, strongest.effect), text


def _largest_change(counts: Sequence[np.ndarray], names: Sequence[str], total: float | None = None) -> str:
    """Which share changed most; of counts [k] a side, or of shares where the ``total`` is 1."""
    before, now = (side / (total or side.sum()) for side in counts)
    at = int(np.abs(now - before).argmax())
    return f"'{names[at]}' went from {before[at]:.1%} to {now[at]:.1%}"


_Test = Callable[[np.ndarray, np.ndarray, Sequence[str]], tuple[statistics.Found, str]]
_TESTS: dict[Method, _Test] = {"ks": _ks, "categories": _categories, "flags": _flags}
