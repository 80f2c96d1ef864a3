"""The simplest baseline: the same answer for every row, taken from the training labels."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from doubleroute.data.spans import spans
from doubleroute.kinds.retrieval import best_answers
from doubleroute.kinds.span import no_answer, with_texts


def majority_answer(kind: str, values: Sequence[Any], labels: Sequence[str]) -> dict[str, Any]:
    """What always answering the commonest thing says, from the n canonical training labels.

    classification and ordinal: the commonest label, with the labels' shares as probabilities; multilabel: the
    labels that more than half of the rows have; retrieval: the commonest answers, their shares as scores;
    regression: the mean; tagging: the commonest tag of all tokens, as the only item of ``tags`` (see
    ``for_words``); span: no answer where most rows have none, else as many characters of the beginning of the
    context as answers have in the middle (median), see ``for_context``.
    """
    if kind == "regression":
        return {"value": float(np.mean(values))}
    if kind in ("classification", "ordinal"):
        counts = Counter(values)
        shares = {label: counts[label] / len(values) for label in labels}
        return {"label": max(labels, key=lambda label: shares[label]), "probabilities": shares}
    if kind == "retrieval":
        counts = Counter(values)
        return best_answers(np.array([counts[label] for label in labels]) / len(values), labels)
    if kind == "span":
        if sum(not value for value in values) > len(values) / 2:
            return no_answer(1.0)
        middle = int(np.median([spans(value)[0].end - spans(value)[0].start for value in values if value]))
        return {"answer": None, "start": 0, "end": middle, "confidence": 0.0}
    counts = Counter(item for value in values for item in value)
    if kind == "multilabel":
        shares = {label: counts[label] / len(values) for label in labels}
        return {"labels": [label for label in labels if shares[label] > 0.5], "probabilities": shares}
    return {"tags": [max(labels, key=lambda label: counts[label])]}


def for_words(answer: dict[str, Any], words: int) -> dict[str, Any]:
    """The same tag for each of ``words`` words; other answers stay as they are."""
    if "tags" not in answer:
        return answer
    return {"tags": answer["tags"] * words, "entities": []}


def for_context(answer: dict[str, Any], context: str) -> dict[str, Any]:
    """The answer of a span task on a context: no more of its beginning than it has, whole words."""
    if answer["end"] is None:
        return answer
    whole = re.compile(r"\S*").match(context, answer["end"])
    end = len(context) if whole is None else whole.end()
    return with_texts([{**answer, "end": end}], [context])[0]
