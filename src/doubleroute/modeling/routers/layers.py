"""A learned mixture over the backbone's layers for each task."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from doubleroute.errors import ConfigError
from doubleroute.modeling.routers import Layers, Mask, Router, Sizes, States, Tasks


class LayersRouter(Router):
    """H' = H + u_task sum_l softmax(s_task)_l norm(H_l): the scalar mix of ELMo (Peters et al. 2018, eq. 1).
    With a ``bottleneck`` of r units H' = H + U_task sum_l V_task,l norm(H_l): what a task reads of each layer
    are r directions of its own, so that with r outputs a linear head sees all layers side by side.

    The layers are the ``top`` ones of the backbone, the last one H itself; all of them and the embeddings
    when ``top`` is None. A task that reads after a lower layer has that one's states as H, and of the layers
    only those below it. norm: to mean zero and variance one over the hidden units, without weights, as the
    layers of some families differ in scale by orders of magnitude. u [tasks] is zero at the start, s [tasks,
    layers] too: all layers weigh alike. U [tasks, hidden, r] is zero, V [tasks, layers, r, hidden] drawn.
    """

    def __init__(self, sizes: Sizes, top: int | None = None, bottleneck: int | None = None) -> None:
        super().__init__(sizes)
        below = self.layers_read({"top": top}, sizes.layers)
        count = 1 + len(below)
        #: For each task which of the layers it reads, H the last; None: every task reads all.
        self.open: list[list[bool]] | None = None
        if any(depth < sizes.layers for depth in sizes.depths):
            self.open = [[*(layer < depth for layer in below), True] for depth in sizes.depths]
        self._opens: dict[torch.device, Tensor] = {}
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
        of each layer's U V_l in the sum of their squares; equal where that is zero. A layer that the task
        does not read has weight zero."""
        is_open = self._open(task)
        if self.bottleneck is None:
            mix = self.mix[task].float()
            return (mix if is_open is None else mix.masked_fill(~is_open, -torch.inf)).softmax(-1)
        squares = self._squares(task)
        whole = squares.sum(-1, keepdim=True)
        even = torch.ones_like(squares) if is_open is None else is_open.to(squares.dtype)
        even = even / even.sum(-1, keepdim=True)
        return torch.where(whole > 0, squares / whole.clamp_min(1e-30), even)

    def strength(self, task: Tasks) -> Float[Tensor, " rows"]:
        """What the mixture is multiplied with: u; with a bottleneck the root of that sum of squares."""
        if self.bottleneck is None:
            return self.up[task].float()
        return self._squares(task).sum(-1).sqrt()

    def _squares(self, task: Tasks) -> Float[Tensor, "rows layers"]:
        """The sum of the squares of U V_l for each layer, which is trace(U'U V_l V_l'): products of the
        bottleneck's size alone."""
        up, down = self.up[task].float(), self._down(task)
        ups = torch.einsum("nhr,nhs->nrs", up, up)
        downs = torch.einsum("nlrk,nlsk->nlrs", down, down)
        return torch.einsum("nrs,nlrs->nl", ups, downs).clamp_min(0)

    @property
    def unread(self) -> int:
        """Those of s, or of V, of the layers that a task does not read."""
        closed = sum(each.count(False) for each in self.open or ())
        return closed * (self.bottleneck * self.sizes.hidden if self.bottleneck else 1)

    def _open(self, task: Tasks) -> Bool[Tensor, "rows layers"] | None:
        """Which layers the task of each row reads; None: all."""
        if self.open is None:
            return None
        if task.device not in self._opens:  # a copy to a GPU waits for what runs there
            with torch.inference_mode(False):  # it is read while learning too
                self._opens[task.device] = torch.tensor(self.open, device=task.device)
        return self._opens[task.device][task]

    def _down(self, task: Tasks) -> Float[Tensor, "rows layers units hidden"]:
        """V of each row's task, zero for the layers that the task does not read."""
        down, is_open = self.down[task].float(), self._open(task)
        return down if is_open is None else down * is_open[:, :, None, None]

    def forward(self, states: States, mask: Mask, task: Tasks, layers: Layers | None = None) -> States:  # noqa: ARG002
        """Add what the task reads of the layers' states of each token."""
        there = {} if layers is None else layers
        # By their place in the mixture. Where tasks read lower layers, those above are not there for them.
        read = {
            place: there[depth]
            for place, depth in enumerate(self.reads)
            if self.open is None or depth in there
        }
        read[len(self.reads)] = states
        with torch.autocast(states.device.type, enabled=False):
            width = (self.sizes.hidden,)
            normed = {place: functional.layer_norm(each.float(), width) for place, each in read.items()}
            if self.bottleneck is None:
                weights = (self.weights(task) * self.strength(task).unsqueeze(-1)).unbind(-1)
                added = torch.zeros_like(normed[len(self.reads)])
                for place, layer in normed.items():
                    added = added + weights[place][:, None, None] * layer
            else:
                down = self._down(task).unbind(1)
                found = [torch.bmm(layer, down[place].transpose(1, 2)) for place, layer in normed.items()]
                added = torch.bmm(torch.stack(found).sum(0), self.up[task].float().transpose(1, 2))
        return states + added.to(states.dtype)
