"""What a change does to the labels of a task."""

from typing import Any

import pytest
from two_versions import Row, only, places, versions

from doubleroute.config import Review
from doubleroute.review.findings import Finding
from doubleroute.review.labels import label_findings
from doubleroute.review.versions import Versions

REVIEW = Review()


def rows(label: Any, count: int, split: str = "train") -> list[Row]:
    return [(f"{split} {label} {n}", split, f"{label} number {n} of {split}", label) for n in range(count)]


OLD = [*rows("card", 20), *rows("fee", 10), *rows("card", 2, "test"), *rows("fee", 2, "test")]


def found(made: Versions, min_rows: int = 2) -> list[Finding]:
    return label_findings(made, min_rows, REVIEW)


def test_more_rows_of_the_labels_that_there_are_say_nothing() -> None:
    more = [("x", "train", "one more", "fee"), ("y", "train", "another", None), *OLD]
    assert found(versions(OLD, more)) == []


def test_a_new_label_is_found_with_its_rows_and_what_was_probably_meant() -> None:
    finding = only(found(versions(OLD, [*OLD, *rows("cards", 3), ("x", "test", "a rate", "rate")])))
    assert (finding.name, finding.severity, finding.count) == ("new-label", "look", 2)
    assert finding.title == "2 new labels: 'cards' (3 rows), 'rate' (1 row)"
    assert finding.detail == "'cards'; did you mean 'card'?"
    assert finding.numbers == {"labels": {"cards": 3, "rate": 1}}
    assert places(finding) == [("train 31", None), ("test 5", None)]
    assert len(finding.rows) == 4


def test_what_was_probably_meant_is_said_of_the_labels_that_the_title_names() -> None:
    more = [each for place, end in enumerate("abcdefg") for each in rows(f"card{end}", 9 - place)]
    finding = only(found(versions(OLD, [*OLD, *more])))
    assert finding.title.endswith("'carde' (5 rows) and 2 more")
    assert [line[:7] for line in finding.detail.splitlines()] == [f"'card{end}'" for end in "abcde"]


def test_a_wrong_label_that_validation_refuses_is_not_a_new_one_too() -> None:
    head = [*OLD, ("x", "test", "a rate", "rate")]
    assert found(versions(OLD, head, refused=[("data/test.jsonl", 5)])) == []


def test_a_label_that_no_row_has_any_more_vanished_and_its_old_rows_are_quoted() -> None:
    head = [row for row in OLD if row[3] != "fee"]
    finding = only(found(versions(OLD, head)))
    assert (finding.name, finding.severity, finding.count) == ("vanished-label", "look", 1)
    assert finding.title == "1 label gone: 'fee' (12 rows before)"
    assert places(finding) == [("train 21", None)]
    assert finding.examples[0]["note"] == "in the old version"


def test_a_renamed_label_is_one_finding_and_no_new_and_vanished_one() -> None:
    head = [(*row[:3], "charge" if row[3] == "fee" else row[3]) for row in OLD]
    finding = only(found(versions(OLD, head, renamed={"fee": "charge"})))
    assert (finding.name, finding.severity, finding.count) == ("renamed-label", "look", 1)
    assert finding.title == "1 label renamed: 'fee' (now 'charge', 12 rows)"
    assert finding.examples[0]["note"] == "was 'fee'"
    assert "tasks.intent.labels" in finding.fix


def test_labels_of_tagging_are_the_types_of_entities() -> None:
    before: list[Row] = [("a", "train", "in Rome", ["O", "B-place"]), ("b", "train", "in it", ["O", "O"])]
    head = [*before, ("c", "train", "Ann Lee", ["B-person", "I-person"])]
    assert only(found(versions(before, head, kind="tagging"))).title == "1 new label: 'person' (1 row)"
    assert found(versions(head, head, kind="tagging")) == []


def test_a_renamed_type_of_entities_is_one_renamed_label() -> None:
    before: list[Row] = [("a", "train", "to New York", ["O", "B-place", "I-place"])]
    head: list[Row] = [("a", "train", "to New York", ["O", "B-city", "I-city"])]
    tags = {"B-place": "B-city", "I-place": "I-city"}
    finding = only(found(versions(before, head, kind="tagging", renamed=tags)))
    assert finding.title == "1 label renamed: 'place' (now 'city', 1 row)"


def test_numbers_have_no_labels() -> None:
    assert found(versions([("a", "train", "x", 1.0)], [("b", "train", "y", 2.0)], kind="regression")) == []


@pytest.mark.parametrize(("left", "said"), [(6, False), (5, False), (4, True), (1, True)])
def test_less_than_half_of_a_label_for_each_of_the_commonest_is_an_imbalance(left: int, said: bool) -> None:
    head = [*rows("card", 20), *rows("fee", left), *OLD[30:]]
    findings = found(versions(OLD, head), min_rows=1)
    assert len(findings) == said
    if said:
        (finding,) = findings
        assert (finding.name, finding.severity, finding.split, finding.count) == (
            "imbalance",
            "note",
            "train",
            1,
        )
        assert f"'fee' ({left} row{'s' if left > 1 else ''}, 10 before); 'card' has 20" in finding.title
        assert finding.numbers["ratio"] == [0.5, left / 20]


def test_a_label_that_fell_below_min_rows_per_class_is_an_imbalance() -> None:
    before = [*rows("card", 4), *rows("fee", 3)]
    head = [*rows("card", 4), *rows("fee", 2)]
    assert only(found(versions(before, head), min_rows=3)).numbers["labels"] == {"fee": [3, 2]}
    assert found(versions(head, head), min_rows=3) == []


def test_a_renamed_label_keeps_its_balance() -> None:
    head = [(*row[:3], "charge" if row[3] == "fee" else row[3]) for row in OLD if row[0] != "train fee 0"]
    assert [each.name for each in found(versions(OLD, head, renamed={"fee": "charge"}))] == ["renamed-label"]


def test_a_label_without_training_rows_is_an_imbalance_while_test_rows_have_it() -> None:
    head = [row for row in OLD if row[3] == "card" or row[1] == "test"]
    finding = only(found(versions(OLD, head)))
    assert (finding.name, finding.numbers["labels"]) == ("imbalance", {"fee": [10, 0]})
    assert finding.fix == "add rows of it to data/train.jsonl, or see why they went"
    assert finding.examples == []


def test_the_rows_of_an_imbalance_are_those_of_its_labels() -> None:
    before = [*rows("card", 9), *rows("fee", 4), *rows("loan", 2)]
    head = [*rows("card", 9), *rows("fee", 3), *rows("loan", 2)]
    finding = only(found(versions(before, head), min_rows=4))
    assert finding.numbers["labels"] == {"fee": [4, 3]}
    assert {each["label"] for each in finding.examples} == {"fee"}
