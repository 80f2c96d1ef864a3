"""A float32 graph with int8 products: fixed scales, measured on real texts before they are used.

A product X W of tokens X [tokens, inputs] and a fixed matrix W [inputs, outputs] becomes one of unsigned
bytes and int8: X has one scale and zero point, fixed from the ranges that were seen (static quantisation),
and W a scale for each output. So a row's answer does not depend on its neighbours. One scale for X is
coarse where a few channels are much larger than the others, as they are in trained encoders; two ways
around that are tried for each X, and the one with the least error on the texts is kept:

- evened: X / s and W * s with s_j = max|X_j|^a / max|W_j|^(1-a) (SmoothQuant, Xiao et al. 2023);
- split: the APART largest channels are multiplied in float32 (LLM.int8(), Dettmers et al. 2022).

What a product is wrong by on average goes into its bias (Nagel et al. 2019).
"""

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from doubleroute.data.batches import Inputs
from doubleroute.modeling.onnx_answerer import feed_of, onnx_runtime, session_options

if TYPE_CHECKING:
    import onnx

#: Matrices with fewer outputs stay in float32: a router's gate, a head. int8 saves nothing there.
LEAST_OUTPUTS = 16
EVENED = (0.5, 0.65, 0.8)
APART = 16
#: A split costs time with every output: it is taken where these are at most as many as the inputs, and it
#: leaves less than this part of the error.
WORTH = 0.5
#: Tokens of a batch, at most, on which errors are measured; ranges are those of all.
TOKENS = 64


class _Seen(NamedTuple):
    """What was seen of an X: the least and largest of each channel [inputs], and tokens [sample, inputs]."""

    least: np.ndarray
    largest: np.ndarray
    sample: np.ndarray


class _Recipe(NamedTuple):
    """How an X becomes bytes: ``X / even`` but for the channels ``apart``, then scale and zero point."""

    even: np.ndarray
    apart: np.ndarray
    scale: np.float32
    zero: np.uint8

    def bytes_of(self, tokens: np.ndarray) -> np.ndarray:
        """The bytes of tokens [n, inputs], as QuantizeLinear gives them."""
        return np.clip(np.rint(tokens / self.even / self.scale) + float(self.zero), 0, 255)

    def weights(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A matrix [inputs, outputs] in int8, and its scales [outputs]; zero for what is apart."""
        evened = matrix * self.even[:, None]
        evened[self.apart] = 0
        scales = np.maximum(np.abs(evened).max(0), 1e-12).astype(np.float32) / np.float32(127)
        return np.rint(evened / scales).astype(np.int8), scales


def quantise(graph: Path, place: Path, batches: Sequence[Inputs]) -> None:
    """Write a float32 graph with int8 products.

    ``batches``: tokenised texts like those that will be asked; a value beyond what they show is cut off
    where it is multiplied. Embeddings, norms, attention, and matrices of fewer than LEAST_OUTPUTS outputs
    stay in float32.
    """
    import onnx

    model = _folded(graph)
    arrays = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    by_input: dict[str, list[_Product]] = defaultdict(list)
    for node in _products(model):
        by_input[node.input[0]].append(_product(model, node, arrays))
    made: dict[str, list[onnx.NodeProto]] = {}  # by the name of the node in whose place they come
    for name, seen in _seen(model, list(by_input), batches):
        recipe = _best(seen, [each.matrix for each in by_input[name]])
        before, constants = _bytes(name, recipe)
        for product in by_input[name]:
            nodes, more = _int8(name, recipe, product, seen.sample)
            first, *rest = product.nodes
            made |= {first.name: [*before, *nodes]} | {each.name: [] for each in rest}
            before, constants = [], [*constants, *more]
        model.graph.initializer.extend(constants)
    kept = [new for node in model.graph.node for new in made.get(node.name, [node])]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    _drop_unused(model)
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, str(place))


def _folded(graph: Path) -> "onnx.ModelProto":
    """The graph as ONNX Runtime simplifies it: constants computed, equal nodes and weights once."""
    import onnx

    runtime = onnx_runtime()
    with tempfile.TemporaryDirectory(prefix="doubleroute-") as scratch:
        place = Path(scratch) / "folded.onnx"
        options = session_options()
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(place)
        runtime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        model = onnx.load(str(place))
    for number, node in enumerate(model.graph.node):  # a name is how a node is found again
        node.name = f"{node.name or node.op_type}#{number}"
    return model


def _products(model: "onnx.ModelProto") -> "list[onnx.NodeProto]":
    """The products with a fixed matrix of enough outputs."""
    shapes = {each.name: list(each.dims) for each in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type == "MatMul"]
    found = [(node, shapes.get(node.input[1], [])) for node in nodes]
    return [node for node, shape in found if len(shape) == 2 and shape[1] >= LEAST_OUTPUTS]


def _seen(
    model: "onnx.ModelProto", names: Sequence[str], batches: Sequence[Inputs]
) -> Iterator[tuple[str, _Seen]]:
    """Run the float32 graph, and give what each of these tensors was; padding does not count."""
    import onnx

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    for name in names:
        watched.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    session = onnx_runtime().InferenceSession(
        watched.SerializeToString(), session_options(), providers=["CPUExecutionProvider"]
    )
    found: dict[str, list[_Seen]] = defaultdict(list)
    for batch in batches:
        tokens = batch.mask.numpy().astype(bool)
        for name, value in zip(names, session.run(list(names), feed_of(session, batch)), strict=True):
            # What is no state of a token (of a whole row, say) has no padding.
            flat = value[tokens] if value.shape[:2] == tokens.shape else value.reshape(-1, value.shape[-1])
            step = -(-len(flat) // TOKENS)
            found[name].append(_Seen(flat.min(0), flat.max(0), flat[::step]))
    for name, each in found.items():
        least, largest, sample = zip(*each, strict=True)
        yield name, _Seen(np.min(least, axis=0), np.max(largest, axis=0), np.concatenate(sample))


def _best(seen: _Seen, matrices: Sequence[np.ndarray]) -> _Recipe:
    """Of plain, evened and split the one with the least error on the sample."""
    whole = np.concatenate(matrices, axis=1)
    size = np.maximum(np.maximum(-seen.least, seen.largest), 1e-6)
    weight = np.maximum(np.abs(whole).max(1), 1e-6)
    nothing = np.zeros(0, np.int64)
    tried = [_recipe(seen, np.ones_like(size), nothing)]
    for power in EVENED:
        even = size**power / weight ** (1 - power)
        tried.append(_recipe(seen, even / np.median(even), nothing))
    best = min(tried, key=lambda each: _error(each, seen.sample, whole))
    if len(size) <= 2 * APART or whole.shape[1] > len(size):
        return best
    apart = np.sort(np.argsort(-size)[:APART])
    split = _recipe(seen, np.ones_like(size), apart)
    better = _error(split, seen.sample, whole) < WORTH * _error(best, seen.sample, whole)
    return split if better else best


def _recipe(seen: _Seen, even: np.ndarray, apart: np.ndarray) -> _Recipe:
    """Scale and zero point so that what was seen just fits."""
    inside = np.ones(len(even), bool)
    inside[apart] = False
    least = min(0.0, float((seen.least / even)[inside].min()))
    largest = max(0.0, float((seen.largest / even)[inside].max()))
    scale = max(largest - least, 1e-12) / 255
    return _Recipe(even.astype(np.float32), apart, np.float32(scale), np.uint8(round(-least / scale)))


def _error(recipe: _Recipe, tokens: np.ndarray, matrix: np.ndarray) -> float:
    """Sum of squares of what a product (see ``_wrong``) is wrong by, but for its mean."""
    wrong = _wrong(recipe, tokens, matrix)
    return float(np.square(wrong - wrong.mean(0), dtype=np.float64).sum())


def _wrong(recipe: _Recipe, tokens: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """By how much each product of tokens [n, inputs] and a matrix [inputs, outputs] is too small."""
    small, scales = recipe.weights(matrix)
    read = (recipe.bytes_of(tokens) - float(recipe.zero)) * recipe.scale
    found = read.astype(np.float32) @ small.astype(np.float32) * scales
    found += tokens[:, recipe.apart] @ matrix[recipe.apart]
    wrong: np.ndarray = tokens @ matrix - found
    return wrong


class _Product(NamedTuple):
    """A product that becomes int8: its matrix [inputs, outputs] and bias [outputs], what it gives with the
    bias added, and the nodes in whose place it comes."""

    matrix: np.ndarray
    bias: np.ndarray
    output: str
    nodes: "tuple[onnx.NodeProto, ...]"


def _product(model: "onnx.ModelProto", node: "onnx.NodeProto", arrays: Mapping[str, np.ndarray]) -> _Product:
    """A product and, where it alone is added to a constant for each output, that addition."""
    matrix = arrays[node.input[1]]
    readers = [each for each in model.graph.node if node.output[0] in each.input]
    if len(readers) == 1 and readers[0].op_type == "Add":
        (bias,) = [each for each in readers[0].input if each != node.output[0]] or [""]
        if bias in arrays and arrays[bias].shape == matrix.shape[1:]:
            return _Product(matrix, arrays[bias], readers[0].output[0], (node, readers[0]))
    return _Product(matrix, np.zeros(matrix.shape[1], np.float32), node.output[0], (node,))


def _bytes(name: str, recipe: _Recipe) -> "tuple[list[onnx.NodeProto], list[onnx.TensorProto]]":
    """Nodes and constants that make the bytes ``<name>.bytes`` and the channels ``<name>.apart`` of an X."""
    from onnx import helper, numpy_helper

    constants: dict[str, Any] = {"scale": recipe.scale, "zero": recipe.zero}
    nodes, source = [], name
    if (recipe.even != 1).any():
        source = f"{name}.even"
        constants["by"] = 1 / recipe.even
        nodes.append(helper.make_node("Mul", [name, f"{name}.by"], [source], source))
    small = f"{name}.bytes"
    nodes.append(
        helper.make_node("QuantizeLinear", [source, f"{name}.scale", f"{name}.zero"], [small], small)
    )
    if len(recipe.apart):
        apart = f"{name}.apart"
        constants["channels"] = recipe.apart
        nodes.append(helper.make_node("Gather", [name, f"{name}.channels"], [apart], apart, axis=-1))
    return nodes, [numpy_helper.from_array(np.asarray(v), f"{name}.{key}") for key, v in constants.items()]


def _int8(
    name: str, recipe: _Recipe, product: _Product, tokens: np.ndarray
) -> "tuple[list[onnx.NodeProto], list[onnx.TensorProto]]":
    """Nodes and constants of one product of the bytes of an X; ``tokens``: a sample of it."""
    from onnx import helper, numpy_helper

    out, apart = product.output, len(recipe.apart) > 0
    weights, scales = recipe.weights(product.matrix)
    bias = product.bias + _wrong(recipe, tokens, product.matrix).mean(0)
    constants: dict[str, Any] = {"int8": weights, "scales": scales, "bias": bias.astype(np.float32)}
    inside = f"{out}.inside" if apart else out
    read = [
        f"{name}.bytes",
        f"{out}.int8",
        f"{name}.scale",
        f"{out}.scales",
        f"{name}.zero",
        "",
        f"{out}.bias",
    ]
    nodes = [
        helper.make_node("MatMulIntegerToFloat", read, [inside], f"{out}.product", domain="com.microsoft")
    ]
    if apart:
        constants["rest"] = product.matrix[recipe.apart]
        nodes.append(
            helper.make_node("MatMul", [f"{name}.apart", f"{out}.rest"], [f"{out}.apart"], f"{out}.apart")
        )
        nodes.append(helper.make_node("Add", [inside, f"{out}.apart"], [out], f"{out}.whole"))
    return nodes, [numpy_helper.from_array(value, f"{out}.{key}") for key, value in constants.items()]


def _drop_unused(model: "onnx.ModelProto") -> None:
    """Without the float32 matrices that nothing reads any more."""
    read = {name for node in model.graph.node for name in node.input}
    kept = [each for each in model.graph.initializer if each.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
