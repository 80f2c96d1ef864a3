"""Rows that a change brought and that say again, nearly again, or otherwise what another row says."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from doubleroute.config import SPLITS, Review
from doubleroute.review.alike import near_copies, nearest
from doubleroute.review.findings import Finding, counted, digests, quoted, severity_of, where
from doubleroute.review.leaks import GUARDS, near_before
from doubleroute.review.rows import VersionRows
from doubleroute.review.versions import Versions

#: Row, the row beside it, and how alike they are.
_Pair = tuple[int, int, float]
#: The rows of each text that has more than one label, by label.
_Disputed = dict[str | None, dict[Hashable, list[int]]]


def duplicates(versions: Versions, review: Review) -> list[Finding]:
    """The finding ``duplicate`` for each split: rows with text and label of another row of it, beyond those
    of base. The first row of a text and label is no duplicate."""
    identities = _identities(versions.head, versions.head_keys, versions.head_labels)
    groups = _repeated(identities)
    of_base = _identities(versions.base, versions.base_keys, versions.base_labels)
    before = Counter(each for each in of_base if each in groups)
    found = []
    for split in SPLITS:
        twice = [rows for (each, *_), rows in groups.items() if each == split]
        rows = sorted(row for each in twice for row in each)
        same = [identities[row] for row in rows]
        new = versions.brought(rows, same, {each: max(1, before[each]) for each in set(same)})
        if new:
            taken = set(new)
            shown = new[: review.examples]
            pairs = [(row, next(o for o in groups[identities[row]] if o not in taken)) for row in shown]
            already = len(rows) - len(twice) - len(new)
            found.append(_duplicate(versions, split, new, pairs, already, review))
    return found


def near_duplicates(versions: Versions, review: Review) -> list[Finding]:
    """The finding ``near-duplicate`` for each split: rows with a text that is new there and at least
    ``review.near`` like another row's, copies aside. Of two new rows that are near the later one counts. A
    row that leaks is that finding's."""
    found = []
    new = set(versions.new_texts)
    for split in SPLITS:
        inside = versions.of_split(split)
        outside = [row for guard in GUARDS.get(split, ()) for row in versions.of_split(guard)]
        leaking = versions.first_rows(outside)
        old = versions.first_rows([row for row in inside if row not in new])
        fresh = versions.first_rows([row for row in inside if row in new])
        fresh = {key: row for key, row in fresh.items() if key not in leaking}
        pairs = _near_old(fresh, old, review.near) + _near_new(fresh, review.near)
        was = near_before(versions, [pair[:2] for pair in pairs], review.near)
        nearest_of: dict[int, _Pair] = {}
        for pair, near in zip(pairs, was, strict=True):
            if not near:
                nearest_of.setdefault(pair[0], pair)
        if nearest_of:
            found.append(_near_duplicate(versions, split, sorted(nearest_of.values()), review))
    return found


def conflicts(versions: Versions, review: Review) -> list[Finding]:
    """The finding ``conflict``: rows with the text of another row of any split and another label, where no
    row of base had their text with their label. Rows that validation refuses are that finding's."""
    against = _disputed(versions.head_keys, versions.usable_labels)
    before = {
        (key, label)
        for key, label in zip(versions.base_keys, versions.base_labels, strict=True)
        if key in against
    }
    new = sorted(
        row
        for key, labels in against.items()
        for label, rows in labels.items()
        if (key, label) not in before
        for row in rows
    )
    if not new:
        return []
    disputed = _disputed(versions.base_keys, versions.base_labels)
    already = sum(len(rows) for labels in disputed.values() for rows in labels.values())
    return [_conflict(versions, new, against, already, review)]


def _identities(
    side: VersionRows, keys: Sequence[str | None], labels: Sequence[Any]
) -> list[tuple[str, str | None, Any]]:
    return list(zip(side.splits, keys, labels, strict=True))


def _repeated(identities: Sequence[tuple[str, str | None, Any]]) -> dict[tuple[Any, ...], list[int]]:
    """The rows of each split, text and label that stand there more than once; not those without a text."""
    times = Counter(identities)
    found: dict[tuple[Any, ...], list[int]] = {}
    for row, identity in enumerate(identities):
        if times[identity] > 1 and identity[1] is not None:
            found.setdefault(identity, []).append(row)
    return found


def _disputed(keys: Sequence[str | None], labels: Sequence[Any]) -> _Disputed:
    """The labelled rows of each text that has more than one label, by label."""
    first: dict[str | None, Any] = {}
    disputed = set()
    for key, label in zip(keys, labels, strict=True):
        if key is not None and label is not None and first.setdefault(key, label) != label:
            disputed.add(key)
    found: _Disputed = {key: {} for key in disputed}
    if disputed:
        for row, (key, label) in enumerate(zip(keys, labels, strict=True)):
            if key in disputed and label is not None:
                found[key].setdefault(label, []).append(row)
    return found


def _other_side(versions: Versions, row: int, labels: Mapping[Hashable, Sequence[int]]) -> int:
    """The row of another label to quote: one that nothing happened to, of the same split, the first."""
    head, own = versions.head, versions.head_labels[row]
    others = [other for label, rows in labels.items() if label != own for other in rows]
    return min(
        others, key=lambda each: (bool(versions.kinds[each]), head.splits[each] != head.splits[row], each)
    )


def _near_old(fresh: Mapping[str, int], old: Mapping[str, int], least: float) -> list[_Pair]:
    texts, others = [key for key in fresh if key not in old], list(old)
    if not texts or not others:
        return []
    rows, similarity = nearest(texts, others, least)
    return [
        (fresh[text], old[others[other]], alike)
        for text, other, alike in zip(texts, rows.tolist(), similarity.tolist(), strict=True)
        if other >= 0
    ]


def _near_new(fresh: Mapping[str, int], least: float) -> list[_Pair]:
    texts = sorted(fresh, key=fresh.__getitem__)
    if len(texts) < 2:
        return []
    found = near_copies(texts, least)
    return [
        (fresh[texts[later]], fresh[texts[earlier]], alike)
        for earlier, later, alike in zip(
            found.texts.tolist(), found.others.tolist(), found.similarity.tolist(), strict=True
        )
    ]


def _duplicate(
    versions: Versions,
    split: str,
    rows: Sequence[int],
    pairs: Sequence[tuple[int, int]],
    already: int,
    review: Review,
) -> Finding:
    """``pairs``: the rows that are quoted, each with the one that it is a copy of."""
    head = versions.head
    return Finding(
        "duplicate",
        severity_of("duplicate", review),
        versions.task,
        split,
        len(rows),
        f"{counted(len(rows), 'row')} of {split} with text and label of another one",
        f"take them out of {where(head.files[row] for row in rows)}, unless they shall count more",
        examples=[quoted(head, row, (head, other)) for row, other in pairs],
        numbers={"already_there": already},
        rows=digests(versions.task, head, rows),
    )


def _near_duplicate(versions: Versions, split: str, pairs: Sequence[_Pair], review: Review) -> Finding:
    head, rows = versions.head, [row for row, *_ in pairs]
    # Of other words the tags are other ones, which says nothing.
    labels = None if head.kind == "tagging" else versions.head_labels
    other_label = sum(labels[row] != labels[other] for row, other, _ in pairs) if labels else 0
    differ = f"{other_label:,} of them have another label than the row that they are like"
    return Finding(
        "near-duplicate",
        severity_of("near-duplicate", review),
        versions.task,
        split,
        len(rows),
        f"{counted(len(rows), 'row')} of {split} with nearly the text of another one",
        f"look whether they are one text written twice; if so, keep one of each pair in "
        f"{where(head.files[row] for row in rows)}",
        differ if other_label else "",
        examples=[
            quoted(head, row, (head, other), f"similarity {alike:.2f}")
            for row, other, alike in pairs[: review.examples]
        ],
        numbers={"near": review.near, "other_label": other_label},
        rows=digests(versions.task, head, rows),
    )


def _conflict(
    versions: Versions, rows: Sequence[int], against: _Disputed, already: int, review: Review
) -> Finding:
    head, keys = versions.head, versions.head_keys
    # The other side alone of what is quoted: a text may stand in thousands of rows.
    pairs = [(row, _other_side(versions, row, against[keys[row]])) for row in rows[: review.examples]]
    splits = {head.splits[row] for row in rows}
    return Finding(
        "conflict",
        severity_of("conflict", review),
        versions.task,
        splits.pop() if len(splits) == 1 else None,
        len(rows),
        f"{counted(len(rows), 'row')} with the text of another row and another label",
        "decide which label is right and give it to both, or take one out of "
        f"{where(head.files[row] for row in rows)}",
        examples=[quoted(head, row, (head, other)) for row, other in pairs],
        numbers={"already_there": already},
        rows=digests(versions.task, head, rows),
    )
