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
    outputs stand in for those: the last frozen one, and those below it that the router or a task reads."""

    router: dict[str, Any]
    trainable: str | int
    depth: int | None
    stored: tuple[int, ...] = ()


def variant(project: Project, name: Name, router: Router | None = None, rung: RungName = "whole") -> Variant:
    """``routed``: the project's model, or that with another ``router``; ``plain``: the same without router;
    ``frozen``: a linear head on the frozen backbone, what there is before fine-tuning. On a lower ``rung``
    less of the backbone learns: nothing, or the upper half of what may.

    Of a backbone that no task reads to its end the top is the highest layer that one reads. Raises
    ConfigError when more layers are to learn, or to be read, than there are, and ModelError when the router's
    own source is no model.
    """
    chosen = (router or project.router) if name == "routed" else NoRouter()
    options = resolve(chosen.model_dump(mode="json"), project.root)
    trainable = "frozen" if name == "frozen" or rung == "heads" else project.training.trainable
    whole = trainable == "all" and rung == "whole"
    early = {task: of.head.layer for task, of in project.tasks.items() if of.head.layer is not None}
    layers = 0 if whole and not early else layer_count(locate(project.backbone.source, project.root))
    for task, layer in early.items():
        if layer > layers:
            raise ConfigError(
                f"tasks.{task}.head.layer: {layer} wanted, but the backbone has {layers} layers"
            )
    if whole:
        return Variant(options, trainable, None)
    height = max(early.values()) if len(early) == len(project.tasks) else layers
    top = {"frozen": 0, "all": height}[trainable] if isinstance(trainable, str) else trainable
    if top > height:
        has = "the backbone has" if height == layers else "the tasks read"
        raise ConfigError(f"training.trainable: {top} layers wanted, but {has} {height}")
    if rung == "top":
        trainable = top = -(-top // 2)
    depth = height - top
    if rung == "heads":  # solved on states of their own, which are kept row by row
        return Variant(options, trainable, depth)
    read = {*router_class(options).layers_read(options, layers), *early.values()}
    stored = (*sorted(layer for layer in read if 0 < layer < depth), depth) if depth else ()
    return Variant(options, trainable, depth, stored)


def variants(project: Project, names: Sequence[Name] | None = None) -> dict[Name, Variant]:
    """The models of these names; by default the project's and the baselines trained beside it."""
    if names is None:
        names = ["routed", *(name for name in project.evaluation.baselines if name != "majority")]
    return {name: variant(project, name) for name in names}
