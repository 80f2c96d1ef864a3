"""What a processor could do at most: operations a second of its matrix products, and those that a pass needs.

A fused multiplication and addition counts as two operations. Attention's products of states with states,
which are a twentieth of the others on sentences, are left out.
"""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper

from doubleroute.modeling.model import load_model
from doubleroute.modeling.onnx_answerer import onnx_runtime, session_options

#: Of the products that are timed: tokens, inputs, outputs (MiniLM's intermediate layer).
SIZES = (512, 384, 1536)


def operations(model: Path) -> int:
    """Of a token in one pass of a saved model's backbone and its router's features."""
    loaded = load_model(model)
    layers = [each for name, each in loaded.backbone.named_modules() if "embeddings" not in name]
    shared = [module for module in layers if isinstance(module, torch.nn.Linear)]
    shared += [module for name, module in loaded.router.named_modules() if name.endswith("down")]
    return 2 * sum(module.weight.numel() for module in shared)


def float32() -> float:
    """Operations a second of torch's product on one thread."""
    tokens, inputs, outputs = SIZES
    states, weights = torch.randn(tokens, inputs), torch.randn(outputs, inputs)
    with torch.inference_mode():
        return _rate(lambda: torch.nn.functional.linear(states, weights))


def int8() -> float:
    """Operations a second of ONNX Runtime's product of bytes and int8 on one thread."""
    tokens, inputs, outputs = SIZES
    matrix = np.random.default_rng(3).integers(-64, 64, (inputs, outputs)).astype(np.int8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["states", "matrix"], ["product"])],
        "product",
        [helper.make_tensor_value_info("states", TensorProto.UINT8, [tokens, inputs])],
        [helper.make_tensor_value_info("product", TensorProto.INT32, [tokens, outputs])],
        [numpy_helper.from_array(matrix, "matrix")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = onnx_runtime().InferenceSession(
        model.SerializeToString(), session_options(1), providers=["CPUExecutionProvider"]
    )
    states = np.random.default_rng(5).integers(0, 256, (tokens, inputs)).astype(np.uint8)
    return _rate(lambda: session.run(None, {"states": states}))


def _rate(product: Callable[[], object], times: int = 50, attempts: int = 8) -> float:
    product()
    best = 0.0
    for _ in range(attempts):
        begun = time.perf_counter()
        for _ in range(times):
            product()
        best = max(best, times / (time.perf_counter() - begun))
    return best * 2 * int(np.prod(SIZES))
