"""Does routing help on these data: models with and without it, at equal steps, over seeds. No Prefect."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from doubleroute.config import LOWER_IS_BETTER, Project, Router
from doubleroute.data.tables import read_validated
from doubleroute.errors import InputError
from doubleroute.flows.pages import with_page
from doubleroute.flows.timeline import FitProgress
from doubleroute.integrations.validation import read_summary, validate
from doubleroute.integrations.versions import pull
from doubleroute.kinds import kind
from doubleroute.modeling.backbone import hidden_size, layer_count
from doubleroute.modeling.routers import Sizes
from doubleroute.modeling.source import locate
from doubleroute.plain import without_nan
from doubleroute.reports.comparison import write_comparison
from doubleroute.training import crew, ladder
from doubleroute.training.answers import answers_to
from doubleroute.training.contenders import Contender, contenders, couples
from doubleroute.training.dense import router_parameters
from doubleroute.training.effects import effects, judged, negative_transfer, routing
from doubleroute.training.encode import encode, load_split
from doubleroute.training.history import read_history
from doubleroute.training.intervals import Sample, sample
from doubleroute.training.machine import resolve_precision
from doubleroute.workspace import Stage, Workspace

if TYPE_CHECKING:
    import pandas as pd

#: Says one line to the user.
Tell = Callable[[str], None]
#: The fits of each contender, one for each seed.
Fits = Mapping[Contender, Sequence[Stage]]


def compare(
    project: Project,
    routers: Mapping[str, Router],
    seeds: int = 3,
    steps: int | None = None,
    tell: Tell = lambda _: None,
) -> dict[str, Any]:
    """Compare these routers, by name, with models that have none, over ``seeds`` seeds from the project's on.

    1. pull, validate, tokenise, and store the frozen layers' outputs, once: all seeds have the same splits
    2. fit every contender with every seed, side by side, in the same order of the data and without early
       stopping: ``steps`` optimizer steps, or those of ``training.epochs``. A model of one task takes those
       of the joint steps that have a row of the task, with those rows (``Plan.alone``)
    3. answer the test rows; compare (``training.effects``); write the report

    Each fit and each answer is a stage: what is there is not made again. ``tell`` is told of each fit that is
    done. Gives the document of comparison.json and "folder". Raises InputError for fewer than two seeds, no
    router, and steps of less than a tenth of an epoch or more than 1,000.
    """
    if seeds < 2:
        raise InputError("--seeds: one seed says nothing about another; give at least 2")
    if not routers or any(each.kind == "none" for each in routers.values()):
        raise InputError(
            "--routers: there is no router to compare (`none` is the model 'shared', which is always "
            "there); name some, as in --routers experts,mlp"
        )
    workspace = Workspace(project.root)
    data = pull(project.root, project.all_paths)
    with workspace.lock("compare"), FitProgress() as progress:
        validated = validate(project, workspace)
        encoded = encode(project, workspace, validated)
        project = _at_length(project, encoded, steps)
        stored = ladder.store(
            project, workspace, encoded, progress, names=["plain"], routers=list(routers.values())
        )
        precision = resolve_precision(project.training.precision)
        order = crew.Order(project, validated, encoded, stored, precision)
        backbone = locate(project.backbone.source, project.root)
        height = layer_count(backbone)
        depths = tuple(task.head.layer or height for task in project.tasks.values())
        sizes = Sizes(hidden_size(backbone), len(depths), height, depths)
        models = contenders(project, routers, sizes)
        chosen = range(project.seed, project.seed + seeds)
        fits = _fitted(order, workspace, models, chosen, progress, tell)
        found = {
            "project": project.name,
            "seeds": list(chosen),
            "epochs": project.training.epochs,
            "models": [_model(project, each, fits[each], sizes) for each in models],
            **_compared(project, workspace, validated, models, fits, tell),
            "data_version": data.as_dict(),
            "counts": read_summary(validated)["tasks"],
            "validated": validated.digest,
        }
        return found | {
            "folder": str(with_page(workspace, "compare", "comparison.json", found, write_comparison))
        }


def _at_length(project: Project, encoded: Stage, steps: int | None) -> Project:
    """The project with as many epochs as make ``steps`` steps in one fit, never stopped early."""
    changes: dict[str, Any] = {
        "early_stopping": None,
        "task_early_stopping": None,
        "mode": "full",
        "budget": None,
    }
    if steps is not None:
        rows = sum(len(each) for each in load_split(encoded.path, "train").values())
        epoch = -(-rows // project.training.batch_size)
        if not 0.1 <= steps / epoch <= 1000:
            raise InputError(f"--steps {steps}: an epoch has {epoch} steps; give 0.1 to 1,000 epochs' worth")
        changes["epochs"] = steps / epoch
    training = project.training.model_copy(update=changes)
    return project.model_copy(update={"training": training}).at(project.root)


def _fitted(
    order: crew.Order,
    workspace: Workspace,
    models: Sequence[Contender],
    seeds: Sequence[int],
    progress: FitProgress,
    tell: Tell,
) -> Fits:
    """Fit every cell; a line for each that is done."""
    cells = {(each, seed): f"{each.title}, seed {seed}" for seed in seeds for each in models}
    done = 0

    def tell_done(name: str, stage: Stage) -> None:
        nonlocal done
        done += 1
        history = read_history(stage.path)
        took = "was there" if stage.reused else f"{history['seconds']:.1f} s"
        tell(f"{done} of {len(cells)}: {name}: {history['total_steps']:,} steps, {took}")

    orders = {name: each.order(order, seed) for (each, seed), name in cells.items()}
    stages = crew.fit_orders(orders, workspace, progress, tell_done)
    return {each: [stages[cells[each, seed]] for seed in seeds] for each in models}


def _model(project: Project, each: Contender, fits: Sequence[Stage], sizes: Sizes) -> dict[str, Any]:
    """What one contender is, and what each seed's fit took."""
    histories = [read_history(stage.path) for stage in fits]
    return {
        "name": each.name,
        "role": each.role,
        "task": each.task,
        "like": each.like,
        "router": each.router.model_dump(mode="json"),
        "router_parameters": router_parameters(each.router, sizes, project.root),
        "parameters": histories[0]["parameters"],
        "trained_parameters": histories[0]["trained_parameters"],
        "steps": [history["total_steps"] for history in histories],
        "rows": [sum(history["rows"].values()) for history in histories],
        "seconds": [round(history["seconds"], 1) for history in histories],
        "fits": [stage.digest for stage in fits],
    }


def _compared(
    project: Project,
    workspace: Workspace,
    validated: Stage,
    models: Sequence[Contender],
    fits: Fits,
    tell: Tell,
) -> dict[str, Any]:
    """Scores and comparisons by task, and what follows from them."""
    labels = json.loads((validated.path / "labels.json").read_text(encoding="utf-8"))
    pairs = couples(models)
    tasks: dict[str, dict[str, Any]] = {}
    found = {}
    frames = {task: _labelled(validated, task) for task in project.tasks}
    tell("answers of all models")
    for model, stages in fits.items():  # each is loaded once; below its answers are read
        own = {task: frame for task, frame in frames.items() if model.task in (None, task)}
        for stage in stages:
            answers_to(workspace, stage.path / "model", stage.digest, own)
    for task, about in project.tasks.items():
        tell(f"scores of {task}")
        samples = _samples(project, workspace, frames[task], task, labels[task], models, fits)
        metric, higher = about.judged_by, about.judged_by not in LOWER_IS_BETTER
        found[task] = list(zip(pairs, effects(samples, pairs, metric, higher), strict=True))
        tasks[task] = {
            "kind": about.kind,
            "metric": metric,
            "higher_is_better": higher,
            "rows": next(iter(samples.values()))[0].rows,
            "scores": {
                name: [without_nan(float(each.values[metric])) for each in seeds]
                for name, seeds in samples.items()
            },
        }
    comparisons = judged(found)
    for task, each in comparisons.items():
        tasks[task]["comparisons"] = each
        tasks[task]["routing"] = _routing(models, each)
    return {"tasks": tasks, "negative_transfer": negative_transfer(comparisons)}


def _labelled(validated: Stage, task: str) -> "pd.DataFrame":
    """The test rows of a task that have a label."""
    frame = read_validated(validated.path, task, "test")
    return frame[frame["label"].notna()].reset_index(drop=True)


def _samples(
    project: Project,
    workspace: Workspace,
    frame: "pd.DataFrame",
    task: str,
    labels: list[str],
    models: Sequence[Contender],
    fits: Fits,
) -> dict[str, list[Sample]]:
    """For every model that answers the task a sample of its scores for each seed."""
    truths, rows = frame["label"].tolist(), np.arange(len(frame))
    found = {}
    for each in models:
        if each.task in (None, task):
            found[each.name] = [
                sample(
                    kind(project.tasks[task].kind).scorer(
                        answers_to(workspace, stage.path / "model", stage.digest, {task: frame})[task],
                        truths,
                        labels,
                    ),
                    rows,
                    project.evaluation.bootstrap,
                    project.seed,
                )
                for stage in fits[each]
            ]
    return found


def _routing(models: Sequence[Contender], compared: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """For each router whether it helps this task, and why."""
    said = {(each["model"], each["against"]): each["verdict"] for each in compared}
    found = {}
    for dense in models:
        if dense.like is not None:
            verdict, why = routing(said[dense.like, "shared"], said[dense.like, dense.name])
            found[dense.like] = {"verdict": verdict, "why": why}
    return found
