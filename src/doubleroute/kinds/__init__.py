"""The kinds of tasks: one file each, with its label coding, head, loss, decoding and metrics.

A kind is a class without state; ``kind(name)`` gives it. Labels travel as canonical Python values
(what the validated Parquet holds) -> arrays (what batches hold) -> logits -> answers (JSON values).

| kind | canonical label | array of n rows | answer |
|---|---|---|---|
| classification | str | int64 [n] | {"label": str, "probabilities": {label: float}} |
| multilabel | list[str] | float32 [n, labels] | {"labels": [str], "probabilities": {label: float}} |
| regression | float | float32 [n] | {"value": float} |
| tagging | list[str], one tag a token | int64 [n tokens] a row | {"tags", "confidences", "entities"} |
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib import import_module
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from doubleroute.data.batches import IGNORE as IGNORE


class Kind(ABC):
    """What a task learns. Stateless: everything about a task comes in as arguments."""

    name: ClassVar[str]
    #: Whether the head answers for each token (tagging) or once for the row.
    per_token: ClassVar[bool] = False

    @abstractmethod
    def encode(self, values: Sequence[Any], labels: Sequence[str]) -> np.ndarray | list[np.ndarray]:
        """Canonical labels of n rows -> array [n, ...] (tagging: a list of int64 arrays [tokens])."""

    @abstractmethod
    def outputs(self, labels: Sequence[str]) -> int:
        """How many logits the head gives for a row or token."""

    @abstractmethod
    def loss(
        self, logits: Tensor, targets: Tensor, label_smoothing: float, class_weights: Tensor | None = None
    ) -> Tensor:
        """Mean loss over what counts: logits [rows, outputs] or [rows, seq, outputs], a float32 scalar.
        Positions with target IGNORE (or NaN for float targets) do not count; none at all gives zero.
        ``class_weights`` float32 [outputs]: of each label; no kind without labels is given them."""

    @abstractmethod
    def decode(self, logits: Sequence[np.ndarray], labels: Sequence[str]) -> list[dict[str, Any]]:
        """Logits of n rows (float32 [outputs]; tagging [tokens, outputs], one line a word) -> answers."""

    @abstractmethod
    def scorer(
        self, answers: Sequence[dict[str, Any]], truths: Sequence[Any], labels: Sequence[str]
    ) -> "Scorer":
        """Compare the answers of n rows with their canonical labels."""


class Scorer(ABC):
    """Scores of one model on n rows, whole or over any multiset of the rows (slices, bootstrap)."""

    @abstractmethod
    def score(self, rows: np.ndarray | None = None) -> dict[str, float]:
        """All metrics of the kind over these row indices (with repetitions; None: all rows once).
        A metric that is undefined there (a correlation of a constant, say) is NaN."""

    @abstractmethod
    def details(self) -> dict[str, Any]:
        """Plain JSON for the report: confusion matrix, per-label or per-tag table, reliability bins,
        residuals; keys depend on the kind."""


def kind(name: str) -> Kind:
    """The kind of this name: the class ``<Name>Kind`` in the module ``kinds/<name>.py``."""
    module = import_module(f"doubleroute.kinds.{name}")
    found: Kind = getattr(module, f"{name.capitalize()}Kind")()
    return found


class RowHead(nn.Module):
    """Pool the routed states of a row, then one linear layer. See Devlin et al. 2019 (first) and
    Reimers & Gurevych 2019 (mean)."""

    def __init__(self, hidden: int, outputs: int, pooling: str, dropout: float) -> None:
        super().__init__()
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        self.query = nn.Linear(hidden, 1) if pooling == "attention" else None
        self.out = nn.Linear(hidden, outputs)

    def forward(
        self, states: Float[Tensor, "rows seq hidden"], mask: Int[Tensor, "rows seq"]
    ) -> Float[Tensor, "rows outputs"]:
        """states [rows, seq, hidden], mask [rows, seq] (1 = a token) -> logits [rows, outputs]."""
        if self.pooling == "first":
            pooled = states[:, 0]
        else:
            weights = mask.to(states.dtype)
            if self.query is not None:
                scores = self.query(states).squeeze(-1).float()
                weights = scores.masked_fill(mask == 0, float("-inf")).softmax(-1).to(states.dtype)
            else:
                weights = weights / weights.sum(-1, keepdim=True).clamp(min=1)
            pooled = torch.einsum("rs,rsh->rh", weights, states)
        logits: Tensor = self.out(self.dropout(pooled))
        return logits


class TokenHead(nn.Module):
    """One linear layer on the routed state of each token."""

    def __init__(self, hidden: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden, outputs)

    def forward(
        self,
        states: Float[Tensor, "rows seq hidden"],
        mask: Int[Tensor, "rows seq"],  # noqa: ARG002
    ) -> Float[Tensor, "rows seq outputs"]:
        """states [rows, seq, hidden] -> logits [rows, seq, outputs]."""
        logits: Tensor = self.out(self.dropout(states))
        return logits
