"""The train flow on a Prefect server that was there before it, and its deployment."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running import Train

from doubleroute.config import load_project
from doubleroute.flows.watch import RETRAIN

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
REPOSITORY = Path(__file__).parents[2]
TOOLS = Path(sys.executable).parent


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment in which a `prefect server start` on a free port of the loopback interface is used."""
    home = tmp_path_factory.mktemp("prefect")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_UI_ENABLED": "false",
    }
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(TOOLS / "prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            env={**os.environ, **environment, "PREFECT_API_URL": ""},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + 300
        while not answers(environment):
            assert process.poll() is None, (home / "log").read_text()
            assert time.monotonic() < until, (home / "log").read_text()
            time.sleep(0.5)
        yield environment
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()


def answers(environment: dict[str, str]) -> bool:
    try:
        urllib.request.urlopen(f"{environment['PREFECT_API_URL']}/health", timeout=5).close()
    except OSError:
        return False
    return True


def ask(environment: dict[str, str], what: str) -> list[dict[str, Any]]:
    """All objects of a sort, over the server's REST API."""
    request = urllib.request.Request(
        f"{environment['PREFECT_API_URL']}/{what}/filter",
        data=b"{}",
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        found: list[dict[str, Any]] = json.load(response)
    return found


def test_a_run_on_a_server_of_one_s_own_is_seen_there_and_nowhere_else(
    server: dict[str, str], tiny_project: Path
) -> None:
    train = Train(tiny_project, environment=server)
    assert train.wait(900) == 0, train.err
    assert train.processes() == {}
    assert not (tiny_project / ".doubleroute" / "prefect").exists()
    (run,) = ask(server, "flow_runs")
    assert (run["state_name"], run["parameters"]["project"]) == ("Completed", str(tiny_project))
    deadline = time.monotonic() + 30  # the server records the last steps a moment later
    while len(names := {each["name"].rpartition("-")[0] for each in ask(server, "task_runs")}) < 9:
        assert time.monotonic() < deadline, names
        time.sleep(0.5)
    assert {"pull", "validate", "tokenise", "fit", "evaluate", "register", "promote"} <= names
    keys = {each["key"] for each in ask(server, "artifacts")}
    assert keys == {"tiny-rows", "tiny-scores", "tiny-verdicts", "tiny-report"}


def test_prefect_deploy_takes_the_repository_s_deployments_and_the_event_that_starts_one(
    server: dict[str, str], tmp_path: Path
) -> None:
    text = Path(shutil.copy(REPOSITORY / "prefect.yaml", tmp_path)).read_text(encoding="utf-8")
    environment = {**os.environ, **server}

    def prefect(*words: str) -> str:
        done = subprocess.run(
            [str(TOOLS / "prefect"), "--no-prompt", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    prefect("work-pool", "create", "--type", "process", "local")
    prefect("deploy", "--all")
    found = {each["name"]: each for each in ask(server, "deployments")}
    entrypoints = dict(re.findall(r"- name: (\S+)\n\s+entrypoint: (\S+)", text))
    assert {name: each["entrypoint"] for name, each in found.items()} == entrypoints
    assert {each["work_pool_name"] for each in found.values()} == {"local"}
    alone = {name for name, each in found.items() if each["concurrency_options"]}
    assert alone == {"nightly", "on-drift", "by-hand"}  # any number of reviews may go on side by side
    assert {found[name]["concurrency_options"]["collision_strategy"] for name in alone} == {"CANCEL_NEW"}
    (cron,) = re.findall(r'cron: "(.+)"', text)
    assert [each["schedule"]["cron"] for each in found["nightly"]["schedules"]] == [cron]
    (automation,) = ask(server, "automations")
    assert automation["trigger"]["expect"] == [RETRAIN]
    resource = f"doubleroute.project.{load_project(REPOSITORY).name}-*"
    assert automation["trigger"]["match"] == {"prefect.resource.id": resource}
    (action,) = automation["actions"]
    assert action["deployment_id"] == found["on-drift"]["id"]
    assert action["parameters"] == {
        "project": "{{ event.payload.project }}",
        "decision": "{{ event.payload.decision }}",
    }
