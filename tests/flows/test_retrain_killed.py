"""`doubleroute retrain` killed in every part of its run, started twice at once, and without its stores."""

import random
import shutil
import time
from pathlib import Path

import pytest
from conftest import write_tiny_project
from running import Train

from doubleroute.drift import records
from doubleroute.integrations.registry import Registry
from doubleroute.modeling.inference import Answerer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
#: What appears one after the other while a retraining goes on.
MARKS = (
    ".doubleroute/stages/check-*",
    "decisions/*.json",
    ".doubleroute/partial/fit-*/0*",
    ".doubleroute/stages/evaluate-*",
    ".doubleroute/stages/remember-*",
    "mlflow/artifacts/tiny/*/artifacts/rows.parquet",
)
CHANGES = ("drift.min_rows=20",)


@pytest.fixture(scope="module")
def trained(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a champion, and rows that arrived since. Tests copy it."""
    root = write_tiny_project(tmp_path_factory.mktemp("trained") / "project", tiny_backbone)
    assert Train(root, *CHANGES).wait(600) == 0
    draw = random.Random(3)
    words = ["numbers", "and", "like", "42", "film", "a"]
    with (root / "data" / "sentiment.csv").open("a", encoding="utf-8") as file:
        for number in range(60):
            some = [*draw.choices(words, k=6), ("bad", "good")[number % 2]]
            file.write(f"{' '.join(some)},{('neg', 'pos')[number % 2]},mail\n")
    return root


@pytest.fixture
def root(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "project", symlinks=True))


def champion_answers(root: Path) -> None:
    """There is a champion, and it loads, whole, and answers."""
    registry = Registry(root, "tiny")
    champion = registry.champion()
    assert champion is not None
    (answers,) = Answerer(registry.model_folder(champion), threads=1).answer([{"text": "a good film"}])
    assert answers["sentiment"]["label"] in ("neg", "pos")


def done(root: Path) -> list[records.Record]:
    found, damaged = records.read_all(root)
    assert damaged == []
    return [each for each in found if (each["outcome"] or {}).get("version")]


def test_killed_anywhere_and_started_again_one_decision_makes_one_version(root: Path) -> None:
    chance, killed = random.Random(5), 0
    before = {mark: set(root.glob(mark)) for mark in MARKS}
    for mark in MARKS:
        if set(root.glob(mark)) - before[mark]:
            continue  # the run before came so far before it was killed
        run = Train(root, *CHANGES, command="retrain")
        while run.process.poll() is None and not set(root.glob(mark)) - before[mark]:
            time.sleep(0.01)
        if run.process.poll() is None:
            time.sleep(chance.uniform(0, 0.3))
            killed += run.process.poll() is None
            run.process.kill()
        run.wait()
        run.seconds_until_alone(30)
        champion_answers(root)
    last = Train(root, *CHANGES, command="retrain")
    assert last.wait(900) == 0, last.err
    assert killed >= 3
    assert [version.number for version in Registry(root, "tiny").versions()] == ["2", "1"]
    assert len(done(root)) == 1
    champion_answers(root)


def test_of_two_started_together_one_works_and_the_other_says_who(root: Path) -> None:
    runs = [Train(root, *CHANGES, command="retrain") for _ in range(2)]
    codes = [run.wait(900) for run in runs]
    assert sorted(codes) == [0, 3], [run.err for run in runs]
    refused = runs[codes.index(3)].err
    assert "a training of this project is under way: process" in refused
    assert len(done(root)) == 1
    assert len(Registry(root, "tiny").versions()) == 2


def test_a_registry_that_does_not_answer_costs_no_decision_and_no_training(root: Path) -> None:
    nobody = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    run = Train(root, *CHANGES, command="retrain", environment=nobody)
    assert run.wait(600) == 4
    assert "127.0.0.1:9" in run.err
    assert not (root / "decisions").exists()
    assert not list(root.glob(".doubleroute/partial/fit-*"))
