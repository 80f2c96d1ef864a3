"""What a fit notes about itself: the training curve, the epochs, the best of them, and the time spent.

All of it is plain JSON and travels in every checkpoint, so that a fit that goes on remembers it.
"""

import math
import time
from collections.abc import Mapping
from typing import Any

from doubleroute.config import LOWER_IS_BETTER

#: Points of the training curve that are kept.
_POINTS = 200
#: Stands for an error that is no number: worse than any that float32 holds.
_WORST = -3.5e38


class History:
    """The notes of a fit of ``total`` steps."""

    def __init__(self, total: int) -> None:
        self.total = total
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
        }
        self._since = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds of training in all, those before a kill included."""
        return float(self.log["seconds"] + time.monotonic() - self._since)

    def go_on(self, log: dict[str, Any] | None = None) -> None:
        """Count time from now on, after the notes of a checkpoint if there is one."""
        self.log, self._since = log or self.log, time.monotonic()

    def kept(self) -> dict[str, Any]:
        """The notes up to now, for a checkpoint."""
        self.log["seconds"], self._since = self.seconds, time.monotonic()
        return self.log

    def note_step(self, step: int, loss: float, tokens: int, rate: float) -> dict[str, Any] | None:
        """Note one step; now and then, and at the last, give a new point of the training curve."""
        log, spent = self.log, self.seconds
        log["loss_sum"] += loss
        log["loss_count"] += 1
        log["epoch_loss"] += loss
        log["epoch_count"] += 1
        log["tokens"] += tokens
        if step % max(1, self.total // _POINTS) and step != self.total:
            return None
        point = {
            "step": step,
            "loss": log["loss_sum"] / log["loss_count"],
            "learning_rate": rate,
            "tokens_per_second": round(log["tokens"] / spent, 1) if spent else 0.0,
            "seconds": round(spent, 3),
        }
        log["steps"].append(point)
        log["loss_sum"], log["loss_count"] = 0.0, 0
        return {**point, "total": self.total}

    def note_epoch(self, epoch: int, step: int, scores: Mapping[str, Mapping[str, float]]) -> bool:
        """Note the validation scores {task: {its metric: value}}; whether their mean is the best so far.

        In the mean an error such as mae counts negative. A correlation or F1 that is undefined counts
        as 0, an error that is undefined as the worst.
        """
        gains = [_gain(metric, value) for each in scores.values() for metric, value in each.items()]
        log, mean = self.log, sum(gains) / len(gains)
        log["epochs"].append(
            {
                "epoch": epoch,
                "step": step,
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
            log["best_mean"], log["best_epoch"] = mean, epoch
        return better

    def is_over(self, patience: int | None) -> bool:
        """Whether ``patience`` epochs have passed since the best one (None: never)."""
        return patience is not None and len(self.log["epochs"]) - self.log["best_epoch"] >= patience

    def finished(self, patience: int) -> dict[str, int]:
        """{task: how many epochs had passed when ``patience`` of them had not bettered its own score} of the
        tasks that have finished; a score that rises later changes nothing."""
        best: dict[str, tuple[float, int]] = {}
        found: dict[str, int] = {}
        for number, epoch in enumerate(self.log["epochs"], start=1):
            for task, scores in epoch["validation"].items():
                gain = sum(
                    _gain(metric, math.nan if value is None else value) for metric, value in scores.items()
                )
                if task not in best or gain > best[task][0]:
                    best[task] = (gain, number)
                elif number - best[task][1] >= patience:
                    found.setdefault(task, number)
        return found

    def as_dict(self) -> dict[str, Any]:
        """What ``history.json`` says about the course of the fit."""
        return {name: self.log[name] for name in ("steps", "epochs", "best_epoch", "seconds")}


def _gain(metric: str, value: float) -> float:
    """The value such that more is better."""
    if metric in LOWER_IS_BETTER:
        return _WORST if math.isnan(value) else -value
    return 0.0 if math.isnan(value) else value
