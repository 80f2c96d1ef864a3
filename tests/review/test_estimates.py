"""Intervals with two sources of chance: against formulas by hand, and by simulation."""

import numpy as np
import pytest
from scipy import stats

from doubleroute.review.estimates import ALPHA, Estimate, described, estimate, holm_alphas, mean_of, pooled


def test_an_interval_is_that_of_the_t_test() -> None:
    values = np.random.default_rng(1).normal(0.5, 1, 12)
    mean, within, rows = mean_of(values, np.arange(12))
    found = Estimate(mean, within, rows - 1)
    oracle = stats.ttest_1samp(values, 0)
    assert found.bounds() == pytest.approx(tuple(oracle.confidence_interval(0.95)))
    assert found.p == pytest.approx(oracle.pvalue)


def test_words_of_one_row_are_one_observation() -> None:
    values = np.random.default_rng(2).standard_normal(30)
    alone = mean_of(values, np.arange(30))
    copies = mean_of(np.repeat(values, 5), np.repeat(np.arange(30), 5))
    assert copies == pytest.approx(alone)


def test_a_single_row_says_as_much_as_its_value() -> None:
    assert mean_of(np.array([2.0, 4.0]), np.zeros(2)) == (3.0, 9.0, 1)


def test_variances_of_both_sources_add_up() -> None:
    found = estimate(1.0, [0.0, 2.0, 4.0], 3.0, 100)
    assert found.variance == pytest.approx(4 + 3)
    assert found.freedom == pytest.approx(49 / (16 / 2 + 9 / 99))


def test_intervals_miss_the_truth_as_often_as_they_say() -> None:
    generator, missed = np.random.default_rng(3), 0
    for _ in range(2000):
        value = generator.normal(0, 1) + generator.normal(0, 0.7)
        low, high = estimate(value, generator.normal(0, 1, 5), 0.49, 500).bounds()
        missed += not low <= 0 <= high
    assert 0.025 < missed / 2000 < 0.06


def test_the_variances_of_parts_are_drawn_together_and_keep_the_chance_of_a_false_alarm() -> None:
    generator, alarms = np.random.default_rng(4), 0
    for _ in range(300):
        parts = [(generator.normal(0, np.sqrt(2)), generator.normal(0, 1, 4), 1.0) for _ in range(10)]
        found = pooled(parts)
        described_all = [
            described(each, alpha) for each, alpha in zip(found, holm_alphas(found), strict=True)
        ]
        alarms += any(each["verdict"] != "cannot tell" for each in described_all)
    assert alarms / 300 < 0.09


def test_holm_rejects_what_its_steps_allow() -> None:
    sure = [Estimate(value, 1.0, 1e9) for value in (5.0, -2.4, 2.1, 0.5)]
    alphas = holm_alphas(sure)
    assert alphas[:3] == pytest.approx([ALPHA / 4, ALPHA / 3, ALPHA / 2])
    verdicts = [described(each, alpha)["verdict"] for each, alpha in zip(sure, alphas, strict=True)]
    # 2.1 has p = 0.036: enough for itself, too much for the two that are left.
    assert verdicts == ["better", "worse", "cannot tell", "cannot tell"]
    assert holm_alphas([]) == []


def test_a_value_of_zero_tells_nothing() -> None:
    assert Estimate(0.0, 0.0, 4.0).p == 1
    assert described(Estimate(0.0, 0.0, 4.0))["verdict"] == "cannot tell"
