"""Changes that no quick model can learn are told and cost nothing."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from clouds import Row, side
from two_versions import versions

from doubleroute.config import Project
from doubleroute.flows.measuring import measure
from doubleroute.flows.timeline import FitProgress
from doubleroute.review.limits import unlearnable
from doubleroute.review.rows import VersionRows
from doubleroute.workspace import Workspace


def said(made: VersionRows) -> str:
    return unlearnable((made, made), [np.ones(len(made), bool)] * 2)


def test_some_thousands_of_labels_are_too_many_for_a_quick_model() -> None:
    few: list[Row] = [("train", number, f"answer {number % 77}") for number in range(20_000)]
    assert said(side(few)) == ""
    many: list[Row] = [("train", number, f"answer {number}") for number in range(6_000)]
    assert said(side(many)).startswith("6,000 rows with 6,000 labels are too many for a quick model")


def test_without_any_label_there_is_nothing_to_learn() -> None:
    empty: list[Row] = [("train", number, []) for number in range(200)]
    assert said(side(empty, "multilabel")) == "no row has a label"


def test_numbers_whose_squares_are_beyond_float32_are_not_learned() -> None:
    numbers: list[Row] = [("train", number, number - 1e6) for number in range(200)]
    assert said(side(numbers, "regression")) == ""
    absurd = said(side([*numbers, ("test", 200, -1e38)], "regression"))
    assert absurd == "numbers as large as 1e+38 are beyond float32 when squared"


def test_of_words_all_count() -> None:
    tags: list[Row] = [("train", number, ["B-" + "abc"[number % 3]] * 40) for number in range(60)]
    made = replace(side(tags, "tagging"), tokens=[["word"] * 40] * 60)
    assert said(made) == ""
    huge = replace(made, tokens=[["word"] * 200_000] * 60)
    assert said(huge).startswith("12,000,000 words with 3 labels are too many")


def test_a_task_with_too_many_labels_is_neither_embedded_nor_learned(tmp_path: Path) -> None:
    about = {"name": "case", "backbone": {"source": "nowhere"}, "tasks": {}}
    about["tasks"]["intent"] = {"kind": "classification", "files": {"train": "data/a.csv"}}
    project = Project.model_validate_json(json.dumps(about)).at(tmp_path)
    rows = [(str(n), "train", f"text {n}", f"answer {n}") for n in range(6_000)]
    changed = versions(rows, [(*rows[0][:3], "another"), *rows[1:]])
    with FitProgress() as progress:
        found = measure(project, Workspace(tmp_path), {"intent": changed}, [], progress)
    assert found.impact["intent"]["verdict"] == "cannot tell"
    assert "are too many for a quick model" in found.impact["intent"]["why"]
    assert found.studies == {"intent": None}
    assert found.findings == []
