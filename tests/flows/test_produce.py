"""What of a model learns in a retraining."""

import json
from pathlib import Path

import pytest

from doubleroute.config import Project, load_project
from doubleroute.drift import records
from doubleroute.flows.produce import learning

PROJECT = """\
name: desk
backbone: {source: x}
retraining: {keep_unmoved: true}
tasks:
  mood: {kind: classification, files: {train: a.jsonl}}
  topic: {kind: classification, files: {train: a.jsonl}}
  stars: {kind: regression, files: {train: a.jsonl}}
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "project.yaml").write_text(PROJECT, encoding="utf-8")
    return load_project(tmp_path)


def record(project: Project, moved: list[str], labels: int = 0, stars: int = 0) -> records.Record:
    """A decision after a drift of these, with so many new labels of ``topic`` and of ``stars``."""
    facts = {
        "now": "2026-03-10T02:00:00",
        "champion": {"version": "1", "registered": "2026-03-01T00:00:00", "age_days": 9.1},
        "drift": {"verdict": "moved" if moved else "not seen", "moved": moved, "tests": []},
        "new_labels": {"mood": 30, "topic": labels, "stars": stars},
        "learned_from": {"mood": 1000, "topic": 1000, "stars": 1000},
    }
    return records.make("desk", facts, project.retraining)


def test_a_task_with_new_labels_learns_beside_one_that_moved(project: Project) -> None:
    made = record(project, ["stars"], labels=200)
    assert made["verdict"] == "retrain"
    assert learning(project, made) == ("topic", "stars")


def test_a_head_without_new_labels_is_asked_about_and_learns_where_somebody_forces_it(
    project: Project,
) -> None:
    asked, enough = (record(project, ["stars"], stars=rows) for rows in (0, 20))
    assert (asked["verdict"], enough["verdict"]) == ("ask", "retrain")
    assert "label some rows of stars" in asked["reasons"][-1]
    assert learning(project, asked) == learning(project, enough) == ("stars",)


def test_of_a_record_of_the_former_form_those_learn_that_moved(project: Project) -> None:
    path = Path(__file__).parents[1] / "drift" / "former_record.json"
    former = json.loads(path.read_text(encoding="utf-8"))
    assert learning(project, former) == ("stars",)
    former["facts"]["drift"]["moved"] = ["inputs", "stars"]
    assert learning(project, former) is None


def test_nothing_is_frozen_where_a_reason_is_of_no_task_or_nothing_speaks(project: Project) -> None:
    inputs, nothing = record(project, ["inputs", "stars"]), record(project, [])
    assert (inputs["verdict"], nothing["verdict"]) == ("retrain", "wait")
    assert learning(project, inputs) is learning(project, nothing) is None
    everything = load_project(project.root, ["retraining.keep_unmoved=false"])
    made = record(everything, ["stars"])
    assert made["verdict"] == "retrain"
    assert learning(everything, made) is None
