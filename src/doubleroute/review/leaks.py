"""Texts that a change brought to both sides: learned from, and held out.

The row in the less protected split is the leak, as in validation (``data.checks.also_in``). Texts are
compared with case and white space aside.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from doubleroute.config import Review
from doubleroute.data.splits import PROTECTED
from doubleroute.review.alike import nearest, similarities
from doubleroute.review.findings import (
    Finding,
    counted,
    digests,
    quoted,
    severity_of,
    where,
)
from doubleroute.review.rows import VersionRows
from doubleroute.review.versions import Versions

#: Each split that may hold a leak, and the splits that are more protected.
GUARDS = {split: PROTECTED[: PROTECTED.index(split)] for split in ("train", "validation")}


def leaks(versions: Versions, review: Review) -> list[Finding]:
    """The finding ``leak`` for train and for validation: rows with the text of a row of a more protected
    split, beyond those of base. The count is of rows that leak."""
    found = []
    for split, guards in GUARDS.items():
        keys, held = versions.head_keys, _first_rows(versions.head, versions.head_keys, guards)
        rows = [row for row in versions.of_split(split) if keys[row] in held]
        before = _leaking(versions.base, versions.base_keys, split, guards)
        new = versions.brought(rows, [keys[row] for row in rows], before)
        if new:
            pairs = [(row, held[keys[row]]) for row in new]
            found.append(_leak(versions, split, guards, pairs, len(rows) - len(new), review))
    return found


def near_leaks(versions: Versions, review: Review) -> list[Finding]:
    """The finding ``near-leak`` for train and for validation: rows with a text that is new in its split and
    at least ``review.near`` like one on the other side, and no copy of any there.

    The count is of new rows that have such a row; where both are new, of the less protected one.
    """
    found = []
    for split, guards in GUARDS.items():
        new = set(versions.new_texts)
        inside = versions.of_split(split)
        outside = [row for guard in guards for row in versions.of_split(guard)]
        brought = _near(versions, [row for row in inside if row in new], outside, review.near)
        old = [row for row in inside if row not in new]
        turned = _near(versions, [row for row in outside if row in new], old, review.near)
        pairs = sorted([*brought, *((other, row, alike) for row, other, alike in turned)])
        if pairs:
            found.append(_near_leak(versions, split, guards, pairs, review))
    return found


def leaks_across_tasks(tasks: Sequence[Versions], review: Review) -> list[Finding]:
    """The finding ``leak-across-tasks`` for each pair of tasks: labelled training rows of the one with the
    text of a labelled test row of the other, beyond those of base. All tasks train one backbone.

    A row that leaks within its own task too is that finding's.
    """
    found = []
    for learning in tasks:
        own = {learning.head_keys[row] for row in learning.of_split("test")}
        for testing in tasks:
            if testing is learning:
                continue
            held = _labelled(testing.head, testing.head_keys, "test")
            learned = _labelled(learning.head, learning.head_keys, "train")
            pairs = {
                row: held[key][0] for key in learned if key in held and key not in own for row in learned[key]
            }
            rows = sorted(pairs)
            held_before = _labelled(testing.base, testing.base_keys, "test")
            learned_before = _labelled(learning.base, learning.base_keys, "train")
            before = {key: len(each) for key, each in learned_before.items() if key in held_before}
            new = learning.brought(rows, [learning.head_keys[row] for row in rows], before)
            if new:
                found.append(
                    _across(learning, testing, [(row, pairs[row]) for row in new], len(rows), review)
                )
    return found


def _first_rows(
    side: VersionRows, keys: Sequence[str | None], splits: Sequence[str]
) -> dict[str | None, int]:
    """The first row of each text in these splits, which are given in order of preference."""
    found: dict[str | None, int] = {}
    for split in splits:
        for row, (key, each) in enumerate(zip(keys, side.splits, strict=True)):
            if each == split and key is not None:
                found.setdefault(key, row)
    return found


def _leaking(
    side: VersionRows, keys: Sequence[str | None], split: str, guards: Sequence[str]
) -> Counter[str | None]:
    """How many rows of a split leak, by their text."""
    held = _first_rows(side, keys, guards)
    return Counter(key for key, each in zip(keys, side.splits, strict=True) if each == split and key in held)


def _labelled(side: VersionRows, keys: Sequence[str | None], split: str) -> dict[str, list[int]]:
    """The labelled rows of a split by their text."""
    found: dict[str, list[int]] = {}
    for row, (key, each) in enumerate(zip(keys, side.splits, strict=True)):
        if each == split and key is not None and side.labels[row] is not None:
            found.setdefault(key, []).append(row)
    return found


def _near(
    versions: Versions, rows: Iterable[int], others: Sequence[int], least: float
) -> list[tuple[int, int, float]]:
    """(row, nearest of the others, similarity) of those rows that have one and no copy among the others, and
    were not near to what it was before."""
    keys = versions.head_keys
    firsts = versions.first_rows(others)
    asking = [row for row in rows if keys[row] not in firsts]
    texts = list(firsts)
    if not asking or not texts:
        return []
    found, similarity = nearest([str(keys[row]) for row in asking], texts, least)
    pairs = [
        (row, firsts[texts[other]], float(alike))
        for row, other, alike in zip(asking, found.tolist(), similarity.tolist(), strict=True)
        if other >= 0
    ]
    was = near_before(versions, [pair[:2] for pair in pairs], least)
    return [pair for pair, old in zip(pairs, was, strict=True) if not old]


def near_before(versions: Versions, pairs: Sequence[tuple[int, int]], least: float) -> list[bool]:
    """Whether both rows of a pair of head were there in base, in the same splits, and as near: [k]."""
    found = [False] * len(pairs)
    base, head, before = versions.base, versions.head, versions.before
    there = [
        (place, int(before[row]), int(before[other]))
        for place, (row, other) in enumerate(pairs)
        if before[row] >= 0
        and before[other] >= 0
        and base.splits[before[row]] == head.splits[row]
        and base.splits[before[other]] == head.splits[other]
    ]
    texts = [[versions.base_keys[end] or "" for end in ends] for _, *ends in there]
    alike = similarities([text for text, _ in texts], [other for _, other in texts])
    for (place, *_), similarity in zip(there, np.asarray(alike).tolist(), strict=True):
        found[place] = similarity >= least
    return found


def _leak(
    versions: Versions,
    split: str,
    guards: Sequence[str],
    pairs: Sequence[tuple[int, int]],
    already: int,
    review: Review,
) -> Finding:
    head, rows = versions.head, [row for row, _ in pairs]
    files = where(head.files[row] for row in rows)
    return Finding(
        "leak",
        severity_of("leak", review),
        versions.task,
        split,
        len(rows),
        f"{counted(len(rows), 'row')} of {split} with the text of a row of {' or '.join(guards)}",
        f"take these rows out of {files}: a model that learns them is tested on what it has seen; "
        "then `dvc add data` and commit data.dvc",
        examples=[quoted(head, row, (head, other)) for row, other in pairs[: review.examples]],
        numbers={"already_there": already},
        rows=digests(versions.task, head, rows),
    )


def _near_leak(
    versions: Versions,
    split: str,
    guards: Sequence[str],
    pairs: Sequence[tuple[int, int, float]],
    review: Review,
) -> Finding:
    head = versions.head
    return Finding(
        "near-leak",
        severity_of("near-leak", review),
        versions.task,
        split,
        len(pairs),
        f"{counted(len(pairs), 'new pair')} of nearly the same text in {split} and {' or '.join(guards)}",
        "look whether they say the same; if so, take the row out of "
        f"{where(head.files[row] for row, *_ in pairs)}",
        examples=[
            quoted(head, row, (head, other), f"similarity {alike:.2f}")
            for row, other, alike in pairs[: review.examples]
        ],
        numbers={"near": review.near, "most": round(max(alike for *_, alike in pairs), 4)},
        rows=digests(versions.task, head, [row for row, *_ in pairs]),
    )


def _across(
    learning: Versions, testing: Versions, pairs: Sequence[tuple[int, int]], all_rows: int, review: Review
) -> Finding:
    head, rows = learning.head, [row for row, _ in pairs]
    return Finding(
        "leak-across-tasks",
        severity_of("leak-across-tasks", review),
        learning.task,
        "train",
        len(rows),
        f"{counted(len(rows), 'training row')} with the text of a test row of {testing.task}",
        f"both tasks train one backbone: take these rows out of {where(head.files[row] for row in rows)}, or "
        f"move them to the test file of {learning.task}",
        examples=[quoted(head, row, (testing.head, other)) for row, other in pairs[: review.examples]],
        numbers={"tested_by": testing.task, "already_there": all_rows - len(rows)},
        rows=digests(learning.task, head, rows),
    )
