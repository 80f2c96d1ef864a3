"""Regression learns alike whatever the unit of its labels is, and answers in that unit."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_tiny_project
from test_fit import Run
from test_ladder import HEADS, LAYERS, heads

from doubleroute.modeling.inference import Answerer
from doubleroute.modeling.model import load_model
from doubleroute.training.history import read_history
from doubleroute.training.plan import Plan, Start
from doubleroute.training.scoring import Truths

#: How long it takes to answer a text: about 280 minutes where it is bad, about 320 where it is good.
MINUTES = (
    "tasks={sentiment: {kind: classification, files: {train: data/sentiment.csv}}, "
    "minutes: {kind: regression, files: {train: data/minutes.csv}, columns: {label: minutes}, "
    "metric: mae, split: {validation: 0.2, test: 0.2}}}"
)
FAST = ("training.learning_rate=1e-2", "training.head_learning_rate=1e-2", "training.trainable=all")


@pytest.fixture(scope="module")
def root(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_tiny_project(tmp_path_factory.mktemp("unit") / "project", tiny_backbone)
    _, *rows = (root / "data" / "sentiment.csv").read_text(encoding="utf-8").splitlines()
    made = [
        f"{text},{(280, 320)[label == 'pos'] + number % 3}"
        for number, (text, label, _) in enumerate(row.split(",") for row in rows)
    ]
    (root / "data" / "minutes.csv").write_text("\n".join(["text,minutes", *made]), encoding="utf-8")
    return root


def mae(run: Run, folder: Path) -> float:
    """Of a saved model's answers, in minutes, on the validation rows."""
    encoded = run.learner().validation["minutes"]
    frame = Truths(run.validated.path, "minutes", "validation", encoded, []).frame
    answers = Answerer(folder / "model").answer([{"text": text} for text in frame["text"]], ["minutes"])
    errors = [
        answer["minutes"]["value"] - label for answer, label in zip(answers, frame["label"], strict=True)
    ]
    return float(np.abs(errors).mean())


def told_mae(folder: Path) -> float:
    """The same of the best epoch, as the history tells it."""
    history = read_history(folder)
    value: float = history["epochs"][history["best_epoch"] - 1]["validation"]["minutes"]["mae"]
    return value


@pytest.mark.costly
def test_labels_far_from_zero_are_learned_and_answered_in_their_unit(root: Path, tmp_path: Path) -> None:
    run = Run(root, MINUTES, "training.epochs=10", *FAST)
    run.fit(tmp_path)
    assert mae(run, tmp_path) == pytest.approx(told_mae(tmp_path), abs=0.01)
    assert mae(run, tmp_path) < 10


@pytest.mark.parametrize("router", ["router={kind: none}", LAYERS])
def test_the_model_answers_the_numbers_that_were_solved(root: Path, tmp_path: Path, router: str) -> None:
    run = Run(root, MINUTES, router)
    heads(run, tmp_path / "heads", HEADS)
    assert mae(run, tmp_path / "heads") == pytest.approx(told_mae(tmp_path / "heads"), abs=0.5)
    assert mae(run, tmp_path / "heads") < 10


@pytest.mark.costly
def test_a_head_that_is_taken_over_goes_on_in_the_unit_that_it_has_learned_in(
    root: Path, tmp_path: Path
) -> None:
    Run(root, MINUTES, "training.epochs=1").fit(tmp_path / "champion")
    folder, other = tmp_path / "champion" / "model", Run(root, MINUTES, "seed=4")
    unit = load_model(folder).kept("minutes")
    assert other.learner().model.kept("minutes") != unit
    assert other.learner(plan=Plan(Start(folder, "champion"))).model.kept("minutes") == unit


@pytest.mark.parametrize(("layer", "taken"), [(2, True), (1, False)])
def test_the_unit_goes_on_where_the_head_reads_the_layer_that_it_read(
    root: Path, tmp_path: Path, layer: int, taken: bool
) -> None:
    Run(root, MINUTES, "training.epochs=1").fit(tmp_path / "champion")  # reads the last of two layers
    folder = tmp_path / "champion" / "model"
    other = Run(root, MINUTES, "seed=4", f"tasks.minutes.head.layer={layer}")
    model = other.learner(plan=Plan(Start(folder, "champion"))).model
    assert (model.kept("minutes") == load_model(folder).kept("minutes")) == taken
    weights = (each.head("minutes").out.weight for each in (model.cpu(), load_model(folder)))
    assert torch.equal(*weights) == taken


def test_a_model_without_mean_and_spread_answers_and_goes_on_in_the_unit_of_its_labels(
    root: Path, tmp_path: Path
) -> None:
    run = Run(root, MINUTES, "training.epochs=1")
    run.fit(tmp_path / "champion")
    shutil.copytree(tmp_path / "champion" / "model", tmp_path / "old")
    config = json.loads((tmp_path / "old" / "config.json").read_text(encoding="utf-8"))
    mean, spread = (config["tasks"]["minutes"].pop(name) for name in ("mean", "spread"))
    (tmp_path / "old" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    new, old = (
        Answerer(folder).answer([{"text": "good"}], ["minutes"])[0]["minutes"]["value"]
        for folder in (tmp_path / "champion" / "model", tmp_path / "old")
    )
    assert new == pytest.approx(mean + spread * old)
    assert run.learner(plan=Plan(Start(tmp_path / "old", "old"))).model.kept("minutes") == {
        "mean": 0,
        "spread": 1,
    }
