"""Values become canonical rows; a value that does not fit says why."""

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from doubleroute.config import Task
from doubleroute.data.raw import Table
from doubleroute.data.rows import canonical_rows
from doubleroute.errors import DataError


def task(kind: str, **options: Any) -> Task:
    return Task.model_validate({"kind": kind, "files": {"train": "a.jsonl"}, **options})


def read(
    kind: str, values: dict[str, list[Any]], unlabelled: bool = False, **options: Any
) -> tuple[Any, list[str]]:
    count = len(next(iter(values.values())))
    table = Table(Path("a.jsonl"), "jsonl", tuple(values), values, list(range(1, count + 1)), [], "")
    made = task(kind, **options)
    rows, problems = canonical_rows(table, made, "tasks.x", "a.jsonl", unlabelled, {"extra": True})
    return rows, [f"{each.row} {each.column}: {each.reason}" for each in problems]


def labels(kind: str, values: list[Any], unlabelled: bool = False) -> tuple[list[Any], list[str]]:
    rows, problems = read(kind, {"text": ["a"] * len(values), "label": values}, unlabelled)
    return rows["label"], problems


def test_text_must_be_text() -> None:
    rows, problems = read(
        "classification", {"text": ["a", None, 5, ["b"], "\ud800", "NA"], "label": ["x"] * 6}
    )
    assert rows["text"] == ["a", "NA"]
    assert rows["row"] == [1, 6]
    assert rows["file"] == ["a.jsonl"] * 2
    assert problems == [
        "2 text: is null where a text must be",
        "3 text: is a number, not text",
        "4 text: is a list, not text",
        "5 text: character 1 is half of a surrogate pair (U+D800)",
    ]


def test_class_labels_are_text_or_whole_numbers() -> None:
    found, problems = labels("classification", ["01", 1, True, 2.0, 0.5, None, " ", {"a": 1}])
    assert found == ["01", "1", "true", "2"]
    assert [each.split(":")[0] for each in problems] == ["5 label", "6 label", "7 label", "8 label"]
    assert "has no label; only a file that another task uses too may lack one" in problems[1]


def test_a_row_may_lack_its_label_where_another_task_uses_the_file() -> None:
    assert labels("classification", ["a", None, ""], unlabelled=True) == (["a", None, None], [])
    assert labels("regression", [1, None, ""], unlabelled=True) == ([1.0, None, None], [])


def test_nan_is_a_missing_label_as_null_is() -> None:
    for kind in ("classification", "multilabel", "regression"):
        assert labels(kind, [float("nan")], unlabelled=True) == ([None], [])
        assert "has no label" in labels(kind, [float("nan")])[1][0]


def test_decimals_are_numbers() -> None:
    assert labels("regression", [Decimal("1.50")]) == ([1.5], [])
    assert labels("classification", [Decimal("2.00"), 2]) == (["2", "2"], [])
    assert "is a number; a label is text" in labels("classification", [Decimal("2.50")])[1][0]


def test_many_labels_are_a_list_or_separated_and_an_empty_cell_is_none_of_them() -> None:
    found, problems = labels("multilabel", ["b, a,b", ["a", 1], "", [], None, 5])
    assert found == [["a", "b"], ["1", "a"], [], []]
    assert len(problems) == 2


def test_blank_items_of_a_list_are_no_labels() -> None:
    assert labels("multilabel", [["a", "", " "], [""], "a,, b,"]) == ([["a"], [], ["a", "b"]], [])


def test_a_list_of_labels_in_a_text_cell_is_read_as_python_and_json_write_it() -> None:
    python = ["['b', 'a, c']", "[\"it's\", 'a\\n']", "['']", "[True]"]
    json = ['["b", "a, c"]', " [1, 2] ", "[]", '["\\u00fc"]']
    found, problems = labels("multilabel", [*python, *json])
    assert found == [["a, c", "b"], ["a\n", "it's"], [], ["true"], ["a, c", "b"], ["1", "2"], [], ["ü"]]
    assert problems == []


def test_a_cell_in_brackets_that_is_no_list_is_a_problem_and_says_what_would_be_right() -> None:
    # numpy writes the last one; Python reads it as one text.
    cells = ["[a, b]", "['a', None]", "['a', ['b']]", "[" * 5000 + "]" * 5000, r"['\xz']", "['a' 'b']"]
    found, problems = labels("multilabel", cells)
    assert found == []
    assert problems[-1] == (
        '6 label: is in brackets, but no list as JSON or Python writes it; write ["billing", "refund"]'
    )
    assert len(problems) == len(cells)


def test_in_a_file_of_several_tasks_an_empty_cell_is_no_label_and_an_empty_list_is_none_of_them() -> None:
    found, problems = labels("multilabel", ["", " ", [], ",", "a"], unlabelled=True)
    assert (found, problems) == ([None, None, [], [], ["a"]], [])


def test_numbers_are_parsed_and_must_be_finite() -> None:
    found, problems = labels(
        "regression", ["1.5", 2, "1e-3", "nan", float("inf"), "", "1,5", True, "1_0", None, 10**400, -1e39]
    )
    assert found == [1.5, 2.0, 0.001]
    assert [each.split(" ")[0] for each in problems] == [str(n) for n in range(4, 13)]
    assert problems[0].endswith("is not a finite number")
    assert problems[3].endswith("is not a number; write 1.5")
    assert problems[-1].endswith("is a number beyond 3.4e+38, which float32 and so training cannot hold")


def test_tokens_are_a_list_or_separated_by_spaces() -> None:
    tokens = ["a b", ["c", "d"], [], "", ["a", ""], ["a", 1], None, "x y"]
    rows, problems = read(
        "tagging", {"tokens": tokens, "tags": ["O O", ["O", "B-x"], "O", "O", "O O", "O O", "O", None]}
    )
    assert rows["tokens"] == [["a", "b"], ["c", "d"]]
    assert rows["label"] == [["O", "O"], ["O", "B-x"]]
    assert [each.split(" ", 1)[1] for each in problems] == [
        "tokens: holds no token",
        "tokens: holds no token",
        "tokens: token 2 is empty",
        "tokens: token 2 is a number, not text",
        "tokens: is null where a list of tokens must be",
        "tags: has no tags; only a file that another task uses too may lack one",
    ]


def test_slices_and_extra_columns_go_with_their_rows() -> None:
    years = [2020, 2021, None, float("nan")]
    columns = {"text": ["a", None, "b", "c"], "label": ["x"] * 4, "year": years, "extra": [1, 2, 3, 4]}
    rows, _ = read("classification", columns, slices=("year",))
    assert rows["slice_year"] == ["2020", None, None]
    assert rows["extra_extra"] == [1, 3, 4]


def test_extra_columns_of_a_csv_are_numbers_where_every_cell_is_one_or_blank() -> None:
    columns = {"text": ["a"] * 4, "label": ["x"] * 4, "extra": ["5", " -1.5", "", "1e3"]}
    table = Table(Path("a.csv"), "csv", tuple(columns), columns, [1, 2, 3, 4], [], "")

    def extra(asked: bool, last: str = "1e3") -> list[Any]:
        columns["extra"][-1] = last
        rows, _ = canonical_rows(table, task("classification"), "tasks.x", "a.csv", False, {"extra": asked})
        return rows["extra_extra"]

    assert extra(True) == [5, -1.5, None, 1000.0]
    assert extra(False) == columns["extra"]
    for last in ("n/a", "1,5", "nan"):
        assert extra(True, last) == ["5", " -1.5", "", last]


def test_a_missing_column_names_the_key_that_asks_for_it() -> None:
    with pytest.raises(DataError, match=r"tasks\.x\.columns\.text_pair: column 'txet'.*did you mean 'text'"):
        read("classification", {"text": ["a"], "label": ["x"]}, columns={"text_pair": "txet"})


def test_times_become_utc_to_the_second_and_sort_as_texts() -> None:
    values = [
        "2024-03-01",
        "2024-03-01T10:00:00+02:00",
        " 2024-03-01T09:30:00Z",
        date(2023, 1, 2),
        "March",
        None,
        7,
    ]
    rows, problems = read(
        "classification",
        {"text": ["a"] * 7, "label": ["x"] * 7, "when": values},
        columns={"time": "when"},
    )
    assert rows["time"] == [
        "2024-03-01T00:00:00",
        "2024-03-01T08:00:00",
        "2024-03-01T09:30:00",
        "2023-01-02T00:00:00",
    ]
    assert [each.split(":")[0] for each in problems] == ["5 when", "6 when", "7 when"]
    assert "ISO 8601" in problems[0]


def test_times_of_every_year_sort_as_texts_and_those_that_utc_has_not_are_problems() -> None:
    values = [
        "0800-12-25T00:00:00.5Z",
        "9999-12-31T23:59:59",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-05:00",
    ]
    rows, problems = read(
        "classification", {"text": ["a"] * 4, "label": ["x"] * 4, "when": values}, columns={"time": "when"}
    )
    assert rows["time"] == ["0800-12-25T00:00:00", "9999-12-31T23:59:59"]
    assert [each.split(":")[0] for each in problems] == ["3 when", "4 when"]
    assert "outside of the years 1 to 9999" in problems[0]
