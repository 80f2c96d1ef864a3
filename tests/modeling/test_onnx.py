"""The routed model as an ONNX graph: the same answers, at every size, from files that are checked."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_routers import ROUTERS, awake, routed

from doubleroute.errors import MachineError, ModelError
from doubleroute.modeling.answering import Answering
from doubleroute.modeling.backbone import load_tokenizer
from doubleroute.modeling.inference import Answerer
from doubleroute.modeling.model import DoublerouteConfig, assemble, load_model
from doubleroute.modeling.onnx_answerer import (
    ABOUT,
    GRAPH,
    OnnxAnswerer,
    open_session,
    run_graph,
    write_about,
    write_beside,
)
from doubleroute.modeling.onnx_graph import write_graph
from doubleroute.modeling.source import Source

ROWS: list[dict[str, Any]] = [
    {"text": "a good film"},
    {"text": "bad " * 30},
    {"text": "good", "text_pair": "a bad line of plain words"},
    {"tokens": ["42", "words", "and", "numbers"]},
    {"text": ""},
]


def saved(folder: Path, tiny_model: Path, options: dict[str, Any]) -> Path:
    """A model with this router, none of whose weights is zero, as training saves it."""
    awake(routed(tiny_model, options)).save_pretrained(folder)
    load_tokenizer(Source("x", tiny_model)).save_pretrained(folder)
    return folder


def exported(folder: Path, model: Path) -> Path:
    """The model's float32 graph with what an answerer needs beside it."""
    folder.mkdir()
    write_graph(load_model(model), folder / GRAPH)
    write_beside(folder, model, Answerer(model))
    write_about(folder, {"precision": "float32"})
    return folder


def farthest(one: Answering, other: Answering, rows: list[dict[str, Any]]) -> float:
    """The largest difference between two logits of the same row and task."""
    found, wanted = one.logits(rows), other.logits(rows)
    assert list(found) == list(wanted)
    pairs = [pair for task in found for pair in zip(found[task], wanted[task], strict=True)]
    return max(float(np.abs(a - b).max(initial=0)) for a, b in pairs)


@pytest.fixture(scope="module")
def both(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of a model with experts and of its export. Do not write into them."""
    root = tmp_path_factory.mktemp("exported")
    model = saved(root / "model", tiny_model, ROUTERS["experts"])
    return model, exported(root / "onnx", model)


#: torch's own encoder layer has no operator in ONNX.
NOT_WRITTEN = "transformer"
#: A few are tried always; a graph of every router takes a minute.
ALWAYS = ("none", "layers with a bottleneck", "experts, private", "a stack of three")
every_exported_router = pytest.mark.parametrize(
    "options",
    [
        pytest.param(options, id=name, marks=() if name in ALWAYS else pytest.mark.costly)
        for name, options in ROUTERS.items()
        if name != NOT_WRITTEN
    ],
)


@every_exported_router
def test_the_graph_answers_as_the_model_for_every_router_and_kind(
    tiny_model: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    model = saved(tmp_path / "model", tiny_model, options)
    graph, plain = OnnxAnswerer(exported(tmp_path / "onnx", model)), Answerer(model)
    assert farthest(graph, plain, ROWS) < 1e-4
    assert graph.tasks == plain.tasks
    for found, wanted in zip(graph.answer(ROWS), plain.answer(ROWS), strict=True):
        assert found["sentiment"]["label"] == wanted["sentiment"]["label"]
        assert found["topics"]["labels"] == wanted["topics"]["labels"]
        assert found["stars"]["value"] == pytest.approx(wanted["stars"]["value"], abs=1e-4)
        assert found["entities"]["tags"] == wanted["entities"]["tags"]


def test_a_router_that_onnx_has_no_operator_for_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    model = saved(tmp_path / "model", tiny_model, ROUTERS[NOT_WRITTEN])
    with pytest.raises(ModelError, match=r"cannot be written as an ONNX graph: .*not supported"):
        write_graph(load_model(model), tmp_path / GRAPH)


@pytest.mark.costly
@pytest.mark.parametrize("pooling", ["first", "attention"])
def test_the_graph_pools_as_the_model(tiny_model: Path, tmp_path: Path, pooling: str) -> None:
    model = load_model(tiny_model)
    config = model.config.to_dict()
    for task in config["tasks"].values():
        task["pooling"] = pooling
    changed = assemble(DoublerouteConfig(**config), model.backbone, seed=2).eval()
    changed.save_pretrained(tmp_path / "model")
    load_tokenizer(Source("x", tiny_model)).save_pretrained(tmp_path / "model")
    graph = OnnxAnswerer(exported(tmp_path / "onnx", tmp_path / "model"))
    assert farthest(graph, Answerer(tmp_path / "model"), ROWS) < 1e-4


@pytest.mark.parametrize(("batch", "seq"), [(1, 1), (1, 16), (2, 3), (9, 11), (40, 2)])
def test_any_number_of_rows_of_any_length_goes_through(both: tuple[Path, Path], batch: int, seq: int) -> None:
    from doubleroute.data.batches import Inputs

    ids = torch.from_numpy(np.random.default_rng(batch).integers(1, 20, (batch, seq)))
    inputs = Inputs(ids, torch.ones_like(ids), None)
    graph, model = OnnxAnswerer(both[1]), load_model(both[0])
    found = run_graph(graph._session(GRAPH, 1), inputs, list(graph.tasks))
    with torch.inference_mode():
        wanted = model(**inputs.keywords).logits
    for task, values in wanted.items():
        assert found[task].shape == tuple(values.shape)
        np.testing.assert_allclose(found[task], values.numpy(), atol=1e-5)


def test_a_padded_row_answers_as_the_unpadded_one(both: tuple[Path, Path]) -> None:
    graph = OnnxAnswerer(both[1], threads=1)
    together = graph.logits(ROWS)
    for place, row in enumerate(ROWS):
        for task, (alone,) in graph.logits([row]).items():
            np.testing.assert_allclose(together[task][place], alone, atol=1e-5)


def test_passes_side_by_side_give_the_answers_of_one_thread(both: tuple[Path, Path]) -> None:
    rows = [{"text": f"a good film of {number} plain words " * (number % 7)} for number in range(90)]
    one, three = (OnnxAnswerer(both[1], threads).logits(rows) for threads in (1, 3))
    assert list(one) == list(three)
    for task, values in one.items():
        for found, wanted in zip(three[task], values, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_texts_that_stand_several_times_are_computed_once(both: tuple[Path, Path]) -> None:
    answerer = Answerer(both[0])
    rows = [{"text": "good"}, {"text": "bad"}, {"text": "good"}, {"tokens": ["good"]}, {"text": "good"}]
    seen: list[int] = []
    with answerer.model.register_forward_pre_hook(
        lambda _, __, given: seen.append(len(given["input_ids"])), with_kwargs=True
    ):
        first, second, third, *_ = answerer.answer(rows)
    assert seen == [3], "'good' as a text, 'bad', and 'good' as a token"
    assert first == third != second
    first["sentiment"]["label"] = "changed"
    assert third["sentiment"]["label"] != "changed", "every row has an answer of its own"


def test_weights_lie_inside_the_graph(both: tuple[Path, Path]) -> None:
    import onnx

    graph = onnx.load(both[1] / GRAPH, load_external_data=False).graph
    assert graph.initializer
    assert not any(each.external_data for each in graph.initializer)


@pytest.mark.parametrize("name", [GRAPH, "config.json", "tokenizer.json"])
def test_a_damaged_file_is_refused_by_its_digest(both: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(both[1], tmp_path / "damaged")
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(ModelError, match=f"{name} is damaged: its sha256"):
        OnnxAnswerer(folder)
    (folder / name).unlink()
    with pytest.raises(ModelError, match=f"{name} is missing; run `doubleroute export` again"):
        OnnxAnswerer(folder)


def test_a_file_that_no_digest_vouches_for_is_refused(both: tuple[Path, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(both[1], tmp_path / "unlisted")
    about = json.loads((folder / ABOUT).read_text())
    del about["files"][GRAPH]
    (folder / ABOUT).write_text(json.dumps(about))
    with pytest.raises(ModelError, match=f"{GRAPH} is damaged"):
        OnnxAnswerer(folder)
    with pytest.raises(ModelError, match="holds no exported model"):
        OnnxAnswerer(tmp_path)


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelError, match="is no graph that ONNX Runtime reads"):
        open_session(tmp_path / "x.onnx")


def test_without_the_extra_the_error_names_it(
    both: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, package, None)  # as import sees a package that is not there
    for attempt in (
        lambda: OnnxAnswerer(both[1]),
        lambda: write_graph(load_model(both[0]), tmp_path / GRAPH),
    ):
        with pytest.raises(MachineError, match=r"is not installed; .* -e '\.\[onnx\]'`"):
            attempt()


def test_a_graph_that_froze_what_depends_on_the_batch_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    model = load_model(tiny_model)
    encode = model.encode

    def wrong(ids: torch.Tensor, *rest: Any) -> torch.Tensor:
        return encode(ids, *rest) * len(ids)  # tracing takes the length as a constant

    model.encode = wrong  # type: ignore[method-assign, assignment]
    with pytest.raises(ModelError, match="the ONNX graph is not the model: on 1 rows"):
        write_graph(model, tmp_path / GRAPH)
