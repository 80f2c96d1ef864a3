"""Tasks that read a lower layer: what they answer, and that nothing above it is run for them."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from test_onnx import ROWS, every_exported_router, exported, farthest
from test_routers import IDS, MASK, ROUTERS, TARGETS, awake, every_router, logits

from doubleroute.modeling.backbone import load_tokenizer
from doubleroute.modeling.diagnostics import layer_mixture
from doubleroute.modeling.inference import Answerer
from doubleroute.modeling.model import DoublerouteConfig, DoublerouteModel, assemble, load_model
from doubleroute.modeling.onnx_answerer import GRAPH, OUTPUT, OnnxAnswerer, graph_up_to, write_about
from doubleroute.modeling.onnx_graph import write_lower_graphs
from doubleroute.modeling.onnx_int8 import quantise
from doubleroute.modeling.routers import resolve
from doubleroute.modeling.source import Source
from doubleroute.modeling.trunk import caught_layers, layers_of, stopping_after

#: Of the tiny model's two layers these tasks read the lower one.
EARLY = {"sentiment": 1, "entities": 1}


def model_of(folder: Path, options: dict[str, Any], early: dict[str, int] = EARLY) -> DoublerouteModel:
    """The tiny model with a router that has learnt something, and tasks that read lower layers."""
    given = load_model(folder)
    tasks = {name: {**task, "layer": early.get(name)} for name, task in given.config.tasks.items()}
    of_all = {**given.config.to_dict(), "tasks": tasks, "router": resolve(options, folder.parent)}
    return awake(assemble(DoublerouteConfig(**of_all), given.backbone, seed=1, root=folder.parent).eval())


def runs_of_layers(model: DoublerouteModel) -> list[int]:
    """A list that gets the number of each layer when it is run."""
    found: list[int] = []
    for number, layer in enumerate(layers_of(model.backbone), 1):
        layer.register_forward_pre_hook(lambda *_, number=number: found.append(number))
    return found


@pytest.fixture(scope="module", autouse=True)
def _language_models(tiny_model: Path) -> None:
    from test_routers import write_language_models

    if not (tiny_model.parent / "llama").is_dir():
        write_language_models(tiny_model.parent)


@every_router
def test_tasks_asked_alone_answer_as_among_others_and_no_higher_layer_is_run(
    tiny_model: Path, options: dict[str, Any]
) -> None:
    model = model_of(tiny_model, options)
    whole, runs = logits(model), runs_of_layers(model)
    with torch.inference_mode():
        early = model(IDS, MASK, tasks=list(EARLY)).logits
        assert runs == [1]
        one = model(IDS, MASK, tasks=["sentiment"]).logits
        assert runs == [1, 1]
        late = model(IDS, MASK, tasks=["topics", "sentiment"]).logits
    assert runs == [1, 1, 1, 2]
    for found in (early, one, late):
        for task, values in found.items():
            torch.testing.assert_close(values, whole[task], rtol=1e-5, atol=1e-6)


@every_router
def test_no_weight_above_its_layer_has_a_say_in_an_early_task(
    tiny_model: Path, options: dict[str, Any]
) -> None:
    model = model_of(tiny_model, options)
    before = logits(model)
    with torch.no_grad():
        for parameter in layers_of(model.backbone)[1].parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(4)))
    after = logits(model)
    assert all(torch.equal(before[task], after[task]) for task in EARLY)
    assert not any(torch.equal(before[task], after[task]) for task in before.keys() - EARLY.keys())


@every_router
def test_rows_of_early_and_late_tasks_in_one_batch_are_answered_each_from_its_layer(
    tiny_model: Path, options: dict[str, Any]
) -> None:
    model = model_of(tiny_model, options)
    whole = logits(model)
    rows = {"topics": torch.tensor([1]), "sentiment": torch.tensor([2, 0])}
    with torch.inference_mode():
        some = model(IDS, MASK, rows=rows).logits
    for task, chosen in rows.items():
        torch.testing.assert_close(some[task], whole[task][chosen], rtol=1e-5, atol=1e-6)


def test_an_early_task_answers_as_a_model_that_ends_with_its_layer(tiny_model: Path) -> None:
    early = model_of(tiny_model, ROUTERS["none"], dict.fromkeys(TARGETS, 1))
    cut = load_model(tiny_model)
    del layers_of(cut.backbone)[1:]
    cut.heads.load_state_dict(early.heads.state_dict())
    for task, values in logits(early).items():
        torch.testing.assert_close(values, logits(cut)[task], rtol=1e-6, atol=1e-7)


def test_where_no_task_reads_the_top_no_pass_gets_there_also_while_learning(tiny_model: Path) -> None:
    model = model_of(tiny_model, ROUTERS["layers"], dict.fromkeys(TARGETS, 1)).train()
    runs = runs_of_layers(model)
    rows = {task: torch.arange(3) for task in TARGETS}
    model(IDS, MASK, rows=rows, targets=TARGETS).loss.backward()
    assert runs == [1]
    lower, upper = layers_of(model.backbone)
    assert all(each.grad is not None for each in lower.parameters())
    assert all(each.grad is None for each in upper.parameters())


@pytest.mark.parametrize("name", ["layers", "layers with a bottleneck"])
def test_a_mixture_gives_no_weight_to_layers_from_the_one_that_its_task_reads(
    tiny_model: Path, name: str
) -> None:
    model = model_of(tiny_model, ROUTERS[name])
    mixture = layer_mixture(model)
    assert mixture is not None
    assert mixture["layers"] == ["embeddings", "1", "2"]
    assert mixture["information"] is None
    for task, about in mixture["tasks"].items():
        assert sum(about["weights"]) == pytest.approx(1, abs=1e-5)
        assert (about["weights"][2] == 0) == (task in EARLY)
        assert all(weight > 0 for weight in about["weights"][:2])
        assert 0 < about["entropy"] <= 1


def test_a_pass_that_ends_early_ends_no_other_thread_s_pass(tiny_model: Path) -> None:
    model = model_of(tiny_model, ROUTERS["layers"])
    alone = logits(model)["topics"]
    inside, done = threading.Event(), threading.Event()

    def wait(*_: object) -> None:
        if threading.current_thread() is other:
            inside.set()
            assert done.wait(30)

    found: list[torch.Tensor] = []
    other = threading.Thread(target=lambda: found.append(logits(model)["topics"]))
    layers_of(model.backbone)[0].register_forward_pre_hook(wait)
    with caught_layers(model.backbone, [1]) as caught, stopping_after(model.backbone, 1):
        other.start()
        assert inside.wait(30)  # the other is in the midst of a pass while this one's hooks are there
        done.set()
        other.join(30)
        assert caught == {}
        model.encode(IDS, MASK)
    assert list(caught) == [1]
    assert torch.equal(found[0], alone)


def test_a_mixture_has_no_column_that_no_task_reads(tiny_model: Path) -> None:
    mixture = layer_mixture(model_of(tiny_model, ROUTERS["layers"], dict.fromkeys(TARGETS, 1)))
    assert mixture is not None
    assert mixture["layers"] == ["embeddings", "1"]
    assert mixture["information"] >= 0


def saved(folder: Path, tiny_model: Path, options: dict[str, Any], early: dict[str, int] = EARLY) -> Path:
    """Such a model as training saves it."""
    model_of(tiny_model, options, early).save_pretrained(folder)
    load_tokenizer(Source("x", tiny_model)).save_pretrained(folder)
    return folder


@every_exported_router
def test_a_graph_answers_early_tasks_as_the_model(
    tiny_model: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    model = saved(tmp_path / "model", tiny_model, options)
    folder = exported(tmp_path / "onnx", model)
    write_lower_graphs(load_model(model), folder / GRAPH)
    graph, plain = OnnxAnswerer(folder), Answerer(model)
    assert farthest(graph, plain, ROWS) < 1e-4
    one, other = (each.logits(ROWS, ["sentiment"])["sentiment"] for each in (graph, plain))
    assert max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True)) < 1e-4


@pytest.mark.costly
def test_tasks_that_all_end_alike_have_one_graph_with_nothing_of_the_layers_above(
    tiny_model: Path, tmp_path: Path
) -> None:
    sizes = []
    for name, early in (("early", dict.fromkeys(TARGETS, 1)), ("whole", {})):
        model = saved(tmp_path / name, tiny_model, ROUTERS["none"], early)
        folder = exported(tmp_path / f"{name} onnx", model)
        write_lower_graphs(load_model(model), folder / GRAPH)
        assert [each.name for each in folder.glob("*.onnx")] == [GRAPH]
        assert farthest(OnnxAnswerer(folder), Answerer(model), ROWS) < 1e-4
        sizes.append((folder / GRAPH).stat().st_size)
    assert sizes[0] < sizes[1]


@pytest.mark.costly
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_tasks_that_end_lower_have_a_graph_that_ends_there_and_answers_alike(
    tiny_model: Path, tmp_path: Path, precision: str
) -> None:
    model = saved(tmp_path / "model", tiny_model, ROUTERS["layers"])
    folder = exported(tmp_path / "onnx", model)
    if precision == "int8":
        quantise(folder / GRAPH, tmp_path / GRAPH, Answerer(model).inputs(ROWS))
        (tmp_path / GRAPH).replace(folder / GRAPH)
    write_lower_graphs(load_model(model), folder / GRAPH)
    write_about(folder, {"precision": precision})
    graphs = {each.name: onnx.load(each).graph for each in folder.glob("*.onnx")}
    assert graphs.keys() == {GRAPH, graph_up_to(1)}
    assert len(graphs[graph_up_to(1)].node) < 0.7 * len(graphs[GRAPH].node)
    assert [each.name for each in graphs[graph_up_to(1)].output] == [OUTPUT + task for task in EARLY]
    graph = OnnxAnswerer(folder)
    whole = graph.logits(ROWS)
    graph._sessions.clear()
    (folder / GRAPH).unlink()  # what is asked now is not asked of it
    for tasks in (list(EARLY), ["entities"]):
        for task, values in graph.logits(ROWS, tasks).items():
            pairs = zip(values, whole[task], strict=True)
            assert max(float(np.abs(a - b).max(initial=0)) for a, b in pairs) < 1e-5
