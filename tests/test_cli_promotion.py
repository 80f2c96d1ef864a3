"""`doubleroute promote`, `rollback` and `history` on a real store with a real tiny model."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import write_tiny_project
from typer.testing import CliRunner, Result

from doubleroute.cli import app
from doubleroute.integrations.registry import Candidate, Registry
from doubleroute.modeling.inference import Answerer

EXAMPLES = [{"text": "a good film"}]


@pytest.fixture(scope="module")
def project(tiny_backbone: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose version 1 is champion; version 2 is a challenger that the promotion gate refused."""
    root = write_tiny_project(tmp_path_factory.mktemp("promotion") / "project", tiny_backbone)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        registry = Registry(root, "tiny")
        golden = Answerer(tiny_model, threads=1).answer(EXAMPLES)
        first = registry.register(Candidate("one", tiny_model, EXAMPLES, golden))
        client = registry._connect()
        client.set_registered_model_alias("tiny", "champion", "1")
        registry.settle()
        made = client.create_model_version(
            "tiny", first.source, first.run_id, tags={**first.tags, "doubleroute.run_key": "two"}
        )
        client.set_registered_model_alias("tiny", "challenger", str(made.version))
        refused = {"verdict": "refuse", "reasons": ["mood, source=mail: this slice is worse"]}
        registry.record(registry.version("2"), refused, "1")
    return root


def call(project: Path, command: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, [command, "--project", str(project), *arguments])


def document(result: Result) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.costly
def test_a_refused_challenger_needs_override_and_can_be_taken_back(project: Path, tmp_path: Path) -> None:
    root = tmp_path / "project"
    shutil.copytree(project, root)
    refused = call(root, "promote")
    assert refused.exit_code == 3
    assert "the promotion gate said refuse: mood, source=mail: this slice is worse" in refused.stderr
    assert call(root, "promote", "--override").exit_code == 2

    promoted = call(root, "promote", "2", "--override", "--reason", "mail is closed")
    assert promoted.exit_code == 0, promoted.stderr
    lines = promoted.stdout.splitlines()
    assert lines[:2] == ["version 2 of tiny is champion: version 1 was until now", "  mail is closed"]
    assert "rollback --project" in lines[-1]

    back = document(call(root, "rollback", "--reason", "it was not", "--json"))
    assert (back["model"], back["version"], back["from"]) == ("tiny", "1", "2")
    assert back["seconds"] > 0
    again = call(root, "rollback")
    assert again.exit_code == 3
    assert "there is no earlier champion to go back to" in again.stderr

    found = document(call(root, "history", "--json"))["history"]
    assert [(each["version"], each["from"], each["by"]) for each in found] == [
        ("1", "2", "rollback"),
        ("2", "1", "by hand"),
        ("1", None, "by hand"),
    ]
    shown = call(root, "history").stdout
    assert "it was not" in shown
    assert "mail is closed" in shown
    assert "\x1b" not in shown


def test_what_is_champion_already_changes_nothing(project: Path) -> None:
    found = document(call(project, "promote", "champion", "--json"))
    assert (found["version"], found["changed"]) == ("1", False)
    assert "is champion already; nothing was changed" in call(project, "promote", "1").stdout


def test_without_a_store_there_is_neither_history_nor_a_way_back(tmp_path: Path, tiny_backbone: Path) -> None:
    root = write_tiny_project(tmp_path / "project", tiny_backbone)
    before = sorted(path.name for path in root.iterdir())
    assert "had no champion yet" in call(root, "history").stdout
    assert document(call(root, "history", "--json"))["history"] == []
    assert call(root, "promote").exit_code == 2
    assert sorted(path.name for path in root.iterdir()) == before


def test_a_rollback_names_versions_that_never_were_champion(project: Path) -> None:
    result = call(project, "rollback", "--to", "2")
    assert result.exit_code == 2
    assert "version 2 was never champion (champions were: 1)" in result.stderr
