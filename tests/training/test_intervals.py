"""Intervals: what they cover, that they are paired, and what happens where little or nothing is known."""

import math
import time

import numpy as np
import pytest
from scipy.stats import binomtest

from doubleroute.kinds import Scorer, kind
from doubleroute.training.intervals import (
    Difference,
    Interval,
    difference,
    interval,
    members,
    resampled,
    sample,
)

ONE = kind("classification")


def accuracy_scorer(right: np.ndarray) -> Scorer:
    """A classifier that is right on these rows (bool [n]); half of the truths are "b"."""
    truths = ["b" if row % 2 else "a" for row in range(len(right))]
    given = [truth if each else "ab"[truth == "a"] for truth, each in zip(truths, right, strict=True)]
    return ONE.scorer(
        [{"label": label, "probabilities": {label: 0.75}} for label in given], truths, ["a", "b"]
    )


def regression_scorer(truths: np.ndarray, answers: np.ndarray) -> Scorer:
    return kind("regression").scorer([{"value": float(value)} for value in answers], truths.tolist(), [])


def bootstrap(scorer: Scorer, rows: int, resamples: int, seed: int) -> dict[str, Interval]:
    """Every metric with its interval."""
    found = sample(scorer, np.arange(rows), resamples, seed)
    return {metric: interval(found, metric) for metric in found.values}


def paired(
    a: Scorer, b: Scorer, rows: int, resamples: int, seed: int, metric: str, higher_is_better: bool
) -> Difference:
    one, other = (sample(each, np.arange(rows), resamples, seed) for each in (a, b))
    return difference(one, other, metric, higher_is_better)


@pytest.mark.costly
def test_the_interval_of_accuracy_covers_the_truth_nine_times_in_ten_or_more() -> None:
    generator = np.random.default_rng(1)
    covered = 0
    for number in range(200):
        scorer = accuracy_scorer(generator.random(150) < 0.8)
        found = bootstrap(scorer, 150, 200, number)["accuracy"]
        assert found.low <= found.value <= found.high
        covered += found.low <= 0.8 <= found.high
    assert 180 <= covered <= 198


def test_the_same_seed_gives_the_same_intervals_and_another_seed_others() -> None:
    scorer = accuracy_scorer(np.random.default_rng(0).random(100) < 0.7)
    assert bootstrap(scorer, 100, 100, 5) == bootstrap(scorer, 100, 100, 5)
    assert bootstrap(scorer, 100, 100, 5)["ece"] != bootstrap(scorer, 100, 100, 6)["ece"]


def test_resamples_depend_on_rows_and_seed_alone() -> None:
    first, second = list(resampled(30, 4, 9)), list(resampled(30, 4, 9))
    np.testing.assert_array_equal(first, second)
    assert np.shape(first) == (4, 30)
    assert np.min(first) >= 0
    assert np.max(first) < 30


def test_every_metric_gets_an_interval() -> None:
    scorer = accuracy_scorer(np.ones(10, bool))
    assert bootstrap(scorer, 10, 100, 0).keys() == scorer.score().keys()
    assert all(math.isfinite(bound) for each in bootstrap(scorer, 10, 100, 0).values() for bound in each)


def test_a_metric_that_is_undefined_in_some_resamples_is_bounded_by_the_rest() -> None:
    answers = np.array([0.0, 0, 0, 1, 1, 1])
    found = bootstrap(regression_scorer(np.arange(6.0), answers), 6, 300, 0)["pearson"]
    assert 0 < found.low < found.value < found.high <= 1


def test_a_metric_that_is_undefined_in_over_half_of_the_resamples_has_no_bounds() -> None:
    answers = np.zeros(400)
    truths = np.arange(400.0)
    nothing = bootstrap(regression_scorer(truths, answers), 400, 100, 0)
    assert all(math.isnan(value) for value in nothing["pearson"])
    assert nothing["mae"].low < nothing["mae"].value < nothing["mae"].high
    single = kind("tagging").scorer(
        [{"tags": ["O"]}] * 6, [["B-x"]] + [["O"]] * 5, ["O", "B-x"]
    )  # one row of six holds the entity: a third of the resamples lacks it
    assert bootstrap(single, 6, 100, 0)["entity_f1"] == (0, 0, 0)


def test_without_rows_there_is_neither_value_nor_interval() -> None:
    scorer = accuracy_scorer(np.zeros(0, bool))
    assert all(math.isnan(value) for value in bootstrap(scorer, 0, 100, 0)["accuracy"])
    difference = paired(scorer, scorer, 0, 100, 0, "accuracy", True)
    assert math.isnan(difference.low)
    assert difference.verdict == "cannot tell"


def test_the_paired_interval_is_narrower_than_the_unpaired_ones() -> None:
    generator = np.random.default_rng(2)
    right = generator.random(500) < 0.7
    better = right | (generator.random(500) < 0.1)
    one, other = accuracy_scorer(better), accuracy_scorer(right)
    difference = paired(one, other, 500, 300, 0, "accuracy", True)
    alone = bootstrap(other, 500, 300, 0)["accuracy"]
    assert difference.value == pytest.approx(better.mean() - right.mean())
    assert difference.high - difference.low < alone.high - alone.low
    assert difference.verdict == "better"
    assert paired(other, one, 500, 300, 0, "accuracy", True).verdict == "worse"


def test_equal_answers_cannot_be_told_apart() -> None:
    scorer = accuracy_scorer(np.arange(50) % 3 > 0)
    of_mean = paired(scorer, scorer, 50, 100, 0, "macro_f1", True)
    assert (of_mean.value, of_mean.verdict) == (0, "cannot tell")
    assert -0.06 < of_mean.low == -of_mean.high < -0.05
    same = paired(scorer, scorer, 50, 100, 0, "accuracy", True)
    assert (same.value, same.verdict) == (0, "cannot tell")
    assert -0.06 < same.low == -same.high < -0.05  # one row in 50 may yet tell them apart


@pytest.mark.parametrize(("right", "rows"), [(6, 6), (0, 3), (704, 852), (29, 30)])
def test_the_interval_of_a_share_is_wilsons(right: int, rows: int) -> None:
    found = bootstrap(accuracy_scorer(np.arange(rows) < right), rows, 100, 0)["accuracy"]
    wilson = binomtest(right, rows).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((wilson.low, wilson.high), abs=1e-12)


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
@pytest.mark.parametrize(("won", "lost", "told"), [(4, 0, False), (5, 0, False), (9, 0, True), (12, 3, True)])
def test_a_few_rows_won_do_not_make_a_model_better(won: int, lost: int, told: bool, metric: str) -> None:
    one, other = np.ones(852, bool), np.ones(852, bool)
    one[:200], other[:200] = False, False
    other[-won:], one[300 : 300 + lost] = False, False
    found = paired(*map(accuracy_scorer, (one, other)), 852, 1000, 17, metric, True)
    assert found.verdict == ("better" if told else "cannot tell")
    assert found.low < found.value < found.high


@pytest.mark.parametrize(
    ("metric", "rows", "won"), [*(("accuracy", rows, 5) for rows in (5, 30, 48)), ("macro_f1", 30, 4)]
)
def test_nor_do_they_on_few_rows(metric: str, rows: int, won: int) -> None:
    one, other = np.ones(rows, bool), np.ones(rows, bool)
    other[:won] = False
    assert paired(*map(accuracy_scorer, (one, other)), rows, 1000, 17, metric, True).verdict == "cannot tell"


def test_six_rows_of_six_tell_and_fewer_rows_do_not() -> None:
    truths = np.arange(6.0)
    close, far = regression_scorer(truths, truths + 0.1), regression_scorer(truths, truths + 0.5)
    assert paired(close, far, 6, 100, 0, "mae", False).verdict == "better"
    assert all(math.isnan(bound) for bound in paired(close, far, 5, 100, 0, "mae", False)[1:3])
    assert all(math.isnan(bound) for bound in bootstrap(close, 5, 100, 0)["mae"][1:])
    one, other = accuracy_scorer(np.ones(5, bool)), accuracy_scorer(np.zeros(5, bool))
    assert paired(one, other, 1, 100, 0, "accuracy", True).verdict == "cannot tell"


@pytest.mark.costly
def test_a_share_of_few_right_rows_covers_the_truth_as_often_as_promised() -> None:
    generator = np.random.default_rng(8)
    covered = 0
    for number in range(400):
        one, other = (accuracy_scorer(generator.random(12) < share) for share in (0.95, 0.85))
        found = paired(one, other, 12, 100, number, "accuracy", True)
        covered += found.low <= 0.1 <= found.high
    assert covered >= 376  # 94%


def test_a_smaller_error_is_a_positive_difference() -> None:
    truths = np.random.default_rng(0).normal(size=100)
    close, far = regression_scorer(truths, truths + 0.1), regression_scorer(truths, truths + 0.5)
    difference = paired(close, far, 100, 100, 0, "mae", higher_is_better=False)
    assert difference.value == pytest.approx(0.4)
    assert difference.verdict == "better"


def test_a_difference_to_an_undefined_score_cannot_be_told() -> None:
    truths = np.arange(20.0)
    constant, real = regression_scorer(truths, np.zeros(20)), regression_scorer(truths, truths)
    difference = paired(real, constant, 20, 100, 0, "spearman", True)
    assert math.isnan(difference.value)
    assert difference.verdict == "cannot tell"


def test_a_false_difference_is_reported_about_one_time_in_twenty() -> None:
    generator = np.random.default_rng(4)
    told = 0
    for number in range(100):
        one, other = (accuracy_scorer(generator.random(100) < 0.8) for _ in range(2))
        told += paired(one, other, 100, 100, number, "accuracy", True).verdict != "cannot tell"
    assert told <= 12


def test_slices_hold_all_rows_and_their_own_scores() -> None:
    scorer = accuracy_scorer(np.array([True] * 60 + [False] * 30 + [True] * 10))
    found = members(["films"] * 60 + ["books"] * 30 + [None] * 10)
    assert {name: len(rows) for name, rows in found.items()} == {"films": 60, "books": 30, "(missing)": 10}
    values = {name: interval(sample(scorer, rows, 100, 0), "accuracy").value for name, rows in found.items()}
    assert values == {"films": 1, "books": 0, "(missing)": 1}


def test_beyond_twenty_slices_the_rest_is_taken_together() -> None:
    values = [f"v{number:02}" for number in range(30) for _ in range(30 - number)] + ["other"] * 40
    found = members(values)
    assert list(found) == [f"v{number:02}" for number in range(19)] + ["other"]
    assert sorted(row for rows in found.values() for row in rows) == list(range(len(values)))
    assert len(found["other"]) == 40 + sum(30 - number for number in range(19, 30))


def test_a_value_named_other_stands_by_itself_among_few() -> None:
    found = members(["other", "a", "other", "b"])
    assert {name: len(rows) for name, rows in found.items()} == {"other": 2, "a": 1, "b": 1}


def test_a_resample_of_a_thousand_rows_takes_well_under_a_millisecond() -> None:
    scorer = accuracy_scorer(np.random.default_rng(0).random(1000) < 0.8)
    fastest = math.inf
    for _ in range(3):
        start = time.perf_counter()
        bootstrap(scorer, 1000, 100, 0)
        fastest = min(fastest, time.perf_counter() - start)
    assert fastest / 100 < 0.001  # seconds; some ten times what it takes, for busy machines
