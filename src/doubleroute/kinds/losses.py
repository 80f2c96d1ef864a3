"""Losses as means over what counts, in float32 under any autocast.

Each is a sum divided by a count of at least one: with nothing to count it is an exact zero that
still has a graph, and no value has to leave the accelerator to find that out.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from doubleroute.kinds import IGNORE


def cross_entropy(
    logits: Float[Tensor, "*positions classes"],
    targets: Int[Tensor, "*positions"],
    label_smoothing: float,
    class_weights: Float[Tensor, " classes"] | None = None,
) -> Float[Tensor, ""]:
    """Mean cross-entropy in nats over the positions whose target is not IGNORE.

    ``label_smoothing`` in [0, 1) spreads that share of the target evenly over all classes
    (Szegedy et al. 2016). ``class_weights`` multiply the terms of their class; the mean is still over
    positions, so that weights whose mean over them is one leave the loss its size.
    """
    with torch.autocast(logits.device.type, enabled=False):
        total = F.cross_entropy(
            logits.float().flatten(0, -2),
            targets.flatten(),
            weight=class_weights,
            ignore_index=IGNORE,
            label_smoothing=label_smoothing,
            reduction="sum",
        )
        return total / (targets != IGNORE).sum().clamp(min=1)


def binary_cross_entropy(
    logits: Float[Tensor, "*rows labels"],
    targets: Float[Tensor, "*rows labels"],
    label_smoothing: float,
    class_weights: Float[Tensor, " labels"] | None = None,
) -> Float[Tensor, ""]:
    """Mean binary cross-entropy in nats over the targets in [0, 1] that are not NaN.

    ``label_smoothing`` in [0, 1) moves every target that far towards 1/2, which is Szegedy's
    smoothing for two classes. ``class_weights`` multiply the term of a label that is there, as if its rows
    came so many times.
    """
    with torch.autocast(logits.device.type, enabled=False):
        counts = ~targets.isnan()
        wanted = targets.float().nan_to_num() * (1 - label_smoothing) + label_smoothing / 2
        each = F.binary_cross_entropy_with_logits(
            logits.float(), wanted, pos_weight=class_weights, reduction="none"
        )
        return (each * counts).sum() / counts.sum().clamp(min=1)


def squared_error(values: Float[Tensor, "*rows"], targets: Float[Tensor, "*rows"]) -> Float[Tensor, ""]:
    """Mean squared error over the targets that are not NaN, in the target's unit squared."""
    with torch.autocast(values.device.type, enabled=False):
        counts = ~targets.isnan()
        each = (values.float() - targets.float().nan_to_num()).square()
        return (each * counts).sum() / counts.sum().clamp(min=1)
