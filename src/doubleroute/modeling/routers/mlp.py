"""A shared two-layer body and an up-projection for each task."""

import torch
from torch import nn

from doubleroute.modeling.routers import Mask, Router, States, Tasks


class MlpRouter(Router):
    """H' = H + U_task ReLU(W2 ReLU(W1 H)), with U [tasks, width, hidden] zero at the start."""

    of_tasks = ("up",)

    def __init__(self, hidden: int, tasks: int, width: int) -> None:
        super().__init__(hidden, tasks)
        self.body = nn.Sequential(nn.Linear(hidden, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.up = nn.Parameter(torch.zeros(tasks, width, hidden))

    def forward(self, states: States, mask: Mask, task: Tasks) -> States:  # noqa: ARG002
        """Add the task's projection of the shared features of each token's state."""
        features = self.body(states)
        return states + torch.bmm(features, self.up[task].to(features.dtype)).to(states.dtype)
