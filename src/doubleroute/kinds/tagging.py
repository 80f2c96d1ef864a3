"""Tagging: one tag a word; BIO tags make entities (Ramshaw & Marcus 1995, IOB2 form)."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from doubleroute.data.tags import legal
from doubleroute.kinds import NOTHING, Kind, Scorer
from doubleroute.kinds.labels import extended, index_of, indices
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
from doubleroute.kinds.sequences import Chain, legal_chain, marginals, viterbi

if TYPE_CHECKING:
    from torch import Tensor

    from doubleroute.kinds.heads import TokenHead


class Entity(NamedTuple):
    """Words ``start`` to ``end`` (exclusive) of one row, of one type."""

    type: str
    start: int
    end: int


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
    """One tag a word: cross-entropy, or with ``head.crf`` a linear-chain conditional random field (Lafferty
    et al. 2001); the best sequence that BIO allows (Viterbi 1967)."""

    name: ClassVar[str] = "tagging"
    per_token: ClassVar[bool] = True

    def encode(self, values: Sequence[Sequence[str]], labels: Sequence[str]) -> list[np.ndarray]:
        """Tags of n labelled rows, read as ``legal`` reads them -> n arrays int64 [words]. Raises InputError
        for a tag that is not in ``labels``."""
        index = index_of(labels)
        for tags in values:
            indices(tags, index)  # an unknown tag is named as it is written
        return [indices(legal(tags), index) for tags in values]

    def head(self, hidden: int, labels: Sequence[str], options: Mapping[str, Any]) -> "TokenHead":
        """One logit a tag and token; with "crf" transitions between tags beside."""
        from doubleroute.kinds.heads import CrfHead, TokenHead

        made = CrfHead if options.get("crf") else TokenHead
        return made(hidden, len(labels), options["dropout"])

    def loss(
        self,
        logits: "Tensor",
        targets: "Tensor",
        label_smoothing: float,
        kept: Mapping[str, "Tensor"] = NOTHING,
        class_weights: "Tensor | None" = None,
    ) -> "Tensor":
        """Mean over words: logits [rows, seq, tags], targets int64 [rows, seq] with IGNORE where nothing
        counts. Cross-entropy, or with a CRF minus the log-likelihood of a row's tags, which knows no label
        smoothing and no weights of classes."""
        from doubleroute.kinds.losses import crf_loss, cross_entropy

        if kept:
            return crf_loss(logits, targets, **kept)
        return cross_entropy(logits, targets, label_smoothing, class_weights)

    def decode(
        self, logits: Sequence[np.ndarray], labels: Sequence[str], kept: Mapping[str, np.ndarray] = NOTHING
    ) -> list[dict[str, Any]]:
        """Logits of n rows, each [words, tags] -> the legal tags whose logits (and transitions) have the
        largest sum, with their ``confidences`` [words], and entities as word spans (end exclusive) without
        their text, which only the caller knows.

        The confidence of a word is the probability of its tag: the softmax, or with a CRF the marginal; that
        of an entity the smallest of its words', a bound from above on all of them being right. Words beyond
        the length limit have that of a guess.
        """
        chain = legal_chain(labels)
        if kept:
            chain = Chain(*(getattr(chain, name) + kept[name] for name in Chain._fields))
        return [_answer(row.astype(np.float64), labels, chain, learned=bool(kept)) for row in logits]

    def scorer(
        self, answers: Sequence[dict[str, Any]], truths: Sequence[Sequence[str]], labels: Sequence[str]
    ) -> "TaggingScorer":
        """Compare n answers with the tags of n labelled rows."""
        return TaggingScorer([answer["tags"] for answer in answers], truths, labels)


def _answer(emissions: np.ndarray, labels: Sequence[str], chain: Chain, learned: bool) -> dict[str, Any]:
    """The tags of one row [words, tags]; ``learned``: the chain has transitions of its own."""
    read = (emissions != np.eye(1, emissions.shape[1])).any(-1)  # not as ``by_word`` marks what was cut off
    if learned and not read.all():  # what nobody read has no part in the transitions, as in training
        path, shares = np.zeros(len(emissions), np.int64), _softmax(emissions)
        if read.any():
            path[read], shares[read] = viterbi(emissions[read], chain), marginals(emissions[read], chain)
    elif learned:
        path, shares = viterbi(emissions, chain), marginals(emissions, chain)
    else:
        path = emissions.argmax(-1)
        tags = [labels[each] for each in path]
        if legal(tags) != tags:  # else the largest logits are the best legal sequence already
            path = viterbi(emissions, chain)
        shares = _softmax(emissions)
    tags = [labels[each] for each in path.tolist()]
    confidences = np.take_along_axis(shares, path[:, None], 1)[:, 0]
    found = [
        {**entity._asdict(), "confidence": float(confidences[entity.start : entity.end].min())}
        for entity in entities(tags)
    ]
    return {"tags": tags, "confidences": confidences.tolist(), "entities": found}


def _softmax(emissions: np.ndarray) -> np.ndarray:
    powers = np.exp(emissions - emissions.max(-1, keepdims=True))
    shares: np.ndarray = powers / powers.sum(-1, keepdims=True)
    return shares


class TaggingScorer(Scorer):
    """entity_f1, token_accuracy, token_macro_f1, token_weighted_f1. Without tokens all are NaN;
    entity_f1 also where there are no entities in truths or answers. Truths are read as ``legal`` does."""

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
        index = index_of(labels)
        for tags in truths:
            indices(tags, index)  # an unknown tag is named as it is written
        self.truths = indices([tag for tags in truths for tag in legal(tags)], index)
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
