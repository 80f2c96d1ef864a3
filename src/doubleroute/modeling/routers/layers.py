"""A learned mixture over the backbone's layers for each task."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from doubleroute.errors import ConfigError
from doubleroute.modeling.routers import Layers, Mask, Router, Sizes, States, Tasks


class LayersRouter(Router):
    """H' = H + u_task sum_l softmax(s_task)_l norm(H_l): the scalar mix of ELMo (Peters et al. 2018, eq. 1).

    The layers are the ``top`` ones of the backbone, the last one H itself; all of them and the embeddings
    when ``top`` is None. norm: to mean zero and variance one over the hidden units, without weights, as the
    layers of some families differ in scale by orders of magnitude. u [tasks] is zero at the start, s [tasks,
    layers] too: all layers weigh alike.
    """

    of_tasks = ("up", "mix")

    def __init__(self, sizes: Sizes, top: int | None = None) -> None:
        super().__init__(sizes)
        count = 1 + len(self.layers_read({"top": top}, sizes.layers))
        self.up = nn.Parameter(torch.zeros(sizes.tasks))
        self.mix = nn.Parameter(torch.zeros(sizes.tasks, count))

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
        """Weights of the layers, lowest first: float32 [rows, layers], sum one."""
        return self.mix[task].float().softmax(-1)

    def forward(self, states: States, mask: Mask, task: Tasks, layers: Layers | None = None) -> States:  # noqa: ARG002
        """Add the task's mixture of the layers' states of each token."""
        below = [] if layers is None else list(layers)
        with torch.autocast(states.device.type, enabled=False):
            weights = (self.weights(task) * self.up[task].float().unsqueeze(-1)).unbind(-1)
            mixed = torch.zeros_like(states, dtype=torch.float32)
            for weight, layer in zip(weights, [*below, states], strict=True):
                normed = functional.layer_norm(layer.float(), (self.sizes.hidden,))
                mixed = mixed + weight[:, None, None] * normed
        return states + mixed.to(states.dtype)
