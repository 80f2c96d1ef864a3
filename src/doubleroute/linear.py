"""Quick models on frozen features: linear, with a weight for each row, penalised by their squares.

Classification and tagging: multinomial logistic regression; multilabel: a logistic regression for each label;
regression: ridge. Fitted by L-BFGS (Liu & Nocedal 1989) or, ridge, exactly.
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

#: The quota of the container that this process is in, if it is in one.
_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
#: Penalties that ``penalty`` tries; the features vary by 1 on average.
PENALTIES = (100.0, 30.0, 10.0, 3.0, 1.0)
#: A fit ends when a step lowers the mean loss by less than this.
PRECISE = 1e-6
#: Precise enough for what is only looked at in itself, not in its difference to another model.
ROUGH = 1e-4
_STEPS = 300
#: Of the features' directions, those that vary least are drawn out at most as if they varied so much.
_FLOOR = 0.01
#: Rows that are turned together: a copy of so many is small beside all.
_BLOCK = 16_384


@dataclass(frozen=True)
class Scaling:
    """What makes features ready: ``centre`` [d] and ``turn`` [d, d]."""

    centre: np.ndarray
    turn: np.ndarray

    def of(self, features: np.ndarray) -> np.ndarray:
        """Features [n, d] -> float32 [n, d + 1], the last column a constant one."""
        ready = np.ones((len(features), len(self.turn) + 1), np.float32)
        for part in blocks(len(features)):
            ready[part, :-1] = (np.asarray(features[part], np.float32) - self.centre) @ self.turn
        return ready


def scaling(features: np.ndarray) -> Scaling:
    """Learn from features [n, d], n >= 1, to centre them and to half whiten them: along their principal
    components the spread becomes its root, its mean square 1. A fit then needs half as many steps and is as
    good as on the features themselves."""
    centre = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    square = np.zeros((features.shape[1],) * 2)
    for part in blocks(len(features)):
        centred = np.asarray(features[part], np.float32) - centre
        square += centred.T @ centred
    values, vectors = np.linalg.eigh(square / len(features))
    values = np.maximum(values, 0)
    drawn = vectors * (values + _FLOOR * values.mean() + 1e-12) ** -0.25
    spread = float(np.sqrt((values * (values + _FLOOR * values.mean() + 1e-12) ** -0.5).mean()))
    return Scaling(centre, (drawn / (spread or 1.0)).astype(np.float32))


def blocks(rows: int) -> Iterator[slice]:
    """All of so many rows, some thousand at a time."""
    return (slice(first, first + _BLOCK) for first in range(0, rows, _BLOCK))


def losses(kind: str, logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The loss of each of n rows (tagging: words), float64 [n]: the negative log probability of the truth,
    for multilabel its mean over the labels, for regression the squared error.

    ``logits`` [n, labels], of regression [n, 1]; ``targets`` int64 [n], multilabel 0 or 1 [n, labels],
    regression [n].
    """
    if kind == "regression":
        return np.square(logits[:, 0].astype(np.float64) - targets)
    values = logits.astype(np.float64)
    if kind == "multilabel":
        return np.asarray((np.logaddexp(0, values) - targets * values).mean(axis=1))
    best = values.max(axis=1)
    total = best + np.log(np.exp(values - best[:, None]).sum(axis=1))
    return np.asarray(total - values[np.arange(len(values)), targets])


def probabilities(kind: str, logits: np.ndarray) -> np.ndarray:
    """Logits [n, labels] -> float64 [n, labels], for multilabel of each label by itself."""
    values = logits.astype(np.float64)
    if kind == "multilabel":
        return np.asarray(np.exp(-np.logaddexp(0, -values)))
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def slopes(kind: str, logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The gradient of half the squared error, or of the loss summed over the labels, with respect to the
    logits [n, outputs]: float64 [n, outputs]."""
    if kind == "regression":
        return logits.astype(np.float64) - targets[:, None]
    found = probabilities(kind, logits)
    if kind == "multilabel":
        return found - targets
    found[np.arange(len(found)), targets] -= 1
    return found


def fit(
    kind: str,
    features: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    outputs: int,
    strength: float,
    start: np.ndarray | None = None,
    precision: float = PRECISE,
) -> np.ndarray:
    """The coefficients float32 [d, outputs] that make the sum of the weighted losses (of multilabel summed
    over the labels) plus strength / 2 times their squares smallest.

    ``features`` float32 [n, d] as ``Scaling.of`` gives them; ``targets`` as for ``losses``; ``weights``
    [n] >= 0, rows of weight 0 are left out. ``start`` [d, outputs] is where the search begins. Without rows
    all are zero.
    """
    rows = np.flatnonzero(weights > 0)
    if not len(rows):
        return np.zeros((features.shape[1], outputs), np.float32)
    if len(rows) < len(weights):  # else a copy for nothing
        features, targets, weights = features[rows], targets[rows], weights[rows]
    weights = weights.astype(np.float32)
    if kind == "regression":
        return _ridge(features, targets, weights, strength)
    objective = _objective(kind, features, targets, weights, outputs, strength)
    begin = np.zeros((features.shape[1], outputs), np.float32) if start is None else start
    return _descend(objective, begin, precision)


def penalty(kind: str, features: np.ndarray, targets: np.ndarray, outputs: int, held: np.ndarray) -> float:
    """The largest strength of PENALTIES whose loss on the rows of the mask ``held`` [n], after learning from
    the others, is within one standard error of the smallest (Breiman et al. 1984); both sides need a row."""
    known, wanted, weights = features[~held], targets[~held], np.ones(int((~held).sum()))

    def tried(strength: float) -> np.ndarray:
        model = fit(kind, known, wanted, weights, outputs, strength, precision=ROUGH)
        return losses(kind, features[held] @ model, targets[held])

    found = list(side_by_side([partial(tried, strength) for strength in PENALTIES]))
    best = min(found, key=np.mean)
    for strength, each in zip(PENALTIES, found, strict=True):
        worse = each - best
        if worse.mean() <= worse.std() / np.sqrt(len(worse)):
            return strength
    return PENALTIES[-1]


def side_by_side(jobs: Sequence[Callable[[], Any]]) -> Iterator[Any]:
    """The results of ``jobs``, in order, as many at a time as there are processors.

    Each has one thread of the linear algebra library (``one_thread``).
    """
    with one_thread(), ThreadPoolExecutor(cores()) as pool:
        yield from pool.map(lambda job: job(), jobs)


def one_thread() -> AbstractContextManager[object]:
    """As long as this lasts, the linear algebra library has one thread: its own threads wait for each other
    by spinning, which on a busy machine takes ten times as long, and their number would decide the last bits.
    """
    found: AbstractContextManager[object] = threadpool_limits(1)
    return found


def cores() -> int:
    """Processors that this process may use: by its affinity, and in a container by the quota of its cgroup
    (version 2), rounded up."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return min(found, _quota(_CPU_MAX) or found)


def _quota(file: Path) -> int | None:
    """Processors by a file like "200000 100000" (microseconds of every so many); None without a limit."""
    try:
        most, period = file.read_text(encoding="ascii").split()
        return max(1, math.ceil(int(most) / int(period)))
    except (OSError, ValueError, ZeroDivisionError):  # no such file, or "max"
        return None


def _ridge(features: np.ndarray, targets: np.ndarray, weights: np.ndarray, strength: float) -> np.ndarray:
    mean = float(np.average(targets, weights=weights))
    weighted = features * weights[:, None]
    square = (weighted.T @ features).astype(np.float64) + strength * np.eye(features.shape[1])
    found = np.linalg.solve(square, weighted.T.astype(np.float64) @ (targets - mean))
    found[-1] += mean
    return found[:, None].astype(np.float32)


def _objective(
    kind: str,
    features: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    outputs: int,
    strength: float,
) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """The penalised loss of coefficients [d, outputs] and its gradient, both over the sum of the weights."""
    wanted = (
        targets.astype(np.float32) if targets.ndim == 2 else np.zeros((len(targets), outputs), np.float32)
    )
    if targets.ndim == 1:
        wanted[np.arange(len(targets)), targets] = 1
    total = float(weights.sum())

    def evaluate(coefficients: np.ndarray) -> tuple[float, np.ndarray]:
        logits = features @ coefficients
        if kind == "multilabel":
            each = (np.logaddexp(0, logits) - wanted * logits).sum(axis=1)
            slopes = np.exp(-np.logaddexp(0, -logits))
        else:
            logits -= logits.max(axis=1, keepdims=True)
            true = np.einsum("ij,ij->i", logits, wanted)
            slopes = np.exp(logits, out=logits)
            sums = slopes.sum(axis=1)
            each = np.log(sums) - true
            slopes /= sums[:, None]
        slopes -= wanted
        slopes *= weights[:, None]
        squares = float(np.square(coefficients, dtype=np.float64).sum())
        value = float(weights @ each) + strength / 2 * squares
        return value / total, (features.T @ slopes + np.float32(strength) * coefficients) / np.float32(total)

    return evaluate


def _descend(
    objective: Callable[[np.ndarray], tuple[float, np.ndarray]], start: np.ndarray, precision: float
) -> np.ndarray:
    from scipy.optimize import fmin_l_bfgs_b

    value, gradient = objective(start)
    # The first step of this search has the length 1: in these units it is one along the gradient.
    unit = float(np.linalg.norm(gradient))
    if not unit:
        return start
    known = [(value, gradient)]

    def evaluate(flat: np.ndarray) -> tuple[float, np.ndarray]:
        at = start + (unit * flat).reshape(start.shape).astype(np.float32)
        found, slope = known.pop() if known else objective(at)
        return found, unit * slope.ravel().astype(np.float64)

    flat, _, _ = fmin_l_bfgs_b(
        evaluate,
        np.zeros(start.size),
        pgtol=0,
        factr=precision / np.finfo(np.float64).eps,
        maxiter=_STEPS,
        m=10,
    )
    return start + (unit * flat).reshape(start.shape).astype(np.float32)
