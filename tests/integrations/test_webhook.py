"""Documents sent to a real HTTP server on the loopback interface."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.states import Crashed, Failed

from doubleroute.errors import MachineError
from doubleroute.flows.retrain import retrain
from doubleroute.flows.watch import failed, watch
from doubleroute.integrations import webhook
from doubleroute.integrations.webhook import post

DOCUMENT = {"verdict": "retrain", "reasons": ['é, \n and "quotes"'], "numbers": {"p": 0.01}}


class Server(ThreadingHTTPServer):
    """Answers with the ``replies``, (status, Location or None), one after the other; notes what came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies: list[tuple[int, str | None]] = []
        self.got: list[tuple[str, str, dict[str, str], Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.command, self.path, dict(self.headers), json.loads(body)))
        status, place = self.server.replies.pop(0) if self.server.replies else (204, None)
        self.send_response(status)
        if place:
            self.send_header("Location", place)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.server.got.append((self.command, self.path, {}, None))
        self.send_error(404)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "PAUSES", (0.01, 0.02))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def test_the_document_arrives_whole_as_json(server: Server) -> None:
    post(f"{server.url}/hook?key=1", DOCUMENT)
    ((method, path, headers, document),) = server.got
    assert (method, path, document) == ("POST", "/hook?key=1", DOCUMENT)
    assert headers["Content-Type"] == "application/json"


def test_an_error_of_the_server_is_tried_three_times_and_then_told_without_the_secret_path(
    server: Server,
) -> None:
    server.replies = [(503, None), (500, None)]
    post(f"{server.url}/hook", DOCUMENT)
    assert len(server.got) == 3
    server.replies = [(503, None)] * 9
    with pytest.raises(MachineError, match=r"webhook at 127\.0\.0\.1 answered 503") as error:
        post(f"{server.url}/secret", DOCUMENT)
    assert len(server.got) == 6
    assert "secret" not in str(error.value)


def test_a_refusal_is_told_at_once(server: Server) -> None:
    server.replies = [(404, None)]
    with pytest.raises(MachineError, match="answered 404 Not Found"):
        post(server.url, DOCUMENT)
    assert len(server.got) == 1


def test_a_redirect_repeats_the_post_at_the_same_host_and_nowhere_else(server: Server) -> None:
    server.replies = [(308, "/new")]
    post(f"{server.url}/old", DOCUMENT)
    assert [(method, path, document) for method, path, _, document in server.got] == [
        ("POST", "/old", DOCUMENT),
        ("POST", "/new", DOCUMENT),
    ]
    elsewhere = f"http://localhost:{server.server_port}/other"
    for status, place in ((307, elsewhere), (302, "/new"), (307, "file:///etc/passwd")):
        server.got.clear()
        server.replies = [(status, place)]
        with pytest.raises(MachineError, match=f"answered {status}"):
            post(server.url, DOCUMENT)
        assert [path for _, path, _, _ in server.got] == ["/"]


def test_a_host_that_does_not_answer_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(MachineError, match=r"at 127\.0\.0\.1 does not answer: .*refused"):
        post(f"http://127.0.0.1:{port}", DOCUMENT)


def test_a_host_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(MachineError, match="timed out"):
        post(f"http://127.0.0.1:{silent.getsockname()[1]}", DOCUMENT)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("file:///etc/passwd", "must begin with http"),
        ("http://", "name a host"),
        ("http://[::1", "name a host"),
        ("http://host:port/", "not valid"),
        ("http://ho st/", "not valid"),
    ],
)
def test_an_address_that_is_none_is_told(url: str, message: str) -> None:
    with pytest.raises(MachineError, match=message):
        post(url, DOCUMENT)


def test_a_failure_of_a_run_that_nobody_waits_for_is_told_on_the_terminal_and_to_the_webhook(
    tiny_project: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    with (tiny_project / "project.yaml").open("a", encoding="utf-8") as file:
        file.write(f"retraining: {{webhook: '{server.url}'}}\n")
    state = Failed(message="Flow run encountered an exception: DataError: data/a.csv is empty")
    given = {"flow_id": uuid4(), "parameters": {"project": str(tiny_project)}}
    failed(retrain, FlowRun(**given), state)
    assert not server.got
    failed(retrain, FlowRun(**given, deployment_id=uuid4()), state)
    ((*_, told),) = server.got
    assert told.pop("time").startswith("20")
    assert told == {"project": "tiny", "flow": "retrain", "error": "DataError: data/a.csv is empty"}
    assert capsys.readouterr().err == f"error: {tiny_project.name}, retrain: DataError: data/a.csv is empty\n"
    for message, told in (
        ("Process exited with status code: -9. Out of memory", True),
        ("Flow run process exited with non-zero status code -11.", True),
        ("Process exited with status code: 130. Somebody stopped it", False),
        ("Execution was aborted", False),
    ):
        failed(watch, FlowRun(**given, deployment_id=uuid4()), Crashed(message=message))
        assert (len(server.got) == 2) == told
        server.got[1:] = []
    assert failed in retrain.on_failure_hooks
    assert failed in watch.on_failure_hooks
    assert all(failed in each.on_crashed_hooks for each in (retrain, watch))
