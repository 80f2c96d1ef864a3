"""Span: the answer to a question as characters of its context, or that the context holds none."""

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from doubleroute.data.spans import spans
from doubleroute.data.windows import END, START
from doubleroute.errors import InputError
from doubleroute.kinds import IGNORE, NOTHING, Kind, Scorer
from doubleroute.kinds.heads import SpanHead
from doubleroute.kinds.scores import ratio, times

#: Tokens of an answer where the head says nothing else.
LONGEST = 30
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


class SpanKind(Kind):
    """Where the answer starts and where it ends, each a cross-entropy over the tokens of a window's context
    and its first token, which stands for "no answer" (Devlin et al. 2019)."""

    name: ClassVar[str] = "span"
    per_token: ClassVar[bool] = True
    windowed: ClassVar[bool] = True

    def encode(self, values: Sequence[Sequence[str]], labels: Sequence[str]) -> list[np.ndarray]:  # noqa: ARG002
        """Answers of n rows, each "start:text" -> n arrays int64 [answers, 2], their characters, the end
        exclusive. Raises InputError for another text. ``data.windows.targets`` makes targets of them."""
        try:
            return [
                np.array([each[:2] for each in spans(answers)], np.int64).reshape(-1, 2) for answers in values
            ]
        except ValueError as error:
            raise InputError(str(error)) from None

    def head(self, hidden: int, labels: Sequence[str], options: Mapping[str, Any]) -> SpanHead:  # noqa: ARG002
        """Two logits a token: that the answer starts there, that it ends there."""
        return SpanHead(hidden, options["dropout"], options.get("answer_tokens", LONGEST))

    def loss(
        self,
        logits: Tensor,
        targets: Tensor,
        label_smoothing: float,
        kept: Mapping[str, Tensor] = NOTHING,  # noqa: ARG002
        class_weights: Tensor | None = None,  # noqa: ARG002
    ) -> Tensor:
        """Mean of the cross-entropies of start and end over the windows: logits [windows, seq, 2], targets
        int64 [windows, seq] as ``data.windows.targets`` has them. Tokens whose target is IGNORE have no
        chance; label smoothing spreads its share evenly over the others."""
        with torch.autocast(logits.device.type, enabled=False):
            there = targets != IGNORE
            total = logits.float().new_zeros(())
            for side, bit in enumerate((START, END)):
                wanted = there & (targets.bitwise_and(bit) != 0)
                # The least number and not -inf: a row of padding alone has no NaN in its gradient.
                scores = logits[..., side].float().masked_fill(~there, torch.finfo(torch.float32).min)
                chances = scores.log_softmax(-1).masked_fill(~there, 0.0)
                even = chances.sum(-1) / there.sum(-1).clamp(min=1)
                hit = (chances * wanted).sum(-1)
                each = (1 - label_smoothing) * hit + label_smoothing * even
                total = total - (each * wanted.any(-1)).sum() / 2
            return total / (there & (targets > 0)).any(-1).sum().clamp(min=1)

    def decode(
        self,
        logits: Sequence[np.ndarray],
        labels: Sequence[str],  # noqa: ARG002
        kept: Mapping[str, np.ndarray] = NOTHING,
    ) -> list[dict[str, Any]]:
        """Logits of n rows, each [tokens, 4] as ``data.windows.by_row`` has them -> {"answer", "start",
        "end", "confidence"}: characters of the context, end exclusive, None where there is no answer. The
        text of the answer is known to the caller alone: see ``with_texts``.

        Of all windows the span of the largest sum of its two logits, of at most ``longest`` tokens; no answer
        where the sum at the first token is as large in every window. The confidence is the probability of
        start times that of end in the answer's window; of no answer the least over the windows.
        """
        longest = int(kept["longest"]) if kept else LONGEST
        return [_answer(row.astype(np.float64), longest) for row in logits]

    def scorer(
        self,
        answers: Sequence[dict[str, Any]],
        truths: Sequence[Sequence[str]],
        labels: Sequence[str],  # noqa: ARG002
    ) -> "SpanScorer":
        """Compare n answers, their texts filled in, with the answers of n labelled rows."""
        return SpanScorer([answer["answer"] for answer in answers], truths)


def with_texts(answers: Sequence[dict[str, Any]], contexts: Sequence[str | None]) -> list[dict[str, Any]]:
    """The answers with what stands at their characters of the contexts."""
    return [
        answer
        if answer["start"] is None
        else {**answer, "answer": (context or "")[answer["start"] : answer["end"]]}
        for answer, context in zip(answers, contexts, strict=True)
    ]


def no_answer(confidence: float) -> dict[str, Any]:
    """The answer that there is none."""
    return {"answer": None, "start": None, "end": None, "confidence": confidence}


def _answer(row: np.ndarray, longest: int) -> dict[str, Any]:
    """The answer of one row [tokens, 4], of one or more windows; without a context there is none."""
    nothing, unanswered = np.inf, 1.0
    best, answer = -np.inf, no_answer(1.0)
    begins = np.flatnonzero(row[:, 2] < 0)
    for window in np.split(row, begins[1:]) if len(begins) else ():
        start, end = window[:, 0], window[:, 1]
        shares = _softmax(start), _softmax(end)
        nothing = min(nothing, start[0] + end[0])
        unanswered = min(unanswered, float(shares[0][0] * shares[1][0]))
        score, first, last = _best_span(start[1:], end[1:], longest)
        if score > best:
            sure = float(shares[0][1 + first] * shares[1][1 + last])
            places = int(window[1 + first, 2]), int(window[1 + last, 3])
            best, answer = score, {"answer": None, "start": places[0], "end": places[1], "confidence": sure}
    return answer if best > nothing else no_answer(unanswered)


def _best_span(start: np.ndarray, end: np.ndarray, longest: int) -> tuple[float, int, int]:
    """The largest start[i] + end[j] with i <= j < i + longest: its value, i and j; -inf without tokens."""
    best = (-np.inf, 0, 0)
    for more in range(min(longest, len(start))):
        sums = start[: len(start) - more] + end[more:]
        place = int(sums.argmax())
        if sums[place] > best[0]:
            best = (float(sums[place]), place, place + more)
    return best


def _softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max())
    found: np.ndarray = powers / powers.sum()
    return found


def normalised(text: str) -> list[str]:
    """The words of an answer as SQuAD compares them (Rajpurkar et al. 2016): lower case, without punctuation
    and English articles."""
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def token_f1(answer: Sequence[str], truth: Sequence[str]) -> float:
    """F1 of the words that two answers share; where one has none, whether both have none."""
    if not answer or not truth:
        return float(len(answer) == len(truth))
    same = sum((Counter(answer) & Counter(truth)).values())
    return 2 * same / (len(answer) + len(truth))


class SpanScorer(Scorer):
    """answer_f1 and exact_match, each the largest over a row's true answers, averaged over rows. Where a row
    has none both are 1 for no answer and 0 else, as in SQuAD 2.0 (Rajpurkar et al. 2018). Without rows both
    are NaN."""

    def __init__(self, answers: Sequence[str | None], truths: Sequence[Sequence[str]]) -> None:
        """answers [n], None for no answer; truths [n]: lists of "start:text". Raises InputError for another
        text."""
        try:
            given = [[normalised(each.text) for each in spans(truth)] for truth in truths]
        except ValueError as error:
            raise InputError(str(error)) from None
        said = [normalised(answer or "") for answer in answers]
        self.answered = np.array([answer is not None for answer in answers], bool)
        self.answerable = np.array([any(truth) for truth in given], bool)
        wanted = [[each for each in truth if each] or [[]] for truth in given]
        pairs = list(zip(said, wanted, strict=True))
        self.f1 = np.array([max(token_f1(one, each) for each in truth) for one, truth in pairs], np.float64)
        self.exact = np.array([one in truth for one, truth in pairs], np.float64)

    def score(self, rows: np.ndarray | None = None) -> dict[str, float]:
        """Both metrics over these rows."""
        weights = times(rows, len(self.f1))
        total = float(weights.sum())
        return {
            "answer_f1": ratio(float(weights @ self.f1), total),
            "exact_match": ratio(float(weights @ self.exact), total),
        }

    def shares(self) -> dict[str, np.ndarray]:
        """exact_match."""
        return {"exact_match": self.exact}

    def details(self) -> dict[str, Any]:
        """by_answer: {"an answer", "no answer": {"rows", "answered", "answer_f1", "exact_match"}}, by what
        the rows have; "answered" counts the rows that were given one; None without rows."""
        parts = {"an answer": self.answerable, "no answer": ~self.answerable}
        return {
            "by_answer": {
                name: {
                    "rows": int(rows.sum()),
                    "answered": int(self.answered[rows].sum()),
                    "answer_f1": float(self.f1[rows].mean()) if rows.any() else None,
                    "exact_match": float(self.exact[rows].mean()) if rows.any() else None,
                }
                for name, rows in parts.items()
            }
        }
