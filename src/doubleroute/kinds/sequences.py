"""Linear chains over the tags of a row: Viterbi, marginals, and the likelihood of a conditional random field.

The score of a sequence of tags y of n words is sum_t emission[t, y_t] + sum_t transition[y_t-1, y_t], and
start[y_1] and end[y_n] beside (Lafferty, McCallum & Pereira 2001). A sequence that BIO forbids has the
score -inf: decoding then finds the best legal one, also of emissions that were learned word by word
(transitions 0).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from doubleroute.kinds import IGNORE


class Chain(NamedTuple):
    """What may follow what, in nats (-inf: never): ``transitions`` [from, to], ``start``, ``end`` [tags]."""

    start: np.ndarray
    transitions: np.ndarray
    end: np.ndarray


def legal_chain(labels: Sequence[str]) -> Chain:
    """0 where BIO allows a tag to follow another, -inf where not: I-x follows B-x and I-x alone."""
    start, transitions = np.zeros(len(labels)), np.zeros((len(labels), len(labels)))
    for column, tag in enumerate(labels):
        if tag.startswith("I-"):
            before = [row for row, other in enumerate(labels) if other in (f"B-{tag[2:]}", tag)]
            start[column] = -np.inf
            transitions[np.setdiff1d(np.arange(len(labels)), before), column] = -np.inf
    return Chain(start, transitions, np.zeros(len(labels)))


def viterbi(emissions: np.ndarray, chain: Chain) -> np.ndarray:
    """The best sequence of tags for emissions [words, tags]: int64 [words]. Some sequence must be legal."""
    if not len(emissions):
        return np.zeros(0, np.int64)
    score, back = chain.start + emissions[0], []
    for emission in emissions[1:]:
        reached = score[:, None] + chain.transitions
        back.append(reached.argmax(0))
        score = reached.max(0) + emission
    path = [int((score + chain.end).argmax())]
    for pointers in reversed(back):
        path.append(int(pointers[path[-1]]))
    return np.array(path[::-1], np.int64)


def marginals(emissions: np.ndarray, chain: Chain) -> np.ndarray:
    """The probability of each tag at each word over all sequences (forward-backward): [words, tags]."""
    if not len(emissions):
        return np.zeros(emissions.shape)
    forward, backward = [chain.start + emissions[0]], [chain.end]
    for emission in emissions[1:]:
        forward.append(_log_sum(forward[-1][:, None] + chain.transitions, 0) + emission)
    for emission in emissions[:0:-1]:
        backward.append(_log_sum(chain.transitions + emission + backward[-1], 1))
    both = np.stack(forward) + np.stack(backward[::-1])
    return np.exp(both - _log_sum(both, 1)[:, None])


def _log_sum(values: np.ndarray, axis: int) -> np.ndarray:
    """log(sum(exp(values))) along an axis, -inf where all are."""
    found: np.ndarray = np.logaddexp.reduce(values, axis)
    return found


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
