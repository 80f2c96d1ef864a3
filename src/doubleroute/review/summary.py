"""What changed in numbers, file by file, and the changed rows as documents quote them."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from doubleroute.config import SPLITS
from doubleroute.review.renaming import names_of
from doubleroute.review.rows import KINDS, Changes, VersionRows, example

#: Labels of a split that a document counts, and changed rows that it quotes.
LABELS, QUOTED = 200, 2000
#: Bars of a histogram of lengths, and the share of the rows that all but the last one hold.
BARS, INSIDE = 20, 0.99
#: Characters of a text and names of a label that a document quotes; where a long text was edited, from so
#: many characters before the first difference on.
CHARACTERS, NAMES, BEFORE = 2000, 200, 200

#: base, head and changes of one task.
Compared = tuple[VersionRows, VersionRows, Changes]


def task_summary(
    metric: str, higher_is_better: bool, base: VersionRows, head: VersionRows, changes: Changes
) -> dict[str, Any]:
    """What a review says of the rows of one task, as plain JSON values.

    ``counts``: a row of head, with or without one in base, counts in its split under each of its kinds, a
    removed one in that of base. Over all splits base has removed rows and those of head that are neither
    added nor duplicated. ``label_counts``: rows or tags in base and head (``names_of``) for at most LABELS
    names of a split, the largest change first. ``lengths``: rows by characters, both texts of a pair, from
    one of the k + 1 ``edges`` to below the next; the last bar holds what is longer than INSIDE of the rows.
    """
    names = [sorted(names_of(side.kind, side.labels)) for side in (base, head)]
    splits = [split for split in SPLITS if split in base.splits or split in head.splits]
    rows = [Counter(side.splits) for side in (base, head)]
    return {
        "kind": base.kind,
        "metric": metric,
        "higher_is_better": higher_is_better,
        "labels": {"base": names[0], "head": names[1]},
        "rows": {split: {"base": rows[0][split], "head": rows[1][split]} for split in splits},
        "counts": _counts(base, head, changes, splits),
        "renamed": dict(changes.renamed),
        "label_counts": {split: _label_counts(base, head, split) for split in splits},
        "lengths": {split: _lengths(base, head, split) for split in splits},
    }


def _counts(
    base: VersionRows, head: VersionRows, changes: Changes, splits: list[str]
) -> dict[str, dict[str, int]]:
    where = [head.splits[other] if other >= 0 else base.splits[one] for one, other in changes.pairs.tolist()]
    found = {split: dict.fromkeys((*KINDS, "unchanged"), 0) for split in splits}
    for (split, kinds), count in Counter(zip(where, changes.kinds, strict=True)).items():
        for kind in kinds or ("unchanged",):
            found[split][kind] += count
    return found


def _label_counts(base: VersionRows, head: VersionRows, split: str) -> dict[str, list[int]]:
    before, after = (
        names_of(side.kind, [side.labels[row] for row in _rows_of(side, split)]) for side in (base, head)
    )
    ordered = sorted(before | after, key=lambda name: (-abs(after[name] - before[name]), name))
    return {name: [before[name], after[name]] for name in ordered[:LABELS]}


def _lengths(base: VersionRows, head: VersionRows, split: str) -> dict[str, list[int]]:
    sizes = [
        np.array([len(side.texts[row]) + len(side.pairs[row] or "") for row in _rows_of(side, split)], int)
        for side in (base, head)
    ]
    both = np.concatenate(sizes)
    inside = int(np.quantile(both, INSIDE, method="inverted_cdf")) + 1
    edges = np.unique(np.linspace(both.min(), inside, BARS).round().astype(int))
    edges = np.append(edges, max(int(both.max()), inside) + 1)
    before, after = (np.histogram(each, edges)[0].tolist() for each in sizes)
    return {"edges": edges.tolist(), "base": before, "head": after}


def _rows_of(side: VersionRows, split: str) -> list[int]:
    return [row for row, each in enumerate(side.splits) if each == split]


def change_rows(
    tasks: Mapping[str, Compared],
    most: int = QUOTED,
    seed: int = 0,
    clean: Callable[[Any], Any] = lambda change: change,
) -> list[dict[str, Any]]:
    """A sample of the changed rows of all tasks, at most ``most``, in the order of ``write_changes``.

    Each task's combinations of kinds share the places evenly, so far as they have rows; the rows of one are
    drawn by ``seed``. They go through ``clean``; then texts are cut to CHARACTERS characters and labels to
    NAMES names, and … stands for the rest.
    """
    groups = [(task, places) for task, each in tasks.items() for places in _by_kinds(each[2])]
    generator = np.random.default_rng(seed)
    chosen: defaultdict[str, list[int]] = defaultdict(list)
    left = most
    smallest = sorted(range(len(groups)), key=lambda place: len(groups[place][1]))
    for done, place in enumerate(smallest):
        task, places = groups[place]
        count = min(len(places), -(-left // (len(groups) - done)))
        chosen[task] += generator.choice(places, count, replace=False).tolist()
        left -= count
    return [
        _shortened(clean(_change(task, *each, place)))
        for task, each in tasks.items()
        for place in sorted(chosen[task])
    ]


def _by_kinds(changes: Changes) -> list[np.ndarray]:
    """The places of what changed, by combination of kinds, in a fixed order."""
    found: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for place in changes.changed().tolist():
        found[changes.kinds[place]].append(place)
    return [np.array(found[kinds], np.int64) for kinds in sorted(found)]


def write_changes(path: Path, tasks: Mapping[str, Compared]) -> int:
    """Write all changed rows, one JSON object a line, and give their number; holds one line at a time."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for change in _changes(tasks):
            file.write(json.dumps(change, ensure_ascii=False) + "\n")
            count += 1
    return count


def _changes(tasks: Mapping[str, Compared]) -> Iterator[dict[str, Any]]:
    for task, each in tasks.items():
        for place in each[2].changed().tolist():
            yield _change(task, *each, place)


def _change(task: str, base: VersionRows, head: VersionRows, changes: Changes, place: int) -> dict[str, Any]:
    one, other = changes.pairs[place].tolist()
    matched = one >= 0 and other >= 0
    return {
        "task": task,
        "kinds": list(changes.kinds[place]),
        "similarity": round(float(changes.similarity[place]), 4) if matched else None,
        "base": example(base, one) if one >= 0 else None,
        "head": example(head, other) if other >= 0 else None,
    }


def _shortened(change: dict[str, Any]) -> dict[str, Any]:
    """A change with its long texts and labels cut."""
    sides = [change[side] for side in ("base", "head") if change[side]]
    for name in ("text", "pair"):
        texts = [side[name] for side in sides if side[name] is not None]
        if not any(len(text) > CHARACTERS for text in texts):
            continue
        start = max(0, _shared(*texts) - BEFORE) if len(set(texts)) > 1 else 0
        for side, text in zip((side for side in sides if side[name] is not None), texts, strict=True):
            end = start + CHARACTERS
            side[name] = "…" * (start > 0) + text[start:end] + "…" * (len(text) > end)
    for side in sides:
        if isinstance(side["label"], list) and len(side["label"]) > NAMES:
            side["label"] = [*side["label"][:NAMES], "…"]
    return change


def _shared(text: str, other: str) -> int:
    """How many characters two different texts begin with in common."""
    longest = min(len(text), len(other))
    return next((place for place in range(longest) if text[place] != other[place]), longest)


def file_changes(
    base: Mapping[str, VersionRows],
    head: Mapping[str, VersionRows],
    base_digests: Mapping[str, str],
    head_digests: Mapping[str, str],
) -> list[dict[str, Any]]:
    """What happened to each file, in order of the paths: {"path", "what", "rows_base", "rows_head"}.

    ``base`` and ``head``: the rows of each task; the digests are those of the files' bytes, by path.
    "reordered": other bytes, and for every task that reads it the same rows in another order (their texts,
    labels, keys and slices). Rows are those that some task reads; None where there is no file or no row.
    """
    counts = [_row_counts(side.values()) for side in (base, head)]
    paths = sorted(base_digests.keys() | head_digests.keys())
    other = {
        path
        for path in paths
        if path in base_digests and path in head_digests and base_digests[path] != head_digests[path]
    }
    said = [_said(side, other) for side in (base, head)]

    def what(path: str) -> str:
        if path not in base_digests:
            return "added"
        if path not in head_digests:
            return "removed"
        if path not in other:
            return "same"
        before, after = said[0].get(path, {}), said[1].get(path, {})
        alike = before.keys() == after.keys() and all(
            Counter(before[task]) == Counter(after[task]) for task in before
        )
        return "reordered" if alike and before != after else "changed"

    return [
        {
            "path": path,
            "what": what(path),
            "rows_base": counts[0].get(path) if path in base_digests else None,
            "rows_head": counts[1].get(path) if path in head_digests else None,
        }
        for path in paths
    ]


def _row_counts(tasks: Any) -> Counter[str]:
    """How many rows of each file some task reads."""
    places = {place for side in tasks for place in zip(side.files, side.numbers, strict=True)}
    return Counter(file for file, _ in places)


def _said(tasks: Mapping[str, VersionRows], files: set[str]) -> dict[str, dict[str, list[Any]]]:
    """What the rows of files say, file -> task -> one value a row in the order of the file."""
    found: dict[str, dict[str, list[Any]]] = {}
    for task, side in tasks.items() if files else ():
        columns: list[list[Any]] = [side.texts, side.pairs, side.comparable(), side.keys]
        columns += [side.segments[name] for name in sorted(side.segments)]
        for row in sorted(range(len(side)), key=side.numbers.__getitem__):
            if side.files[row] in files:
                said = tuple(column[row] for column in columns)
                found.setdefault(side.files[row], {}).setdefault(task, []).append(said)
    return found
