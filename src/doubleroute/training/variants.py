"""The models that one run trains, to be compared at equal steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from doubleroute.config import NoRouter, Project, Router
from doubleroute.errors import ConfigError
from doubleroute.modeling.backbone import layer_count
from doubleroute.modeling.routers import resolve, router_class
from doubleroute.modeling.source import locate

Name = Literal["routed", "plain", "frozen"]
RungName = Literal["heads", "top", "whole"]


@dataclass(frozen=True)
class Variant:
    """One model to train. ``router``: its resolved options. ``depth``: how many lower layers are frozen, so
    that their outputs can be stored; None when everything learns. ``stored``: the layers, lowest first, whose
    outputs stand in for those: the last frozen one, and those below it that the router reads."""

    router: dict[str, Any]
    trainable: str | int
    depth: int | None
    stored: tuple[int, ...] = ()


def variant(project: Project, name: Name, router: Router | None = None, rung: RungName = "whole") -> Variant:
    """``routed``: the project's model, or that with another ``router``; ``plain``: the same without router;
    ``frozen``: a linear head on the frozen backbone, what there is before fine-tuning. On a lower ``rung``
    less of the backbone learns: nothing, or the upper half of what may.

    Raises ConfigError when more top layers are to learn, or to be read, than the backbone has, and ModelError
    when the router's own source is no model.
    """
    chosen = (router or project.router) if name == "routed" else NoRouter()
    options = resolve(chosen.model_dump(mode="json"), project.root)
    trainable = "frozen" if name == "frozen" or rung == "heads" else project.training.trainable
    if trainable == "all" and rung == "whole":
        return Variant(options, trainable, None)
    layers = layer_count(locate(project.backbone.source, project.root))
    top = {"frozen": 0, "all": layers}[trainable] if isinstance(trainable, str) else trainable
    if top > layers:
        raise ConfigError(f"training.trainable: {top} layers wanted, but the backbone has {layers}")
    if rung == "top":
        trainable = top = -(-top // 2)
    depth = layers - top
    read = router_class(options).layers_read(options, layers)
    if rung == "heads":  # solved on states of their own, which are kept row by row
        return Variant(options, trainable, depth)
    stored = (*(layer for layer in read if 0 < layer < depth), depth) if depth else ()
    return Variant(options, trainable, depth, stored)


def variants(project: Project, names: Sequence[Name] | None = None) -> dict[Name, Variant]:
    """The models of these names; by default the project's and the baselines trained beside it."""
    if names is None:
        names = ["routed", *(name for name in project.evaluation.baselines if name != "majority")]
    return {name: variant(project, name) for name in names}
