"""`doubleroute train` killed at ten random moments, and started again to the end."""

import hashlib
import json
import os
import random
import signal
import subprocess
import time
from itertools import count
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
    return sorted(path.name for path in root.glob(".doubleroute/stages/[!.]*"))


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


def check(root: Path, whole: Path) -> None:
    """A run that has ended left what an uninterrupted one leaves, and nothing else."""
    assert weights(root) == weights(whole)
    assert champion_answers(root)
    (version,) = Registry(root, "tiny").versions()
    assert version.aliases == ("champion",)
    assert leftovers(root) == []
    assert not list((root / ".doubleroute" / "partial").iterdir())
    assert stages(root) == stages(whole)
    doctor = CliRunner().invoke(app, ["doctor", "--project", str(root), "--json"])
    states = {check["name"]: check["state"] for check in json.loads(doctor.stdout)["checks"]}
    assert {name: states[name] for name in ("workspace", "mlflow")} == {"workspace": "ok", "mlflow": "ok"}


@pytest.mark.parametrize("whole_group", [False, True], ids=["process", "group"])
def test_killed_anywhere_and_started_again_it_ends_as_if_it_had_not_been(
    unharmed: tuple[Path, float], tiny_backbone: Path, tmp_path: Path, whole_group: bool
) -> None:
    whole, seconds = unharmed
    places = (tmp_path / str(number) for number in count())
    root = write_tiny_project(next(places), tiny_backbone)
    chance, killed = random.Random(17 + whole_group), 0
    for tenth in range(KILLS):
        moment = seconds * (tenth + chance.random()) / KILLS
        for _ in range(2):
            train = Train(root)
            try:
                assert train.wait(moment) == 0, train.err
            except subprocess.TimeoutExpired:
                kill(train, whole_group)
                killed += 1
                train.seconds_until_alone(30)
                champion_answers(root)
                print(f"killed at {moment:.1f} of {seconds:.1f} s; there are {stages(root)}")
                break
            # What earlier runs did stays done, so this one ended before its moment: once more, anew.
            check(root, whole)
            root = write_tiny_project(next(places), tiny_backbone)
    assert killed >= KILLS - 2
    last = Train(root)
    assert last.wait(1800) == 0, last.err
    check(root, whole)
