"""Retrieval: the loss over a batch, ranks with ties, and scores by hand."""

import math

import numpy as np
import pytest
import torch

from doubleroute.kinds.retrieval import SCALE, RetrievalKind, best_answers

KIND = RetrievalKind()
IDS = [f"a{number}" for number in range(12)]


def score(scores: list[list[float]], truths: list[str]) -> dict[str, float]:
    answers = [best_answers(np.array(each), IDS[: len(each)]) for each in scores]
    return KIND.scorer(answers, truths, IDS).score()


def test_the_loss_is_the_cross_entropy_of_scaled_cosines_with_the_answers_of_the_batch() -> None:
    vectors = torch.nn.functional.normalize(torch.randn(5, 4), dim=-1)  # three queries, two answers
    cosines = SCALE * vectors[:3] @ vectors[3:].T
    nats = [-cosines[row].log_softmax(-1)[place] for row, place in enumerate([0, 1, 0])]
    assert KIND.loss(vectors, torch.tensor([0, 1, 0]), 0.0).item() == pytest.approx(float(sum(nats)) / 3)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_of_no_query_is_zero_with_a_graph(smoothing: float) -> None:
    vectors = torch.zeros((0, 4), requires_grad=True)
    loss = KIND.loss(vectors, torch.zeros(0, dtype=torch.int64), smoothing)
    assert loss.item() == 0
    loss.backward()


def test_the_best_ten_come_best_first_with_ties_in_the_order_of_the_table() -> None:
    found = best_answers(np.array([0.5, 0.9, 0.5, 0.1]), IDS[:4])
    assert (found["label"], found["score"]) == ("a1", 0.9)
    assert [(each["id"], each["rank"]) for each in found["answers"]] == [
        ("a1", 1), ("a0", 2.5), ("a2", 2.5), ("a3", 4),
    ]  # fmt: skip
    assert len(best_answers(np.arange(12.0), IDS)["answers"]) == 10


def test_a_row_counts_by_the_rank_of_its_right_answer() -> None:
    first, third, behind = ([float(n) for n in order] for order in (range(12, 0, -1), [1, 2, 3], range(12)))
    found = score([first, third, behind], ["a0", "a0", "a0"])
    assert found["recall_at_1"] == pytest.approx(1 / 3)
    assert found["recall_at_5"] == pytest.approx(2 / 3)
    assert found["mrr_at_10"] == pytest.approx((1 + 1 / 3 + 0) / 3)


def test_of_answers_with_one_score_each_has_its_chance() -> None:
    assert score([[0.3, 0.3, 0.3, 0.3]], ["a2"]) == {
        "mrr_at_10": pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4),
        "recall_at_1": 0.25,
        "recall_at_5": 1.0,
    }
    assert score([[0.0] * 12], ["a3"])["recall_at_1"] == pytest.approx(1 / 12)


def test_what_differs_in_the_last_bits_is_a_tie() -> None:
    scores = [1 / 3, math.nextafter(1 / 3, 1)]
    assert [each["rank"] for each in best_answers(np.array(scores), IDS[:2])["answers"]] == [1.5, 1.5]


def test_rows_are_counted_by_the_rank_of_their_answer() -> None:
    answers = [best_answers(np.array([0.1, 0.2]), IDS[:2])] * 2
    assert KIND.scorer(answers, ["a1", "a0"], IDS).details()["ranks"][:3] == [1, 1, 0]
