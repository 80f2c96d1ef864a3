"""What a fit begins with, which rows it draws, what of the model learns, and all that it depends on."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from doubleroute.config import Project
from doubleroute.digests import code_digest, versions_of
from doubleroute.errors import InputError
from doubleroute.kinds.regression import unit_of
from doubleroute.training.class_weights import class_weights
from doubleroute.training.encode import learned_digest, load_split, read_meta
from doubleroute.training.extras import extras
from doubleroute.training.variants import RungName, Variant
from doubleroute.workspace import Stage


@dataclass(frozen=True)
class Start:
    """The weights to begin with: the folder of a saved model, such as the champion's, and a digest that
    stands for its files."""

    folder: Path
    digest: str


@dataclass(frozen=True)
class Rung:
    """One fit of a ladder of fits (``training.ladder``), each of which begins with the model of the last one.

    heads: solved on pooled states; top: the upper half of the layers that may learn; whole: all of them.
    ``seconds``: the most that it may take; None: no limit. ``share``: what of the epochs it gets. ``first``:
    nothing was fitted before it, and its start, if it has one, is the champion. ``retraining``: the ladder
    began with the champion.
    """

    name: RungName
    seconds: float | None = None
    share: float = 1.0
    first: bool = True
    retraining: bool = False


@dataclass(frozen=True)
class Plan:
    """How a fit differs from one from nothing; the default is one from nothing.

    ``start``: the model whose weights it begins with. The champion's is trained ``training.epochs`` times
    ``retraining.effort``, at the learning rates times ``retraining.rate`` (fresh heads at their own).
    ``rung``: which of a ladder it is; None: the only one.
    ``selection``: the stage of ``selection.selection``, None for all rows alike.
    ``moved``: only the heads of these tasks learn, and those that the start has not got (whole); all else
    stays as it is in the start, and with it the answers to the other tasks, bit by bit.
    ``alone``: the model has this task alone and learns from its rows of the batches of all tasks, at their
    steps and rates; steps without one of its rows are left out. So it is the joint fit without the others.
    Raises InputError for ``moved`` without ``start``.
    """

    start: Start | None = None
    selection: Stage | None = None
    moved: tuple[str, ...] | None = None
    alone: str | None = None
    rung: Rung | None = None

    def __post_init__(self) -> None:
        if self.moved is not None and self.start is None:
            raise InputError("retraining.keep_unmoved keeps what a champion has: there is none to start from")

    def inputs(self, project: Project) -> dict[str, Any]:
        """Its part in the digest of a fit."""
        options = {}
        if self.of_champion and self.on != "heads":  # which are solved, without epochs and rates
            options = project.retraining.model_dump(mode="json", include={"effort", "rate"})
        return {
            "start": self.start and {"model": self.start.digest, **options},
            "selection": self.selection and self.selection.digest,
            "moved": None if self.moved is None else sorted(self.moved),
            "alone": self.alone,
            "rung": self.rung and asdict(self.rung),
        }

    @property
    def on(self) -> RungName:
        """How much of the backbone may learn."""
        return "whole" if self.rung is None else self.rung.name

    @property
    def of_champion(self) -> bool:
        """Whether it goes on from the champion."""
        return self.start is not None if self.rung is None else self.rung.retraining

    def epochs(self, project: Project) -> float:
        """How many epochs it trains."""
        share = 1.0 if self.rung is None else self.rung.share
        return project.training.epochs * share * (project.retraining.effort if self.of_champion else 1.0)

    def rate(self, project: Project) -> float:
        """What the learning rates of what has learned before are multiplied by."""
        return project.retraining.rate if self.of_champion else 1.0

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON, for another process."""
        start = self.start and {"folder": str(self.start.folder), "digest": self.start.digest}
        stage = self.selection
        return {
            "start": start,
            "selection": stage and {"name": stage.name, "digest": stage.digest, "path": str(stage.path)},
            "moved": self.moved,
            "alone": self.alone,
            "rung": self.rung and asdict(self.rung),
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "Plan":
        """What ``as_dict`` gave."""
        start, stage, moved, rung = (value[name] for name in ("start", "selection", "moved", "rung"))
        return cls(
            start and Start(Path(start["folder"]), start["digest"]),
            stage and Stage(stage["name"], stage["digest"], Path(stage["path"]), True),
            None if moved is None else tuple(moved),
            value["alone"],
            rung and Rung(**rung),
        )


def is_of_champion(inputs: Mapping[str, Any]) -> bool:
    """Whether a fit of these inputs (``fit_inputs``) went on from the champion (``Plan.of_champion``)."""
    rung = inputs["rung"]
    return bool(inputs["start"] if rung is None else rung["retraining"])


#: Training from the pretrained weights on all rows.
FROM_NOTHING = Plan()

_DATA = ("batches", "collating", "mixture", "shared", "spans", "tags", "tokens", "windows")
_CODE = tuple(
    f"training/{name}"
    for name in (
        "budget",
        "checkpoints",
        "class_weights",
        "encode",
        "encoders",
        "feed",
        "fit",
        "gradients",
        "heads",
        "heads_fit",
        "history",
        "lora",
        "losses",
        "machine",
        "objective",
        "optimise",
        "plan",
        "pooled",
        "scoring",
        "selection",
        "start",
        "variants",
    )
)


def fit_inputs(
    project: Project,
    variant: Variant,
    encoded: Stage,
    stored: Stage | None,
    precision: str,
    plan: Plan = FROM_NOTHING,
) -> dict[str, Any]:
    """All that a fit depends on, for its digest: no test row. Raises ConfigError when it needs what is not
    installed."""
    training = {}
    if plan.on != "heads":  # which are solved: no option of training has a say
        training = project.training.model_dump(
            mode="json", exclude={"checkpoint_seconds", "trainable", "precision", "mode", "budget"}
        )
    meta = read_meta(encoded.path)
    return {
        "truths": {task: about["truths"] for task, about in meta["tasks"].items()},
        "encoded": learned_digest(encoded),
        "backbone": meta["backbone"],
        "max_tokens": project.backbone.max_tokens,
        "activations": _read_of(stored, variant) if stored and variant.stored else None,
        "tasks": task_options(project, encoded.path),
        # A checkpoint's moments, and what a router has for each task, go by their order.
        "order": list(project.tasks),
        "router": variant.router,
        "depth": variant.depth,
        "training": training,
        **plan.inputs(project),
        "precision": precision,
        "seed": project.seed,
        "code": code_digest("kinds", "linear", "modeling", *(f"data/{name}" for name in _DATA), *_CODE),
        "versions": versions_of("torch", "transformers", "tokenizers", "numpy", *extras(project.training)),
    }


def _read_of(stored: Stage, variant: Variant) -> dict[str, Any]:
    """What a fit reads of a store that several models share: its own layers, and what computed them."""
    return {"trunk": stored.manifest["inputs"]["trunk"], "layers": list(variant.stored)}


def task_options(project: Project, encoded: Path) -> dict[str, dict[str, Any]]:
    """For each task what the model's config says of it. Raises ConfigError for class weights of labels that
    it has not."""
    about, train = read_meta(encoded)["tasks"], load_split(encoded, "train")
    found = {
        task: {
            "kind": options.kind,
            "labels": about[task]["labels"],
            "pair": options.columns.text_pair is not None,
            "pooling": options.head.pooling,
            "dropout": options.head.dropout,
            "crf": options.head.crf,
            "weight": options.weight,
            "metric": options.judged_by,
            **({} if options.head.layer is None else {"layer": options.head.layer}),
            **({"answers": about[task]["answers"]} if options.kind == "retrieval" else {}),
            **(unit_of(train[task].labels) if options.kind == "regression" else {}),
            **(
                options.head.model_dump(include={"overlap", "answer_tokens"})
                if options.kind == "span"
                else {}
            ),
        }
        for task, options in project.tasks.items()
    }
    for task, options in project.tasks.items():
        if options.class_weights:
            found[task]["class_weights"] = class_weights(task, options, found[task]["labels"], train[task])
    return found
