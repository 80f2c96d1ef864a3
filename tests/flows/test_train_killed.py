"""`doubleroute train` killed at ten random moments, and started again to the end."""

import hashlib
import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import write_tiny_project
from running import Train
from typer.testing import CliRunner

from doubleroute.cli import app
from doubleroute.integrations.registry import Registry
from doubleroute.modeling.inference import Answerer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
KILLS = 10
#: Files and folders that only a run in progress may have.
TEMPORARY = (".doubleroute/stages/.*", ".doubleroute/scratch/*", ".doubleroute/.*", "mlflow/.new-*")


def weights(root: Path) -> str:
    """The sha256 of the routed model that the champion is."""
    champion = Registry(root, "tiny").champion()
    assert champion is not None
    file = root / ".doubleroute" / "stages" / f"fit-{champion.run_key}" / "model" / "model.safetensors"
    return hashlib.sha256(file.read_bytes()).hexdigest()


def champion_answers(root: Path) -> bool:
    """Whether there is a champion; one that is there loads, whole, and answers."""
    registry = Registry(root, "tiny")
    champion = registry.champion()
    if champion is None:
        return False
    (answers,) = Answerer(registry.model_folder(champion), threads=1).answer([{"text": "a good film"}])
    assert answers["sentiment"]["label"] in ("neg", "pos")
    return True


def leftovers(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for pattern in TEMPORARY for path in root.glob(pattern))


def stages(root: Path) -> list[str]:
    return sorted(path.name for path in (root / ".doubleroute" / "stages").iterdir())


def kill(train: Train, whole_group: bool) -> None:
    if whole_group:
        os.killpg(train.pid, signal.SIGKILL)
    else:
        train.process.kill()
    train.wait()


@pytest.fixture(scope="module")
def unharmed(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A project whose run was not killed, and the seconds that the run took."""
    root = write_tiny_project(tmp_path_factory.mktemp("unharmed") / "project", tiny_backbone)
    begun = time.monotonic()
    train = Train(root)
    assert train.wait(1800) == 0, train.err
    return root, time.monotonic() - begun


@pytest.mark.parametrize("whole_group", [False, True], ids=["process", "group"])
def test_killed_anywhere_and_started_again_it_ends_as_if_it_had_not_been(
    unharmed: tuple[Path, float], tiny_backbone: Path, tmp_path: Path, whole_group: bool
) -> None:
    whole, seconds = unharmed
    root = write_tiny_project(tmp_path / "project", tiny_backbone)
    chance = random.Random(17 + whole_group)
    # A moment in each tenth of the run. What is done stays done, so later runs are shorter: a run that
    # ends before its moment is an ordinary one, and the project begins anew.
    moments = [seconds * (tenth + chance.random()) / KILLS for tenth in range(KILLS)]
    chance.shuffle(moments)
    killed = 0
    for moment in moments:
        train = Train(root)
        try:
            assert train.wait(moment) == 0, train.err
        except subprocess.TimeoutExpired:
            kill(train, whole_group)
            killed += 1
        assert train.seconds_until_alone() < 30
        champion_answers(root)
    assert killed >= KILLS // 2

    last = Train(root)
    assert last.wait(1800) == 0, last.err
    assert weights(root) == weights(whole)
    assert champion_answers(root)
    (version,) = Registry(root, "tiny").versions()
    assert version.aliases == ("champion",)
    assert leftovers(root) == []
    assert not list((root / ".doubleroute" / "partial").iterdir())
    stages = [
        sorted(path.name for path in (each / ".doubleroute" / "stages").iterdir()) for each in (root, whole)
    ]
    assert stages[0] == stages[1]

    doctor = CliRunner().invoke(app, ["doctor", "--project", str(root), "--json"])
    states = {check["name"]: check["state"] for check in json.loads(doctor.stdout)["checks"]}
    assert {name: states[name] for name in ("workspace", "mlflow")} == {"workspace": "ok", "mlflow": "ok"}


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_one_kill_of_a_fresh_run_changes_nothing(
    unharmed: tuple[Path, float], tiny_backbone: Path, tmp_path: Path, share: float
) -> None:
    whole, seconds = unharmed
    root = write_tiny_project(tmp_path / "project", tiny_backbone)
    first = Train(root)
    time.sleep(seconds * share)
    kill(first, whole_group=False)
    again = Train(root)
    assert again.wait(1800) == 0, again.err
    assert weights(root) == weights(whole)
    assert len(Registry(root, "tiny").versions()) == 1
    assert leftovers(root) == []
