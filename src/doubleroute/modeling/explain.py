"""Which experts and which layers each token of a text went through, task by task."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from doubleroute.data.batches import by_tokens, inputs_of, parts_of
from doubleroute.data.tokens import Packed
from doubleroute.errors import InputError
from doubleroute.modeling.answering import TOKENS_A_PASS
from doubleroute.modeling.diagnostics import gated, layer_mixture, seen_gate
from doubleroute.modeling.inference import Answerer
from doubleroute.modeling.model import DoublerouteModel
from doubleroute.modeling.routers import kinds_of
from doubleroute.modeling.routers.experts import ExpertsRouter


def explain(
    answerer: Answerer, rows: Sequence[Mapping[str, Any]], tasks: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """The way of n rows through the router, for all tasks or some; one more pass of the backbone.

    Gives for each row {"tokens": [...]} and, with a gate, {"experts": their names, "tasks": {task:
    {"weights", "task", "token", "tokens"?}}} as ``gate_by_token`` has them, with tokens where a task reads
    ``text`` alone and others the pair; with a mixture of layers {"layers": ``diagnostics.layer_mixture`` of
    these tasks}, the same for every row. Raises InputError for a model whose router has neither.
    """
    refuse_without_a_way(answerer.model)
    wanted = list(tasks or answerer.tasks)
    mixture = layer_mixture(answerer.model)
    layers: dict[str, Any] = {}
    if mixture is not None:
        layers = {"layers": mixture | {"tasks": {task: mixture["tasks"][task] for task in wanted}}}
    single = [task for task in wanted if not answerer.reads_pairs(task)]
    alone = [{name: value for name, value in row.items() if name != "text_pair"} for row in rows]
    found: list[dict[str, Any]] = [{} for _ in rows]
    paired = [task for task in wanted if task not in single]
    for given, asked in ((rows, paired), (alone, single)):
        if not asked:
            continue
        for way, each in zip(found, _ways(answerer, given, asked), strict=True):
            tokens, gates = each.pop("tokens"), each.pop("tasks", {})
            own = {} if way.setdefault("tokens", tokens) == tokens else {"tokens": tokens}
            gates = way.get("tasks", {}) | {task: {**gate, **own} for task, gate in gates.items()}
            ordered = {"tasks": {task: gates[task] for task in wanted if task in gates}} if gates else {}
            way |= {**each, **ordered, **layers}
    return found


def _ways(
    answerer: Answerer, rows: Sequence[Mapping[str, Any]], tasks: Sequence[str]
) -> list[dict[str, Any]]:
    """The way of n rows for tasks that read them alike."""
    found: list[dict[str, Any]] = [{} for _ in rows]
    for group, packed in answerer.tokenised(rows):
        pad_id = answerer.tokenizer.pad_token_id or 0
        ways = gate_by_token(answerer.model, packed, range(len(packed)), tasks, pad_id)
        for row, each in zip(group, ways, strict=True):
            tokens = answerer.tokenizer.convert_ids_to_tokens(each.pop("ids"))
            found[row] = {"tokens": tokens, **each}
    return found


def refuse_without_a_way(model: DoublerouteModel) -> None:
    """Raise InputError for a model whose router sends every token the same way."""
    if gated(model) is None and layer_mixture(model) is None:
        raise InputError(
            f"this model's router, {kinds_of(model.config.router)}, has no gate and no mixture of layers to "
            "explain; a router of kind experts or layers has"
        )


@torch.inference_mode()
def gate_by_token(
    model: DoublerouteModel, packed: Packed, rows: Sequence[int], tasks: Sequence[str], pad_id: int
) -> list[dict[str, Any]]:
    """What the gate gives each token of these packed rows: for each {"ids" [tokens]} and, with a gate,
    {"experts": the names, shared first, "tasks": {task: {"weights" [tokens, experts], "task" [experts],
    "token" [tokens, experts]}}}.

    ``weights`` are those that the answer is made with; ``task`` and ``token`` what the task's part of the
    gate alone and the token's part alone would give, None where the router has not got that part.
    """
    device = next(model.heads.parameters()).device
    found: list[dict[str, Any]] = [{} for _ in rows]
    for chosen in by_tokens(packed.lengths[list(rows)], TOKENS_A_PASS):
        inputs = inputs_of(parts_of(packed, np.array(rows)[chosen]), pad_id).to(device)
        seen: dict[int, dict[str, Any]] = {}

        def look(router: ExpertsRouter, states: Tensor, _: Tensor, task: Tensor, to: Any = seen) -> None:
            for number in task.unique():  # of a pass for all tasks, or for one
                rows = task == number
                to[int(number)] = _parts(router, states[rows], task[rows])

        with seen_gate(model, look):
            model(**inputs.keywords, tasks=tasks)
        for place, row in enumerate(chosen.tolist()):
            length = int(inputs.mask[place].sum())
            found[row]["ids"] = inputs.ids[place, :length].tolist()
            if seen:
                gates = {task: seen[model.task_numbers[task]] for task in tasks}
                found[row]["experts"] = next(iter(gates.values()))["names"]
                found[row]["tasks"] = {task: _of_row(gate, place, length) for task, gate in gates.items()}
    return found


def _parts(router: ExpertsRouter, states: Tensor, task: Tensor) -> dict[str, Any]:
    """The gate of one task in a pass and its parts, on the processor."""
    by_task, by_token = router.task_gate is not None, router.token_gate is not None
    own = [f"own {number}" for number in range(1, router.private + 1)]
    return {
        "names": [*map(str, range(1, router.experts + 1)), *own],
        "weights": router.gate(states, task).cpu(),
        "task": router.gate(states[:, :1], task, by_token=False).cpu() if by_task else None,
        "token": router.gate(states, task, by_task=False).cpu() if by_token else None,
    }


def _of_row(gate: Mapping[str, Any], place: int, length: int) -> dict[str, Any]:
    def plain(weights: Tensor) -> list[list[float]]:
        return [[round(each, 4) for each in token] for token in weights[place, :length].tolist()]

    return {
        "weights": plain(gate["weights"]),
        "task": plain(gate["task"])[0] if gate["task"] is not None else None,
        "token": plain(gate["token"]) if gate["token"] is not None else None,
    }
