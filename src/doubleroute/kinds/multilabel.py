"""Multilabel: any number of labels a row, none included."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from doubleroute.kinds import NOTHING, Kind, Scorer
from doubleroute.kinds.heads import RowHead
from doubleroute.kinds.labels import extended, index_of, indices
from doubleroute.kinds.losses import binary_cross_entropy
from doubleroute.kinds.scores import Matches, Reliability, macro_f1, micro_f1, ratio, table, times


class MultilabelKind(Kind):
    """Each label yes or no: binary cross-entropy, the labels more probable than not."""

    name: ClassVar[str] = "multilabel"

    def encode(self, values: Sequence[Sequence[str]], labels: Sequence[str]) -> np.ndarray:
        """Label sets of n labelled rows -> float32 [n, labels] of 0 and 1. Raises InputError for a
        label that is not in ``labels``."""
        return _member(values, index_of(labels), len(labels)).astype(np.float32)

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
        """Mean binary cross-entropy: logits and targets [rows, labels]; NaN targets do not count."""
        return binary_cross_entropy(logits, targets, label_smoothing, class_weights)

    def decode(
        self,
        logits: Sequence[np.ndarray],
        labels: Sequence[str],
        kept: Mapping[str, np.ndarray] = NOTHING,  # noqa: ARG002
    ) -> list[dict[str, Any]]:
        """Logits of n rows, each [labels] -> the labels with a probability above 1/2, and all
        probabilities (sigmoids; they do not sum to one)."""
        if not len(logits):
            return []
        # A sigmoid by way of tanh, which does not overflow.
        probabilities = (np.tanh(np.stack(logits).astype(np.float64) / 2) + 1) / 2
        return [
            {
                "labels": [label for label, value in zip(labels, row, strict=True) if value > 0.5],
                "probabilities": dict(zip(labels, row, strict=True)),
            }
            for row in probabilities.tolist()
        ]

    def scorer(
        self, answers: Sequence[dict[str, Any]], truths: Sequence[Sequence[str]], labels: Sequence[str]
    ) -> "MultilabelScorer":
        """Compare n answers with the label sets of n labelled rows."""
        return MultilabelScorer(answers, truths, labels)


class MultilabelScorer(Scorer):
    """micro_f1, macro_f1, subset_accuracy, ece. Without rows all are NaN; the F1s also where no row
    has or gets a label."""

    def __init__(
        self, answers: Sequence[dict[str, Any]], truths: Sequence[Sequence[str]], labels: Sequence[str]
    ) -> None:
        answered = [answer["labels"] for answer in answers]
        names = extended(labels, (label for row in answered for label in row))
        true = _member(truths, index_of(labels), len(names))
        given = _member(answered, index_of(names), len(names))
        self.labels, self.size = labels, len(truths)
        self.matches = Matches(len(names), np.nonzero(true & given), np.nonzero(true), np.nonzero(given))
        self.exact = (true == given).all(-1).astype(np.float64)
        # Every (row, label) is a claim: the label's probability against whether it is there.
        known = [[answer["probabilities"].get(label, 0.0) for label in labels] for answer in answers]
        self.reliability = Reliability(
            np.repeat(np.arange(self.size), len(labels)),
            np.array(known, np.float64).reshape(-1),
            true[:, : len(labels)].reshape(-1),
        )

    def score(self, rows: np.ndarray | None = None) -> dict[str, float]:
        """All metrics over these rows; subset_accuracy is the share of rows with exactly the true
        labels; ece compares every label's probability with how often it is true."""
        counted = times(rows, self.size)
        matches = self.matches.over(counted)
        return {
            "micro_f1": micro_f1(matches),
            "macro_f1": macro_f1(matches),
            "subset_accuracy": ratio(counted @ self.exact, counted.sum()),
            "ece": self.reliability.ece(counted),
        }

    def shares(self) -> dict[str, np.ndarray]:
        """subset_accuracy."""
        return {"subset_accuracy": self.exact}

    def details(self) -> dict[str, Any]:
        """per_label and reliability, whose "rows" are pairs of a row and a label and whose
        "accuracy" is how often the label is true."""
        everything = times(None, self.size)
        return {
            "per_label": table(self.matches.over(everything), self.labels),
            "reliability": self.reliability.table(self.size),
        }


def _member(values: Sequence[Sequence[str]], index: dict[str, int], labels: int) -> np.ndarray:
    """Whether each of n rows has each label: bool [n, labels]."""
    member = np.zeros((len(values), labels), bool)
    rows = np.repeat(np.arange(len(values)), [len(value) for value in values])
    member[rows, indices([label for value in values for label in value], index)] = True
    return member
