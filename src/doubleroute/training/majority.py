"""The simplest baseline: the same answer for every row, taken from the training labels."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from doubleroute.kinds.retrieval import best_answers


def majority_answer(kind: str, values: Sequence[Any], labels: Sequence[str]) -> dict[str, Any]:
    """What always answering the commonest thing says, from the n canonical training labels.

    classification and ordinal: the commonest label, with the labels' shares as probabilities; multilabel: the
    labels that more than half of the rows have; retrieval: the commonest answers, their shares as scores;
    regression: the mean; tagging: the commonest tag of all
    tokens, as the only item of ``tags`` (see ``for_words``).
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
