"""Which rows of which tasks make up an epoch, and in which batches. Pure functions of the seed."""

import math
from collections.abc import Collection, Mapping

import numpy as np

from doubleroute.data.batches import by_tokens

#: Rows are sorted by length within this many batches: little padding, order still random.
_WINDOW = 64


#: Share of its rows that a task is still drawn with when it has finished: enough that what it shares with
#: the others does not forget it.
_FINISHED = 0.1


def quotas(sizes: Mapping[str, int], exponent: float, finished: Collection[str] = ()) -> dict[str, int]:
    """Rows that each task gives to an epoch: shares size^exponent of the total (Devlin et al. 2019, mBERT),
    rounded so that they sum to it; each task has one at least.

    exponent 1 is proportional, 1/T a temperature of T, 0 the same for all. A ``finished`` task gives a tenth
    of its share, and the others what it leaves, so that an epoch has the same length whoever has finished.
    """
    powers = {task: size**exponent * (_FINISHED if task in finished else 1.0) for task, size in sizes.items()}
    total, norm = sum(sizes.values()), sum(powers.values())
    exact = {task: total * power / norm for task, power in powers.items()}
    found = {task: max(1, math.floor(each)) for task, each in exact.items()}
    left = max(0, total - sum(found.values()))  # less than none where many tasks are raised to one row
    for task in sorted(exact, key=lambda task: found[task] - exact[task])[:left]:
        found[task] += 1
    while sum(found.values()) > total:  # many tasks of hardly a row each
        found[max(found, key=found.__getitem__)] -= 1
    return found


def annealed(temperature: float, epoch: int, epochs: int) -> float:
    """The exponent of ``quotas`` in epoch 0..epochs-1: it falls in equal steps from 1 in the first to
    1/temperature in the last (Stickland & Murray 2019, section 3.3, whose last exponent is 0.2)."""
    return 1 - (1 - 1 / temperature) * epoch / max(1, epochs - 1)


def draw(
    size: int,
    quota: int,
    epoch: int,
    seed: int,
    weights: np.ndarray | None = None,
    before: int | None = None,
) -> np.ndarray:
    """The rows of one task in an epoch: int64 [quota].

    The task's rows are shuffled again and again into one endless stream, of which epoch e takes its
    part: after any number of epochs each row was seen equally often, give or take one. ``before``: how many
    rows the epochs before took; None: as many as this one each.

    With ``weights`` [size], at least 0 and not all 0, epochs are independent, and in each a row comes
    quota * weight / sum of weights times, rounded up or down at random (systematic sampling of the rows in
    random order, Madow 1949); weights that are all the same are as none.
    """
    if weights is not None and (weights != weights[0]).any():
        return _draw_by(weights, quota, np.random.default_rng([seed, epoch, 2]))
    first = epoch * quota if before is None else before
    last = first + quota
    passes = range(first // size, -(-last // size))
    stream = np.concatenate([np.random.default_rng([seed, each]).permutation(size) for each in passes])
    return stream[first - passes[0] * size :][:quota]


def _draw_by(weights: np.ndarray, quota: int, rng: np.random.Generator) -> np.ndarray:
    order = rng.permutation(np.flatnonzero(weights))
    shares = np.cumsum(weights[order])
    # Evenly spaced pointers into the line of all shares, the first at a random place.
    places = np.searchsorted(shares, (np.arange(quota) + rng.random()) * (shares[-1] / quota), side="right")
    return rng.permutation(order[np.minimum(places, len(order) - 1)])


def batches(
    lengths: np.ndarray, size: int, epoch: int, seed: int, counts: np.ndarray | None = None
) -> list[np.ndarray]:
    """Split texts of these lengths [n] into batches of texts of similar length, in random order.

    ``counts`` [n]: how many rows each text has, at most ``size``; None: one each. There are as many batches
    as ``size`` goes into the number of rows, rounded up, and each has ``size`` rows, give or take those of
    the texts at its ends.
    """
    rng = np.random.default_rng([seed, epoch, 1])
    order = rng.permutation(len(lengths))
    counts = np.ones(len(lengths), np.int64) if counts is None else counts
    windows = (np.cumsum(counts[order]) - 1) // (size * _WINDOW)
    order = order[np.lexsort((lengths[order], windows))]
    numbers = (np.cumsum(counts[order]) - 1) // size
    made = np.split(order, np.flatnonzero(np.diff(numbers)) + 1)
    return [made[number] for number in rng.permutation(len(made))]


def token_batches(lengths: np.ndarray, steps: int, epoch: int, seed: int) -> list[np.ndarray]:
    """Split texts of these lengths [n], n >= steps, into ``steps`` batches in random order whose largest has
    as few tokens as can be, padding included: the longer the texts, the fewer there are of them."""
    rng = np.random.default_rng([seed, epoch, 1])
    order = rng.permutation(len(lengths))
    few, enough = 1, int(lengths.max()) * len(lengths)
    while few < enough:
        budget = (few + enough) // 2
        if len(by_tokens(lengths[order], budget)) > steps:
            few = budget + 1
        else:
            enough = budget
    made = [order[each] for each in by_tokens(lengths[order], enough)]
    while len(made) < steps:
        large = max(
            (each for each in range(len(made)) if len(made[each]) > 1), key=lambda each: len(made[each])
        )
        made[large : large + 1] = np.array_split(made[large], 2)
    return [made[number] for number in rng.permutation(len(made))]
