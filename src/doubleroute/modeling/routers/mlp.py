"""A shared two-layer body and an up-projection for each task."""

from collections.abc import Sequence

import torch
from torch import nn

from doubleroute.modeling.routers import Addition, Layers, Mask, Router, Sizes, States, Tasks


class MlpRouter(Router):
    """H' = H + U_task ReLU(W2 ReLU(W1 H)), with U [tasks, width, hidden] zero at the start."""

    of_tasks = ("up",)

    def __init__(self, sizes: Sizes, width: int) -> None:
        super().__init__(sizes)
        self.body = nn.Sequential(
            nn.Linear(sizes.hidden, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.up = nn.Parameter(torch.zeros(sizes.tasks, width, sizes.hidden))

    def forward(self, states: States, mask: Mask, task: Tasks, layers: Layers | None = None) -> States:  # noqa: ARG002
        """Add the task's projection of the shared features of each token's state."""
        features = self.body(states)
        return states + torch.bmm(features, self.up[task].to(features.dtype)).to(states.dtype)

    def additions(self, states: States, mask: Mask, tasks: Sequence[int]) -> list[Addition]:  # noqa: ARG002
        """The shared features, and each task's U."""
        features = self.body(states)
        return [Addition(features, self.up[number]) for number in tasks]
