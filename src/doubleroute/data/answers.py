"""The table of answers of a retrieval task: an id and a text for each."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from doubleroute.config import Columns, Files, Task
from doubleroute.data.raw import Table, shown
from doubleroute.data.rows import canonical_rows
from doubleroute.errors import DataError

_FILE = "answers.parquet"


def read_answers(task: Task, name: str, tables: Iterable[Table]) -> dict[str, str]:
    """The answers of a task, {id: text}, in the order of the file; a row that says the same again is passed
    over. ``name``: the task's, for errors.

    Raises DataError for a column that is not there, a row without id or text, an id with two texts, and
    fewer than two answers.
    """
    table_of = task.answers
    key = f"tasks.{name}.answers"
    columns = Columns(text=table_of.text, label=table_of.id)
    like = Task(kind="classification", files=Files(train=table_of.file or ""), columns=columns)
    found: dict[str, str] = {}
    place: dict[str, str] = {}
    for table in tables:
        for column, where in ((table_of.id, "id"), (table_of.text, "text")):
            table.require(column, f"{key}.{where}")
        rows, problems = canonical_rows(table, like, key, shown(table.path), unlabelled=True)
        if problems:
            first = problems[0]
            column = f", column {first.column}" if first.column else ""
            raise DataError(f"{shown(table.path)} row {first.row}{column}: {first.reason}")
        for number, text, label in zip(rows["row"], rows["text"], rows["label"], strict=True):
            here = f"{shown(table.path)} row {number}"
            if label is None:
                raise DataError(f"{here}, column {table_of.id}: the answer has no id")
            if not text.strip():
                raise DataError(f"{here}, column {table_of.text}: the answer '{label}' has no text")
            if found.setdefault(label, text) != text:
                raise DataError(
                    f"{here}: the answer '{label}' has another text in {place[label]}; give one of them "
                    "another id"
                )
            place.setdefault(label, here)
    if len(found) < 2:
        raise DataError(f"{key}.file: holds {len(found)} answer; retrieval needs two or more to choose from")
    return found


def write_answers(validated: Path, task: str, answers: Mapping[str, str]) -> None:
    """Write ``<task>/answers.parquet`` into the folder of the validation stage, whose rows may name them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"id": list(answers), "text": list(answers.values())}
    schema = pa.schema([(name, pa.string()) for name in columns])
    pq.write_table(pa.table(columns, schema=schema), validated / task / _FILE, compression="zstd")


def copy_answers(validated: Path, task: str, folder: Path) -> None:
    """Copy the answers of a task, if it has any, into the folder of a stage with some of its rows."""
    if (validated / task / _FILE).is_file():
        shutil.copy(validated / task / _FILE, folder / task)
