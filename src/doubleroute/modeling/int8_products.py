"""How a product X W of float32 becomes one of bytes: the scale of X, what is done about its large channels,
and how W is rounded.

X [tokens, inputs] has one scale and zero point, fixed from the ranges that were seen (static quantisation),
so that a row's answer does not depend on its neighbours. One scale is coarse where a few channels are much
larger than the others, as they are in trained encoders. Where that leaves less error on the texts, X is

- evened: X / s and W * s with s_j = max|X_j|^a / max|W_j|^(1-a) (SmoothQuant, Xiao et al. 2023);
- shifted: each channel by the middle of what was seen of it, made up for by the bias (Wei et al. 2023);
- split: its few largest channels are multiplied in float32 (LLM.int8(), Dettmers et al. 2022).

W [inputs, outputs] has a scale for each output and is rounded a row at a time, each row's error being made up
for by the rows that are still to come (GPTQ, Frantar et al. 2023).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

#: The largest weight. Processors without VNNI add two products of a byte and a weight in 16 bits and cut off
#: what is more: 2 * 255 * 64 fits, 2 * 255 * 127 does not. So the answers are the same on every processor.
LARGEST = 64
#: The power a.
EVENED = (0.5, 0.65, 0.8)
#: What is tried, cheapest first: how many channels are split off, and whether all are shifted.
MANY = 16
TRIED = ((0, False), (0, True), (2, False), (2, True), (MANY, False), (MANY, True))
#: A dearer way is taken where it leaves less than this part of the error. A split costs time with every
#: output: where these are more than the inputs MANY are not tried, and fewer have to leave less.
WORTH, WORTH_OF_WIDE = 0.6, 0.3
#: Of the mean square of a channel, added to each: texts that were not seen differ from these.
DAMPED = 0.01
#: Rows of W that are rounded before the rest hears of it; only the time depends on it.
BLOCK = 64


class Seen(NamedTuple):
    """What was seen of an X: the least and largest of each channel [inputs], its sum over all tokens [inputs]
    and that of the products of two channels [inputs, inputs], how many ``tokens``, and some of them [sample,
    inputs]."""

    least: np.ndarray
    largest: np.ndarray
    total: np.ndarray
    squares: np.ndarray
    tokens: int
    sample: np.ndarray

    def and_also(self, other: "Seen") -> "Seen":
        """Both together."""
        return Seen(
            np.minimum(self.least, other.least),
            np.maximum(self.largest, other.largest),
            self.total + other.total,
            self.squares + other.squares,
            self.tokens + other.tokens,
            np.concatenate([self.sample, other.sample]),
        )


class Recipe(NamedTuple):
    """How an X becomes bytes: ``(X - middle) / even / scale + zero`` but for the channels ``apart``."""

    middle: np.ndarray
    even: np.ndarray
    apart: np.ndarray
    scale: np.float32
    zero: np.uint8

    def read(self, tokens: np.ndarray) -> np.ndarray:
        """What stands in the bytes of tokens [n, inputs], again as numbers like X - middle."""
        steps, zero = np.rint((tokens - self.middle) / self.even / self.scale), float(self.zero)
        found: np.ndarray = np.clip(steps, -zero, 255 - zero) * self.scale * self.even
        return found

    def evened(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What X / even is multiplied with, [inputs, outputs], zero for what is apart; and its scales."""
        evened = matrix * self.even[:, None]
        evened[self.apart] = 0
        return evened, np.maximum(np.abs(evened).max(0), 1e-12).astype(np.float32) / np.float32(LARGEST)


class Rounded(NamedTuple):
    """A matrix in int8 [inputs, outputs], and its scales [outputs]."""

    small: np.ndarray
    scales: np.ndarray


def best(seen: Seen, matrices: Sequence[np.ndarray]) -> Recipe:
    """The recipe that leaves little error on the sample for its time."""
    whole = np.concatenate(matrices, axis=1)
    inputs, outputs = whole.shape
    tried = [(count, shifted) for count, shifted in TRIED if 4 * count <= inputs]
    if outputs > inputs:
        tried = [(count, shifted) for count, shifted in tried if count < MANY]
    error, found = _evened(seen, whole, *tried[0])
    for count, shifted in tried[1:]:
        worth = WORTH_OF_WIDE if count > len(found.apart) and outputs > inputs else WORTH
        other, recipe = _evened(seen, whole, count, shifted)
        if other < worth * error:
            error, found = other, recipe
    return found


def _evened(seen: Seen, matrix: np.ndarray, count: int, shifted: bool) -> tuple[float, Recipe]:
    """The error and the recipe of a way, evened where that is worth its time."""
    middle = (seen.largest + seen.least) / 2 * shifted
    size = np.maximum(np.maximum(middle - seen.least, seen.largest - middle), 1e-6)
    weight = np.maximum(np.abs(matrix).max(1), 1e-6)

    def made(even: np.ndarray) -> tuple[float, Recipe]:
        apart = np.sort(np.argsort(-size / even, kind="stable")[:count])
        recipe = _recipe(seen, middle, even / np.median(even), apart)
        return _error(recipe, seen.sample, matrix), recipe

    as_it_is = made(np.ones_like(size))
    evened = min((made(size**power / weight ** (1 - power)) for power in EVENED), key=lambda each: each[0])
    return evened if evened[0] < WORTH * as_it_is[0] else as_it_is


def _recipe(seen: Seen, middle: np.ndarray, even: np.ndarray, apart: np.ndarray) -> Recipe:
    """Scale and zero point so that what was seen just fits."""
    inside = np.ones(len(even), bool)
    inside[apart] = False
    least = min(0.0, float(((seen.least - middle) / even)[inside].min()))
    largest = max(0.0, float(((seen.largest - middle) / even)[inside].max()))
    scale = max(largest - least, 1e-12) / 255
    zero = np.uint8(round(-least / scale))
    return Recipe(middle.astype(np.float32), even.astype(np.float32), apart, np.float32(scale), zero)


def _error(recipe: Recipe, tokens: np.ndarray, matrix: np.ndarray) -> float:
    """Sum of squares of what a product is wrong by, but for its mean, with W rounded to the nearest."""
    missing = wrong(recipe, nearest(recipe, matrix), tokens, matrix)
    return float(np.square(missing - missing.mean(0), dtype=np.float64).sum())


def nearest(recipe: Recipe, matrix: np.ndarray) -> Rounded:
    """Each weight by itself."""
    evened, scales = recipe.evened(matrix)
    return Rounded(np.rint(evened / scales).astype(np.int8), scales)


def rounded(recipe: Recipe, seen: Seen, matrix: np.ndarray) -> Rounded:
    """A row at a time, those of large channels first; a row's error goes to the rows that follow, so that the
    sum of squares of what X W is wrong by, over all tokens that were seen, is least (GPTQ, algorithm 1)."""
    evened, scales = recipe.evened(matrix)
    middle, total = recipe.middle.astype(np.float64), seen.total.astype(np.float64)
    across = np.outer(total, middle)
    squares = seen.squares - across - across.T + seen.tokens * np.outer(middle, middle)
    squares /= np.outer(recipe.even, recipe.even)
    # The bytes' own rounding is noise of this variance in every channel.
    noise = seen.tokens * float(recipe.scale) ** 2 / 12
    squares[np.diag_indices_from(squares)] += noise
    squares[recipe.apart], squares[:, recipe.apart] = 0, 0
    squares[recipe.apart, recipe.apart] = 1
    order = np.argsort(-squares.diagonal(), kind="stable")
    spread = _spread(squares[np.ix_(order, order)])
    left, small = evened[order], np.zeros(matrix.shape, np.int8)
    missing = np.zeros_like(left)
    for first in range(0, len(order), BLOCK):  # what a block leaves goes to the rows behind it at once
        block = slice(first, first + BLOCK)
        for place in range(first, min(first + BLOCK, len(order))):
            row = small[order[place]]
            row[:] = np.clip(np.rint(left[place] / scales), -LARGEST, LARGEST)
            missing[place] = (left[place] - row * scales) / spread[place, place]
            left[place + 1 : first + BLOCK] -= np.outer(
                spread[place, place + 1 : first + BLOCK], missing[place]
            )
        left[first + BLOCK :] -= spread[block, first + BLOCK :].T @ missing[block]
    return Rounded(small, scales)


def _spread(squares: np.ndarray) -> np.ndarray:
    """How a row's error is handed on to later rows: the upper Cholesky factor of the inverse. What few texts
    leave undecided is damped more; in the end each row is rounded by itself."""
    mean = squares.diagonal().mean()
    for damped in (DAMPED, 10 * DAMPED, 100 * DAMPED):
        try:
            inverse = np.linalg.inv(squares + damped * mean * np.eye(len(squares)))
            found: np.ndarray = np.linalg.cholesky(inverse).T.astype(np.float32)
        except np.linalg.LinAlgError:
            continue
        return found
    return np.eye(len(squares), dtype=np.float32)


def wrong(recipe: Recipe, weights: Rounded, tokens: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """By how much each product of tokens [n, inputs] and a matrix [inputs, outputs] is too small, the shift
    included."""
    found = (recipe.read(tokens) / recipe.even) @ weights.small.astype(np.float32) * weights.scales
    found += tokens[:, recipe.apart] @ matrix[recipe.apart]
    missing: np.ndarray = tokens @ matrix - found
    return missing
