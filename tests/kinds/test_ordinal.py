"""Ordinal labels: thresholds, probabilities, and the scores of scikit-learn."""

import math

import numpy as np
import pytest
import sklearn.metrics
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from doubleroute.kinds.ordinal import OrdinalKind

KIND = OrdinalKind()
LABELS = ["bad", "fair", "good", "best"]


def score(truths: list[str], answers: list[str], rows: np.ndarray | None = None) -> dict[str, float]:
    return KIND.scorer([{"label": label} for label in answers], truths, LABELS).score(rows)


def test_a_label_is_the_thresholds_that_it_passes() -> None:
    assert KIND.encode(["bad", "good", "best"], LABELS).tolist() == [[0, 0, 0], [1, 1, 0], [1, 1, 1]]


def test_the_head_never_gives_a_label_a_negative_probability() -> None:
    torch.manual_seed(1)
    head = KIND.head(6, LABELS, {"pooling": "mean", "dropout": 0.0})
    with torch.no_grad():
        head.gaps.normal_(std=5)
        logits = head(torch.randn(9, 3, 6), torch.ones(9, 3, dtype=torch.int64))
    assert (logits.diff(dim=1) < 0).all()
    for answer in KIND.decode(list(logits.numpy()), LABELS):
        assert min(answer["probabilities"].values()) >= 0
        assert sum(answer["probabilities"].values()) == pytest.approx(1)


def test_the_answer_is_the_median_and_not_the_most_probable_label() -> None:
    above = np.array([0.7, 0.55, 0.4])
    (answer,) = KIND.decode([np.log(above / (1 - above)).astype(np.float32)], LABELS)
    assert list(answer["probabilities"].values()) == pytest.approx([0.3, 0.15, 0.15, 0.4], abs=1e-6)
    assert answer["label"] == "good"


def test_the_loss_is_the_mean_over_all_thresholds() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0]])
    targets = torch.from_numpy(KIND.encode(["fair"], LABELS))
    nats = [math.log1p(math.exp(-2)), math.log(2), math.log1p(math.exp(-1))]
    assert KIND.loss(logits, targets, 0.0).item() == pytest.approx(sum(nats) / 3)


pairs_of_labels = st.lists(st.tuples(*[st.sampled_from(LABELS)] * 2), min_size=2, max_size=20)


@settings(max_examples=50, deadline=None)
@given(pairs_of_labels, st.randoms())
def test_scores_equal_scikit_learn_on_resamples(pairs: list[tuple[str, str]], random: object) -> None:
    rows = np.array([random.randrange(len(pairs)) for _ in pairs])  # type: ignore[attr-defined]
    truth, answer = ([LABELS.index(pairs[row][side]) for row in rows] for side in (0, 1))
    assume(len({*truth, *answer}) > 1)
    found = score([one for one, _ in pairs], [other for _, other in pairs], rows)
    kappa = sklearn.metrics.cohen_kappa_score(truth, answer, weights="quadratic", labels=range(4))
    assert found["quadratic_kappa"] == pytest.approx(kappa)
    assert found["mae"] == pytest.approx(sklearn.metrics.mean_absolute_error(truth, answer))
    assert found["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(truth, answer))


def test_without_any_difference_there_is_no_kappa() -> None:
    assert math.isnan(score(["bad", "bad"], ["bad", "bad"])["quadratic_kappa"])
    assert score(["bad", "bad"], ["bad", "bad"])["accuracy"] == 1


def test_an_answer_that_is_no_label_any_more_is_as_wrong_as_can_be() -> None:
    assert score(["bad", "good"], ["none", "none"])["mae"] == 2.5


def test_a_head_learns_skewed_labels_at_the_learning_rate_of_heads() -> None:
    torch.manual_seed(3)
    states, direction = torch.randn(500, 1, 32), torch.randn(32) / 32**0.5
    ranks = (states[:, 0] @ direction)[:, None] > torch.tensor([0.5, 0.7, 1.0])
    labels = [LABELS[rank] for rank in ranks.sum(1).tolist()]
    targets = torch.from_numpy(KIND.encode(labels, LABELS))
    head, mask = (
        KIND.head(32, LABELS, {"pooling": "mean", "dropout": 0.0}),
        torch.ones(500, 1, dtype=torch.long),
    )
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3)
    for _ in range(200):
        optimizer.zero_grad()
        KIND.loss(head(states, mask), targets, 0.0).backward()
        optimizer.step()
    answers = KIND.decode(list(head(states, mask).detach().numpy()), LABELS)
    assert KIND.scorer(answers, labels, LABELS).score()["quadratic_kappa"] > 0.75
