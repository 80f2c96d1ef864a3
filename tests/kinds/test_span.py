"""Spans: SQuAD's scores, a loss over the tokens that count, answers inside one window."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from doubleroute.data.batches import IGNORE
from doubleroute.data.windows import END, START
from doubleroute.errors import InputError
from doubleroute.kinds.span import SpanKind, normalised

KIND = SpanKind()


def window(start: list[float], end: list[float], first: int = 0) -> np.ndarray:
    """A window whose tokens behind the first are characters ``first``, ``first`` + 1, ..."""
    tokens = np.arange(first, first + len(start) - 1, dtype=np.float32)
    places = np.stack([np.concatenate([[-1], tokens]), np.concatenate([[-1], tokens + 1])])
    return np.stack([start, end, *places], axis=1).astype(np.float32)


def answered(*windows: np.ndarray, longest: int = 30) -> dict[str, Any]:
    (found,) = KIND.decode([np.concatenate(windows)], [], {"longest": np.array(float(longest))})
    return found


def score(answer: str | None, truth: list[str]) -> tuple[float, float]:
    scores = KIND.scorer([{"answer": answer}], [truth], []).score()
    return scores["answer_f1"], scores["exact_match"]


def test_the_loss_is_the_mean_cross_entropy_of_start_and_end_over_what_counts() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 5, 2)
    targets = torch.tensor(
        [
            [0, IGNORE, START, END, IGNORE],
            [START + END, IGNORE, 0, 0, 0],
            [IGNORE] * 5,  # nothing to be learned
        ]
    )
    by_hand = []
    for row, start, end in ((0, 1, 2), (1, 0, 0)):
        for side, place in ((0, start), (1, end)):
            counts = logits[row, targets[row] != IGNORE, side]
            by_hand.append(F.cross_entropy(counts[None], torch.tensor([place]), label_smoothing=0.1))
    assert torch.allclose(KIND.loss(logits, targets, 0.1), torch.stack(by_hand).mean())


def test_question_and_padding_have_no_part_in_the_loss() -> None:
    logits = torch.randn(1, 4, 2, requires_grad=True)
    KIND.loss(logits, torch.tensor([[0, IGNORE, START + END, IGNORE]]), 0.1).backward()
    assert logits.grad is not None
    assert (logits.grad[0, [1, 3]] == 0).all()
    assert (logits.grad[0, [0, 2]] != 0).all()


def test_the_end_never_lies_before_the_start() -> None:
    found = answered(window([-9, 0, 0, 5], [-9, 9, 0, 1]))
    assert (found["start"], found["end"]) == (0, 1)
    assert answered(window([-9, 0, 0, 9], [-9, 5, 0, 1]))["start"] == 3 - 1


def test_an_answer_has_at_most_so_many_tokens() -> None:
    long = window([-9, 9, 0, 0, 1], [-9, 1, 0, 0, 9])
    assert (answered(long)["start"], answered(long)["end"]) == (0, 4)
    found = answered(long, longest=2)
    assert found["end"] - found["start"] <= 2


def test_the_best_span_of_all_windows_is_compared_with_no_answer() -> None:
    first, second = window([3, 1, 0], [3, 1, 0]), window([0, 2, 0], [0, 0, 2], first=10)
    found = answered(first, second)
    assert (found["start"], found["end"]) == (10, 12)
    shares = [math.exp(2) / (math.exp(2) + 2)] * 2
    assert found["confidence"] == pytest.approx(shares[0] * shares[1])
    none = answered(first)
    assert (none["start"], none["answer"]) == (None, None)
    assert none["confidence"] == pytest.approx((math.exp(3) / (math.exp(3) + math.e + 1)) ** 2)


def test_start_and_end_of_two_windows_make_no_answer() -> None:
    found = answered(window([-9, 5, 0], [-9, 0, 0]), window([-9, 0, 0], [-9, 0, 4.5], first=10))
    assert (found["start"], found["end"]) == (0, 1)


def test_words_are_compared_as_squad_compares_them() -> None:
    assert normalised("The  Panthers' (308) a-an, AN\n points!") == ["panthers", "308", "aan", "points"]
    assert score("the 308 points.", ["0:308 Points"]) == (1.0, 1.0)
    assert score("308", ["0:308 points"]) == (pytest.approx(2 / 3), 0.0)
    assert score("308 points", ["0:three", "4:308"]) == (pytest.approx(2 / 3), 0.0)
    assert score("points points", ["0:points"]) == (pytest.approx(2 / 3), 0.0)
    assert score("other", ["0:308 points"]) == (0.0, 0.0)


def test_no_answer_is_right_where_there_is_none_and_wrong_elsewhere() -> None:
    assert score(None, []) == (1.0, 1.0)
    assert score("308", []) == (0.0, 0.0)
    assert score(None, ["0:308"]) == (0.0, 0.0)
    details = KIND.scorer([{"answer": None}, {"answer": "308"}], [[], ["0:308"]], []).details()
    right = {"rows": 1, "answer_f1": 1.0, "exact_match": 1.0}
    assert details["by_answer"]["no answer"] == {**right, "answered": 0}
    assert details["by_answer"]["an answer"] == {**right, "answered": 1}


@pytest.mark.parametrize("label", ["308", "x:308", "4:"])
def test_a_label_that_is_no_start_and_text_is_an_input_error(label: str) -> None:
    with pytest.raises(InputError, match="is no answer as in 34:308"):
        KIND.encode([[label]], [])
    with pytest.raises(InputError, match="is no answer as in 34:308"):
        KIND.scorer([{"answer": None}], [[label]], [])
