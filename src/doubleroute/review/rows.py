"""The rows of one task in one version of the data, and how two versions' rows belong together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from doubleroute.config import SPLITS
from doubleroute.data.splits import text_key

#: What can have happened to a row; ``duplicated``, not ``added`` as well: new, and a copy of a row that its
#: split had already.
KINDS = ("added", "removed", "duplicated", "edited", "relabelled", "moved")
#: Canonical rows of one split, as ``data.rows`` gives them.
Rows = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class VersionRows:
    """n rows of one task, all splits one after the other, as validation reads them before it takes bad ones
    out.

    ``splits`` [n]; ``files`` [n], relative to the project, and ``numbers`` [n], 1-based rows in them;
    ``texts`` [n], of tagging rows the tokens joined by spaces; ``pairs`` [n], None without a second text;
    ``labels`` [n], in the plain form of the kind (text, list of texts, number), None without one; ``keys``
    [n], what the key column holds, all None without one; ``segments``: for each column that slices the task,
    [n] values or None; ``tokens`` [n] of tagging rows, None for other kinds.
    """

    kind: str
    splits: list[str]
    files: list[str]
    numbers: list[int]
    texts: list[str]
    pairs: list[str | None]
    labels: list[Any]
    keys: list[str | None]
    segments: dict[str, list[str | None]]
    tokens: list[list[str]] | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def alike(self) -> list[str]:
        """What copies of a row's text share, case and white space aside: [n] (``data.splits.text_key``)."""
        return self._alike

    @cached_property
    def _alike(self) -> list[str]:
        return [text_key(text, pair) for text, pair in zip(self.texts, self.pairs, strict=True)]

    def comparable(self) -> list[Any]:
        """The labels [n] as values that can be compared and counted: a list becomes a tuple, a set of labels
        a sorted one."""
        return self._comparable

    @cached_property
    def _comparable(self) -> list[Any]:
        if self.kind == "multilabel":
            return [None if label is None else tuple(sorted(label)) for label in self.labels]
        return [tuple(label) if isinstance(label, list) else label for label in self.labels]

    def place(self, row: int) -> str:
        """Where a row is, in words."""
        return f"{self.files[row]} row {self.numbers[row]}"


def version_rows(kind: str, rows: Mapping[str, Rows]) -> VersionRows:
    """Join the canonical rows of the splits of one task; splits that are not there have none."""
    there = {split: rows[split] for split in SPLITS if split in rows}

    def every(name: str, lacking: Any = None) -> list[Any]:
        return [
            value
            for each in there.values()
            for value in (each[name] if name in each else [lacking] * len(each["row"]))
        ]

    slices = sorted({name for each in there.values() for name in each if name.startswith("slice_")})
    return VersionRows(
        kind=kind,
        splits=[split for split, each in there.items() for _ in each["row"]],
        files=every("file"),
        numbers=every("row"),
        texts=[" ".join(tokens) for tokens in every("tokens")] if kind == "tagging" else every("text"),
        pairs=every("text_pair"),
        labels=every("label"),
        keys=every("key"),
        segments={name.removeprefix("slice_"): every(name) for name in slices},
        tokens=every("tokens") if kind == "tagging" else None,
    )


@dataclass(frozen=True)
class Changes:
    """How the rows of two versions of one task belong together.

    ``pairs`` int64 [m, 2]: the row in base and the row in head, -1 where there is none; every row of either
    version stands in exactly one pair. ``kinds`` [m]: what happened, in the order of KINDS; empty for a row
    that is unchanged. ``similarity`` float64 [m]: of the two texts, in [0, 1]; 1 for equal ones, case and
    white space aside, NaN where one is missing. ``renamed``: labels of base that are called otherwise in
    head, by nearly all rows; a row whose label only follows such a renaming is not relabelled.
    """

    pairs: np.ndarray
    kinds: list[tuple[str, ...]]
    similarity: np.ndarray
    renamed: dict[str, str]

    def of(self, kind: str) -> np.ndarray:
        """The places [k] in ``pairs`` of one kind of change."""
        return np.array([place for place, each in enumerate(self.kinds) if kind in each], np.int64)

    def changed(self) -> np.ndarray:
        """The places [k] in ``pairs`` of all that changed."""
        return np.array([place for place, each in enumerate(self.kinds) if each], np.int64)


def example(side: VersionRows, row: int) -> dict[str, Any]:
    """A row as documents quote it: {"split", "file", "row", "text", "pair", "label", "key"}."""
    return {
        "split": side.splits[row],
        "file": side.files[row],
        "row": side.numbers[row],
        "text": side.texts[row],
        "pair": side.pairs[row],
        "label": side.labels[row],
        "key": side.keys[row],
    }
