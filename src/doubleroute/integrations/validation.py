"""The validation stage: every task's files -> clean rows, labels, a quarantine and Data Docs.

The stage's folder holds ``<task>/<split>.parquet`` with the columns file (relative to the project), row
(1-based in that file), text and optional text_pair or tokens, label, time and key if there are, and
slice_<column>; ``labels.json``; ``quarantine.jsonl``, one object a bad row; ``summary.json``;
``data_docs/``. For every task and split, rows in = rows out + quarantined.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from doubleroute.config import Project, Task
from doubleroute.data import checks
from doubleroute.data.raw import Table, shown
from doubleroute.data.rows import Rows, canonical_rows, chosen, joined
from doubleroute.data.splits import assign
from doubleroute.data.tables import combined, digests, read_tables
from doubleroute.errors import DataError, InputError
from doubleroute.integrations import expectations
from doubleroute.integrations.outcome import Bad, Outcome, settle
from doubleroute.integrations.suites import project_checks
from doubleroute.workspace import Stage, Workspace, code_digest, versions_of, write_json, write_text

SPLITS = ("train", "validation", "test")
#: What of a task decides about its rows; the rest of project.yaml can change without a new validation.
_TASK_KEYS = {"kind", "files", "columns", "labels", "separator", "split", "slices"}
#: The code that decides about rows.
_CODE = (
    *(f"data/{name}" for name in ("checks", "encoding", "formats_arrow", "formats_text", "raw", "rows")),
    *(f"data/{name}" for name in ("splits", "tables")),
    *(f"integrations/{name}" for name in ("expectations", "outcome", "suites", "validation")),
)


def validate(project: Project, workspace: Workspace) -> Stage:
    """Validate the rows of every task.

    Raises DataError for a file that cannot be read, a missing column, a task with one class or an empty
    split; InputError for a wrong file of expectations; GateError when more rows are invalid than
    ``validation.max_invalid`` allows or a user's expectation about a whole table fails.
    """
    sources = _sources(project)
    entries = _entries(project)
    inputs = {
        "tasks": {
            name: task.model_dump(mode="json", include=_TASK_KEYS) for name, task in project.tasks.items()
        },
        "validation": project.validation.model_dump(mode="json"),
        "seed": project.seed,
        "files": {_relative(project, path): found for path, found in sources.items()},
        "expectations": entries,
        "code": code_digest(*_CODE),
        "versions": versions_of("great-expectations", "pandas", "pyarrow", "datasets", "xxhash"),
    }
    return workspace.build(
        "validate", inputs, lambda folder: _make(project, workspace, sources, entries, folder)
    )


def read_rows(project: Project) -> tuple[dict[str, dict[str, Rows]], list[Bad]]:
    """The canonical rows of every task and split before validation takes any out, and those that cannot be
    read as rows of their task. Raises DataError for a file that cannot be read and a missing column."""
    tables = _read(project, _sources(project), {})
    found = {name: _task_rows(project, name, tables, set()) for name in project.tasks}
    return {name: rows for name, (rows, _) in found.items()}, [
        bad for _, each in found.values() for bad in each
    ]


def _sources(project: Project) -> dict[Path, dict[str, str]]:
    """Every file or folder that a task names, with its digests."""
    paths = {path for task in project.tasks for split in SPLITS for path in project.paths(task, split)}
    return {path: digests(path) for path in sorted(paths)}


def _entries(project: Project) -> dict[str, list[dict[str, Any]]]:
    """The users' expectations of each task."""
    found = {}
    for task, path in expectations.user_files(project.root).items():
        if task not in project.tasks:
            known = ", ".join(project.tasks)
            raise InputError(
                f"{shown(path)}: there is no task '{task}' in project.yaml; the tasks are: {known}"
            )
        found[task] = expectations.user_entries(path)
    return found


def _relative(project: Project, path: Path) -> str:
    return path.relative_to(project.root).as_posix() if path.is_relative_to(project.root) else str(path)


def _make(
    project: Project,
    workspace: Workspace,
    sources: Mapping[Path, Mapping[str, str]],
    entries: Mapping[str, list[dict[str, Any]]],
    folder: Path,
) -> None:
    tables = _read(project, sources, entries)
    rows: dict[str, dict[str, Rows]] = {}
    bad: list[Bad] = []
    labels: dict[str, list[str]] = {}
    batches = []
    for name, task in project.tasks.items():
        extras = expectations.columns_of(entries.get(name, ()))
        rows[name], unreadable = _task_rows(project, name, tables, extras)
        bad += unreadable
        facts = checks.facts(rows[name], task.kind)
        sound = checks.sound(rows[name]["train"], facts["train"], project.validation)
        labels[name] = _labels(name, task, chosen(rows[name]["train"], sound))
        unlabelled = any(
            _shared(project, name, path) for split in SPLITS for path in project.paths(name, split)
        )
        for split in SPLITS:
            found = project_checks(task, project.validation, labels[name], split, unlabelled)
            if name in entries:
                path = project.root / "expectations" / f"{name}.json"
                found += expectations.user_checks(path, entries[name], split)
            facts[split] |= checks.label_facts(rows[name][split], task.kind, labels[name])
            frame = _frame(task, rows[name][split], facts[split])
            batches.append(expectations.Batch(name, split, frame, found))
    results = expectations.run(batches, folder / "data_docs")
    outcome = settle(project, rows, bad, batches, results, labels, workspace.root / "quarantine")
    _write(project, outcome, labels, folder)


def _read(
    project: Project, sources: Mapping[Path, Mapping[str, str]], entries: Mapping[str, list[dict[str, Any]]]
) -> dict[tuple[Path, str], list[Table]]:
    """Read each file once, with the columns that all tasks need of it together."""
    wanted = {column for name, task in project.tasks.items() for column in _columns(task)}
    wanted |= {column for name in entries for column in expectations.columns_of(entries[name])}
    tables: dict[tuple[Path, str], list[Table]] = {}
    for name in project.tasks:
        for split in SPLITS:
            for path in project.paths(name, split):
                key = (path, split if path.is_dir() else "")
                if key not in tables:
                    tables[key] = read_tables(path, wanted, split)
                    _check_unchanged(path, tables[key], sources[path])
    return tables


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


def _shared(project: Project, name: str, path: Path) -> bool:
    """Whether another task uses this file too: then a row may lack this task's label."""
    others = (other for other in project.tasks if other != name)
    return any(path in project.paths(other, split) for other in others for split in SPLITS)


def _task_rows(
    project: Project, name: str, tables: Mapping[tuple[Path, str], list[Table]], extras: set[str]
) -> tuple[dict[str, Rows], list[Bad]]:
    """The canonical rows of each split, those of missing splits taken from train, and the unreadable rows."""
    task = project.tasks[name]
    rows: dict[str, Rows] = {}
    bad: list[Bad] = []
    for split in SPLITS:
        parts = []
        for path in project.paths(name, split):
            unlabelled = _shared(project, name, path)
            for table in tables[path, split if path.is_dir() else ""]:
                file = _relative(project, table.path)
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
        fractions = [(split, float(getattr(task.split, split))) for split in missing]
        where = assign((key or "" for key in checks.keys(whole)), project.seed, fractions)
        for split in ("train", *missing):
            rows[split] = chosen(whole, [index for index, each in enumerate(where) if each == split])
    return rows, bad


def _labels(name: str, task: Task, train: Rows) -> list[str]:
    if task.kind == "tagging":
        for label in task.labels or ():
            if not checks.TAG.fullmatch(label):
                raise DataError(
                    f"tasks.{name}.labels: '{label}' is not a tag; write O, B-{label} and I-{label}"
                )
    return checks.task_labels(train["label"], task.kind, task.labels)


def _frame(task: Task, rows: Rows, facts: Rows) -> Any:
    """The rows as users' expectations name them: the columns of their files, and the columns of facts."""
    import pandas as pd

    columns = task.columns
    names = {"text": columns.text, "text_pair": columns.text_pair, "tokens": columns.tokens}
    names |= {"time": columns.time, "key": columns.key}
    names["label"] = columns.tags if task.kind == "tagging" else columns.label
    frame: dict[str, Any] = {}
    for name, values in rows.items():
        shown_name = names.get(name) or name.removeprefix("slice_").removeprefix("extra_")
        if name.startswith("extra_") and shown_name in frame.keys() - {"file", "row"}:
            continue
        frame[shown_name] = _series(values, name == "label" and task.kind == "regression")
    frame |= {name: _series(values, False) for name, values in facts.items()}
    return pd.DataFrame(frame)


def _series(values: list[Any], numbers: bool) -> Any:
    """Python values as they are, but whole columns of numbers as numbers."""
    import pandas as pd

    if numbers:
        return pd.Series(values, dtype="float64")
    if values and all(type(value) is int for value in values):
        return pd.Series(values, dtype="int64")
    return pd.Series(values, dtype=object)


def _write(project: Project, outcome: Outcome, labels: Mapping[str, list[str]], folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name, task in project.tasks.items():
        (folder / name).mkdir()
        for split, rows in outcome.rows[name].items():
            kept = {column: values for column, values in rows.items() if not column.startswith("extra_")}
            schema = pa.schema([(column, _arrow_type(column, task.kind)) for column in kept])
            pq.write_table(
                pa.table(kept, schema=schema), folder / name / f"{split}.parquet", compression="zstd"
            )
    write_json(folder / "labels.json", labels)
    write_text(folder / "quarantine.jsonl", outcome.quarantine_text)
    write_json(folder / "summary.json", outcome.summary)


def _arrow_type(column: str, kind: str) -> Any:
    import pyarrow as pa

    if column == "row":
        return pa.int64()
    if column == "label" and kind == "regression":
        return pa.float64()
    if column == "tokens" or (column == "label" and kind in ("tagging", "multilabel")):
        return pa.list_(pa.string())
    return pa.string()


def summary_lines(summary: Mapping[str, Any]) -> list[str]:
    """The counts of summary.json for a terminal: "sentiment train: 12 rows in = 11 out + 1 quarantined".

    Where the summary has them, the first quarantined rows stand below their count, and the file of all
    of them at the end.
    """
    lines = []
    for task, splits in summary["tasks"].items():
        for split in SPLITS:
            counts = splits[split]
            unlabelled = f" ({counts['unlabelled']:,} without label)" if counts["unlabelled"] else ""
            lines.append(
                f"{task} {split}: {counts['rows_in']:,} rows in = {counts['rows_out']:,} out{unlabelled} + "
                f"{counts['quarantined']:,} quarantined"
            )
            quoted = summary.get("quarantined", {}).get(task, {}).get(split, [])
            lines += [f"  quarantined: {row}" for row in quoted]
            if quoted and counts["quarantined"] > len(quoted):
                lines.append(f"  quarantined: and {counts['quarantined'] - len(quoted):,} more")
    if summary.get("quarantined"):
        lines.append(f"all quarantined rows: {summary['quarantine_file']}")
    return lines


def read_summary(stage: Stage) -> dict[str, Any]:
    """The summary of a validation stage, and where its quarantine lies."""
    summary: dict[str, Any] = json.loads((stage.path / "summary.json").read_text(encoding="utf-8"))
    return {**summary, "quarantine_file": str(stage.path / "quarantine.jsonl")}
