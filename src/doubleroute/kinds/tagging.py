"""Tagging: one tag a word; BIO tags make entities (Ramshaw & Marcus 1995, IOB2 form)."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from torch import Tensor

from doubleroute.kinds import Kind, Scorer
from doubleroute.kinds.labels import extended, index_of, indices
from doubleroute.kinds.losses import cross_entropy
from doubleroute.kinds.scores import (
    Matches,
    accuracy,
    confusion,
    macro_f1,
    micro_f1,
    table,
    times,
    weighted_f1,
)


class Entity(NamedTuple):
    """Words ``start`` to ``end`` (exclusive) of one row, of one type."""

    type: str
    start: int
    end: int


def legal(tags: Iterable[str]) -> list[str]:
    """The BIO sequence that conlleval reads in ``tags``: an I-x that follows neither B-x nor I-x
    becomes B-x. Tags without a B- or I- in front stay and are outside of entities."""
    repaired: list[str] = []
    previous = ""
    for tag in tags:
        prefix, hyphen, inside = tag.partition("-")
        starts = hyphen and prefix == "I" and previous not in (f"B-{inside}", f"I-{inside}")
        previous = f"B-{inside}" if starts else tag
        repaired.append(previous)
    return repaired


def entities(tags: Sequence[str]) -> list[Entity]:
    """The entities of a row's tags, in order; tags are read as ``legal`` reads them."""
    found: list[Entity] = []
    for place, tag in enumerate(legal(tags)):
        prefix, hyphen, inside = tag.partition("-")
        if hyphen and prefix == "B":
            found.append(Entity(inside, place, place + 1))
        elif hyphen and prefix == "I":
            found[-1] = found[-1]._replace(end=place + 1)
    return found


class TaggingKind(Kind):
    """One tag a word: cross-entropy, the largest logit, repaired to a legal BIO sequence."""

    name: ClassVar[str] = "tagging"
    per_token: ClassVar[bool] = True

    def encode(self, values: Sequence[Sequence[str]], labels: Sequence[str]) -> list[np.ndarray]:
        """Tags of n labelled rows -> n arrays int64 [words]. Raises InputError for a tag that is not
        in ``labels``."""
        index = index_of(labels)
        return [indices(tags, index) for tags in values]

    def outputs(self, labels: Sequence[str]) -> int:
        """One logit a tag."""
        return len(labels)

    def loss(
        self, logits: Tensor, targets: Tensor, label_smoothing: float, class_weights: Tensor | None = None
    ) -> Tensor:
        """Mean cross-entropy over tokens: logits [rows, seq, tags], targets int64 [rows, seq]
        with IGNORE where nothing counts."""
        return cross_entropy(logits, targets, label_smoothing, class_weights)

    def decode(self, logits: Sequence[np.ndarray], labels: Sequence[str]) -> list[dict[str, Any]]:
        """Logits of n rows, each [words, tags] -> tags with their ``confidences`` [words], and entities as
        word spans (end exclusive) without their text, which only the caller knows.

        The confidence of a word is the softmax of its largest logit, whose tag may be repaired after it;
        that of an entity the smallest of its words', a bound from above on all of them being right. Words
        beyond the length limit have that of a guess.
        """
        answers = []
        for row in logits:
            tags = legal(labels[best] for best in row.argmax(-1).tolist())
            values = row.astype(np.float64)
            confidences = 1 / np.exp(values - values.max(-1, keepdims=True)).sum(-1)
            found = [
                {**entity._asdict(), "confidence": float(confidences[entity.start : entity.end].min())}
                for entity in entities(tags)
            ]
            answers.append({"tags": tags, "confidences": confidences.tolist(), "entities": found})
        return answers

    def scorer(
        self, answers: Sequence[dict[str, Any]], truths: Sequence[Sequence[str]], labels: Sequence[str]
    ) -> "TaggingScorer":
        """Compare n answers with the tags of n labelled rows."""
        return TaggingScorer([answer["tags"] for answer in answers], truths, labels)


class TaggingScorer(Scorer):
    """entity_f1, token_accuracy, token_macro_f1, token_weighted_f1. Without tokens all are NaN;
    entity_f1 also where there are no entities in truths or answers."""

    def __init__(
        self, answers: Sequence[Sequence[str]], truths: Sequence[Sequence[str]], labels: Sequence[str]
    ) -> None:
        """Raises ValueError when a row's answer has not as many tags as its truth."""
        for row, (answer, truth) in enumerate(zip(answers, truths, strict=True)):
            if len(answer) != len(truth):
                raise ValueError(f"row {row} has {len(truth)} tokens, but {len(answer)} tags were answered")
        answered = [tag for tags in answers for tag in tags]
        names = extended(labels, answered)
        self.labels, self.names, self.size = labels, names, len(truths)
        self.truths = indices([tag for tags in truths for tag in tags], index_of(labels))
        self.answers = indices(answered, index_of(names))
        rows = np.repeat(np.arange(self.size), [len(tags) for tags in truths])
        right = self.truths == self.answers
        self.tokens = Matches(
            len(names), (rows[right], self.truths[right]), (rows, self.truths), (rows, self.answers)
        )
        types = sorted({tag[2:] for tag in names if tag[:2] in ("B-", "I-")})
        self.types = types
        true = [set(entities(tags)) for tags in truths]
        given = [set(entities(tags)) for tags in answers]
        both = [first & second for first, second in zip(true, given, strict=True)]
        self.entities = Matches(len(types), *(_pairs(found, types) for found in (both, true, given)))

    def score(self, rows: np.ndarray | None = None) -> dict[str, float]:
        """All metrics over these rows. entity_f1 is micro F1 of exact span and type (conlleval,
        Tjong Kim Sang & De Meulder 2003); token metrics are over all tags, O included."""
        counted = times(rows, self.size)
        tokens = self.tokens.over(counted)
        return {
            "entity_f1": micro_f1(self.entities.over(counted)),
            "token_accuracy": accuracy(tokens),
            "token_macro_f1": macro_f1(tokens),
            "token_weighted_f1": weighted_f1(tokens),
        }

    def details(self) -> dict[str, Any]:
        """entities by type, tokens by tag, tokens_macro_f1 (None without tokens) and the confusion
        of tags (rows = truth, columns = answer)."""
        everything = times(None, self.size)
        tokens = self.tokens.over(everything)
        return {
            "entities": table(self.entities.over(everything), self.types),
            "tokens": table(tokens, self.labels),
            "tokens_macro_f1": macro_f1(tokens) if self.truths.size else None,
            "confusion": confusion(self.truths, self.answers, len(self.names), len(self.labels)),
        }


def _pairs(found: Sequence[set[Entity]], types: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """(row, type) of every entity of n rows: two int64 arrays."""
    rows = np.repeat(np.arange(len(found)), [len(row) for row in found])
    return rows, indices([entity.type for row in found for entity in row], index_of(types))
