"""Two-sample tests and estimates: numbers in, numbers out.

Everything takes a reference of n rows and a current side of m rows, finite values only. Effects are in
[0, 1]: 0 says that the sides are the same, 1 that no value occurs on both. What the sides really differ by
does not depend on n and m; chance adds to it about 1/sqrt(rows) of the smaller side, and more where it is the
largest of many columns or of many categories. So effects of windows of other sizes can be compared only where
they are no chance.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import chdtrc, expit, kolmogorov

#: Pairs of rows behind the median distance, and permutations in one matrix product.
PAIRS, BLOCK = 5000, 256
#: MMD values nearer than this are ties: float32 means of equal rows differ by less.
TIE = 1e-9
#: The least expected count that the chi-square approximation is used with (Cochran 1954).
EXPECTED = 5.0
#: A confusion matrix whose smallest singular value is below this says nothing about shares of labels.
SINGULAR = 0.1
#: Cells of the confusion matrices that are solved at once.
CELLS = 2**20
#: Half the width of a 95% interval in standard errors.
Z95 = 1.959964


class Found(NamedTuple):
    """One test: its statistic, p-value in (0, 1] and effect in [0, 1]."""

    statistic: float
    p: float
    effect: float


@dataclass(frozen=True)
class Kernel:
    """Random Fourier features of a Gaussian kernel (Rahimi & Recht 2007), as cosines and sines of the
    same frequencies (Sutherland & Schneider 2015): the features of a row have length 1.

    ``centre`` [d], ``frequencies`` [d, features / 2], both float32.
    """

    centre: np.ndarray
    frequencies: np.ndarray

    def features(self, rows: np.ndarray) -> np.ndarray:
        """rows [k, d] -> float32 [k, features]."""
        phases = (rows.astype(np.float32, copy=False) - self.centre) @ self.frequencies
        half = phases.shape[1]
        made = np.empty((len(rows), 2 * half), np.float32)
        np.cos(phases, out=made[:, :half])
        np.sin(phases, out=made[:, half:])
        made *= np.float32(1 / np.sqrt(half))
        return made


def kernel(rows: np.ndarray, features: int, seed: int) -> Kernel:
    """A Gaussian kernel for ``rows`` [k, d], k >= 1: the bandwidth is the median distance of random pairs
    of different rows (Gretton et al. 2012), 1 where all rows are the same."""
    generator = np.random.default_rng(seed)
    first, second = generator.integers(0, len(rows), (2, PAIRS))
    distances = np.linalg.norm(rows[first].astype(np.float64) - rows[second], axis=1)
    apart = distances[distances > 0]
    bandwidth = float(np.median(apart)) if apart.size else 1.0
    drawn = generator.standard_normal((rows.shape[1], max(1, features // 2)), np.float32)
    return Kernel(rows.mean(0, dtype=np.float64).astype(np.float32), drawn / np.float32(bandwidth))


def mmd(
    reference: np.ndarray, current: np.ndarray, features: int, permutations: int, seed: int
) -> tuple[Found, float]:
    """Maximum mean discrepancy of reference [n, d] and current [m, d], both at least 2 rows, with a
    permutation test (Gretton et al. 2012) on ``features`` random features of one Gaussian kernel.

    Gives MMD^2 (biased), p = (1 + permutations at least as large) / (1 + permutations), ``spread``'s
    effect, and the 95% quantile of the permutations.
    """
    pooled = np.concatenate([reference, current])
    made = kernel(pooled, features, seed).features(pooled)
    return mmd_of_features(made[: len(reference)], made[len(reference) :], permutations, seed)


def mmd_of_features(
    reference: np.ndarray, current: np.ndarray, permutations: int, seed: int
) -> tuple[Found, float]:
    """``mmd`` of rows that are features of a kernel already: [n, features] and [m, features]."""
    n, m = len(reference), len(current)
    centred = np.concatenate([reference, current])
    centred -= centred.mean(0, dtype=np.float64).astype(np.float32)
    # Of centred rows the mean of one side says the other's: mean difference = (1/n + 1/m) sum of current.
    scale = (1 / n + 1 / m) ** 2
    side = np.arange(n + m) >= n
    values = np.concatenate(
        [
            scale * np.square(chosen.astype(np.float32) @ centred, dtype=np.float64).sum(1)
            for chosen in _shuffled(side, permutations, seed)
        ]
    )
    observed, null = values[0], values[1:]
    exceeding = int((null >= observed * (1 - 1e-6) - TIE).sum())
    effect = spread(reference.mean(0, dtype=np.float64), n, current.mean(0, dtype=np.float64), m)
    found = Found(float(observed), (1 + exceeding) / (1 + permutations), effect)
    return found, float(np.quantile(null, 0.95))


def _shuffled(side: np.ndarray, permutations: int, seed: int) -> Iterator[np.ndarray]:
    """The given split and then ``permutations`` random ones, bool [at most BLOCK, rows] at a time."""
    generator = np.random.default_rng([seed, 1])
    yield side[None]
    for first in range(0, permutations, BLOCK):
        count = min(BLOCK, permutations - first)
        yield generator.permuted(np.broadcast_to(side, (count, len(side))), axis=1)


def spread(reference: np.ndarray, n: int, current: np.ndarray, m: int) -> float:
    """How far apart two groups lie in a kernel's space: the correlation of side and place, in [0, 1].

    ``reference`` and ``current`` [features] are means of n and m features of length 1, n and m >= 2. The
    root of the share of the variance that lies between the sides if both weigh the same (the R^2 of
    Anderson 2001), from the unbiased MMD^2, so 0 where the sides differ by no more than chance. With a
    share s of other rows mixed in, it is about s times what it is for those rows alone.
    """
    inside = [(size * float(mean @ mean) - 1) / (size - 1) for mean, size in ((reference, n), (current, m))]
    between = max(0.0, sum(inside) - 2 * float(reference @ current))
    total = 1 - sum(inside) / 2 + between / 4
    return float(min(1.0, np.sqrt(between / 4 / total))) if total > TIE else 0.0


def ks(reference: np.ndarray, current: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kolmogorov-Smirnov tests of d columns at once: [n, d] and [m, d] -> D [d] and p [d].

    p is the asymptotic one, which is on the safe side for small samples and with ties.
    """
    n, m = len(reference), len(current)
    pooled = np.ascontiguousarray(np.concatenate([reference, current]).T)
    order = np.argsort(pooled, axis=1)
    steps = np.where(np.arange(n + m) < n, 1 / n, -1 / m)
    gaps = np.abs(np.cumsum(steps[order], axis=1))
    ordered = np.take_along_axis(pooled, order, axis=1)
    gaps[:, :-1][ordered[:, :-1] == ordered[:, 1:]] = 0  # inside a tie the sides are not compared
    gaps[:, -1] = 0
    largest = gaps.max(1)
    return largest, kolmogorov(np.sqrt(n * m / (n + m)) * largest)


def chi_square(reference: np.ndarray, current: np.ndarray) -> Found:
    """Pearson's chi-square of counts [k] of each side, both with a row.

    The rarest categories are taken together until each expects EXPECTED rows on either side; p is 1
    where one category is left. The effect is Cramer's V of all categories, both sides weighing the same.
    """
    counts = np.stack([reference, current]).astype(np.float64)
    counts = counts[:, counts.sum(0) > 0]
    shares = counts / counts.sum(1, keepdims=True)
    effect = np.sqrt(np.square(shares[0] - shares[1]) @ (1 / shares.sum(0)) / 2)
    merged = _merged(counts)
    expected = merged.sum(1, keepdims=True) * merged.sum(0) / merged.sum()
    statistic = float((np.square(merged - expected) / expected).sum())
    freedom = merged.shape[1] - 1
    p = float(chdtrc(freedom, statistic)) if freedom else 1.0
    return Found(statistic, p, float(min(1.0, effect)))


def _merged(counts: np.ndarray) -> np.ndarray:
    """Counts [2, k] with the rarest categories summed into one, so far as EXPECTED asks for it."""
    counts = counts[:, np.argsort(counts.sum(0), kind="stable")]
    expected = counts.sum(0) * counts.sum(1).min() / counts.sum()
    rare = int((expected < EXPECTED).sum())
    while rare and rare < len(expected) and expected[:rare].sum() < EXPECTED:
        rare += 1
    return np.concatenate([counts[:, :rare].sum(1, keepdims=True), counts[:, rare:]], 1) if rare else counts


class Shares(NamedTuple):
    """Shares of k labels on the current side with 95% bounds, each [k]; or why there are none."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    why: str | None


def bbse(confusion: np.ndarray, predicted: np.ndarray, seed: int) -> Shares:
    """Black box shift estimation (Lipton et al. 2018): shares of labels from predictions alone.

    ``confusion`` [k, k] counts labelled reference rows by prediction (rows) and label (columns), of rows
    that the model did not learn from; ``predicted`` [k] counts current predictions. It holds when labels
    became more or less frequent and the texts of a label stayed as they are. The bounds are of a
    bootstrap of both sides. Undefined, with a reason, when a label has no reference row, and when the
    confusion matrix is so near to singular (SINGULAR) that labels cannot be told apart.
    """
    k = len(predicted)
    nothing = np.full(k, np.nan)
    if (confusion.sum(0) == 0).any() or not predicted.sum():
        return Shares(nothing, nothing, nothing, "a label has no reference row with a prediction")
    smallest = float(np.linalg.svd(_given(confusion[None])[0], compute_uv=False)[-1])
    if smallest < SINGULAR:
        why = f"the confusion matrix is near singular (smallest singular value {smallest:.3f})"
        return Shares(nothing, nothing, nothing, why)
    generator = np.random.default_rng(seed)
    resamples = 1000 if k <= 20 else 200
    # A cell without a row draws none: what is drawn grows with the rows. The last takes what is left over.
    cells = np.union1d(np.flatnonzero(confusion), k * k - 1)
    tables, drawn = (
        np.concatenate([counts[None], generator.multinomial(counts.sum(), counts / counts.sum(), resamples)])
        for counts in (confusion.ravel()[cells], predicted)
    )
    block, solved = max(1, CELLS // k**2), list[np.ndarray]()
    for first in range(0, resamples + 1, block):
        some = np.zeros((len(tables[first : first + block]), k * k))
        some[:, cells] = tables[first : first + block]
        solved.append(_shares(some.reshape(-1, k, k), drawn[first : first + block]))
    shares = np.concatenate(solved)
    low, high = np.percentile(shares[1:], [2.5, 97.5], axis=0)
    return Shares(shares[0], low, high, None)


def _given(tables: np.ndarray) -> np.ndarray:
    """P(prediction | label) of counts [r, k, k] by prediction and label; 0 for a label without a row."""
    return tables / np.maximum(tables.sum(1, keepdims=True), 1)


def _shares(tables: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Shares of labels [r, k] that give these counts of predictions [r, k] by these tables [r, k, k]. A
    resample may be singular; solved all the same, it makes the bounds as wide as they should be."""
    right = predicted[..., None] / predicted.sum(1)[:, None, None]
    solved = np.linalg.solve(_given(tables) + 1e-9 * np.eye(tables.shape[1]), right)[..., 0]
    shares = np.maximum(solved, 0)
    return shares / shares.sum(1, keepdims=True)


class Estimate(NamedTuple):
    """A share in [0, 1] with its 95% interval."""

    value: float
    low: float
    high: float


def expected_accuracy(confidence: np.ndarray, right: np.ndarray, current: np.ndarray) -> Estimate | None:
    """The accuracy to expect on m current rows from the confidence of the answers alone.

    ``confidence`` [n] and ``right`` [n] are of reference rows that the model did not learn from,
    ``current`` [m] the confidences now, in [0, 1]. Confidence is calibrated on the reference by a
    logistic curve of its log-odds (Platt 1999), then averaged (Guo et al. 2017 show that a scale is
    about all that calibration needs). With the interval of the delta method: the curve's uncertainty and
    that of the current rows. It knows nothing of errors that leave the confidence as it is. None without
    rows on a side.
    """
    if not len(confidence) or not len(current):
        return None
    before, now = (_log_odds(np.asarray(values, np.float64)) for values in (confidence, current))
    centre, scale = before.mean(), before.std() or 1.0
    design, applied = (
        np.stack([np.ones(len(values)), (values - centre) / scale], 1) for values in (before, now)
    )
    hits = int(np.sum(right))
    # Platt's targets keep the curve finite where all answers are right.
    target = np.where(right, (hits + 1) / (hits + 2), 1 / (len(design) - hits + 2))
    curve, covariance = _logistic(design, target)
    chances = expit(applied @ curve)
    slope = (chances * (1 - chances)) @ applied / len(now)
    # Each current row is right or wrong: p (1 - p) on top of how far the rows' chances lie apart.
    value = float(chances.mean())
    error = float(np.sqrt(slope @ covariance @ slope + value * (1 - value) / len(now)))
    return Estimate(value, max(0.0, value - Z95 * error), min(1.0, value + Z95 * error))


def _log_odds(confidence: np.ndarray) -> np.ndarray:
    inside = np.clip(confidence, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(inside) - np.log1p(-inside))


def _logistic(design: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients [2] of a logistic curve and their covariance [2, 2], by Newton's method. A weak pull
    to 0 defines the slope where all confidences are the same."""
    curve, pull = np.zeros(2), np.diag([0.0, 1e-2])
    for _ in range(50):
        chances = expit(design @ curve)
        information = (design * (chances * (1 - chances))[:, None]).T @ design + pull
        step = np.linalg.solve(information, design.T @ (target - chances) - pull @ curve)
        curve = curve + step
        if np.abs(step).max() < 1e-9:
            break
    return curve, np.linalg.inv(information)
