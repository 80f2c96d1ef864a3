"""Held-out rows, personal data, drift, files, invalid rows; and what all findings have in common."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from two_versions import Row, only, places, side, versions

from doubleroute.config import Review
from doubleroute.review.arrived import drift_findings, personal_data
from doubleroute.review.files import answers, columns, invalid, refused, reordered, unreadable
from doubleroute.review.finders import row_findings
from doubleroute.review.findings import Finding, in_order, publishable, row_digest, write_rows
from doubleroute.review.held_out import held_out
from doubleroute.review.rows import VersionRows

REVIEW = Review()
OLD: list[Row] = [
    ("a", "train", "where is my card", "card"),
    ("b", "validation", "how do I top up", "top-up"),
    ("c", "test", "the rate of today", "rate"),
    ("d", "test", "I cannot open it", "app"),
    ("e", "test", "the machine ate it", "cash"),
]
FINDERS = {"mail": lambda text: "@" in text, "phone": lambda text: "555" in text}


def test_every_change_of_held_out_rows_is_counted_by_its_kind() -> None:
    head: list[Row] = [
        ("a", "train", "where is my card now", "top-up"),
        ("b", "test", "how do I top up", "top-up"),
        ("c", "test", "the rates of today", "fee"),
        ("e", "test", "the machine ate it", "cash"),
        ("f", "test", "a new one", "app"),
        ("g", "train", "a new one to learn", "app"),
    ]
    validation, test = held_out(versions(OLD, head), REVIEW)
    assert (validation.split, validation.count, validation.numbers) == ("validation", 1, {"moved out": 1})
    assert (test.name, test.severity, test.split, test.count) == ("held-out", "look", "test", 4)
    assert test.numbers == {"added": 1, "edited": 1, "moved in": 1, "relabelled": 1, "removed": 1}
    assert test.title == "4 rows of test changed: 1 added, 1 edited, 1 moved in, 1 relabelled, 1 removed"
    assert places(test)[0] == ("test 1", "validation 1")
    assert len(test.rows) == 4


def test_untouched_and_renamed_held_out_rows_say_nothing() -> None:
    more: list[Row] = [("x", "train", "one more", "card"), *OLD]
    assert held_out(versions(OLD, more), REVIEW) == []
    renamed = [(*row[:3], "lost" if row[3] == "cash" else row[3]) for row in OLD]
    assert held_out(versions(OLD, renamed, renamed={"cash": "lost"}), REVIEW) == []


def test_a_split_drawn_from_the_files_of_train_grows_by_itself() -> None:
    def drawn(rows: list[Row]) -> VersionRows:
        return replace(side(rows, "classification"), files=["data/all.jsonl"] * len(rows))

    more: list[Row] = [*OLD, ("f", "test", "a new one", "app"), ("g", "train", "one to learn", "app")]
    (grew,) = held_out(replace(versions(OLD, more), base=drawn(OLD), head=drawn(more)), REVIEW)
    assert (grew.name, grew.severity, grew.split, grew.count) == ("held-out-grew", "note", "test", 1)
    assert "all.jsonl" in str(grew.examples)
    twice: list[Row] = [*more, ("h", "test", "I cannot open it", "app")]
    (grew,) = held_out(replace(versions(OLD, twice), base=drawn(OLD), head=drawn(twice)), REVIEW)
    assert (grew.name, grew.count) == ("held-out-grew", 2)
    fewer = [row for row in more if row[0] != "e"]
    (touched,) = held_out(replace(versions(OLD, fewer), base=drawn(OLD), head=drawn(fewer)), REVIEW)
    assert (touched.name, touched.numbers) == ("held-out", {"added": 1, "removed": 1})


def test_personal_data_that_came_is_found_and_blotted_out() -> None:
    before: list[Row] = [
        *OLD,
        ("m", "train", "mail me at ann@example.org", "app"),
        ("n", "train", "a plain row", "app"),
    ]
    head: list[Row] = [
        *OLD,
        ("m", "train", "do mail me at ann@example.org", "app"),
        ("n", "train", "a plain row, call 555", "app"),
        ("x", "train", "bob@example.org or 555", "app"),
    ]
    finding = only(personal_data(versions(before, head), FINDERS, REVIEW))
    assert (finding.name, finding.severity, finding.count) == ("personal-data", "look", 2)
    assert finding.numbers == {"mail": 1, "phone": 2}
    assert places(finding) == [("train 3", None), ("train 4", None)]
    shown = publishable(finding, lambda text: text.replace("bob@example.org", "[mail]"))
    assert shown.examples[1]["text"] == "[mail] or 555"
    assert shown.examples[1]["note"] == "mail, phone"
    assert personal_data(versions(head, head), FINDERS, REVIEW) == []


def test_texts_of_every_finding_are_redacted_before_they_are_cut() -> None:
    finding = Finding("leak", "block", "a", "train", 1, "t", "f", "see ann@x.org")
    long = {"file": "f", "row": 1, "split": "train", "text": "y" * 995 + "ann@x.org", "label": "l"}
    example = {**long, "other": {**long, "text": "x ann@x.org"}, "note": "of ann@x.org"}
    made = Finding(**{**vars(finding), "examples": [example]})
    shown = publishable(made, lambda text: text.replace("ann@x.org", "[mail]"))
    assert shown.examples[0]["text"] == "y" * 995 + "[mail…"
    assert shown.examples[0]["other"]["text"] == "x [mail]"
    assert (shown.examples[0]["note"], shown.detail) == ("of [mail]", "see [mail]")


def test_drift_becomes_a_finding_with_the_tests_that_moved() -> None:
    test = {"scope": "inputs", "what": "embeddings", "p_adjusted": 0.012, "effect": 0.2, "verdict": "moved"}
    still = {**test, "what": "length", "verdict": "not seen"}
    document = {
        "verdict": "moved",
        "moved": ["inputs"],
        "tests": [test, still],
        "rows": {"reference": 9000, "current": 1200},
    }
    finding = only(drift_findings(document, "intent", REVIEW))
    assert (finding.name, finding.severity, finding.task, finding.count) == ("drift", "note", "intent", 1200)
    assert finding.title == "1,200 new rows differ from the old ones: inputs by embeddings"
    assert finding.detail == "inputs by embeddings: corrected p 0.012, effect 0.20"
    assert drift_findings({**document, "verdict": "not seen"}, "intent", REVIEW) == []


def test_a_version_that_cannot_be_read_is_a_finding_with_the_message() -> None:
    finding = unreadable("data/train.csv is empty; it must hold at least one row\nand more", REVIEW)
    assert (finding.name, finding.severity, finding.count) == ("unreadable", "block", 1)
    assert finding.title.endswith("data/train.csv is empty; it must hold at least one row")
    assert finding.detail == "and more"


def bad(
    row: int, value: str = "5", rule: str = "value", reason: str = "is no text", **other: Any
) -> dict[str, Any]:
    found = {"task": "intent", "split": "train", "file": "data/train.jsonl", "row": row, "column": "text"}
    return found | {"reason": reason, "value": value, "rule": rule} | other


def test_rows_that_validation_refuses_anew_are_invalid_wherever_the_old_ones_moved() -> None:
    base = [bad(1, "5"), bad(2, "5"), bad(3, "rate", "label", "label 'rate' is not one of a, b")]
    head = [
        bad(11, "5"),
        bad(12, "5"),
        bad(13, "5"),
        bad(14, "rate", "label", "label 'rate' is not one of a, b, c"),
        bad(15, "x", "leak", "the same text is in test (data/test.jsonl row 2)"),
        bad(4, "{", reason="the line is cut", column="", split="test", file="data/test.jsonl"),
    ]
    test, train = invalid(versions([], []), (base, head), REVIEW)
    assert (train.name, train.severity, train.split, train.count) == ("invalid", "block", "train", 1)
    assert (train.examples[0]["row"], train.examples[0]["note"]) == (13, "text: is no text")
    assert (test.count, test.detail) == (1, "1 × the line is cut")
    assert invalid(versions([], []), (head, head), REVIEW) == []
    assert refused(head) == {("data/train.jsonl", row) for row in (11, 12, 13, 14)} | {("data/test.jsonl", 4)}


@pytest.mark.parametrize(
    ("then", "now"),
    [
        ("line 22: 3 fields where the header has 2", "line 23: 3 fields where the header has 2"),
        (
            "x does not hold (expectations/t.json: expectation 1)",
            "x does not hold (expectations/t.json: expectation 2)",
        ),
        (
            "the text has 40,000 characters; validation.max_characters allows 20,000",
            "the text has 40,000 characters; validation.max_characters allows 30,000",
        ),
    ],
)
def test_a_bad_row_is_the_old_one_where_a_line_a_rules_number_or_a_limit_moved(then: str, now: str) -> None:
    base, head = [bad(21, "x", reason=then)], [bad(22, "x", reason=now)]
    assert invalid(versions([], []), (base, head), REVIEW) == []
    (old,), (new,) = (only(invalid(versions([], []), ([], each), REVIEW)).rows for each in (base, head))
    assert old == new


def test_a_bad_row_is_the_old_one_where_it_belongs_to_one_that_was_refused() -> None:
    wrong = {"rule": "label", "column": "label", "value": "foo"}
    base: list[Row] = [("a", "train", "one", "foo"), ("b", "train", "two", "good")]
    head: list[Row] = [("b", "train", "two", "foo"), ("a", "test", "one, mended", "foo")]
    both = versions(base, head)
    lines = ([bad(1, **wrong)], [bad(1, **wrong), bad(1, **wrong, split="test", file="data/test.jsonl")])
    found = only(invalid(both, lines, REVIEW))
    assert (found.split, found.count) == ("train", 1), "a was refused before; b was mended and broken"
    assert found.rows == [row_digest("intent", "two", None, "foo")], (
        "another text of the label is another row"
    )


def test_a_bad_row_that_stands_where_it_stood_is_the_old_one() -> None:
    base = [bad(2, "5")]
    assert only(invalid(versions([], []), (base, [bad(1, "5"), bad(2, "5")]), REVIEW)).examples[0]["row"] == 1


def test_columns_that_come_and_go_and_formats_are_told_by_file() -> None:
    base = {
        "data/a.csv": ["text", "label", "source"],
        "data/b.csv": ["text", "label"],
        "data/c.csv": ["text"],
    }
    head = {"data/a.csv": ["label", "text", "origin"], "data/b.jsonl": ["text", "label"], "data/d.csv": ["x"]}
    finding = only(columns(base, head, REVIEW))
    assert (finding.name, finding.severity, finding.count) == ("columns", "look", 3)
    assert finding.detail.splitlines() == [
        "data/a.csv: lost source; has new origin",
        "data/b.csv: is now data/b.jsonl",
    ]
    assert columns(base, base, REVIEW) == []


def test_files_in_another_order_are_a_note() -> None:
    files = [{"path": "data/b.csv", "what": "reordered"}, {"path": "data/a.csv", "what": "changed"}]
    finding = only(reordered(files, REVIEW))
    assert (finding.severity, finding.count, finding.numbers) == ("note", 1, {"files": ["data/b.csv"]})
    assert reordered(files[1:], REVIEW) == []


def test_good_rows_raise_nothing_and_neither_does_what_was_there() -> None:
    train = [(f"t{n}", "train", f"row {n} " + "abcdefghij"[n] * (10 + n), "ab"[n % 2]) for n in range(10)]
    faulty: list[Row] = [
        *OLD,
        *train,
        ("l", "train", OLD[2][2], "rate"),
        ("k", "train", OLD[0][2], "fee"),
        ("j", "train", "where is the card", "card"),
        ("m", "train", "ann@example.org", "card"),
    ]
    good: list[Row] = [("g", "train", "my passport has two names", "a"), ("h", "train", "is it safe", "b")]
    assert row_findings([versions(faulty, [*good, *faulty])], FINDERS, 2, REVIEW) == []


def test_findings_stand_worst_first_and_then_by_count_name_and_task() -> None:
    def finding(name: str, severity: Any, count: int, task: str | None = None) -> Finding:
        return Finding(name, severity, task, None, count, "title", "fix")

    ordered = [
        finding("leak", "block", 1),
        finding("conflict", "look", 9),
        finding("conflict", "look", 2, "a"),
        finding("conflict", "look", 2, "b"),
        finding("near-leak", "look", 2),
        finding("drift", "note", 99),
    ]
    assert in_order(ordered[::-1]) == ordered
    assert in_order(ordered[::2] + ordered[1::2]) == ordered


def test_a_row_keeps_its_digest_wherever_it_stands() -> None:
    digest = row_digest("intent", "where is it", None, "card")
    assert digest == row_digest("intent", "where is it", None, "card")
    assert len(digest) == 9
    assert digest[0] == "r"
    others = [("slots", "where is it", None, "card"), ("intent", "where is it", None, "fee")]
    assert digest not in [row_digest(*other) for other in others]
    moved = [OLD[2], *OLD[3:], *OLD[:2], ("x", "train", OLD[2][2], "rate")]
    shifted = [("y", "train", "another", "card"), *moved]
    findings = [row_findings([versions(OLD, each)], {}, 1, REVIEW)[0] for each in (moved, shifted)]
    assert findings[0].rows == findings[1].rows


def test_a_finding_is_plain_json_with_a_bounded_list_of_rows_and_a_file_has_all(tmp_path: Path) -> None:
    head = [*OLD, *((f"x{n}", "train", OLD[2][2], "rate") for n in range(300))]
    finding = next(each for each in row_findings([versions(OLD, head)], {}, 1, REVIEW) if each.name == "leak")
    document = finding.as_dict()
    assert json.loads(json.dumps(document)) == document
    assert (document["count"], len(document["rows"]), len(document["examples"])) == (300, 200, 5)
    assert len(finding.rows) == 300
    write_rows(tmp_path / "findings.jsonl", [finding, replace(finding, rows=[])])
    (line,) = (tmp_path / "findings.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line) == {"finding": "leak", "task": "intent", "split": "train", "rows": finding.rows}


def test_answers_that_came_went_or_say_something_else_are_counted_and_named() -> None:
    before = {"a": "Open it.", "b": "Close it.", "c": "Turn it."}
    after = {"a": "Open it.", "b": "No.", "d": "X."}
    (finding,) = answers("help", before, after, Review())
    assert (finding.name, finding.severity, finding.task, finding.count) == ("answers", "look", "help", 3)
    assert finding.title == "3 answers that can be found changed: 1 new, 1 gone, 1 with another text"
    assert finding.detail.splitlines() == ["1 new: d", "1 gone: c", "1 with another text: b"]
    assert answers("help", before, before, Review()) == answers("help", {}, after, Review()) == []
