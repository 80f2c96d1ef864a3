"""Estimates with two sources of chance: which rows were learned from, and which were asked about."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

#: The chance of a false alarm of one interval, and of all that stand together.
ALPHA = 0.05
_PRIOR = 10
Verdict = Literal["better", "worse", "cannot tell"]


class Estimate(NamedTuple):
    """A value, the variance of its error, and the degrees of freedom that the variance is known with."""

    value: float
    variance: float
    freedom: float

    def bounds(self, alpha: float = ALPHA) -> tuple[float, float]:
        """The interval that misses the truth in a share alpha of all cases (Student's t)."""
        from scipy.stats import t

        reach = float(t.ppf(1 - alpha / 2, self.freedom)) * self.variance**0.5
        return self.value - reach, self.value + reach

    @property
    def p(self) -> float:
        """The two-sided p-value of a value of zero; 1 for a value that is zero."""
        from scipy.stats import t

        if not self.value:
            return 1.0
        return float(2 * t.sf(abs(self.value) / self.variance**0.5, self.freedom)) if self.variance else 0.0


def estimate(value: float, drawn: Sequence[float] | np.ndarray, within: float, rows: int) -> Estimate:
    """``value`` with the variance over ``drawn`` [k >= 2], found by learning from the rows drawn anew, and
    ``within``, found by asking about other rows, with ``rows`` - 1 degrees of freedom.

    Together they have as many degrees of freedom as Satterthwaite (1946) gives the sum.
    """
    learned, trainings = float(np.var(drawn, ddof=1)), len(drawn) - 1
    spread = learned**2 / trainings + within**2 / max(1, rows - 1)
    return Estimate(value, learned + within, (learned + within) ** 2 / spread if spread else float(trainings))


def pooled(found: Sequence[tuple[float, np.ndarray, float]]) -> list[Estimate]:
    """Estimates of several parts of one whole: (value, drawn [k >= 2], within) as for ``estimate``.

    A few trainings say little about how much one part varies over them. So each part's variance over them is
    weighed, with k - 1 degrees of freedom, against that which the parts have on average where ``within`` is
    as large, with _PRIOR (moderated variances, Smyth 2004).
    """
    learned = np.array([np.var(drawn, ddof=1) for _, drawn, _ in found])
    within = np.array([each for _, _, each in found])
    ratio = float(learned.sum() / within.sum()) if within.sum() else 0.0
    estimates = []
    for (value, drawn, inside), own in zip(found, learned, strict=True):
        trainings = len(drawn) - 1
        shared = (_PRIOR * ratio * inside + trainings * float(own)) / (_PRIOR + trainings)
        estimates.append(Estimate(value, shared + inside, _PRIOR + trainings))
    return estimates


def mean_of(values: np.ndarray, owner: np.ndarray) -> tuple[float, float, int]:
    """The mean of values [n >= 1], its variance where values of one owner [n] vary together, and the number
    of owners; of a single one the variance is its value's square."""
    _, owner = np.unique(owner, return_inverse=True)
    mean, owners = float(values.mean()), int(owner.max()) + 1
    if owners == 1:
        return mean, mean**2, 1
    sums = np.bincount(owner, values - mean)
    return mean, float(np.square(sums).sum()) / len(values) ** 2 * owners / (owners - 1), owners


def verdict(low: float, high: float) -> Verdict:
    """What an interval of a gain says."""
    return "better" if low > 0 else "worse" if high < 0 else "cannot tell"


def described(found: Estimate, alpha: float = ALPHA) -> dict[str, Any]:
    """{"value", "low", "high", "verdict"} of a gain; None for what is undefined."""
    low, high = found.bounds(alpha)
    numbers = {"value": finite(found.value), "low": finite(low), "high": finite(high)}
    return {**numbers, "verdict": verdict(low, high)}


def finite(value: float) -> float | None:
    """The number, or None where it is undefined: JSON has no NaN."""
    return float(value) if np.isfinite(value) else None


def holm_alphas(found: Sequence[Estimate], of: int = 0) -> list[float]:
    """The alpha of each interval so that the chance that any of them is a false alarm is ALPHA (Holm 1979):
    those whose interval then excludes zero are the ones that Holm's test rejects. ``of``: how many there were
    before these were chosen by what was seen, where that are more."""
    alphas, still = [0.0] * len(found), max(of, len(found))
    for place in sorted(range(len(found)), key=lambda each: found[each].p):
        alphas[place] = ALPHA / still
        # The first that is not rejected ends the test: the others are judged as it was.
        if found[place].p < ALPHA / still:
            still -= 1
    return alphas
