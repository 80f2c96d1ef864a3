"""What a router's gate does while a model answers: how much each expert carries, and how decided it is."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from doubleroute.modeling.model import DoublerouteModel

#: An expert that no task gives this part of an even share is dead.
DEAD = 0.1


class GateWatch:
    """Sums of the gate's weights over real tokens, by task; padding never counts."""

    def __init__(self, tasks: list[str], experts: int) -> None:
        self.tasks = tasks
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
        """{"experts", "dead", "tasks": {task: {"tokens", "load", "entropy"}}} of the tasks that were asked.

        ``load`` [experts]: mean weight, sums to one; ``entropy``: mean over tokens, as a share of that of
        equal weights, in [0, 1]; 0 with one expert. ``dead``: the experts to which no task gives DEAD /
        experts on average.
        """
        experts = self.load.shape[1]
        asked = [number for number in range(len(self.tasks)) if self.tokens[number] > 0]
        loads = {number: (self.load[number] / self.tokens[number]).tolist() for number in asked}
        most = torch.tensor(experts).log().item() if experts > 1 else 1.0
        return {
            "experts": experts,
            "dead": [
                expert
                for expert in range(experts)
                if asked and all(loads[number][expert] < DEAD / experts for number in asked)
            ],
            "tasks": {
                self.tasks[number]: {
                    "tokens": int(self.tokens[number]),
                    "load": [round(each, 6) for each in loads[number]],
                    "entropy": round(float(self.entropy[number] / self.tokens[number]) / most, 6),
                }
                for number in asked
            },
        }


@contextmanager
def watched_gate(model: DoublerouteModel) -> Iterator[GateWatch | None]:
    """Watch the gate of a model's router as long as this lasts; None for a router without one."""
    router: Any = model.router
    gate = getattr(router, "gate", None)
    if gate is None:
        yield None
        return
    watch = GateWatch(list(model.task_numbers), router.experts)

    def look(_: Any, inputs: tuple[Tensor, Tensor, Tensor]) -> None:
        states, mask, task = inputs
        with torch.inference_mode():
            watch.add(gate(states, task), mask, task)

    hook = router.register_forward_pre_hook(look)
    try:
        yield watch
    finally:
        hook.remove()
