"""Files and tasks that the validation stage refuses, and what it says of them."""

from pathlib import Path
from typing import Any

import pytest
from small_projects import jsonl, refused, reviews, write_splits

from doubleroute.errors import DataError, GateError


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"train": ["data/train.jsonl", "data/../data/train.jsonl"]},
            "tasks.sentiment.files.train: data/../data/train.jsonl is named twice",
        ),
        (
            {"train": "data", "test": "data/test.jsonl", "validation": "data/test.jsonl"},
            "tasks.sentiment.files.test: data/test.jsonl is named there and in validation",
        ),
    ],
)
def test_a_file_that_a_task_names_twice_is_refused(tmp_path: Path, files: dict[str, Any], said: str) -> None:
    write_splits(tmp_path, reviews(20))
    tasks = {"sentiment": {"kind": "classification", "files": files}}
    assert said in refused(tmp_path, tasks, DataError)


@pytest.mark.costly
@pytest.mark.parametrize(
    ("rows", "task", "said"),
    [
        (
            [{"text": f"t {n}", "label": "a"} for n in range(60)],
            {"kind": "classification"},
            "every training row has the label 'a'",
        ),
        (
            [{"text": f"t {n}", "label": []} for n in range(60)],
            {"kind": "multilabel"},
            "no training row has a label",
        ),
        (
            [{"tokens": f"t {n}", "tags": "O O"} for n in range(60)],
            {"kind": "tagging"},
            "every tag of the training rows is O",
        ),
        (
            reviews(60),
            {"kind": "classification", "split": {"validation": 0.0}},
            "no labelled row is left for validation",
        ),
        (reviews(1), {"kind": "classification"}, "no labelled row is left"),
        (
            reviews(60),
            {"kind": "classification", "columns": {"label": "lable"}},
            "tasks.t.columns.label: column 'lable' is not in",
        ),
        (
            reviews(60),
            {"kind": "classification", "slices": ["sorce"]},
            "tasks.t.slices: column 'sorce' is not in",
        ),
        (reviews(60), {"kind": "tagging", "labels": ["O", "place"]}, "'place' is not a tag"),
    ],
)
def test_a_task_that_cannot_be_learned_is_refused(
    tmp_path: Path, rows: list[Any], task: dict[str, Any], said: str
) -> None:
    jsonl(tmp_path / "a.jsonl", rows)
    if task.get("labels"):
        jsonl(tmp_path / "a.jsonl", [{"tokens": "a", "tags": "O"}] * 5)
    assert said in refused(tmp_path, {"t": {"files": {"train": "a.jsonl"}, **task}}, DataError)


@pytest.mark.costly
@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression", "tagging"])
def test_a_file_of_bad_rows_alone_is_refused_by_the_gate(tmp_path: Path, kind: str) -> None:
    jsonl(tmp_path / "a.jsonl", [{"text": None, "tokens": None, "label": None, "tags": None}] * 30)
    tasks = {"t": {"kind": kind, "files": {"train": "a.jsonl"}}}
    assert "30 of 30 rows (100.0%) are invalid" in refused(tmp_path, tasks, GateError)
    message = refused(tmp_path, tasks, DataError, validation={"max_invalid": 1.0})
    assert "no labelled row is left for train" in message


def test_a_missing_file_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    write_splits(tmp_path, reviews(4))
    files = {"train": "data/trian.jsonl"}
    message = refused(tmp_path, {"t": {"kind": "classification", "files": files}}, DataError)
    assert "did you mean 'train.jsonl'?" in message
