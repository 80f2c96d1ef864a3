"""R, the routing layer: one class in one file for each kind, found by its name.

A router maps H [rows, seq, hidden], the padding mask [rows, seq] and the task of each row [rows] to H'
of the same shape, as H' = H + U f(H). U starts at zero, so every router begins as exactly the plain
fine-tuned baseline. Nothing is averaged over the rows of a batch.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar

from jaxtyping import Float, Int
from torch import Tensor, nn

States = Float[Tensor, "rows seq hidden"]
Mask = Int[Tensor, "rows seq"]
Tasks = Int[Tensor, "rows"]


class Router(nn.Module, ABC):
    """The common form of all routers."""

    #: The parameters whose first axis is the task; zero for a task that was never learned.
    of_tasks: ClassVar[tuple[str, ...]] = ()

    def __init__(self, hidden: int, tasks: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.tasks = tasks

    @abstractmethod
    def forward(self, states: States, mask: Mask, task: Tasks) -> States:
        """states [rows, seq, hidden], mask [rows, seq], task [rows] -> routed states [rows, seq, hidden]."""


def make_router(options: Mapping[str, Any], hidden: int, tasks: int) -> Router:
    """The router of ``options['kind']``: the class ``<Kind>Router`` in the module of that name."""
    values = {name: value for name, value in options.items() if name not in ("kind", "learning_rate")}
    kind = str(options["kind"])
    module = import_module(f"doubleroute.modeling.routers.{kind}")
    router: Router = getattr(module, f"{kind.capitalize()}Router")(hidden, tasks, **values)
    return router
