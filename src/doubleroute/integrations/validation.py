"""The validation stage: every task's files -> clean rows, labels, a quarantine and Data Docs.

The stage's folder holds ``<task>/<split>.parquet`` with the columns file (relative to the project), row
(1-based in that file), text and optional text_pair or tokens, label, time and key if there are, and
slice_<column>; of a retrieval task ``<task>/answers.parquet`` with id and text; ``labels.json``;
``quarantine.jsonl``, one object a bad row; ``summary.json``; ``data_docs/``. For every task and split, rows
in = rows out + quarantined.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from doubleroute.config import SPLITS, Project, Task
from doubleroute.data import checks
from doubleroute.data.answers import write_answers
from doubleroute.data.raw import shown
from doubleroute.data.rows import Rows, chosen
from doubleroute.digests import code_digest, versions_of
from doubleroute.errors import DataError, InputError
from doubleroute.integrations import expectations
from doubleroute.integrations.outcome import Outcome, settle
from doubleroute.integrations.reading import Read, read_rows, relative, shared, sources_of
from doubleroute.integrations.suites import project_checks
from doubleroute.workspace import Stage, Workspace, write_json, write_text

#: What of a task decides about its rows; the rest of project.yaml can change without a new validation.
_TASK_KEYS = {"kind", "files", "columns", "answers", "labels", "separator", "split", "slices"}
#: The code that decides about rows.
_CODE = (
    *(
        f"data/{name}"
        for name in ("answers", "checks", "encoding", "formats_arrow", "formats_text", "label_cells", "raw")
    ),
    *(f"data/{name}" for name in ("rows", "spans", "splits", "tables")),
    *(f"integrations/{name}" for name in ("expectations", "outcome", "reading", "suites", "validation")),
)


def validate(project: Project, workspace: Workspace, read: Read | None = None) -> Stage:
    """Validate the rows of every task. ``read``: what ``read_for_validation`` gave, not to read them again.

    Raises DataError for a file that cannot be read, a missing column, a task with one class or an empty
    split; InputError for a wrong file of expectations and an expectation that cannot be checked; GateError
    when more rows are invalid than ``validation.max_invalid`` allows or a user's expectation about a whole
    table fails.
    """
    sources = sources_of(project) if read is None else read.sources
    entries = _entries(project)
    inputs = _inputs(project, sources, entries)

    def make(folder: Path) -> None:
        found = _read(project, entries) if read is None else read
        if found.sources != sources:
            changed = next(path for path in sources if found.sources.get(path) != sources[path])
            raise DataError(
                f"{shown(changed)} changed while it was read; run again when nothing writes to it"
            )
        _make(project, workspace, found, entries, folder)

    return workspace.build("validate", inputs, make)


def find_validated(project: Project, workspace: Workspace) -> Stage | None:
    """What ``validate`` would find without any work. Raises DataError for a file that is not there."""
    return workspace.find("validate", _inputs(project, sources_of(project), _entries(project)))


def _inputs(
    project: Project, sources: Mapping[Path, dict[str, str]], entries: Mapping[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    """All that a validation depends on."""
    return {
        "tasks": {
            name: task.model_dump(mode="json", include=_TASK_KEYS) for name, task in project.tasks.items()
        },
        "validation": project.validation.model_dump(mode="json"),
        "seed": project.seed,
        "files": {relative(project, path): found for path, found in sources.items()},
        "expectations": entries,
        "code": code_digest(*_CODE),
        "versions": versions_of("great-expectations", "pandas", "pyarrow", "datasets", "xxhash"),
    }


def read_for_validation(project: Project) -> Read:
    """The rows of every task, with the columns that the users' expectations are about."""
    return _read(project, _entries(project))


def _read(project: Project, entries: Mapping[str, list[dict[str, Any]]]) -> Read:
    return read_rows(project, {name: expectations.extra_columns(each) for name, each in entries.items()})


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


def _make(
    project: Project,
    workspace: Workspace,
    read: Read,
    entries: Mapping[str, list[dict[str, Any]]],
    folder: Path,
) -> None:
    rows, bad = read.rows, list(read.bad)
    labels: dict[str, list[str]] = {}
    batches = []
    for name, task in project.tasks.items():
        facts = checks.facts(rows[name], task.kind)
        sound = checks.sound(rows[name]["train"], facts["train"], project.validation)
        train = chosen(rows[name]["train"], sound)
        labels[name] = list(read.answers.get(name) or _labels(name, task, train))
        unlabelled = any(
            shared(project, name, path) for split in SPLITS for path in project.paths(name, split)
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
    # Of a version that lies elsewhere nobody looks at them: what is kept here is of the project itself.
    at_home = workspace.root.parent.resolve() == project.root.resolve()
    quarantine = workspace.root / "quarantine" if at_home else None
    outcome = settle(project, rows, bad, batches, results, labels, quarantine)
    _write(project, outcome, labels, folder)
    for name, answers in read.answers.items():
        write_answers(folder, name, answers)


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
    # The task's own values go first, then columns as they were read, before their copies as texts.
    as_texts = {name for name in rows if name == "key" or name.startswith("slice_")}
    for name, values in sorted(rows.items(), key=lambda item: item[0] in as_texts):
        shown_name = names.get(name) or name.removeprefix("slice_").removeprefix("extra_")
        more = name in as_texts or name.startswith("extra_")
        if more and shown_name in frame.keys() - {"file", "row"}:
            continue
        frame[shown_name] = _series(values, name == "label" and task.kind == "regression")
    frame |= {name: _series(values, False) for name, values in facts.items()}
    return pd.DataFrame(frame)


def _series(values: list[Any], numbers: bool) -> Any:
    """Python values as they are, but whole columns of numbers as numbers."""
    import pandas as pd

    if numbers:
        return pd.Series(values, dtype="float64")
    if values and all(type(value) is int and -(2**63) <= value < 2**63 for value in values):
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
    if column == "tokens" or (column == "label" and kind in ("tagging", "multilabel", "span")):
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
