"""The files of a project -> the canonical rows of its tasks, before validation takes any out."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from doubleroute.config import SPLITS, Project, Task
from doubleroute.data import checks
from doubleroute.data.answers import read_answers
from doubleroute.data.raw import Table, shown
from doubleroute.data.rows import Rows, canonical_rows, chosen, joined
from doubleroute.data.splits import assign
from doubleroute.data.tables import combined, digests, read_tables
from doubleroute.errors import DataError
from doubleroute.integrations.outcome import Bad


@dataclass(frozen=True)
class Read:
    """What the files of a project hold before validation takes any row out: canonical rows by task and split,
    rows that cannot be read as rows of their task, the names of the columns of each file, the digests of the
    files that were read, and {id: text} of the answers of each retrieval task."""

    rows: dict[str, dict[str, Rows]]
    bad: list[Bad]
    columns: dict[str, list[str]]
    sources: dict[Path, dict[str, str]]
    answers: dict[str, dict[str, str]]


def read_rows(project: Project, extras: Mapping[str, Mapping[str, bool]] | None = None) -> Read:
    """Read the rows of every task; ``extras``: by task more columns that are wanted, and whether their texts
    may be given as numbers.

    Raises DataError for a file that cannot be read, one that a task names twice, and a missing column.
    """
    more = extras or {}
    sources = sources_of(project)
    tables = read_files(project, sources, {column for each in more.values() for column in each})
    for name in project.tasks:
        _check_once(project, name, tables)
    found = {name: task_rows(project, name, tables, more.get(name, {})) for name in project.tasks}
    return Read(
        rows={name: rows for name, (rows, _) in found.items()},
        bad=[bad for _, each in found.values() for bad in each],
        columns={
            relative(project, table.path): list(table.names) for each in tables.values() for table in each
        },
        sources=sources,
        answers=_answers(project, sources),
    )


def sources_of(project: Project) -> dict[Path, dict[str, str]]:
    """Every file or folder that a task names, with its digests."""
    return {path: digests(path) for path in sorted(set(project.all_paths))}


def _answers(project: Project, sources: Mapping[Path, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    found = {}
    for name, task in project.tasks.items():
        path = project.answers_path(name)
        if path is not None:
            tables = read_tables(path, {task.answers.id, task.answers.text})
            _check_unchanged(path, tables, sources[path])
            found[name] = read_answers(task, name, tables)
    return found


def read_files(
    project: Project, sources: Mapping[Path, Mapping[str, str]], extras: Collection[str]
) -> dict[tuple[Path, str], list[Table]]:
    """Read each file once, with the columns that all tasks need of it together, and those of ``extras``."""
    wanted = {column for name, task in project.tasks.items() for column in _columns(task)}
    wanted |= set(extras)
    tables: dict[tuple[Path, str], list[Table]] = {}
    for name in project.tasks:
        for split in SPLITS:
            for path in project.paths(name, split):
                key = (path, split if path.is_dir() else "")
                if key not in tables:
                    tables[key] = read_tables(path, wanted, split)
                    _check_unchanged(path, tables[key], sources[path])
    return tables


def _check_once(project: Project, name: str, tables: Mapping[tuple[Path, str], list[Table]]) -> None:
    """A file that a task reads twice would count double, or stand on both sides of a split."""
    read: dict[Path, str] = {}
    for split in SPLITS:
        for path in project.paths(name, split):
            for table in tables[path, split if path.is_dir() else ""]:
                file = table.path.resolve()
                if file in read:
                    where = "twice" if read[file] == split else f"there and in {read[file]}"
                    said = f"{relative(project, table.path)} is named {where}; name it once"
                    raise DataError(f"tasks.{name}.files.{split}: {said}")
                read[file] = split


def task_rows(
    project: Project,
    name: str,
    tables: Mapping[tuple[Path, str], list[Table]],
    extras: Mapping[str, bool],
) -> tuple[dict[str, Rows], list[Bad]]:
    """The canonical rows of each split, those of missing splits taken from train, and the unreadable rows."""
    task = project.tasks[name]
    rows: dict[str, Rows] = {}
    bad: list[Bad] = []
    for split in SPLITS:
        parts = []
        for path in project.paths(name, split):
            unlabelled = shared(project, name, path)
            for table in tables[path, split if path.is_dir() else ""]:
                file = relative(project, table.path)
                part, problems = canonical_rows(table, task, f"tasks.{name}", file, unlabelled, extras)
                parts.append(part)
                bad += [
                    Bad(name, split, file, each.row, each.column, each.reason, each.value)
                    for each in problems
                ]
        if parts:
            rows[split] = joined(parts)
    missing = [split for split in ("test", "validation") if split not in rows]
    if missing:
        whole = rows["train"]
        fractions = {split: float(getattr(task.split, split)) for split in missing}
        where = assign(checks.split_keys(whole, task.kind), project.seed, fractions)
        for split in ("train", *missing):
            rows[split] = chosen(whole, [index for index, each in enumerate(where) if each == split])
    return rows, bad


def shared(project: Project, name: str, path: Path) -> bool:
    """Whether another task uses this file too: then a row may lack this task's label."""
    others = (other for other in project.tasks if other != name)
    return any(path in project.paths(other, split) for other in others for split in SPLITS)


def relative(project: Project, path: Path) -> str:
    return path.relative_to(project.root).as_posix() if path.is_relative_to(project.root) else str(path)


def _columns(task: Task) -> set[str]:
    columns = task.columns
    texts = (
        {columns.tokens, columns.tags, "tokens", "tags"}
        if task.kind == "tagging"
        else {columns.text, columns.label}
    )
    others = {name for name in (columns.text_pair, columns.time, columns.key) if name is not None}
    return texts | others | set(task.slices)


def _check_unchanged(path: Path, tables: list[Table], found: Mapping[str, str]) -> None:
    """What was read is what the stage's key was made of."""
    known = {path if not name else path / name: digest for name, digest in found.items()}
    for table in tables:
        if table.digest != known.get(table.path, combined(found)):
            raise DataError(
                f"{shown(table.path)} changed while it was read; run again when nothing writes to it"
            )
