"""Encoded rows of a task and split, and mixed batches of them as tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from doubleroute.data.tokens import Packed, said, stored_array

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
class Inputs:
    """What the backbone reads: ids, mask (1 = a token) and, for pairs, segment types; int64 [batch, seq]."""

    ids: Tensor
    mask: Tensor
    types: Tensor | None

    def to(self, device: torch.device) -> "Inputs":
        """Copy to a device."""
        return Inputs(*(None if each is None else each.to(device) for each in vars(self).values()))  # type: ignore[arg-type]

    @property
    def keywords(self) -> dict[str, Tensor]:
        """The arguments of a transformers encoder."""
        given = {"input_ids": self.ids, "attention_mask": self.mask}
        return given if self.types is None else {**given, "token_type_ids": self.types}


@dataclass(frozen=True)
class Batch:
    """A mixed batch: for the rows of each task the place of their text in it, their targets (see
    ``Kind.loss``), and optionally the stored outputs of layers of the trunk for each text, by depth,
    bfloat16 [batch, seq, hidden]."""

    inputs: Inputs
    rows: dict[str, Tensor]
    targets: dict[str, Tensor]
    states: dict[int, Tensor] | None

    def to(self, device: torch.device) -> "Batch":
        """Copy to a device."""
        rows, targets = (
            {task: value.to(device) for task, value in each.items()} for each in (self.rows, self.targets)
        )
        states = self.states and {depth: each.to(device) for depth, each in self.states.items()}
        return Batch(self.inputs.to(device), rows, targets, states)


def pad(values: Sequence[np.ndarray], fill: float, width: int) -> np.ndarray:
    """Stack arrays [length_i, ...] into [n, width, ...], filled up with ``fill``."""
    padded = np.full((len(values), width, *values[0].shape[1:]), fill, values[0].dtype)
    for row, value in enumerate(values):
        padded[row, : len(value)] = value
    return padded


def inputs_of(rows: Sequence[tuple[Packed, slice]], pad_id: int) -> Inputs:
    """Pad rows, each the part of a packed array, into one batch. Types appear when any row has them."""
    width = max(part.stop - part.start for _, part in rows)
    ids = pad([packed.ids[part] for packed, part in rows], pad_id, width).astype(np.int64)
    lengths = np.array([part.stop - part.start for _, part in rows])
    mask = (np.arange(width)[None, :] < lengths[:, None]).astype(np.int64)
    types = None
    if any(packed.types is not None for packed, _ in rows):
        single = np.zeros(width, np.uint8)
        given = [single[: p.stop - p.start] if k.types is None else k.types[p] for k, p in rows]
        types = torch.from_numpy(pad(given, 0, width).astype(np.int64))
    return Inputs(torch.from_numpy(ids), torch.from_numpy(mask), types)


def parts_of(packed: Packed, rows: np.ndarray) -> list[tuple[Packed, slice]]:
    """Where the rows [k] lie in the packed arrays."""
    return [(packed, slice(int(packed.starts[row]), int(packed.starts[row + 1]))) for row in rows]


#: By depth, for each task a layer's outputs beside its ids, [tokens, hidden] bfloat16 as uint16.
States = Mapping[int, Mapping[str, np.ndarray]]


class Answers(NamedTuple):
    """The stored answers of retrieval tasks, their row being the label, and their states as those of rows."""

    encoded: Mapping[str, Encoded]
    states: States | None


NO_ANSWERS = Answers({}, None)


def collate(
    chosen: Mapping[str, np.ndarray],
    encoded: Mapping[str, Encoded],
    pad_id: int,
    states: States | None = None,
    answers: Answers = NO_ANSWERS,
) -> Batch:
    """Make one batch of the ``chosen`` rows [k_task] of each task; a task may have none.

    A text that several rows have stands in it once. Behind the rows of a retrieval task stand their
    distinct ``answers``, and the target of a row is the place of its answer there.
    """
    parts = {task: parts_of(encoded[task].packed, numbers) for task, numbers in chosen.items()}
    asked = {
        task: np.unique(encoded[task].labels[chosen[task]], return_inverse=True)
        for task in chosen
        if task in answers.encoded
    }
    behind = {task: parts_of(answers.encoded[task].packed, which) for task, (which, _) in asked.items()}
    places: dict[tuple[bytes, bytes], int] = {}
    distinct: list[tuple[Packed, slice]] = []
    stored: dict[int, list[np.ndarray]] = {depth: [] for depth in states or ()}
    rows = {}
    for task in chosen:
        found = []
        for of, group in ((states, parts), (answers.states, behind)):
            for part in group.get(task, ()):
                place = places.setdefault(said(*part), len(distinct))
                found.append(place)
                if place == len(distinct):
                    distinct.append(part)
                    for depth, kept in stored.items():
                        kept.append((of or {})[depth][task][part[1]])
        rows[task] = torch.tensor(found, dtype=torch.int64)
    inputs = inputs_of(distinct, pad_id)
    width = inputs.ids.shape[1]
    targets = {
        task: torch.from_numpy(asked[task][1])
        if task in asked
        else _targets(encoded[task], numbers, parts[task], width)
        for task, numbers in chosen.items()
    }
    given = None if states is None else {depth: padded_states(kept, width) for depth, kept in stored.items()}
    return Batch(inputs, rows, targets, given)


def padded_states(rows: Sequence[np.ndarray], width: int) -> Tensor:
    """Rows' states, [length_i, hidden] bfloat16 as uint16, in one tensor: bfloat16 [n, width, hidden]."""
    return torch.from_numpy(pad(rows, 0, width)).view(torch.bfloat16)


def _targets(encoded: Encoded, rows: np.ndarray, parts: list[tuple[Packed, slice]], width: int) -> Tensor:
    if not encoded.per_token:
        return torch.from_numpy(np.array(encoded.labels[rows]))
    if not parts:
        return torch.zeros((0, width), dtype=torch.int64)
    return torch.from_numpy(pad([encoded.labels[part] for _, part in parts], IGNORE, width))


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
