"""Answers of a saved model."""

from pathlib import Path

import pytest

from doubleroute.errors import InputError
from doubleroute.modeling.inference import Answerer


@pytest.fixture(scope="module")
def answerer(tiny_model: Path) -> Answerer:
    return Answerer(tiny_model)


def test_one_call_answers_every_task(answerer: Answerer) -> None:
    (answer,) = answerer.answer([{"text": "a good film"}])
    assert list(answer) == ["sentiment", "topics", "stars", "entities"]
    assert set(answer["sentiment"]["probabilities"]) == {"neg", "pos"}
    assert sum(answer["sentiment"]["probabilities"].values()) == pytest.approx(1)
    assert len(answer["entities"]["tags"]) == 3


def test_only_the_tasks_that_are_asked_for_are_answered(answerer: Answerer) -> None:
    (answer,) = answerer.answer([{"text": "a good film"}], ["stars"])
    assert list(answer) == ["stars"]


def test_answers_keep_the_order_of_the_rows_and_do_not_depend_on_their_neighbours(answerer: Answerer) -> None:
    rows = [{"text": "a good film " * length} for length in (1, 5, 2)]
    rows.insert(1, {"text": "bad", "text_pair": "a good film"})
    together = answerer.answer(rows, ["stars", "entities"])
    for row, answer in zip(rows, together, strict=True):
        (alone,) = answerer.answer([row], ["stars", "entities"])
        assert answer["stars"]["value"] == pytest.approx(alone["stars"]["value"], abs=1e-5)
        assert answer["entities"]["tags"] == alone["entities"]["tags"]


def test_words_beyond_the_length_limit_are_answered_as_outside(answerer: Answerer) -> None:
    (answer,) = answerer.answer([{"tokens": ["good"] * 40}], ["entities"])
    assert len(answer["entities"]["tags"]) == 40
    assert set(answer["entities"]["tags"][16:]) == {"O"}


def test_entities_carry_their_text(answerer: Answerer) -> None:
    for text in ("good  film 42", "42 words and numbers"):
        (answer,) = answerer.answer([{"text": text}], ["entities"])
        words = text.split()
        assert answer["entities"]["entities"]
        for entity in answer["entities"]["entities"]:
            assert entity["text"].split() == words[entity["start"] : entity["end"]]


def test_a_pair_is_not_read_as_one_text(answerer: Answerer) -> None:
    single, pair = answerer.answer([{"text": "good bad"}, {"text": "good", "text_pair": "bad"}], ["stars"])
    assert single["stars"]["value"] != pair["stars"]["value"]


def test_a_task_of_single_texts_reads_no_second_one_whoever_is_asked_beside_it(tiny_model: Path) -> None:
    model = Answerer(tiny_model)
    model.tasks["topics"]["pair"] = model.tasks["entities"]["pair"] = False
    model.tasks["stars"]["pair"] = True
    row = {"text": "good 42", "text_pair": "bad"}
    ((pair,), (single,)) = model.answer([row]), model.answer([{"text": "good 42"}])
    assert list(pair) == list(single)
    for task in ("topics", "entities"):
        assert pair[task] == single[task] == model.answer([row], [task])[0][task]
    for task in ("stars", "sentiment"):  # the model does not say what sentiment has learned from
        assert pair[task] == model.answer([row], [task])[0][task] != single[task]


def test_nothing_is_answered_by_nothing(answerer: Answerer) -> None:
    assert answerer.answer([]) == []
    (answer,) = answerer.answer([{"text": ""}])
    assert answer["entities"]["tags"] == []


def test_an_unknown_task_and_a_row_without_text_are_said(answerer: Answerer) -> None:
    with pytest.raises(InputError, match="no task 'sentimnt'; it has: sentiment, topics"):
        answerer.answer([{"text": "x"}], ["sentimnt"])
    with pytest.raises(InputError, match="row 2: a 'text'"):
        answerer.answer([{"text": "x"}, {"txt": "y"}])
