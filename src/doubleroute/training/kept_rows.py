"""What is computed of single rows, kept: a later call computes only the rows that are new.

The rows of one call are one stage; when many have gathered they are made into one.
"""

import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from doubleroute.digests import digest_of
from doubleroute.workspace import Stage, Workspace

#: Stages of the same origin beyond which they are made into one.
MOST_STAGES = 8
_KEY = 16
Arrays = dict[str, np.ndarray]
#: Items of each row int64 [k], and arrays [items, ...] of the rows that are asked for, by their places.
Compute = Callable[[list[int]], tuple[np.ndarray, Arrays]]


def kept_rows(
    workspace: Workspace, name: str, made_by: dict[str, Any], keys: Sequence[bytes], compute: Compute
) -> tuple[np.ndarray, Arrays]:
    """What ``compute`` makes of n rows, each row of ``keys`` [n] once: ``starts`` int64 [n + 1], and arrays
    [items, ...] in which row i has the items from starts[i] to starts[i + 1].

    ``name`` is that of the stages; ``made_by`` all that the values depend on beside the keys.
    """
    with workspace.lock(f"{name}-{digest_of(made_by)}"):  # nobody waits for what another encoder computes
        stages = [each for each in workspace.all(name) if each.manifest["inputs"].get("made_by") == made_by]
        for stage in stages:
            workspace.use(stage)
        known = {key for stage in stages for key in _keys(stage)}
        new = {key: row for row, key in enumerate(keys) if key not in known}
        if new or not stages:

            def make(folder: Path) -> None:
                _save(folder, list(new), *compute(list(new.values())))

            stages.append(workspace.build(name, _inputs(made_by, new), make))
        if len(stages) > MOST_STAGES:
            stages = [_merged(workspace, name, stages, made_by)]
        sizes, arrays = _gathered(stages, keys)
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), arrays


def _inputs(made_by: dict[str, Any], keys: Iterable[bytes]) -> dict[str, Any]:
    return {"made_by": made_by, "rows": digest_of([key.hex() for key in keys])}


def _keys(stage: Stage) -> list[bytes]:
    keys = (stage.path / "keys.bin").read_bytes()
    return [keys[at : at + _KEY] for at in range(0, len(keys), _KEY)]


def _save(folder: Path, keys: Sequence[bytes], sizes: np.ndarray, arrays: Arrays) -> None:
    (folder / "keys.bin").write_bytes(b"".join(keys))
    np.save(folder / "sizes.npy", sizes, allow_pickle=False)
    for name, values in arrays.items():
        np.save(folder / f"values_{name}.npy", values, allow_pickle=False)


def _merged(workspace: Workspace, name: str, stages: Sequence[Stage], made_by: dict[str, Any]) -> Stage:
    """One stage with the rows of all; the others are removed."""
    keys = list(dict.fromkeys(key for stage in stages for key in _keys(stage)))

    def make(folder: Path) -> None:
        _save(folder, keys, *_gathered(stages, keys))

    merged = workspace.build(name, _inputs(made_by, keys), make)
    for stage in stages:
        if stage.path != merged.path:
            shutil.rmtree(stage.path, ignore_errors=True)
    return merged


def _gathered(stages: Sequence[Stage], keys: Sequence[bytes]) -> tuple[np.ndarray, Arrays]:
    """The sizes [n] and the arrays of these rows, in the order of ``keys``."""
    known = {key: (place, row) for place, stage in enumerate(stages) for row, key in enumerate(_keys(stage))}
    where = np.array([known[key] for key in keys], np.int64).reshape(-1, 2)
    stored = [np.load(stage.path / "sizes.npy") for stage in stages]
    sizes = np.zeros(len(keys), np.int64)
    for place, each in enumerate(stored):
        here = where[:, 0] == place
        sizes[here] = each[where[here, 1]]
    owner = np.repeat(np.arange(len(keys)), sizes)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    arrays: Arrays = {}
    for place, (stage, each) in enumerate(zip(stages, stored, strict=True)):
        items = where[owner, 0] == place
        begin = np.cumsum(each) - each
        wanted = begin[where[owner[items], 1]] + within[items]
        for path in sorted(stage.path.glob("values_*.npy")):
            values = np.load(path, mmap_mode="r")
            name = path.stem.removeprefix("values_")
            found = arrays.setdefault(name, np.empty((len(owner), *values.shape[1:]), values.dtype))
            found[items] = values[wanted]
    return sizes, arrays
