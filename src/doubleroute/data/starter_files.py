"""Data files that somebody names -> sets of rows with the same columns, in the splits that names speak of."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from doubleroute.config import SPLITS
from doubleroute.data.roles import find_roles
from doubleroute.data.starter_yaml import LABELLED, DataSet, label_values
from doubleroute.data.tables import Table, read_tables
from doubleroute.errors import NoSplitError

SPLIT_WORDS = {
    "train": "train", "training": "train", "validation": "validation", "valid": "validation",
    "val": "validation", "dev": "validation", "development": "validation", "test": "test",
    "testing": "test", "eval": "test",
}  # fmt: skip
#: How Hugging Face numbers the files of a split: train-00000-of-00001.parquet, some with a digest at the end.
SHARD = re.compile(r"\d+-of-\d+(-[0-9a-f]{16})?$")
#: Files that have at most this share of the labels in common, of those with fewer, are of different tasks.
_HARDLY_ANY = 0.1


@dataclass(frozen=True, eq=False)
class _Part:
    """One table, the file or folder that was named for it, and the split that the names speak of."""

    named: Path
    split: str
    table: Table


def data_sets(files: Sequence[Path], project: Path, doubts: list[str]) -> list[DataSet]:
    """The tables of the files grouped by their columns, and those with the same columns by their labels. A
    table may lack columns that others of its group have.

    What could be otherwise goes into ``doubts``. Raises DataError for a file that cannot be read.
    """
    parts = [_Part(file, split, table) for file in files for split, table in _tables(file)]
    doubts += [_unreadable(part) for part in parts if part.table.problems]
    outside = [file.name for file in files if _relative(file, project).startswith("../")]
    if outside:
        note = "outside the project folder, where DVC cannot version them; copy them into data/"
        doubts.append(f"{', '.join(outside)}: {note}")
    same_columns = _of_the_same_columns(parts)
    groups = [group for some in same_columns for group in _of_the_same_labels(some, project, doubts)]
    found = [_data_set(group, parts, project) for group in groups]
    for data_set in found:
        if "train" not in data_set.files:
            other = next(iter(data_set.files))
            data_set.files = {"train": data_set.files.pop(other), **data_set.files}
            data_set.values["train"] = data_set.values.pop(other)
            doubts.append(f"{', '.join(data_set.names)}: no file for training; the {other} files are taken")
    return found


def _tables(file: Path) -> Iterable[tuple[str, Table]]:
    """The tables of a file or folder with the split that the names speak of."""
    if not file.is_dir():
        parts = re.split(r"[^a-z]+", file.stem.lower())
        split = next((SPLIT_WORDS[part] for part in parts if part in SPLIT_WORDS), "train")
        yield from ((split, table) for table in read_tables(file))
        return
    seen: set[Path] = set()
    for split in SPLITS:
        try:
            tables = read_tables(file, split=split)
        except NoSplitError:
            if split == "train":
                raise
            continue
        if all(table.path in seen for table in tables):
            continue
        seen |= {table.path for table in tables}
        yield from ((split, table) for table in tables)


def _unreadable(part: _Part) -> str:
    problems = part.table.problems
    count = f"{len(problems)} of {len(problems) + len(part.table.rows)} rows"
    return f"{part.named}: {count} cannot be read; the first is row {problems[0].row}: {problems[0].reason}"


def _of_the_same_columns(parts: Sequence[_Part]) -> list[list[_Part]]:
    groups: list[tuple[set[str], list[_Part]]] = []
    for part in parts:
        names = set(part.table.names)
        for columns, group in groups:
            if names <= columns or columns <= names:
                columns.update(names)
                group.append(part)
                break
        else:
            groups.append((names, [part]))
    return [group for _, group in groups]


def _of_the_same_labels(parts: list[_Part], project: Path, doubts: list[str]) -> list[list[_Part]]:
    """The tables of each task: one for each of the training tables that share hardly any label. Tables whose
    names differ by splits and numbers alone are of one task, and all are where one holds a single label."""
    series: dict[tuple[str, ...], list[_Part]] = {}
    for part in parts:
        series.setdefault(_words(part.table.path), []).append(part)
    learned = [some for some in series.values() if any(part.split == "train" for part in some)]
    if len(learned) < 2:
        return [parts]
    roles = find_roles(_data_set(parts, parts, project).all_values())
    if roles.kind not in LABELLED:
        return [parts]
    labels = {part: set(label_values(_data_set([part], [part], project), roles)) for part in parts}

    def of(some: Iterable[_Part]) -> set[str]:
        return {label for part in some for label in labels[part]}

    tasks: list[list[_Part]] = []
    for some in learned:
        same = [task for task in tasks if _share(of(task), of(some)) > _HARDLY_ANY]
        tasks = [*(task for task in tasks if task not in same), [*chain(*same), *some]]
    if len(tasks) < 2 or any(len(of(task)) < 2 for task in tasks):
        return [parts]
    for some in series.values():
        if some not in learned:
            max(tasks, key=lambda task: len(of(task) & of(some))).extend(some)
    files = [", ".join(_relative(part.table.path, project) for part in task) for task in tasks]
    said = "share hardly any label and are taken for different tasks; if they are one, list all files in it"
    doubts.append(f"{' and '.join(files)} {said}")
    return tasks


def _words(path: Path) -> tuple[str, ...]:
    """The words of a path without those that tell splits and shards apart."""
    words = re.findall(r"[^\W\d_]+", SHARD.sub("", path.with_suffix("").as_posix().lower()))
    return tuple(word for word in words if word not in SPLIT_WORDS)


def _share(some: set[str], others: set[str]) -> float:
    """Of the labels of the set with fewer, the share that both have."""
    return len(some & others) / max(1, min(len(some), len(others)))


def _data_set(group: Sequence[_Part], parts: Sequence[_Part], project: Path) -> DataSet:
    """The rows of a group. A folder of which other groups have tables too is noted by its files."""
    data_set = DataSet(tuple(dict.fromkeys(name for part in group for name in part.table.names)))
    for part in group:
        if all(other in group for other in parts if other.named == part.named):
            path, name = part.named, part.named.name
        else:
            path, name = part.table.path, _relative(part.table.path, part.named.parent)
        data_set.add(part.split, _relative(path, project), name, part.table)
    return data_set


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()
