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


class Sample(NamedTuple):
    """The metrics of one model on some rows, and on every resample of them."""

    rows: int
    values: dict[str, float]
    drawn: list[dict[str, float]]


def resampled(rows: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """``resamples`` times ``rows`` row indices, drawn with replacement: int64 [rows] each."""
    generator = np.random.default_rng(seed)
    for _ in range(resamples):
        yield generator.integers(0, rows, rows)


def sample(scorer: "Scorer", rows: np.ndarray, resamples: int, seed: int) -> Sample:
    """Every metric of the scorer on these row indices (int64 [n]) and on resamples of them; none are drawn
    where there are no rows."""
    drawn = resampled(len(rows), resamples, seed) if len(rows) else ()
    return Sample(len(rows), scorer.score(rows), [scorer.score(rows[places]) for places in drawn])


def interval(found: Sample, metric: str) -> Interval:
    """A metric with its interval.

    Resamples where it is undefined (NaN) are left out; its bounds are NaN when those are more than half.
    """
    return Interval(found.values[metric], *_bounds([values[metric] for values in found.drawn]))


def difference(a: Sample, b: Sample, metric: str, higher_is_better: bool) -> Difference:
    """How much better a is than b in ``metric``; both are samples of the same rows with the same seed.

    The value is a - b, and b - a where lower is better: positive always speaks for a. The verdict is
    "better" or "worse" when zero lies outside the interval, else "cannot tell" (also without one).
    """
    sign = 1 if higher_is_better else -1
    value = sign * (a.values[metric] - b.values[metric])
    drawn = zip(a.drawn, b.drawn, strict=True)
    low, high = _bounds([sign * (one[metric] - other[metric]) for one, other in drawn])
    verdict: Verdict = "better" if low > 0 else "worse" if high < 0 else "cannot tell"
    return Difference(value, low, high, verdict)


def members(values: Sequence[str | None]) -> dict[str, np.ndarray]:
    """The row indices of each value of a column, largest slice first.

    ``values`` [rows] are the column's; None is shown as MISSING. Beyond SLICES values the rest are
    one slice, OTHER, which then also takes the rows whose value has that name.
    """
    names = [MISSING if value is None else value for value in values]
    ordered = sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))
    shown = [name for name, _ in ordered[:SLICES] if len(ordered) <= SLICES or name != OTHER]
    found: dict[str, list[int]] = {name: [] for name in shown}
    for row, name in enumerate(names):
        found.setdefault(name if name in shown else OTHER, []).append(row)
    return {name: np.array(rows) for name, rows in found.items()}


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    """The 95% interval of the values that are not NaN; NaN when those are under half or none."""
    known = np.array([value for value in values if not math.isnan(value)])
    if not known.size or 2 * known.size < len(values):
        return math.nan, math.nan
    low, high = np.percentile(known, BOUNDS)
    return float(low), float(high)
