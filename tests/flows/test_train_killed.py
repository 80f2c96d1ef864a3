"""`doubleroute train` killed in every part of its run, and started again to the end."""

import hashlib
import json
import os
import random
import signal
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
#: What appears one after the other while a run goes on. Each is the mark of a kill, a random moment later.
MARKS = (
    ".doubleroute/prefect/server.log",
    ".doubleroute/prefect/prefect.db",
    ".doubleroute/stages/.validate-*",
    ".doubleroute/stages/.activations-*",
    ".doubleroute/partial/fit-*",
    ".doubleroute/partial/fit-*/0*",
    ".doubleroute/stages/fit-*",
    ".doubleroute/stages/evaluate-*",
    ".doubleroute/stages/report-*",
    "mlflow/.new-*",
    "mlflow/mlflow.db",
    "mlflow/artifacts/tiny/models/*",
    "mlflow/artifacts/tiny/*/artifacts/report.html",
)
#: Seconds after a mark within which the kill comes.
LATER = 1.5
#: Files and folders that only a run in progress may have.
TEMPORARY = (".doubleroute/stages/.*", ".doubleroute/scratch/*", ".doubleroute/.[!g]*", "mlflow/.new-*")


def weights(root: Path) -> str:
    """The sha256 of the routed model that the champion is."""
    champion = Registry(root, "tiny").champion()
    assert champion is not None
    file = Registry(root, "tiny").model_folder(champion) / "model.safetensors"
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


def seen(train: Train, mark: str, before: set[Path]) -> bool:
    """Wait for a mark that was not there before the run; False when the run ends without it."""
    while train.process.poll() is None:
        if set(train.root.glob(mark)) - before:
            return True
        time.sleep(0.01)
    return False


@pytest.fixture(scope="module")
def unharmed(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose run was not killed."""
    root = write_tiny_project(tmp_path_factory.mktemp("unharmed") / "project", tiny_backbone)
    train = Train(root)
    assert train.wait(1800) == 0, train.err
    return root


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
    unharmed: Path, tiny_backbone: Path, tmp_path: Path, whole_group: bool
) -> None:
    places = (tmp_path / str(number) for number in count())
    root = write_tiny_project(next(places), tiny_backbone)
    chance, killed = random.Random(17 + whole_group), 0
    for mark in MARKS:
        for _ in range(2):
            before = set(root.glob(mark))
            train = Train(root)
            if seen(train, mark, before):
                time.sleep(chance.uniform(0, LATER))
                killed += train.process.poll() is None
                kill(train, whole_group)
                train.seconds_until_alone(30)
                champion_answers(root)
                print(f"killed after {mark}; there are {[name.partition('-')[0] for name in stages(root)]}")
                break
            # The kill before came later than this mark, and the run went on from there: once more, anew.
            assert train.wait() == 0, train.err
            check(root, unharmed)
            root = write_tiny_project(next(places), tiny_backbone)
    assert killed >= 10
    last = Train(root)
    assert last.wait(1800) == 0, last.err
    check(root, unharmed)
