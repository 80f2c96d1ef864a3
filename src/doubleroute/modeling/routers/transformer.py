"""A small transformer that reads the backbone's states and the task."""

from pathlib import Path

import torch
from torch import nn

from doubleroute.modeling.routers import Layers, Mask, Router, Sizes, States, Tasks


class TransformerRouter(Router):
    """H' = H + U T(D H + e_task): one encoder layer (Vaswani et al. 2017; norm first, Xiong et al. 2020).

    D [hidden, width] and the task's embedding e [tasks, width] lead in; U [width, hidden] leads out and is
    zero at the start, and so is e. Padding is never attended to.
    """

    of_tasks = ("task",)
    of_learning = Router.of_learning | {"dropout"}

    def __init__(self, sizes: Sizes, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__(sizes)
        self.down = nn.Linear(sizes.hidden, width)
        self.task = nn.Parameter(torch.zeros(sizes.tasks, width))
        self.layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout, "gelu", batch_first=True, norm_first=True
        )
        self.up = nn.Parameter(torch.zeros(width, sizes.hidden))

    def begin(self, root: Path) -> None:  # noqa: ARG002
        """Draw the attention's projections, which are no linear layers to torch."""
        nn.init.normal_(self.layer.self_attn.in_proj_weight, std=0.02)
        nn.init.zeros_(self.layer.self_attn.in_proj_bias)

    def forward(self, states: States, mask: Mask, task: Tasks, layers: Layers | None = None) -> States:  # noqa: ARG002
        """Add what the layer makes of the row and its task to each token's state."""
        given = self.down(states)
        given = given + self.task[task].to(given.dtype)[:, None, :]
        features = self.layer(given, src_key_padding_mask=mask == 0)
        return states + (features @ self.up.to(features.dtype)).to(states.dtype)
