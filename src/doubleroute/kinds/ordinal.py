"""Ordinal classification: one label a row, and the labels have an order (stars from 1 to 5)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from doubleroute.kinds import NOTHING, Kind, Scorer
from doubleroute.kinds.heads import OrdinalHead
from doubleroute.kinds.labels import index_of, indices
from doubleroute.kinds.losses import binary_cross_entropy
from doubleroute.kinds.scores import Matches, confusion, ratio, table, times


class OrdinalKind(Kind):
    """One label of an order: a score against thresholds, with the all-threshold loss (Rennie & Srebro 2005;
    with logistic terms it is CORAL's, Cao, Mirjalili & Raschka 2020). Labels go from the lowest to the
    highest as the project lists them."""

    name: ClassVar[str] = "ordinal"

    def encode(self, values: Sequence[str], labels: Sequence[str]) -> np.ndarray:
        """Labels of n labelled rows -> float32 [n, labels - 1]: whether each threshold is passed. Raises
        InputError for one that is not in ``labels``."""
        ranks = indices(values, index_of(labels))
        return (ranks[:, None] > np.arange(len(labels) - 1)).astype(np.float32)

    def head(self, hidden: int, labels: Sequence[str], options: Mapping[str, Any]) -> OrdinalHead:
        """One logit a threshold: that the label lies above it."""
        return OrdinalHead(hidden, len(labels), options["pooling"], options["dropout"])

    def loss(
        self,
        logits: Tensor,
        targets: Tensor,
        label_smoothing: float,
        kept: Mapping[str, Tensor] = NOTHING,  # noqa: ARG002
        class_weights: Tensor | None = None,  # noqa: ARG002
    ) -> Tensor:
        """Mean binary cross-entropy over rows and thresholds: logits and targets [rows, labels - 1]; NaN
        targets do not count."""
        return binary_cross_entropy(logits, targets, label_smoothing)

    def decode(
        self,
        logits: Sequence[np.ndarray],
        labels: Sequence[str],
        kept: Mapping[str, np.ndarray] = NOTHING,  # noqa: ARG002
    ) -> list[dict[str, Any]]:
        """Logits of n rows, each [labels - 1] -> the median label, which no other beats in expected distance,
        and the probability of each label: differences of those to lie above the thresholds."""
        if not len(logits):
            return []
        above = (np.tanh(np.stack(logits).astype(np.float64) / 2) + 1) / 2
        edges = np.pad(above, ((0, 0), (1, 1)), constant_values=((0, 0), (1, 0)))
        probabilities = -np.diff(edges)
        return [
            {"label": labels[rank], "probabilities": dict(zip(labels, row, strict=True))}
            for rank, row in zip((above > 0.5).sum(1).tolist(), probabilities.tolist(), strict=True)
        ]

    def scorer(
        self, answers: Sequence[dict[str, Any]], truths: Sequence[str], labels: Sequence[str]
    ) -> "OrdinalScorer":
        """Compare n answers with the labels of n labelled rows."""
        return OrdinalScorer(answers, truths, labels)


class OrdinalScorer(Scorer):
    """quadratic_kappa, mae, accuracy. Without rows all are NaN; the kappa also where truths and answers are
    all one label."""

    def __init__(
        self, answers: Sequence[dict[str, Any]], truths: Sequence[str], labels: Sequence[str]
    ) -> None:
        """An answer that is not one of the labels (an older model's) counts as the one farthest off."""
        self.labels, index = labels, index_of(labels)
        self.truths, last = indices(truths, index), len(labels) - 1
        given = np.array([index.get(answer["label"], -1) for answer in answers], np.int64)
        self.answers = np.where(given < 0, np.where(2 * self.truths > last, 0, last), given)

    def score(self, rows: np.ndarray | None = None) -> dict[str, float]:
        """All metrics over these rows. mae: mean distance in places of the order; quadratic_kappa: 1 - mean
        squared distance / the one that chance would give (Cohen 1968)."""
        size = len(self.labels)
        pairs = self.truths * size + self.answers
        counts = np.bincount(pairs if rows is None else pairs[rows], minlength=size**2).reshape(size, size)
        total = counts.sum()
        distance = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
        by_chance = counts.sum(1) @ distance**2 @ counts.sum(0)
        worse = ratio(total * (counts * distance**2).sum(), by_chance)
        return {
            "quadratic_kappa": 1 - worse if not math.isnan(worse) else worse,
            "mae": ratio((counts * distance).sum(), total),
            "accuracy": ratio(np.trace(counts), total),
        }

    def shares(self) -> dict[str, np.ndarray]:
        """accuracy."""
        return {"accuracy": (self.truths == self.answers).astype(np.float64)}

    def details(self) -> dict[str, Any]:
        """confusion (rows = truth, columns = answer) and per_label."""
        rows, right = np.arange(len(self.truths)), self.truths == self.answers
        matches = Matches(
            len(self.labels), (rows[right], self.truths[right]), (rows, self.truths), (rows, self.answers)
        )
        return {
            "confusion": confusion(self.truths, self.answers, len(self.labels), len(self.labels)),
            "per_label": table(matches.over(times(None, len(self.truths))), self.labels),
        }
