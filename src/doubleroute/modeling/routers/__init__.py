"""R, the routing layer: one class in one file for each kind, found by its name.

A router maps H [rows, seq, hidden], the padding mask [rows, seq] and the task of each row [rows] to H'
of the same shape, as H' = H + U f(H). U starts at zero, so every router begins as exactly the plain
fine-tuned baseline. Nothing is averaged over the rows of a batch.

Another kind is a class ``<Kind>Router`` in a file of that name here, and its options in
``config/routers.py``.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from jaxtyping import Float, Int
from torch import Tensor, nn

States = Float[Tensor, "rows seq hidden"]
Mask = Int[Tensor, "rows seq"]
Tasks = Int[Tensor, "rows"]
Layers = Mapping[int, Float[Tensor, "rows seq hidden"]]


class Sizes(NamedTuple):
    """What a router stands between: the width of the states, how many tasks there are, how many layers the
    backbone has, and after which of them each task reads (empty: all after the last one)."""

    hidden: int
    tasks: int
    layers: int
    depths: tuple[int, ...] = ()


class Addition(NamedTuple):
    """U f(H) of one task before U: features [rows, seq, units] and up [units, hidden]."""

    features: Tensor
    up: Tensor


class Router(nn.Module, ABC):
    """The common form of all routers.

    ``of_tasks``: its parameters whose first axis is the task; fresh for a task that was never learned.
    ``learning_rate``: of its parameters; None: the heads'. ``reads``: the layers below the last one whose
    states it reads, lowest first (0: the embeddings). ``penalty``: what a forward pass in training mode adds
    to the loss, until ``take_penalty`` takes it. ``of_learning``: options that say only how it learns: with
    others the same weights make the same router.
    """

    of_learning: ClassVar[frozenset[str]] = frozenset({"learning_rate"})
    of_tasks: tuple[str, ...] = ()
    learning_rate: float | None = None
    reads: tuple[int, ...] = ()
    penalty: Tensor | None = None

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes

    @abstractmethod
    def forward(self, states: States, mask: Mask, task: Tasks, layers: Layers | None = None) -> States:
        """states [rows, seq, hidden], mask [rows, seq], task [rows] -> routed states [rows, seq, hidden].

        ``layers`` {depth: [rows, seq, hidden]}: the states of the layers in ``reads``, those alone that are
        below the highest one that a task of the rows reads; others beside them are passed over. None, or
        empty, where it reads none.
        """

    def additions(self, states: States, mask: Mask, tasks: Sequence[int]) -> list[Addition] | None:  # noqa: ARG002
        """What is added for each of some tasks, given by number, that all read the same rows: what does not
        depend on the task is computed once, and whoever averages tokens can do so before U. States and mask
        as in ``forward``, which computes the same; in evaluation mode. None: this router has no such form.
        """
        return None

    def begin(self, root: Path) -> None:
        """Give a fresh router the weights that it starts with, besides those of its linear layers; a loaded
        one has them. ``root``: the folder of the project, for what is read from files."""

    @property
    def parts(self) -> "list[Router]":
        """The routers that are applied, in order: this one, or those of a stack."""
        return [self]

    @property
    def unread(self) -> int:
        """How many numbers of its parameters are not used: a task's for the layer that it reads, which is its
        H, and for those above."""
        return 0

    def take_penalty(self) -> Tensor | None:
        """The last forward pass's addition to the loss, a float32 scalar, or None; it is given once."""
        found, self.penalty = self.penalty, None
        return found

    @classmethod
    def layers_read(cls, options: Mapping[str, Any], layers: int) -> tuple[int, ...]:  # noqa: ARG003
        """What ``reads`` is with these options on a backbone of so many layers."""
        return ()

    @classmethod
    def resolve(cls, options: Mapping[str, Any], root: Path) -> dict[str, Any]:  # noqa: ARG003
        """The project's options with all that building the router anew needs, for the model's config."""
        return dict(options)


def router_class(options: Mapping[str, Any]) -> type[Router]:
    """The class ``<Kind>Router`` in the module of the name ``options['kind']``."""
    kind = str(options["kind"])
    module = import_module(f"doubleroute.modeling.routers.{kind}")
    name = "".join(word.capitalize() for word in kind.split("_"))
    found: type[Router] = getattr(module, f"{name}Router")
    return found


def make_router(options: Mapping[str, Any], sizes: Sizes) -> Router:
    """The router of these resolved options; its weights are set by ``begin`` or by loading."""
    found = router_class(options)
    values = {name: value for name, value in options.items() if name not in ("kind", "learning_rate")}
    router = found(sizes, **values)
    router.learning_rate = options.get("learning_rate")
    router.reads = found.layers_read(options, sizes.layers)
    return router


def resolve(options: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """The options of a project's router with all that building it anew needs; plain JSON."""
    return router_class(options).resolve(options, root)


def kinds_of(options: Mapping[str, Any]) -> str:
    """What a router is called: its kind, or those of a stack, as in ``layers + experts``."""
    return (
        " + ".join(kinds_of(each) for each in options["routers"]) if "routers" in options else options["kind"]
    )
