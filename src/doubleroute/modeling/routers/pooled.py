"""What the whole row says, added to each of its tokens."""

import torch
from torch import nn

from doubleroute.modeling.routers import Layers, Mask, Router, Sizes, States, Tasks


class PooledRouter(Router):
    """H' = H + U_task GELU(D mean(H)), the mean over the row's tokens, the same addition at every token.

    U [tasks, width, hidden] is zero at the start; D is shared. The mean is taken in float32.
    """

    of_tasks = ("up",)

    def __init__(self, sizes: Sizes, width: int) -> None:
        super().__init__(sizes)
        self.down = nn.Linear(sizes.hidden, width)
        self.up = nn.Parameter(torch.zeros(sizes.tasks, width, sizes.hidden))

    def forward(self, states: States, mask: Mask, task: Tasks, layers: Layers | None = None) -> States:  # noqa: ARG002
        """Add the task's projection of the row's mean state to each token's state."""
        weights = mask.unsqueeze(-1).float()
        pooled = (states.float() * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True).clamp_min(1)
        features = nn.functional.gelu(self.down(pooled))
        return states + torch.bmm(features, self.up[task].to(features.dtype)).to(states.dtype)
