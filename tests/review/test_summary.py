"""The changes of two versions in numbers, file by file, and as rows that a document quotes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from doubleroute.review.changes import compare
from doubleroute.review.rows import KINDS, VersionRows
from doubleroute.review.summary import change_rows, file_changes, task_summary, write_changes


def version(
    rows: list[tuple[str, str, str]], kind: str = "classification", file: str = "rows.csv"
) -> VersionRows:
    """Rows of (split, text, label)."""
    splits, texts, labels = ([row[at] for row in rows] for at in range(3))
    numbers, nothing = list(range(1, len(rows) + 1)), [None] * len(rows)
    return VersionRows(kind, splits, [file] * len(rows), numbers, texts, [*nothing], labels, [*nothing], {})


BASE = version([("train", "one", "a"), ("train", "two", "a"), ("train", "three", "b"), ("test", "four", "b")])
HEAD = version(
    [
        ("train", "one", "b"),
        ("train", "two", "a"),
        ("train", "two", "a"),
        ("train", "four", "b"),
        ("train", "5", "c"),
    ]
)


def test_a_summary_counts_rows_kinds_and_labels_of_each_split_and_is_plain_json() -> None:
    found = task_summary("accuracy", True, BASE, HEAD, compare(BASE, HEAD, 0.9))
    assert json.loads(json.dumps(found)) == found
    assert {name: found[name] for name in ("kind", "metric", "higher_is_better", "labels", "renamed")} == {
        "kind": "classification",
        "metric": "accuracy",
        "higher_is_better": True,
        "labels": {"base": ["a", "b"], "head": ["a", "b", "c"]},
        "renamed": {},
    }
    assert found["rows"] == {"train": {"base": 3, "head": 5}, "test": {"base": 1, "head": 0}}
    nothing = dict.fromkeys((*KINDS, "unchanged"), 0)
    assert found["counts"] == {
        "train": nothing
        | {"added": 1, "removed": 1, "duplicated": 1, "relabelled": 1, "moved": 1, "unchanged": 1},
        "test": nothing,
    }
    assert found["label_counts"] == {"train": {"b": [1, 2], "c": [0, 1], "a": [2, 2]}, "test": {"b": [1, 0]}}


def test_lengths_are_counted_in_bars_that_hold_every_row_of_both_versions() -> None:
    base = version([("train", "x" * size, "a") for size in range(1, 200)])
    head = version([("train", "x" * size, "a") for size in (*range(50, 150), 5000)])
    lengths = task_summary("accuracy", True, base, head, compare(base, head, 0.9))["lengths"]["train"]
    assert (sum(lengths["base"]), sum(lengths["head"])) == (199, 101)
    assert len(lengths["edges"]) == len(lengths["base"]) + 1
    assert lengths["edges"] == sorted(set(lengths["edges"]))
    assert (lengths["edges"][0], lengths["edges"][-1], lengths["head"][-1]) == (1, 5001, 1)


def test_tags_but_o_are_counted_and_numbers_are_not() -> None:
    tagged = version([("train", "Ann left", "")], "tagging")
    tagged = replace(tagged, labels=[["B-PER", "O"]])
    found = task_summary("f1", True, tagged, tagged, compare(tagged, tagged, 0.9))
    assert (found["labels"]["base"], found["label_counts"]) == (["B-PER"], {"train": {"B-PER": [1, 1]}})
    scored = replace(version([("train", "text", "")], "regression"), labels=[0.5])
    found = task_summary("rmse", False, scored, scored, compare(scored, scored, 0.9))
    assert (found["labels"], found["label_counts"]) == ({"base": [], "head": []}, {"train": {}})


def test_an_empty_version_is_summed_up_too() -> None:
    empty = version([])
    assert task_summary("accuracy", True, empty, empty, compare(empty, empty, 0.9))["rows"] == {}
    assert (
        task_summary("accuracy", True, empty, HEAD, compare(empty, HEAD, 0.9))["counts"]["train"]["added"]
        == 5
    )


def test_every_task_and_kind_is_in_the_sample_however_rare_and_the_same_rows_each_time() -> None:
    many = version([("train", f"new {row}", "a") for row in range(500)] + [("train", "one", "b")])
    few = version([("train", "one", "a"), ("train", "gone", "a")])
    tasks = {
        "first": (few, many, compare(few, many, 0.9)),
        "second": (BASE, HEAD, compare(BASE, HEAD, 0.9)),
    }
    found = change_rows(tasks, most=20)
    assert len(found) == 20
    assert found == change_rows(tasks, most=20)
    assert {(each["task"], *each["kinds"]) for each in found} == {
        ("first", "added"),
        ("first", "removed"),
        ("first", "relabelled"),
        *(("second", kind) for kind in ("added", "removed", "duplicated", "relabelled", "moved")),
    }
    assert len(change_rows(tasks)) == 507
    assert change_rows({}) == []


def test_a_changed_row_is_quoted_as_it_was_and_is() -> None:
    [relabelled] = [
        each
        for each in change_rows({"intent": (BASE, HEAD, compare(BASE, HEAD, 0.9))})
        if each["kinds"] == ["relabelled"]
    ]
    side = {"split": "train", "file": "rows.csv", "row": 1, "text": "one", "pair": None, "key": None}
    assert relabelled == {
        "task": "intent",
        "kinds": ["relabelled"],
        "similarity": 1.0,
        "base": side | {"label": "a"},
        "head": side | {"label": "b"},
    }


def test_of_long_texts_the_part_with_the_difference_is_quoted() -> None:
    text = "word " * 200_000
    base = version([("train", text + "end", "a"), ("train", text, "b")])
    head = version([("train", text + "END!", "a")])
    edited, removed = change_rows({"task": (base, head, compare(base, head, 0.9))})
    assert (edited["kinds"], removed["kinds"]) == (["edited"], ["removed"])
    assert (edited["base"]["text"][0], edited["base"]["text"][-3:], edited["head"]["text"][-4:]) == (
        "…",
        "end",
        "END!",
    )
    assert len(removed["base"]["text"]) == 2001


def test_all_changes_are_written_one_a_line(tmp_path: Path) -> None:
    tasks = {"task": (BASE, HEAD, compare(BASE, HEAD, 0.9))}
    assert write_changes(tmp_path / "changes.jsonl", tasks) == 5
    lines = (tmp_path / "changes.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == change_rows(tasks)


def test_a_file_is_reordered_where_all_tasks_read_the_same_rows_from_other_bytes() -> None:
    def side(*rows: tuple[str, str, str]) -> dict[str, VersionRows]:
        return {"task": version(list(rows))}

    one, two = ("train", "one", "a"), ("train", "two", "b")

    def what(base: dict[str, VersionRows], head: dict[str, VersionRows], digest: str = "other") -> str:
        [found] = file_changes(base, head, {"rows.csv": "md5"}, {"rows.csv": digest})
        return str(found["what"])

    assert what(side(one, two), side(two, one)) == "reordered"
    assert what(side(one, two), side(one, two)) == "changed"  # columns that no task reads, or another format
    assert what(side(one, two), side(two, one, one)) == "changed"
    assert what(side(one, two), side(two)) == "changed"
    assert what(side(one, two), side(one, two), "md5") == "same"


@pytest.mark.parametrize(("base", "head", "what"), [({}, {"a": "1"}, "added"), ({"a": "1"}, {}, "removed")])
def test_a_file_that_no_task_reads_has_no_rows(base: dict[str, str], head: dict[str, str], what: str) -> None:
    assert file_changes({}, {}, base, head) == [
        {"path": "a", "what": what, "rows_base": None, "rows_head": None}
    ]


def test_a_file_of_two_tasks_counts_each_row_once() -> None:
    rows = {"first": BASE, "second": replace(BASE, labels=["x"] * 4)}
    [found] = file_changes(rows, rows, {"rows.csv": "1"}, {"rows.csv": "1"})
    assert (found["rows_base"], found["rows_head"]) == (4, 4)
