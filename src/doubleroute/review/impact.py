"""What a change of the data will do to a task: quick models of both versions on the same held-out rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from doubleroute import linear
from doubleroute.config import LOWER_IS_BETTER
from doubleroute.review.estimates import Estimate, described, estimate, finite, holm_alphas, mean_of, pooled
from doubleroute.review.findings import counted
from doubleroute.review.study import Study

#: With fewer held-out rows nothing is said; with fewer of a label nothing about it.
LEAST_ROWS = 30
_LEAST_OF_LABEL = 5
_LABELS = 20
_RESAMPLES = 200
_MOST = 8
_ORDER = {"worse": 0, "cannot tell": 1, "better": 2}
Progress = Callable[[str, dict[str, Any]], None]


class Scores(Protocol):
    """What ``kinds.Scorer`` offers."""

    def score(self, rows: np.ndarray | None = None) -> dict[str, float]:
        """All metrics over these rows, with repetitions."""
        ...


class Coding(Protocol):
    """What ``kinds.kind`` gives: a review does not need torch and is handed it."""

    def decode(self, logits: Sequence[np.ndarray], labels: Sequence[str]) -> list[dict[str, Any]]:
        """Logits of rows -> answers."""
        ...

    def scorer(
        self, answers: Sequence[dict[str, Any]], truths: Sequence[Any], labels: Sequence[str]
    ) -> Scores:
        """Compare answers with labels."""
        ...


@dataclass(frozen=True)
class Trained:
    """The coefficients learned from base and from head, and ``drawn``: those of either learned from the rows
    drawn anew, with the weights [seeds, u] of the contents' draws."""

    base: np.ndarray
    head: np.ndarray
    drawn: list[tuple[np.ndarray, np.ndarray]]
    weights: np.ndarray


def draws(unit: np.ndarray, seed: int) -> np.ndarray:
    """How often each content is drawn in a Poisson bootstrap (Hanley & MacGibbon 2006): float64 [u], the
    same for the same unit uint64 [u] and seed in whatever version it stands."""
    # The finaliser of SplitMix64 (Steele et al. 2014) makes independent numbers of unit and seed.
    mixed = unit + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    uniform = ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53
    chances = np.exp(-1) / np.cumprod([1, *range(1, _MOST)])
    return np.searchsorted(np.cumsum(chances), uniform).astype(np.float64)


def train(study: Study, seeds: int, progress: Progress) -> Trained:
    """Learn from both versions, and ``seeds`` times from both with their rows drawn anew, a row that stands
    in both as often in either; rows that were relabelled or edited are kept as they are."""
    total = 2 + 2 * seeds

    def told(done: int) -> None:
        progress("impact", {"step": done, "total": total, "unit": "models"})

    weights = np.stack([np.where(study.settled, 1.0, draws(study.unit, seed)) for seed in range(seeds)])
    [base] = linear.side_by_side([partial(study.fit, study.base)])

    def pair(times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        one = base if (times == 1).all() else study.fit(study.base * times, base)
        return one, study.fit(study.head * times, one)

    found = []
    for each in linear.side_by_side([partial(pair, times) for times in (np.ones_like(study.base), *weights)]):
        found.append(each)
        told(2 * len(found))
    base, head = found[0]
    return Trained(base, head, found[1:], weights)


def impact(study: Study, trained: Trained | None, coding: Coding, metric: str) -> dict[str, Any]:
    """How much better head is than base on the held-out rows: the entry of ``impact`` in review.json.

    ``trained`` as ``train`` gives it, may be None where ``cannot_tell`` or ``study.same`` holds. ``changed``:
    changed training rows, and how many of them were looked at. Intervals are 95%, of the training rows drawn
    anew and of the held-out rows. Verdict: that of the metric, or where it cannot tell that of the loss,
    which a few rows move sooner.
    """
    reason = cannot_tell(study)
    about = {
        "metric": metric,
        "higher_is_better": metric not in LOWER_IS_BETTER,
        "rows": len(study.held_rows),
        "left_out": study.left_out,
        "learned": {"base": int(study.base.sum()), "head": int(study.head.sum())},
        "changed": {"rows": study.changed, "looked_at": study.looked_at},
    }
    part = _part(study)
    if study.same and part:
        return about | {"verdict": "cannot tell", "why": f"{part}, which teach the same in both versions"}
    if study.same:
        return about | {"verdict": "no change", "why": "both versions teach exactly the same rows"}
    if reason or trained is None:
        why = reason or "nothing was trained"
        return about | {"verdict": "cannot tell", "why": f"{why}; {part}" if part else why}
    scores = _Scores(study, coding, metric)
    pairs = [(trained.base, trained.head), *trained.drawn]
    difference = scores.difference(pairs)
    losses = Losses.of(study, trained)
    loss = estimate(*losses.gain(np.arange(len(losses.owner))))
    found = about | {
        "seeds": len(trained.drawn),
        "base": scores.alone([pair[0] for pair in pairs]),
        "head": scores.alone([pair[1] for pair in pairs]),
        "difference": described(difference),
        "loss": {
            "base": float(losses.base.mean()),
            "head": float(losses.head.mean()),
            "difference": described(loss),
        },
        "labels": by_label(study, losses),
        "method": _method(study, losses, len(trained.drawn)),
    }
    return found | _verdict(found)


def with_other_answers(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The impact of a change of a task's rows where the answers that it retrieves changed too: rows that
    teach the same do not make it no change."""
    verdict = "cannot tell" if entry["verdict"] == "no change" else entry["verdict"]
    why = f"{entry['why']}; the answers that are retrieved changed too, which no quick model reads"
    return {**entry, "verdict": verdict, "why": why}


def cannot_tell(study: Study) -> str:
    """Why the study says nothing about the impact; empty where it does."""
    if len(study.held_rows) < LEAST_ROWS:
        return f"{len(study.held_rows)} test rows are in both versions and untouched; {LEAST_ROWS} are needed"
    for name, counts in (("base", study.base), ("head", study.head)):
        if not counts.any():
            return f"{name} has no training rows with a label"
    return ""


@dataclass(frozen=True)
class Losses:
    """The losses of n examples: those of the held-out rows, and those of untouched training rows that some
    draw left out, each by the models that did not learn from it.

    ``base`` and ``head`` [n]; ``owner`` [n], the row of an example; ``targets`` [n, ...]; ``drawn`` [seeds,
    h], the gain of each draw's models on the h held-out examples, which come first.
    """

    base: np.ndarray
    head: np.ndarray
    owner: np.ndarray
    targets: np.ndarray
    drawn: np.ndarray

    @classmethod
    def of(cls, study: Study, trained: Trained) -> "Losses":
        """Ask all models."""
        base, head = study.losses(trained.base), study.losses(trained.head)
        drawn = [study.losses(one) - study.losses(other) for one, other in trained.drawn]
        rest, examples = _left_out(study, trained)
        given = study.learned
        return cls(
            np.concatenate([base, rest[0]]),
            np.concatenate([head, rest[1]]),
            np.concatenate([study.held.owner, len(study.truths) + given.owner[examples]]),
            np.concatenate([study.held.targets, given.targets[examples]]),
            np.stack(drawn),
        )

    def gain(self, examples: np.ndarray) -> tuple[float, np.ndarray, float, int]:
        """The mean gain of these examples [k], of which one at least is held out, that of each draw [seeds],
        the variance of the mean and the number of rows: what ``estimate`` takes."""
        value, within, rows = mean_of((self.base - self.head)[examples], self.owner[examples])
        held = examples[examples < self.drawn.shape[1]]
        return value, self.drawn[:, held].mean(axis=1), within, rows


def _left_out(study: Study, trained: Trained) -> tuple[np.ndarray, np.ndarray]:
    """Losses [2, k] of training examples under base's and head's models, over the draws that left them out,
    and the examples [k]."""
    given = study.learned
    sums, times = np.zeros((2, len(given.owner))), np.zeros(len(given.owner))
    for weights, models in zip(trained.weights, trained.drawn, strict=True):
        rows = np.flatnonzero((study.untouched & (weights == 0))[given.owner])
        times[rows] += 1
        for side, model in enumerate(models):
            sums[side, rows] += linear.losses(study.kind, given.features[rows] @ model, given.targets[rows])
    examples = np.flatnonzero(times)
    return sums[:, examples] / times[examples], examples


def by_label(study: Study, losses: Losses) -> list[dict[str, Any]]:
    """The gain in loss by label, the worst first, at most _LABELS; together they have ALPHA."""
    kept, held = {}, {}
    for label, examples in _members(study, losses.targets).items():
        rows = len(np.unique(losses.owner[examples[examples < losses.drawn.shape[1]]]))
        if rows >= _LEAST_OF_LABEL:
            kept[label], held[label] = losses.gain(examples)[:3], rows
    found = pooled(list(kept.values()))
    lines = [
        {"label": label, "rows": held[label], **described(each, alpha)}
        for label, each, alpha in zip(kept, found, holm_alphas(found), strict=True)
    ]
    # What is certain is shown first, then what moved most.
    lines.sort(key=lambda line: (line["verdict"] == "cannot tell", -abs(line["value"])))
    return sorted(lines[:_LABELS], key=lambda line: (_ORDER[line["verdict"]], line["value"]))


def _members(study: Study, wanted: np.ndarray) -> dict[str, np.ndarray]:
    """The examples whose ``targets`` [n, ...] have each label."""
    if study.kind == "multilabel":
        return {label: np.flatnonzero(wanted[:, place]) for place, label in enumerate(study.labels)}
    return {label: np.flatnonzero(wanted == place) for place, label in enumerate(study.labels)}


class _Scores:
    """The metric of models on the held-out rows, whole and on resamples that are the same for all."""

    def __init__(self, study: Study, coding: Coding, metric: str) -> None:
        self.study, self.coding, self.metric = study, coding, metric
        self.sign = -1 if metric in LOWER_IS_BETTER else 1
        generator, rows = np.random.default_rng(0), len(study.truths)
        self.resamples = [generator.integers(0, rows, rows) for _ in range(_RESAMPLES)]
        self.known: dict[int, tuple[float, np.ndarray]] = {}

    def of(self, coefficients: np.ndarray, resample: bool) -> tuple[float, np.ndarray]:
        """The metric, and on each resample."""
        study = self.study
        logits = study.held.features @ coefficients
        if study.kind == "tagging":
            ends = np.cumsum(np.bincount(study.held.owner, minlength=len(study.truths)))
            parts = np.split(logits, ends[:-1])
        else:
            parts = list(logits)
        scorer = self.coding.scorer(self.coding.decode(parts, study.labels), study.truths, study.labels)
        drawn = [scorer.score(rows)[self.metric] for rows in self.resamples] if resample else []
        return scorer.score()[self.metric], np.array(drawn)

    def scored(self, coefficients: np.ndarray, resample: bool) -> tuple[float, np.ndarray]:
        """``of``, computed once for a model."""
        key = id(coefficients)
        if key not in self.known:
            self.known[key] = self.of(coefficients, resample)
        return self.known[key]

    def difference(self, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Estimate:
        """The gain of the second of each pair over the first; the first pair learned from all rows."""
        found = [[self.scored(model, place == 0) for model in pair] for place, pair in enumerate(pairs)]
        values = [self.sign * (head[0] - base[0]) for base, head in found]
        return self._estimate(values, self.sign * (found[0][1][1] - found[0][0][1]))

    def alone(self, models: Sequence[np.ndarray]) -> dict[str, float | None]:
        """{"value", "low", "high"} of the first model, which learned from all rows."""
        found = [self.scored(model, place == 0) for place, model in enumerate(models)]
        each = self._estimate([value for value, _ in found], found[0][1])
        low, high = each.bounds()
        # No score is above 1 and no error below 0.
        low, high = max(low, 0.0) if self.sign < 0 else low, high if self.sign < 0 else min(high, 1.0)
        return {"value": finite(each.value), "low": finite(low), "high": finite(high)}

    def _estimate(self, values: Sequence[float], resampled: np.ndarray) -> Estimate:
        known = resampled[~np.isnan(resampled)]
        drawn = [value for value in values[1:] if not np.isnan(value)]
        if np.isnan(values[0]) or 2 * len(known) < len(resampled) or len(drawn) < 2:
            return Estimate(float("nan"), float("nan"), 1.0)
        return estimate(values[0], drawn, float(np.var(known, ddof=1)), len(self.study.truths))


def _method(study: Study, losses: Losses, seeds: int) -> str:
    model = {
        "classification": "multinomial logistic regression",
        "tagging": "multinomial logistic regression on words",
        "multilabel": "a logistic regression for each label",
        "regression": "ridge regression",
    }[study.kind]
    more = len(np.unique(losses.owner)) - len(study.truths)
    part = _part(study)
    return (
        f"{model} on the pretrained backbone's frozen states, learned from each version; intervals from "
        f"{seeds} paired bootstraps of the training rows and from the held-out rows; the loss also on {more} "
        f"unchanged training rows, each by the bootstraps that left it out{part and '; ' + part}"
    )


def _part(study: Study) -> str:
    """How many changed rows were looked at, where not all were."""
    if study.looked_at == study.changed:
        return ""
    return f"of {counted(study.changed, 'changed training row')} {study.looked_at:,} were looked at"


def _verdict(found: dict[str, Any]) -> dict[str, str]:
    """Verdict and why, from the intervals."""
    metric, loss = found["difference"], found["loss"]["difference"]
    name = "mean squared error" if found["metric"] in _NUMBERS else "log loss"
    if metric["verdict"] != "cannot tell":
        why = f"the 95% interval of the change of {found['metric']} excludes zero"
        return {"verdict": metric["verdict"], "why": why}
    if loss["verdict"] != "cannot tell":
        why = f"the 95% interval of {found['metric']} covers zero, that of the {name} does not"
        return {"verdict": loss["verdict"], "why": why}
    return {"verdict": "cannot tell", "why": f"the 95% intervals of {found['metric']} and {name} cover zero"}


_NUMBERS = ("spearman", "pearson", "mae", "rmse")
