"""A check of rows that arrived: what counts as a row, and on how many rows a fall is told."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from doubleroute.config import Project, load_project
from doubleroute.flows.watching import Known, check, read_check
from doubleroute.workspace import Workspace

LABELS = {"sentiment": ["neg", "pos"], "topics": ["x", "y"]}


@pytest.fixture
def project(tiny_backbone: Path, tmp_path: Path) -> Project:
    (tmp_path / "project.yaml").write_text(
        f"""\
name: desk
backbone: {{source: '{tiny_backbone}', max_tokens: 16}}
tasks:
  sentiment: {{kind: classification, files: {{train: a.jsonl}}, slices: [source]}}
  topics: {{kind: multilabel, files: {{train: a.jsonl}}, columns: {{label: topics}}}}
drift: {{min_rows: 40, attribution: false}}
evaluation: {{bootstrap: 100}}
""",
        encoding="utf-8",
    )
    return load_project(tmp_path)


def frame(first: int, rows: int, labels: list[Any], split: str = "test") -> pd.DataFrame:
    numbers = range(first, first + rows)
    return pd.DataFrame(
        {
            "file": "a.jsonl",
            "row": numbers,
            "text": [f"the model reads line {number}" for number in numbers],
            "label": pd.Series([labels[number % len(labels)] for number in numbers], dtype=object),
            "split": split,
        }
    )


def checked(project: Project, model: Path, known: dict[str, Any], current: dict[str, Any]) -> dict[str, Any]:
    sizes = "-".join(str(len(rows)) for rows in known.values())
    champion = Known(f"a champion that learned from {sizes}", model, known)
    workspace = Workspace(project.root)
    return read_check(check(project, workspace, champion, current, LABELS, lambda *_: None))


def test_a_text_that_several_tasks_read_is_one_row_and_has_what_each_says_of_it(
    project: Project, tiny_model: Path
) -> None:
    words: list[Any] = [["x"], []]
    known = {"sentiment": frame(0, 60, ["neg", "pos"]), "topics": frame(0, 60, words)}
    current = {"sentiment": frame(60, 50, ["neg", "pos"]), "topics": frame(60, 50, words)}
    found = checked(project, tiny_model, known, current)
    assert found["drift"]["rows"] == {"reference": 60, "current": 50}
    assert {tuple(test["rows"]) for test in found["drift"]["tests"]} == {(60, 50)}
    twice = pd.concat([known["sentiment"], known["sentiment"]], ignore_index=True)
    found = checked(project, tiny_model, {**known, "sentiment": twice}, current)
    assert found["drift"]["rows"] == {"reference": 120, "current": 50}  # one task alone has it twice


def test_a_fall_is_told_with_enough_rows_of_labels_that_the_task_still_has(
    project: Project, tiny_model: Path
) -> None:
    known = {"sentiment": frame(0, 90, ["neg", "pos", "gone"])}
    enough, few = ({"sentiment": frame(90, rows, ["neg", "pos"])} for rows in (30, 29))
    about = checked(project, tiny_model, known, enough)["performance"]["sentiment"]
    assert (about["reference"]["rows"], about["current"]["rows"]) == (60, 30)
    assert about["fall"]["low"] < about["fall"]["high"]
    about = checked(project, tiny_model, known, few)["performance"]["sentiment"]
    assert about["current"]["rows"] == 29
    assert about["fall"] is None
