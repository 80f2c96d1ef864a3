"""The models that one run trains, to be compared at equal steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from doubleroute.config import NoRouter, Project, Router
from doubleroute.errors import ConfigError
from doubleroute.modeling.backbone import layer_count, locate
from doubleroute.modeling.routers import resolve, router_class

Name = Literal["routed", "plain", "frozen"]


@dataclass(frozen=True)
class Variant:
    """One model to train. ``router``: its resolved options. ``depth``: how many lower layers are frozen, so
    that their outputs can be stored; None when everything learns. ``stored``: the layers, lowest first, whose
    outputs stand in for those: the last frozen one, and those below it that the router reads."""

    router: dict[str, Any]
    trainable: str | int
    depth: int | None
    stored: tuple[int, ...] = ()


def variant(project: Project, name: Name, router: Router | None = None) -> Variant:
    """``routed``: the project's model, or that with another ``router``; ``plain``: the same without router;
    ``frozen``: a linear head on the frozen backbone, what there is before fine-tuning.

    Raises ConfigError when more top layers are to learn, or to be read, than the backbone has, and ModelError
    when the router's own source is no model.
    """
    chosen = (router or project.router) if name == "routed" else NoRouter()
    options = resolve(chosen.model_dump(mode="json"), project.root)
    trainable = "frozen" if name == "frozen" else project.training.trainable
    if trainable == "all":
        return Variant(options, trainable, None)
    layers = layer_count(locate(project.backbone.source, project.root))
    top = 0 if trainable == "frozen" else int(trainable)
    if top > layers:
        raise ConfigError(f"training.trainable: {top} layers wanted, but the backbone has {layers}")
    depth = layers - top
    read = router_class(options).layers_read(options, layers)
    stored = (*(layer for layer in read if 0 < layer < depth), depth) if depth else ()
    return Variant(options, trainable, depth, stored)


def variants(project: Project, names: Sequence[Name] | None = None) -> dict[Name, Variant]:
    """The models of these names; by default the project's and the baselines trained beside it."""
    if names is None:
        names = ["routed", *(name for name in project.evaluation.baselines if name != "majority")]
    return {name: variant(project, name) for name in names}
