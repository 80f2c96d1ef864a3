"""`doubleroute train` on a tiny project, and what the commands after it say."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import write_tiny_project
from typer.testing import CliRunner, Result

from doubleroute.cli import app
from doubleroute.integrations.registry import Registry
from doubleroute.serving.log import read_log


def call(project: Path, command: str, *arguments: str, stdin: str | None = None) -> Result:
    words = [command, "--project", str(project), *arguments]
    return CliRunner().invoke(app, words, input=stdin)


def train(project: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The installed command, in a process of its own as Prefect and its server want it."""
    command = [str(Path(sys.executable).with_name("doubleroute")), "train", "--project", str(project)]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=280)


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def trained(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A project after its first `doubleroute train`, and what that printed."""
    project = write_tiny_project(tmp_path_factory.mktemp("trained") / "project", tiny_backbone)
    result = train(project)
    assert result.returncode == 0, result.stderr
    return project, result.stdout


def test_train_prints_stages_scores_verdicts_report_and_what_comes_next(trained: tuple[Path, str]) -> None:
    _, printed = trained
    assert all(f"{stage} " in printed for stage in ("validate", "tokenise", "fit", "register", "promote"))
    assert "95% interval" in printed
    assert "sentiment: accuracy" in printed
    assert "version 1 of tiny is champion: there was none before" in printed
    assert "doubleroute predict --project" in printed
    assert "mlflow ui --backend-store-uri sqlite:" in printed
    assert Path(printed.split("report: ")[1].splitlines()[0]).is_file()
    assert "\x1b" not in printed


def test_training_again_reuses_every_stage_and_is_the_same_version(trained: tuple[Path, str]) -> None:
    result = train(trained[0], "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["version"] == "1"
    made = {stage["name"] for stage in found["stages"] if not stage["reused"]}
    assert made == {"pull", "register", "promote"}, "these look at the world again; all else is reused"


@pytest.mark.slow
def test_a_router_that_does_not_show_what_the_project_asks_ends_the_first_run_with_code_3_after_the_report(
    trained: tuple[Path, str], tmp_path: Path
) -> None:
    root = Path(shutil.copytree(trained[0], tmp_path / "project", symlinks=True))
    shutil.rmtree(root / "mlflow")  # its stages are there, and no version
    result = train(root, "--set", "promotion.router_checks.min_gain=0.9")
    assert result.returncode == 3, result.stderr
    assert "version 1 of tiny is refused: it is no champion, and there is none" in result.stdout
    assert "router_checks.min_gain 0.9 is certainly reached in no task" in result.stdout
    assert "the promotion gate refused the new version; there is still no champion" in result.stderr
    assert Path(result.stdout.split("report: ")[1].splitlines()[0]).is_file()
    (version,) = Registry(root, "tiny").versions()
    assert (version.aliases, version.as_dict()["verdict"]) == (("challenger",), "refuse")


def test_evaluate_scores_the_champion_and_writes_a_report(trained: tuple[Path, str]) -> None:
    result = call(trained[0], "evaluate")
    assert result.exit_code == 0, result.stderr
    assert "champion" in result.stdout
    assert Path(result.stdout.split("report: ")[1].splitlines()[0]).is_file()


def test_one_text_is_answered_for_people(trained: tuple[Path, str]) -> None:
    result = call(trained[0], "predict", "--text", "a good film 42")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == ["sentiment", "entities"]
    assert "pos 0." in lines[0]


def test_lines_of_stdin_are_answered_as_jsonl_and_nothing_else_is_on_stdout(
    trained: tuple[Path, str],
) -> None:
    result = call(
        trained[0], "predict", "--input", "-", "--task", "sentiment", stdin="a good film\nbad words\n"
    )
    assert result.exit_code == 0, result.stderr
    answers = rows(result.stdout)
    assert [answer["row"] for answer in answers] == [1, 2]
    assert all(set(answer["answers"]) == {"sentiment"} for answer in answers)


def test_a_file_is_answered_into_a_csv_file(trained: tuple[Path, str], tmp_path: Path) -> None:
    target = tmp_path / "answers.csv"
    result = call(
        trained[0], "predict", "--input", str(trained[0] / "data" / "sentiment.csv"), "--output", str(target)
    )
    assert result.exit_code == 0, result.stderr
    assert f"60 answers in {target}" in result.stdout
    with target.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert len(found) == 60
    assert {"sentiment", "sentiment_probability", "entities"} <= set(found[0])


def test_answers_in_json_are_one_document_with_the_version(trained: tuple[Path, str]) -> None:
    result = call(trained[0], "predict", "--text", "good", "--model-version", "1", "--json")
    found = json.loads(result.stdout)
    assert (found["model"], found["version"]) == ("tiny", "1")
    assert found["answers"][0]["answers"]["sentiment"]["label"] in ("neg", "pos")


def test_the_way_of_each_token_through_the_router_is_shown_and_is_in_the_json(
    trained: tuple[Path, str],
) -> None:
    result = call(trained[0], "predict", "--text", "a good film 42", "--explain")
    assert result.exit_code == 0, result.stderr
    assert "sentiment: weights of the experts" in result.stdout
    assert any(line.split()[:1] == ["good"] for line in result.stdout.splitlines())
    found = json.loads(call(trained[0], "predict", "--text", "good", "--explain", "--json").stdout)
    told = found["answers"][0]["explanation"]
    assert told["tokens"] == ["[CLS]", "good", "[SEP]"]
    assert set(told["tasks"]) == {"sentiment", "entities"}
    lines = call(
        trained[0], "predict", "--input", "-", "--task", "sentiment", "--explain", stdin="good\nbad\n"
    )
    assert [list(each["explanation"]["tasks"]) for each in rows(lines.stdout)] == [["sentiment"]] * 2


def test_texts_and_answers_are_kept_when_the_option_says_so_and_not_by_default(
    trained: tuple[Path, str],
) -> None:
    folder = trained[0] / "requests"
    assert call(trained[0], "predict", "--text", "not kept").exit_code == 0
    assert not folder.exists()
    result = call(trained[0], "predict", "--text", "a good film for ann@example.org", "--log")
    assert result.exit_code == 0, result.stderr
    found = read_log(folder)
    champion = Registry(trained[0], "tiny").version("champion")
    assert (found.texts, found.versions) == (["a good film for [mail]"], ["1"])
    assert found.digests == [champion.digest]
    assert set(found.answers[0]) == {"sentiment", "entities"}


WRONG = {
    "task": (["--text", "a", "--task", "mood"], "it has: sentiment, entities"),
    "version": (["--text", "a", "--model-version", "9"], "there are: 1, champion"),
    "missing file": (["--input", "gone.csv"], "gone.csv cannot be read"),
    "explained in CSV": (["--text", "a", "--explain", "--format", "csv"], "CSV has no place for --explain"),
    "unknown ending": (["--input", "a.xlsx"], "names no format of requests"),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_answered_is_bad_input(
    trained: tuple[Path, str], arguments: list[str], message: str
) -> None:
    result = call(trained[0], "predict", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_a_bad_row_leaves_no_half_written_file(trained: tuple[Path, str], tmp_path: Path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"text": "good"}\n{"tex": "bad"}\n')
    result = call(trained[0], "predict", "--input", str(source), "--output", str(target))
    assert result.exit_code == 2
    assert "line 2: 'text' is missing" in result.stderr
    assert list(tmp_path.iterdir()) == [source]


def test_status_and_doctor_know_the_champion(trained: tuple[Path, str]) -> None:
    status = json.loads(call(trained[0], "status", "--json").stdout)
    assert status["registry"]["champion"]["version"] == "1"
    assert {"validate", "tokenise", "fit"} <= {stage["name"] for stage in status["stages"]}
    checks = {
        check["name"]: check for check in json.loads(call(trained[0], "doctor", "--json").stdout)["checks"]
    }
    assert checks["mlflow"]["state"] == "ok"
    assert "champion is version 1" in checks["mlflow"]["found"]
    assert checks["workspace"]["state"] == "ok"
