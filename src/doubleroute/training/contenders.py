"""What `doubleroute compare` compares: a model for each task, one without router, a dense layer, routers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from doubleroute.config import NoRouter, Project, Router
from doubleroute.modeling.routers import Sizes
from doubleroute.training.crew import Order
from doubleroute.training.dense import dense_like
from doubleroute.training.effects import Couple
from doubleroute.training.plan import Plan

Role = Literal["single", "shared", "dense", "router"]


@dataclass(frozen=True)
class Contender:
    """One model. ``task``: the one that it learns alone (role single); ``like``: the router that a dense
    layer is as large as."""

    name: str
    role: Role
    router: Router
    task: str | None = None
    like: str | None = None

    @property
    def title(self) -> str:
        """The name, with its task where it has one alone."""
        return self.name if self.task is None else f"{self.name} {self.task}"

    def order(self, shared: Order, seed: int) -> Order:
        """Its fit with this seed. ``shared``: the order of the project's model, whose stages are read."""
        project = shared.project.model_copy(update={"seed": seed, "router": self.router})
        return replace(shared, project=project.at(shared.project.root), plan=Plan(alone=self.task))


def contenders(project: Project, routers: Mapping[str, Router], sizes: Sizes) -> list[Contender]:
    """The models of a comparison of these routers, by name, between parts of these sizes.

    With one task there is no ``single``: it would be ``shared``. Each router has its own dense layer,
    named ``dense`` where there is one router.
    """
    found = [Contender("shared", "shared", NoRouter())]
    if len(project.tasks) > 1:
        found = [Contender("single", "single", NoRouter(), task) for task in project.tasks] + found
    for name, router in routers.items():
        dense = "dense" if len(routers) == 1 else f"dense like {name}"
        layer = dense_like(router, sizes, project.root)
        found += [Contender(dense, "dense", layer, like=name), Contender(name, "router", router)]
    return found


def couples(models: Sequence[Contender]) -> list[Couple]:
    """Who is compared with whom on every task: routers with shared, with their dense layer and with single;
    dense layers with shared; shared with single."""
    single = ["single"] if any(each.role == "single" for each in models) else []
    found: list[Couple] = []
    for dense in (each for each in models if each.role == "dense"):
        assert dense.like is not None
        found += [(dense.like, other) for other in ("shared", dense.name, *single)]
        found.append((dense.name, "shared"))
    return [*found, *(("shared", other) for other in single)]
