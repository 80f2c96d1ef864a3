"""`doubleroute schedule`: data arrive, and a better model serves without anybody being there."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import write_tiny_project
from prefect.client.orchestration import get_client

from doubleroute.config import load_project
from doubleroute.drift import records
from doubleroute.flows.schedule import _server, deployments
from doubleroute.integrations.registry import Registry
from doubleroute.workspace import Workspace

COMMAND = str(Path(sys.executable).with_name("doubleroute"))
#: What lets the tiny model learn its words in seconds, and trusts in it.
LEARNS = [
    "training.epochs=12",
    "training.learning_rate=0.01",
    "retraining.start=pretrained",
    "retraining.cooldown_hours=0",
]


def settings(root: Path, changes: list[str]) -> None:
    """Write changes into project.yaml, as a user would: the scheduled runs read it."""
    words = [word for change in changes for word in ("--set", change)]
    code = (
        "import sys; from pathlib import Path; from ruamel.yaml import YAML;"
        "from doubleroute.config import load_project;"
        "root = Path(sys.argv[1]); project = load_project(root, sys.argv[2:]);"
        "YAML().dump(project.model_dump(mode='json', exclude_unset=False), root / 'project.yaml')"
    )
    subprocess.run([sys.executable, "-c", code, str(root), *words[1::2]], check=True)


def test_two_checkouts_of_one_project_do_not_take_each_others_deployments_and_nothing_queues_up(
    tiny_backbone: Path, tmp_path: Path
) -> None:
    here, there = (
        load_project(write_tiny_project(tmp_path / name, tiny_backbone)) for name in ("here", "there")
    )
    ours, theirs = (deployments(each, "0 2 * * *", None) for each in (here, there))
    assert len({each.name for each in (*ours, *theirs)}) == 4
    matches = [each[1].triggers[0].match for each in (ours, theirs)]
    assert matches[0] != matches[1]
    options = [each.concurrency_options for each in ours]
    assert {each and each.collision_strategy.value for each in options} == {"CANCEL_NEW"}


@pytest.mark.costly
def test_a_place_that_a_killed_schedule_held_is_free_when_it_is_started_again(
    tiny_backbone: Path, tmp_path: Path
) -> None:
    project = load_project(write_tiny_project(tmp_path / "project", tiny_backbone))
    with _server(Workspace(project.root)), get_client(sync_client=True) as client:
        for each in deployments(project, "0 2 * * *", None):
            each.apply()
        names = [limit.name for limit in client.read_global_concurrency_limits()]
        assert len(names) == 2
        for name in names:  # what a run takes that is under way when everything is killed
            client.increment_concurrency_slots_with_lease([name], 1, "concurrency", lease_duration=3600)
    with _server(Workspace(project.root)), get_client(sync_client=True) as client:
        limits = client.read_global_concurrency_limits()
        assert [(each.limit, each.active_slots) for each in limits] == [(1, 0), (1, 0)]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_schedule_of_seconds_sees_data_arrive_and_a_better_model_becomes_champion(
    tiny_backbone: Path, tmp_path: Path
) -> None:
    root = write_tiny_project(tmp_path / "project", tiny_backbone, rows=120)
    first = [COMMAND, "train", "--project", str(root), "--set", "training.epochs=0.1"]
    subprocess.run(first, check=True, capture_output=True, timeout=280)
    settings(root, LEARNS)
    log = (tmp_path / "schedule.log").open("wb")
    schedule = subprocess.Popen(
        [COMMAND, "schedule", "--project", str(root), "--every", "15"],
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={key: value for key, value in os.environ.items() if key != "PREFECT_API_URL"},
    )
    try:
        more = write_tiny_project(tmp_path / "more", tiny_backbone, rows=400) / "data" / "sentiment.csv"
        lines = more.read_text(encoding="utf-8").splitlines()[121:]
        with (root / "data" / "sentiment.csv").open("a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        registry, deadline = Registry(root, "tiny"), time.monotonic() + 600
        while True:
            done = [
                each for each in records.read_all(root)[0] if each["outcome"] and each["outcome"]["version"]
            ]
            if done:  # the outcome is the last that a retraining writes
                break
            assert schedule.poll() is None, (tmp_path / "schedule.log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "schedule.log").read_text()
            time.sleep(2)
    finally:
        schedule.send_signal(signal.SIGINT)
        ended = schedule.wait(60)
        log.close()
    said = (tmp_path / "schedule.log").read_text(encoding="utf-8")
    assert ended == 0, said
    assert "Traceback" not in said
    assert "Warning" not in said
    champion = registry.champion()
    assert champion is not None
    assert champion.number != "1"
    assert done[-1]["verdict"] == "retrain"
    assert done[-1]["outcome"]["verdict"] == "promote"
    assert champion.tags["retraining_decision"] in {each["id"] for each in done}
    status = [COMMAND, "status", "--project", str(root), "--json"]
    shown = json.loads(subprocess.run(status, check=True, capture_output=True, timeout=60).stdout)
    assert shown["registry"]["champion"]["version"] == champion.number
