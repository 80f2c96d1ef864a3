"""A square matrix for each task."""

from collections.abc import Sequence

import torch
from torch import nn

from doubleroute.modeling.routers import Addition, Layers, Mask, Router, Sizes, States, Tasks


class LinearRouter(Router):
    """H' = H + U_task H, with U [tasks, hidden, hidden] zero at the start."""

    of_tasks = ("up",)

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.up = nn.Parameter(torch.zeros(sizes.tasks, sizes.hidden, sizes.hidden))

    def forward(self, states: States, mask: Mask, task: Tasks, layers: Layers | None = None) -> States:  # noqa: ARG002
        """Add the task's linear map of each token's state."""
        return states + torch.bmm(states, self.up[task].to(states.dtype))

    def additions(self, states: States, mask: Mask, tasks: Sequence[int]) -> list[Addition]:  # noqa: ARG002
        """The states themselves, and each task's U."""
        return [Addition(states, self.up[number]) for number in tasks]
