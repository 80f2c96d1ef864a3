"""What ``review --full`` compares and trains, and what it leaves."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from doubleroute.config import Project
from doubleroute.flows.timeline import FitProgress
from doubleroute.flows.training_both import _known_to_base, train_both
from doubleroute.review.rows import Changes, version_rows
from doubleroute.review.versions import Versions
from doubleroute.workspace import Stage, Workspace


def project(tasks: dict[str, Any]) -> Project:
    about = {"name": "case", "backbone": {"source": "nowhere"}, "tasks": {}}
    for name, options in tasks.items():
        about["tasks"][name] = {"files": {"train": "data/a.csv"}, **options}
    return Project.model_validate_json(json.dumps(about))


def versions(task: str, renamed: dict[str, str]) -> Versions:
    none = version_rows("classification", {})
    return Versions(task, none, none, Changes(np.zeros((0, 2), np.int64), [], np.zeros(0), renamed))


def test_nothing_is_trained_where_no_task_can_be_compared_and_each_says_why(tmp_path: Path) -> None:
    span = {"kind": "span", "columns": {"text": "question", "text_pair": "context", "label": "answers"}}
    before = project({"old": {"kind": "classification"}, "mood": {"kind": "classification"}, "where": span})
    after = project({"new": {"kind": "classification"}, "mood": {"kind": "multilabel"}, "where": span})
    stage = Stage("validate", "0", tmp_path, True)
    sides = ((before, stage), (after.at(tmp_path), stage))
    with FitProgress() as progress:
        found = train_both(sides, Workspace(tmp_path), {}, dict.fromkeys(after.tasks), progress)
    assert {task: entry["verdict"] for task, entry in found.items()} == dict.fromkeys(
        after.tasks, "cannot tell"
    )
    assert found["new"]["why"] == found["mood"]["why"] == "base has no such task, or one of another kind"
    assert "is not worked out" in found["where"]["why"]
    assert list(tmp_path.rglob("fit*")) == []


def test_base_learns_with_the_class_weights_of_its_own_labels(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(json.dumps({"mood": ["bad", "fee"]}), encoding="utf-8")
    weights = {"charge": 3.0, "bad": 2.0, "new": 5.0}
    after = project({"mood": {"kind": "classification", "class_weights": weights}})
    stage = Stage("validate", "0", tmp_path, True)
    found = _known_to_base(after, stage, {"mood": versions("mood", {"fee": "charge"})})
    assert found.tasks["mood"].class_weights == {"bad": 2.0, "fee": 3.0}
