"""Groups of changed rows that a person would name: by label, column, file, what they are about, kind."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from doubleroute.review.renaming import names_of, renamed_label
from doubleroute.review.rows import Changes, VersionRows
from doubleroute.review.study import Features

#: What a group calls all labels but its own.
OTHERS = "other labels"
_CLUSTERS = 6
_ROWS_OF_CLUSTER = 10
_WORDS = 3
_OUTSIDE = "O"
#: What groups a row, the name of its group, and its place.
_Named = Iterator[tuple[str, str, int]]


@dataclass(frozen=True)
class Group:
    """Changed rows that share something: ``places`` int64 [k] in ``Changes.pairs``, in order."""

    by: str
    name: str
    places: np.ndarray


def groups_of(
    base: VersionRows, head: VersionRows, changes: Changes, places: np.ndarray, features: Features
) -> list[Group]:
    """The groups of these places [k] in ``changes.pairs``: by label, source column, file, cluster and kind.
    Of groups with the same rows the first is kept, in that order."""
    found: dict[tuple[str, str], list[int]] = {}
    pairs = [(int(place), *changes.pairs[place].tolist()) for place in places]
    for by, name, row in chain(
        _by_label(base, head, changes, pairs),
        _by_origin(base, head, pairs),
        _by_cluster(base, head, pairs, features),
        (("kind", kind, place) for place, _, _ in pairs for kind in changes.kinds[place]),
    ):
        found.setdefault((by, name), []).append(row)
    distinct: dict[tuple[int, ...], Group] = {}
    for (by, name), rows in found.items():
        distinct.setdefault(tuple(rows), Group(by, name, np.array(rows, np.int64)))
    return list(distinct.values())


def _by_label(
    base: VersionRows, head: VersionRows, changes: Changes, pairs: list[tuple[int, int, int]]
) -> _Named:
    """For a row that got other labels "old -> new" and each of the two with the rest; else its labels."""
    before = [renamed_label(base.kind, label, changes.renamed) for label in base.comparable()]
    after = head.comparable()
    for place, old, new in pairs:
        gone = Counter(_names(base.kind, before[old])) if old >= 0 else Counter[str]()
        come = Counter(_names(head.kind, after[new])) if new >= 0 else Counter[str]()
        if old < 0 or new < 0 or gone == come:
            for name in sorted(gone | come):
                yield "label", name, place
            continue
        lost, gained = sorted(gone - come), sorted(come - gone)
        for one in lost:
            for other in gained:
                yield "label", f"{one} -> {other}", place
            yield "label", f"{one} -> {OTHERS if gained else 'nothing'}", place
        for other in gained:
            yield "label", f"{OTHERS if lost else 'nothing'} -> {other}", place


def _names(kind: str, label: Any) -> list[str]:
    """The labels of a row, of tagging one for each tag."""
    if kind == "tagging":
        return [tag for tag in label or () if tag != _OUTSIDE]
    return list(names_of(kind, [label]))


def _by_origin(base: VersionRows, head: VersionRows, pairs: list[tuple[int, int, int]]) -> _Named:
    """By the columns that slice the task and by file, as they are in head where the row is there."""
    for place, old, new in pairs:
        side, row = (head, new) if new >= 0 else (base, old)
        for column, values in side.segments.items():
            yield "source column", f"{column} = {values[row]}", place
    for place, old, new in pairs:
        side, row = (head, new) if new >= 0 else (base, old)
        yield "file", side.files[row], place


def _by_cluster(
    base: VersionRows, head: VersionRows, pairs: list[tuple[int, int, int]], features: Features
) -> _Named:
    """By k-means of the mean features, a cluster named by the words that are more frequent in it."""
    known = [
        (place, side.texts[row], text)
        for place, old, new in pairs
        for side, row, text in [
            (head, new, int(features.head[new])) if new >= 0 else (base, old, int(features.base[old]))
        ]
        if text >= 0
    ]
    count = min(_CLUSTERS, len(known) // _ROWS_OF_CLUSTER)
    if count < 2:
        return
    places, owner = features.examples(np.array([text for _, _, text in known], np.int64))
    sizes = np.bincount(owner, minlength=len(known))
    points = np.stack([features.values[places[part]].mean(axis=0) for part in _parts(sizes)])
    member = _k_means(points, count)
    names = _typical([text for _, text, _ in known], member, count)
    for (place, _, _), cluster in zip(known, member, strict=True):
        yield "cluster", names[cluster], place


def _parts(sizes: np.ndarray) -> list[slice]:
    ends = np.cumsum(sizes).tolist()
    return [slice(end - size, end) for end, size in zip(ends, sizes.tolist(), strict=True)]


def _k_means(points: np.ndarray, count: int) -> np.ndarray:
    from sklearn.cluster import KMeans

    distinct = len(np.unique(points, axis=0))
    found: np.ndarray = KMeans(min(count, distinct), n_init=3, random_state=0).fit_predict(points)
    return found


def _typical(texts: list[str], member: np.ndarray, count: int) -> list[str]:
    """Each cluster's name: the words whose share of its texts exceeds that of the others' most."""
    words = [{word for word in re.findall(r"\w+", text.casefold()) if len(word) > 2} for text in texts]
    names = []
    for cluster in range(count):
        inside = Counter(
            word for each, of in zip(words, member, strict=True) if of == cluster for word in each
        )
        outside = Counter(
            word for each, of in zip(words, member, strict=True) if of != cluster for word in each
        )
        here = max(1, int((member == cluster).sum()))
        there = max(1, len(member) - here)
        lift = {word: times / here - outside[word] / there for word, times in inside.items()}
        best = sorted(lift, key=lambda word: (-lift[word], word))[:_WORDS]
        names.append(f"{', '.join(best) or 'no words'} ({cluster + 1})")
    return names
