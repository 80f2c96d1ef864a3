"""Classification against PyTorch, scikit-learn and a calibration error written out."""

import math
import warnings
from itertools import pairwise

import numpy as np
import pytest
import sklearn.metrics
import torch
import torch.nn.functional as F
from beartype import beartype
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError, jaxtyped

from doubleroute.kinds import IGNORE
from doubleroute.kinds.classification import ClassificationKind
from doubleroute.kinds.losses import cross_entropy

KIND = ClassificationKind()
LABELS = ["a", "b", "c", "never"]


def answer(label: str, confidence: float = 1.0) -> dict[str, object]:
    return {"label": label, "probabilities": {label: confidence}}


def test_labels_become_their_places() -> None:
    codes = KIND.encode(["c", "a"], LABELS)
    assert codes.tolist() == [2, 0]
    assert codes.dtype == np.int64


def test_the_answer_is_the_largest_logit_with_softmax_probabilities() -> None:
    logits = [np.array(row, np.float32) for row in ([1, 3, 2], [1000, -1000, 0])]
    first, second = KIND.decode(logits, ["a", "b", "c"])
    assert first["label"] == "b"
    expected = torch.tensor([1.0, 3, 2], dtype=torch.float64).softmax(-1).tolist()
    assert list(first["probabilities"].values()) == pytest.approx(expected)
    assert second == {"label": "a", "probabilities": {"a": 1.0, "b": 0.0, "c": 0.0}}


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_pytorchs_mean_over_rows_that_count(smoothing: float) -> None:
    logits, targets = torch.randn(6, 4), torch.tensor([0, IGNORE, 3, 2, IGNORE, 1])
    expected = F.cross_entropy(logits, targets, label_smoothing=smoothing)
    torch.testing.assert_close(KIND.loss(logits, targets, smoothing), expected)


def test_the_loss_checks_its_shapes() -> None:
    checked = jaxtyped(typechecker=beartype)(cross_entropy)
    checked(torch.randn(2, 3, 4), torch.zeros(2, 3, dtype=torch.int64), 0.0)
    with pytest.raises(TypeCheckError):
        checked(torch.randn(2, 3, 4), torch.zeros(3, 2, dtype=torch.int64), 0.0)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=30))
def test_scores_and_table_equal_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    truths, answers = (list(side) for side in zip(*pairs, strict=True))
    scorer = KIND.scorer([answer(label) for label in answers], truths, LABELS)
    scores, details = scorer.score(), scorer.details()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns about labels without answers
        report = sklearn.metrics.classification_report(
            truths, answers, labels=LABELS, output_dict=True, zero_division=np.nan
        )
        macro = sklearn.metrics.f1_score(truths, answers, average="macro")
        weighted = sklearn.metrics.f1_score(truths, answers, average="weighted")
        correlation = sklearn.metrics.matthews_corrcoef(truths, answers)
        confusion = sklearn.metrics.confusion_matrix(truths, answers, labels=LABELS)
    assert scores["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(truths, answers))
    assert scores["macro_f1"] == pytest.approx(macro)
    assert scores["weighted_f1"] == pytest.approx(weighted)
    assert scores["mcc"] == pytest.approx(correlation)
    assert details["confusion"] == confusion.tolist()
    for label, row in details["per_label"].items():
        theirs = report[label]
        for ours, name in (("precision",) * 2, ("recall",) * 2, ("f1", "f1-score"), ("support",) * 2):
            value = math.nan if row[ours] is None else row[ours]
            assert value == pytest.approx(theirs[name], nan_ok=True)


def test_the_calibration_error_is_that_of_guo_et_al() -> None:
    generator = np.random.default_rng(3)
    confidence = generator.uniform(0.3, 1, 400)
    confidence[:15] = np.arange(1, 16) / 15  # the upper edge belongs to its bin
    right = generator.random(400) < confidence**2
    expected = 0.0
    edges = np.linspace(0, 1, 16)
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    answers = [answer("a", value) for value in confidence.tolist()]
    scorer = KIND.scorer(answers, ["a" if each else "b" for each in right], LABELS)
    reliability = scorer.details()["reliability"]
    assert scorer.score()["ece"] == pytest.approx(expected)
    assert reliability["ece"] == pytest.approx(expected)
    assert len(reliability["bins"]) == 15
    assert sum(each["rows"] for each in reliability["bins"]) == 400
    assert reliability["bins"][14]["high"] == 1


def test_an_empty_bin_has_no_means() -> None:
    bins = KIND.scorer([answer("a", 0.9)], ["a"], LABELS).details()["reliability"]["bins"]
    assert bins[0] == {
        "low": 0.0,
        "high": pytest.approx(1 / 15),
        "rows": 0,
        "confidence": None,
        "accuracy": None,
    }
    assert bins[13]["confidence"] == 0.9


def test_a_constant_answer_has_mcc_zero() -> None:
    assert KIND.scorer([answer("a")] * 3, ["a", "b", "a"], LABELS).score()["mcc"] == 0


def test_an_answer_outside_the_labels_counts_as_wrong() -> None:
    scorer = KIND.scorer([answer("dropped"), answer("b")], ["a", "b"], ["a", "b"])
    assert scorer.score()["accuracy"] == 0.5
    assert scorer.score()["macro_f1"] == pytest.approx(1 / 3)
    assert scorer.details()["confusion"] == [[0, 0], [0, 1]]
    assert list(scorer.details()["per_label"]) == ["a", "b"]
