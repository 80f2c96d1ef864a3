"""The models that one run trains, to be compared at equal steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from doubleroute.config import NoRouter, Project, Router
from doubleroute.errors import ConfigError
from doubleroute.modeling.backbone import layer_count, locate

Name = Literal["routed", "plain", "frozen"]


@dataclass(frozen=True)
class Variant:
    """One model to train. ``depth``: how many lower layers are frozen, so that their outputs can be
    stored; None when everything learns."""

    router: Router
    trainable: str | int
    depth: int | None


def variant(project: Project, name: Name) -> Variant:
    """``routed``: the project's model; ``plain``: the same without router; ``frozen``: a linear head on
    the frozen backbone, what there is before fine-tuning.

    Raises ConfigError when more top layers are to learn than the backbone has.
    """
    router = project.router if name == "routed" else NoRouter()
    trainable = "frozen" if name == "frozen" else project.training.trainable
    if trainable == "all":
        return Variant(router, trainable, None)
    layers = layer_count(locate(project.backbone.source, project.root))
    top = 0 if trainable == "frozen" else int(trainable)
    if top > layers:
        raise ConfigError(f"training.trainable: {top} layers wanted, but the backbone has {layers}")
    return Variant(router, trainable, layers - top)


def variants(project: Project, names: Sequence[Name] | None = None) -> dict[Name, Variant]:
    """The models of these names; by default the project's and the baselines trained beside it."""
    if names is None:
        names = ["routed", *(name for name in project.evaluation.baselines if name != "majority")]
    return {name: variant(project, name) for name in names}
