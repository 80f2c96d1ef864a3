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
        self.packs: list[Packed] = []
        self.places: dict[bytes, tuple[int, int]] = {}
        stages = [
            each for each in workspace.all("tokenise") if each.manifest["inputs"].get("made_by") == made_by
        ]
        for stage in stages[:_STAGES]:
            for file in sorted(stage.path.rglob(KEYS)):
                self._add(file)

    def _add(self, file: Path) -> None:
        number = len(self.packs)
        self.packs.append(Packed.load(file.parent))
        for row, key in enumerate(np.load(file)):
            self.places.setdefault(key.tobytes(), (number, row))

    def packed(self, keys: np.ndarray, tokenise: Callable[[list[int]], Packed]) -> Packed:
        """The rows of these keys, those that are not known by ``tokenise``, which is given their numbers."""
        wanted = [key.tobytes() for key in keys]
        missing = [row for row, key in enumerate(wanted) if key not in self.places]
        fresh = tokenise(missing)
        if len(missing) == len(wanted):
            return fresh
        place = {row: (-1, number) for number, row in enumerate(missing)}
        rows = [place.get(row) or self.places[key] for row, key in enumerate(wanted)]
        parts = [(self.packs[pack] if pack >= 0 else fresh, row) for pack, row in rows]
        return _joined(parts)


def _joined(parts: Sequence[tuple[Packed, int]]) -> Packed:
    """These rows, one after the other."""
    slices = [(pack, slice(pack.starts[row], pack.starts[row + 1])) for pack, row in parts]
    lengths = [part.stop - part.start for _, part in slices]

    def every(name: str) -> np.ndarray | None:
        if getattr(parts[0][0], name) is None:
            return None
        return np.concatenate([getattr(pack, name)[part] for pack, part in slices])

    ids = every("ids")
    assert ids is not None
    cut = np.array([pack.cut[row] for pack, row in parts], bool)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Packed(ids, starts, every("types"), every("words"), cut)
