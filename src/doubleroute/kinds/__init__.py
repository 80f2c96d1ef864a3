"""The kinds of tasks: one file each, with its label coding, head, loss, decoding and metrics.

A kind is a class without state; ``kind(name)`` gives it. Labels travel as canonical Python values
(what the validated Parquet holds) -> arrays (what batches hold) -> logits -> answers (JSON values).

| kind | canonical label | array of n rows | answer |
|---|---|---|---|
| classification | str | int64 [n] | {"label": str, "probabilities": {label: float}} |
| multilabel | list[str] | float32 [n, labels] | {"labels": [str], "probabilities": {label: float}} |
| ordinal | str | float32 [n, labels - 1] | as classification |
| retrieval | str | int64 [n] | {"label": str, "score": float, "answers": [{"id", "score", "rank"}]} |
| regression | float | float32 [n] | {"value": float} |
| span | list[str], each "start:text" | int64 [answers, 2] a row | {"answer", "start", "end", "confidence"} |
| tagging | list[str], one tag a token | int64 [n tokens] a row | {"tags", "confidences", "entities"} |
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from torch import Tensor

from doubleroute.data.batches import IGNORE as IGNORE

if TYPE_CHECKING:
    from doubleroute.kinds.heads import Head

#: What most heads keep for loss and decoding: nothing.
NOTHING: Mapping[str, Any] = MappingProxyType({})


class Kind(ABC):
    """What a task learns. Stateless: everything about a task comes in as arguments."""

    name: ClassVar[str]
    #: Whether the head answers for each token (tagging) or once for the row.
    per_token: ClassVar[bool] = False
    #: Whether a row is a question and its context, read in windows (``data.windows``).
    windowed: ClassVar[bool] = False

    @abstractmethod
    def encode(self, values: Sequence[Any], labels: Sequence[str]) -> np.ndarray | list[np.ndarray]:
        """Canonical labels of n rows -> array [n, ...] (tagging: a list of int64 arrays [tokens]; span: of
        int64 arrays [answers, 2])."""

    @abstractmethod
    def head(self, hidden: int, labels: Sequence[str], options: Mapping[str, Any]) -> "Head":
        """F: states [rows, seq, hidden] -> logits [rows, outputs] or [rows, seq, outputs]. ``options``: of
        the task in the model's config, "pooling", "dropout" and what a kind has besides."""

    @abstractmethod
    def loss(
        self,
        logits: Tensor,
        targets: Tensor,
        label_smoothing: float,
        kept: Mapping[str, Tensor] = NOTHING,
        class_weights: Tensor | None = None,
    ) -> Tensor:
        """Mean loss over what counts: logits [rows, outputs] or [rows, seq, outputs], a float32 scalar.
        Positions with target IGNORE (or NaN for float targets) do not count; none at all gives zero.
        ``kept``: what the head keeps (``Head.kept``). ``class_weights`` float32 [labels]: of each label; no
        kind is given them that ``config.kinds.CLASSES`` does not name."""

    @abstractmethod
    def decode(
        self,
        logits: Sequence[np.ndarray],
        labels: Sequence[str],
        kept: Mapping[str, np.ndarray] = NOTHING,
    ) -> list[dict[str, Any]]:
        """Logits of n rows (float32 [outputs]; tagging [tokens, outputs], one line a word; span [tokens, 4],
        see ``data.windows.by_row``) -> answers."""

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

    def shares(self) -> dict[str, np.ndarray]:
        """Of each metric that is the share of right rows: whether each of the n rows is right, float64 [n],
        0 or 1. A kind without such a metric has none."""
        return {}

    @abstractmethod
    def details(self) -> dict[str, Any]:
        """Plain JSON for the report: confusion matrix, per-label or per-tag table, reliability bins,
        residuals; keys depend on the kind."""


def kind(name: str) -> Kind:
    """The kind of this name: the class ``<Name>Kind`` in the module ``kinds/<name>.py``."""
    module = import_module(f"doubleroute.kinds.{name}")
    found: Kind = getattr(module, f"{name.capitalize()}Kind")()
    return found
