"""Corrections of p-values for being many."""

from collections.abc import Sequence

import numpy as np


def holm(p: Sequence[float], weights: Sequence[float] | None = None) -> list[float]:
    """p-values adjusted for being many, whatever their dependence (Holm 1979).

    ``weights`` are positive, by default equal: a test gets its share of alpha, and those of tests that
    are found are handed on to the rest. What is at most alpha is found.
    """
    values = np.array(p, np.float64)
    shares = np.ones(len(values)) if weights is None else np.array(weights, np.float64)
    order = np.argsort(values / shares, kind="stable")
    left = np.cumsum(shares[order][::-1])[::-1]
    adjusted = np.maximum.accumulate(values[order] * left / shares[order])
    made = np.empty(len(values))
    made[order] = np.minimum(adjusted, 1)
    return [float(each) for each in made]
