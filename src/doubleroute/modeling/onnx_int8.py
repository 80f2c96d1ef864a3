"""A float32 graph with int8 products: fixed scales, measured on real texts before they are used.

A product X W of the states of tokens and a fixed matrix becomes one of unsigned bytes and int8, as
``int8_products`` says. What it is wrong by on average goes into its bias (Nagel et al. 2019).
"""

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from doubleroute.data.batches import Inputs
from doubleroute.modeling.int8_products import Recipe, Rounded, Seen, best, rounded, wrong
from doubleroute.modeling.onnx_answerer import feed_of, onnx_runtime, session_options

if TYPE_CHECKING:
    import onnx

#: Matrices with fewer outputs stay in float32: a router's gate, a head. int8 saves nothing there.
LEAST_OUTPUTS = 16
#: Tokens of a batch, at most, on which errors are measured; ranges are those of all.
TOKENS = 32


def quantise(graph: Path, place: Path, batches: Sequence[Inputs[np.ndarray]]) -> None:
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
        recipe = best(seen, [each.matrix for each in by_input[name]])
        before, constants = _bytes(name, recipe)
        whole = rounded(recipe, seen, np.concatenate([each.matrix for each in by_input[name]], axis=1))
        widths = np.cumsum([each.matrix.shape[1] for each in by_input[name]])[:-1]
        parts = zip(*(np.split(each, widths, axis=-1) for each in whole), strict=True)
        for product, weights in zip(by_input[name], parts, strict=True):
            nodes, more = _int8(name, recipe, product, Rounded(*weights), seen.sample)
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
    model: "onnx.ModelProto", names: Sequence[str], batches: Sequence[Inputs[np.ndarray]]
) -> Iterator[tuple[str, Seen]]:
    """Run the float32 graph, and give what each of these tensors was, where it is of tokens; padding does not
    count. What is of a whole row is left out: too few products to gain by."""
    import onnx

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    for name in names:
        watched.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    session = onnx_runtime().InferenceSession(
        watched.SerializeToString(), session_options(), providers=["CPUExecutionProvider"]
    )
    found: dict[str, Seen] = {}
    of_rows: set[str] = set()
    for batch in batches:
        tokens = np.asarray(batch.mask).astype(bool)
        for name, value in zip(names, session.run(list(names), feed_of(session, batch)), strict=True):
            if value.ndim != 3 or value.shape[:2] != tokens.shape:
                of_rows.add(name)
                continue
            flat = value[tokens]
            few = flat[:: -(-len(flat) // TOKENS)]
            exact = flat.astype(np.float64)  # their differences are looked at
            new = Seen(flat.min(0), flat.max(0), exact.sum(0), exact.T @ exact, len(flat), few)
            found[name] = found[name].and_also(new) if name in found else new
    yield from ((name, each) for name, each in found.items() if name not in of_rows)


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


def _bytes(name: str, recipe: Recipe) -> "tuple[list[onnx.NodeProto], list[onnx.TensorProto]]":
    """Nodes and constants that make the bytes ``<name>.bytes`` and the channels ``<name>.apart`` of an X."""
    from onnx import helper, numpy_helper

    constants: dict[str, Any] = {"scale": recipe.scale, "zero": recipe.zero}
    nodes, source = [], name
    if recipe.middle.any():
        constants["middle"] = recipe.middle
        nodes.append(
            helper.make_node("Sub", [source, f"{name}.middle"], [f"{name}.around"], f"{name}.around")
        )
        source = f"{name}.around"
    if (recipe.even != 1).any():
        constants["by"] = 1 / recipe.even
        nodes.append(helper.make_node("Mul", [source, f"{name}.by"], [f"{name}.even"], f"{name}.even"))
        source = f"{name}.even"
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
    name: str, recipe: Recipe, product: _Product, weights: Rounded, tokens: np.ndarray
) -> "tuple[list[onnx.NodeProto], list[onnx.TensorProto]]":
    """Nodes and constants of one product of the bytes of an X; ``tokens``: a sample of it."""
    from onnx import helper, numpy_helper

    out, apart = product.output, len(recipe.apart) > 0
    bias = product.bias + wrong(recipe, weights, tokens, product.matrix).mean(0)
    constants: dict[str, Any] = {
        "int8": weights.small,
        "scales": weights.scales,
        "bias": bias.astype(np.float32),
    }
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
