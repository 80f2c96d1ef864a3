"""Answers as data files hold them, and those that are not where they say."""

from typing import Any

import pytest

from doubleroute.data.spans import Span, misplaced, read_answers, spans


@pytest.mark.parametrize(
    "value",
    [
        [{"text": "308", "start": 34}, {"text": "a: b", "start": 0}],
        [{"text": "308", "answer_start": 34.0}, {"text": "a: b", "answer_start": 0}],
        {"text": ["308", "a: b", "308"], "answer_start": [34, 0, 34]},
        '[{"text": "308", "start": 34}, {"text": "a: b", "start": 0}]',
    ],
)
def test_every_form_of_answers_is_read_each_answer_once(value: Any) -> None:
    found = read_answers(value)
    assert found == ["34:308", "0:a: b"]
    assert spans(found) == [Span(34, 37, "308"), Span(0, 4, "a: b")]


@pytest.mark.parametrize(
    ("value", "wanted"), [(None, None), ("", None), ([], []), ({"text": [], "start": []}, [])]
)
def test_an_empty_list_is_no_answer_and_null_says_nothing(value: Any, wanted: Any) -> None:
    assert read_answers(value) == wanted


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("308", "is no list of answers"),
        ("at 308", "is text that is no JSON"),
        ([{"text": "308"}], "answer 1 lacks a text, or the number where it starts"),
        ([{"text": "308", "start": True}], "answer 1 lacks a text, or the number"),
        ([{"text": "a", "start": 0}, {"text": " ", "start": 3}], "answer 2 is empty; an empty list says"),
        ([{"text": "308", "start": -1}], "answer 1 starts at -1"),
        ([{"text": "308", "start": float("inf")}], "answer 1 starts at inf"),
        ([{"text": "308", "start": 1.5}], "answer 1 starts at 1.5"),
        ([{"text": "308", "start": 10**400}], "answer 1 starts at 1000"),
        ({"text": ["308"], "answer_start": []}, "has not as many texts as starts"),
    ],
)
def test_what_is_no_list_of_answers_is_named(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_answers(value)


def test_an_answer_that_is_not_at_its_place_is_told_with_what_is_there_and_where_it_is() -> None:
    context = "gave up just 308 points in 308 games"
    assert misplaced(context, ["13:308", "27:308"]) is None
    assert misplaced(context, None) is None
    assert (
        misplaced(context, ["13:308", "14:308"])
        == "answer 2 '308' is not at character 14 of the context, where '08 ' stands; it starts at 13"
    )
    assert "which has 36; it is nowhere in it" in (misplaced(context, ["40:309"]) or "")
