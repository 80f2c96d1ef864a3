"""The impact of a change of the data by training for real, on either version, with several seeds."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from doubleroute.config import LOWER_IS_BETTER, Project
from doubleroute.data.tables import read_validated
from doubleroute.flows.timeline import FitProgress
from doubleroute.kinds import kind
from doubleroute.review.estimates import finite, verdict
from doubleroute.review.study import Study
from doubleroute.review.versions import Versions
from doubleroute.training import ladder
from doubleroute.training.answers import answers_to
from doubleroute.training.effects import ALPHA, Effect, effects
from doubleroute.training.encode import encode
from doubleroute.training.intervals import Sample, sample
from doubleroute.workspace import Stage, Workspace

if TYPE_CHECKING:
    import pandas as pd

#: Trainings on either version: each costs what `doubleroute train` costs without its baselines.
SEEDS = 3


def train_both(
    sides: tuple[tuple[Project, Stage], tuple[Project, Stage]],
    workspace: Workspace,
    tasks: Mapping[str, Versions],
    studies: Mapping[str, Study | None],
    progress: FitProgress,
) -> dict[str, dict[str, Any]]:
    """Fit the routed model of the project SEEDS times on base's and on head's training rows, and compare the
    answers to the held-out rows of ``studies``: the entry ``full`` of review.json. Tasks that did not change
    are trained along and not compared; where no task can be compared nothing is trained.

    ``sides``: project.yaml and validation stage of base and of head. Both learn by head's project.yaml, with
    the tasks that both have in one kind.
    """
    (before, stage), (after, validated) = sides
    project = _shared(before, after)
    frames = {
        task: _held_out(validated, task, tasks[task], study)
        for task, study in studies.items()
        if study is not None and task in project.tasks
    }
    found = {task: _about(project, task, frames.get(task)) for task in studies}
    compared = {
        task: study for task, study in studies.items() if study is not None and len(frames.get(task, ()))
    }
    if not compared:
        return found
    learners = ((_known_to_base(project, stage, tasks), stage, "base"), (project, validated, "head"))
    models = [
        [_fitted(each, workspace, learned, seed, name, progress) for each, learned, name in learners]
        for seed in range(project.seed, project.seed + SEEDS)
    ]
    for task, study in compared.items():
        options, frame = project.tasks[task], frames[task]
        # Those of the study are sorted by name; where they have an order, the project gives it.
        labels = (options.kind == "ordinal" and options.labels) or study.labels
        given = [
            [
                _answers(workspace, model, task, frame, names, labels)
                for model, names in zip(pair, _names(tasks[task]), strict=True)
            ]
            for pair in models
        ]
        found[task] |= _compared(project, task, labels, frame["label"].tolist(), given)
    return found


def _shared(before: Project, after: Project) -> Project:
    """Head's project with the tasks that base has too, in the same kind."""
    kinds = {name: task.kind for name, task in before.tasks.items()}
    tasks = {name: task for name, task in after.tasks.items() if kinds.get(name) == task.kind}
    return after.model_copy(update={"tasks": tasks}).at(after.root)


def _about(project: Project, task: str, frame: "pd.DataFrame | None") -> dict[str, Any]:
    """What is compared of a task, or why nothing is."""
    if task not in project.tasks:
        return {"verdict": "cannot tell", "why": "base has no such task, or one of another kind"}
    metric = project.tasks[task].judged_by
    about = {"metric": metric, "higher_is_better": metric not in LOWER_IS_BETTER}
    if frame is None:
        why = "which of its test rows the change leaves as they were is not worked out"
        return about | {"verdict": "cannot tell", "why": why}
    if len(frame) == 0:
        why = "no test row is untouched by the change"
        return about | {"rows": 0, "verdict": "cannot tell", "why": why}
    return about | {"rows": len(frame)}


def _known_to_base(project: Project, stage: Stage, tasks: Mapping[str, Versions]) -> Project:
    """The project with the class weights of the labels that base has, called as base calls them."""
    known = json.loads((stage.path / "labels.json").read_text(encoding="utf-8"))
    found = {}
    for name, task in project.tasks.items():
        weights, renamed = task.class_weights, _names(tasks[name])[0]
        if isinstance(weights, dict):
            named = {label: renamed.get(label, label) for label in known[name]}
            weights = {label: weights[now] for label, now in named.items() if now in weights}
        found[name] = task.model_copy(update={"class_weights": weights})
    return project.model_copy(update={"tasks": found}).at(project.root)


def _names(versions: Versions) -> tuple[dict[str, str], dict[str, str]]:
    """What the answers of either version's model are called in head."""
    return versions.changes.renamed, {}


def _fitted(
    project: Project, workspace: Workspace, validated: Stage, seed: int, name: str, progress: FitProgress
) -> Stage:
    """The routed model learned from one version."""

    def tell(_: str, point: dict[str, Any]) -> None:
        progress(f"{name}, seed {seed}", point)

    seeded = project.model_copy(update={"seed": seed}).at(project.root)
    encoded = encode(project, workspace, validated)
    stored = ladder.store(seeded, workspace, encoded, tell, names=["routed"])
    return ladder.fit(seeded, workspace, validated, encoded, stored, tell, names=["routed"])["routed"]


def _held_out(validated: Stage, task: str, versions: Versions, study: Study) -> "pd.DataFrame":
    """The study's held-out rows as validation wrote them; those that it refused are left out."""
    head = versions.head
    wanted = {(head.files[row], head.numbers[row]) for row in study.held_rows.tolist()}
    frame = read_validated(validated.path, task, "test")
    kept = [place in wanted for place in zip(frame["file"], frame["row"], strict=True)]
    return frame[kept].reset_index(drop=True)


def _answers(
    workspace: Workspace,
    model: Stage,
    task: str,
    frame: "pd.DataFrame",
    names: Mapping[str, str],
    labels: Sequence[str],
) -> list[dict[str, Any]]:
    """A model's answers, labels called as head calls them."""
    folder: Path = model.path / "model"
    given = answers_to(workspace, folder, model.digest, {task: frame})[task]
    return [_called(answer, names, labels) for answer in given]


def _called(answer: dict[str, Any], names: Mapping[str, str], labels: Sequence[str]) -> dict[str, Any]:
    """What scorers read of an answer, by the names of head; a label that the model has not has no chance."""
    found = dict(answer)
    if "label" in found:
        found["label"] = names.get(found["label"], found["label"])
    if "answers" in found:
        found["answers"] = [{**each, "id": names.get(each["id"], each["id"])} for each in found["answers"]]
    for key in ("labels", "tags"):
        if key in found:
            found[key] = [names.get(name, name) for name in found[key]]
    if "probabilities" in found:
        known = {names.get(name, name): p for name, p in found["probabilities"].items()}
        found["probabilities"] = {**dict.fromkeys(labels, 0.0), **known}
    return found


def _compared(
    project: Project,
    task: str,
    labels: Sequence[str],
    truths: list[Any],
    given: list[list[list[dict[str, Any]]]],
) -> dict[str, Any]:
    """Scores and their difference from the answers of each seed's pair of models."""
    metric, rows = project.tasks[task].judged_by, np.arange(len(truths))
    scored = [
        [
            sample(
                kind(project.tasks[task].kind).scorer(answers, truths, labels),
                rows,
                project.evaluation.bootstrap,
                0,
            )
            for answers in pair
        ]
        for pair in given
    ]
    base, head = ([pair[side] for pair in scored] for side in (0, 1))
    couple = [("head", "base")]
    (gain,) = effects({"base": base, "head": head}, couple, metric, metric not in LOWER_IS_BETTER)
    difference = _interval(gain)
    return {
        "seeds": len(scored),
        "base": _alone(base, metric),
        "head": _alone(head, metric),
        "difference": difference,
        "verdict": difference["verdict"],
        "why": f"{len(scored)} seeds, the routed model trained on either version",
        "method": "the project's own training",
    }


def _alone(samples: Sequence[Sample], metric: str) -> dict[str, Any]:
    """The mean of one version's models over seeds, with its interval."""
    whole = np.array([each.values[metric] for each in samples])
    drawn = np.mean([[values[metric] for values in each.drawn] for each in samples], axis=0)
    over_rows = float(np.nanvar(drawn, ddof=1))
    seeds, rows = len(samples), max(1, samples[0].rows - 1)
    found = _interval(
        Effect(float(whole.mean()), float(whole.var(ddof=1)) / seeds, seeds - 1, over_rows, rows)
    )
    return {name: found[name] for name in ("value", "low", "high")}


def _interval(found: Effect) -> dict[str, Any]:
    """{"value", "low", "high", "verdict"}; None for what is undefined."""
    reach = found.reach(ALPHA)
    low, high = found.value - reach, found.value + reach
    numbers = {"value": found.value, "low": low, "high": high}
    return {**{name: finite(each) for name, each in numbers.items()}, "verdict": verdict(low, high)}
