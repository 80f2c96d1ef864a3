"""Tasks that read a lower layer: what learns for them, what is stored, and what is run."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_tiny_project
from test_fit import Run, weights
from test_ladder import LAYERS, accuracy, heads, told_accuracy
from torch import nn
from transformers.models.bert.modeling_bert import BertLayer

from doubleroute.config import load_project
from doubleroute.errors import ConfigError
from doubleroute.modeling.model import load_model
from doubleroute.training import activations
from doubleroute.training.encode import load_split
from doubleroute.training.history import read_history
from doubleroute.training.plan import Plan, Rung
from doubleroute.training.start import take_over
from doubleroute.training.variants import variant

#: Enough for a random backbone to learn what stands in one word.
FAST = ("training.epochs=12", "training.learning_rate=5e-3", "training.head_learning_rate=2e-2")
SENTIMENT, ENTITIES = "tasks.sentiment.head.layer=1", "tasks.entities.head.layer=1"


@pytest.fixture(scope="module")
def root(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_project(tmp_path_factory.mktemp("early") / "project", tiny_backbone)


@contextmanager
def counted_layers() -> Iterator[Counter[int]]:
    """Counts as long as this lasts: {0: passes, 1: layers that are run in them}."""
    found = Counter[int]()

    def look(module: nn.Module, _: object) -> None:
        if isinstance(module, BertLayer):
            found[1] += 1
        elif type(module).__name__ == "BertEncoder":
            found[0] += 1

    hook = nn.modules.module.register_module_forward_pre_hook(look)
    try:
        yield found
    finally:
        hook.remove()


@pytest.mark.costly
@pytest.mark.parametrize("router", ["router={kind: none}", LAYERS, "router={kind: experts}"])
def test_a_project_with_an_early_task_learns_it_and_the_others(
    root: Path, tmp_path: Path, router: str
) -> None:
    run = Run(root, router, SENTIMENT, "training.trainable=2", *FAST)
    scores = run.fit(tmp_path / "fit")["epochs"][-1]["validation"]
    assert scores["sentiment"]["accuracy"] > 0.8
    assert scores["entities"]["entity_f1"] > 0.8
    model = load_model(tmp_path / "fit" / "model")
    assert model.depths == {"sentiment": 1, "entities": 2}
    assert accuracy(run, tmp_path / "fit") == pytest.approx(scores["sentiment"]["accuracy"])


def test_what_no_task_reads_does_not_learn_and_the_top_is_the_highest_layer_that_one_reads(
    root: Path, tmp_path: Path
) -> None:
    run = Run(root, SENTIMENT, ENTITIES)  # the top layer learns
    given = variant(run.project, "routed")
    assert (given.depth, given.stored) == (0, ())
    learner = run.learner()
    (tmp_path / "partial").mkdir()
    with counted_layers() as found:
        learner.run(tmp_path, tmp_path / "partial", lambda _: None)
    assert found[1] == found[0] > 20
    history = read_history(tmp_path)
    fitted = weights(tmp_path)
    fresh = {f"backbone.{name}": each for name, each in run.learner().model.backbone.state_dict().items()}
    moved = {name for name, each in fresh.items() if not torch.equal(each.cpu(), fitted[name])}
    assert any(".layer.0." in name for name in moved)
    assert not any(".layer.1." in name for name in moved)
    layer = sum(each.numel() for name, each in fresh.items() if ".layer.0." in name)
    apart = sum(each.numel() for name, each in fitted.items() if not name.startswith("backbone."))
    assert history["trained_parameters"] <= layer + apart
    with pytest.raises(ConfigError, match=r"training\.trainable: 2 layers wanted, but the tasks read 1"):
        variant(load_project(root, [SENTIMENT, ENTITIES, "training.trainable=2"]), "routed")


def test_a_layer_that_the_backbone_has_not_got_is_named(root: Path) -> None:
    project = load_project(root, ["tasks.sentiment.head.layer=3"])
    with pytest.raises(ConfigError, match=r"^tasks\.sentiment\.head\.layer: 3 .* the backbone has 2 layers"):
        variant(project, "routed")


def test_from_stored_states_an_early_task_learns_what_it_learns_from_the_whole_backbone(
    root: Path, tmp_path: Path
) -> None:
    run = Run(root, SENTIMENT, "training.trainable=frozen")
    assert variant(run.project, "routed").stored == (1, 2)
    assert run.stored is not None
    stored, plain = run.fit(tmp_path / "stored", stored=run.stored), run.fit(tmp_path / "plain")
    for one, other in zip(stored["epochs"], plain["epochs"], strict=True):
        assert one["validation"]["sentiment"] == pytest.approx(other["validation"]["sentiment"], abs=0.1)
    head = "heads.sentiment.out.weight"
    torch.testing.assert_close(
        weights(tmp_path / "stored")[head], weights(tmp_path / "plain")[head], atol=2e-3, rtol=0.05
    )


def test_states_of_lower_layers_are_stored_without_running_those_above(
    tiny_backbone: Path, tmp_path: Path
) -> None:
    root = write_tiny_project(tmp_path / "project", tiny_backbone)
    run = Run(root, "training.trainable=all")  # of which nothing is stored yet
    given, passes = (run.project, run.workspace, run.encoded), list[int]()
    with counted_layers() as found:
        lower = activations.activations(*given, [1], "float32", lambda *_: passes.append(found[0]))
    assert not lower.reused
    computed, looked = len(passes), found[0] - len(passes)
    assert computed > 0
    assert found[1] <= computed + 2 * looked
    whole = activations.activations(*given, [1, 2], "float32", lambda *_: None)
    packed = {task: each.packed for task, each in load_split(run.encoded.path, "train").items()}
    for task, states in activations.read(lower.path, 1, "train", packed).items():
        assert np.array_equal(states, activations.read(whole.path, 1, "train", packed)[task])


@pytest.mark.parametrize("router", ["router={kind: none}", LAYERS, "router={kind: experts}"])
def test_an_early_task_answers_what_was_solved_for_it(root: Path, tmp_path: Path, router: str) -> None:
    run = Run(root, router, SENTIMENT)
    heads(run, tmp_path / "heads")
    assert accuracy(run, tmp_path / "heads") == told_accuracy(tmp_path / "heads") > 0.8


@pytest.mark.parametrize(("before", "now"), [([SENTIMENT], []), ([], [SENTIMENT])])
def test_a_task_that_reads_another_layer_now_begins_fresh_and_the_others_go_on(
    root: Path, before: list[str], now: list[str]
) -> None:
    champion, fresh, model = (Run(root, LAYERS, *given).learner().model for given in (before, now, now))
    with torch.no_grad():
        for part in (champion.router, champion.heads):
            for each in part.parameters():
                each.add_(1.0)
    assert take_over(model, champion) == ["sentiment"]
    number, other = model.task_numbers["sentiment"], model.task_numbers["entities"]
    for name in model.router.of_tasks:
        value, began, theirs = (
            dict(each.router.named_parameters())[name] for each in (model, fresh, champion)
        )
        assert torch.equal(value[number], began[number])
        assert torch.equal(value[other], theirs[other])
    assert torch.equal(model.head("sentiment").out.weight, fresh.head("sentiment").out.weight)
    assert torch.equal(model.head("entities").out.weight, champion.head("entities").out.weight)


def test_the_last_layer_is_the_same_whether_it_is_written_or_not(root: Path) -> None:
    said, unsaid = (Run(root, *given).learner().model for given in (["tasks.sentiment.head.layer=2"], []))
    assert take_over(unsaid, said) == []


def test_states_of_another_layer_are_other_states_also_of_one_champion(root: Path, tmp_path: Path) -> None:
    run = Run(root, "router={kind: none}")
    start = heads(run, tmp_path / "champion")
    early = Run(root, "router={kind: none}", SENTIMENT)
    for name, each in (("last", run), ("lower", early)):
        heads(each, tmp_path / name, Plan(start, rung=Rung("heads", retraining=True)))
        assert accuracy(each, tmp_path / name) == told_accuracy(tmp_path / name), name


@pytest.mark.costly
@pytest.mark.parametrize("router", [LAYERS, "router={kind: layers}"])
def test_numbers_that_no_task_reads_are_not_counted_as_learned(
    root: Path, tmp_path: Path, router: str
) -> None:
    whole, early = (Run(root, router, *given) for given in ([], [SENTIMENT]))
    counted = [each.fit(tmp_path / str(n))["trained_parameters"] for n, each in enumerate((whole, early))]
    width = 8 * 16 if "bottleneck" in router else 1
    assert counted[0] - counted[1] == width  # of three layers below the last one is closed to one task


def test_an_early_task_alone_learns_in_passes_that_end_with_its_layer(root: Path, tmp_path: Path) -> None:
    run = Run(root, SENTIMENT, "training.trainable=all")
    learner = run.learner(plan=Plan(alone="sentiment"))
    (tmp_path / "partial").mkdir()
    with counted_layers() as found:
        learner.run(tmp_path, tmp_path / "partial", lambda _: None)
    assert found[1] == found[0] > 10
