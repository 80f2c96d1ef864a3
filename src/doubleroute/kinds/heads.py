"""The heads F: modules that turn the routed states of a task's rows into logits."""

import math
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class Head(nn.Module):
    """What all heads have; each has a ``forward(states, mask)`` of its own."""

    #: Parameters with a place for each of the task's labels, and the axes of those places: where labels come
    #: or go, the places of the others are taken over from an earlier model.
    of_labels: ClassVar[dict[str, tuple[int, ...]]] = {"out.weight": (0,), "out.bias": (0,)}

    def begin(self) -> None:
        """Set the weights that do not begin as those of other linear layers do."""

    def kept(self) -> dict[str, Tensor]:
        """What loss and decoding need beside the logits, by name; mostly nothing."""
        return {}


class RowHead(Head):
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
        logits: Tensor = self.out(self.dropout(self.pool(states, mask)))
        return logits

    def pool(
        self, states: Float[Tensor, "rows seq hidden"], mask: Int[Tensor, "rows seq"]
    ) -> Float[Tensor, "rows hidden"]:
        """One state for each row: the first, or a weighted mean of those of its tokens."""
        if self.pooling == "first":
            return states[:, 0]
        weights = mask.to(states.dtype)
        if self.query is not None:
            scores = self.query(states).squeeze(-1).float()
            weights = scores.masked_fill(mask == 0, float("-inf")).softmax(-1).to(states.dtype)
        else:
            weights = weights / weights.sum(-1, keepdim=True).clamp(min=1)
        return torch.einsum("rs,rsh->rh", weights, states)


class RegressionHead(RowHead):
    """One logit a row: by how many ``spread`` the label lies above the ``mean`` of the training labels, so
    that it is learned alike whatever its unit is and however far from zero it lies."""

    def __init__(self, hidden: int, pooling: str, dropout: float, mean: float, spread: float) -> None:
        super().__init__(hidden, 1, pooling, dropout)
        self.mean, self.spread = mean, spread

    def kept(self) -> dict[str, Tensor]:
        """Mean and spread, in the unit of the labels."""
        return {"mean": torch.tensor(self.mean), "spread": torch.tensor(self.spread)}


class TokenHead(Head):
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


class CrfHead(TokenHead):
    """The linear layer gives emissions; which tag follows which is learned beside, from zero: ``start``
    [tags], ``transitions`` [from, to] and ``end`` [tags], in nats (see ``kinds.sequences``)."""

    of_labels: ClassVar[dict[str, tuple[int, ...]]] = {
        **Head.of_labels,
        "start": (0,),
        "transitions": (0, 1),
        "end": (0,),
    }

    def __init__(self, hidden: int, outputs: int, dropout: float) -> None:
        super().__init__(hidden, outputs, dropout)
        self.start = nn.Parameter(torch.zeros(outputs))
        self.transitions = nn.Parameter(torch.zeros(outputs, outputs))
        self.end = nn.Parameter(torch.zeros(outputs))

    def kept(self) -> dict[str, Tensor]:
        """The transitions: they are no function of a row."""
        return {"start": self.start, "transitions": self.transitions, "end": self.end}


class SpanHead(TokenHead):
    """Two logits a token: that the answer starts there, that it ends there. ``longest``: the most tokens that
    an answer has, for decoding."""

    of_labels: ClassVar[dict[str, tuple[int, ...]]] = {}

    def __init__(self, hidden: int, dropout: float, longest: int) -> None:
        super().__init__(hidden, 2, dropout)
        self.longest = longest

    def kept(self) -> dict[str, Tensor]:
        """The most tokens of an answer."""
        return {"longest": torch.tensor(float(self.longest))}


class OrdinalHead(RowHead):
    """One score a row against ordered thresholds: logit k = score - threshold k, larger thresholds last.

    The thresholds are a first one and gaps above zero (softplus), so that the probabilities of the labels are
    never negative; they begin one apart, around zero. Scores and thresholds are GAIN times what is learned:
    a few numbers that must go far would be too slow at the learning rate of a layer of many.
    """

    of_labels: ClassVar[dict[str, tuple[int, ...]]] = {}
    GAIN: ClassVar[float] = 10.0

    def __init__(self, hidden: int, labels: int, pooling: str, dropout: float) -> None:
        super().__init__(hidden, 1, pooling, dropout)
        self.first = nn.Parameter(torch.full((1,), (2.0 - labels) / 2 / self.GAIN))
        self.gaps = nn.Parameter(torch.full((labels - 2,), math.log(math.e - 1) / self.GAIN))

    def forward(
        self, states: Float[Tensor, "rows seq hidden"], mask: Int[Tensor, "rows seq"]
    ) -> Float[Tensor, "rows thresholds"]:
        """states [rows, seq, hidden], mask [rows, seq] -> logits [rows, labels - 1], falling along a row."""
        above = nn.functional.softplus(self.GAIN * self.gaps).cumsum(0)
        score: Tensor = self.GAIN * (super().forward(states, mask) - self.first)
        return torch.cat([score, score - above], -1)


class RetrievalHead(RowHead):
    """The pooled states and a linear layer on them, added, as a vector of length one; the layer begins at
    zero, so that an untrained head compares the pooled states themselves (Reimers & Gurevych 2019).

    ``vectors`` [answers, hidden]: those of the stored answers, set by ``training.scoring.keep_answers``.
    """

    of_labels: ClassVar[dict[str, tuple[int, ...]]] = {}

    def __init__(self, hidden: int, answers: int, pooling: str, dropout: float) -> None:
        super().__init__(hidden, hidden, pooling, dropout)
        self.vectors: Tensor
        self.register_buffer("vectors", torch.zeros(answers, hidden))

    def begin(self) -> None:
        nn.init.zeros_(self.out.weight)

    def kept(self) -> dict[str, Tensor]:
        """The answers' vectors."""
        return {"vectors": self.vectors}

    def forward(
        self, states: Float[Tensor, "rows seq hidden"], mask: Int[Tensor, "rows seq"]
    ) -> Float[Tensor, "rows hidden"]:
        """states [rows, seq, hidden], mask [rows, seq] -> vectors of length one [rows, hidden], float32."""
        pooled = self.pool(states, mask)
        vector: Tensor = (pooled + self.out(self.dropout(pooled))).float()
        return nn.functional.normalize(vector, dim=-1)
