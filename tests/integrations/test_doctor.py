"""`doubleroute doctor` finds what is wrong with machine, project and stores, and changes nothing."""

import http.server
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from doubleroute.config import Project, load_project
from doubleroute.integrations import doctor, doctor_machine
from doubleroute.integrations.doctor import Check
from doubleroute.workspace import Workspace


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with a backbone folder, one data file and one stage."""
    (tmp_path / "train.csv").write_text("text,label\na,b\n")
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "tokenizer.json").write_text("{}")
    save_file({"weight": np.zeros(3, np.float32)}, model / "model.safetensors")
    task = "{kind: classification, files: {train: train.csv}}"
    text = f"name: demo\nbackbone: {{source: ./model}}\ntasks: {{mood: {task}}}\n"
    (tmp_path / "project.yaml").write_text(text)
    Workspace(tmp_path).build("fit", {"n": 1}, lambda folder: (folder / "a.txt").write_text("hello") and None)
    return load_project(tmp_path)


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(root.rglob("*"))}


def test_a_sound_project_has_no_failure_and_is_not_changed(project: Project) -> None:
    before = snapshot(project.root)
    checks = list(doctor.examine(project.root))
    assert [check for check in checks if check.state == "fail"] == []
    assert {check.name for check in checks} >= {
        "python", "packages", "processor", "memory", "disk", "clock", "project", "git", "data", "backbone",
        "workspace", "mlflow", "prefect",
    }  # fmt: skip
    unsure = {check.name: check.advice for check in checks if check.state != "ok"}
    assert "data" in unsure  # which have no version here
    assert all(unsure.values())
    assert snapshot(project.root) == before


def test_without_a_project_only_the_machine_is_looked_at(tmp_path: Path) -> None:
    checks = {check.name: check for check in doctor.examine(tmp_path)}
    assert checks["project"].state == "warn"
    assert "doubleroute init" in checks["project"].advice
    assert not {"backbone", "workspace", "mlflow"} & set(checks)


def test_a_wrong_project_file_is_shown_and_the_rest_goes_on(tmp_path: Path) -> None:
    (tmp_path / "project.yaml").write_text("name: demo\nseed: 010\n")
    checks = {check.name: check for check in doctor.examine(tmp_path)}
    assert checks["project"].state == "fail"
    assert "line 2: seed: 010" in checks["project"].found
    assert checks["prefect"].state == "ok"


def test_a_changed_byte_in_a_stage_is_found_although_its_size_is_the_same(project: Project) -> None:
    (stage,) = Workspace(project.root).stages.iterdir()
    assert doctor.workspace(project.root).state == "ok"
    (stage / "a.txt").write_text("hallo")
    check = doctor.workspace(project.root)
    assert check.state == "fail"
    assert str(stage / "a.txt") in check.found
    assert check.advice.endswith(f"rm -r {stage}")


@pytest.mark.parametrize("text", ["{", "{}"])
def test_a_damaged_manifest_is_found(project: Project, text: str) -> None:
    (stage,) = Workspace(project.root).stages.iterdir()
    (stage / "manifest.json").write_text(text)
    assert doctor.workspace(project.root).state == "fail"


def test_a_cut_weight_file_is_found_without_loading_weights(project: Project) -> None:
    weights = project.root / "model" / "model.safetensors"
    assert doctor.backbone(project) == Check("backbone", "ok", "./model: 1 tensors, tokenizer")
    weights.write_bytes(weights.read_bytes()[:-4])
    check = doctor.backbone(project)
    assert check.state == "fail"
    assert "model.safetensors" in check.found


def test_a_backbone_without_tokenizer_or_with_a_broken_config_is_found(project: Project) -> None:
    (project.root / "model" / "config.json").write_text("{")
    assert doctor.backbone(project).state == "fail"
    shutil.rmtree(project.root / "model")
    check = doctor._careful("backbone", lambda: doctor.backbone(project))
    assert check.state == "fail"
    assert "./model" in check.found


def test_a_missing_data_file_is_named(project: Project) -> None:
    (project.root / "train.csv").unlink()
    check = doctor.data(project.root, project)
    assert check.state == "fail"
    assert str(project.root / "train.csv") in check.found


def test_data_without_a_version_and_data_that_differ_are_told_apart(project: Project) -> None:
    assert doctor.data(project.root, project).state == "warn"
    (project.root / "data").mkdir()
    (project.root / "data" / "a.txt").write_text("a")
    pointer = "outs:\n- md5: 0123456789abcdef0123456789abcdef.dir\n  hash: md5\n  path: data\n"
    (project.root / "data.dvc").write_text(pointer)
    check = doctor._careful("data", lambda: doctor.data(project.root, project))
    assert check.state == "fail"


def database(project: Project, versions: int) -> Path:
    path = project.root / "mlflow" / "mlflow.db"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.executemany("INSERT INTO alembic_version VALUES (?)", [("a",)] * versions)
        connection.commit()
    return path


def test_a_half_made_database_is_found(project: Project) -> None:
    database(project, 0)
    check = doctor.mlflow_store(project)
    assert check.state == "fail"
    assert "has 0 schema versions" in check.found


def test_a_file_that_is_no_database_is_found(project: Project) -> None:
    database(project, 1).write_bytes(b"not a database at all, just text " * 100)
    check = doctor.mlflow_store(project)
    assert check.state == "fail"
    assert "not a database" in check.found


def test_a_locked_database_is_a_warning(project: Project) -> None:
    with closing(sqlite3.connect(database(project, 1))) as other:
        other.execute("BEGIN EXCLUSIVE")
        check = doctor.mlflow_store(project, patience=0.1)
    assert check.state == "warn"
    assert "is locked" in check.found


def test_a_database_that_cannot_be_opened_is_not_to_be_moved_away(project: Project) -> None:
    path = database(project, 1)
    path.with_name("mlflow.db-journal").mkdir()
    check = doctor.mlflow_store(project)
    assert check.state == "fail"
    assert check.advice == "make it and its folder readable and writable, or restore a backup"


def test_a_database_of_something_else_is_to_be_moved_away(project: Project) -> None:
    path = database(project, 1)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE alembic_version")
    assert "move the file aside" in doctor.mlflow_store(project).advice


@pytest.fixture
def server() -> Iterator[str]:
    """A server that answers 200, and 401 where it is asked for what is private without a token."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            refused = "private" in self.path and self.headers["Authorization"] is None
            self.send_response(401 if refused else 200)
            self.end_headers()
            self.wfile.write(json.dumps(True).encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}/api"
        listening.shutdown()
        thread.join()


def test_a_prefect_server_that_answers_is_ok(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", server)
    assert doctor.prefect().state == "ok"
    monkeypatch.setenv("PREFECT_API_URL", f"{server}/private")
    assert doctor.prefect().state == "ok", "a server that wants a password is there"


NO_SERVER = (
    "http://127.0.0.1:9/api",
    "127.0.0.1:4200",
    "file:///etc/passwd",
    "http://a:b/api",
    "http://a b/api",
)


@pytest.mark.parametrize("url", NO_SERVER)
def test_a_prefect_server_that_does_not_answer_fails(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", url)
    check = doctor.prefect()
    assert check.state == "fail"
    assert "unset PREFECT_API_URL" in check.advice


def test_what_answers_in_another_protocol_is_no_prefect_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{listening.getsockname()[1]}/api")

        def greet() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"220 mail.example.org\r\n")

        greeting = threading.Thread(target=greet)
        greeting.start()
        check = doctor.prefect()
        greeting.join()
    assert (check.state, "does not answer" in check.found) == ("fail", True)


def test_a_check_that_fails_is_a_line_of_doctor_s(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://[::1/api")
    (check,) = (each for each in doctor.examine(project.root) if each.name == "prefect")
    assert check.state == "fail"


def test_a_private_backbone_on_the_hub_is_asked_for_with_the_token(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    assert doctor._hub("private/model").state == "fail"
    monkeypatch.setenv("HF_TOKEN", "hf_abc")
    assert doctor._hub("private/model").found.startswith("private/model, on the hub")


def test_a_cached_backbone_may_have_its_weights_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--large--model"
    files = folder / "snapshots" / ("a" * 40)
    files.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(files.name)
    for name in ("config.json", "model.safetensors.index.json", "tokenizer.json"):
        (files / name).write_text("{}")
    assert doctor._hub("large/model") == Check("backbone", "ok", "large/model, in the cache")


def test_the_commit_and_its_absence_are_told(tmp_path: Path) -> None:
    assert doctor.git(tmp_path).state == "warn"
    run = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path)]
    for arguments in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run([*run, *arguments], check=True)
    check = doctor.git(tmp_path)
    assert check.state == "ok"
    assert check.found.endswith("clean")


def test_a_pytorch_that_cannot_be_imported_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('a library is missing')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(doctor.__file__).parents[2]}")
    code = "from doubleroute.integrations.doctor_machine import processor; print(processor())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert "state='fail'" in done.stdout, done.stderr
    assert "PyTorch cannot be imported: a library is missing" in done.stdout


@pytest.mark.parametrize(("size", "found"), [("4", None), ("5", "has another size"), (None, "is missing")])
def test_a_package_whose_files_are_not_those_that_were_installed_is_found(
    size: str | None, found: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = tmp_path / "thing-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Name: thing\nVersion: 1\n")
    (about / "RECORD").write_text(f"thing.py,,{size or 4}\nthing-1.dist-info/RECORD,,\n")
    if size:
        (tmp_path / "thing.py").write_text("a, b")
    monkeypatch.syspath_prepend(str(tmp_path))
    damaged = doctor_machine._damaged("thing")
    assert damaged == (found and f"{tmp_path / 'thing.py'} {found}")
    (about / "RECORD").write_text("thing.py,,4\nthing-1.dist")
    if found is None:
        assert "cut short" in str(doctor_machine._damaged("thing"))


def test_too_little_memory_or_disk_warns_and_then_fails() -> None:
    states = [doctor_machine._measured("disk", gib * 2**30, (1, 5), "do").state for gib in (0.5, 2, 9)]
    assert states == ["fail", "warn", "ok"]


def test_the_pages_of_files_that_a_container_read_are_free_memory(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("950\n")
    (tmp_path / "memory.stat").write_text("anon 200\nactive_file 300\ninactive_file 400\n")
    assert doctor_machine._left_in(tmp_path) == 750
    (tmp_path / "memory.max").write_text("max\n")
    assert doctor_machine._left_in(tmp_path) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_fails(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert doctor_machine.disk(tmp_path).state == "fail"


def test_a_file_from_the_future_means_a_wrong_clock(tmp_path: Path) -> None:
    (tmp_path / "project.yaml").write_text("")
    os.utime(tmp_path / "project.yaml", (time.time() + 7200,) * 2)
    check = doctor_machine.clock(tmp_path)
    assert check.state == "warn"
    assert "120 minutes behind" in check.found
