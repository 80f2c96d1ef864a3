"""Which rows of which tasks make up an epoch, and in which batches. Pure functions of the seed."""

from collections.abc import Mapping

import numpy as np

#: Rows are sorted by length within this many batches: little padding, order still random.
_WINDOW = 64


def quotas(sizes: Mapping[str, int], temperature: float) -> dict[str, int]:
    """Rows that each task gives to an epoch: shares size^(1/T) of the total (Devlin et al. 2019, mBERT)."""
    powers = {task: size ** (1 / temperature) for task, size in sizes.items()}
    total, norm = sum(sizes.values()), sum(powers.values())
    return {task: max(1, round(total * power / norm)) for task, power in powers.items()}


def draw(size: int, quota: int, epoch: int, seed: int, weights: np.ndarray | None = None) -> np.ndarray:
    """The rows of one task in an epoch: int64 [quota].

    The task's rows are shuffled again and again into one endless stream, of which epoch e takes its
    part: after any number of epochs each row was seen equally often, give or take one.

    With ``weights`` [size], at least 0 and not all 0, epochs are independent, and in each a row comes
    quota * weight / sum of weights times, rounded up or down at random (systematic sampling of the rows in
    random order, Madow 1949); weights that are all the same are as none.
    """
    if weights is not None and (weights != weights[0]).any():
        return _draw_by(weights, quota, np.random.default_rng([seed, epoch, 2]))
    first, last = epoch * quota, (epoch + 1) * quota
    passes = range(first // size, -(-last // size))
    stream = np.concatenate([np.random.default_rng([seed, each]).permutation(size) for each in passes])
    return stream[first - passes[0] * size :][:quota]


def _draw_by(weights: np.ndarray, quota: int, rng: np.random.Generator) -> np.ndarray:
    order = rng.permutation(np.flatnonzero(weights))
    shares = np.cumsum(weights[order])
    # Evenly spaced pointers into the line of all shares, the first at a random place.
    places = np.searchsorted(shares, (np.arange(quota) + rng.random()) * (shares[-1] / quota), side="right")
    return rng.permutation(order[np.minimum(places, len(order) - 1)])


def batches(lengths: np.ndarray, size: int, epoch: int, seed: int) -> list[np.ndarray]:
    """Split rows of these lengths [n] into batches of ``size`` rows of similar length, in random order."""
    rng = np.random.default_rng([seed, epoch, 1])
    order = rng.permutation(len(lengths))
    made: list[np.ndarray] = []
    for first in range(0, len(order), size * _WINDOW):
        window = order[first : first + size * _WINDOW]
        window = window[np.argsort(lengths[window], kind="stable")]
        made += [window[start : start + size] for start in range(0, len(window), size)]
    return [made[number] for number in rng.permutation(len(made))]
