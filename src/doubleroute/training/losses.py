"""What the steps of a fit lost, noted as they are read."""

import math
import time
from typing import Any

import torch
from torch import Tensor

from doubleroute.errors import ConfigError
from doubleroute.training.history import History
from doubleroute.training.machine import compute_device

#: Steps whose losses are read together on a GPU, within some seconds: reading one waits until it is computed,
#: and meanwhile the next step is not prepared.
_TOGETHER, _SECONDS = 16, 1.0


class Losses:
    """The losses of the last steps, up to some of which are not in ``history`` yet."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.together = 1 if compute_device().type == "cpu" else _TOGETHER
        self.unread: list[tuple[int, Tensor, int, float, float]] = []
        self.last_read = time.monotonic()

    def add(self, step: int, loss: Tensor, tokens: int, rate: float) -> list[dict[str, Any]]:
        """Take the loss of a step, a scalar; new points of the training curve, as ``read``."""
        self.unread.append((step, loss, tokens, rate, self.history.seconds))
        waited = time.monotonic() - self.last_read
        return self.read() if len(self.unread) >= self.together or waited > _SECONDS else []

    def read(self) -> list[dict[str, Any]]:
        """Note what was not read yet; new points of the training curve. Raises ConfigError, which names the
        step, for one that is no number."""
        if not self.unread:
            return []
        values = torch.stack([loss for _, loss, *_ in self.unread]).tolist()
        taken, self.unread = self.unread, []
        self.last_read = time.monotonic()
        points = []
        for (step, _, tokens, rate, seconds), value in zip(taken, values, strict=True):
            if not math.isfinite(value):
                raise diverged(f"the loss became {value}", step)
            points.append(self.history.note_step(step, value, tokens, rate, seconds))
        return [point for point in points if point is not None]


def diverged(what: str, step: int) -> ConfigError:
    """The error of a fit that went astray."""
    return ConfigError(f"{what} at step {step}; lower training.learning_rate or training.clip")
