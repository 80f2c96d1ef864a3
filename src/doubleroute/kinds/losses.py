"""Losses as means over what counts, in float32 under any autocast.

Each is a sum divided by a count of at least one: with nothing to count it is an exact zero that
still has a graph, and no value has to leave the accelerator to find that out.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from doubleroute.data.windows import END, START
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


def among_the_batch(
    vectors: Float[Tensor, "texts hidden"],
    targets: Int[Tensor, " queries"],
    scale: float,
    label_smoothing: float,
) -> Float[Tensor, ""]:
    """Mean cross-entropy of queries over ``scale`` times their cosines with the answers that stand behind
    them; targets: the place of each query's answer among the answers."""
    if not len(targets):  # no answer either: label smoothing would divide by their number
        return vectors.float().sum() * 0
    queries, answers = vectors[: len(targets)], vectors[len(targets) :]
    with torch.autocast(vectors.device.type, enabled=False):
        return cross_entropy(scale * queries.float() @ answers.float().T, targets, label_smoothing)


def start_and_end(
    logits: Float[Tensor, "windows seq 2"], targets: Int[Tensor, "windows seq"], label_smoothing: float
) -> Float[Tensor, ""]:
    """Mean of the cross-entropies of start and end over the windows, as ``SpanKind.loss`` has it."""
    with torch.autocast(logits.device.type, enabled=False):
        there = targets != IGNORE
        total = logits.float().new_zeros(())
        for side, bit in enumerate((START, END)):
            wanted = there & (targets.bitwise_and(bit) != 0)
            # The least number and not -inf: a row of padding alone has no NaN in its gradient.
            scores = logits[..., side].float().masked_fill(~there, torch.finfo(torch.float32).min)
            chances = scores.log_softmax(-1).masked_fill(~there, 0.0)
            even = chances.sum(-1) / there.sum(-1).clamp(min=1)
            hit = (chances * wanted).sum(-1)
            each = (1 - label_smoothing) * hit + label_smoothing * even
            total = total - (each * wanted.any(-1)).sum() / 2
        return total / (there & (targets > 0)).any(-1).sum().clamp(min=1)


def crf_loss(
    emissions: Float[Tensor, "rows seq tags"],
    targets: Int[Tensor, "rows seq"],
    start: Float[Tensor, " tags"],
    transitions: Float[Tensor, "tags tags"],
    end: Float[Tensor, " tags"],
) -> Float[Tensor, ""]:
    """Minus the log-likelihood of the tags, in nats a word: the sum over rows divided by the counted words.

    Positions with target IGNORE (further sub-words, padding) are no words: the chain passes them over.
    """
    with torch.autocast(emissions.device.type, enabled=False):
        counted = targets != IGNORE
        order = counted.to(torch.int8).argsort(dim=1, descending=True, stable=True)  # the words come first
        order = order[:, : max([1, *counted.sum(1).tolist()])]
        there = counted.gather(1, order)
        tags = targets.gather(1, order).masked_fill(~there, 0)
        scores = emissions.float().gather(1, order[..., None].expand(-1, -1, emissions.shape[-1]))
        start, transitions, end = start.float(), transitions.float(), end.float()
        total = start + scores[:, 0]  # [rows, tags]: log-sum of all sequences that end in a tag
        for place in range(1, scores.shape[1]):
            longer = torch.logsumexp(total[:, :, None] + transitions, 1) + scores[:, place]
            total = torch.where(there[:, place, None], longer, total)
        every = torch.logsumexp(total + end, 1)
        last = tags.gather(1, (there.sum(1, keepdim=True) - 1).clamp_min(0)).squeeze(1)
        given = (scores.gather(2, tags[..., None]).squeeze(2) * there).sum(1)
        given = given + start[tags[:, 0]] + (transitions[tags[:, :-1], tags[:, 1:]] * there[:, 1:]).sum(1)
        nats = (every - given - end[last]) * there[:, 0]
        return nats.sum() / counted.sum().clamp(min=1)
