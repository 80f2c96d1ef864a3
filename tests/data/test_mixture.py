"""Epochs and batches as pure functions of the seed."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from doubleroute.data.mixture import batches, draw, quotas

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
    even = quotas({"big": 900, "small": 100}, 100.0)
    assert abs(even["big"] - even["small"]) < 30
    assert sum(even.values()) == 1000
