"""Encoded rows of a task and split, and batches of what a backbone reads; ``data.collating`` makes those that
are learned from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from doubleroute.data.tokens import Packed, stored_array

if TYPE_CHECKING:
    import torch
    from torch import Tensor

#: What a batch is held in: arrays as a graph reads them, or tensors.
Values = TypeVar("Values", np.ndarray, "Tensor")

#: The label of a token that does not count: padding, special tokens, sub-words after the first.
IGNORE = -100


@dataclass(frozen=True)
class Encoded:
    """Labelled rows of one task and split.

    labels: [n, ...] as the kind encodes them, or for tagging int64 [tokens] beside the ids; index:
    int64 [rows], the positions of the rows in the validated table; of windows ``packed.owners`` [n] says
    which of these rows each is one of.
    """

    packed: Packed
    labels: np.ndarray
    index: np.ndarray

    def __len__(self) -> int:
        return len(self.packed)

    @property
    def per_token(self) -> bool:
        """Whether the labels go with the tokens, not with the rows."""
        return self.packed.words is not None

    def save(self, folder: Path) -> None:
        """Write everything as .npy files into an existing folder."""
        self.packed.save(folder)
        np.save(folder / "labels.npy", self.labels, allow_pickle=False)
        np.save(folder / "index.npy", self.index, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> "Encoded":
        """What ``save`` wrote, as ``stored_array`` gives it."""
        labels, index = (stored_array(folder / f"{name}.npy") for name in ("labels", "index"))
        return cls(Packed.load(folder), labels, index)


@dataclass(frozen=True)
class Inputs(Generic[Values]):
    """What the backbone reads: ids, mask (1 = a token) and, for pairs, segment types; int64 [batch, seq]."""

    ids: Values
    mask: Values
    types: Values | None

    def to(self, device: "torch.device | str") -> "Inputs[Tensor]":
        """Tensors on a device; those of the processor share the memory of arrays."""
        import torch

        ids, mask = (torch.as_tensor(each, device=device) for each in (self.ids, self.mask))
        types = None if self.types is None else torch.as_tensor(self.types, device=device)
        return Inputs(ids, mask, types)

    @property
    def keywords(self) -> dict[str, Values]:
        """The arguments of a transformers encoder."""
        given = {"input_ids": self.ids, "attention_mask": self.mask}
        return given if self.types is None else {**given, "token_type_ids": self.types}


def pad(values: Sequence[np.ndarray], fill: float, width: int) -> np.ndarray:
    """Stack arrays [length_i, ...] into [n, width, ...], filled up with ``fill``."""
    padded = np.full((len(values), width, *values[0].shape[1:]), fill, values[0].dtype)
    for row, value in enumerate(values):
        padded[row, : len(value)] = value
    return padded


def inputs_of(rows: Sequence[tuple[Packed, slice]], pad_id: int) -> Inputs[np.ndarray]:
    """Pad rows, each the part of a packed array, into one batch. Types appear when any row has them."""
    width = max(part.stop - part.start for _, part in rows)
    ids = pad([packed.ids[part] for packed, part in rows], pad_id, width).astype(np.int64)
    lengths = np.array([part.stop - part.start for _, part in rows])
    mask = (np.arange(width)[None, :] < lengths[:, None]).astype(np.int64)
    types = None
    if any(packed.types is not None for packed, _ in rows):
        single = np.zeros(width, np.uint8)
        given = [single[: p.stop - p.start] if k.types is None else k.types[p] for k, p in rows]
        types = pad(given, 0, width).astype(np.int64)
    return Inputs(ids, mask, types)


def parts_of(packed: Packed, rows: np.ndarray) -> list[tuple[Packed, slice]]:
    """Where the rows [k] lie in the packed arrays."""
    return [(packed, slice(int(packed.starts[row]), int(packed.starts[row + 1]))) for row in rows]


def by_tokens(lengths: np.ndarray, budget: int, least: int = 1) -> list[np.ndarray]:
    """Row numbers in batches of similar length with at most ``budget`` tokens, padding included.

    A batch has ``least`` rows or more, also where these are longer; fewer only where there are not so many.
    """
    order = np.argsort(lengths, kind="stable")
    made, first, end = [], 0, len(order)
    for last in range(least, end - least + 1):
        grown = last + 1 if last < end - least else end  # what is left must not be too few for a batch
        if last - first >= least and lengths[order[grown - 1]] * (grown - first) > budget:
            made.append(order[first:last])
            first = last
    return [*made, order[first:]] if end else made
