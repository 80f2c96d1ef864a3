"""Copies, near copies and contradictions that a change brought."""

import pytest
from two_versions import Row, only, places, versions

from doubleroute.config import Review
from doubleroute.review.copies import conflicts, duplicates, near_duplicates

REVIEW = Review()
OLD: list[Row] = [
    ("a", "train", "where is my new card", "card"),
    ("b", "train", "how do I top up by cheque", "top-up"),
    ("c", "train", "why was I charged a fee for this payment", "fee"),
    ("d", "test", "please tell me the exchange rate of today", "rate"),
]
GOOD: list[Row] = [
    ("g", "train", "my passport has another name", "name"),
    ("h", "test", "is it safe", "safe"),
]


def test_good_rows_are_no_copies() -> None:
    good = versions(OLD, [*GOOD, *OLD])
    assert [*duplicates(good, REVIEW), *near_duplicates(good, REVIEW), *conflicts(good, REVIEW)] == []


def test_a_copy_of_text_and_label_in_one_split_is_a_duplicate_in_another_split_it_is_none() -> None:
    head = [("x", "train", "Where is my  NEW card", "card"), *OLD, ("y", "test", OLD[1][2], "top-up")]
    finding = only(duplicates(versions(OLD, head), REVIEW))
    assert (finding.name, finding.severity, finding.split, finding.count) == (
        "duplicate",
        "note",
        "train",
        1,
    )
    assert places(finding) == [("train 1", "train 2")]
    assert near_duplicates(versions(OLD, head), REVIEW) == []


def test_of_three_new_rows_alike_two_are_duplicates() -> None:
    same = [(name, "train", "once more the same", "x") for name in "xyz"]
    finding = only(duplicates(versions(OLD, [*OLD, *same]), REVIEW))
    assert places(finding) == [("train 5", "train 4"), ("train 6", "train 4")]


def test_duplicates_of_before_are_a_number_and_no_finding() -> None:
    before = [*OLD, ("x", "train", *OLD[0][2:])]
    assert duplicates(versions(before, [*GOOD, *before]), REVIEW) == []
    more = only(duplicates(versions(before, [*before, ("y", "train", *OLD[0][2:])]), REVIEW))
    assert (more.count, more.numbers) == (1, {"already_there": 1})
    assert places(more) == [("train 5", "train 1")]
    fewer = [row for row in before if row[0] != "a"]
    assert duplicates(versions(before, fewer), REVIEW) == []


def test_a_label_that_is_only_renamed_makes_no_duplicates_and_no_conflicts() -> None:
    before = [*OLD, ("x", "train", *OLD[0][2:])]
    after = [(*row[:3], "new card" if row[3] == "card" else row[3]) for row in before]
    renamed = versions(before, after, renamed={"card": "new card"})
    assert duplicates(renamed, REVIEW) == []
    assert conflicts(renamed, REVIEW) == []


def test_nearly_a_row_of_the_same_split_is_a_near_duplicate() -> None:
    head = [
        *OLD,
        ("x", "train", "why was I charged the fee for this payment", "fee"),
        ("y", "train", "how do I top up by a cheque", "card"),
        ("z", "test", "where is my new cards", "card"),
    ]
    finding = only(near_duplicates(versions(OLD, head), REVIEW))
    assert (finding.name, finding.split, finding.count) == ("near-duplicate", "train", 2)
    assert places(finding) == [("train 4", "train 3"), ("train 5", "train 2")]
    assert finding.numbers["other_label"] == 1
    assert finding.detail.startswith("1 of them have another label")


def test_of_two_new_rows_that_are_near_the_later_one_is_the_near_duplicate() -> None:
    head = [
        *OLD,
        ("x", "train", "a quite new thing to say about it", "x"),
        ("y", "train", "a quite new thing to say about them", "x"),
    ]
    assert places(only(near_duplicates(versions(OLD, head), REVIEW))) == [("train 5", "train 4")]


def test_rows_that_were_near_before_are_not_made_new_by_an_edit() -> None:
    before = [*OLD, ("x", "train", "why was I charged the fee for this payment", "fee")]
    edited = [*OLD, ("x", "train", "why was I charged one fee for this payment", "fee")]
    assert near_duplicates(versions(before, edited), REVIEW) == []
    both = [*edited[:2], ("c", "train", "why was I charged any fee for this payment", "fee"), *edited[3:]]
    assert near_duplicates(versions(before, both), REVIEW) == []


def test_the_same_text_with_another_label_is_a_conflict_with_both_rows_quoted() -> None:
    head = [*OLD, ("x", "train", "WHERE is my new card", "fee"), ("y", "train", OLD[3][2], "card")]
    finding = only(conflicts(versions(OLD, head), REVIEW))
    assert (finding.name, finding.severity, finding.split, finding.count) == ("conflict", "look", "train", 2)
    assert places(finding) == [("train 4", "train 1"), ("train 5", "test 1")]
    assert [each["label"] for each in finding.examples] == ["fee", "card"]
    assert [each["other"]["label"] for each in finding.examples] == ["card", "rate"]


def test_a_flipped_label_of_one_of_two_copies_is_one_conflict() -> None:
    before = [*OLD, ("x", "train", *OLD[0][2:])]
    after = [*OLD, ("x", "train", OLD[0][2], "fee")]
    assert places(only(conflicts(versions(before, after), REVIEW))) == [("train 4", "train 1")]


def test_conflicts_of_before_are_a_number_and_no_finding() -> None:
    before = [*OLD, ("x", "train", OLD[0][2], "fee")]
    assert conflicts(versions(before, [*GOOD, *before]), REVIEW) == []
    more = only(conflicts(versions(before, [*before, ("y", "test", OLD[1][2], "fee")]), REVIEW))
    assert (more.count, more.split, more.numbers) == (1, "test", {"already_there": 2})


@pytest.mark.timeout(20)
def test_a_text_that_thousands_of_rows_contradict_each_other_about_takes_no_time() -> None:
    said: list[Row] = [(str(row), "train", "ok", ("yes", "no")[row % 2]) for row in range(20_000)]
    finding = only(conflicts(versions([], said), REVIEW))
    assert finding.count == 20_000
    assert places(finding)[:2] == [("train 1", "train 2"), ("train 2", "train 1")]


def test_rows_that_validation_refuses_contradict_nobody() -> None:
    head = [*OLD, ("x", "train", OLD[0][2], "fee")]
    assert conflicts(versions(OLD, head, refused=[("data/train.jsonl", 4)]), REVIEW) == []


def test_rows_without_a_label_contradict_nobody() -> None:
    assert conflicts(versions(OLD, [*OLD, ("x", "train", OLD[0][2], None)]), REVIEW) == []


def test_both_texts_of_a_pair_count() -> None:
    before: list[Row] = [("a", "train", "it rains / the street is wet", 4.0)]
    other = ("b", "train", "it rains / the sun shines", 1.0)
    same = ("c", "train", "it rains / the street is WET", 4.0)
    contrary = ("d", "train", "It rains / the street is wet", 0.5)
    made = versions(before, [*before, other, same, contrary], kind="regression")
    assert places(only(duplicates(made, REVIEW))) == [("train 3", "train 1")]
    assert places(only(conflicts(made, REVIEW))) == [("train 4", "train 1")]
    assert only(conflicts(made, REVIEW)).examples[0]["text"] == "It rains | the street is wet"


def test_labels_of_several_values_are_compared_as_their_kind_says() -> None:
    before: list[Row] = [("a", "train", "red and green", ["green", "red"])]
    same = ("b", "train", "red and green", ["red", "green"])
    assert only(duplicates(versions(before, [*before, same], kind="multilabel"), REVIEW)).count == 1
    tags: list[Row] = [("a", "train", "to Rome", ["O", "B-place"])]
    other = ("b", "train", "to rome", ["O", "O"])
    assert only(conflicts(versions(tags, [*tags, other], kind="tagging"), REVIEW)).count == 1
