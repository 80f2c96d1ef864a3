"""What two versions of a task teach, and the rows that both are asked about.

Training rows that say the same (text and label) are one content; a version is how often it has each, in an
order that only the contents decide. So the same rows in another order are the same version.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from doubleroute import linear
from doubleroute.data.tags import legal
from doubleroute.review.renaming import renamed_label
from doubleroute.review.rows import Changes, VersionRows
from doubleroute.review.sampling import Sampled

_HELD = 5
_STRENGTH_ROWS = 3000


@dataclass(frozen=True)
class Features:
    """Frozen features of the texts of both versions.

    ``values`` float32 [texts, d]; of tagging [words, d], text t has those from ``starts[t]`` to
    ``starts[t + 1]`` (``starts`` int64 [texts + 1], else None). ``base`` int64 [rows of base], ``head`` int64
    [rows of head]: the text of each row, -1 where it has no features.
    """

    values: np.ndarray
    base: np.ndarray
    head: np.ndarray
    starts: np.ndarray | None = None

    def examples(self, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows of ``values`` of these texts [k], one after the other, and the place in ``texts`` of the
        text of each: int64 [examples] both."""
        if self.starts is None:
            return texts, np.arange(len(texts))
        lengths = self.starts[texts + 1] - self.starts[texts]
        owner = np.repeat(np.arange(len(texts)), lengths)
        within = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return self.starts[texts][owner] + within, owner

    def words(self, text: int) -> int:
        """How many words a text has; 1 where texts have no words of their own."""
        return 1 if self.starts is None else int(self.starts[text + 1] - self.starts[text])


@dataclass(frozen=True)
class Examples:
    """Rows ready for a probe: ``features`` float32 [n, d + 1], ``targets`` [n, ...] as ``linear.losses``
    takes them, ``owner`` int64 [n]: the row (content) of each; of tagging an example is a word."""

    features: np.ndarray
    targets: np.ndarray
    owner: np.ndarray


@dataclass(frozen=True)
class Study:
    """u contents that are learned from and m rows that are held out.

    ``base`` and ``head`` float64 [u]: how often each version has a content; ``weight`` float64 [u]: how many
    rows one of them stands for; ``unit`` uint64 [u]: the number of what is drawn together, a text;
    ``settled`` bool [u]: contents of rows that were relabelled or edited, which are the change itself and no
    sample of anything; ``untouched`` bool [u]: contents whose text both versions teach alike.
    ``base_content`` and ``head_content`` int64: the content of each row of the versions, -1 for a row that is
    not learned from. ``held_rows`` int64 [m]: rows of head; ``truths`` [m] their labels. ``left_out``: test
    rows that are not among them, by the reason.
    ``changed``: changed training rows, and ``looked_at`` how many of them models look at.
    """

    kind: str
    labels: list[str]
    learned: Examples
    base: np.ndarray
    head: np.ndarray
    weight: np.ndarray
    unit: np.ndarray
    settled: np.ndarray
    untouched: np.ndarray
    base_content: np.ndarray
    head_content: np.ndarray
    held: Examples
    held_rows: np.ndarray
    truths: list[Any]
    left_out: dict[str, int]
    strength: float
    changed: int
    looked_at: int

    @property
    def same(self) -> bool:
        """Whether both versions teach exactly the same, as far as their rows are looked at."""
        return bool((self.base == self.head).all())

    @property
    def outputs(self) -> int:
        """Numbers that a model gives for an example."""
        return 1 if self.kind == "regression" else len(self.labels)

    def fit(self, counts: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
        """The coefficients [d + 1, outputs] learned from contents that are there ``counts`` [u] times."""
        given = self.learned
        weights = (counts * self.weight)[given.owner]
        return linear.fit(
            self.kind, given.features, given.targets, weights, self.outputs, self.strength, start
        )

    def losses(self, coefficients: np.ndarray) -> np.ndarray:
        """The loss of each held-out example, float64 [n]."""
        return linear.losses(self.kind, self.held.features @ coefficients, self.held.targets)


def study(
    base: VersionRows, head: VersionRows, changes: Changes, features: Features, sample: Sampled
) -> Study:
    """Bring together what both versions teach and which test rows can judge them.

    Learned are the labelled training rows of the ``sample``, which need features. Held out are test rows that
    are unchanged, whose text both versions teach alike or not at all, and whose label base knows too.
    """
    sides = (
        _Side(base, features.base, features, changes.renamed, sample.rows[0], sample.sound[0]),
        _Side(head, features.head, features, {}, sample.rows[1], sample.sound[1]),
    )
    contents = sorted({content for side in sides for content in side.contents if content}, key=repr)
    number: dict[Any, int] = {content: place for place, content in enumerate(contents)}
    of = [np.array([number.get(each, -1) for each in side.contents], np.int64) for side in sides]
    base_counts, head_counts = (np.bincount(each[each >= 0], minlength=len(contents)) for each in of)
    texts, weight = np.zeros(len(contents), np.int64), np.ones(len(contents))
    for side, each, weights in zip(sides, of, sample.weights, strict=True):
        texts[each[each >= 0]] = side.places[each >= 0]
        weight[each[each >= 0]] = weights[each >= 0]
    held_rows, left_out = _held(sides, changes)
    truths = [sides[1].labels[row] for row in held_rows]
    names = _learned_names(base.kind, [*(content[2] for content in contents), *truths])
    scaling = scaling_of(features, texts[base_counts > 0] if base_counts.any() else texts)
    learned = examples_of(base.kind, features, scaling, texts, [content[2] for content in contents], names)
    unit = np.array([text_number(f"{text}\0{pair}") for text, pair, _ in contents], np.uint64)
    return Study(
        kind=base.kind,
        labels=names,
        learned=learned,
        base=base_counts.astype(np.float64),
        head=head_counts.astype(np.float64),
        weight=weight,
        unit=unit,
        settled=_settled(len(contents), of, changes),
        untouched=~np.isin(unit, unit[base_counts != head_counts]),
        base_content=of[0],
        head_content=of[1],
        held=examples_of(base.kind, features, scaling, features.head[held_rows], truths, names),
        held_rows=held_rows,
        truths=truths,
        left_out=left_out,
        strength=strength_of(base.kind, learned, base_counts, max(1, len(names)), weight),
        changed=sample.changed,
        looked_at=sample.looked_at,
    )


def targets(kind: str, truths: Sequence[Any], labels: Sequence[str]) -> np.ndarray:
    """Labels of rows as ``linear.losses`` takes them, of tagging those of all words one after the other."""
    if kind == "regression":
        return np.array(truths, np.float64)
    index = {label: place for place, label in enumerate(labels)}
    if kind == "multilabel":
        found = np.zeros((len(truths), len(labels)), np.float32)
        for row, truth in enumerate(truths):
            found[row, [index[label] for label in truth]] = 1
        return found
    if kind == "tagging":
        return np.array([index[tag] for tags in truths for tag in tags], np.int64)
    return np.array([index[label] for label in truths], np.int64)


class _Side:
    """One version: the labels [rows] that can be learned, None for the others, and the contents of the
    training rows that are: (text, pair, label), None for the others. Rows that are not ``sound`` are none."""

    def __init__(
        self,
        rows: VersionRows,
        places: np.ndarray,
        features: Features,
        renamed: Mapping[str, str],
        looked_at: np.ndarray,
        sound: np.ndarray,
    ) -> None:
        self.rows, self.places = rows, places
        self.usable = looked_at & (places >= 0)
        self.all_labels = [
            _as_learned(rows.kind, renamed_label(rows.kind, label, renamed)) for label in rows.comparable()
        ]
        self.labels = [
            label if usable and fits(rows.kind, label, features.words(place)) else None
            for label, usable, place in zip(self.all_labels, self.usable, places.tolist(), strict=True)
        ]
        self.train = sound & np.array([split == "train" for split in rows.splits], bool)
        self.contents = [
            (text, pair or "", label) if train and label is not None else None
            for text, pair, label, train in zip(rows.texts, rows.pairs, self.labels, self.train, strict=True)
        ]

    def taught(self) -> tuple[dict[str, Counter[Any]], set[str]]:
        """What all its training rows say about each text, and the names of the labels that they use."""
        said: dict[str, Counter[Any]] = {}
        alike = self.rows.alike()
        rows = np.flatnonzero(self.train)
        for row in rows:
            said.setdefault(alike[row], Counter())[self.all_labels[row]] += 1
        return said, set(label_names(self.rows.kind, [self.all_labels[row] for row in rows]))


def _as_learned(kind: str, label: Any) -> Any:
    """A label as training and scores read it: of tags an I-x that begins an entity, as in the schemes IO and
    IOB1, is a B-x."""
    return tuple(legal(label)) if kind == "tagging" and label is not None else label


def fits(kind: str, label: Any, words: int) -> bool:
    """Whether a label can be learned: validation has not taken bad rows out yet."""
    if kind == "regression":
        number = isinstance(label, int | float) and not isinstance(label, bool)
        return number and math.isfinite(label)
    if kind == "classification":
        return isinstance(label, str)
    names = isinstance(label, tuple) and all(isinstance(each, str) for each in label)
    return names and (kind != "tagging" or len(label) == words > 0)


def _held(sides: tuple[_Side, _Side], changes: Changes) -> tuple[np.ndarray, dict[str, int]]:
    """The test rows of head that can judge both versions, and how many cannot, by the reason."""
    head = sides[1].rows
    said, known = zip(*(side.taught() for side in sides), strict=True)
    one_sided = known[0] ^ known[1]
    alike, found, left_out = head.alike(), [], Counter[str]()
    for (_, row), kinds in zip(changes.pairs.tolist(), changes.kinds, strict=True):
        if row < 0 or head.splits[row] != "test" or not sides[1].usable[row]:
            continue
        label = sides[1].labels[row]
        if kinds:
            left_out["changed"] += 1
        elif label is None:
            left_out["without a label"] += 1
        elif said[0].get(alike[row]) != said[1].get(alike[row]):
            left_out["text is taught differently"] += 1
        elif one_sided.intersection(label_names(head.kind, [label])) - known[0]:
            left_out["label is new"] += 1
        else:
            found.append(row)
    return np.array(sorted(found), np.int64), dict(left_out)


def label_names(kind: str, labels: Iterable[Any]) -> list[str]:
    """The names that labels use, sorted; a number has none."""
    if kind == "regression":
        return []
    several = kind in ("multilabel", "tagging")
    found = {
        name
        for label in labels
        if label is not None
        for name in (label if several and isinstance(label, tuple) else [label])
    }
    return sorted(name for name in found if isinstance(name, str))


def _learned_names(kind: str, labels: Iterable[Any]) -> list[str]:
    """``label_names``, of tags completed as validation completes them: a type that occurs has its B- and its
    I- tag, also where a scorer meets the tags as they were written."""
    found = label_names(kind, labels)
    if kind != "tagging":
        return found
    types = {tag[2:] for tag in found if tag[:2] in ("B-", "I-")}
    return sorted({*found, *(f"{side}-{name}" for side in "BI" for name in types)})


def _settled(size: int, of: Sequence[np.ndarray], changes: Changes) -> np.ndarray:
    """Which contents are of training rows that were relabelled or edited: bool [size]."""
    found = np.zeros(size, bool)
    pairs = changes.pairs[np.union1d(changes.of("relabelled"), changes.of("edited"))]
    for before, after in pairs[(pairs >= 0).all(axis=1)].tolist():
        both = [int(of[0][before]), int(of[1][after])]
        if min(both) >= 0:
            found[both] = True
    return found


def text_number(text: str) -> int:
    """A number of 64 bits for a text, the same everywhere."""
    import xxhash

    return xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass"))


def scaling_of(features: Features, texts: np.ndarray) -> linear.Scaling | None:
    places, _ = features.examples(texts)
    return linear.scaling(features.values[places]) if len(places) else None


def examples_of(
    kind: str,
    features: Features,
    scaling: linear.Scaling | None,
    texts: np.ndarray,
    truths: Sequence[Any],
    labels: Sequence[str],
) -> Examples:
    places, owner = features.examples(texts)
    values = features.values[places]
    scaled = scaling.of(values) if scaling else np.zeros((len(values), values.shape[1] + 1), np.float32)
    return Examples(scaled, targets(kind, truths, labels), owner)


def strength_of(
    kind: str, learned: Examples, counts: np.ndarray, outputs: int, weight: np.ndarray | float = 1.0
) -> float:
    """The penalty that suits base, from a fifth of its contents, or of some of them; each of them stands for
    ``weight`` rows."""
    contents = np.flatnonzero(counts)
    contents = contents[np.random.default_rng(0).permutation(len(contents))[:_STRENGTH_ROWS]]
    held = np.zeros(len(counts), bool)
    held[contents[::_HELD]] = True
    known = np.zeros(len(counts), bool)
    known[contents] = True
    rows = known[learned.owner]
    if len(contents) < 2 * _HELD:
        return linear.PENALTIES[0]
    found = linear.penalty(
        kind, learned.features[rows], learned.targets[rows], outputs, held[learned.owner[rows]]
    )
    # What suits some rows suits more of them when it grows as they do.
    return found * float((counts * weight).sum()) / int(counts[known & ~held].sum())
