"""What the scorers share: sums over multisets of rows, and the metrics made of them.

Every metric here is a function of sums over rows. The sums' terms are computed once; a bootstrap
resample then costs one weighted count.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

#: Equal-width bins of the reliability diagram, as in Guo et al. 2017.
BINS = 15


def times(rows: np.ndarray | None, size: int) -> np.ndarray:
    """How often each of ``size`` rows is counted: float64 [size]; None counts every row once."""
    if rows is None:
        return np.ones(size)
    return np.bincount(rows, minlength=size).astype(np.float64)


def ratio(part: float, whole: float) -> float:
    """part / whole; NaN when there is no whole."""
    return float(part / whole) if whole else math.nan


class Sums:
    """Terms that belong to a row and a cell, added up by cell over any multiset of the rows."""

    def __init__(self, rows: np.ndarray, cells: np.ndarray, size: int, terms: np.ndarray | None = None):
        """rows, cells: int64 [n terms], cells below ``size``; terms: float64 [n terms], 1 by default."""
        keys, inverse = np.unique(rows * size + cells, return_inverse=True)
        self.size = size
        self.rows, self.cells = keys // size, keys % size
        self.terms = np.bincount(inverse, weights=terms, minlength=keys.size).astype(np.float64)

    def over(self, counted: np.ndarray) -> np.ndarray:
        """Sums of the cells [size] when row i counts ``counted[i]`` times."""
        return np.bincount(self.cells, weights=counted[self.rows] * self.terms, minlength=self.size)


class Matches:
    """For each label: how often it is right, true, and answered.

    One account of single labels, label sets, tags and entities; precision, recall, F1, accuracy and
    MCC follow from it.
    """

    def __init__(
        self,
        labels: int,
        right: Sequence[np.ndarray],
        true: Sequence[np.ndarray],
        answered: Sequence[np.ndarray],
    ) -> None:
        """Each argument is (rows, labels), two int64 arrays with an element for each occurrence."""
        parts = (right, true, answered)
        rows = np.concatenate([rows for rows, _ in parts])
        cells = np.concatenate([label + part * labels for part, (_, label) in enumerate(parts)])
        self.labels = labels
        self.sums = Sums(rows, cells, 3 * labels)

    def over(self, counted: np.ndarray) -> np.ndarray:
        """float64 [3, labels]: right, true, answered, when row i counts ``counted[i]`` times."""
        return self.sums.over(counted).reshape(3, self.labels)


def accuracy(matches: np.ndarray) -> float:
    """Share of the true labels that are answered, for kinds with one answer a truth."""
    right, true, _ = matches
    return ratio(right.sum(), true.sum())


def f1(matches: np.ndarray) -> np.ndarray:
    """F1 of each label: 2 right / (true + answered); 0 where the label does not occur."""
    right, true, answered = matches
    return 2 * right / np.maximum(true + answered, 1)


def micro_f1(matches: np.ndarray) -> float:
    """F1 of all labels together; NaN when nothing is true and nothing answered."""
    right, true, answered = matches
    return ratio(2 * right.sum(), true.sum() + answered.sum())


def macro_f1(matches: np.ndarray) -> float:
    """Mean F1 over the labels that occur in truths or answers (scikit-learn's convention); NaN
    without any."""
    _, true, answered = matches
    return ratio(f1(matches).sum(), int(np.count_nonzero(true + answered)))


def weighted_f1(matches: np.ndarray) -> float:
    """Mean F1 weighted by how often a label is true; NaN when nothing is true."""
    _, true, _ = matches
    return ratio(f1(matches) @ true, true.sum())


def mcc(matches: np.ndarray) -> float:
    """Matthews correlation of several classes (Gorodkin 2004), for one answer a row.

    NaN without rows; 0 when truths or answers are all the same (scikit-learn's convention: a
    constant answer knows nothing).
    """
    right, true, answered = matches
    rows = true.sum()
    if not rows:
        return math.nan
    spread = (rows**2 - answered @ answered) * (rows**2 - true @ true)
    return float((right.sum() * rows - true @ answered) / math.sqrt(spread)) if spread else 0.0


def table(matches: np.ndarray, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """{name: {precision, recall, f1, support}}; None where undefined: the precision of a label that
    is never answered, the recall of one that is never true, the F1 of one that does neither."""
    return {
        name: {
            "precision": _or_none(ratio(right, answered)),
            "recall": _or_none(ratio(right, true)),
            "f1": _or_none(ratio(2 * right, true + answered)),
            "support": int(true),
        }
        for name, (right, true, answered) in zip(names, matches.T, strict=False)
    }


def confusion(truths: np.ndarray, answers: np.ndarray, labels: int, shown: int) -> list[list[int]]:
    """Counts [shown, shown], rows = truth, columns = answer, of codes below ``labels``."""
    counts = np.bincount(truths * labels + answers, minlength=labels**2).reshape(labels, labels)
    shown_counts: list[list[int]] = counts[:shown, :shown].tolist()
    return shown_counts


class Reliability:
    """How far confidence is from accuracy, in BINS equal bins (low, high] of confidence."""

    def __init__(self, rows: np.ndarray, confidence: np.ndarray, right: np.ndarray) -> None:
        """rows int64, confidence float64 in [0, 1], right bool: each [n], one element a claim."""
        edges = np.linspace(0, 1, BINS + 1)
        self.edges, self.bins = edges, np.searchsorted(edges[1:-1], confidence)
        self.confidence, self.right = confidence, right
        self.gaps = Sums(rows, self.bins, BINS, confidence - right)
        self.claims = Sums(rows, np.zeros_like(rows), 1)

    def ece(self, counted: np.ndarray) -> float:
        """Expected calibration error (Guo et al. 2017): mean over claims of the gap |accuracy -
        confidence| of their bin, when row i counts ``counted[i]`` times. In [0, 1]; NaN without claims."""
        return ratio(np.abs(self.gaps.over(counted)).sum(), self.claims.over(counted)[0])

    def table(self, rows: int) -> dict[str, Any]:
        """The bins over all rows once, and their error, as plain JSON; an empty bin's means are None."""
        bins = []
        for number, (low, high) in enumerate(zip(self.edges[:-1], self.edges[1:], strict=True)):
            inside = self.bins == number
            bins.append(
                {
                    "low": float(low),
                    "high": float(high),
                    "rows": int(inside.sum()),
                    "confidence": _or_none(ratio(self.confidence[inside].sum(), inside.sum())),
                    "accuracy": _or_none(ratio(self.right[inside].sum(), inside.sum())),
                }
            )
        return {"bins": bins, "ece": _or_none(self.ece(times(None, rows)))}


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
