"""Rows that scores are made on and that a change touched: scores before and after it are not of the same
rows."""

from collections import Counter

from doubleroute.config import Review
from doubleroute.review.findings import Finding, counted, digests, quoted, severity_of
from doubleroute.review.rows import KINDS
from doubleroute.review.versions import Versions

HELD_OUT = ("validation", "test")


def held_out(versions: Versions, review: Review) -> list[Finding]:
    """The finding ``held-out`` for validation and for test: rows that came, went, were edited or relabelled,
    or moved into the split or out of it. A label that is only called otherwise is no change. Where rows only
    came, and the split is drawn from files with training rows, it is ``held-out-grew``: they did by
    themselves."""
    found = []
    for split in HELD_OUT:
        touched = _touched(versions, split)
        if touched:
            grew = _drawn(versions, split) and all(
                {*kinds} <= {"added", "duplicated"} for *_, kinds in touched
            )
            found.append((_grown if grew else _finding)(versions, split, touched, review))
    return found


def _drawn(versions: Versions, split: str) -> bool:
    """Whether each file of the split has training rows too: then it is not people who chose its rows."""
    files: dict[str, set[str]] = {}
    for file, each in zip(versions.head.files, versions.head.splits, strict=True):
        files.setdefault(each, set()).add(file)
    return files.get(split, set()) <= files.get("train", set())


def _grown(
    versions: Versions, split: str, touched: list[tuple[int, int, list[str]]], review: Review
) -> Finding:
    head, rows = versions.head, [row for _, row, _ in touched]
    return Finding(
        "held-out-grew",
        severity_of("held-out-grew", review),
        versions.task,
        split,
        len(rows),
        f"{counted(len(rows), 'new row')} of {split}, which is drawn from the files of train",
        f"nothing, or give {split} a file of its own where its rows shall stay the same",
        examples=[quoted(head, row) for row in rows[: review.examples]],
        rows=digests(versions.task, head, rows),
    )


def _touched(versions: Versions, split: str) -> list[tuple[int, int, list[str]]]:
    """(row of base, row of head, what happened) of the changed pairs with an end in the split; -1: no row."""
    base, head, changes = versions.base, versions.head, versions.changes
    found = []
    for place in changes.changed().tolist():
        old, new = changes.pairs[place].tolist()
        was = old >= 0 and base.splits[old] == split
        stands = new >= 0 and head.splits[new] == split
        if was or stands:
            kinds = [kind for kind in KINDS if kind in changes.kinds[place]]
            moved = "moved in" if stands else "moved out"
            found.append((old, new, [moved if kind == "moved" else kind for kind in kinds]))
    return found


def _finding(
    versions: Versions, split: str, touched: list[tuple[int, int, list[str]]], review: Review
) -> Finding:
    base, head, task = versions.base, versions.head, versions.task
    kinds = Counter(kind for *_, each in touched for kind in each)
    said = ", ".join(
        f"{count:,} {kind}" for kind, count in sorted(kinds.items(), key=lambda at: (-at[1], at[0]))
    )
    examples = []
    for old, new, what in touched[: review.examples]:
        other = (base, old) if old >= 0 else None
        note = ", ".join(what)
        examples.append(quoted(head, new, other, note) if new >= 0 else quoted(base, old, note=note))
    measured = "scores" if split == "test" else "which epoch is best"
    return Finding(
        "held-out",
        severity_of("held-out", review),
        task,
        split,
        len(touched),
        f"{counted(len(touched), 'row')} of {split} changed: {said}",
        f"leave {split} as it was, unless its rows were wrong: {measured} cannot be compared over such a "
        "change; if they were, change nothing else with it",
        examples=examples,
        numbers=dict(sorted(kinds.items())),
        rows=[
            digest
            for old, new, _ in touched
            for digest in (digests(task, head, [new]) if new >= 0 else digests(task, base, [old]))
        ],
    )
