"""`doubleroute decide`: the decisions so far, and one of them made again."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from doubleroute.cli import app
from doubleroute.config import Retraining
from doubleroute.drift import records

FACTS: dict[str, Any] = {
    "now": "2026-03-10T02:00:00",
    "champion": None,
    "drift": None,
    "performance": {},
    "new_labels": {},
    "learned_from": {},
    "retrainings": [],
    "expected_seconds": None,
}


def call(project: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["decide", "--project", str(project), *words])


@pytest.fixture
def record(tiny_project: Path) -> dict[str, Any]:
    made = records.make("tiny", FACTS, Retraining())
    records.write(tiny_project, made)
    return made


def test_a_wrong_key_of_a_policy_is_put_down_to_the_policy(tiny_project: Path) -> None:
    words = ["replay", "--project", str(tiny_project), "--policy", "idle:on_drfit=false"]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 2
    assert "--policy idle: retraining.on_drfit: unknown key; did you mean 'on_drift'?" in said.stderr


def test_without_a_decision_it_says_who_makes_one(tiny_project: Path) -> None:
    assert "no decision yet" in call(tiny_project).stdout


def test_decisions_are_shown_with_what_became_of_them(tiny_project: Path, record: dict[str, Any]) -> None:
    records.set_outcome(tiny_project, record["id"], {"version": "1", "verdict": "promote"})
    (tiny_project / "decisions" / "20250101T000000-00000000.json").write_text("", encoding="utf-8")

    shown = call(tiny_project)

    assert f"{record['id']}  retrain, then promote" in shown.stdout
    assert "20250101T000000-00000000.json is damaged" in shown.stderr


def test_a_retraining_that_is_under_way_or_was_killed_is_shown_as_not_finished(
    tiny_project: Path, record: dict[str, Any]
) -> None:
    records.set_outcome(tiny_project, record["id"], {})
    assert f"{record['id']}  retrain, then not finished" in call(tiny_project).stdout


def test_a_decision_made_again_is_the_same(tiny_project: Path, record: dict[str, Any]) -> None:
    again = call(tiny_project, "--replay", record["id"], "--json")

    assert again.exit_code == 0
    document = json.loads(again.stdout)
    assert document["same"] is True
    assert document["decision"]["reasons"] == ["there is no champion yet"]
    assert "the same as recorded" in call(tiny_project, "--replay", record["id"]).stdout


def test_a_record_that_was_changed_is_found_out(tiny_project: Path, record: dict[str, Any]) -> None:
    path = tiny_project / "decisions" / f"{record['id']}.json"
    path.write_text(json.dumps({**record, "verdict": "wait"}), encoding="utf-8")

    again = call(tiny_project, "--replay", record["id"])

    assert again.exit_code == 2
    assert 'verdict: recorded "wait", decided again "retrain"' in again.stdout


def test_an_unknown_decision_names_those_that_there_are(tiny_project: Path, record: dict[str, Any]) -> None:
    again = call(tiny_project, "--replay", "2020")

    assert again.exit_code == 2
    assert record["id"] in again.stderr
