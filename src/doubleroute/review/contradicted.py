"""Changed rows whose label a quick model confidently contradicts, by what it says of rows it did not see.

How strongly a label has to be contradicted is learned from the unchanged rows, many of which are contradicted
too: a p-value is the share of them that are contradicted as strongly (conformal outlier detection, Bates et
al. 2023), and Benjamini & Hochberg's (1995) procedure decides which of them are shown.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from doubleroute.review import probe
from doubleroute.review.renaming import names_of, renamed_label
from doubleroute.review.rows import Changes, VersionRows
from doubleroute.review.study import (
    Examples,
    Features,
    chosen,
    examples_of,
    fits,
    label_names,
    scaling_of,
    strength_of,
    text_number,
)

#: The share of false ones among those that are shown, of relabelled rows and of added or edited ones.
SHARES = {"relabelled": 0.1, "new": 0.05}
_FOLDS = 5
#: With fewer unchanged rows nothing is said; nor about labels that so few rows have.
_LEAST_UNCHANGED = 100
_LEAST_OF_LABEL = 10


@dataclass(frozen=True)
class Contradiction:
    """A row of head whose label the model contradicts: its ``pair`` in the changes; what it says and ``had``
    said before, None where it was not there; ``word``, of a tagging row the word that is meant; the label
    that the model ``prefers`` and its ``probability`` (of numbers the value, and None); ``p``."""

    row: int
    pair: int
    label: Any
    had: Any
    word: int | None
    prefers: Any
    probability: float | None
    p: float


def contradicted(
    base: VersionRows, head: VersionRows, changes: Changes, features: Features, most: int
) -> list[Contradiction]:
    """Rows that were added, edited or given another label and that the model contradicts, the surest first.

    A model is learned in _FOLDS parts, and asked about the rows that it did not learn from; copies of a text
    are in one part. Of ``most`` see ``study.chosen``; all changed rows are looked at. Rows whose label fewer
    than _LEAST_OF_LABEL rows have are left alone, and all where fewer than _LEAST_UNCHANGED are unchanged.
    """
    labels = head.comparable()
    usable = np.array(
        [
            place >= 0 and fits(head.kind, label, features.words(place))
            for label, place in zip(labels, features.head.tolist(), strict=True)
        ],
        bool,
    )
    pair_of = {int(row): place for place, row in enumerate(changes.pairs[:, 1]) if row >= 0}
    changed = np.array([bool(changes.kinds[pair_of[row]]) for row in range(len(head))], bool)
    rows = np.flatnonzero(usable & (changed | chosen(head, base, most)))
    if (~changed[rows]).sum() < _LEAST_UNCHANGED or not changed[rows].any():
        return []
    asked = _Asked(head, features, rows, [labels[row] for row in rows])
    unchanged = np.sort([asked.doubt(int(place))[0] for place in np.flatnonzero(~changed[rows])])
    common = {name for name, count in names_of(head.kind, asked.labels).items() if count >= _LEAST_OF_LABEL}
    before = base.comparable()
    strata: dict[str, list[tuple[float, Contradiction]]] = {name: [] for name in SHARES}
    for place in np.flatnonzero(changed[rows]):
        row = int(rows[place])
        pair = pair_of[row]
        kinds, old = changes.kinds[pair], int(changes.pairs[pair, 0])
        relabelled = "relabelled" in kinds
        if not relabelled and not {"added", "edited"} & set(kinds):
            continue
        if not set(label_names(head.kind, [labels[row]])) <= common | {"O"}:
            continue
        had = renamed_label(base.kind, before[old], changes.renamed) if relabelled and old >= 0 else None
        doubt, word, prefers, probability = asked.doubt(int(place), had)
        p = float(1 + np.searchsorted(unchanged, doubt, side="right")) / (1 + len(unchanged))
        line = Contradiction(row, pair, head.labels[row], had, word, prefers, probability, p)
        strata["relabelled" if relabelled else "new"].append((doubt, line))
    found = [line for name, each in strata.items() for line in _shown(each, SHARES[name])]
    return sorted(found, key=lambda line: (line.p, line.row))


def _shown(lines: list[tuple[float, Contradiction]], share: float) -> list[Contradiction]:
    """Those with small p-values, of which at most ``share`` are false on average, and whose label the model
    would not give."""
    p = np.sort([line.p for _, line in lines])
    below = np.flatnonzero(p <= share * np.arange(1, len(p) + 1) / max(1, len(p)))
    if not len(below):
        return []
    return [line for doubt, line in lines if line.p <= p[below[-1]] and doubt < 0]


class _Asked:
    """What models that did not see it say of each of k rows."""

    def __init__(self, side: VersionRows, features: Features, rows: np.ndarray, labels: list[Any]) -> None:
        self.kind, self.labels = side.kind, labels
        self.names = label_names(side.kind, labels)
        texts = features.head[rows]
        examples = examples_of(side.kind, features, scaling_of(features, texts), texts, labels, self.names)
        alike = side.alike()
        fold = np.array([text_number(alike[row]) % _FOLDS for row in rows], np.int64)
        self.logits = _out_of_sample(side.kind, examples, fold, max(1, len(self.names)))
        self.starts = np.searchsorted(examples.owner, np.arange(len(rows) + 1))
        self.index = {name: place for place, name in enumerate(self.names)}
        self.targets = examples.targets

    def doubt(self, place: int, had: Any = None) -> tuple[float, int | None, Any, float | None]:
        """How much better than what the model prefers the row's label is, below zero where it is worse: in
        log probability, of numbers as minus the error; the smallest over a row's words or labels. With the
        label that it ``had``, in comparison with that. Then the word, the preferred label, its probability.
        """
        part = slice(int(self.starts[place]), int(self.starts[place + 1]))
        logits, wanted = self.logits[part].astype(np.float64), self.targets[part]
        if self.kind == "regression":
            value = float(logits[0, 0])
            error = abs(float(wanted[0]) - value)
            return (-error if had is None else abs(float(had) - value) - error), None, value, None
        if self.kind == "multilabel":
            return self._of_set(logits[0], wanted[0], had)
        return self._of_names(logits, wanted, had)

    def _of_set(self, logits: np.ndarray, wanted: np.ndarray, had: Any) -> tuple[float, None, Any, float]:
        gaps = np.where(wanted > 0, logits, -logits)
        if had is not None:
            earlier = np.array([name in had for name in self.names])
            gaps = np.where(earlier != (wanted > 0), gaps, np.inf)
        worst = int(np.argmin(gaps))
        prefers = [name for name, logit in zip(self.names, logits, strict=True) if logit > 0]
        sure = float(probe.probabilities("multilabel", logits[None])[0, worst])
        return float(gaps[worst]), None, prefers, sure if logits[worst] > 0 else 1 - sure

    def _of_names(
        self, logits: np.ndarray, wanted: np.ndarray, had: Any
    ) -> tuple[float, int | None, str, float]:
        own = logits[np.arange(len(wanted)), wanted]
        others = logits.copy()
        others[np.arange(len(wanted)), wanted] = -np.inf
        rivals = others.argmax(axis=1)
        gaps = own - others[np.arange(len(wanted)), rivals]
        if had is not None:
            earlier = [had] if self.kind == "classification" else list(had)
            if len(earlier) == len(wanted) and all(name in self.index for name in earlier):
                rivals = np.array([self.index[name] for name in earlier])
                gaps = np.where(rivals != wanted, own - logits[np.arange(len(wanted)), rivals], np.inf)
        word = int(np.argmin(gaps))
        best = int(logits[word].argmax())
        probability = float(probe.probabilities("classification", logits[word][None])[0, best])
        return float(gaps[word]), word if self.kind == "tagging" else None, self.names[best], probability


def _out_of_sample(kind: str, examples: Examples, fold: np.ndarray, outputs: int) -> np.ndarray:
    """The logits [examples, outputs] of each row's examples by the model of the other folds; ``fold`` [k]."""
    strength = strength_of(kind, examples, np.ones(len(fold)), outputs)
    of = fold[examples.owner]

    def learned(left_out: int) -> np.ndarray:
        weights = (of != left_out).astype(np.float32)
        model = probe.fit(
            kind, examples.features, examples.targets, weights, outputs, strength, precision=probe.ROUGH
        )
        return np.asarray(examples.features[of == left_out] @ model)

    logits = np.zeros((len(of), outputs), np.float32)
    for part, found in enumerate(probe.side_by_side([partial(learned, part) for part in range(_FOLDS)])):
        logits[of == part] = found
    return logits
