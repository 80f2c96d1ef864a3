"""The routed model as one ONNX graph: backbone, router and all heads.

The graph is traced by the exporter that needs ``onnx`` alone. Tracing can freeze what depended on the
example's size, so a graph counts only when it gives the model's logits on batches of other sizes.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from doubleroute.data.batches import Inputs
from doubleroute.errors import MachineError, ModelError
from doubleroute.modeling.model import DoublerouteModel
from doubleroute.modeling.onnx_answerer import OUTPUT, graph_up_to, missing, open_session, run_graph

OPSET = 17
#: [batch, seq] of the batches that a new graph is tried on; the example that it is traced with is another.
TRIED = ((1, 1), (2, 5), (5, 16), (1, 64))
TRACED = (3, 7)
#: How far a logit of the float32 graph may lie from the model's, relative to the largest one (at least 1).
TOLERANCE = 1e-3


class _Whole(nn.Module):
    """Every task's logits, as a tuple in the order of the model's tasks."""

    def __init__(self, model: DoublerouteModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        states, layers = self.model.encode_layers(input_ids, attention_mask, token_type_ids)
        shared = self.model.answer_shared(states, attention_mask, list(self.model.task_numbers), layers)
        if shared is not None:
            return tuple(shared.values())
        found = []
        for name, number in self.model.task_numbers.items():
            # The states go to each router's call as they are: what tasks share (the experts' features, say)
            # is then computed once, because ONNX Runtime merges equal nodes.
            task = torch.full_like(input_ids[:, 0], number)
            own, below = self.model.read(name, states, layers)
            routed = self.model.router(own, attention_mask, task, below)
            found.append(self.model.heads[name](routed, attention_mask))
        return tuple(found)


def write_graph(model: DoublerouteModel, place: Path) -> None:
    """Write the graph of a model in evaluation mode, on the processor, in float32.

    Inputs: int64 input_ids, attention_mask and, for backbones with segments, token_type_ids, [batch, seq],
    both of any size; outputs: float32 ``logits.<task>``. One file, no external weights. Raises ModelError
    when backbone or router cannot be traced (torch's own encoder layer, which the router transformer is, has
    no operator in ONNX) or the graph's logits are not the model's, MachineError when onnx or ONNX Runtime is
    not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise MachineError(missing("onnx")) from error
    keywords = _batch(model, *TRACED).to("cpu").keywords
    axes = {name: {0: "batch", 1: "seq"} for name in keywords}
    outputs = [OUTPUT + task for task in model.task_numbers]
    try:
        with _quiet(), torch.no_grad():
            torch.onnx.export(
                _Whole(model).eval(),
                tuple(keywords.values()),
                str(place),
                dynamo=False,
                opset_version=OPSET,
                input_names=list(keywords),
                output_names=outputs,
                dynamic_axes=axes,
            )
        onnx.checker.check_model(str(place))
    except Exception as error:  # the tracer and the checker raise many kinds
        raise ModelError(f"the model cannot be written as an ONNX graph: {error}") from error

    def wanted(given: Inputs[np.ndarray]) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            logits = _Whole(model)(**given.to("cpu").keywords)
        return {task: each.numpy() for task, each in zip(model.task_numbers, logits, strict=True)}

    _try_out(model, place, list(model.task_numbers), wanted, "the ONNX graph is not the model")


def write_lower_graphs(model: DoublerouteModel, graph: Path) -> None:
    """Beside a graph of the model write, for each layer below the highest one that a task reads, the part of
    it that those tasks need which read no higher one. Raises ModelError when a part does not give the logits
    of the whole."""
    from onnx.utils import extract_model

    lower = sorted(set(model.depths.values()))[:-1]
    if not lower:
        return
    whole = open_session(graph)
    inputs = [each.name for each in whole.get_inputs()]
    for layer in lower:
        tasks = [task for task, depth in model.depths.items() if depth <= layer]
        part = graph.with_name(graph_up_to(layer))
        try:
            extract_model(graph, part, inputs, [OUTPUT + task for task in tasks], False, False)
        except Exception as error:  # onnx and the protocol buffers raise many kinds
            raise ModelError(f"no graph that ends with layer {layer} can be written: {error}") from error

        def wanted(given: Inputs[np.ndarray], tasks: list[str] = tasks) -> dict[str, np.ndarray]:
            return run_graph(whole, given, tasks)

        _try_out(model, part, tasks, wanted, f"the part that ends with layer {layer} is not the graph")


def _try_out(
    model: DoublerouteModel,
    place: Path,
    tasks: list[str],
    wanted: Callable[[Inputs[np.ndarray]], Mapping[str, np.ndarray]],
    otherwise: str,
) -> None:
    """Raise ModelError, which begins with ``otherwise``, unless the graph gives the ``wanted`` logits of
    these tasks on batches of other sizes."""
    session = open_session(place)
    for batch, seq in TRIED:
        inputs = _batch(model, batch, min(seq, model.config.max_tokens))
        try:
            found = run_graph(session, inputs, tasks)
        except Exception as error:  # ONNX Runtime has a class of its own for each status, none of them public
            raise ModelError(
                f"the ONNX graph does not run on {batch} rows of {seq} tokens: {error}"
            ) from error
        for task, values in wanted(inputs).items():
            far = float(np.abs(values - found[task]).max())
            if not far <= TOLERANCE * max(1.0, float(np.abs(values).max())):
                raise ModelError(
                    f"{otherwise}: on {batch} rows of {seq} tokens a logit of '{task}' differs by {far:.2g}; "
                    "this backbone's tracing depends on the size of the batch"
                )


def _batch(model: DoublerouteModel, batch: int, seq: int) -> Inputs[np.ndarray]:
    """Some ids [batch, seq]; the last of several rows is padded after half of its tokens."""
    config = model.backbone.config
    pad = getattr(config, "pad_token_id", None) or 0
    words = np.random.default_rng(17).integers(0, int(config.vocab_size) - 1, (batch, seq))
    ids = words + (words >= pad)  # any word but the padding
    mask = np.ones_like(ids)
    if batch > 1:
        mask[-1, (seq + 1) // 2 :] = 0
        ids[-1, (seq + 1) // 2 :] = pad
    segments = (getattr(config, "type_vocab_size", None) or 0) > 1
    return Inputs(ids, mask, np.zeros_like(ids) if segments else None)


@contextmanager
def _quiet() -> Iterator[Any]:
    """Without the exporter's word that it is the old one, and the tracer's doubts (the graph is tried out
    on other sizes)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.simplefilter("ignore", UserWarning)
        yield
