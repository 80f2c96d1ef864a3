"""Multilabel against PyTorch and scikit-learn."""

import math
import warnings

import numpy as np
import pytest
import sklearn.metrics
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from doubleroute.kinds.multilabel import MultilabelKind

KIND = MultilabelKind()
LABELS = ["a", "b", "c"]


def sets(member: np.ndarray) -> list[list[str]]:
    return [[label for label, there in zip(LABELS, row, strict=True) if there] for row in member]


def answers(member: np.ndarray, probabilities: np.ndarray | None = None) -> list[dict[str, object]]:
    known = member if probabilities is None else probabilities
    return [
        {"labels": labels, "probabilities": dict(zip(LABELS, row.tolist(), strict=True))}
        for labels, row in zip(sets(member), known.astype(float), strict=True)
    ]


def test_label_sets_become_zeros_and_ones() -> None:
    codes = KIND.encode([["c", "a"], np.array([], object), np.array(["b"], object)], LABELS)
    assert codes.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert codes.dtype == np.float32


def test_the_answer_is_every_label_more_probable_than_not() -> None:
    (row,) = KIND.decode([np.array([0.1, 0.0, -2000], np.float32)], LABELS)
    assert row["labels"] == ["a"]
    assert list(row["probabilities"].values()) == pytest.approx([1 / (1 + math.exp(-0.1)), 0.5, 0])


def test_the_loss_is_pytorchs_mean_over_targets_that_are_known() -> None:
    logits, targets = torch.randn(4, 3), torch.randint(0, 2, (4, 3)).float()
    targets[1, 2] = targets[3] = math.nan
    known = ~targets.isnan()
    expected = F.binary_cross_entropy_with_logits(logits[known], targets[known])
    torch.testing.assert_close(KIND.loss(logits, targets, 0.0), expected)
    smooth = F.binary_cross_entropy_with_logits(logits[known], targets[known] * 0.8 + 0.1)
    torch.testing.assert_close(KIND.loss(logits, targets, 0.2), smooth)


two = arrays.arrays(np.bool_, st.tuples(st.just(2), st.integers(1, 12), st.just(3)))


@settings(max_examples=50, deadline=None)
@given(two)
def test_scores_and_table_equal_scikit_learn(both: np.ndarray) -> None:
    truth, given_ = both
    scorer = KIND.scorer(answers(given_), sets(truth), LABELS)
    scores, table = scorer.score(), scorer.details()["per_label"]
    occurring = np.flatnonzero(both.any((0, 1))).tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns about labels without answers
        precision, recall, f1, support = sklearn.metrics.precision_recall_fscore_support(
            truth, given_, zero_division=np.nan
        )
        if occurring:
            micro = sklearn.metrics.f1_score(truth, given_, average="micro")
            macro = sklearn.metrics.f1_score(truth, given_, average="macro", labels=occurring)
            assert scores["micro_f1"] == pytest.approx(micro)
            assert scores["macro_f1"] == pytest.approx(macro)
        else:
            assert math.isnan(scores["micro_f1"])
            assert math.isnan(scores["macro_f1"])
    assert scores["subset_accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(truth, given_))
    for place, row in enumerate(table.values()):
        expected = [precision[place], recall[place], f1[place], support[place]]
        assert [math.nan if value is None else value for value in row.values()] == pytest.approx(
            expected, nan_ok=True
        )


def test_the_calibration_error_compares_probability_with_how_often_a_label_is_true() -> None:
    truth = np.array([[1, 0, 0], [1, 0, 0], [0, 0, 0], [1, 0, 1]], bool)
    probabilities = np.full((4, 3), 0.9)
    probabilities[:, 1:] = 0.04
    scorer = KIND.scorer(answers(probabilities > 0.5, probabilities), sets(truth), LABELS)
    expected = (4 * abs(3 / 4 - 0.9) + 8 * abs(1 / 8 - 0.04)) / 12
    assert scorer.score()["ece"] == pytest.approx(expected)
    bins = scorer.details()["reliability"]["bins"]
    assert bins[0]["rows"] == 8
    assert bins[0]["accuracy"] == pytest.approx(1 / 8)


def test_an_answer_outside_the_labels_counts_as_wrong() -> None:
    answer = {"labels": ["a", "dropped"], "probabilities": {"a": 1.0, "dropped": 0.7}}
    scores = KIND.scorer([answer], [["a"]], LABELS).score()
    assert scores["subset_accuracy"] == 0
    assert scores["micro_f1"] == pytest.approx(2 / 3)
