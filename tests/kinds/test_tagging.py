"""Tagging against seqeval, nervaluate and scikit-learn."""

import math
import warnings

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from nervaluate import Evaluator
from seqeval.metrics import f1_score
from seqeval.metrics.sequence_labeling import get_entities

from doubleroute.data.tags import legal
from doubleroute.kinds.tagging import Entity, TaggingKind, TaggingScorer, entities

KIND = TaggingKind()
LABELS = ["O", "B-geo-loc", "B-per", "I-geo-loc", "I-per"]

tags = st.sampled_from(LABELS)
rows_of_tags = st.lists(st.lists(st.tuples(tags, tags), max_size=8), min_size=1, max_size=6)


def split(rows: list[list[tuple[str, str]]]) -> tuple[list[list[str]], list[list[str]]]:
    return [[truth for truth, _ in row] for row in rows], [[answer for _, answer in row] for row in rows]


def scorer(truths: list[list[str]], answers: list[list[str]]) -> TaggingScorer:
    return KIND.scorer([{"tags": legal(row), "entities": []} for row in answers], truths, LABELS)


def test_each_row_of_tags_becomes_an_array() -> None:
    first, second = KIND.encode([["O", "B-per"], []], LABELS)
    assert first.tolist() == [0, 2]
    assert second.size == 0
    assert first.dtype == second.dtype == np.int64


@pytest.mark.parametrize(
    ("given_", "repaired"),
    [
        ("O I-per I-per", "O B-per I-per"),
        ("B-per I-geo-loc I-geo-loc", "B-per B-geo-loc I-geo-loc"),
        ("I-per O I-per", "B-per O B-per"),
        ("B-per B-per I-per", "B-per B-per I-per"),
        ("NOUN I-per", "NOUN B-per"),
    ],
)
def test_an_inside_tag_without_its_beginning_becomes_one(given_: str, repaired: str) -> None:
    assert legal(given_.split()) == repaired.split()


def test_tags_that_begin_with_an_inside_tag_are_learned_and_scored_as_beginnings() -> None:
    ((codes,), written) = KIND.encode([["O", "I-per", "I-per"]], LABELS), [["O", "I-per", "I-per"]]
    assert codes.tolist() == [0, 2, 4]
    answer = {"tags": ["O", "B-per", "I-per"], "entities": []}
    assert KIND.scorer([answer], written, LABELS).score()["token_accuracy"] == 1


def test_the_answer_is_legal_and_holds_the_spans_of_its_entities() -> None:
    logits = np.eye(5, dtype=np.float32)[[0, 4, 4, 3, 0]]
    logits[[1, 3], [2, 1]] = 0.5  # the beginnings are second best
    (answer,) = KIND.decode([logits], LABELS)
    assert answer["tags"] == ["O", "B-per", "I-per", "B-geo-loc", "O"]
    spans = [(each["type"], each["start"], each["end"]) for each in answer["entities"]]
    assert spans == [("per", 1, 3), ("geo-loc", 3, 4)]


def test_a_row_without_words_has_an_empty_answer() -> None:
    empty = {"tags": [], "confidences": [], "entities": []}
    assert KIND.decode([np.zeros((0, 5), np.float32)], LABELS) == [empty]


def test_a_word_is_as_sure_as_its_softmax_and_an_entity_as_its_least_sure_word() -> None:
    chances = [[0.1, 0.1, 0.6, 0.1, 0.1], [0.05, 0.05, 0.05, 0.05, 0.8], [0.96, 0.01, 0.01, 0.01, 0.01]]
    logits = np.log(np.array(chances, np.float32)) + 700  # the softmax does not overflow
    (answer,) = KIND.decode([logits], LABELS)
    assert answer["tags"] == ["B-per", "I-per", "O"]
    assert answer["confidences"] == pytest.approx([0.6, 0.8, 0.96], abs=1e-4)
    (entity,) = answer["entities"]
    assert entity == {"type": "per", "start": 0, "end": 2, "confidence": pytest.approx(0.6, abs=1e-4)}


@settings(max_examples=50, deadline=None)
@given(st.lists(tags, max_size=12))
def test_repair_changes_nothing_twice_and_keeps_the_entities_that_conlleval_reads(row: list[str]) -> None:
    assert legal(legal(row)) == legal(row)
    expected = [Entity(kind, start, last + 1) for kind, start, last in get_entities(row)]
    assert entities(row) == entities(legal(row)) == expected


def test_plain_tags_make_no_entities() -> None:
    assert entities(["NOUN", "VERB", "B", "I"]) == []


@settings(max_examples=50, deadline=None)
@given(rows_of_tags)
def test_entity_f1_equals_seqeval_and_nervaluates_strict(rows: list[list[tuple[str, str]]]) -> None:
    truths, answers = split(rows)
    ours = scorer(truths, answers).score()["entity_f1"]
    if not any(entities(row) for row in truths + answers):
        assert math.isnan(ours)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # seqeval warns where precision or recall is undefined
        assert ours == pytest.approx(f1_score(truths, answers))
    judge = Evaluator(
        [legal(row) for row in truths], [legal(row) for row in answers], ["per", "geo-loc"], "list"
    )
    assert ours == pytest.approx(judge.evaluate()["overall"]["strict"].f1)


@settings(max_examples=50, deadline=None)
@given(rows_of_tags.filter(any))
def test_token_scores_and_table_equal_scikit_learn(rows: list[list[tuple[str, str]]]) -> None:
    truths, answers = split(rows)
    judged = scorer(truths, answers)
    scores, details = judged.score(), judged.details()
    flat = [tag for row in truths for tag in legal(row)], [tag for row in answers for tag in legal(row)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns about tags without answers
        macro, weighted = (sklearn.metrics.f1_score(*flat, average=each) for each in ("macro", "weighted"))
        table = sklearn.metrics.precision_recall_fscore_support(*flat, labels=LABELS, zero_division=np.nan)
        confusion = sklearn.metrics.confusion_matrix(*flat, labels=LABELS)
    assert scores["token_accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(*flat))
    assert scores["token_macro_f1"] == details["tokens_macro_f1"] == pytest.approx(macro)
    assert scores["token_weighted_f1"] == pytest.approx(weighted)
    assert details["confusion"] == confusion.tolist()
    for row, expected in zip(details["tokens"].values(), zip(*table, strict=True), strict=True):
        values = [math.nan if value is None else value for value in row.values()]
        assert values == pytest.approx(list(expected), nan_ok=True)


def test_entities_are_counted_by_type() -> None:
    truths = [["B-per", "I-per", "O", "B-geo-loc"], ["B-per"]]
    answers = [["B-per", "O", "O", "B-geo-loc"], ["B-per"]]
    assert scorer(truths, answers).details()["entities"] == {
        "geo-loc": {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1},
        "per": {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2},
    }


def test_missed_entities_alone_score_zero() -> None:
    assert scorer([["B-per"]], [["O"]]).score()["entity_f1"] == 0


def test_a_row_with_another_number_of_tags_is_refused() -> None:
    with pytest.raises(ValueError, match="row 1 has 2 tokens, but 1 tags"):
        scorer([["O"], ["O", "O"]], [["O"], ["O"]])


def test_an_answer_outside_the_tags_counts_as_wrong() -> None:
    judged = scorer([["B-per", "O"]], [["B-dropped", "O"]])
    assert judged.score()["entity_f1"] == 0
    assert judged.score()["token_accuracy"] == 0.5
    assert "B-dropped" not in judged.details()["tokens"]
