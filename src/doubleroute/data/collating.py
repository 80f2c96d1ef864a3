"""Mixed batches of encoded rows, as tensors to learn from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from doubleroute.data.batches import IGNORE, Encoded, Inputs, inputs_of, pad, parts_of
from doubleroute.data.tokens import Packed, said

#: By depth, for each task a layer's outputs beside its ids, [tokens, hidden] bfloat16 as uint16.
States = Mapping[int, Mapping[str, np.ndarray]]


class Answers(NamedTuple):
    """The stored answers of retrieval tasks, their row being the label, and their states as those of rows."""

    encoded: Mapping[str, Encoded]
    states: States | None


NO_ANSWERS = Answers({}, None)


@dataclass(frozen=True)
class Batch:
    """A mixed batch: for the rows of each task the place of their text in it, their targets (see
    ``Kind.loss``), and optionally the stored outputs of layers of the trunk for each text, by depth,
    bfloat16 [batch, seq, hidden]."""

    inputs: Inputs[Tensor]
    rows: dict[str, Tensor]
    targets: dict[str, Tensor]
    states: dict[int, Tensor] | None

    def to(self, device: torch.device) -> "Batch":
        """Copy to a device; to a GPU without waiting for what it computes."""
        if device.type == "cpu":
            return self

        def moved(value: Tensor) -> Tensor:
            return value.pin_memory().to(device, non_blocking=True)

        rows, targets = (
            {task: moved(value) for task, value in each.items()} for each in (self.rows, self.targets)
        )
        states = self.states and {depth: moved(each) for depth, each in self.states.items()}
        types = self.inputs.types
        inputs = Inputs(
            moved(self.inputs.ids), moved(self.inputs.mask), None if types is None else moved(types)
        )
        return Batch(inputs, rows, targets, states)


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
    inputs = inputs_of(distinct, pad_id).to("cpu")
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
