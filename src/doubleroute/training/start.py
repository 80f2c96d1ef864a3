"""Weights of an earlier model as the beginning of a fit, taken where they fit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from doubleroute.config import Project
from doubleroute.errors import ConfigError, ModelError
from doubleroute.modeling.backbone import load_backbone, load_tokenizer
from doubleroute.modeling.routers import resolve, router_class
from doubleroute.modeling.source import locate
from doubleroute.modeling.trunk import around
from doubleroute.training.encode import read_meta
from doubleroute.training.plan import Plan, Start, task_options
from doubleroute.training.variants import Variant
from doubleroute.workspace import Stage

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from doubleroute.modeling.model import DoublerouteModel

#: What of a backbone's config must be the same, where the files that a model came from are not known.
_SIZES = (
    "model_type",
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
)


@dataclass(frozen=True)
class Begun:
    """A model that is about to learn: its tokenizer, the tasks that its start has not got (whole), and those
    that learn now."""

    model: "DoublerouteModel"
    tokenizer: "PreTrainedTokenizerBase"
    fresh: list[str]
    learning: list[str]


def begin(project: Project, variant: Variant, encoded: Stage, plan: Plan) -> Begun:
    """The model that a fit begins with. Raises ConfigError when no task is to learn."""
    from doubleroute.modeling.model import DoublerouteConfig, assemble, load_model

    source = locate(project.backbone.source, project.root)
    backbone = load_backbone(source)
    given = load_model(plan.start.folder) if plan.start else None
    tasks = task_options(project, encoded.path)
    if given is not None:
        _keep_units(tasks, given)
    if plan.alone is not None:
        tasks = {plan.alone: tasks[plan.alone]}
    config = DoublerouteConfig(
        backbone=backbone.config.to_dict(),
        router=variant.router,
        tasks=tasks,
        max_tokens=project.backbone.max_tokens,
        origin=origin(project, read_meta(encoded.path)["backbone"]),
    )
    model = assemble(config, backbone, project.seed, project.root)
    fresh = [] if given is None else take_over(model, given)
    learning = list(config.tasks)
    if plan.moved is not None:
        learning = [task for task in config.tasks if task in {*plan.moved, *fresh}]
        if not learning:
            raise ConfigError("retraining: no task moved and none is new: nothing is to learn")
    return Begun(model, load_tokenizer(source), fresh, learning)


def origin(project: Project, digest: str) -> dict[str, str]:
    """Which pretrained backbone the project's models come from; ``digest`` is that of its files."""
    return {"source": project.backbone.source, "digest": digest}


def refuse_another(project: Project, digest: str, start: Start) -> None:
    """Raise ConfigError when the start has another backbone or router than the project, ModelError when its
    folder holds no model; ``digest`` is that of the files of the project's backbone."""
    from transformers import AutoConfig

    from doubleroute.modeling.model import DoublerouteConfig

    if not (start.folder / "config.json").is_file():
        raise ModelError(f"{start.folder} holds no model to start from: config.json is expected there")
    found = DoublerouteConfig.from_pretrained(start.folder)
    if found.origin:
        same, theirs = found.origin["digest"] == digest, found.origin["source"]
    else:
        location = locate(project.backbone.source, project.root).location
        ours = AutoConfig.from_pretrained(location, trust_remote_code=False).to_dict()
        same = all(found.backbone.get(name) == ours.get(name) for name in _SIZES)
        theirs = " ".join(str(found.backbone.get(name)) for name in _SIZES[:4])
    if not same:
        changed = " (its files have changed)" if theirs == project.backbone.source else ""
        raise _another("backbone", theirs, project.backbone.source + changed)
    router = resolve(project.router.model_dump(mode="json"), project.root)
    if _shape(found.router) != _shape(router):
        raise _another("router", _shown(_shape(found.router)), _shown(_shape(router)))


def _shape(router: Mapping[str, Any]) -> dict[str, Any]:
    """The options that say what the weights of a router do, a stack's by the place of its routers; one that
    is zero or null is as good as none, so that options may be added."""
    learning = router_class(router).of_learning | {"routers"}
    found = {name: value for name, value in router.items() if value and name not in learning}
    return found | {str(place): _shape(each) for place, each in enumerate(router.get("routers", ()))}


def _shown(shape: Mapping[str, Any]) -> str:
    """The options in one line, but for the config of a language model."""
    names = sorted(shape.keys() - {"config"}, key=lambda name: (name != "kind", name))
    return ", ".join(
        f"{name}: {{{_shown(shape[name])}}}" if isinstance(shape[name], dict) else f"{name}: {shape[name]}"
        for name in names
    )


def _another(what: str, theirs: str, ours: str) -> ConfigError:
    return ConfigError(
        f"retraining.start: the champion has the {what} {{{theirs}}}, the project {{{ours}}}; write "
        f"`retraining.start: pretrained`, or put the {what} back"
    )


def _keep_units(tasks: Mapping[str, dict[str, Any]], given: "DoublerouteModel") -> None:
    """Heads of regression that are taken over go on in the unit that they have learned in: in another their
    weights would give other answers."""
    for name, task in tasks.items():
        theirs, depth = given.config.tasks.get(name, {}), task.get("layer") or given.height
        taken = theirs.get("kind") == task["kind"] and given.depths[name] == depth
        if task["kind"] == "regression" and taken:
            task |= {"mean": theirs.get("mean", 0.0), "spread": theirs.get("spread", 1.0)}


def take_over(model: "DoublerouteModel", given: "DoublerouteModel") -> list[str]:
    """Copy the weights of an earlier model into a fresh one; give the tasks that it has not got (whole).

    Backbone and router are taken; of the router's parameters of single tasks those of the tasks that both
    have with the same kind and layer. Of such a task the head is taken too: of its last layer the rows of the
    labels that both know, so that new labels, new tasks and another kind, pooling or layer begin fresh; one
    of other labels of an order begins fresh as a whole.
    The caller has seen to it that backbone and router are the same (``refuse_another``).
    """
    alike = [
        name
        for name, task in model.config.tasks.items()
        if name in given.config.tasks
        and given.config.tasks[name]["kind"] == task["kind"]
        and given.depths[name] == model.depths[name]
    ]
    with torch.no_grad():
        model.backbone.load_state_dict(given.backbone.state_dict())
        _take_router(model, given, alike)
        whole = [name for name in alike if _take_head(model, given, name)]
    return [name for name in model.config.tasks if name not in whole]


def _take_router(model: "DoublerouteModel", given: "DoublerouteModel", tasks: list[str]) -> None:
    theirs = dict(given.router.named_parameters())
    mine = [model.task_numbers[task] for task in tasks]
    places = [given.task_numbers[task] for task in tasks]
    for name, value in model.router.named_parameters():
        if name in model.router.of_tasks:
            value[mine] = theirs[name][places]
        else:
            value.copy_(theirs[name])


def _take_head(model: "DoublerouteModel", given: "DoublerouteModel", task: str) -> bool:
    """Whether nothing of the head is fresh."""
    ours, theirs = model.config.tasks[task], given.config.tasks[task]
    if ours["kind"] == "ordinal" and ours["labels"] != theirs["labels"]:
        return False  # one score and its thresholds: they belong to no label, but to their order
    old: dict[str, Tensor] = dict(given.heads[task].named_parameters())
    known = {label: row for row, label in enumerate(theirs["labels"])}
    rows = [(row, known[label]) for row, label in enumerate(ours["labels"]) if label in known]
    whole = bool(ours["pooling"] == theirs["pooling"])
    of_labels = model.head(task).of_labels if ours["labels"] else {}
    for name, value in model.heads[task].named_parameters():
        if name in of_labels and name in old:
            mine, places = ([each[side] for each in rows] for side in (0, 1))
            axes = len(of_labels[name])
            value[np.ix_(*[mine] * axes)] = old[name][np.ix_(*[places] * axes)]
            whole = whole and len(rows) == len(ours["labels"])
        elif name in old and old[name].shape == value.shape:
            value.copy_(old[name])
        else:
            whole = False
    return whole


def trunk_weights(project: Project, digest: str, depth: int, start: Start | None) -> tuple[str, Start | None]:
    """A digest of the weights that layer ``depth`` and all below it have at the beginning of a fit, and the
    start if they are its own. Mostly they are the pretrained ones, of the files of this ``digest``: a trunk
    is frozen, so it differs only when the start was once trained deeper down."""
    import xxhash

    if start is None:
        return digest, None
    ours = load_backbone(locate(project.backbone.source, project.root))
    from doubleroute.modeling.model import load_model

    theirs = dict(load_model(start.folder).backbone.named_parameters())
    weights, below = dict(ours.named_parameters()), around(ours, depth)[0]
    if all(torch.equal(weights[name], theirs[name]) for name in below):
        return digest, None
    sha = xxhash.xxh3_128()
    for name in sorted(below):
        sha.update(name.encode())
        sha.update(theirs[name].detach().numpy().tobytes())
    return sha.hexdigest(), start
