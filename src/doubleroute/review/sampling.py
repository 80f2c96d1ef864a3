"""Which rows of both versions models look at: at random, the same texts in either version.

Changed rows and the others are drawn apart, so that a few changed rows among many are all looked at. A row
then stands for as many as its chance says (Horvitz & Thompson 1952): what is learned from the rows is learned
as from all of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from doubleroute.data.splits import position
from doubleroute.review.rows import Changes, VersionRows

#: Added to the project's seed, so that the draw has nothing to do with that of the splits.
_DRAW = 0x5EED_0F_A11
Sides = tuple[VersionRows, VersionRows]
#: File and number of rows.
Places = frozenset[tuple[str, int]]


@dataclass(frozen=True)
class Sampled:
    """The rows that are looked at, of base and of head.

    ``rows`` bool [rows of the version]; ``weights`` float64 [rows]: how many rows one stands for, 1 or more;
    ``sound`` bool [rows]: those that validation does not take out. ``changed``: changed training rows, as
    pairs of ``Changes``; ``looked_at``: how many of them are among ``rows``.
    """

    rows: tuple[np.ndarray, np.ndarray]
    weights: tuple[np.ndarray, np.ndarray]
    sound: tuple[np.ndarray, np.ndarray]
    changed: int
    looked_at: int


def sampled(
    base: VersionRows,
    head: VersionRows,
    changes: Changes,
    most: int,
    seed: int = 0,
    quarantined: tuple[Places, Places] = (frozenset(), frozenset()),
) -> Sampled:
    """Of each split ``most`` changed rows, or all where there are no more, and of the others about as many as
    ``most`` of the larger version's rows hold. The draw depends on texts and ``seed``.

    A text is taken in both versions or in neither. Rows that are ``quarantined`` in their version teach
    nothing and are not looked at; one that is so in one of the versions alone counts as changed.
    """
    sides = (base, head)
    sound = (_sound(base, quarantined[0]), _sound(head, quarantined[1]))
    touched = _touched(changes, sound)
    chances: dict[tuple[str, str], float] = {}
    changed = looked_at = 0
    for places in _by_split(sides, changes, touched):
        drawn = set(_in_order(sides, changes, places, seed)[:most])
        for place in places:
            texts = list(_texts(sides, changes, place))
            chance = len(drawn) / len(places) if place in drawn else 0.0
            chances |= {text: max(chance, chances.get(text, 0.0)) for text in texts}
            if any(split == "train" for split, _ in texts):
                changed, looked_at = changed + 1, looked_at + (place in drawn)
    found = [_chances(side, other, chances, most, seed) for side, other in (sides, sides[::-1])]
    rows = [(of > 0) & whole for of, whole in zip(found, sound, strict=True)]
    weights = [1 / np.where(of > 0, of, 1.0) for of in found]
    return Sampled((rows[0], rows[1]), (weights[0], weights[1]), sound, changed, looked_at)


def _sound(side: VersionRows, quarantined: Places) -> np.ndarray:
    return np.array([at not in quarantined for at in zip(side.files, side.numbers, strict=True)], bool)


def _touched(changes: Changes, sound: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The places [k] in ``changes.pairs`` of which the versions may teach something else."""
    before, after = (np.append(each, False)[changes.pairs[:, side]] for side, each in enumerate(sound))
    happened = np.array([bool(kinds) for kinds in changes.kinds], bool)
    return np.flatnonzero((happened | (before != after)) & (before | after))


def _by_split(sides: Sides, changes: Changes, places: np.ndarray) -> list[list[int]]:
    """The places by the split of their row in head, where there is one."""
    found: dict[str, list[int]] = {}
    for place in places.tolist():
        before, after = changes.pairs[place].tolist()
        split = sides[1].splits[after] if after >= 0 else sides[0].splits[before]
        found.setdefault(split, []).append(place)
    return list(found.values())


def _in_order(sides: Sides, changes: Changes, places: list[int], seed: int) -> list[int]:
    """The places in an order at random that depends on their texts."""
    keys = {place: next(_texts(sides, changes, place))[1] for place in places}
    return sorted(places, key=lambda place: (position(keys[place], _DRAW + seed), place))


def _texts(sides: Sides, changes: Changes, place: int) -> Iterator[tuple[str, str]]:
    """Split and text of the rows of a pair, those of base first."""
    for side, row in zip(sides, changes.pairs[place].tolist(), strict=True):
        if row >= 0:
            yield side.splits[row], side.alike()[row]


def _chances(
    side: VersionRows, other: VersionRows, known: dict[tuple[str, str], float], most: int, seed: int
) -> np.ndarray:
    """The chance of each row that is taken, 0 for the others: float64 [rows]."""
    larger = {split: max(side.splits.count(split), other.splits.count(split)) for split in set(side.splits)}
    shares = {split: min(1.0, most / rows) for split, rows in larger.items()}
    found = np.ones(len(side))
    for row, at in enumerate(zip(side.splits, side.alike(), strict=True)):
        share = shares[at[0]]
        if at in known:
            found[row] = known[at]
        elif share < 1:
            found[row] = share if position(at[1], _DRAW + seed) < share else 0.0
    return found
