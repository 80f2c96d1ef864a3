"""95% intervals of scores and of the differences between two models' scores on the same rows.

Of a share of right rows (accuracy, exact match): the score interval (Wilson 1927, JASA 22:209), and of a
difference the adjusted Wald interval for paired shares (Bonett & Price 2012, J. Educ. Behav. Stat. 37:479),
which adds a row that only the one and a row that only the other has right. Six rights of six leave room for
a wrong one.

Of any other metric: percentile bootstrap (Efron & Tibshirani 1993, chapter 13). The resampled rows depend on
the number of rows and the seed alone: every model meets the same ones, which is what makes a difference
between two models paired. A bootstrap is too sure where few rows speak, so it says nothing on fewer than
FEWEST rows.

A bootstrap of a difference in such a score is no narrower than Bonett and Price's interval where no row
tells the two apart: of ten rows none of which does, an F1 may still be 0.23 off.

A difference of either sort that rests on fewer than FEWEST rows reaches to zero: a handful of rows won does
not make a model certainly better. How many rows a bootstrap's difference rests on is estimated, from how many
resamples hold none of them and show no difference at all.
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
#: The normal quantile of the same.
Z = 1.959963984540054
#: Rows that tell two models apart at the least: a two-sided sign test of five rows ends at 2 / 2^5 = 0.0625.
FEWEST = 6
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
    """The metrics of one model on some rows, and on every resample of them; of the metrics that are a share
    of right rows, whether each row is right (float64 [rows], 0 or 1)."""

    rows: int
    values: dict[str, float]
    drawn: list[dict[str, float]]
    shares: dict[str, np.ndarray]


def resampled(rows: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """``resamples`` times ``rows`` row indices, drawn with replacement: int64 [rows] each."""
    generator = np.random.default_rng(seed)
    for _ in range(resamples):
        yield generator.integers(0, rows, rows)


def sample(
    scorer: "Scorer", rows: np.ndarray, resamples: int, seed: int, metric: str | None = None
) -> Sample:
    """Every metric of the scorer on these row indices (int64 [n]) and on resamples of them; none are drawn
    where there are no rows, nor where the one ``metric`` that is asked about is a share, whose interval needs
    none."""
    shares = {name: right[rows] for name, right in scorer.shares().items()}
    drawn = resampled(len(rows), resamples, seed) if len(rows) and metric not in shares else ()
    return Sample(len(rows), scorer.score(rows), [scorer.score(rows[places]) for places in drawn], shares)


def interval(found: Sample, metric: str) -> Interval:
    """A metric with its interval.

    Without rows the bounds are NaN. So are those of a bootstrap on fewer than FEWEST rows, or when the metric
    is undefined (NaN) in more than half of the resamples; fewer such resamples are left out.
    """
    value = found.values[metric]
    if metric in found.shares:
        return Interval(value, *_wilson(found.shares[metric]))
    return Interval(value, *_bounds([values[metric] for values in found.drawn], found.rows))


def difference(a: Sample, b: Sample, metric: str, higher_is_better: bool) -> Difference:
    """How much better a is than b in ``metric``; both are samples of the same rows with the same seed.

    The value is a - b, and b - a where lower is better: positive always speaks for a. The verdict is
    "better" or "worse" when zero lies outside the interval, else "cannot tell" (also without one).
    """
    sign = 1 if higher_is_better else -1
    value = sign * (a.values[metric] - b.values[metric])
    if metric in a.shares and metric in b.shares:
        gains = sign * (a.shares[metric] - b.shares[metric])
        low, high = _paired_shares(gains)
        few = int(np.count_nonzero(gains)) < FEWEST
    else:
        pairs = zip(a.drawn, b.drawn, strict=True)
        drawn = [sign * (one[metric] - other[metric]) for one, other in pairs]
        low, high = _bounds(drawn, a.rows)
        if higher_is_better and not math.isnan(low):  # a score in [0, 1]
            least = Z * math.sqrt(2) / (a.rows + 2)
            low, high = min(low, value - least), max(high, value + least)
        few = drawn.count(0) > _untold(a.rows) * len(drawn)
    if few and not math.isnan(low):
        low, high = min(low, 0.0), max(high, 0.0)
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


def _untold(rows: int) -> float:
    """The share of resamples without any of k of the rows, (1 - k / rows)^rows, half way on a logarithmic
    scale between a k of one less than FEWEST and FEWEST; 0 where there are not more rows."""
    shares = [max(0.0, 1 - told / rows) ** rows for told in (FEWEST - 1, FEWEST)] if rows else [0.0]
    return math.sqrt(shares[0] * shares[-1])


def _wilson(right: np.ndarray) -> tuple[float, float]:
    """The score interval of the share of right rows, from 0 or 1 for each: [rows]; NaN without rows."""
    rows = len(right)
    if not rows:
        return math.nan, math.nan
    share = float(right.mean())
    middle = (share + Z**2 / (2 * rows)) / (1 + Z**2 / rows)
    reach = Z * math.sqrt(share * (1 - share) / rows + Z**2 / (4 * rows**2)) / (1 + Z**2 / rows)
    # Where none or all are right the bound is 0 or 1, up to rounding.
    return max(0.0, min(share, middle - reach)), min(1.0, max(share, middle + reach))


def _paired_shares(gains: np.ndarray) -> tuple[float, float]:
    """The interval of the mean of -1, 0 or 1 for each row, [rows]; NaN without rows. It holds the mean."""
    if not len(gains):
        return math.nan, math.nan
    rows = len(gains) + 2
    middle = float(gains.sum()) / rows
    reach = Z * math.sqrt((float(np.square(gains).sum() + 2) / rows - middle**2) / rows)
    return max(-1.0, middle - reach), min(1.0, middle + reach)


def _bounds(values: Sequence[float], rows: int) -> tuple[float, float]:
    """The 95% interval of the values that are not NaN; NaN when those are under half or none, and with fewer
    than FEWEST rows behind them."""
    known = np.array([value for value in values if not math.isnan(value)])
    if rows < FEWEST or not known.size or 2 * known.size < len(values):
        return math.nan, math.nan
    low, high = np.percentile(known, BOUNDS)
    return float(low), float(high)
