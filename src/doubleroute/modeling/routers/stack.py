"""Routers one after the other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from doubleroute.modeling.routers import (
    Layers,
    Mask,
    Router,
    Sizes,
    States,
    Tasks,
    make_router,
    resolve,
    router_class,
)


class StackRouter(Router):
    """H' = R_n(... R_2(R_1(H))): each router reads what the one before it gives."""

    def __init__(self, sizes: Sizes, routers: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(sizes)
        made = [make_router(options, sizes) for options in routers]
        self.routers = nn.ModuleList(made)
        self.of_tasks = tuple(
            f"routers.{place}.{name}" for place, each in enumerate(made) for name in each.of_tasks
        )

    @property
    def parts(self) -> list[Router]:
        """The routers in order."""
        return [each for each in self.routers if isinstance(each, Router)]

    @property
    def unread(self) -> int:
        """The sum of the routers'."""
        return sum(each.unread for each in self.parts)

    def begin(self, root: Path) -> None:
        """Let each router begin."""
        for each in self.parts:
            each.begin(root)

    def take_penalty(self) -> Tensor | None:
        """The sum of the routers' penalties."""
        found = [penalty for each in self.parts if (penalty := each.take_penalty()) is not None]
        return torch.stack(found).sum() if found else None

    @classmethod
    def layers_read(cls, options: Mapping[str, Any], layers: int) -> tuple[int, ...]:
        """The layers that any of the routers reads."""
        read = [router_class(each).layers_read(each, layers) for each in options["routers"]]
        return tuple(sorted({depth for depths in read for depth in depths}))

    @classmethod
    def resolve(cls, options: Mapping[str, Any], root: Path) -> dict[str, Any]:
        """The options with those of each router resolved."""
        return {**options, "routers": [resolve(each, root) for each in options["routers"]]}

    def forward(self, states: States, mask: Mask, task: Tasks, layers: Layers | None = None) -> States:
        """Apply the routers in order; each reads what it wants of the layers."""
        for each in self.parts:
            states = each(states, mask, task, layers)
        return states
