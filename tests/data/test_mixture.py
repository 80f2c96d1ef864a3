"""Epochs and batches as pure functions of the seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubleroute.data.mixture import annealed, batches, draw, quotas, token_batches

sizes = st.integers(1, 60)


@given(size=sizes, quota=sizes, epochs=st.integers(1, 6), seed=st.integers(0, 9))
def test_after_any_number_of_epochs_rows_were_seen_equally_often_give_or_take_one(
    size: int, quota: int, epochs: int, seed: int
) -> None:
    rows = np.concatenate([draw(size, quota, epoch, seed) for epoch in range(epochs)])
    seen = np.bincount(rows, minlength=size)
    assert len(rows) == quota * epochs
    assert seen.max() - seen.min() <= 1


weights = st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0, 4.0]), min_size=1, max_size=40).filter(any)


@given(weights=weights, quota=sizes, epoch=st.integers(0, 3), seed=st.integers(0, 9))
def test_a_row_comes_as_often_as_its_weight_says_rounded_up_or_down(
    weights: list[float], quota: int, epoch: int, seed: int
) -> None:
    rows = draw(len(weights), quota, epoch, seed, np.array(weights))
    assert len(rows) == quota
    if len(set(weights)) > 1:
        expected = quota * np.array(weights) / sum(weights)
        assert (abs(np.bincount(rows, minlength=len(weights)) - expected) < 1 + 1e-9).all()


def test_over_epochs_a_row_comes_in_the_mean_as_often_as_its_weight_says() -> None:
    weights = np.repeat([0.05, 0.5, 2.0], 20)
    drawn = np.concatenate([draw(60, 51, epoch, 3, weights) for epoch in range(2000)])
    mean = np.bincount(drawn, minlength=60).reshape(3, 20).mean(1) / 2000
    np.testing.assert_allclose(mean, [0.05, 0.5, 2.0], rtol=0.03)


@given(size=sizes, quota=sizes, epoch=st.integers(0, 6), seed=st.integers(0, 9))
def test_weights_that_are_all_the_same_change_no_draw(size: int, quota: int, epoch: int, seed: int) -> None:
    even = draw(size, quota, epoch, seed, np.full(size, 0.5))
    assert (even == draw(size, quota, epoch, seed)).all()


@given(lengths=st.lists(st.integers(1, 50), min_size=1, max_size=300), size=st.integers(1, 40))
def test_batches_hold_every_row_once(lengths: list[int], size: int) -> None:
    made = batches(np.array(lengths), size, epoch=2, seed=1)
    assert sorted(np.concatenate(made).tolist()) == list(range(len(lengths)))
    assert all(len(batch) <= size for batch in made)
    assert len(made) == -(-len(lengths) // size)


@given(counts=st.lists(st.integers(1, 3), min_size=1, max_size=300), size=st.integers(3, 40))
def test_a_text_with_several_rows_fills_its_batch_by_as_many(counts: list[int], size: int) -> None:
    lengths = np.arange(len(counts)) % 7 + 1
    made = batches(lengths, size, epoch=2, seed=1, counts=np.array(counts))
    assert sorted(np.concatenate(made).tolist()) == list(range(len(counts)))
    assert len(made) == -(-sum(counts) // size)
    assert all(sum(counts[each] for each in batch) <= size + 2 for batch in made)


def test_batches_hold_rows_of_similar_length() -> None:
    lengths = np.random.default_rng(1).integers(1, 200, 2000)
    padded = sum(lengths[batch].max() * len(batch) for batch in batches(lengths, 32, 0, 1))
    assert padded < 1.1 * lengths.sum()


def test_the_same_seed_and_epoch_give_the_same_batches_and_others_do_not() -> None:
    lengths = np.arange(100)
    one, same, other = (batches(lengths, 8, epoch, 1) for epoch in (0, 0, 1))
    assert all((a == b).all() for a, b in zip(one, same, strict=True))
    assert any((a != b).any() for a, b in zip(one, other, strict=True) if len(a) == len(b))


def test_temperature_one_is_proportional_and_a_large_one_nearly_even() -> None:
    assert quotas({"big": 900, "small": 100}, 1.0) == {"big": 900, "small": 100}
    even = quotas({"big": 900, "small": 100}, 1 / 100.0)
    assert abs(even["big"] - even["small"]) < 30
    assert quotas({"big": 900, "small": 100}, 0.0) == {"big": 500, "small": 500}


task_sizes = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 5000), min_size=1)


@given(rows=task_sizes, exponent=st.floats(0, 1), done=st.sets(st.sampled_from("abcdefgh")))
def test_an_epoch_has_as_many_rows_as_there_are_whoever_has_finished_and_every_task_has_one(
    rows: dict[str, int], exponent: float, done: set[str]
) -> None:
    found = quotas(rows, exponent, done)
    assert sum(found.values()) == sum(rows.values())
    assert min(found.values()) >= 1


def test_a_finished_task_gives_a_tenth_of_its_share_and_the_others_take_the_rest() -> None:
    assert quotas({"a": 500, "b": 500}, 1.0, ["a"]) == {"a": 91, "b": 909}  # 1 to 10
    assert quotas({"a": 500, "b": 500}, 1.0, ["a", "b"]) == {"a": 500, "b": 500}


def test_what_raises_small_tasks_to_one_row_comes_from_the_largest() -> None:
    assert quotas({"a": 100, "b": 5, "c": 5, "d": 5}, 1.0, {"b", "c", "d"}) == {
        "a": 112,
        "b": 1,
        "c": 1,
        "d": 1,
    }


def test_annealing_goes_from_proportional_to_the_temperature_in_equal_steps() -> None:
    # Stickland & Murray 2019: 1 - 0.8 (e - 1) / (E - 1)
    assert [annealed(5.0, epoch, 5) for epoch in range(5)] == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])
    assert annealed(5.0, 0, 1) == 1.0


@given(size=sizes, taken=st.lists(sizes, min_size=1, max_size=6), seed=st.integers(0, 9))
def test_rows_are_seen_equally_often_when_epochs_take_different_numbers_of_them(
    size: int, taken: list[int], seed: int
) -> None:
    rows = [draw(size, each, n, seed, None, sum(taken[:n])) for n, each in enumerate(taken)]
    seen = np.bincount(np.concatenate(rows), minlength=size)
    assert seen.sum() == sum(taken)
    assert seen.max() - seen.min() <= 1


@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=100),
    steps=st.integers(1, 40),
    seed=st.integers(0, 3),
)
def test_batches_by_tokens_are_as_many_as_steps_and_hold_every_row_once(
    lengths: list[int], steps: int, seed: int
) -> None:
    steps = min(steps, len(lengths))
    made = token_batches(np.array(lengths), steps, epoch=2, seed=seed)
    assert sorted(np.concatenate(made).tolist()) == list(range(len(lengths)))
    assert len(made) == steps
    assert all(map(len, made))


def test_batches_by_tokens_need_one_memory_where_those_by_rows_do_not() -> None:
    lengths = np.random.default_rng(1).integers(1, 200, 2000)
    by_rows, by_tokens = (
        max(lengths[batch].max() * len(batch) for batch in made)
        for made in (batches(lengths, 32, 0, 1), token_batches(lengths, 63, 0, 1))
    )
    assert by_rows > 1.9 * lengths.mean() * 32
    assert by_tokens < 1.15 * lengths.mean() * 32
