"""Label shift without labels, task by task: BBSE on the champion's answers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from doubleroute.drift.sample import Sample, TaskRows
from doubleroute.drift.statistics import Shares, bbse


def label_shift(reference: Sample, current: Sample, least: int, seed: int) -> dict[str, dict[str, Any]]:
    """For each task of labels a row (classification, multilabel) that both samples have answers for:
    {"method", "labels": {label: {"reference", "current", "low", "high"}}, "why"}.

    Shares are of rows, with 95% bounds. A label that cannot be estimated is not among the labels, and
    ``why`` says so (else None). Tasks with fewer than ``least`` labelled reference rows with an answer, or
    current rows with one, are left out.
    """
    found = {}
    for task, before in reference.tasks.items():
        now = current.tasks.get(task)
        if now is None or before.kind not in _ESTIMATES:
            continue
        pairs = [
            (label, answer)
            for label, answer in zip(before.labels, before.answers, strict=False)  # answers may be empty
            if label is not None and answer
        ]
        answers = [answer for answer in now.answers if answer]
        if min(len(pairs), len(answers)) >= least:
            found[task] = _ESTIMATES[before.kind](before, pairs, answers, seed)
    return found


_Pairs = Sequence[tuple[Any, dict[str, Any]]]


def _of_one(before: TaskRows, pairs: _Pairs, answers: Sequence[dict[str, Any]], seed: int) -> dict[str, Any]:
    """Classification: one confusion matrix of the labels that the reference has."""
    held = {label for label, _ in pairs}
    names = [name for name in dict.fromkeys([*before.names, *sorted(held)]) if name in held]
    index = {name: code for code, name in enumerate(names)}
    unknown = [answer["label"] for answer in answers if answer["label"] not in index]
    if unknown:  # their rows may be of any label, so that the shares of the others are not known either
        shown = _named(list(dict.fromkeys(unknown)))
        why = f"{len(unknown)} of {len(answers)} answers are labels without a reference row ({shown})"
        return {"method": "BBSE", "labels": {}, "why": why}
    confusion, predicted = np.zeros((len(names), len(names)), np.int64), np.zeros(len(names), np.int64)
    for label, answer in pairs:
        if answer["label"] in index:
            confusion[index[answer["label"]], index[label]] += 1
    for answer in answers:
        predicted[index[answer["label"]]] += 1
    shares = bbse(confusion, predicted, seed)
    before_shares = confusion.sum(0) / max(1, confusion.sum())
    labels = {} if shares.why else _rows(names, before_shares, shares)
    return {"method": "BBSE", "labels": labels, "why": shares.why}


def _of_many(before: TaskRows, pairs: _Pairs, answers: Sequence[dict[str, Any]], seed: int) -> dict[str, Any]:
    """Multilabel: for each label a confusion matrix of there and not there."""
    labels: dict[str, dict[str, float]] = {}
    left_out = []
    for name in before.names:
        confusion = np.zeros((2, 2), np.int64)
        for label, answer in pairs:
            confusion[int(name in answer["labels"]), int(name in label)] += 1
        there = sum(name in answer["labels"] for answer in answers)
        shares = bbse(confusion, np.array([len(answers) - there, there]), seed)
        if shares.why:
            left_out.append(name)
            continue
        labels |= {name: _rows(["", name], confusion.sum(0) / confusion.sum(), shares)[name]}
    why = f"the answers do not tell {len(left_out)} labels ({_named(left_out)}) from the rest"
    return {"method": "BBSE, label by label", "labels": labels, "why": why if left_out else None}


def _named(labels: Sequence[str]) -> str:
    return ", ".join(labels[:5]) + (", ..." if len(labels) > 5 else "")


def _rows(names: Sequence[str], before: np.ndarray, shares: Shares) -> dict[str, dict[str, float]]:
    columns = (before, shares.value, shares.low, shares.high)
    keys = ("reference", "current", "low", "high")
    return {
        name: dict(zip(keys, (float(column[at]) for column in columns), strict=True))
        for at, name in enumerate(names)
    }


_ESTIMATES = {"classification": _of_one, "ordinal": _of_one, "multilabel": _of_many}
