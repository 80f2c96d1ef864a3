"""What is computed of single rows, kept: a later call computes only the rows that are new.

They are stages of some thousand rows each, so that a kill costs what was being computed. Where the rows of a
call lie in many stages they are made into one. Only stages that have rows of a call are used by it: what
nobody asks for any more goes first when ``workspace.max_gb`` is reached.
"""

import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from doubleroute.digests import digest_of
from doubleroute.workspace import Stage, Workspace

#: New rows that are kept together.
ROWS_A_STAGE = 4096
#: Stages with rows of a call beyond which these rows are made into one.
MOST_STAGES = 8
#: A row's key, two halves side by side; numpy compares such bytes whole.
_KEY = np.dtype("S16")
Arrays = dict[str, np.ndarray]
#: The places of the rows that are asked for, in pieces, each int64 [k] -> for each piece the items of each
#: row int64 [k] and arrays [items, ...].
Compute = Callable[[Sequence[np.ndarray]], Iterable[tuple[np.ndarray, Arrays]]]


def kept_rows(
    workspace: Workspace, name: str, made_by: dict[str, Any], keys: np.ndarray, compute: Compute
) -> tuple[np.ndarray, Arrays]:
    """What ``compute`` makes of n rows, each row of ``keys`` uint64 [n, 2] once: ``starts`` int64 [n + 1],
    and arrays [items, ...] in which row i has the items from starts[i] to starts[i + 1].

    ``name`` is that of the stages; ``made_by`` all that the values depend on beside the keys.
    """
    asked, first, place = np.unique(
        np.ascontiguousarray(keys).view(_KEY).ravel(), return_index=True, return_inverse=True
    )
    with workspace.lock(f"{name}-{digest_of(made_by)}"):  # nobody waits for what another encoder computes
        stages: list[Stage] = []
        known: list[np.ndarray] = []
        for stage in workspace.all(name):
            if stage.manifest["inputs"].get("made_by") == made_by:
                with suppress(FileNotFoundError):  # another run has trimmed it
                    known.append(np.fromfile(stage.path / "keys.bin", _KEY))
                    stages.append(stage)
        owner, row = _found(known, asked)
        for number in np.unique(owner[owner >= 0]):
            workspace.use(stages[number])  # no run trims it while the others are computed
        new = np.flatnonzero(owner < 0)
        if len(new) or not stages:
            new = new[np.argsort(first[new])]
            pieces = [np.sort(each) for each in np.split(new, range(ROWS_A_STAGE, len(new), ROWS_A_STAGE))]
            for piece, made in zip(pieces, compute([first[piece] for piece in pieces]), strict=True):
                stages.append(_built(workspace, name, made_by, asked[piece], *made))
                known.append(asked[piece])
            owner, row = _found(known, asked)
        if len(np.unique(owner)) > MOST_STAGES:
            stages = [_merged(workspace, name, made_by, asked, stages, known, owner, row)]
            owner, row = _found([asked], asked)
        sizes, arrays = _gathered(stages, owner[place], row[place])
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), arrays


def _found(known: Sequence[np.ndarray], keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each of n sorted and distinct keys the number of a stage that has it, -1 where none has, and its row
    there: int64 [n]. ``known``: the keys of each stage, the one used last first. Where several have a key,
    that which has most of the keys, of those the first."""
    owner, row = np.full(len(keys), -1), np.zeros(len(keys), np.int64)
    shared = [_shared(keys, each) for each in known]
    for number in sorted(range(len(known)), key=lambda number: (len(shared[number][0]), -number)):
        here, there = shared[number]
        owner[here], row[here] = number, there
    return owner, row


def _shared(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the keys that both have stand in either, both being sorted and distinct: int64 [k]."""
    if len(one) > len(other):
        there, here = _shared(other, one)
        return here, there
    place = np.minimum(np.searchsorted(other, one), len(other) - 1)
    here = np.flatnonzero(other[place] == one)
    return here, place[here]


def _built(
    workspace: Workspace,
    name: str,
    made_by: dict[str, Any],
    keys: np.ndarray,
    sizes: np.ndarray,
    arrays: Arrays,
) -> Stage:
    """The stage of these rows, their keys sorted and distinct."""

    def make(folder: Path) -> None:
        keys.tofile(folder / "keys.bin")
        np.save(folder / "sizes.npy", sizes, allow_pickle=False)
        for array, values in arrays.items():
            np.save(folder / f"values_{array}.npy", values, allow_pickle=False)

    return workspace.build(name, {"made_by": made_by, "rows": digest_of(keys.tobytes().hex())}, make)


def _merged(
    workspace: Workspace,
    name: str,
    made_by: dict[str, Any],
    keys: np.ndarray,
    stages: Sequence[Stage],
    known: Sequence[np.ndarray],
    owner: np.ndarray,
    row: np.ndarray,
) -> Stage:
    """One stage with the rows of these keys; stages that have no others are removed."""
    merged = _built(workspace, name, made_by, keys, *_gathered(stages, owner, row))
    for stage, own in zip(stages, known, strict=True):
        if stage.path != merged.path and len(_shared(keys, own)[0]) == len(own):
            shutil.rmtree(stage.path, ignore_errors=True)
    return merged


def _gathered(stages: Sequence[Stage], owner: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, Arrays]:
    """The sizes [n] and the arrays of the rows that ``_found`` has found; without rows the arrays of any
    stage tell what these are."""
    numbers = np.unique(owner).tolist() or [0]
    stored = {number: np.load(stages[number].path / "sizes.npy") for number in numbers}
    rows = {number: np.flatnonzero(owner == number) for number in numbers}
    sizes = np.zeros(len(owner), np.int64)
    for number, here in rows.items():
        sizes[here] = stored[number][row[here]]
    ends = np.cumsum(sizes)
    arrays: Arrays = {}
    for number, here in rows.items():
        each = stored[number]
        into = _items((ends - sizes)[here], sizes[here])
        wanted = _items((np.cumsum(each) - each)[row[here]], sizes[here])
        for path in sorted(stages[number].path.glob("values_*.npy")):
            values = np.load(path, mmap_mode="r")
            array = path.stem.removeprefix("values_")
            if array not in arrays:
                arrays[array] = np.empty((int(sizes.sum()), *values.shape[1:]), values.dtype)
            arrays[array][into] = values[wanted]
    return sizes, arrays


def _items(begins: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """From each of these begins as many numbers as its size: int64 [items]."""
    return np.arange(int(sizes.sum())) + np.repeat(begins - (np.cumsum(sizes) - sizes), sizes)
