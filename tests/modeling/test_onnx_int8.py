"""Int8 products of a graph: near the float32 ones, whatever stands beside a row."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_onnx import ROWS, exported, farthest, saved
from test_routers import ROUTERS

from doubleroute.data.batches import Inputs
from doubleroute.modeling.inference import Answerer
from doubleroute.modeling.int8_products import Seen, best, nearest, rounded, wrong
from doubleroute.modeling.onnx_answerer import GRAPH, OnnxAnswerer, write_about
from doubleroute.modeling.onnx_int8 import LEAST_OUTPUTS, quantise

MANY = ROWS + [{"text": f"a good film of {number} plain words"} for number in range(20)]


@pytest.fixture(scope="module")
def both(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Answerer, OnnxAnswerer]:
    """A model with experts, and its graph in int8."""
    root = tmp_path_factory.mktemp("int8")
    model = saved(root / "model", tiny_model, ROUTERS["experts"])
    folder, answerer = exported(root / "onnx", model), Answerer(model)
    quantise(folder / GRAPH, folder / GRAPH, answerer.inputs(MANY))
    write_about(folder, {"precision": "int8"})
    return answerer, OnnxAnswerer(folder, threads=1)


def test_int8_answers_nearly_as_the_model(both: tuple[Answerer, OnnxAnswerer]) -> None:
    model, graph = both
    logits = [each for values in model.logits(ROWS).values() for each in values]
    scale = max(float(np.abs(each).max(initial=0)) for each in logits)
    assert 0 < farthest(graph, model, ROWS) < 0.05 * scale


def test_an_int8_answer_does_not_depend_on_the_other_rows(both: tuple[Answerer, OnnxAnswerer]) -> None:
    _, graph = both
    together = graph.logits(MANY)
    for place, row in enumerate(MANY):
        for task, (alone,) in graph.logits([row]).items():
            np.testing.assert_allclose(together[task][place], alone, atol=1e-4)


def test_heads_and_gates_stay_in_float32_and_no_float32_matrix_is_left_over(
    both: tuple[Answerer, OnnxAnswerer],
) -> None:
    import onnx

    _, graph = both
    model = onnx.load(graph._folder / GRAPH).graph
    counted = Counter(node.op_type for node in model.node)
    int8 = [each for each in model.initializer if each.data_type == onnx.TensorProto.INT8]
    assert counted["MatMulIntegerToFloat"] == len(int8) > 0
    assert all(each.dims[1] >= LEAST_OUTPUTS for each in int8)
    assert counted["Gemm"] == 6, "of tasks that answer once for a row: the head, and the router's U"
    read = {name for node in model.node for name in node.input}
    assert {each.name for each in model.initializer} <= read


def product(folder: Path, matrix: np.ndarray) -> Path:
    """The graph of X W for states [batch, seq, inputs] looked up from a table of as many ids."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    draw = np.random.default_rng(5)
    table = draw.normal(size=(50, matrix.shape[0])).astype(np.float32)
    table[:, 3] *= 1000  # a channel as trained encoders have some
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["states"], "look"),
        helper.make_node("MatMul", ["states", "matrix"], ["product"], "product"),
        helper.make_node("Add", ["bias", "product"], ["logits.x"], "bias"),
    ]
    constants = {"table": table, "matrix": matrix, "bias": np.ones(matrix.shape[1], np.float32)}
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "seq"])],
        [helper.make_tensor_value_info("logits.x", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(folder / "float32.onnx"))
    return folder / "float32.onnx"


def test_a_product_of_rows_as_wide_as_texts_are_long_is_left_out(tmp_path: Path) -> None:
    import onnx
    import torch
    from onnx import helper

    source = product(tmp_path, np.random.default_rng(3).normal(size=(64, 32)).astype(np.float32))
    model = onnx.load(str(source))
    del model.graph.node[2:]
    pooled = helper.make_node("ReduceMean", ["product"], ["pooled"], "pool", axes=[1], keepdims=0)
    model.graph.node.extend([pooled, helper.make_node("MatMul", ["pooled", "square"], ["logits.x"], "rows")])
    square = np.random.default_rng(4).normal(size=(32, 32)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(square, "square"))
    onnx.save(model, str(source))
    ids = torch.arange(96).reshape(3, 32) % 50  # as many tokens as the pooled rows have units
    quantise(source, tmp_path / "int8.onnx", [Inputs(ids, torch.ones_like(ids), None)])
    counted = Counter(node.op_type for node in onnx.load(str(tmp_path / "int8.onnx")).graph.node)
    assert counted["MatMulIntegerToFloat"] == 1
    assert counted["MatMul"] + counted["Gemm"] >= 1


@pytest.mark.parametrize(("inputs", "outputs"), [(64, 32), (24, 32), (64, 128)])
def test_one_large_channel_does_not_cost_the_others_their_precision(
    tmp_path: Path, inputs: int, outputs: int
) -> None:
    import torch

    from doubleroute.modeling.onnx_answerer import open_session, run_graph

    matrix = np.random.default_rng(3).normal(size=(inputs, outputs)).astype(np.float32)
    matrix[3] /= 1000
    ids = torch.arange(48).reshape(8, 6)
    batch = Inputs(ids, torch.ones_like(ids), None)
    source = product(tmp_path, matrix)
    quantise(source, tmp_path / "int8.onnx", [batch])
    found: list[Any] = [
        run_graph(open_session(each), batch, ["x"])["x"] for each in (source, tmp_path / "int8.onnx")
    ]
    assert np.abs(found[0] - found[1]).max() < 0.05 * found[0].std()


def test_two_products_of_a_byte_and_a_weight_fit_in_sixteen_bits(tmp_path: Path) -> None:
    import onnx
    import torch

    draw = np.random.default_rng(4)
    matrix = np.sign(draw.normal(size=(65, 32))).astype(np.float32)  # all as large as any
    ids = torch.arange(48).reshape(8, 6)
    source = product(tmp_path, matrix)
    quantise(source, tmp_path / "int8.onnx", [Inputs(ids, torch.ones_like(ids), None)])
    model = onnx.load(str(tmp_path / "int8.onnx")).graph
    (small,) = [onnx.numpy_helper.to_array(each) for each in model.initializer if each.data_type == 3]
    pairs = np.r_[small, np.zeros((1, 32), np.int8)].reshape(-1, 2, 32).astype(int)
    assert 255 * np.maximum(pairs, 0).sum(1).max() < 2**15
    assert 255 * np.minimum(pairs, 0).sum(1).min() >= -(2**15)


def test_rounding_a_row_at_a_time_leaves_less_error_than_the_nearest() -> None:
    draw = np.random.default_rng(6)
    tokens = (draw.normal(size=(2000, 8)) @ draw.normal(size=(8, 64))).astype(
        np.float32
    )  # channels go together
    matrix = draw.normal(size=(64, 16)).astype(np.float32)
    seen = Seen(tokens.min(0), tokens.max(0), tokens.sum(0), tokens.T @ tokens, len(tokens), tokens[:500])
    recipe = best(seen, [matrix])
    errors = [
        float(np.square(wrong(recipe, weights, tokens, matrix)).sum())
        for weights in (rounded(recipe, seen, matrix), nearest(recipe, matrix))
    ]
    assert errors[0] < 0.9 * errors[1]


def test_channels_that_never_change_are_no_obstacle() -> None:
    draw = np.random.default_rng(8)
    tokens = draw.normal(size=(50, 16)).astype(np.float32)
    tokens[:, :8] = 100.0
    matrix = draw.normal(size=(16, 16)).astype(np.float32)
    seen = Seen(tokens.min(0), tokens.max(0), tokens.sum(0), tokens.T @ tokens, len(tokens), tokens)
    recipe = best(seen, [matrix])
    product = tokens @ matrix
    missing = wrong(recipe, rounded(recipe, seen, matrix), tokens, matrix)
    assert np.abs(missing - missing.mean(0)).max() < 0.05 * product.std()
