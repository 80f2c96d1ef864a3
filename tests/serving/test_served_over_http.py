"""A champion behind `mlflow models serve`, the real server on the loopback interface."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from doubleroute.digests import model_digest
from doubleroute.integrations.registry import Candidate, Registry
from doubleroute.modeling.inference import Answerer
from doubleroute.serving.log import read_log

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
EXAMPLES = [{"text": "a good film"}, {"text": "a bad film 42", "text_pair": "this film"}]


@pytest.fixture(scope="module")
def golden(tiny_model: Path) -> list[dict[str, Any]]:
    return Answerer(tiny_model, threads=1).answer(EXAMPLES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the log of requests."""
    return tmp_path_factory.mktemp("served") / "requests"


@pytest.fixture(scope="module")
def url(
    tiny_model: Path, golden: list[dict[str, Any]], folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of a server with the champion of a new project."""
    root = tmp_path_factory.mktemp("project")
    registry = Registry(root, "demo")
    version = registry.register(Candidate("key", tiny_model, EXAMPLES, golden))
    registry.promote(version, None, {"verdict": "promote"})
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    tools = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": registry.tracking_uri,
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "DOUBLEROUTE_REQUEST_LOG": str(folder),
        "PATH": os.pathsep.join([tools, os.environ["PATH"]]),  # MLflow starts uvicorn by name
    }
    command = ["mlflow", "models", "serve", "-m", "models:/demo@champion", "--env-manager", "local"]
    log = root / "server.log"
    with log.open("w") as out:
        server = subprocess.Popen(
            [f"{tools}/{command[0]}", *command[1:], "--host", "127.0.0.1", "--port", str(port)],
            cwd=root,  # a folder named mlflow is there, as in every project
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(address, server, log)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _wait_for(address: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + 300
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"{address}/ping", timeout=5):
                return
        except OSError:
            assert server.poll() is None, log.read_text()
            time.sleep(1)
    raise AssertionError(log.read_text())


def post(url: str, body: Any) -> tuple[int, Any]:
    """Status and JSON of a request to the model."""
    request = urllib.request.Request(
        f"{url}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_all_tasks_of_a_table_are_answered_as_in_training(url: str, golden: list[dict[str, Any]]) -> None:
    status, found = post(url, {"dataframe_records": EXAMPLES})
    assert status == 200
    for wanted, got in zip(golden, found["predictions"], strict=True):
        assert set(got) == set(wanted)
        assert got["sentiment"]["label"] == wanted["sentiment"]["label"]
        assert got["sentiment"]["probabilities"] == pytest.approx(
            wanted["sentiment"]["probabilities"], abs=1e-4
        )
        assert got["stars"]["value"] == pytest.approx(wanted["stars"]["value"], abs=1e-4)
        assert got["entities"]["tags"] == wanted["entities"]["tags"]
        assert got["entities"]["confidences"] == pytest.approx(wanted["entities"]["confidences"], abs=1e-4)
        assert len(got["entities"]["entities"]) == len(wanted["entities"]["entities"])


def test_what_was_asked_is_in_the_log_redacted_with_the_model_s_digest(
    url: str, folder: Path, tiny_model: Path
) -> None:
    before = len(read_log(folder))
    post(url, {"dataframe_records": [{"text": "a good film for ann@example.org"}]})
    post(url, {"dataframe_records": [{"text": "a"}, {"text": " "}]})  # refused: not answered, not kept
    found = read_log(folder)
    assert (len(found), found.skipped) == (before + 1, 0)
    assert found.texts[-1] == "a good film for [mail]"
    assert found.answers[-1]["sentiment"]["label"] in ("neg", "pos")
    assert found.digests[-1] == model_digest(tiny_model)


def test_requests_at_the_same_time_get_the_answers_that_they_get_alone(url: str, tiny_model: Path) -> None:
    rows = [{"text": f"a good film {'bad ' * number}"} for number in range(12)]
    with ThreadPoolExecutor(len(rows)) as pool:
        together = list(pool.map(lambda row: post(url, {"dataframe_records": [row]}), rows))
    model = Answerer(tiny_model, threads=1)
    for row, (status, found) in zip(rows, together, strict=True):
        assert status == 200
        (got,), (wanted,) = found["predictions"], model.answer([row])
        assert got["sentiment"]["label"] == wanted["sentiment"]["label"]
        assert got["stars"]["value"] == pytest.approx(wanted["stars"]["value"], abs=1e-4)
    again = post(url, {"dataframe_records": rows})
    assert again[1]["predictions"] == [answer for _, found in together for answer in found["predictions"]]


def test_a_parameter_chooses_tasks(url: str) -> None:
    body = {"dataframe_split": {"columns": ["text"], "data": [["a"], ["b"]]}, "params": {"tasks": "stars"}}
    status, found = post(url, body)
    assert status == 200
    assert [list(answer) for answer in found["predictions"]] == [["stars"], ["stars"]]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"dataframe_records": [{"text": "a"}], "params": {"tasks": "mood"}}, "no task 'mood'"),
        ({"dataframe_records": [{"text": "a"}, {"text": " "}]}, "row 2: 'text' is empty"),
        ({"dataframe_records": [{"txt": "a"}]}, "text"),
        ({"dataframe_records": [{"text": 3}]}, "text"),
    ],
)
def test_a_bad_request_is_status_400_with_the_reason(url: str, body: Any, message: str) -> None:
    status, found = post(url, body)
    assert status == 400
    assert message in found["message"]
