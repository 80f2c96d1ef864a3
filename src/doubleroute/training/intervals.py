"""95% percentile bootstrap intervals of scores (Efron & Tibshirani 1993, chapter 13).

The resampled rows depend on the number of rows and the seed alone: every model meets the same ones,
which is what makes a difference between two models paired.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from doubleroute.kinds import Scorer

#: The percentiles that bound a 95% interval.
BOUNDS = (2.5, 97.5)
#: Slices shown by themselves; the rows of smaller ones are taken together as OTHER.
SLICES = 20
OTHER = "other"
MISSING = "(missing)"

Verdict = Literal["better", "worse", "cannot tell"]


class Interval(NamedTuple):
    """A metric on all rows and the bounds of its 95% interval; NaN where undefined."""

    value: float
    low: float
    high: float


class Difference(NamedTuple):
    """How much better one model is than another: positive is better, also for errors such as mae."""

    value: float
    low: float
    high: float
    verdict: Verdict


class SliceScore(NamedTuple):
    """A metric on the rows of one slice."""

    rows: int
    value: float
    low: float
    high: float


def resampled(rows: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """``resamples`` times ``rows`` row indices, drawn with replacement: int64 [rows] each."""
    generator = np.random.default_rng(seed)
    for _ in range(resamples):
        yield generator.integers(0, rows, rows)


def bootstrap(scorer: "Scorer", rows: int, resamples: int, seed: int) -> dict[str, Interval]:
    """Every metric of the scorer on its ``rows`` rows, with its interval.

    Resamples where a metric is undefined (NaN) are left out; its bounds are NaN when those are more
    than half.
    """
    return _intervals(scorer, np.arange(rows), resamples, seed)


def paired(
    scorer_a: "Scorer",
    scorer_b: "Scorer",
    rows: int,
    resamples: int,
    seed: int,
    metric: str,
    higher_is_better: bool,
) -> Difference:
    """How much better a is than b in ``metric``, from scores of both on the same resampled rows.

    The value is a - b, and b - a where lower is better: positive always speaks for a. The verdict is
    "better" or "worse" when zero lies outside the interval, else "cannot tell" (also without one).
    """
    sign = 1 if higher_is_better else -1

    def gain(chosen: np.ndarray) -> float:
        return sign * (scorer_a.score(chosen)[metric] - scorer_b.score(chosen)[metric])

    value = gain(np.arange(rows))
    low, high = _bounds([gain(chosen) for chosen in resampled(rows, resamples, seed)] if rows else [])
    verdict: Verdict = "better" if low > 0 else "worse" if high < 0 else "cannot tell"
    return Difference(value, low, high, verdict)


def slices(
    scorer: "Scorer", values: Sequence[str | None], metric: str, resamples: int, seed: int
) -> dict[str, SliceScore]:
    """``metric`` on the rows of each value of a column, largest slice first.

    ``values`` [rows] are the column's; None is shown as MISSING. Beyond SLICES values the rest are
    one slice, OTHER, which then also takes the rows whose value has that name.
    """
    names = [MISSING if value is None else value for value in values]
    ordered = sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))
    shown = [name for name, _ in ordered[:SLICES] if len(ordered) <= SLICES or name != OTHER]
    members: dict[str, list[int]] = {name: [] for name in shown}
    for row, name in enumerate(names):
        members.setdefault(name if name in shown else OTHER, []).append(row)
    return {
        name: SliceScore(len(rows), *_intervals(scorer, np.array(rows), resamples, seed)[metric])
        for name, rows in members.items()
    }


def _intervals(scorer: "Scorer", rows: np.ndarray, resamples: int, seed: int) -> dict[str, Interval]:
    """Every metric on these row indices, with bounds from resamples of them."""
    values = scorer.score(rows)
    drawn = (
        [scorer.score(rows[places]) for places in resampled(len(rows), resamples, seed)] if len(rows) else []
    )
    return {
        metric: Interval(value, *_bounds([scores[metric] for scores in drawn]))
        for metric, value in values.items()
    }


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    """The 95% interval of the values that are not NaN; NaN when those are under half or none."""
    known = np.array([value for value in values if not math.isnan(value)])
    if not known.size or 2 * known.size < len(values):
        return math.nan, math.nan
    low, high = np.percentile(known, BOUNDS)
    return float(low), float(high)
