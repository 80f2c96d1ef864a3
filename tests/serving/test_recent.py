"""The latest answers are kept, so many, and each is that of its text and tasks."""

from collections.abc import Sequence

import pytest

from doubleroute.errors import RowError
from doubleroute.serving.recent import LONGEST, Recent
from doubleroute.serving.together import Answers, Rows


class Counted:
    """Answers a row by what it says, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, rows: Rows, tasks: Sequence[str] | None) -> Answers:
        self.asked += [row["text"] for row in rows]
        if "bad" in self.asked[-len(rows) :]:
            raise RowError(self.asked.index("bad") - (len(self.asked) - len(rows)), "a bad text")
        return [{"echo": {"label": f"{row['text']} {row.get('text_pair')} {tasks}"}} for row in rows]


def test_a_text_that_comes_again_is_not_computed_again() -> None:
    model = Counted()
    recent = Recent(model)
    first = recent.answer([{"text": "a"}, {"text": "b"}, {"text": "a"}])
    second = recent.answer([{"text": "b"}, {"text": "c"}])
    assert [answer["echo"]["label"] for answer in first + second] == [
        "a None None",
        "b None None",
        "a None None",
        "b None None",
        "c None None",
    ]
    assert model.asked == ["a", "b", "c"]


def test_another_second_text_or_another_choice_of_tasks_is_another_question() -> None:
    recent = Recent(Counted())
    found = [
        recent.answer([row], tasks)[0]["echo"]["label"]
        for row, tasks in (
            ({"text": "a"}, None),
            ({"text": "a", "text_pair": "b"}, None),
            ({"text": "a"}, ["x"]),
        )
    ]
    assert found == ["a None None", "a b None", "a None ['x']"]


def test_the_oldest_goes_and_long_texts_are_not_kept() -> None:
    model = Counted()
    recent = Recent(model, most=2)
    for text in ("a", "b", "a", "c", "a", "b"):  # b went when c came: a had been asked since
        recent.answer([{"text": text}])
    assert model.asked == ["a", "b", "c", "b"]
    for _ in range(2):
        recent.answer([{"text": "x" * (LONGEST + 1)}])
    assert len(model.asked) == 6


def test_an_error_leaves_what_is_kept() -> None:
    model = Counted()
    recent = Recent(model)
    recent.answer([{"text": "a"}])
    with pytest.raises(RowError):
        recent.answer([{"text": "a"}, {"text": "bad"}])
    recent.answer([{"text": "a"}])
    assert model.asked == ["a", "bad"]


def test_an_error_names_the_row_among_all_that_were_asked() -> None:
    recent = Recent(Counted())
    recent.answer([{"text": "a"}])
    with pytest.raises(RowError, match="row 4: a bad text"):
        recent.answer([{"text": text} for text in ("b", "a", "b", "bad")])


def test_an_answer_is_the_caller_s_own() -> None:
    recent = Recent(Counted())
    first, second = recent.answer([{"text": "a"}, {"text": "a"}])
    first["echo"]["label"] = "changed"
    (again,) = recent.answer([{"text": "a"}])
    assert second["echo"]["label"] == again["echo"]["label"] == "a None None"


def test_of_large_answers_fewer_are_kept() -> None:
    asked: list[str] = []

    def many(rows: Rows, _: Sequence[str] | None) -> Answers:
        asked.extend(row["text"] for row in rows)
        chances = {str(number): 0.25 for number in range(96)}
        return [{"task": {"label": "0", "probabilities": chances, "by": [{"x": 1}]}} for _ in rows]

    recent = Recent(many, values=250)  # 102 an answer
    for text in ("a", "b", "a", "c", "a", "b"):
        (found,) = recent.answer([{"text": text}])
        found["task"]["probabilities"]["0"] = found["task"]["by"][0]["x"] = 9
    assert asked == ["a", "b", "c", "b"]
    assert recent.answer([{"text": "a"}]) == many([{"text": "a"}], None)
    alone = Recent(many, values=100)
    for _ in range(2):
        alone.answer([{"text": "larger than all that may be kept"}])
    assert len(asked) == 7
