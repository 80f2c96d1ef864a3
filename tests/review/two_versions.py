"""Two small versions of one task by hand: rows of the same name belong together."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from doubleroute.review.findings import Finding
from doubleroute.review.rows import Changes, VersionRows
from doubleroute.review.versions import Versions

#: name, split, text, label.
Row = tuple[str, str, str, Any]


def side(rows: Sequence[Row], kind: str, file: str = "jsonl") -> VersionRows:
    """One version; each split is a file, rows are numbered in it. "first / second" are two texts."""
    seen: dict[str, int] = {}
    numbers = []
    for _, split, *_ in rows:
        seen[split] = seen.get(split, 0) + 1
        numbers.append(seen[split])
    texts = [text.split(" / ") for _, _, text, _ in rows]
    return VersionRows(
        kind=kind,
        splits=[split for _, split, *_ in rows],
        files=[f"data/{split}.{file}" for _, split, *_ in rows],
        numbers=numbers,
        texts=[text[0] for text in texts],
        pairs=[text[1] if len(text) > 1 else None for text in texts],
        labels=[label for *_, label in rows],
        keys=[None] * len(rows),
        segments={},
    )


def versions(
    base: Sequence[Row],
    head: Sequence[Row],
    kind: str = "classification",
    task: str = "intent",
    renamed: dict[str, str] | None = None,
    refused: Iterable[tuple[str, int]] = (),
) -> Versions:
    """Both versions, with what happened to each row."""
    renamed = renamed or {}
    was = {name: place for place, (name, *_) in enumerate(base)}
    now = {name: place for place, (name, *_) in enumerate(head)}
    pairs, kinds = [], []
    for name in [*was, *(each for each in now if each not in was)]:
        old, new = was.get(name, -1), now.get(name, -1)
        pairs.append((old, new))
        if new < 0:
            kinds.append(("removed",))
        elif old < 0:
            copy = any(head[new][1:] == each[1:] for each in base)
            kinds.append(("added", "duplicated") if copy else ("added",))
        else:
            _, split, text, label = base[old]
            found = ("edited",) if text.casefold() != head[new][2].casefold() else ()
            follows = head[new][3] in (label, renamed.get(label) if isinstance(label, str) else None)
            found += () if follows else ("relabelled",)
            kinds.append(found + (("moved",) if split != head[new][1] else ()))
    changes = Changes(np.array(pairs, np.int64).reshape(-1, 2), kinds, np.ones(len(pairs)), renamed)
    return Versions(task, side(base, kind), side(head, kind), changes, frozenset(refused))


def only(findings: list[Finding]) -> Finding:
    """The one finding that there is."""
    assert len(findings) == 1, [(each.name, each.title) for each in findings]
    return findings[0]


def places(finding: Finding) -> list[tuple[str, str | None]]:
    """Where the rows of the examples stand, and those beside them: ("train 3", "test 1")."""

    def place(row: dict[str, Any] | None) -> str | None:
        return None if row is None else f"{row['split']} {row['row']}"

    return [(str(place(each)), place(each["other"])) for each in finding.examples]
