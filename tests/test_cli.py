"""The command line: words into calls, exit codes, one JSON document, and --help at once."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from doubleroute.cli import app
from doubleroute.cli.app import option_for
from doubleroute.config import load_project

COMMANDS = ("init", "validate", "train", "evaluate", "predict", "status", "doctor")


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


def document(result: Result) -> Any:
    return json.loads(result.stdout)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data file of 40 labelled texts inside a project folder."""
    path = tmp_path / "demo" / "data" / "train.jsonl"
    path.parent.mkdir(parents=True)
    rows = [{"text": f"text number {n} of many", "label": ["good", "bad"][n % 2]} for n in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def project(data: Path) -> Path:
    """The folder of a project that `init` has made."""
    folder = data.parent.parent
    assert call("init", data, "--project", folder).exit_code == 0
    return folder


def test_importing_the_command_line_imports_nothing_heavy() -> None:
    heavy = "torch transformers mlflow prefect great_expectations dvc pandas numpy matplotlib rich pydantic"
    code = f"import sys, doubleroute.cli; print([m for m in '{heavy}'.split() if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_plain_and_complete(command: str) -> None:
    result = call(*filter(None, [command]), "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")
    assert "\x1b" not in result.stdout
    assert all(name in result.stdout for name in COMMANDS) or command


def test_the_installed_command_answers_help_nearly_as_fast_as_an_empty_typer_app() -> None:
    empty = "import typer; app = typer.Typer()\n@app.command()\ndef train(x: int = 1): pass\napp()"
    commands = {
        "ours": [str(Path(sys.executable).with_name("doubleroute")), "train", "--help"],
        "empty": [sys.executable, "-c", empty, "--help"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(
        5
    ):  # processor time of the quickest, in turns: the wall clock measures the neighbours as well
        for name, command in commands.items():
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            assert subprocess.run(command, capture_output=True).returncode == 0
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds[name].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    # Seen on two cores: 0.28 s and 0.26 s; what Typer imports is nearly all of it.
    assert min(seconds["ours"]) < 2 * min(seconds["empty"]), seconds


WRONG_USE = {
    "no such command": ["trian"],
    "no such option": ["train", "--sett", "a=b"],
    "no file": ["init"],
    "a format that is not there": ["predict", "--text", "x", "--format", "xml"],
}


@pytest.mark.parametrize("arguments", WRONG_USE.values(), ids=WRONG_USE)
def test_wrong_use_is_exit_code_2_and_a_hint(arguments: list[str]) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert "Usage: " in result.stderr


def test_a_misspelt_command_is_guessed() -> None:
    assert "Did you mean 'train'" in call("trian").stderr


def test_init_writes_a_project_and_prints_what_it_inferred(data: Path) -> None:
    folder = data.parent.parent
    result = call("init", data, "--project", folder)
    assert result.exit_code == 0
    assert "label = column 'label'" in result.stdout
    assert f"doubleroute train --project {folder}" in result.stdout
    assert load_project(folder).name == "demo"


def test_init_in_json_gives_tasks_mapping_and_doubts(data: Path, tmp_path: Path) -> None:
    result = call("init", data, "--dir", tmp_path / "other", "--name", "mine", "--json")
    found = document(result)
    assert found["tasks"] == {"classification": "classification"}
    assert "outside the project folder" in found["doubts"][0]
    assert load_project(tmp_path / "other").name == "mine"


def test_init_does_not_overwrite(project: Path, data: Path) -> None:
    before = (project / "project.yaml").read_text()
    result = call("init", data, "--project", project)
    assert result.exit_code == 2
    assert "--force replaces it" in result.stderr
    assert (project / "project.yaml").read_text() == before
    assert call("init", data, "--project", project, "--force").exit_code == 0


def test_init_with_a_bad_name_writes_nothing(data: Path) -> None:
    folder = data.parent.parent
    result = call("init", data, "--project", folder, "--name", "My Name")
    assert result.exit_code == 2
    assert "'my-name' would do" in result.stderr
    assert not (folder / "project.yaml").exists()


def test_init_of_a_missing_file_says_what_is_there(data: Path) -> None:
    result = call("init", data.with_name("tran.jsonl"))
    assert result.exit_code == 2
    assert "did you mean 'train.jsonl'?" in result.stderr


@pytest.mark.parametrize("command", ["validate", "train", "evaluate", "status"])
def test_without_a_project_every_command_says_how_to_get_one(command: str, tmp_path: Path) -> None:
    result = call(command, "--project", tmp_path)
    assert result.exit_code == 2
    assert "doubleroute init" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("command", ["validate", "train", "evaluate"])
def test_a_wrong_set_is_bad_input(command: str, project: Path) -> None:
    result = call(command, "--project", project, "--set", "training.epoch=3", "--set", "seed=010", "--json")
    assert result.exit_code == 2
    error = document(result)["error"]
    assert (error["type"], error["exit_code"]) == ("ConfigError", 2)
    assert "--set training.epoch: unknown key; did you mean 'epochs'?" in error["message"]
    assert "--set seed: 010" in error["message"]


def test_validate_prints_the_counts_and_gives_them_as_json(project: Path) -> None:
    result = call("validate", "--project", project)
    assert result.exit_code == 0, result.stderr
    assert "classification train:" in result.stdout
    assert "data docs: " in result.stdout
    again = document(call("validate", "--project", project, "--json"))
    assert again["reused"] is True
    counts = again["summary"]["tasks"]["classification"]
    assert sum(split["rows_in"] for split in counts.values()) == 40


def test_too_many_bad_rows_are_exit_code_3(project: Path, data: Path) -> None:
    rows = data.read_text().splitlines()
    data.write_text("\n".join([*rows, *['{"text": "", "label": "good"}'] * 5]) + "\n")
    result = call("validate", "--project", project)
    assert result.exit_code == 3
    assert "Traceback" not in result.stderr


def test_status_of_a_new_project_creates_nothing(project: Path) -> None:
    before = sorted(project.rglob("*"))
    found = document(call("status", "--project", project, "--json"))
    assert found["registry"]["champion"] is None
    assert found["workspace"]["stages"] == 0
    assert "champion   none yet" in call("status", "--project", project).stdout
    new = [path for path in sorted(project.rglob("*")) if path not in before]
    assert [path for path in new if "mlflow" in path.name or path.name == "stages"] == []


def test_status_names_the_last_stage_and_a_problem_with_the_data(project: Path) -> None:
    stage = project / ".doubleroute" / "stages" / "fit-0123"
    stage.mkdir(parents=True)
    (stage / "manifest.json").write_text("{}")
    (project / "data.dvc").write_text("outs: []\n")
    result = call("status", "--project", project)
    assert "fit        " in result.stdout
    assert "is not what DVC writes" in result.stdout


USES = {
    "neither": [],
    "both": ["--text", "a", "--input", "b"],
}


@pytest.mark.parametrize("arguments", USES.values(), ids=USES)
def test_predict_wants_one_source_of_texts(arguments: list[str], project: Path) -> None:
    result = call("predict", "--project", project, *arguments)
    assert result.exit_code == 2
    assert "give either --input FILE" in result.stderr


def test_predict_before_any_training_says_that_nothing_is_registered(project: Path) -> None:
    result = call("predict", "--project", project, "--text", "a", "--json")
    assert result.exit_code == 2
    assert "nothing is registered yet" in document(result)["error"]["message"]


def test_doctor_prints_a_line_a_check_and_fails_with_exit_code_4(project: Path) -> None:
    result = call("doctor", "--project", project, "--json")
    states = {check["name"]: check["state"] for check in document(result)["checks"]}
    assert states["project"] == "ok"
    assert result.exit_code == (4 if "fail" in states.values() else 0)
    (project / "project.yaml").write_text("name: 3\n")
    result = call("doctor", "--project", project)
    assert result.exit_code == 4
    assert "fail  project" in result.stdout
    assert "-> edit project.yaml" in result.stdout


def test_the_installed_command_keeps_stdout_for_the_document(project: Path) -> None:
    command = [str(Path(sys.executable).with_name("doubleroute")), "status", "--json"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=project, env={**os.environ, "NO_COLOR": "1"}
    )
    assert done.returncode == 0
    assert json.loads(done.stdout)["project"] == "demo"


def test_a_schedule_that_is_none_is_refused_before_anything_starts(project: Path) -> None:
    result = CliRunner().invoke(app, ["schedule", "--project", str(project), "--cron", "every night"])
    assert result.exit_code == 2
    assert "--cron 'every night' is no schedule; write it as '0 2 * * 1'" in result.stderr
    assert not (project / ".doubleroute").exists()


def test_what_is_to_be_typed_is_quoted() -> None:
    assert option_for(Path("my project")) == " --project 'my project'"
