"""One task of an evaluation: every model's scores on the same rows, their differences and slices."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from doubleroute.config import LOWER_IS_BETTER, Project
from doubleroute.kinds import Scorer
from doubleroute.training.comparison import Pair, calibration_difference, slice_differences
from doubleroute.training.intervals import Sample, difference, interval, members, sample
from doubleroute.training.scoring import Truths, scorer_of
from doubleroute.training.worst import worst_errors

Answers = dict[str, list[dict[str, Any]]]
#: Samples of one model by slice column and value.
Sliced = dict[str, dict[str, Sample]]


def slice_columns(project: Project, task: str, truths: Truths) -> list[str]:
    """The columns whose values are slices: the project's, then those that the rows bring along."""
    names = [str(name) for name in truths.frame]
    brought = [name.removeprefix("slice_") for name in names if name.startswith("slice_")]
    return list(dict.fromkeys([*project.tasks[task].slices, *brought]))


def draws_for(project: Project, truths: Mapping[str, Truths]) -> int:
    """How long a randomisation test may go on: Holm's correction over all slices and calibration errors
    must be able to say that one of them is worse."""
    slices = [
        len(members(each.frame[f"slice_{column}"].tolist()))
        for task, each in truths.items()
        for column in slice_columns(project, task, each)
    ]
    return max(2000, 80 * (sum(slices) + len(truths)))


def score_task(
    project: Project,
    task: str,
    about: Mapping[str, Any],
    truths: Truths,
    answers: Mapping[str, Answers],
    draws: int = 2000,
) -> dict[str, Any]:
    """One task of ``evaluation.json``, from every model's answers to its labelled rows.

    ``about``: its "kind" and "labels"; ``draws`` bounds a randomisation test. ``against_champion`` is
    there when a routed model and a champion answered.
    """
    subject = "routed" if "routed" in answers else "champion"
    metric, higher = project.tasks[task].judged_by, project.tasks[task].judged_by not in LOWER_IS_BETTER
    resamples, seed, rows = project.evaluation.bootstrap, project.seed, np.arange(len(truths.values))
    given = {name: each[task] for name, each in answers.items() if task in each}
    scorers = {name: scorer_of(about["kind"], each, truths) for name, each in given.items()}
    samples = {name: sample(each, rows, resamples, seed) for name, each in scorers.items()}
    parts = {
        column: members(truths.frame[f"slice_{column}"].tolist())
        for column in slice_columns(project, task, truths)
    }
    sliced = {name: _sliced(each, parts, resamples, seed) for name, each in scorers.items()}
    found = {
        "kind": about["kind"],
        "metric": metric,
        "higher_is_better": higher,
        "rows": len(rows),
        "labels": about["labels"],
        "models": {name: _model(each, samples[name], sliced[name], metric) for name, each in scorers.items()},
        "differences": _differences(subject, samples, metric, higher),
        "errors": worst_errors(about["kind"], truths, given[subject]) if subject in given else [],
    }
    if {"routed", "champion"} <= given.keys():
        pair = Pair(about["kind"], truths.labels, truths.values, given["routed"], given["champion"])
        slices = (sliced["routed"], sliced["champion"])
        found["against_champion"] = {
            "slices": slice_differences(pair, parts, *slices, metric, higher, draws, seed),
            "calibration": calibration_difference(pair, samples["routed"], samples["champion"], draws, seed),
        }
    return found


def _sliced(
    scorer: Scorer, parts: Mapping[str, Mapping[str, np.ndarray]], resamples: int, seed: int
) -> Sliced:
    return {
        column: {value: sample(scorer, rows, resamples, seed) for value, rows in values.items()}
        for column, values in parts.items()
    }


def _model(scorer: Scorer, whole: Sample, sliced: Sliced, metric: str) -> dict[str, Any]:
    """One model of a task."""
    return {
        "scores": {key: interval(whole, key)._asdict() for key in whole.values},
        "details": scorer.details(),
        "slices": {
            column: {
                value: {"rows": each.rows, **interval(each, metric)._asdict()}
                for value, each in values.items()
            }
            for column, values in sliced.items()
        },
    }


def _differences(
    subject: str, samples: Mapping[str, Sample], metric: str, higher: bool
) -> list[dict[str, Any]]:
    """The model that this is about against each of the others, on the same resampled rows."""
    return [
        {
            "model": subject,
            "against": name,
            "metric": metric,
            **difference(samples[subject], each, metric, higher)._asdict(),
        }
        for name, each in samples.items()
        if name != subject and subject in samples
    ]
