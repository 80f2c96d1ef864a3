"""Linear chains over the tags of a row: Viterbi and marginals; ``kinds.losses`` has their likelihood.

The score of a sequence of tags y of n words is sum_t emission[t, y_t] + sum_t transition[y_t-1, y_t], and
start[y_1] and end[y_n] beside (Lafferty, McCallum & Pereira 2001). A sequence that BIO forbids has the
score -inf: decoding then finds the best legal one, also of emissions that were learned word by word
(transitions 0).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


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
