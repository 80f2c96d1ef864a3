"""Classification: one label a row."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from doubleroute.kinds import NOTHING, Kind, Scorer
from doubleroute.kinds.heads import RowHead
from doubleroute.kinds.labels import extended, index_of, indices
from doubleroute.kinds.losses import cross_entropy
from doubleroute.kinds.scores import (
    Matches,
    Reliability,
    accuracy,
    confusion,
    macro_f1,
    mcc,
    table,
    times,
    weighted_f1,
)


class ClassificationKind(Kind):
    """One label a row: cross-entropy, the most probable label."""

    name: ClassVar[str] = "classification"

    def encode(self, values: Sequence[str], labels: Sequence[str]) -> np.ndarray:
        """Labels of n labelled rows -> int64 [n]. Raises InputError for one that is not in ``labels``."""
        return indices(values, index_of(labels))

    def head(self, hidden: int, labels: Sequence[str], options: Mapping[str, Any]) -> RowHead:
        """One logit a label."""
        return RowHead(hidden, len(labels), options["pooling"], options["dropout"])

    def loss(
        self,
        logits: Tensor,
        targets: Tensor,
        label_smoothing: float,
        kept: Mapping[str, Tensor] = NOTHING,  # noqa: ARG002
        class_weights: Tensor | None = None,
    ) -> Tensor:
        """Mean cross-entropy: logits [rows, labels], targets int64 [rows], IGNORE does not count."""
        return cross_entropy(logits, targets, label_smoothing, class_weights)

    def decode(
        self,
        logits: Sequence[np.ndarray],
        labels: Sequence[str],
        kept: Mapping[str, np.ndarray] = NOTHING,  # noqa: ARG002
    ) -> list[dict[str, Any]]:
        """Logits of n rows, each [labels] -> the label of the largest, and the softmax of all."""
        if not len(logits):
            return []
        values = np.stack(logits).astype(np.float64)
        powers = np.exp(values - values.max(-1, keepdims=True))
        probabilities = powers / powers.sum(-1, keepdims=True)
        return [
            {"label": labels[best], "probabilities": dict(zip(labels, row, strict=True))}
            for best, row in zip(values.argmax(-1).tolist(), probabilities.tolist(), strict=True)
        ]

    def scorer(
        self, answers: Sequence[dict[str, Any]], truths: Sequence[str], labels: Sequence[str]
    ) -> "ClassificationScorer":
        """Compare n answers with the labels of n labelled rows."""
        return ClassificationScorer(answers, truths, labels)


class ClassificationScorer(Scorer):
    """accuracy, macro_f1, weighted_f1, mcc, ece. Without rows all are NaN."""

    def __init__(
        self, answers: Sequence[dict[str, Any]], truths: Sequence[str], labels: Sequence[str]
    ) -> None:
        answered = [answer["label"] for answer in answers]
        names = extended(labels, answered)
        self.labels, self.names = labels, names
        self.truths = indices(truths, index_of(labels))
        self.answers = indices(answered, index_of(names))
        rows, right = np.arange(len(truths)), self.truths == self.answers
        self.right = right.astype(np.float64)
        self.matches = Matches(
            len(names), (rows[right], self.truths[right]), (rows, self.truths), (rows, self.answers)
        )
        confidence = np.array([answer["probabilities"][answer["label"]] for answer in answers], np.float64)
        self.reliability = Reliability(rows, confidence, right)

    def score(self, rows: np.ndarray | None = None) -> dict[str, float]:
        """All metrics over these rows; ece is that of the answered label's probability."""
        counted = times(rows, len(self.truths))
        matches = self.matches.over(counted)
        return {
            "accuracy": accuracy(matches),
            "macro_f1": macro_f1(matches),
            "weighted_f1": weighted_f1(matches),
            "mcc": mcc(matches),
            "ece": self.reliability.ece(counted),
        }

    def shares(self) -> dict[str, np.ndarray]:
        """accuracy."""
        return {"accuracy": self.right}

    def details(self) -> dict[str, Any]:
        """confusion (rows = truth, columns = answer; an answer outside the labels is in no column),
        per_label and reliability."""
        everything = times(None, len(self.truths))
        return {
            "confusion": confusion(self.truths, self.answers, len(self.names), len(self.labels)),
            "per_label": table(self.matches.over(everything), self.labels),
            "reliability": self.reliability.table(len(self.truths)),
        }
