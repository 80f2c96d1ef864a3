"""Retrieval: for each query the best of a table of stored answers, as a support desk wants it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from doubleroute.kinds import NOTHING, Kind, Scorer
from doubleroute.kinds.labels import index_of, indices
from doubleroute.kinds.scores import ratio

if TYPE_CHECKING:
    from torch import Tensor

    from doubleroute.kinds.heads import RetrievalHead

#: Answers that a query is given, best first.
TOP = 10
#: What cosines are multiplied with in the loss, as sentence-transformers does.
SCALE = 20.0
#: Digits of a cosine: what differs less is a tie, whatever order a processor sums in.
DIGITS = 6


class RetrievalKind(Kind):
    """Query and answer become vectors of length one by the same M, R and F, and their cosine is the score.

    The loss has the other answers of the batch as negatives (Henderson et al. 2017); an answer that several
    rows have is in it once, so that it is nobody's negative. The labels are the ids of the answers.
    """

    name: ClassVar[str] = "retrieval"

    def encode(self, values: Sequence[str], labels: Sequence[str]) -> np.ndarray:
        """Ids of the answers of n rows -> their places in the table: int64 [n]. Raises InputError for one
        that is not in ``labels``."""
        return indices(values, index_of(labels))

    def head(self, hidden: int, labels: Sequence[str], options: Mapping[str, Any]) -> "RetrievalHead":
        """A vector of length one for each row; the vectors of all answers are kept beside."""
        from doubleroute.kinds.heads import RetrievalHead

        return RetrievalHead(hidden, len(labels), options["pooling"], options["dropout"])

    def loss(
        self,
        logits: "Tensor",
        targets: "Tensor",
        label_smoothing: float,
        kept: Mapping[str, "Tensor"] = NOTHING,  # noqa: ARG002
        class_weights: "Tensor | None" = None,  # noqa: ARG002
    ) -> "Tensor":
        """Mean cross-entropy over the queries of SCALE times their cosines with the batch's answers.

        logits [queries + answers, hidden], each distinct answer of the queries once and behind them;
        targets int64 [queries]: the place of each query's answer among the answers.
        """
        from doubleroute.kinds.losses import among_the_batch

        return among_the_batch(logits, targets, SCALE, label_smoothing)

    def decode(
        self, logits: Sequence[np.ndarray], labels: Sequence[str], kept: Mapping[str, np.ndarray] = NOTHING
    ) -> list[dict[str, Any]]:
        """Vectors of n rows, each [hidden] -> the TOP answers by cosine with the kept ``vectors`` [answers,
        hidden], as ``best_answers`` gives them."""
        return [best_answers(kept["vectors"] @ row, labels) for row in logits]

    def scorer(
        self, answers: Sequence[dict[str, Any]], truths: Sequence[str], labels: Sequence[str]
    ) -> "RetrievalScorer":
        """Compare n lists of answers with the ids of the right ones."""
        return RetrievalScorer(answers, truths, labels)


def best_answers(scores: np.ndarray, ids: Sequence[str]) -> dict[str, Any]:
    """The TOP answers by score: scores [answers] -> {"label": id of the best, "score": its, "answers":
    [{"id", "score", "rank"}, ...]}.

    The rank is 1 for the best; answers with one score share the mean of the ranks that they would have.
    """
    rounded = np.round(np.asarray(scores, np.float64), DIGITS) + 0.0
    found = []
    for place in np.argsort(-rounded, kind="stable")[:TOP]:
        higher, equal = (rounded > rounded[place]).sum(), (rounded == rounded[place]).sum()
        rank = float(higher + (equal + 1) / 2)
        found.append({"id": ids[place], "score": float(rounded[place]), "rank": rank})
    return {"label": found[0]["id"], "score": found[0]["score"], "answers": found}


class RetrievalScorer(Scorer):
    """mrr_at_10, recall_at_1, recall_at_5. Without rows all are NaN. A right answer that is not among the
    TOP counts nothing; one that shares its score with others counts with its chance among them."""

    def __init__(
        self, answers: Sequence[dict[str, Any]], truths: Sequence[str], labels: Sequence[str]
    ) -> None:
        """Raises InputError for a truth that is not one of the answers."""
        indices(truths, index_of(labels))
        found = [_found(answer["answers"], truth) for answer, truth in zip(answers, truths, strict=True)]
        #: The chance that the right answer is at each rank: [rows, TOP].
        self.chances = np.array(found, np.float64).reshape(len(truths), TOP)

    def score(self, rows: np.ndarray | None = None) -> dict[str, float]:
        """All metrics over these rows: the mean of 1 / rank (0 behind the tenth) and the shares of rows
        whose right answer is the first, or among the first five."""
        chances = self.chances if rows is None else self.chances[rows]
        total, at_rank = len(chances), chances.sum(0)
        return {
            "mrr_at_10": ratio(at_rank @ (1 / np.arange(1, TOP + 1)), total),
            "recall_at_1": ratio(at_rank[0], total),
            "recall_at_5": ratio(at_rank[:5].sum(), total),
        }

    def details(self) -> dict[str, Any]:
        """ranks: how many rows have their right answer at rank 1, 2, ..., TOP; the rest have it nowhere."""
        return {"ranks": self.chances.sum(0).tolist()}


def _found(answers: Sequence[Mapping[str, Any]], truth: str) -> np.ndarray:
    """The chance that the right answer stands at rank 1, 2, ..., TOP, its ties in random order: [TOP]."""
    chances = np.zeros(TOP)
    rank = next((answer["rank"] for answer in answers if answer["id"] == truth), None)
    if rank is not None:
        higher = sum(answer["rank"] < rank for answer in answers)
        equal = int(2 * (rank - higher) - 1)
        chances[higher : higher + equal] = 1 / equal
    return chances
