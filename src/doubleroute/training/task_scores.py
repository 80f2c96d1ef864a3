"""One task of an evaluation: every model's scores on the same rows, their differences and slices."""

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from doubleroute.config import LOWER_IS_BETTER, Project
from doubleroute.kinds import kind
from doubleroute.training.comparison import Pair, calibration_difference, slice_differences
from doubleroute.training.intervals import Sample, difference, interval, members, sample
from doubleroute.training.scoring import Truths
from doubleroute.training.worst import worst_errors

Answers = dict[str, list[dict[str, Any]]]
#: How far two numbers of one function may lie apart.
SAME = 1e-5
#: Rows behind an interval at the least where others were left out: what is left may be like no other rows.
LEAST = 30
#: Samples of one model by slice column and value.
Sliced = dict[str, dict[str, Sample]]


def slice_columns(project: Project, task: str, truths: Truths) -> list[str]:
    """The columns whose values are slices: the project's, then those that the rows bring along."""
    names = [str(name) for name in truths.frame]
    brought = [name.removeprefix("slice_") for name in names if name.startswith("slice_")]
    return list(dict.fromkeys([*project.tasks[task].slices, *brought]))


def draws_for(project: Project, truths: Mapping[str, Truths]) -> int:
    """How long a randomisation test may go on: Holm's correction over all slices that the promotion gate
    compares, and calibration errors, must be able to say that one of them is worse."""
    slices = [
        len(rows) >= project.promotion.slice_rows
        for task, each in truths.items()
        for column in slice_columns(project, task, each)
        for rows in members(each.frame[f"slice_{column}"].tolist()).values()
    ]
    return max(2000, 80 * (sum(slices) + len(truths)))


class Scored:
    """Models' answers to some labelled rows of a task, scored on these rows.

    ``given``: by model its answers to all rows; ``rows``: which of them count, int64 [n]. ``parts``: of each
    slice column the places of its values among the n rows; ``samples`` and ``sliced``: by model, of the n
    rows and of their parts. ``few``: rows were left out, and too few stay for an interval.
    """

    def __init__(
        self, project: Project, task: str, kind_name: str, truths: Truths, given: Answers, rows: np.ndarray
    ) -> None:
        metric = project.tasks[task].judged_by
        resamples, seed, every = project.evaluation.bootstrap, project.seed, np.arange(len(rows))
        self.rows, self.few = len(rows), len(rows) < min(LEAST, len(truths.values))
        self.kind, self.labels = kind_name, truths.labels
        self.values = [truths.values[row] for row in rows]
        self.given = {name: [each[row] for row in rows] for name, each in given.items()}
        self.scorers = {
            name: kind(kind_name).scorer(each, self.values, self.labels) for name, each in self.given.items()
        }
        self.samples = {name: sample(each, every, resamples, seed) for name, each in self.scorers.items()}
        self.parts = {
            column: members(truths.frame[f"slice_{column}"].iloc[rows].tolist())
            for column in slice_columns(project, task, truths)
        }
        self.sliced: dict[str, Sliced] = {
            name: {
                column: {value: self._part(name, chosen, metric, project) for value, chosen in values.items()}
                for column, values in self.parts.items()
            }
            for name in self.scorers
        }

    def _part(self, name: str, rows: np.ndarray, metric: str, project: Project) -> Sample:
        """The sample of these of the rows, for this metric alone, by a scorer of theirs: resamples of a few
        rows then cost a few."""
        answers, values = self.given[name], self.values
        scorer = kind(self.kind).scorer(
            [answers[row] for row in rows], [values[row] for row in rows], self.labels
        )
        return sample(scorer, np.arange(len(rows)), project.evaluation.bootstrap, project.seed, metric)


def score_task(
    project: Project,
    task: str,
    about: Mapping[str, Any],
    truths: Truths,
    answers: Mapping[str, Answers],
    draws: int = 2000,
    learned: np.ndarray | None = None,
    taught: Collection[str] = (),
) -> dict[str, Any]:
    """One task of ``evaluation.json``, from every model's answers to its labelled rows.

    ``about``: its "kind" and "labels"; ``draws`` bounds a randomisation test. ``learned``: bool [rows], those
    that the models ``taught`` learned from: they answer these by heart, so they are scored, and compared with
    the others, on the rest alone; with fewer than LEAST rows left a difference has no interval.
    ``against_champion`` is there when a routed model and a champion answered.
    """
    subject = "routed" if "routed" in answers else "champion"
    metric, higher = project.tasks[task].judged_by, project.tasks[task].judged_by not in LOWER_IS_BETTER
    rows = np.arange(len(truths.values))
    given = {name: each[task] for name, each in answers.items() if task in each}
    new = rows if learned is None else np.flatnonzero(~learned)
    rest = whole = Scored(project, task, about["kind"], truths, given, new)
    if len(new) < len(rows):
        others = {name: each for name, each in given.items() if name not in taught}
        whole = Scored(project, task, about["kind"], truths, others, rows)
    scored = {name: rest if name in taught else whole for name in given}
    found = {
        "kind": about["kind"],
        "metric": metric,
        "higher_is_better": higher,
        "rows": len(rows),
        "labels": about["labels"],
        "models": {name: _model(each, name, metric) for name, each in scored.items()},
        "differences": [
            _difference(rest if {subject, name} & {*taught} else whole, subject, name, metric, higher)
            for name in given
            if name != subject and subject in given
        ],
        "errors": worst_errors(about["kind"], truths, given[subject]) if subject in given else [],
    }
    if {"routed", "champion"} <= given.keys():
        found["against_champion"] = _against_champion(rest, metric, higher, draws, project.seed)
    return found


def _model(scored: Scored, name: str, metric: str) -> dict[str, Any]:
    """One model of a task."""
    whole = scored.samples[name]
    return {
        "rows": scored.rows,
        "scores": {key: interval(whole, key)._asdict() for key in whole.values},
        "details": scored.scorers[name].details(),
        "slices": {
            column: {
                value: {"rows": each.rows, **interval(each, metric)._asdict()}
                for value, each in values.items()
            }
            for column, values in scored.sliced[name].items()
        },
    }


def _difference(scored: Scored, subject: str, name: str, metric: str, higher: bool) -> dict[str, Any]:
    """The model that this is about against another, on the same rows; ``scores``: of both there. Where all
    answers are ``_alike``, both are one function for this task, as when its head and all below it were kept:
    the difference is zero, however few rows there are."""
    ours, theirs = scored.samples[subject], scored.samples[name]
    found = difference(ours, theirs, metric, higher)
    if scored.rows and _alike(scored.given[subject], scored.given[name]):
        found = found._replace(low=found.value, high=found.value)
    elif scored.few:
        found = found._replace(low=math.nan, high=math.nan, verdict="cannot tell")
    return {
        "model": subject,
        "against": name,
        "metric": metric,
        "rows": scored.rows,
        "scores": [ours.values[metric], theirs.values[metric]],
        **found._asdict(),
    }


def _alike(one: Any, other: Any) -> bool:
    """Whether two models' answers are those of one function: the same but for the last bits of their numbers,
    which the rows that shared a pass move, and for texts, which a champion's answers quote beside places."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = one.keys() - {"text"}
        return keys == other.keys() - {"text"} and all(_alike(one[key], other[key]) for key in keys)
    if isinstance(one, list):
        return (
            isinstance(other, list)
            and len(one) == len(other)
            and all(_alike(each, its) for each, its in zip(one, other, strict=True))
        )
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=SAME, abs_tol=SAME)
    return bool(one == other)


def _against_champion(scored: Scored, metric: str, higher: bool, draws: int, seed: int) -> dict[str, Any]:
    """The routed model against the champion by slices and in its calibration error; nothing with few rows."""
    if scored.few:
        return {"slices": [], "calibration": None}
    given, samples, sliced = scored.given, scored.samples, scored.sliced
    pair = Pair(scored.kind, scored.labels, scored.values, given["routed"], given["champion"])
    both = (sliced["routed"], sliced["champion"])
    return {
        "slices": slice_differences(pair, scored.parts, *both, metric, higher, draws, seed),
        "calibration": calibration_difference(pair, samples["routed"], samples["champion"], draws, seed),
    }
