"""Ladders of fits: heads solved on stored states, then the upper layers, then all of them."""

import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import write_tiny_project
from safetensors.torch import load_file
from test_fit import Killed, Run, kill_after, same

from doubleroute.config import load_project
from doubleroute.data.batches import Encoded
from doubleroute.data.tokens import Packed
from doubleroute.errors import ConfigError
from doubleroute.modeling.inference import logits_of
from doubleroute.modeling.model import load_model
from doubleroute.training.encode import load_split
from doubleroute.training.fit import Learner
from doubleroute.training.heads import Examples, Solved, place, solve
from doubleroute.training.heads_fit import MOST_ITEMS, HeadsFit, examples_of
from doubleroute.training.history import read_history
from doubleroute.training.ladder import fit, ladder_of, next_plan
from doubleroute.training.plan import FROM_NOTHING, Plan, Rung, Start
from doubleroute.training.pooled import Pooled
from doubleroute.training.variants import variant
from doubleroute.workspace import Stage

HEADS = Plan(rung=Rung("heads"))
LAYERS = "router={kind: layers, bottleneck: 8}"


@pytest.fixture(scope="module")
def root(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_project(tmp_path_factory.mktemp("ladder") / "project", tiny_backbone)


def heads(run: Run, folder: Path, plan: Plan = HEADS, told: list[str] | None = None) -> Start:
    """The lowest rung, in this process."""

    def tell(point: dict[str, Any]) -> None:
        if told is not None:
            told.append(point["unit"])

    stages = (variant(run.project, "routed", rung="heads"), run.validated, run.encoded)
    folder.mkdir(parents=True)
    HeadsFit(run.project, run.workspace, *stages, "float32", plan).run(folder, tell)
    return Start(folder / "model", folder.name)


def learner(run: Run, plan: Plan) -> Learner:
    chosen = variant(run.project, "routed", rung=plan.on)
    return Learner(run.project, chosen, run.validated, run.encoded, None, "float32", plan=plan)


def climbed(run: Run, folder: Path, plan: Plan) -> dict[str, Any]:
    """A higher rung, in this process; its history."""
    (folder / "partial").mkdir(parents=True, exist_ok=True)
    learner(run, plan).run(folder, folder / "partial", lambda _: None)
    return read_history(folder)


def accuracy(run: Run, folder: Path) -> float:
    """Of a saved model, on the validation rows of sentiment."""
    rows = load_split(run.encoded.path, "validation")["sentiment"]
    found = logits_of(load_model(folder / "model"), rows.packed, ["sentiment"], 0)["sentiment"]
    return float(np.mean([each.argmax() == label for each, label in zip(found, rows.labels, strict=True)]))


def told_accuracy(folder: Path) -> float:
    """The same, as the history tells it."""
    value: float = read_history(folder)["epochs"][0]["validation"]["sentiment"]["accuracy"]
    return value


def above(start: Start, name: Any = "whole", seconds: float | None = None) -> Plan:
    return Plan(start, rung=Rung(name, seconds, share=2 / 3, first=False))


@pytest.mark.costly
def test_the_rungs_follow_each_other_and_the_history_tells_of_all(root: Path) -> None:
    run = Run(root, "training.mode=auto", "training.epochs=3", "training.trainable=2")
    given = (run.project, run.workspace, run.validated, run.encoded, run.stored, lambda *_: None)
    stage = fit(*given, names=["routed"])["routed"]
    history = read_history(stage.path)
    epochs = history["epochs"]
    assert [each["rung"] for each in epochs] == ["heads", "top", "whole", "whole"]
    assert [each["epoch"] for each in epochs] == [1, 2, 3, 4]
    for name in ("step", "seconds"):
        assert [each[name] for each in epochs] == sorted(each[name] for each in epochs)
    assert epochs[0]["step"] == 0
    assert history["total_steps"] == epochs[-1]["step"]
    assert history["best_mean"] == max(each["mean"] for each in epochs)
    assert fit(*given, names=["routed"])["routed"].reused


def test_a_rung_that_gains_nothing_leaves_the_model_as_it_was(root: Path, tmp_path: Path) -> None:
    start = heads(Run(root), tmp_path / "heads")
    slow = Run(
        root,
        "training.learning_rate=1e-12",
        "training.head_learning_rate=1e-12",
        "router.learning_rate=1e-12",
    )
    history = climbed(slow, tmp_path / "whole", above(start))
    assert history["best_epoch"] == 1
    assert same(tmp_path / "heads", tmp_path / "whole")


def test_a_budget_decides_how_many_steps_there_are_also_after_a_kill(root: Path, tmp_path: Path) -> None:
    run = Run(root, "training.epochs=1000")
    start = heads(run, tmp_path / "heads")
    plan = above(start, seconds=10.0)
    killed, partial = learner(run, plan), tmp_path / "whole" / "partial"
    partial.mkdir(parents=True)
    assert killed.total == 6667  # two thirds of a thousand epochs of ten steps
    kill_after(12, killed)
    with pytest.raises(Killed):
        killed.run(tmp_path / "whole", partial, lambda _: None)
    assert 12 < killed.total < 6667
    again = learner(run, plan)
    again._resume(partial)
    assert again.step > 10
    assert (again.total, again.history.total) == (killed.total, killed.total)


def test_storing_states_takes_nothing_of_a_budget(root: Path, tmp_path: Path) -> None:
    run = Run(root, "backbone.max_tokens=14")  # no other test has stored states of such rows
    stages = (variant(run.project, "routed", rung="heads"), run.validated, run.encoded)
    slept = 0.0

    def tell(_: dict[str, Any]) -> None:
        nonlocal slept
        slept += 0.5
        time.sleep(0.5)

    begun = time.monotonic()
    HeadsFit(run.project, run.workspace, *stages, "float32", HEADS).run(tmp_path, tell)
    assert slept > 0
    assert 0 < read_history(tmp_path)["seconds"] <= time.monotonic() - begun - slept


def test_who_finished_on_the_rung_before_is_drawn_rarely_from_the_first_epoch_on_also_after_a_kill(
    root: Path, tmp_path: Path
) -> None:
    run = Run(root, "training.epochs=3", "training.task_early_stopping=2")
    start = heads(run, tmp_path / "heads")
    history = read_history(tmp_path / "heads")
    for number in (1, 2):  # entities got better, sentiment did not
        history["epochs"].append(json.loads(json.dumps(history["epochs"][0])))
        history["epochs"][number]["validation"]["entities"]["entity_f1"] = number
    history["epochs"][0]["validation"]["entities"]["entity_f1"] = 0.0
    history["best_mean"] = -1.0
    (tmp_path / "heads" / "history.json").write_text(json.dumps(history), encoding="utf-8")
    killed, partial = learner(run, above(start)), tmp_path / "killed" / "partial"
    assert killed.feed.finished == {"sentiment": 0}
    partial.mkdir(parents=True)
    kill_after(13, killed)
    with pytest.raises(Killed):
        killed.run(tmp_path / "killed", partial, lambda _: None)
    torch.manual_seed(99)
    whole = climbed(run, tmp_path / "whole", above(start))
    again = climbed(run, tmp_path / "killed", above(start))
    assert whole["rows"] == again["rows"]
    assert whole["rows"]["sentiment"] < whole["rows"]["entities"] / 2
    assert same(tmp_path / "whole", tmp_path / "killed")


def history_of(folder: Path, **values: Any) -> Stage:
    folder.mkdir(parents=True)
    told = {"seconds": 1.0, "epochs": [{}], "best_epoch": 1, **values}
    (folder / "history.json").write_text(json.dumps(told), encoding="utf-8")
    return Stage("fit", folder.name, folder, True)


def test_the_ladder_ends_with_the_budget_and_with_the_patience(root: Path, tmp_path: Path) -> None:
    changes = ["training.mode=auto", "training.budget=1.5m", "training.early_stopping=2"]
    project = load_project(root, changes)
    ladder = ladder_of(project, "routed", FROM_NOTHING)
    assert ladder == ("heads", "whole")  # one layer may learn: there is no upper half of it
    going, late = history_of(tmp_path / "going", seconds=60.0), history_of(tmp_path / "late", seconds=85.0)
    tired = history_of(tmp_path / "tired", epochs=[{}, {}, {}])
    lowest = next_plan(project, FROM_NOTHING, ladder, 0, None)
    assert lowest is not None
    assert lowest.rung == Rung("heads", None, share=0.0)
    plan = next_plan(project, FROM_NOTHING, ladder, 1, going)
    assert plan is not None
    assert plan.rung == Rung("whole", 27.0, first=False, retraining=False)  # in twentieths of the budget
    slower = next_plan(project, FROM_NOTHING, ladder, 1, history_of(tmp_path / "slower", seconds=62.0))
    assert slower is not None
    assert slower.rung == plan.rung
    assert next_plan(project, FROM_NOTHING, ladder, 1, late) is None
    assert next_plan(project, FROM_NOTHING, ladder, 1, tired) is None


@pytest.mark.parametrize("trainable", [1, 2])
def test_the_rungs_of_a_ladder_train_all_epochs_also_without_a_rung_top(
    root: Path, tmp_path: Path, trainable: int
) -> None:
    project = load_project(root, ["training.mode=auto", f"training.trainable={trainable}"])
    ladder, below = ladder_of(project, "routed", FROM_NOTHING), history_of(tmp_path / "below")
    assert ("top" in ladder) == (trainable == 2)
    plans = [
        next_plan(project, FROM_NOTHING, ladder, height, below if height else None)
        for height in range(len(ladder))
    ]
    assert sum(each.epochs(project) for each in plans if each) == pytest.approx(project.training.epochs)


def test_the_mode_of_a_retraining_is_its_own(root: Path) -> None:
    champion = Plan(Start(Path("model"), "champion"))
    assert ladder_of(load_project(root), "routed", champion) == (None,)
    weekly = load_project(root, ["retraining.mode=heads"])
    assert ladder_of(weekly, "routed", champion) == ("heads",)
    assert ladder_of(weekly, "routed", FROM_NOTHING) == (None,)
    assert ladder_of(weekly, "routed", Plan(champion.start, moved=("sentiment",))) == ("heads",)
    with pytest.raises(ConfigError, match=r"retraining\.mode: heads has no solution for tasks\.entities"):
        load_project(root, ["retraining.mode=heads", "tasks.entities.head.crf=true"])


@pytest.mark.parametrize("router", ["router={kind: none}", LAYERS, "router={kind: experts}"])
@pytest.mark.parametrize("pooling", ["mean", "first", "attention"])
def test_the_model_answers_what_was_solved(root: Path, tmp_path: Path, router: str, pooling: str) -> None:
    run = Run(root, router, f"tasks.sentiment.head.pooling={pooling}")
    heads(run, tmp_path / "heads")
    right, told = accuracy(run, tmp_path / "heads"), told_accuracy(tmp_path / "heads")
    # Stored in float16, first tokens of a random model are all but the same: one row may fall elsewhere.
    rows = len(load_split(run.encoded.path, "validation")["sentiment"])
    assert round(abs(right - told) * rows) <= (1 if pooling == "first" else 0)
    assert right > 0.8  # the label is in a word


def test_a_champion_that_pools_by_attention_is_judged_by_what_it_answers(root: Path, tmp_path: Path) -> None:
    run = Run(root, "router={kind: none}", "tasks.sentiment.head.pooling=attention")
    start = heads(run, tmp_path / "champion")
    champion = load_model(start.folder)
    with torch.no_grad():  # looks at one token alone, where the mean of all would tell the label
        champion.head("sentiment").query.weight.normal_(std=30, generator=torch.Generator().manual_seed(1))
    champion.save_pretrained(start.folder)
    assert accuracy(run, tmp_path / "champion") < 0.8
    heads(run, tmp_path / "heads", Plan(start, rung=Rung("heads", retraining=True)))
    assert accuracy(run, tmp_path / "heads") == told_accuracy(tmp_path / "heads") > 0.8
    heads(run, tmp_path / "again", Plan(Start(tmp_path / "heads" / "model", "2"), rung=Rung("heads")))
    assert accuracy(run, tmp_path / "again") == told_accuracy(tmp_path / "again") > 0.8


def test_what_is_placed_is_what_the_model_answers_as_also_where_the_router_is_too_narrow(root: Path) -> None:
    model = Run(root, "router={kind: layers, bottleneck: 1}").learner().model.eval()
    hidden = int(model.backbone.config.hidden_size)
    drawn = np.random.default_rng(0).standard_normal((2, 4 * hidden)).astype(np.float32)
    solved = Solved(drawn, np.ones(2, np.float32), 1.0)
    placed = place(model, "sentiment", solved)
    ids = torch.tensor([[2, 5, 6, 3]])
    with torch.no_grad():
        last, below = model.encode_layers(ids, torch.ones_like(ids))
        normed = [torch.nn.functional.layer_norm(each, (hidden,)) for each in (*below.values(), last)]
        features = torch.cat([each.mean(1) for each in (last, *normed)], dim=1).numpy()
        found = model(ids, torch.ones_like(ids)).logits["sentiment"].numpy()
    np.testing.assert_allclose(found, placed.logits(features), atol=1e-3)
    assert abs(placed.coefficients - solved.coefficients).max() > 0.1


def test_with_a_layers_router_the_head_reads_all_layers(root: Path, tmp_path: Path) -> None:
    heads(Run(root, LAYERS), tmp_path / "layers")
    model = load_model(tmp_path / "layers" / "model")
    model.router.up.data.zero_()
    rows = torch.tensor([[2, 5, 6, 3]])
    without = model(rows, torch.ones_like(rows)).logits
    whole = load_model(tmp_path / "layers" / "model")(rows, torch.ones_like(rows)).logits
    assert not torch.allclose(without["sentiment"], whole["sentiment"], atol=1e-3)


@pytest.mark.costly
def test_states_are_computed_once(root: Path, tmp_path: Path) -> None:
    first: list[str] = []
    again: list[str] = []
    run = Run(root, "backbone.max_tokens=15")
    start = heads(run, tmp_path / "first", told=first)
    assert "tokens of sentiment, train" in first
    heads(Run(root, "backbone.max_tokens=15", "seed=4", "training.epochs=7"), tmp_path / "again", told=again)
    once = len(again)
    heads(Run(root, "backbone.max_tokens=15", "seed=4"), tmp_path / "more", told=again)
    assert len(again) == once
    assert (
        heads(run, tmp_path / "champion", Plan(start, rung=Rung("heads", retraining=True))).digest
        == "champion"
    )


def test_a_champion_keeps_its_backbone_and_the_heads_that_are_better(root: Path, tmp_path: Path) -> None:
    run = Run(root)
    best = max(each["mean"] for each in run.fit(tmp_path / "champion")["epochs"])
    start = Start(tmp_path / "champion" / "model", "champion")
    heads(run, tmp_path / "heads", Plan(start, rung=Rung("heads", retraining=True)))
    assert read_history(tmp_path / "heads")["best_mean"] >= best - 1e-9
    ours, theirs = (
        load_file(tmp_path / each / "model" / "model.safetensors") for each in ("heads", "champion")
    )
    assert all(
        torch.equal(value, theirs[name]) for name, value in ours.items() if not name.startswith("heads.")
    )


def test_what_is_solved_does_not_depend_on_the_scale_of_the_features() -> None:
    features = np.random.default_rng(0).standard_normal((200, 6)) * [1, 5, 0.1, 1, 1, 30] + 3
    labels = (features[:, 1] > 3).astype(np.int64)
    given = Examples(features.astype(np.float32), labels, np.ones(200))
    solved = solve("classification", given, given, 2)
    assert (solved.logits(given.features).argmax(1) == labels).mean() > 0.95


def test_solving_takes_little_more_memory_than_the_features_themselves() -> None:
    random = np.random.default_rng(0)
    features = random.standard_normal((60_000, 64), np.float32).astype(np.float16)
    given = Examples(features, random.integers(0, 2, 60_000), np.ones(60_000))
    held = Examples(*(each[:100] for each in given))
    tracemalloc.start()
    solved = solve("tagging", given, held, 2)
    solved.logits(features)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2 * 4 * features.size


def test_of_very_many_words_a_sample_is_solved_on_and_those_of_weight_zero_are_left_out_first() -> None:
    words = MOST_ITEMS + 50
    starts, targets = np.array([0, 100, words]), np.arange(words) % 3
    empty = np.zeros(words, np.int64)
    packed = Packed(empty, starts, None, empty, np.zeros(2, bool))
    rows = Encoded(packed, targets, np.arange(2))
    last = targets[:, None].astype(np.float16)
    states = Pooled(starts, last, np.empty((words, 0, 1), np.float16), empty, empty)
    given = examples_of(states, rows, seed=17, weights=np.array([0.0, 1.0]))
    assert len(given.targets) == len(given.features) == MOST_ITEMS
    assert given.features[:, 0].tolist() == given.targets.tolist()
    assert given.weights.sum() == words - 100
    again = examples_of(states, rows, seed=17, weights=np.array([0.0, 1.0]))
    assert np.array_equal(given.targets, again.targets)
    few = Pooled(starts[:2], last[:100], states.below[:100], empty[:100], empty[:100])
    assert np.shares_memory(few.features(), last)


def test_a_budget_without_mode_auto_is_a_mistake(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"training\.budget.*mode auto"):
        load_project(root, ["training.budget=5m"])
