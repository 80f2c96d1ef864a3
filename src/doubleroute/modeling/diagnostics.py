"""What a router's gate does while a model answers: how much each expert carries, how decided it is, and what
is left of the answers when something else stands in its place. And which layers a mixture of them reads."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from doubleroute.data.batches import Inputs
from doubleroute.data.tokens import Packed
from doubleroute.kinds import kind
from doubleroute.modeling.answering import in_passes
from doubleroute.modeling.model import DoublerouteModel
from doubleroute.modeling.routers.experts import ExpertsRouter
from doubleroute.modeling.routers.layers import LayersRouter

#: An expert that no task gives this part of an even share is dead.
DEAD = 0.1


class GateWatch:
    """Sums of the gate's weights over real tokens, by task; padding never counts.

    Of the ``experts`` weights of a token the last ``private`` are those of its task's own experts.
    """

    def __init__(self, tasks: list[str], experts: int, private: int = 0) -> None:
        self.tasks, self.private = tasks, private
        self.load = torch.zeros(len(tasks), experts, dtype=torch.float64)
        self.entropy = torch.zeros(len(tasks), dtype=torch.float64)
        self.tokens = torch.zeros(len(tasks), dtype=torch.float64)

    def add(self, weights: Tensor, mask: Tensor, task: Tensor) -> None:
        """weights [rows, seq, experts], non-negative, sum one; mask [rows, seq]; task [rows]."""
        real = mask.double().cpu()
        weights = weights.double().cpu()
        entropy = -(weights * weights.clamp_min(1e-12).log()).sum(-1)
        task = task.cpu()
        self.load.index_add_(0, task, (weights * real.unsqueeze(-1)).sum(1))
        self.entropy.index_add_(0, task, (entropy * real).sum(1))
        self.tokens.index_add_(0, task, real.sum(1))

    def as_dict(self) -> dict[str, Any]:
        """{"experts", "names", "dead", "tasks": {task: {"tokens", "load", "entropy"}}, "information",
        "similarity": {task: {task: cosine}}} of the tasks that were asked.

        ``load`` [experts]: mean weight, sums to one; the shared experts come first, then each task's
        ``private`` ones, and no task has another's. ``entropy``: mean over tokens, as a share of that of
        equal weights for all that a task has, in [0, 1]; 0 with one expert. ``dead``: the experts to which no
        task gives DEAD of an even share on average. ``information``: ``mutual_information`` of the loads;
        ``similarity``: their cosine, in [0, 1]. Both compare tasks on their own rows: they also differ where
        only the texts do.
        """
        has = self.load.shape[1]
        asked = [number for number in range(len(self.tasks)) if self.tokens[number] > 0]
        loads = self._loads(asked)
        most = torch.tensor(has).log().item() if has > 1 else 1.0
        names = [self.tasks[number] for number in asked]
        length = torch.linalg.vector_norm(loads, dim=-1)
        cosine = (loads @ loads.T / (length[:, None] * length)).tolist()
        return {
            "experts": loads.shape[1],
            "names": self._names(names),
            "dead": (loads < DEAD / has).all(0).nonzero().flatten().tolist() if asked else [],
            "tasks": {
                self.tasks[number]: {
                    "tokens": int(self.tokens[number]),
                    "load": [round(each, 6) for each in load],
                    "entropy": round(float(self.entropy[number] / self.tokens[number]) / most, 6),
                }
                for number, load in zip(asked, loads.tolist(), strict=True)
            },
            "information": round(mutual_information(loads.tolist()), 6) if asked else None,
            "similarity": {
                name: {other: round(each, 6) for other, each in zip(names, row, strict=True)}
                for name, row in zip(names, cosine, strict=True)
            },
        }

    def _loads(self, asked: Sequence[int]) -> Tensor:
        """Mean weights of the tasks that were asked, each private expert in a column of its own."""
        shared = self.load.shape[1] - self.private
        loads = torch.zeros(len(asked), shared + self.private * len(asked), dtype=torch.float64)
        for place, number in enumerate(asked):
            mean = self.load[number] / self.tokens[number]
            loads[place, :shared] = mean[:shared]
            first = shared + place * self.private
            loads[place, first : first + self.private] = mean[shared:]
        return loads

    def _names(self, tasks: Sequence[str]) -> list[str]:
        shared, own = self.load.shape[1] - self.private, range(1, self.private + 1)
        return [
            *map(str, range(1, shared + 1)),
            *(f"{task}'s own {number}" for task in tasks for number in own),
        ]


def mutual_information(loads: Sequence[Sequence[float]]) -> float:
    """I(expert; task) in bits, each task as likely as the other: how much the expert that a token is given to
    says about its task. ``loads`` [tasks, experts], rows sum to one. At least 0, at most the log2 of the
    smaller number: 0 when all tasks use the experts alike (Cover & Thomas 2006, eq. 2.28)."""
    given = torch.tensor(loads, dtype=torch.float64)
    mean = given.mean(0, keepdim=True).clamp_min(1e-300)
    bits = given * (given.clamp_min(1e-300) / mean).log2()
    return max(0.0, float(bits.sum(-1).mean()))


def gated(model: DoublerouteModel) -> ExpertsRouter | None:
    """The router of the model that has a gate, alone or in a stack; None when there is none."""
    return next((each for each in model.router.parts if isinstance(each, ExpertsRouter)), None)


@contextmanager
def seen_gate(
    model: DoublerouteModel, look: Callable[[ExpertsRouter, Tensor, Tensor, Tensor], None]
) -> Iterator[None]:
    """As long as this lasts, call ``look`` with the router that has a gate and what that weighs in each pass,
    for all tasks at once or for one after the other: states [rows, seq, hidden], mask [rows, seq], task
    [rows]. Never, for a router without a gate."""
    router = gated(model)
    if router is None:
        yield
        return

    before = router.instead

    def tell(weights: Tensor, states: Tensor, mask: Tensor, task: Tensor) -> Tensor:
        with torch.inference_mode():
            look(router, states, mask, task)
        return weights if before is None else before(weights, states, mask, task)

    router.instead = tell
    try:
        yield
    finally:
        router.instead = before


@contextmanager
def watched_gate(model: DoublerouteModel) -> Iterator[GateWatch | None]:
    """Watch the gate of a model's router as long as this lasts; None for a router without one."""
    router = gated(model)
    if router is None:
        yield None
        return
    watch = GateWatch(list(model.task_numbers), router.experts + router.private, router.private)
    with seen_gate(
        model, lambda router, states, mask, task: watch.add(router.gate(states, task), mask, task)
    ):
        yield watch


def layer_mixture(model: DoublerouteModel) -> dict[str, Any] | None:
    """{"layers": names, lowest first, "tasks": {task: {"weights" [layers], "strength", "entropy"}},
    "information"} of a router's mixture of layers, alone or in a stack; None without one.

    ``weights`` sum to one, and ``strength`` is what their mixture is multiplied with before it is added: near
    zero the weights say nothing. Both are learned for each task and are the same for all its tokens. A layer
    above the one that a task reads has no weight.
    ``entropy`` as of ``GateWatch``; ``information``: ``mutual_information`` of layer and task, None where
    tasks read up to different layers, which alone would tell them apart.
    """
    router = next((each for each in model.router.parts if isinstance(each, LayersRouter)), None)
    if router is None:
        return None
    numbers = torch.arange(len(model.task_numbers), device=router.up.device)
    with torch.inference_mode():
        own, strength = router.weights(numbers).double().cpu(), router.strength(numbers).tolist()
    depths = list(model.depths.values())
    layers = sorted({*(layer for layer in router.reads if layer < max(depths)), *depths})
    weights, entropy = torch.zeros(len(depths), len(layers), dtype=torch.float64), []
    for number, depth in enumerate(depths):
        read = [(layer, place) for place, layer in enumerate(router.reads) if layer < depth] + [(depth, -1)]
        for layer, place in read:
            weights[number, layers.index(layer)] = own[number, place]
        bits = -(own[number] * own[number].clamp_min(1e-12).log()).sum()
        entropy.append(bits / math.log(len(read)) if len(read) > 1 else bits)
    return {
        "layers": [str(layer) if layer else "embeddings" for layer in layers],
        "tasks": {
            task: {
                "weights": [round(each, 6) for each in weights[number].tolist()],
                "strength": round(strength[number], 6),
                "entropy": round(float(entropy[number]), 6),
            }
            for task, number in model.task_numbers.items()
        },
        "information": round(mutual_information(weights.tolist()), 6) if len(set(depths)) == 1 else None,
    }


#: What can stand in the place of a gate, and what that tells.
REPLACEMENTS = {
    "uniform": "equal weights for all experts that a task has",
    "shuffled": "the weights of another row of the same task",
    "task": "the task's part of the gate alone",
    "token": "the token's part of the gate alone",
}


def replacements(router: ExpertsRouter) -> list[str]:
    """Which of REPLACEMENTS are another gate than this router's: one that sees no token has one gate for all
    rows of a task, and one that sees the task or the token alone has no other part to leave out."""
    by_task, by_token = router.task_gate is not None, router.token_gate is not None
    if not by_token:
        return ["uniform"] if by_task else []
    return ["uniform", "shuffled", "task", "token"] if by_task else ["uniform", "shuffled"]


@contextmanager
def replaced_gate(router: ExpertsRouter, by: str) -> Iterator[None]:
    """Put one of REPLACEMENTS in the place of a router's gate as long as this lasts.

    ``shuffled``: each row of a pass is weighed by the gate of the next one, the last by that of the first;
    where that one has fewer tokens its gate is read again from its beginning. A pass holds rows of similar
    length.
    """

    def stand_in(weights: Tensor, states: Tensor, mask: Tensor, task: Tensor) -> Tensor:
        if by == "uniform":
            return torch.full_like(weights, 1 / weights.shape[-1])
        if by == "shuffled":
            return _of_the_next_row(weights, mask)
        return router.gate(states, task, by_task=by == "task", by_token=by == "token")

    before: Callable[..., Tensor] | None = router.instead
    router.instead = stand_in
    try:
        yield
    finally:
        router.instead = before


def _of_the_next_row(weights: Tensor, mask: Tensor) -> Tensor:
    lengths = mask.sum(-1).clamp_min(1).roll(-1)
    places = torch.arange(weights.shape[1], device=weights.device)[None, :] % lengths[:, None]
    return weights.roll(-1, 0).gather(1, places[..., None].expand_as(weights))


@torch.inference_mode()
def logits_by_gate(
    model: DoublerouteModel,
    router: ExpertsRouter,
    packed: Packed,
    tasks: Sequence[str],
    pad_id: int,
    words: Sequence[int] | None = None,
) -> dict[str, dict[str, list[np.ndarray]]]:
    """The logits (as ``inference.logits_of`` gives them) of each of the tasks, which read one layer, with the
    gate of the model's ``router`` as it was learned, "learned", and with each of its ``replacements``, of a
    single row without "shuffled"; one pass of the backbone for all."""
    device = next(model.heads.parameters()).device
    gates = ["learned", *(by for by in replacements(router) if by != "shuffled" or len(packed) > 1)]
    names = {f"{by} {task}": (by, task) for by in gates for task in tasks}
    per_token = {task: kind(model.config.tasks[task]["kind"]).per_token for task in tasks}

    def run(inputs: Inputs[np.ndarray]) -> dict[str, np.ndarray]:
        given = inputs.to(device)
        states, layers = model.encode_layers(given.ids, given.mask, given.types, tasks)
        found = {}
        for name, (by, task) in names.items():
            rows = {task: torch.arange(len(states), device=device)}
            with nullcontext() if by == "learned" else replaced_gate(router, by):
                logits = model.answer(states, given.mask, rows, layers)[task]
                found[name] = logits.float().cpu().numpy()
        return found

    of_tokens = {name: per_token[task] for name, (_, task) in names.items()}
    # A row alone in its pass would be weighed by its own gate instead of another's.
    found = in_passes(run, packed, of_tokens, pad_id, words, least=2)
    return {task: {by: found[f"{by} {task}"] for by in gates} for task in tasks}
