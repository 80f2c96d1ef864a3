"""What is trained on a GPU answers on a processor as it does there, whatever learns and however."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import write_questions, write_tiny_project
from test_fit import Killed, Run, kill_after

from doubleroute.errors import ConfigError
from doubleroute.modeling import inference
from doubleroute.modeling.inference import Answerer, logits_of
from doubleroute.training.fit import Learner
from doubleroute.training.ladder import fit
from doubleroute.training.variants import variant

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="trains on a GPU: none here"),
]

RATES = ("training.learning_rate=1e-2", "training.head_learning_rate=1e-2", "training.epochs=10")
#: How a fit may learn; the steps of those in UNRECORDED have several passes back, or compute states again.
OPTIONS: dict[str, tuple[str, ...]] = {
    "all layers": ("training.trainable=all",),
    "all layers with dropout": ("training.trainable=all", "training.dropout=0.1"),
    "the top layer": ("training.trainable=1",),
    "a router of layers": ("training.trainable=1", "router={kind: layers}"),
    "adapters": ("training.trainable=all", "training.lora={rank: 4, alpha: 8}"),
    "gradients combined": ("training.trainable=all", "training.gradients=pcgrad"),
    "weights learned": ("training.trainable=all", "training.task_weights=uncertainty"),
    "states computed again": ("training.trainable=all", "training.gradient_checkpointing=true"),
    "batches by tokens": ("training.trainable=all", "training.batch_by=tokens"),
}
UNRECORDED = ("gradients combined", "states computed again")
ROWS = [{"text": text} for text in ("the good line", "a bad film reads 42 words of this model", "plain")]


@pytest.fixture(scope="module")
def root(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_project(tmp_path_factory.mktemp("gpu") / "project", tiny_backbone)


def learner(run: Run, precision: str, stored: Any) -> Learner:
    routed = variant(run.project, "routed")
    return Learner(run.project, routed, run.validated, run.encoded, stored, precision)


def losses(folder: Path) -> list[float]:
    """Of the steps of a fit."""
    history = json.loads((folder / "history.json").read_text(encoding="utf-8"))
    return [each["loss"] for each in history["steps"]]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("how", OPTIONS)
def test_a_fit_learns_and_its_model_answers_on_a_processor_as_on_the_gpu(
    root: Path, tmp_path: Path, how: str, precision: str
) -> None:
    run = Run(root, *RATES, *OPTIONS[how])
    (tmp_path / "partial").mkdir()
    learner(run, precision, run.stored).run(tmp_path, tmp_path / "partial", lambda _: None)
    recorded = json.loads((tmp_path / "history.json").read_text(encoding="utf-8"))["recorded"]
    assert recorded is None if how in UNRECORDED else recorded["shapes"] > 0, recorded
    first, *_, last = losses(tmp_path)
    assert last < 0.7 * first
    answerer = Answerer(tmp_path / "model")
    assert next(answerer.model.parameters()).is_cuda
    found = answerer.logits(ROWS)
    answerer.model.cpu()
    for task, values in answerer.logits(ROWS).items():
        for value, of_gpu in zip(values, found[task], strict=True):
            np.testing.assert_allclose(of_gpu, value, atol=1e-3, rtol=1e-3)


def test_a_fit_that_was_killed_ends_as_one_that_was_not_but_for_rounding(root: Path, tmp_path: Path) -> None:
    run = Run(root, "training.epochs=4", "training.trainable=all")
    for name, at in (("whole", None), ("killed", 13)):
        (tmp_path / name / "partial").mkdir(parents=True)
        first = learner(run, "float32", None)
        if at is not None:
            kill_after(at, first)
            with pytest.raises(Killed):
                first.run(tmp_path / name, tmp_path / name / "partial", lambda _: None)
            first = learner(run, "float32", None)
        first.run(tmp_path / name, tmp_path / name / "partial", lambda _: None)
    np.testing.assert_allclose(losses(tmp_path / "whole"), losses(tmp_path / "killed"), rtol=0.01)


def test_a_loss_that_is_no_number_names_the_step_at_which_it_came(root: Path, tmp_path: Path) -> None:
    run = Run(root, "training.epochs=4", "training.trainable=all")
    (tmp_path / "partial").mkdir()
    fit = learner(run, "float32", None)
    backward, calls = fit.objective.backward, 0

    def astray(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        return backward(*given) * (float("nan") if calls == 5 else 1.0)

    fit.objective.backward = astray  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="the loss became nan at step 5;"):
        fit.run(tmp_path, tmp_path / "partial", lambda _: None)


def test_the_ladder_and_retrieval_learn_on_it(tiny_backbone: Path, tmp_path: Path) -> None:
    root = write_tiny_project(tmp_path / "project", tiny_backbone)
    run = Run(root, *RATES, write_questions(root), "training.mode=auto", "training.budget=20s")
    given = (run.project, run.workspace, run.validated, run.encoded)
    fits = fit(*given, run.stored, lambda *_: None)
    first, *_, last = losses(fits["routed"].path)
    assert last < first
    answers = Answerer(fits["routed"].path / "model").answer(ROWS)
    assert set(answers[0]) == {"sentiment", "help"}


def test_large_passes_give_what_small_ones_give(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(root)
    model = run.learner().model.eval()
    packed = run.learner().validation["sentiment"].packed
    whole = logits_of(model, packed, ["sentiment"], 0)["sentiment"]
    monkeypatch.setattr(inference, "tokens_on_gpu", lambda _: 32)
    apart = logits_of(model, packed, ["sentiment"], 0)["sentiment"]
    np.testing.assert_allclose(np.stack(whole), np.stack(apart), atol=1e-4)
