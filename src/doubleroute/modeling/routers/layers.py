"""A learned mixture over the backbone's layers for each task."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from doubleroute.errors import ConfigError
from doubleroute.modeling.routers import Layers, Mask, Router, Sizes, States, Tasks


class LayersRouter(Router):
    """H' = H + u_task sum_l softmax(s_task)_l norm(H_l): the scalar mix of ELMo (Peters et al. 2018, eq. 1).
    With a ``bottleneck`` of r units H' = H + U_task sum_l V_task,l norm(H_l): what a task reads of each layer
    are r directions of its own, so that with r outputs a linear head sees all layers side by side.

    The layers are the ``top`` ones of the backbone, the last one H itself; all of them and the embeddings
    when ``top`` is None. norm: to mean zero and variance one over the hidden units, without weights, as the
    layers of some families differ in scale by orders of magnitude. u [tasks] is zero at the start, s [tasks,
    layers] too: all layers weigh alike. U [tasks, hidden, r] is zero, V [tasks, layers, r, hidden] drawn.
    """

    def __init__(self, sizes: Sizes, top: int | None = None, bottleneck: int | None = None) -> None:
        super().__init__(sizes)
        count = 1 + len(self.layers_read({"top": top}, sizes.layers))
        self.bottleneck = bottleneck
        if bottleneck is None:
            self.of_tasks = ("up", "mix")
            self.up = nn.Parameter(torch.zeros(sizes.tasks))
            self.mix = nn.Parameter(torch.zeros(sizes.tasks, count))
        else:
            self.of_tasks = ("up", "down")
            self.up = nn.Parameter(torch.zeros(sizes.tasks, sizes.hidden, bottleneck))
            self.down = nn.Parameter(torch.zeros(sizes.tasks, count, bottleneck, sizes.hidden))

    def begin(self, root: Path) -> None:  # noqa: ARG002
        """Draw V."""
        if self.bottleneck is not None:
            nn.init.normal_(self.down, std=0.02)

    @classmethod
    def layers_read(cls, options: Mapping[str, Any], layers: int) -> tuple[int, ...]:
        """All layers of the mixture but the last. Raises ConfigError when there are not so many."""
        top = options["top"] or layers + 1
        if top > layers + 1:
            raise ConfigError(
                f"router.top: {top} layers wanted, but the backbone has {layers} and its embeddings: "
                f"{layers + 1} at most"
            )
        return tuple(range(layers + 1 - top, layers))

    def weights(self, task: Tasks) -> Float[Tensor, "rows layers"]:
        """Weights of the layers, lowest first: float32 [rows, layers], sum one. With a bottleneck the share
        of each layer's U V_l in the sum of their squares; equal where that is zero."""
        if self.bottleneck is None:
            return self.mix[task].float().softmax(-1)
        squares = self._squares(task)
        whole = squares.sum(-1, keepdim=True)
        even = torch.full_like(squares, 1 / squares.shape[-1])
        return torch.where(whole > 0, squares / whole.clamp_min(1e-30), even)

    def strength(self, task: Tasks) -> Float[Tensor, " rows"]:
        """What the mixture is multiplied with: u; with a bottleneck the root of that sum of squares."""
        if self.bottleneck is None:
            return self.up[task].float()
        return self._squares(task).sum(-1).sqrt()

    def _squares(self, task: Tasks) -> Float[Tensor, "rows layers"]:
        """The sum of the squares of U V_l for each layer, which is trace(U'U V_l V_l'): products of the
        bottleneck's size alone."""
        up, down = self.up[task].float(), self.down[task].float()
        ups = torch.einsum("nhr,nhs->nrs", up, up)
        downs = torch.einsum("nlrk,nlsk->nlrs", down, down)
        return torch.einsum("nrs,nlrs->nl", ups, downs).clamp_min(0)

    def forward(self, states: States, mask: Mask, task: Tasks, layers: Layers | None = None) -> States:  # noqa: ARG002
        """Add what the task reads of the layers' states of each token."""
        below = [*([] if layers is None else layers), states]
        with torch.autocast(states.device.type, enabled=False):
            normed = [functional.layer_norm(each.float(), (self.sizes.hidden,)) for each in below]
            if self.bottleneck is None:
                weights = (self.weights(task) * self.strength(task).unsqueeze(-1)).unbind(-1)
                added = torch.zeros_like(normed[-1])
                for weight, layer in zip(weights, normed, strict=True):
                    added = added + weight[:, None, None] * layer
            else:
                down = self.down[task].float().unbind(1)
                read = [torch.bmm(each, v.transpose(1, 2)) for each, v in zip(normed, down, strict=True)]
                added = torch.bmm(torch.stack(read).sum(0), self.up[task].float().transpose(1, 2))
        return states + added.to(states.dtype)
