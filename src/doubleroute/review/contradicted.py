"""Changed rows whose label a quick model confidently contradicts, by what it says of rows it did not see.

How strongly a label has to be contradicted is learned from the unchanged rows, many of which are contradicted
too: a p-value is the share of them that are contradicted as strongly (conformal outlier detection, Bates et
al. 2023), and Benjamini & Hochberg's (1995) procedure decides which of them are shown. A word whose tag was
changed is held against the words of unchanged rows that might have been changed in the same way: from no
entity, into none, to another type, to another end of an entity; the words of a row are corrected by
Bonferroni.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from doubleroute import linear
from doubleroute.review.renaming import names_of, renamed_label
from doubleroute.review.rows import Changes, VersionRows
from doubleroute.review.sampling import Sampled
from doubleroute.review.study import (
    Examples,
    Features,
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
    base: VersionRows, head: VersionRows, changes: Changes, features: Features, sample: Sampled
) -> list[Contradiction]:
    """Rows that were added, edited or given another label and that the model contradicts, the surest first.

    A model is learned in _FOLDS parts, and asked about the rows that it did not learn from; copies of a text
    are in one part. Looked at are the rows of the ``sample``, which need features. Rows whose label fewer
    than _LEAST_OF_LABEL rows have are left alone, and all where fewer than _LEAST_UNCHANGED are unchanged or
    none of them names a label.
    """
    labels = head.comparable()
    usable = np.array(
        [
            taken and place >= 0 and fits(head.kind, label, features.words(place))
            for taken, label, place in zip(sample.rows[1], labels, features.head.tolist(), strict=True)
        ],
        bool,
    )
    pair_of = {int(row): place for place, row in enumerate(changes.pairs[:, 1]) if row >= 0}
    changed = np.array([bool(changes.kinds[pair_of[row]]) for row in range(len(head))], bool)
    rows = np.flatnonzero(usable)
    if (~changed[rows]).sum() < _LEAST_UNCHANGED or not changed[rows].any():
        return []
    if head.kind != "regression" and not label_names(head.kind, [labels[row] for row in rows]):
        return []  # a column of label sets that lost them all
    asked = _Asked(head, features, rows, [labels[row] for row in rows])
    unchanged = ~changed[rows]
    doubts = np.sort([asked.doubt(int(place))[0] for place in np.flatnonzero(unchanged)])
    of_words = asked.doubts_of_words(unchanged) if head.kind == "tagging" else {}
    times = names_of(head.kind, asked.labels)
    common = {"O", *(name for name, count in times.items() if count >= _LEAST_OF_LABEL)}
    before = base.comparable()
    strata: dict[str, list[tuple[float, Contradiction]]] = {name: [] for name in SHARES}
    for place in np.flatnonzero(changed[rows]):
        row = int(rows[place])
        pair = pair_of[row]
        kinds, old = changes.kinds[pair], int(changes.pairs[pair, 0])
        relabelled = "relabelled" in kinds
        if not relabelled and not {"added", "edited"} & set(kinds):
            continue
        if not set(label_names(head.kind, [labels[row]])) <= common:
            continue
        had = renamed_label(base.kind, before[old], changes.renamed) if relabelled and old >= 0 else None
        doubt, word, prefers, probability = asked.doubt(int(place), had)
        if word is not None and had is not None:
            p = asked.p_of_words(int(place), had, of_words)
        else:
            p = _rank(doubt, doubts)
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


def _rank(doubt: float, doubts: np.ndarray) -> float:
    """The share of sorted doubts that are no smaller, itself included."""
    return float(1 + np.searchsorted(doubts, doubt, side="right")) / (1 + len(doubts))


def _step(had: str, name: str) -> str:
    """In which way a tag was changed."""
    if "O" in (had, name):
        return "from none" if had == "O" else "into none"
    return "end" if had[2:] == name[2:] else "type"


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

    def doubts_of_words(self, unchanged: np.ndarray) -> dict[str, np.ndarray]:
        """How much better than the best other tag the words' own are, in unchanged rows (bool [k]): sorted,
        by the step that leads from such another tag to a tag."""
        words = np.repeat(unchanged, np.diff(self.starts))
        logits, own = self.logits[words].astype(np.float64), self.targets[words]
        found: dict[str, list[np.ndarray]] = {}
        for place, name in enumerate(self.names):
            these = logits[own == place]
            for step in ("from none", "into none", "end", "type"):
                rivals = [at for at, had in enumerate(self.names) if at != place and _step(had, name) == step]
                if rivals and len(these):
                    found.setdefault(step, []).append(these[:, place] - these[:, rivals].max(axis=1))
        return {step: np.sort(np.concatenate(parts)) for step, parts in found.items()}

    def p_of_words(self, place: int, had: Any, doubts: Mapping[str, np.ndarray]) -> float:
        """Of a row whose tags were ``had``: the smallest p-value of a changed word, times their number; 1
        where they were not as many as the words."""
        part = slice(int(self.starts[place]), int(self.starts[place + 1]))
        if len(had) != part.stop - part.start:
            return 1.0
        changed = [
            (_step(before, self.names[now]), float(logits[now] - logits[self.index[before]]))
            for logits, now, before in zip(self.logits[part], self.targets[part], had, strict=True)
            if self.names[now] != before and before in self.index
        ]
        smallest = min((_rank(doubt, doubts.get(step, np.empty(0))) for step, doubt in changed), default=1.0)
        return min(1.0, smallest * len(changed))

    def _of_set(self, logits: np.ndarray, wanted: np.ndarray, had: Any) -> tuple[float, None, Any, float]:
        gaps = np.where(wanted > 0, logits, -logits)
        if had is not None:
            earlier = np.array([name in had for name in self.names])
            gaps = np.where(earlier != (wanted > 0), gaps, np.inf)
        worst = int(np.argmin(gaps))
        prefers = [name for name, logit in zip(self.names, logits, strict=True) if logit > 0]
        sure = float(linear.probabilities("multilabel", logits[None])[0, worst])
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
        probability = float(linear.probabilities("classification", logits[word][None])[0, best])
        return float(gaps[word]), word if self.kind == "tagging" else None, self.names[best], probability


def _out_of_sample(kind: str, examples: Examples, fold: np.ndarray, outputs: int) -> np.ndarray:
    """The logits [examples, outputs] of each row's examples by the model of the other folds; ``fold`` [k]."""
    strength = strength_of(kind, examples, np.ones(len(fold)), outputs)
    of = fold[examples.owner]

    def learned(left_out: int) -> np.ndarray:
        weights = (of != left_out).astype(np.float32)
        model = linear.fit(
            kind, examples.features, examples.targets, weights, outputs, strength, precision=linear.ROUGH
        )
        return np.asarray(examples.features[of == left_out] @ model)

    logits = np.zeros((len(of), outputs), np.float32)
    for part, found in enumerate(linear.side_by_side([partial(learned, part) for part in range(_FOLDS)])):
        logits[of == part] = found
    return logits
