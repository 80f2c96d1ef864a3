"""How much better one model is than another over test rows and seeds, and what may be said of it.

The value is the mean over seeds of the difference of the metric. Two chances enter its interval: which rows
were asked about, by a bootstrap of the rows that all models and seeds share (paired), and which seeds were
drawn. Three seeds cannot be resampled honestly, so their part is that of a randomised block design with the
seeds as blocks: the spread that all models of a task have around the means of models and seeds, with
(models - 1)(seeds - 1) degrees of freedom, or the pair's own spread where that is larger. The half-widths of
the two parts add as squares (Howe 1974, JASA 69:789). A bootstrap is too sure where few rows speak: the part
of the rows has two more that speak either way, and on fewer than FEWEST rows nothing is told.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from doubleroute.corrections import holm
from doubleroute.training.intervals import FEWEST, Sample

#: The chance that any verdict of a comparison is a false alarm, and that of one interval.
ALPHA = 0.05
Verdict = Literal["helps", "hurts", "cannot tell"]
#: Model and the one that it is compared with.
Couple = tuple[str, str]


class Effect(NamedTuple):
    """A gain in a metric (positive: better, also for errors) with the variances of its two chances, those of
    the seeds and of the rows, and the degrees of freedom that each is known with; NaN where undefined."""

    value: float
    seeds: float
    freedom: int
    rows: float
    row_freedom: int

    def reach(self, alpha: float) -> float:
        """Half the width of the interval that misses the truth in a share ``alpha`` of all cases at most."""
        from scipy.stats import t

        over_seeds = t.isf(alpha / 2, self.freedom) ** 2 * self.seeds
        return float((over_seeds + t.isf(alpha / 2, self.row_freedom) ** 2 * self.rows) ** 0.5)

    @property
    def p(self) -> float:
        """The two-sided p-value of no difference: the alpha whose interval just reaches zero. 1 where the
        value is zero or undefined; bounded below by 1e-12."""
        from scipy.optimize import brentq

        least = 1e-12
        if not np.isfinite([self.value, self.seeds, self.rows]).all() or self.value == 0:
            return 1.0
        if self.reach(least) <= abs(self.value):
            return least
        exponent = brentq(lambda x: self.reach(10**x) - abs(self.value), np.log10(least), 0)
        return float(10**exponent)


def effects(
    samples: Mapping[str, Sequence[Sample]], couples: Sequence[Couple], metric: str, higher_is_better: bool
) -> list[Effect]:
    """The effect of each couple (model, other). ``samples``: for every model of a task one for each seed
    [seeds >= 2], in the same order, of the same rows and resamples."""
    sign = 1 if higher_is_better else -1
    whole = {
        name: sign * np.array([each.values[metric] for each in seeds]) for name, seeds in samples.items()
    }
    drawn = {
        name: sign * np.mean([[values[metric] for values in each.drawn] for each in seeds], axis=0)
        for name, seeds in samples.items()
    }
    noise, freedom = _noise(np.array(list(whole.values())))
    rows = next(iter(samples.values()))[0].rows
    # Of a score in [0, 1]: the two rows that Bonett and Price add (``intervals``).
    least = 2 / (rows + 2) ** 2 if higher_is_better else 0.0
    found = []
    for ours, theirs in couples:
        gains = whole[ours] - whole[theirs]
        spread = max(float(gains.var(ddof=1)), 2 * noise)
        resampled = drawn[ours] - drawn[theirs]
        known = resampled[np.isfinite(resampled)]
        told = rows >= FEWEST and 2 * known.size > len(resampled)
        over_rows = float(known.var(ddof=1)) + least if told else float("nan")
        found.append(Effect(float(gains.mean()), spread / len(gains), freedom, over_rows, max(1, rows - 1)))
    return found


def _noise(scores: np.ndarray) -> tuple[float, int]:
    """The variance of scores [models, seeds] around the means of model and seed, and its degrees of freedom.
    Models with an undefined score are left out; where fewer than two are left a pair has its own spread."""
    scores = scores[np.isfinite(scores).all(axis=1)]
    models, seeds = scores.shape
    if models < 2:
        return 0.0, seeds - 1
    rest = scores - scores.mean(1, keepdims=True) - scores.mean(0, keepdims=True) + scores.mean()
    freedom = (models - 1) * (seeds - 1)
    return float(np.square(rest).sum()) / freedom, freedom


def judged(found: Mapping[str, Sequence[tuple[Couple, Effect]]]) -> dict[str, list[dict[str, Any]]]:
    """By task, for each couple {model, against, value, low, high, p, p_holm, verdict}.

    ``low`` and ``high`` bound the 95% interval of this couple alone. ``p_holm`` is p corrected for all
    couples of all tasks (Holm 1979), and the verdict goes by it: so an interval may lie clear of zero where
    it cannot be told. Numbers that are undefined are None.
    """
    ordered = [(task, couple, effect) for task, each in found.items() for couple, effect in each]
    chances = [effect.p for _, _, effect in ordered]
    made: dict[str, list[dict[str, Any]]] = {task: [] for task in found}
    for (task, (ours, theirs), effect), p, corrected in zip(ordered, chances, holm(chances), strict=True):
        reach = effect.reach(ALPHA)
        numbers = {"value": effect.value, "low": effect.value - reach, "high": effect.value + reach}
        made[task].append(
            {
                "model": ours,
                "against": theirs,
                **{name: float(each) if np.isfinite(each) else None for name, each in numbers.items()},
                "p": p,
                "p_holm": corrected,
                "verdict": _verdict(effect.value, corrected),
            }
        )
    return made


def _verdict(value: float, p: float) -> Verdict:
    if p > ALPHA:
        return "cannot tell"
    return "helps" if value > 0 else "hurts"


def routing(against_shared: Verdict, against_dense: Verdict) -> tuple[Verdict, str]:
    """Whether routing helps a task, and why: it does where the router is certainly better than no router and
    than a dense layer of its size; against the first alone its parameters may be what helps."""
    if against_shared == "hurts":
        return "hurts", "certainly worse than shared"
    if against_shared == "cannot tell":
        return "cannot tell", "not certainly better than shared"
    if against_dense == "helps":
        return "helps", "certainly better than shared and than dense"
    return "cannot tell", "certainly better than shared, but not than dense: its parameters alone may do it"


def negative_transfer(comparisons: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, str]]:
    """[{task, model}]: where a model of all tasks is certainly worse than one of this task alone."""
    return [
        {"task": task, "model": each["model"]}
        for task, couples in comparisons.items()
        for each in couples
        if each["against"] == "single" and each["verdict"] == "hurts"
    ]
