"""Fits: killed and started again, from stored states or not, with every option."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import write_tiny_project
from safetensors.torch import load_file

from doubleroute.config import load_project
from doubleroute.digests import digest_of
from doubleroute.errors import ConfigError, ModelError
from doubleroute.integrations.validation import validate
from doubleroute.training import checkpoints
from doubleroute.training.activations import activations
from doubleroute.training.crew import Order
from doubleroute.training.encode import encode
from doubleroute.training.fit import Learner
from doubleroute.training.ladder import fit, store
from doubleroute.training.plan import FROM_NOTHING, Plan, fit_inputs
from doubleroute.training.variants import variant
from doubleroute.workspace import Stage, Workspace


class Run:
    """The stages of a tiny project up to the fit."""

    def __init__(self, root: Path, *changes: str) -> None:
        self.project = load_project(root, changes)
        self.workspace = Workspace(root)
        self.validated = validate(self.project, self.workspace)
        self.encoded = encode(self.project, self.workspace, self.validated)
        self.stored = store(self.project, self.workspace, self.encoded, lambda *_: None)

    def learner(
        self, name: Any = "routed", stored: Stage | None = None, plan: Plan = FROM_NOTHING
    ) -> Learner:
        """A fit that has not begun."""
        torch.set_num_threads(1)
        given = (self.project, variant(self.project, name), self.validated, self.encoded, stored, "float32")
        return Learner(*given, plan=plan)

    def fit(
        self, folder: Path, name: Any = "routed", stored: Stage | None = None, plan: Plan = FROM_NOTHING
    ) -> dict[str, Any]:
        """Fit to the end; the history."""
        (folder / "partial").mkdir(parents=True, exist_ok=True)
        self.learner(name, stored, plan).run(folder, folder / "partial", lambda _: None)
        history: dict[str, Any] = json.loads((folder / "history.json").read_text(encoding="utf-8"))
        return history


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def same(first: Path, second: Path) -> bool:
    one, other = weights(first), weights(second)
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


class Killed(BaseException):
    """What a kill looks like from inside."""


def kill_after(steps: int, learner: Learner) -> None:
    """Let ``run`` of the learner raise Killed after so many steps."""
    learn, calls = learner._learn, 0

    def until(*given: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > steps:
            raise Killed
        learn(*given)

    learner._learn = until  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def root(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One project for all tests: what a test changes is training alone, so the data are validated once."""
    return write_tiny_project(tmp_path_factory.mktemp("fit") / "project", tiny_backbone)


@pytest.fixture
def run(root: Path) -> Run:
    return Run(root)


@pytest.mark.parametrize("at", [1, 4, 10, 11, 15, 20])
def test_a_fit_that_was_killed_ends_with_the_same_weights(run: Run, tmp_path: Path, at: int) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    total = run.fit(whole)["total_steps"]
    assert total == 20
    learner = run.learner()
    (killed / "partial").mkdir(parents=True)
    kill_after(at, learner)
    if at < total:
        with pytest.raises(Killed):
            learner.run(killed, killed / "partial", lambda _: None)
        torch.manual_seed(99)
    run.fit(killed)
    assert same(whole, killed)


def test_writing_checkpoints_takes_a_small_share_of_the_time_however_often_they_are_asked_for(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved, save = [], checkpoints.save

    def slowly(*given: Any) -> None:
        save(*given)
        saved.append(time.sleep(0.2))

    monkeypatch.setattr(checkpoints, "save", slowly)
    begun = time.monotonic()
    Run(root, "training.checkpoint_seconds=1e-6").fit(tmp_path)
    assert 1 <= len(saved) <= 1 + (time.monotonic() - begun) / (20 * 0.2)


def test_a_damaged_checkpoint_is_passed_over(run: Run, tmp_path: Path) -> None:
    run.fit(tmp_path / "whole")
    partial = tmp_path / "again" / "partial"
    partial.mkdir(parents=True)
    for place in (tmp_path / "whole" / "partial").iterdir():
        place.rename(partial / place.name)
    newest = max(partial.iterdir())
    tensors = newest / "tensors.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-8])
    (partial / ".new-left").mkdir()
    found = checkpoints.newest(partial)
    assert found is not None
    assert found[1]["step"] < int(newest.name)
    run.fit(tmp_path / "again")
    assert same(tmp_path / "whole", tmp_path / "again")


def test_the_trunk_s_stored_states_change_nothing_but_their_rounding(run: Run, tmp_path: Path) -> None:
    run.fit(tmp_path / "live")
    run.fit(tmp_path / "stored", stored=run.stored)
    live, stored = weights(tmp_path / "live"), weights(tmp_path / "stored")
    for name, value in live.items():
        torch.testing.assert_close(value, stored[name], rtol=0.05, atol=0.02)
    frozen = [name for name in live if "layer.0." in name or "embeddings" in name]
    assert frozen
    assert all(torch.equal(live[name], stored[name]) for name in frozen)


def test_a_fit_depends_on_the_stored_layers_that_it_reads_and_on_what_computed_them(root: Path) -> None:
    run = Run(root, "tasks.entities.head.crf=true")  # trained, the frozen model reads a layer of its own
    alone = store(run.project, run.workspace, run.encoded, lambda *_: None, names=["routed"])
    assert alone is not None
    assert run.stored is not None
    assert alone.manifest["inputs"]["layers"] < run.stored.manifest["inputs"]["layers"]

    def inputs(name: Any, stored: Stage | None) -> dict[str, Any]:
        return fit_inputs(run.project, variant(run.project, name), run.encoded, stored, "float32")

    assert inputs("routed", alone) == inputs("routed", run.stored)
    others = [inputs("routed", None), inputs("frozen", run.stored)]
    rounded = activations(run.project, run.workspace, run.encoded, (1,), "bfloat16", lambda *_: None)
    others.append(inputs("routed", rounded))
    assert all(each["activations"] != inputs("routed", alone)["activations"] for each in others)


def test_a_fit_depends_on_the_order_of_the_tasks(root: Path) -> None:
    run = Run(root)
    turned = run.project.model_copy(update={"tasks": dict(reversed(run.project.tasks.items()))}).at(root)
    first, second = (
        digest_of(fit_inputs(each, variant(each, "routed"), run.encoded, run.stored, "float32"))
        for each in (run.project, turned)
    )
    assert first != second


def test_the_model_learns_what_there_is_to_learn(root: Path, tmp_path: Path) -> None:
    rates = ("training.learning_rate=1e-2", "training.head_learning_rate=1e-2")
    run = Run(root, "training.epochs=10", "training.trainable=all", *rates)
    history = run.fit(tmp_path)
    best = history["epochs"][history["best_epoch"] - 1]["validation"]
    assert best["sentiment"]["accuracy"] == 1.0
    assert best["entities"]["entity_f1"] == 1.0


def test_the_best_epoch_s_weights_are_kept_and_training_stops_early(root: Path, tmp_path: Path) -> None:
    run = Run(root, "training.epochs=9", "training.early_stopping=2", "training.learning_rate=1e-9",
              "training.head_learning_rate=1e-9", "router.learning_rate=1e-9")  # fmt: skip
    learner, ends = run.learner(), list[dict[str, torch.Tensor]]()
    end_epoch = learner._end_epoch

    def note() -> None:
        ends.append({name: value.clone() for name, value in checkpoints.learned(learner.model).items()})
        end_epoch()

    learner._end_epoch = note  # type: ignore[method-assign]
    (tmp_path / "partial").mkdir()
    learner.run(tmp_path, tmp_path / "partial", lambda _: None)
    history = json.loads((tmp_path / "history.json").read_text(encoding="utf-8"))
    assert history["best_epoch"] == 1
    assert len(history["epochs"]) == 3
    best, *_, last = ends
    kept = weights(tmp_path)
    assert all(torch.equal(kept[name], value) for name, value in best.items())
    assert not all(torch.equal(kept[name], value) for name, value in last.items())


def test_the_last_epoch_may_be_a_part_of_one(root: Path, tmp_path: Path) -> None:
    history = Run(root, "training.epochs=1.5").fit(tmp_path)
    whole = Run(root, "training.epochs=1").learner().total
    assert history["total_steps"] == round(1.5 * whole)
    assert [each["epoch"] for each in history["epochs"]] == [1, 2]


@pytest.mark.parametrize(
    ("trainable", "learns"), [("all", "embeddings"), ("1", "layer.1."), ("frozen", "heads.")]
)
def test_only_what_is_to_learn_changes(root: Path, tmp_path: Path, trainable: str, learns: str) -> None:
    run = Run(root, f"training.trainable={trainable}")
    learner = run.learner()
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    (tmp_path / "partial").mkdir()
    learner.run(tmp_path, tmp_path / "partial", lambda _: None)
    after = weights(tmp_path)
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert any(learns in name for name in changed)
    if trainable != "all":
        assert not any("embeddings" in name or "layer.0." in name for name in changed)
    if trainable == "frozen":
        assert not any(name.startswith("backbone") for name in changed)


@pytest.mark.parametrize(
    "change",
    ["training.optimizer=sgd", "training.schedule=cosine", "training.schedule=constant", "training.clip=null",
     "training.label_smoothing=0.1", "training.precision=bfloat16", "router={kind: linear}",
     "router={kind: mlp, width: 4}", "tasks.sentiment.head.pooling=attention",
     "tasks.sentiment.head.pooling=first", "training.batch_by=tokens"],
)  # fmt: skip
def test_every_option_trains(root: Path, tmp_path: Path, change: str) -> None:
    history = Run(root, change, "training.epochs=1").fit(tmp_path)
    assert history["epochs"][0]["train_loss"] > 0


def test_states_that_are_computed_again_for_the_gradient_give_the_same_weights(
    root: Path, tmp_path: Path
) -> None:
    for folder, again in (("kept", "false"), ("again", "true")):
        changes = ("training.epochs=1", "training.trainable=all", f"training.gradient_checkpointing={again}")
        run = Run(root, *changes)
        learner = run.learner()
        assert learner.model.backbone.is_activation_checkpointing == (again == "true")
        run.fit(tmp_path / folder)
    assert same(tmp_path / "kept", tmp_path / "again")


def test_more_layers_than_there_are_is_said(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"training\.trainable: 5 layers wanted, but the backbone has 2"):
        Run(root, "training.trainable=5")


def test_a_loss_that_is_no_number_stops_the_fit(root: Path, tmp_path: Path) -> None:
    run = Run(root, "training.learning_rate=1e30", "training.clip=null", "training.trainable=all")
    with pytest.raises((ConfigError, ModelError), match=r"learning_rate|NaN"):
        run.fit(tmp_path)


@pytest.mark.costly
def test_models_are_fitted_side_by_side_and_found_again(run: Run) -> None:
    points: list[str] = []
    arguments = (run.project, run.workspace, run.validated, run.encoded, run.stored)
    made = fit(*arguments, lambda name, _: points.append(name))
    assert list(made) == ["routed", "frozen", "plain"]
    assert not any(stage.reused for stage in made.values())
    assert {"routed", "frozen", "plain"} == set(points)
    again = fit(*arguments, lambda *_: pytest.fail("a fit that is there was made again"))
    assert all(stage.reused for stage in again.values())
    assert not list((run.workspace.root / "partial").iterdir())
    assert weights(made["plain"].path).keys() < weights(made["routed"].path).keys()


def test_without_a_router_the_plain_model_is_the_routed_one(root: Path) -> None:
    run = Run(root, "router={kind: none}", "training.epochs=1")
    made = fit(run.project, run.workspace, run.validated, run.encoded, run.stored, lambda *_: None)
    assert made["plain"].path == made["routed"].path


@pytest.mark.costly
@pytest.mark.skipif(sys.platform != "linux", reason="the size of files is limited as Linux does it")
def test_a_disk_that_does_not_take_what_a_fit_saves_is_told_as_such(root: Path) -> None:
    import resource

    run = Run(root, "seed=71")
    order = Order(run.project, run.validated, run.encoded, run.stored, "float32")
    done = subprocess.run(
        [sys.executable, "-m", "doubleroute.training.worker", str(order.write(run.workspace, threads=1))],
        capture_output=True,
        text=True,
        timeout=200,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    error = json.loads(done.stdout.splitlines()[-1])["error"]
    assert (done.returncode, error["kind"]) == (4, "MachineError"), done.stderr
    assert "too large" in error["message"], error


@pytest.mark.costly
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends children with their parent on Linux")
def test_a_worker_ends_when_its_parent_is_killed(root: Path) -> None:
    code = f"""
from pathlib import Path
from test_fit import Run, fit
run = Run(Path({str(root)!r}), "training.epochs=1000")
print("begins", flush=True)
given = (run.project, run.workspace, run.validated, run.encoded, run.stored)
fit(*given, lambda name, point: print(name, flush=True))
"""
    here = Path(__file__).parent
    places = (str(here), str(here.parent), os.environ.get("PYTHONPATH", ""))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment)
    with parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        parent.stdout.readline()
        workers = [worker for server in _children(parent.pid) for worker in _children(server)]
        assert workers
        parent.kill()
    deadline = time.monotonic() + 10
    while any(_alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_alive(pid) for pid in workers)


def _children(pid: int) -> list[int]:
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(word) for word in found.stdout.split()]


def _alive(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    try:
        return state.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
