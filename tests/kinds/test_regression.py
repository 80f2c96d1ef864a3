"""Regression against PyTorch and scipy."""

import math
import re

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from doubleroute.errors import InputError
from doubleroute.kinds.regression import RegressionKind, unit_of

KIND = RegressionKind()


def score(truths: list[float], answers: list[float], rows: np.ndarray | None = None) -> dict[str, float]:
    return KIND.scorer([{"value": value} for value in answers], truths, []).score(rows)


def test_numbers_become_float32() -> None:
    codes = KIND.encode([1, 2.5, np.float64(3)], [])
    assert codes.tolist() == [1, 2.5, 3]
    assert codes.dtype == np.float32


@pytest.mark.parametrize("value", ["3", None, True, math.inf, math.nan, 1e39])
def test_what_is_no_finite_number_is_an_input_error(value: object) -> None:
    with pytest.raises(InputError, match=re.escape(f"label {value!r} is not a finite number")):
        KIND.encode([1.0, value], [])


def test_the_answer_is_the_logit() -> None:
    assert KIND.decode([np.array([2.5], np.float32)], []) == [{"value": 2.5}]


def test_the_loss_is_the_mean_square_over_targets_that_are_known() -> None:
    logits, targets = torch.tensor([[1.0], [2.0], [5.0]]), torch.tensor([0.0, math.nan, 3.0])
    assert KIND.loss(logits, targets, 0.3).item() == 2.5


def test_answers_are_in_the_unit_of_the_labels_and_logits_in_their_spread() -> None:
    labels = KIND.encode([270.0, 300.0, 330.0, 300.0], [])
    head = KIND.head(4, [], {"pooling": "mean", "dropout": 0.0, **unit_of(labels)})
    kept = head.kept()
    logits = torch.tensor([[-1.0], [0.0], [1.0], [0.0]]) * math.sqrt(2)
    assert KIND.loss(logits, torch.from_numpy(labels), 0.0, kept).item() == pytest.approx(0, abs=1e-9)
    answers = KIND.decode(list(logits.numpy()), [], {name: each.numpy() for name, each in kept.items()})
    assert [each["value"] for each in answers] == pytest.approx(labels.tolist())


def test_labels_that_are_all_the_same_have_a_spread_of_one() -> None:
    assert unit_of(np.full(7, 0.1, np.float32)) == {"mean": pytest.approx(0.1), "spread": 1.0}


small = st.integers(-4, 4).map(float)
wide = st.floats(-1e6, 1e6, width=32).map(lambda value: round(value, 3))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(small, small) | st.tuples(wide, wide), min_size=2, max_size=25), st.randoms())
def test_scores_equal_scipy_with_ties_and_on_resamples(pairs: list, random: object) -> None:
    truths, answers = (list(side) for side in zip(*pairs, strict=True))
    rows = np.array([random.randrange(len(pairs)) for _ in pairs])  # type: ignore[attr-defined]
    truth, answer = np.array(truths)[rows], np.array(answers)[rows]
    assume(np.ptp(truth) > 0)
    assume(np.ptp(answer) > 0)
    scores = score(truths, answers, rows)
    assert scores["spearman"] == pytest.approx(scipy.stats.spearmanr(truth, answer).statistic, abs=1e-9)
    assert scores["pearson"] == pytest.approx(np.corrcoef(truth, answer)[0, 1], abs=1e-9)
    assert scores["mae"] == pytest.approx(np.abs(truth - answer).mean())
    assert scores["rmse"] == pytest.approx(math.sqrt(((truth - answer) ** 2).mean()))


def test_pearson_equals_scipy() -> None:
    truths, answers = np.random.default_rng(0).normal(size=(2, 50))
    expected = scipy.stats.pearsonr(truths, answers).statistic
    assert score(truths.tolist(), answers.tolist())["pearson"] == pytest.approx(expected)


def test_the_correlation_of_a_constant_is_nan_and_its_errors_are_not() -> None:
    scores = score([1.0, 2.0, 3.0], [0.1, 0.1, 0.1])
    assert math.isnan(scores["pearson"])
    assert math.isnan(scores["spearman"])
    assert scores["mae"] == pytest.approx(1.9)


def test_an_answer_that_is_not_finite_makes_every_score_nan() -> None:
    assert all(math.isnan(value) for value in score([1.0, 2.0], [1.0, math.inf]).values())


def test_a_row_without_a_number_cannot_be_scored() -> None:
    with pytest.raises(InputError, match="labelled rows only"):
        KIND.scorer([{"value": 1.0}], [None], [])  # type: ignore[list-item]


def test_details_hold_a_histogram_of_all_rows_and_at_most_500_points() -> None:
    truths = np.arange(2000.0)
    details = KIND.scorer([{"value": value + 1} for value in truths.tolist()], truths.tolist(), []).details()
    assert sum(details["residuals"]["counts"]) == 2000
    assert len(details["residuals"]["edges"]) == len(details["residuals"]["counts"]) + 1
    assert len(details["points"]) == 500
    assert details["points"][0] == [0, 1]
    assert details["points"][-1] == [1999, 2000]
