"""What a fit reads: the batches of an epoch, with the trunk's stored outputs beside them."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from doubleroute.config import Training
from doubleroute.data.batches import Encoded
from doubleroute.data.collating import NO_ANSWERS, Answers, Batch, collate
from doubleroute.data.mixture import annealed, batches, draw, quotas, token_batches
from doubleroute.data.shared import overlap, streams, text_numbers, units
from doubleroute.errors import DataError
from doubleroute.training import activations
from doubleroute.workspace import Stage


class Feed:
    """Mixed batches of the training rows of all tasks. What it gives depends on seed and epoch alone, and on
    which tasks have finished before: ``finished`` {task: the first epoch, from 0, in which it had}.

    Rows of different tasks with the same text stand in the same batch, where the text stands once: intents
    and slots of a sentence cost one pass. A batch has as many rows as it would have without.

    ``weights``: for each task float64 [rows], how often a row is drawn in an epoch; None: once. ``alone``:
    give this task's rows of the same batches, in the same order; a batch may then have none. ``epochs``: how
    many there will be. ``answers``: the stored answers of retrieval tasks, which go into a batch with the
    rows that have them. Raises DataError when a task has no row of any weight.
    """

    def __init__(
        self,
        encoded: dict[str, Encoded],
        states: dict[int, dict[str, np.ndarray]] | None,
        training: Training,
        seed: int,
        pad_id: int,
        weights: Mapping[str, np.ndarray] | None = None,
        alone: str | None = None,
        epochs: float = 1.0,
        answers: Answers = NO_ANSWERS,
    ) -> None:
        self.answers = answers
        self.encoded = encoded
        self.alone = alone
        self.weights = weights or {}
        self.states = states
        self.size, self.by_tokens = training.batch_size, training.batch_by == "tokens"
        self.seed = seed
        self.pad_id = pad_id
        self.names = list(encoded)
        self.sizes = {task: _size(task, len(rows), self.weights.get(task)) for task, rows in encoded.items()}
        self.sampling, self.temperature = training.sampling, training.sampling_temperature
        self.epochs = math.ceil(epochs)
        self.finished: dict[str, int] = {}
        self.steps = -(-sum(self.sizes.values()) // self.size)
        # More tasks than rows in a batch: no room for a text with all its rows.
        texts = text_numbers(encoded) if 1 < len(encoded) <= self.size else []
        self.texts = texts if overlap(texts) else None
        self.streams = list(range(len(encoded))) if self.texts is None else streams(self.texts)

    def quotas(self, epoch: int) -> dict[str, int]:
        """How many rows each task gives to an epoch; their sum is the same in each."""
        if self.sampling == "annealed":
            exponent = annealed(self.temperature, epoch, self.epochs)
        else:
            exponent = 0.0 if self.sampling == "uniform" else 1 / self.temperature
        return quotas(self.sizes, exponent, [task for task, since in self.finished.items() if since <= epoch])

    def plan(self, epoch: int) -> list[dict[str, np.ndarray]]:
        """The batches of an epoch as row numbers of each task, every task in every batch, if empty."""
        now, past = self.quotas(epoch), [self.quotas(each) for each in range(epoch)]
        rows = [
            draw(
                len(self.encoded[task]),
                now[task],
                epoch,
                self.seed + stream,
                self.weights.get(task),
                sum(each[task] for each in past),
            )
            for task, stream in zip(self.names, self.streams, strict=True)
        ]
        owner = np.concatenate([np.full(len(each), number) for number, each in enumerate(rows)])
        row = np.concatenate(rows)
        lengths = np.concatenate(
            [self.encoded[task].packed.lengths[each] for task, each in zip(self.names, rows, strict=True)]
        )
        given = [(n, task) for n, task in enumerate(self.names) if self.alone in (None, task)]
        return [
            {task: row[chosen[owner[chosen] == number]] for number, task in given}
            for chosen in self._batches(rows, owner, lengths, epoch)
        ]

    def _batches(
        self, rows: list[np.ndarray], owner: np.ndarray, lengths: np.ndarray, epoch: int
    ) -> list[np.ndarray]:
        """Numbers of the drawn rows, batch by batch; rows of one text side by side."""
        if self.texts is None:
            return self._cut(lengths, epoch, None)
        texts = np.concatenate([of[each] for of, each in zip(self.texts, rows, strict=True)])
        unit = units(texts, owner)
        order = np.argsort(unit, kind="stable")
        members = np.split(order, np.flatnonzero(np.diff(unit[order])) + 1)
        counts = np.array([len(each) for each in members])
        made = self._cut(lengths[[each[0] for each in members]], epoch, counts)
        return [np.concatenate([members[each] for each in chosen]) for chosen in made]

    def _cut(self, lengths: np.ndarray, epoch: int, counts: np.ndarray | None) -> list[np.ndarray]:
        """Texts of these lengths in batches; there are fewer texts than steps only if they have many rows."""
        if self.by_tokens and len(lengths) >= self.steps:
            return token_batches(lengths, self.steps, epoch, self.seed)
        return batches(lengths, self.size, epoch, self.seed, counts)

    def drawn(self, steps: int) -> tuple[int, dict[str, int]]:
        """Of the first ``steps`` planned batches: how many have a row, and the rows of each task in them."""
        taken, rows = 0, dict.fromkeys((task for task in self.names if self.alone in (None, task)), 0)
        for epoch in range(-(-steps // self.steps)):
            for chosen in self.plan(epoch)[: steps - epoch * self.steps]:
                taken += any(map(len, chosen.values()))
                for task, each in chosen.items():
                    rows[task] += len(each)
        return taken, rows

    def batch(self, chosen: dict[str, np.ndarray], rank: int = 0, world: int = 1) -> Batch:
        """Collate one planned batch, or this process's share of it."""
        if world > 1:
            chosen = _share(chosen, rank, world)
        return collate(chosen, self.encoded, self.pad_id, self.states, self.answers)


def _size(task: str, rows: int, weights: np.ndarray | None) -> int:
    """How many rows of a task an epoch draws at temperature 1."""
    if weights is None:
        return rows
    if len(weights) != rows:
        raise DataError(f"tasks.{task}: {len(weights)} weights for {rows} training rows; run again")
    if not weights.any():
        raise DataError(f"tasks.{task}: retraining.rows leaves no training row; write `all`")
    return max(1, round(float(weights.sum())))


def _share(chosen: dict[str, np.ndarray], rank: int, world: int) -> dict[str, np.ndarray]:
    """Every ``world``-th row; a process that would get none takes the batch's first row."""
    flat = [(task, row) for task, rows in chosen.items() for row in rows]
    mine = flat[rank::world] or flat[:1]
    return {task: np.array([row for name, row in mine if name == task], np.int64) for task in chosen}


def load_states(
    stage: Stage | None, depths: Sequence[int], split: str, encoded: dict[str, Encoded]
) -> dict[int, dict[str, np.ndarray]] | None:
    """The stored outputs of these layers of a trunk; None when there is no store or no layer."""
    if stage is None or not depths:
        return None
    packed = {task: rows.packed for task, rows in encoded.items()}
    return {depth: activations.read(stage.path, depth, split, packed) for depth in depths}
