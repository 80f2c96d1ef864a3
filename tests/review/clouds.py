"""Versions whose texts are points: each label a cloud of them, so that a linear model learns it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from doubleroute.review.changes import compare
from doubleroute.review.rows import Changes, VersionRows
from doubleroute.review.sampling import sampled
from doubleroute.review.study import Features, Study, study

LABELS = ("card", "loan", "rate")
#: split, number of the point, label.
Row = tuple[str, int, Any]


def points(count: int, seed: int = 0, spread: float = 1.2) -> np.ndarray:
    """``count`` points [count, 8] float32; point i belongs to the cloud i modulo 3."""
    generator = np.random.default_rng(seed)
    centres = 2 * np.eye(3, 8)
    noise = spread * generator.standard_normal((count, 8))
    return (centres[np.arange(count) % 3] + noise).astype(np.float32)


def good(split: str, numbers: Sequence[int]) -> list[Row]:
    """Rows with the labels that their points have."""
    return [(split, number, LABELS[number % 3]) for number in numbers]


def name(number: int) -> str:
    """A text for a point, unlike that of any other."""
    return np.base_repr(number * 7919 + 10**9, 36).lower()


def side(rows: Sequence[Row], kind: str = "classification") -> VersionRows:
    """The rows as one version."""
    return VersionRows(
        kind=kind,
        splits=[split for split, *_ in rows],
        files=[f"{split}.jsonl" for split, *_ in rows],
        numbers=list(range(1, len(rows) + 1)),
        texts=[name(number) for _, number, _ in rows],
        pairs=[None] * len(rows),
        labels=[label for *_, label in rows],
        keys=[None] * len(rows),
        segments={"source": [("mail", "chat")[number % 2] for _, number, _ in rows]},
    )


def both(
    before: Sequence[Row],
    after: Sequence[Row],
    cloud: np.ndarray,
    kind: str = "classification",
    most: int = 10_000,
) -> tuple[VersionRows, VersionRows, Changes, Features, Study]:
    """Two versions, compared and studied; see ``sampled`` for ``most``."""
    base, head = side(before, kind), side(after, kind)
    places = [np.array([number for _, number, _ in rows], np.int64) for rows in (before, after)]
    features = Features(cloud, places[0], places[1])
    changes = compare(base, head, 1.0)
    return (
        base,
        head,
        changes,
        features,
        study(base, head, changes, features, sampled(base, head, changes, most)),
    )
