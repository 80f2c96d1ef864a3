"""Users' suites are read with care, run on real frames, and say which rows fail."""

import json
from pathlib import Path
from typing import Any

import pytest

from doubleroute.config import Task, Validation
from doubleroute.data import checks
from doubleroute.errors import InputError
from doubleroute.integrations import expectations
from doubleroute.integrations.expectations import Batch
from doubleroute.integrations.suites import project_checks


def suite(folder: Path, *entries: Any) -> Path:
    path = folder / "sentiment.json"
    path.write_text(json.dumps({"expectations": entries}))
    return path


def run(folder: Path, *entries: Any) -> list[expectations.Result]:
    import pandas as pd

    path = suite(folder, *entries)
    checks = expectations.user_checks(path, expectations.user_entries(path), "train")
    frame = pd.DataFrame({"text": pd.Series(["a", "b", "cc"], dtype=object), "stars": [1, 2, 9]})
    return expectations.run([Batch("sentiment", "train", frame, checks)], folder / "docs")


def test_failing_rows_are_listed_and_the_docs_are_the_only_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    between = {"column": "stars", "min_value": 1, "max_value": 5}
    results = run(
        tmp_path,
        {"type": "expect_column_values_to_be_between", "kwargs": between},
        {"type": "expect_column_values_to_be_between", "kwargs": {**between, "mostly": 0.5}},
        {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "starz", "value_set": [1]}},
        {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 10}},
        {"type": "expect_column_value_lengths_to_be_between", "kwargs": {"column": "text", "max_value": 1}},
    )
    assert [result.success for result in results] == [False, True, False, False, False]
    assert [result.rows for result in results] == [(2,), (), (), (), (2,)]
    assert results[2].could_not_check is not None
    assert "starz" in results[2].could_not_check
    assert [result.could_not_check is None for result in results] == [True, True, False, True, True]
    assert results[3].observed == 3
    assert results[0].as_dict()["unexpected_count"] == 1
    assert "sentiment-train" in (tmp_path / "docs" / "index.html").read_text()
    assert list(home.rglob("*")) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "line 1, column 2: not valid JSON"),
        ("[]", 'must be {"expectations"'),
        ('{"expectations": [5]}', "expectation 1: must be an object"),
        ('{"expectations": [{"expectation_type": "x"}]}', 'write "type", not "expectation_type"'),
        ('{"expectations": [{"type": "x", "kwarg": {}}]}', "did you mean 'kwargs'?"),
        ('{"expectations": [{"type": "x", "kwargs": []}]}', "must be objects"),
        (
            '{"expectations": [{"type": "x", "meta": {"severity": "mild"}}]}',
            "must be error or warning, not 'mild'",
        ),
        ('{"expectations": [{"type": "x", "meta": {"split": "dev"}}]}', "must be train, validation or test"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_a_wrong_suite_file_is_named(tmp_path: Path, content: str | bytes, said: str) -> None:
    path = tmp_path / "sentiment.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError) as caught:
        expectations.user_entries(path)
    assert "sentiment.json" in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (
            {"type": "expect_column_value_to_be_null", "kwargs": {"column": "text"}},
            "did you mean 'expect_column_values_to_be_null'",
        ),
        ({"type": "expect_column_values_to_be_null", "kwargs": {"colum": "text"}}, "column: field required"),
        ({"type": "expect_column_values_to_be_null", "kwargs": {"column": "text", "mostly": 7}}, "mostly"),
    ],
)
def test_an_expectation_that_does_not_exist_or_fit_is_named(tmp_path: Path, entry: Any, said: str) -> None:
    with pytest.raises(InputError, match=r"expectations/sentiment\.json: expectation 1: ") as caught:
        run(tmp_path, entry)
    assert said in str(caught.value)


def test_an_expectation_can_be_for_one_split_and_can_only_warn(tmp_path: Path) -> None:
    entries = [
        {"type": "a", "kwargs": {"column_list": ["x", "y"]}, "meta": {"split": "test"}},
        {"type": "b", "kwargs": {"column_A": "z"}, "meta": {"severity": "warning"}},
    ]
    path = suite(tmp_path, *entries)
    assert expectations.columns_of(entries) == {"x", "y", "z"}
    assert [check.type for check in expectations.user_checks(path, entries, "train")] == ["b"]
    assert [check.severity for check in expectations.user_checks(path, entries, "test")] == [
        "error",
        "warning",
    ]


def test_columns_are_numbers_where_an_expectation_needs_them_and_none_sees_them_as_written() -> None:
    def numbers(*about: tuple[str, dict[str, Any]]) -> set[str]:
        entries = [{"type": f"expect_{type_}", "kwargs": kwargs} for type_, kwargs in about]
        return {column for column, given in expectations.extra_columns(entries).items() if given}

    x = {"column": "x"}
    between = ("column_values_to_be_between", {**x, "min_value": 0})
    not_null = ("column_values_to_not_be_null", x)
    columns = ("table_columns_to_match_set", {"column_set": ["x"]})
    pair = {"column_A": "x", "column_B": "y"}
    for needing in (
        between,
        ("column_mean_to_be_between", {**x, "max_value": 3}),
        ("column_values_to_be_in_set", {**x, "value_set": [1, 2.5]}),
        ("column_values_to_be_increasing", x),
        ("column_value_z_scores_to_be_less_than", {**x, "threshold": 3}),
    ):
        assert numbers(needing) == numbers(needing, not_null, columns) == {"x"}
    assert numbers(("column_pair_values_a_to_be_greater_than_b", pair)) == {"x", "y"}
    for written in (
        ("column_values_to_be_between", {**x, "max_value": "b"}),
        ("column_values_to_be_in_set", {**x, "value_set": ["1"]}),
        ("column_pair_values_to_be_equal", pair),
        ("column_pair_values_to_be_in_set", {**pair, "value_pairs_set": [["1", "2"]]}),
        ("column_kl_divergence_to_be_less_than", {**x, "partition_object": {"values": ["1"]}}),
        ("column_values_to_be_unique", x),
        ("column_value_lengths_to_be_between", {**x, "min_value": 2}),
        ("column_proportion_of_unique_values_to_be_between", {**x, "min_value": 0.5}),
        ("column_values_to_match_regex", {**x, "regex": "0"}),
    ):
        assert numbers(written) == numbers(written, between) == set()
    assert numbers(not_null) == set(), "a blank cell is no null in some columns alone"


def test_what_is_said_of_a_wrong_label_is_worked_out_once_for_all_its_rows() -> None:
    task = Task.model_validate({"kind": "classification", "files": {"train": "a.csv"}})
    found = project_checks(task, Validation(), ["bad", "good"], "train", unlabelled=False)
    (check,) = (each for each in found if each.rule == "label")
    first, second = (check.explain({checks.UNKNOWN_LABEL: "goood", "row": row}) for row in (1, 2))
    assert first == "label 'goood' is not one of bad, good, did you mean 'good'?"
    assert first is second


def test_of_thousands_of_labels_the_one_that_was_meant_is_looked_for_a_few_times_alone() -> None:
    task = Task.model_validate({"kind": "classification", "files": {"train": "a.csv"}})
    labels = ["good", *(f"{number:040}" for number in range(49_999))]
    found = project_checks(task, Validation(), labels, "train", unlabelled=False)
    (check,) = (each for each in found if each.rule == "label")
    said = [check.explain({checks.UNKNOWN_LABEL: f"goo{letter}d"}) for letter in "abc"]
    assert ["did you mean 'good'?" in each for each in said] == [True, True, False]
