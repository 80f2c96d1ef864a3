"""What `doubleroute predict --text` prints for people."""

import io
from typing import Any

import pytest

from doubleroute.cli.shows import show_answers
from doubleroute.console import Terminal


def shown(answer: dict[str, Any]) -> str:
    out = io.StringIO()
    show_answers(Terminal(as_json=False, pure=True, out=out), {"task": answer})
    return out.getvalue()


def test_of_an_order_the_answer_stands_before_likelier_labels() -> None:
    chances = {"1": 0.1, "2": 0.3, "3": 0.15, "4": 0.4, "5": 0.05}
    assert shown({"label": "3", "probabilities": chances}) == "task: 3 0.15, 4 0.40, 2 0.30\n"


@pytest.mark.parametrize(
    ("labels", "said"),
    [(["a", "b", "c", "d"], "d 0.90, c 0.80, b 0.70, a 0.60"), (["c"], "c 0.80"), ([], "none")],
)
def test_of_several_labels_those_that_are_answered_are_told(labels: list[str], said: str) -> None:
    chances = {"a": 0.6, "b": 0.7, "c": 0.8, "d": 0.9, "e": 0.2}
    assert shown({"labels": labels, "probabilities": chances}) == f"task: {said}\n"
