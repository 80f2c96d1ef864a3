"""Token ids of rows that earlier runs have tokenised: new data cost what is new.

Beside the packed rows of each task and split lies ``keys.npy``, one digest a row of what was tokenised, so
that a later tokenise stage of the same tokenizer takes the rows that it shares with an earlier one.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from doubleroute.data.tokens import Packed
from doubleroute.workspace import Workspace

KEYS = "keys.npy"
#: Earlier stages that are looked into, those used last first.
_STAGES = 4


def row_keys(
    texts: Sequence[str], pairs: Sequence[str] | None, tokens: Sequence[Sequence[str]] | None
) -> np.ndarray:
    """One digest a row of what is tokenised and how: uint64 [n, 2], the halves of an XXH3 of 128 bits.
    ``tokens`` of rows whose words count."""
    import xxhash

    if tokens is not None:
        said, form = ["\0".join(each) for each in tokens], 2
    elif pairs is not None:
        said, form = [f"{text}\0{pair}" for text, pair in zip(texts, pairs, strict=True)], 1
    else:
        said, form = list(texts), 0
    found = b"".join(
        xxhash.xxh3_128_digest(each.encode("utf-8", "surrogatepass"), seed=form) for each in said
    )
    return np.frombuffer(found, np.uint64).reshape(-1, 2)


class KnownTokens:
    """The packed rows of earlier tokenise stages that were ``made_by`` the same."""

    def __init__(self, workspace: Workspace, made_by: dict[str, Any]) -> None:
        self.folders: list[Path] = []
        #: Where a row is: the number of its folder, and its row there.
        self.places: dict[bytes, tuple[int, int]] = {}
        stages = [
            each for each in workspace.all("tokenise") if each.manifest["inputs"].get("made_by") == made_by
        ]
        for stage in stages[:_STAGES]:
            workspace.use(stage)  # no other run trims it before its rows are read
            for file in sorted(stage.path.rglob(KEYS)):
                self.add(file)

    def add(self, file: Path) -> None:
        """Know the rows beside a file of keys too."""
        number = len(self.folders)
        self.folders.append(file.parent)
        for row, key in enumerate(np.load(file)):
            self.places.setdefault(key.tobytes(), (number, row))

    def packed(self, keys: np.ndarray, tokenise: Callable[[list[int]], Packed]) -> Packed:
        """The rows of these keys, those that are not known by ``tokenise``, which is given their numbers."""
        wanted = [key.tobytes() for key in keys]
        known = np.array([self.places.get(key, (-1, -1)) for key in wanted], np.int64).reshape(-1, 2)
        parts: list[Packed] = []
        order: list[int] = []
        for number in np.unique(known[known[:, 0] >= 0, 0]):
            here = np.flatnonzero(known[:, 0] == number)
            if self.folders[number].is_dir():
                parts.append(_rows(Packed.load(self.folders[number]), known[here, 1]))
                order += here.tolist()
            else:  # removed by hand, or by a replay that has ended
                known[here] = -1
        missing = np.flatnonzero(known[:, 0] < 0).tolist()
        if not parts:
            return tokenise(missing)
        if missing:
            parts.append(tokenise(missing))
            order += missing
        return _rows(_joined(parts), np.argsort(order))


def _rows(packed: Packed, rows: np.ndarray) -> Packed:
    """A copy of these rows [k], one after the other."""
    lengths = packed.lengths[rows]
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = np.arange(starts[-1]) + np.repeat(packed.starts[rows] - starts[:-1], lengths)
    types, words = (None if each is None else each[tokens] for each in (packed.types, packed.words))
    return Packed(packed.ids[tokens], starts, types, words, packed.cut[rows])


def _joined(parts: Sequence[Packed]) -> Packed:
    """The rows of all parts; either all have types, or words, or none has."""

    def every(name: str) -> Any:
        arrays = [getattr(each, name) for each in parts]
        return None if arrays[0] is None else np.concatenate(arrays)

    starts = np.concatenate([[0], np.cumsum(np.concatenate([each.lengths for each in parts]))])
    return Packed(every("ids"), starts.astype(np.int64), every("types"), every("words"), every("cut"))
