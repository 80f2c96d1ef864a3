"""How well embeddings tell the current rows from the reference, and which rows and groups do it."""

import math
from typing import Any, NamedTuple

import numpy as np

_FEATURES = 64
#: What the Fourier features must add to the area under the curve: they cost power where they do not help.
_WORTH = 0.02
_FIT_ROWS = 2500
_PCA_ROWS = 2000
_COMPONENTS = 32
_CLUSTERS = 12
_RESAMPLES = 500


class Ordering(NamedTuple):
    """P(a current value is larger than a reference value), ties counting half, with its 95% interval;
    ``chance``: what 97.5 of 100 samples without a difference stay below."""

    value: float
    low: float
    high: float
    chance: float


def ordering(
    reference: np.ndarray, current: np.ndarray, groups: tuple[np.ndarray, np.ndarray], seed: int
) -> Ordering:
    """The area under the ROC curve of values [n] and [m], with a bootstrap that draws groups.

    ``groups`` ([n], [m]) number the rows that are one observation, such as copies of a text. Both sides
    need a row.
    """
    _, places = np.unique(np.concatenate([reference, current]), return_inverse=True)
    _, group = np.unique(np.concatenate(groups), return_inverse=True)
    split = len(reference)
    generator = np.random.default_rng(seed)
    count = int(group.max()) + 1
    drawn = [
        _area(places, split, np.bincount(generator.integers(0, count, count), minlength=count)[group])
        for _ in range(_RESAMPLES)
    ]
    low, high = np.nanpercentile(drawn, (2.5, 97.5))
    n, m = (len(np.unique(side)) for side in groups)
    chance = 0.5 + 1.96 * math.sqrt((n + m + 1) / (12 * n * m))
    return Ordering(_area(places, split, np.ones(len(places))), float(low), float(high), chance)


def widened(embeddings: np.ndarray, seed: int) -> np.ndarray:
    """Standardised embeddings [n, hidden] beside random Fourier features of them (Rahimi & Recht 2007,
    bandwidth from the median distance), standardised too: float32 [n, hidden + _FEATURES]."""
    generator = np.random.default_rng(seed)
    plain = _standardised(embeddings.astype(np.float32))
    some = plain[generator.permutation(len(plain))[:500]]
    half = len(some) // 2
    distance = float(np.median(np.linalg.norm(some[:half] - some[half : 2 * half], axis=1))) if half else 0.0
    weights = generator.standard_normal((plain.shape[1], _FEATURES)).astype(np.float32)
    phases = generator.uniform(0, 2 * math.pi, _FEATURES).astype(np.float32)
    waves = np.cos(plain @ (weights / np.float32(distance or 1.0)) + phases)
    return np.concatenate([plain, _standardised(waves)], axis=1)


def taught(features: np.ndarray, plain: int, current: np.ndarray, seed: int) -> np.ndarray:
    """What tells the current rows (mask [n]) from the others, as weights of the features: ``direction``,
    of the first ``plain`` columns alone unless all of them do better on a half of these very rows. Both
    sides need two rows."""
    generator = np.random.default_rng(seed)
    check = np.zeros(len(current), bool)
    for mask in (~current, current):
        check[generator.permutation(np.flatnonzero(mask))[::2]] = True
    areas = []
    for columns in (plain, features.shape[1]):
        known = features[:, :columns]
        scores = known[check] @ direction(known[~check], current[~check], seed)
        order = np.argsort(current[check], kind="stable")
        _, places = np.unique(scores[order], return_inverse=True)
        areas.append(_area(places, int((~current[check]).sum()), np.ones(len(places))))
    if areas[1] > areas[0] + _WORTH:
        return direction(features, current, seed)
    weights = np.zeros(features.shape[1])
    weights[:plain] = direction(features[:, :plain], current, seed)
    return weights


def direction(features: np.ndarray, current: np.ndarray, seed: int) -> np.ndarray:
    """Fisher's discriminant of the current rows (mask [n]) against the others: a float64 vector.

    The covariance within the sides is shrunk towards a multiple of the identity (Ledoit & Wolf 2004).
    At most _FIT_ROWS rows a side are used; both sides need one.
    """
    generator = np.random.default_rng(seed)
    sides = []
    for mask in (~current, current):
        rows = np.flatnonzero(mask)
        sides.append(features[np.sort(generator.permutation(rows)[:_FIT_ROWS])])
    means = [side.mean(axis=0, dtype=np.float64) for side in sides]
    centred = np.concatenate(
        [side - mean.astype(np.float32) for side, mean in zip(sides, means, strict=True)]
    )
    size = centred.shape[1]
    weights = np.concatenate([np.full(len(side), 0.5 / len(side), np.float32) for side in sides])
    covariance = ((centred * weights[:, None]).T @ centred).astype(np.float64)
    scale = float(np.trace(covariance)) / size
    fourth = float(
        (weights.astype(np.float64) ** 2 * (centred.astype(np.float64) ** 2).sum(axis=1) ** 2).sum()
    )
    noise = fourth - float((weights.astype(np.float64) ** 2).sum()) * float((covariance**2).sum())
    spread = float(((covariance - scale * np.eye(size)) ** 2).sum())
    share = min(1.0, max(1e-3, noise / spread)) if spread > 0 else 1.0
    shrunk = (1 - share) * covariance + (share * scale + 1e-9) * np.eye(size)
    found: np.ndarray = np.linalg.solve(shrunk, means[1] - means[0])
    return found


def components(embeddings: np.ndarray, current: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows on their principal components, both sides weighing the same: [n, at most _COMPONENTS], and
    the share of the variance that each explains."""
    generator = np.random.default_rng(seed)
    sides = [generator.permutation(np.flatnonzero(mask)) for mask in (~current, current)]
    smallest = min(_PCA_ROWS, *(len(side) for side in sides))
    chosen = embeddings[np.concatenate([side[:smallest] for side in sides])].astype(np.float64)
    centre = chosen.mean(axis=0)
    values, vectors = np.linalg.eigh((chosen - centre).T @ (chosen - centre) / len(chosen))
    vectors = vectors[:, ::-1][:, :_COMPONENTS]
    # Eigenvectors are known but for their sign: the largest entry is made positive.
    largest = np.argmax(np.abs(vectors), axis=0)
    vectors = vectors * np.sign(vectors[largest, np.arange(vectors.shape[1])])
    total = float(values.sum())
    shares = values[::-1][:_COMPONENTS] / total if total > 0 else np.zeros(vectors.shape[1])
    return (embeddings - centre.astype(np.float32)) @ vectors.astype(np.float32), shares


def clusters(points: np.ndarray, fit: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The group [n] of every row and its distance [n] to the group's centre; k-means (Lloyd 1982) with
    k-means++ starts (Arthur & Vassilvitskii 2007) on the rows of the mask ``fit``."""
    generator = np.random.default_rng(seed)
    known = points[fit]
    known = known[np.sort(generator.permutation(len(known))[: 2 * _FIT_ROWS])]
    centres = known[[int(generator.integers(len(known)))]]
    nearest = _squares(known, centres)[:, 0]
    for _ in range(min(_CLUSTERS, max(2, len(known) // 50)) - 1):
        total = float(nearest.sum())
        if total <= 0:
            break
        start = known[[int(np.searchsorted(np.cumsum(nearest), generator.uniform(0, total)))]]
        centres = np.concatenate([centres, start])
        nearest = np.minimum(nearest, _squares(known, start)[:, 0])
    for _ in range(20):
        member = np.argmin(_squares(known, centres), axis=1)
        there = [member == place for place in range(len(centres))]
        moved = [
            known[mask].mean(axis=0) if mask.any() else old for mask, old in zip(there, centres, strict=True)
        ]
        if np.allclose(moved, centres):
            break
        centres = np.stack(moved)
    squares = _squares(points, centres)
    member = np.argmin(squares, axis=1)
    return member, np.sqrt(squares[np.arange(len(points)), member])


def projection(
    points: np.ndarray, shares: np.ndarray, current: np.ndarray, most: int, seed: int
) -> dict[str, Any]:
    """At most ``most`` rows of a side on the first two components, rounded."""
    generator = np.random.default_rng(seed)
    plane = np.zeros((len(points), 2), np.float64)
    plane[:, : min(2, points.shape[1])] = points[:, :2]
    scale = float(np.abs(plane).max()) or 1.0
    digits = max(0, 3 - math.floor(math.log10(scale)))
    found: dict[str, Any] = {"explained": [round(float(share), 4) for share in shares[:2]]}
    for side, mask in (("reference", ~current), ("current", current)):
        rows = np.sort(generator.permutation(np.flatnonzero(mask))[:most])
        found[side] = [[round(float(x), digits), round(float(y), digits)] for x, y in plane[rows]]
    return found


def _area(places: np.ndarray, split: int, weights: np.ndarray) -> float:
    """The area under the ROC curve of rows with the ranks ``places``, those from ``split`` on being the
    current ones; NaN when a side weighs nothing."""
    size = int(places.max()) + 1
    first = np.bincount(places[:split], weights[:split], size)
    second = np.bincount(places[split:], weights[split:], size)
    pairs = float(first.sum()) * float(second.sum())
    return float((second * (np.cumsum(first) - first / 2)).sum()) / pairs if pairs else math.nan


def _squares(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    squares = (points**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1) - 2 * points @ centres.T
    return np.maximum(squares, 0).astype(np.float64)


def _standardised(columns: np.ndarray) -> np.ndarray:
    mean, spread = columns.mean(axis=0, dtype=np.float64), columns.std(axis=0, dtype=np.float64)
    # A column that does not vary says nothing: it becomes zeros.
    scale = np.where(spread > 1e-6 * (np.abs(mean) + 1e-12), spread, np.inf)
    scaled: np.ndarray = ((columns - mean) / scale).astype(np.float32)
    return scaled
