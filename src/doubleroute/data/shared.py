"""Texts that several tasks have: one pass of the backbone serves the rows of all of them."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from doubleroute.data.batches import Encoded
from doubleroute.data.tokens import Packed, said


def row_digests(packed: Packed) -> list[bytes]:
    """One digest a row, n of 16 bytes: XXH3 of what the backbone reads of it."""
    import xxhash

    found = []
    for first, last in pairwise(packed.starts.tolist()):
        ids, types = said(packed, slice(first, last))
        found.append(xxhash.xxh3_128_digest(ids + types, seed=int(bool(types))))
    return found


def text_numbers(encoded: Mapping[str, Encoded]) -> list[np.ndarray]:
    """For each task int64 [rows]: rows with the same tokens have the same number, whichever their task."""
    known: dict[bytes, int] = {}
    return [
        np.array([known.setdefault(each, len(known)) for each in row_digests(rows.packed)], np.int64)
        for rows in encoded.values()
    ]


def overlap(texts: Sequence[np.ndarray]) -> bool:
    """Whether two tasks have a text in common: of each task the text numbers of its rows."""
    distinct = [np.unique(each) for each in texts]
    return len(distinct) > 1 and sum(map(len, distinct)) > len(np.unique(np.concatenate(distinct)))


def streams(texts: Sequence[np.ndarray]) -> list[int]:
    """For each task, of the text numbers of its rows, the first task that has the same texts in the same
    order: tasks with one stream of random numbers draw the same texts."""
    return [next(first for first, each in enumerate(texts) if np.array_equal(each, mine)) for mine in texts]


def units(texts: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Which drawn rows [n] go together, as numbers from 0: those of different tasks with the same text.
    Of a task that draws a text twice the second row is in another unit, with the second rows of others."""
    order = np.lexsort((np.arange(len(texts)), texts, owner))
    new = np.ones(len(texts), bool)
    new[1:] = (np.diff(texts[order]) != 0) | (np.diff(owner[order]) != 0)
    firsts = np.flatnonzero(new)
    occurrence = np.empty(len(texts), np.int64)
    occurrence[order] = np.arange(len(texts)) - np.repeat(firsts, np.diff(np.append(firsts, len(texts))))
    return np.unique(np.stack([texts, occurrence], 1), axis=0, return_inverse=True)[1].reshape(-1)
