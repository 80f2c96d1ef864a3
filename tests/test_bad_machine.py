"""Answers that have nowhere to go, and a machine that does not let us work: exit code 4 with the place,
without a traceback, and with nothing half-written."""

import json
import os
import resource
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from bad_projects import call, files, make, refused

from doubleroute.errors import InputError, MachineError
from doubleroute.integrations.doctor import workspace as examine_workspace
from doubleroute.serving.predictor import Answer, write
from doubleroute.serving.requests import Request

COMMAND = str(Path(sys.executable).with_name("doubleroute"))

# predict

PREDICT = {
    "an empty text": (("--text", " "), "--text: 'text' is empty"),
    "half a character": (("--text", "\udcff"), "--text: 'text' holds U+DCFF, which is half a character"),
    "an empty name": (("--input", ""), "--input is empty; name a file"),
    "a missing file": (("--input", "gone.csv"), "gone.csv cannot be read: No such file or directory"),
    "a folder": (("--input", "."), "is a folder; name a file of requests in it"),
    "a missing folder": (("--text", "a", "--output", "gone/out.csv"), "there is no folder gone; make it"),
    "no name to write to": (("--text", "a", "--output", ""), "--output is empty; name a file"),
}


@pytest.mark.parametrize(("words", "said"), PREDICT.values(), ids=PREDICT)
def test_what_cannot_be_answered_is_told_before_a_model_is_loaded(
    words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    assert said in refused(call("predict", make(tmp_path / "p"), *words, "--json"), 2)


def _answers() -> list[Answer]:
    return [Answer(Request(1, {"text": "a"}), {"stars": {"value": 1.5}})]


ABOUT = {"stars": {"kind": "regression", "labels": []}}


def test_answers_into_a_folder_that_is_missing_or_is_the_target_are_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no folder .*gone; make it first"):
        write(_answers(), ABOUT, tmp_path / "gone" / "out.jsonl")
    with pytest.raises(InputError, match="it is a folder; name a file in it"):
        write(_answers(), ABOUT, tmp_path)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises((InputError, MachineError), match="cannot write"):
        write(_answers(), ABOUT, loop)
    assert list(tmp_path.iterdir()) == [loop]


def test_answers_go_behind_a_link_and_leave_it_a_link(tmp_path: Path) -> None:
    link, target = tmp_path / "link.jsonl", tmp_path / "target.jsonl"
    target.write_text("old")
    link.symlink_to(target.name)
    assert write(_answers(), ABOUT, link) == 1
    assert link.is_symlink()
    assert json.loads(target.read_text())["answers"] == {"stars": {"value": 1.5}}


def test_answers_into_a_pipe_go_through_it_and_it_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_text()), daemon=True)
    reader.start()
    assert write(_answers(), ABOUT, pipe) == 1
    reader.join(timeout=20)
    assert json.loads(found[0])["row"] == 1
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_answers_into_dev_stdout_go_behind_what_is_there(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from doubleroute.serving.predictor import Answer, write;"
        "from doubleroute.serving.requests import Request; print('first', flush=True);"
        "write([Answer(Request(1, {}), {})], {}, Path('/dev/stdout'))"
    )
    target = tmp_path / "out.txt"
    with target.open("w") as file:
        assert subprocess.run([sys.executable, "-c", code], stdout=file).returncode == 0
    assert target.read_text().splitlines() == ["first", '{"row": 1, "answers": {}}']
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["first", '{"row": 1, "answers": {}}'], done.stderr


# the machine


def test_a_disk_that_takes_nothing_is_exit_code_4_and_nothing_is_left(tmp_path: Path) -> None:
    project = make(tmp_path / "p")
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    done = subprocess.run(
        [COMMAND, "validate", "--project", str(project), "--json"],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
    )
    assert done.returncode == 4, done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(done.stdout)["error"]["exit_code"] == 4
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before


STREAMS = {
    "no stdin": ("<&-", 0),
    "no stdout": (">&-", 0),
    "no stderr": ("2>&-", 0),
    "none": ("<&- >&- 2>&-", 0),
    "a full disk behind stdout": (">/dev/full", 4),
}


@pytest.mark.parametrize(("redirection", "code"), STREAMS.values(), ids=STREAMS)
def test_standard_streams_may_be_closed_or_full(redirection: str, code: int, tmp_path: Path) -> None:
    project = make(tmp_path / "p")
    command = f'"{COMMAND}" status --json --project "{project}" {redirection}'
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    if redirection in ("<&-", "2>&-"):
        assert json.loads(done.stdout)["project"] == "demo"
    else:
        assert done.stdout == ""


def test_a_file_in_the_place_of_the_workspace_is_told(tmp_path: Path) -> None:
    project = make(tmp_path / "p")
    (project / ".doubleroute").write_text("mine")
    message = refused(call("validate", project, "--json"), 4)
    assert message.startswith(f"{project / '.doubleroute'} is a file; results are kept in a folder")
    assert (project / ".doubleroute").read_text() == "mine"
    assert examine_workspace(project).state == "fail"
    status = json.loads(call("status", project, "--json").stdout)
    assert "is a file" in status["data"]["problem"]


@pytest.mark.parametrize("text", ["[]", "null", "{}", '{"files": {"a": 3}}', "\0"])
def test_doctor_names_a_stage_with_a_damaged_manifest(text: str, tmp_path: Path) -> None:
    stage = tmp_path / ".doubleroute" / "stages" / "fit-0123"
    stage.mkdir(parents=True)
    (stage / "manifest.json").write_text(text)
    check = examine_workspace(tmp_path)
    assert check.state == "fail"
    assert str(stage) in check.advice


def _database(content: bytes) -> Callable[[Path], object]:
    def make_it(folder: Path) -> None:
        folder.mkdir()
        (folder / "mlflow.db").write_bytes(content)

    return make_it


STORES: dict[str, tuple[Callable[[Path], object], dict[str, str], str]] = {
    "no database": (_database(b"garbage " * 999), {}, "file is not a database; restore a backup or move it"),
    "a file": (lambda folder: folder.write_text("x"), {}, "is a file; MLflow's store is a folder"),
    "a folder for a database": (
        lambda folder: (folder / "mlflow.db").mkdir(parents=True),
        {},
        "is a folder; it must be MLflow's database",
    ),
    "a dead server": (
        lambda _: None,
        {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"},
        "http://127.0.0.1:9 does not answer; start the server, or unset MLFLOW_TRACKING_URI",
    ),
    "no port": (
        lambda _: None,
        {"MLFLOW_TRACKING_URI": "http://127.0.0.1:abc"},
        "'abc'; write http://HOST:PORT",
    ),
}


@pytest.mark.parametrize(("make_it", "env", "said"), STORES.values(), ids=STORES)
def test_a_store_that_does_not_work_is_exit_code_4(
    make_it: Callable[[Path], object], env: dict[str, str], said: str, tmp_path: Path
) -> None:
    project = make(tmp_path / "p")
    make_it(project / "mlflow")
    before = files(project)
    message = refused(call("predict", project, "--text", "a", "--json", env=env), 4)
    assert said in message
    assert files(project) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_missing_permissions_name_the_place(tmp_path: Path) -> None:
    project = make(tmp_path / "p")
    (project / "data" / "train.csv").chmod(0)
    assert "train.csv cannot be read: permission is denied" in refused(call("validate", project, "--json"), 4)
    other = make(tmp_path / "other")
    other.chmod(0o500)
    try:
        message = refused(call("validate", other, "--json"), 4)
        assert message == f"cannot make the folder {other / '.doubleroute'}: Permission denied"
        assert call("status", other).exit_code == 0
    finally:
        other.chmod(0o700)
