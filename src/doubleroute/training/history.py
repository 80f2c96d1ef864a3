"""What a fit notes about itself: the training curve, the epochs, the best of them, and the time spent.

All of it is plain JSON and travels in every checkpoint, so that a fit that goes on remembers it.
"""

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from doubleroute.config import LOWER_IS_BETTER

#: Points of the training curve that are kept.
_POINTS = 200
#: What a fit that goes on from another takes from its history.
_CARRIED = ("steps", "epochs", "best_epoch", "best_mean", "seconds", "tokens")
#: Stands for an error that is no number: worse than any that float32 holds.
_WORST = -3.5e38


def read_history(fit: Path) -> dict[str, Any]:
    """What ``history.json`` of a fit stage says."""
    found: dict[str, Any] = json.loads((fit / "history.json").read_text(encoding="utf-8"))
    return found


def units_of(tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The size of an error that counts one in the mean over tasks, from the model's config: of regression the
    labels' spread, so that minutes count no more than hours do, of others one."""
    return {name: float(task.get("spread", 1.0)) for name, task in tasks.items()}


class History:
    """The notes of a fit of ``total`` steps; ``before``: ``history.json`` of the fit that it goes on from;
    ``units``: of each task's errors, by default 1 (``units_of``)."""

    def __init__(
        self,
        total: int,
        before: Mapping[str, Any] | None = None,
        units: Mapping[str, float] | None = None,
    ) -> None:
        self.total, self.units = total, units or {}
        self.log: dict[str, Any] = {
            "steps": [],
            "epochs": [],
            "best_epoch": 0,
            "best_mean": None,
            "seconds": 0.0,
            "loss_sum": 0.0,
            "loss_count": 0,
            "epoch_loss": 0.0,
            "epoch_count": 0,
            "tokens": 0,
            "steps_before": 0,
            "seconds_before": 0.0,
            "rows_before": {},
            "epochs_before": 0,
        }
        if before is not None:
            self.log |= {name: before[name] for name in _CARRIED}
            #: Of the fits before this one: their steps and seconds, and what they drew.
            self.log |= {"steps_before": before["total_steps"], "rows_before": before["rows"]}
            self.log |= {"seconds_before": before["seconds"], "epochs_before": len(before["epochs"])}
        self._since = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds of training in all, those before a kill included."""
        return float(self.log["seconds"] + time.monotonic() - self._since)

    def go_on(self, log: dict[str, Any] | None = None) -> None:
        """Count time from now on, after the notes of a checkpoint if there is one."""
        self.log, self._since = log or self.log, time.monotonic()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out the time that the block takes."""
        self.kept()
        yield
        self.go_on()

    def kept(self) -> dict[str, Any]:
        """The notes up to now, for a checkpoint."""
        self.log["seconds"], self._since = self.seconds, time.monotonic()
        return self.log

    def note_step(
        self, step: int, loss: float, tokens: int, rate: float, spent: float | None = None
    ) -> dict[str, Any] | None:
        """Note one step, which ended when training had taken ``spent`` seconds in all (None: now); now and
        then, and at the last, give a new point of the training curve, with the steps, their ``total`` and the
        seconds of this fit alone."""
        log, spent = self.log, self.seconds if spent is None else spent
        log["loss_sum"] += loss
        log["loss_count"] += 1
        log["epoch_loss"] += loss
        log["epoch_count"] += 1
        log["tokens"] += tokens
        if step % max(1, self.total // _POINTS) and step != self.total:
            return None
        point = {
            "step": log["steps_before"] + step,
            "loss": log["loss_sum"] / log["loss_count"],
            "learning_rate": rate,
            "tokens_per_second": round(log["tokens"] / spent, 1) if spent else 0.0,
            "seconds": round(spent, 3),
        }
        log["steps"].append(point)
        log["loss_sum"], log["loss_count"] = 0.0, 0
        seconds = round(spent - log["seconds_before"], 3)
        return {**point, "step": step, "total": self.total, "seconds": seconds}

    def note_epoch(
        self, step: int, scores: Mapping[str, Mapping[str, float]], rung: str | None = None
    ) -> bool:
        """Note the validation scores {task: {its metric: value}}; whether their mean is the best so far.
        ``rung``: of a ladder of fits.

        In the mean an error such as mae counts negative, in the task's unit. A correlation or F1 that is
        undefined counts as 0, an error that is undefined as the worst.
        """
        gains = [
            gain(metric, value / self.units.get(task, 1.0) if metric in LOWER_IS_BETTER else value)
            for task, each in scores.items()
            for metric, value in each.items()
        ]
        log, mean = self.log, sum(gains) / len(gains)
        log["epochs"].append(
            {
                "epoch": len(log["epochs"]) + 1,
                "rung": rung,
                "step": log["steps_before"] + step,
                "seconds": round(self.seconds, 3),
                "train_loss": log["epoch_loss"] / log["epoch_count"] if log["epoch_count"] else None,
                "validation": {
                    task: {name: None if math.isnan(value) else value for name, value in each.items()}
                    for task, each in scores.items()
                },
                "mean": mean,
            }
        )
        log["epoch_loss"], log["epoch_count"] = 0.0, 0
        better = log["best_mean"] is None or mean > log["best_mean"]
        if better:
            log["best_mean"], log["best_epoch"] = mean, len(log["epochs"])
        return better

    def is_over(self, patience: int | None) -> bool:
        """Whether ``patience`` epochs have passed since the best one (None: never)."""
        return is_over(self.log, patience)

    def finished(self, patience: int) -> dict[str, int]:
        """{task: how many epochs of this fit had passed when ``patience`` of them, or of those before it, had
        not bettered its own score} of the tasks that have finished; a score that rises later changes nothing.
        """
        best: dict[str, tuple[float, int]] = {}
        found: dict[str, int] = {}
        for number, epoch in enumerate(self.log["epochs"], start=1):
            for task, scores in epoch["validation"].items():
                gained = sum(
                    gain(metric, math.nan if value is None else value) for metric, value in scores.items()
                )
                if task not in best or gained > best[task][0]:
                    best[task] = (gained, number)
                elif number - best[task][1] >= patience:
                    found.setdefault(task, max(0, number - self.log["epochs_before"]))
        return found

    def as_dict(self, steps: int, rows: Mapping[str, int]) -> dict[str, Any]:
        """What ``history.json`` says about the course of the fit, which took these ``steps`` and drew these
        ``rows`` of each task."""
        before = self.log["rows_before"]
        return {name: self.log[name] for name in _CARRIED} | {
            "seconds": self.seconds,
            "total_steps": self.log["steps_before"] + steps,
            "rows": {task: before.get(task, 0) + count for task, count in rows.items()},
        }


def is_over(history: Mapping[str, Any], patience: int | None) -> bool:
    """Whether ``patience`` epochs have passed since the best one of this ``history.json`` (None: never)."""
    return patience is not None and len(history["epochs"]) - history["best_epoch"] >= patience


def gain(metric: str, value: float) -> float:
    """The value of a metric such that more is better; of one that is undefined see ``note_epoch``."""
    if metric in LOWER_IS_BETTER:
        return _WORST if math.isnan(value) else -value
    return 0.0 if math.isnan(value) else value
