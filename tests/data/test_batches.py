"""Mixed batches."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from doubleroute.data.batches import IGNORE, Encoded, by_tokens
from doubleroute.data.collating import Answers, collate
from doubleroute.data.tokens import Packed


def _packed(lengths: list[int], words: bool = False, types: bool = False) -> Packed:
    total = sum(lengths)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = np.arange(1, total + 1, dtype=np.int32)
    each = np.ones(total, np.uint8) if types else None
    return Packed(
        ids, starts, each, np.zeros(total, np.int32) if words else None, np.zeros(len(lengths), bool)
    )


def _rows() -> dict[str, Encoded]:
    sentences = Encoded(_packed([3, 2]), np.array([1, 0]), np.arange(2))
    tagged = Encoded(_packed([4], words=True), np.array([IGNORE, 2, 0, IGNORE]), np.arange(1))
    return {"sentiment": sentences, "entities": tagged}


def test_a_batch_mixes_tasks_and_pads_with_what_does_not_count() -> None:
    chosen = {"sentiment": np.array([1, 0]), "entities": np.array([0])}
    batch = collate(chosen, _rows(), pad_id=0)
    assert batch.inputs.ids.tolist() == [[4, 5, 0, 0], [1, 2, 3, 0], [1, 2, 3, 4]]
    assert batch.inputs.mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    assert batch.inputs.types is None
    assert {task: rows.tolist() for task, rows in batch.rows.items()} == {
        "sentiment": [0, 1],
        "entities": [2],
    }
    assert batch.targets["sentiment"].tolist() == [0, 1]
    assert batch.targets["entities"].tolist() == [[IGNORE, 2, 0, IGNORE]]


def test_a_task_may_have_no_row_in_a_batch() -> None:
    batch = collate({"sentiment": np.array([0]), "entities": np.array([], int)}, _rows(), pad_id=0)
    assert batch.rows["entities"].tolist() == []
    assert batch.targets["entities"].shape == (0, 3)


def test_single_texts_beside_pairs_are_of_the_first_segment() -> None:
    rows = {
        "pairs": Encoded(_packed([2], types=True), np.array([0.5], np.float32), np.arange(1)),
        "single": Encoded(_packed([3]), np.array([0]), np.arange(1)),
    }
    batch = collate({task: np.array([0]) for task in rows}, rows, pad_id=0)
    assert batch.inputs.types is not None
    assert batch.inputs.types.tolist() == [[1, 1, 0], [0, 0, 0]]


def test_stored_states_lie_beside_their_tokens() -> None:
    rows = _rows()
    numbers = {task: torch.arange(len(each.packed.ids)).bfloat16() for task, each in rows.items()}
    states = {task: value.view(torch.uint16).numpy()[:, None] for task, value in numbers.items()}
    batch = collate({"sentiment": np.array([1]), "entities": np.array([0])}, rows, 0, {3: states})
    assert batch.states is not None
    assert batch.states[3][..., 0].tolist() == [[3, 4, 0, 0], [0, 1, 2, 3]]


def test_behind_the_queries_of_a_batch_stands_each_of_their_answers_once() -> None:
    rows = {"help": Encoded(_packed([1, 2, 1, 1]), np.array([2, 0, 2, 2]), np.arange(4))} | _rows()
    stored = {"help": Encoded(_packed([4, 2, 3]), np.arange(3), np.arange(3))}
    chosen = {"help": np.array([0, 1, 3]), "sentiment": np.array([1])}
    states = [
        {
            task: torch.arange(len(each.packed.ids)).bfloat16().view(torch.uint16).numpy()[:, None]
            for task, each in side.items()
        }
        for side in (rows, stored)
    ]
    batch = collate(chosen, rows, 0, {3: states[0]}, Answers(stored, {3: states[1]}))
    assert batch.rows["help"].tolist() == [0, 1, 2, 3, 4]
    assert batch.targets["help"].tolist() == [1, 0, 1]
    assert batch.inputs.ids[:5].sum(1).tolist() == [1, 2 + 3, 5, 1 + 2 + 3 + 4, 7 + 8 + 9]
    assert batch.rows["sentiment"].tolist() == [5]
    assert batch.states is not None
    assert batch.states[3][3:5, :, 0].tolist() == [[0, 1, 2, 3], [6, 7, 8, 0]]
    none = collate(
        {"help": np.array([], int), "sentiment": np.array([0])}, rows, 0, None, Answers(stored, None)
    )
    assert none.rows["help"].tolist() == none.targets["help"].tolist() == []


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=80),
    budget=st.integers(1, 200),
    least=st.integers(1, 3),
)
def test_passes_hold_every_row_once_within_the_budget_unless_they_would_have_too_few(
    lengths: list[int], budget: int, least: int
) -> None:
    made = by_tokens(np.array(lengths), budget, least)
    assert sorted(np.concatenate(made).tolist()) == list(range(len(lengths)))
    for rows in made:
        assert len(rows) >= min(least, len(lengths))
        assert len(rows) < 2 * least or max(lengths[row] for row in rows) * len(rows) <= budget
