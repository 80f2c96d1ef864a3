"""The users' own expectations in the validation stage."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from small_projects import jsonl, quarantine, reviews, run

from doubleroute.errors import GateError, InputError


def expect(root: Path, *entries: Any, name: str = "sentiment") -> None:
    (root / "expectations").mkdir(exist_ok=True)
    (root / "expectations" / f"{name}.json").write_text(json.dumps({"expectations": entries}))


def test_a_users_expectation_about_rows_quarantines_and_one_about_a_table_refuses(tmp_path: Path) -> None:
    rows = [{**row, "stars": n % 5} for n, row in enumerate(reviews(40))]
    jsonl(tmp_path / "a.jsonl", [*rows, {"text": "too many", "label": "good", "stars": 9}])
    task = {"sentiment": {"kind": "classification", "files": {"train": "a.jsonl"}}}
    stars = {"column": "stars", "min_value": 0, "max_value": 5}
    between = {"type": "expect_column_values_to_be_between", "kwargs": stars}
    expect(tmp_path, between)
    stage, summary = run(tmp_path, task, validation={"max_invalid": 0.1})
    (entry,) = quarantine(stage)
    assert (entry["row"], entry["column"], entry["value"]) == (41, "stars", "9")
    assert "expect_column_values_to_be_between" in entry["reason"]
    assert "(expectations/sentiment.json: expectation 1)" in entry["reason"]
    expect(tmp_path, {**between, "meta": {"severity": "warning"}})
    _, summary = run(tmp_path, task)
    assert sum(split["quarantined"] for split in summary["tasks"]["sentiment"].values()) == 0
    assert "expectation 1" in summary["warnings"][0]
    count = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1000}}
    expect(tmp_path, {**count, "meta": {"split": "train"}})
    with pytest.raises(
        GateError, match=r"expectations/sentiment\.json: expectation 1 \(sentiment train\)"
    ) as caught:
        run(tmp_path, task)
    assert "observed" in str(caught.value)
    expect(tmp_path, {**count, "meta": {"split": "train", "severity": "warning"}})
    assert "does not hold, observed" in run(tmp_path, task)[1]["warnings"][0]
    expect(tmp_path, {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "starz"}})
    with pytest.raises(InputError, match=r"could not be checked on sentiment train.*starz"):
        run(tmp_path, task)
    expect(tmp_path, between, name="sentimnet")
    with pytest.raises(InputError, match="there is no task 'sentimnet'"):
        run(tmp_path, task)


@pytest.mark.parametrize(
    "condition",
    [
        '@pd.io.common.os.system("touch {}") == 0 or text == text',
        'text.to_csv("{}") is None',
        "__import__('os').system('touch {}') == 0",
        '(lambda: open("{}", "w"))() == 0',
        {"type": "or", "conditions": [{"type": "nullity", "column": {"name": "a` @pd `b"}, "is_null": True}]},
        {"type": "pass_through", "pass_through_filter": '@pd.io.common.os.system("touch {}") == 0'},
        "text == text or text.str.replace.__globals__ == 1",
    ],
)
def test_a_condition_that_is_more_than_a_comparison_is_refused_and_never_run(
    tmp_path: Path, condition: Any
) -> None:
    jsonl(tmp_path / "a.jsonl", reviews(40))
    task = {"sentiment": {"kind": "classification", "files": {"train": "a.jsonl"}}}
    said = json.loads(json.dumps(condition).replace("{}", str(tmp_path / "ran")))
    about = {"column": "text", "condition_parser": "pandas", "row_condition": said}
    expect(tmp_path, {"type": "expect_column_values_to_not_be_null", "kwargs": about})
    with pytest.raises(InputError, match=r"sentiment\.json: expectation 1: kwargs\.row_condition"):
        run(tmp_path, task)
    assert not (tmp_path / "ran").exists()


@pytest.mark.filterwarnings("ignore:.*(condition_parser|row_condition) parameter:DeprecationWarning")
@pytest.mark.parametrize(
    "condition",
    [
        'label == "good"',
        "`label` == 'good' and not text.str.contains('x y z')",
        {"type": "comparison", "column": {"name": "label"}, "operator": "==", "parameter": "good"},
    ],
)
def test_a_condition_says_which_rows_an_expectation_is_about(tmp_path: Path, condition: Any) -> None:
    jsonl(tmp_path / "a.jsonl", reviews(40))
    task = {"sentiment": {"kind": "classification", "files": {"train": "a.jsonl"}}}
    of_all = {"column": "label", "value_set": ["good"]}
    some = {**of_all, "row_condition": condition}
    some |= {"condition_parser": "pandas"} if isinstance(condition, str) else {}
    expect(tmp_path, {"type": "expect_column_values_to_be_in_set", "kwargs": some})
    _, summary = run(tmp_path, task)
    assert sum(split["quarantined"] for split in summary["tasks"]["sentiment"].values()) == 0
    meta = {"severity": "warning"}
    expect(tmp_path, {"type": "expect_column_values_to_be_in_set", "kwargs": of_all, "meta": meta})
    assert run(tmp_path, task)[1]["warnings"]


@pytest.mark.costly
@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
@pytest.mark.parametrize("slices", [[], ["stars"]])
def test_a_users_expectation_sees_numbers_as_numbers_also_where_they_are_slices(
    tmp_path: Path, ending: str, slices: list[str]
) -> None:
    stars = [*(n % 5 for n in range(40)), 9]
    rows = [{**row, "stars": each} for row, each in zip(reviews(41), stars, strict=True)]
    file = tmp_path / f"a.{ending}"
    if ending == "jsonl":
        jsonl(file, rows)
    else:
        with file.open("w", newline="") as opened:
            delimiter = "\t" if ending == "tsv" else ","
            writer = csv.DictWriter(opened, ["text", "label", "stars"], delimiter=delimiter)
            writer.writeheader()
            writer.writerows([*rows, {"text": "no stars", "label": "bad", "stars": " "}])
    about = {"column": "stars", "min_value": 0, "max_value": 5}
    expect(tmp_path, {"type": "expect_column_values_to_be_between", "kwargs": about})
    task = {"kind": "classification", "files": {"train": file.name}, "slices": slices}
    stage, _ = run(tmp_path, {"sentiment": task}, validation={"max_invalid": 0.1})
    assert [(entry["row"], entry["column"], entry["value"]) for entry in quarantine(stage)] == [
        (41, "stars", "9")
    ]


@pytest.mark.costly
@pytest.mark.parametrize(
    ("type_", "arguments"),
    [
        ("expect_column_values_to_match_regex", {"regex": "^0\\d$"}),
        ("expect_column_value_lengths_to_equal", {"value": 2}),
        ("expect_column_values_to_be_in_set", {"value_set": ["00", "01", "02"]}),
    ],
)
def test_an_expectation_about_texts_sees_the_cells_of_a_csv_as_written(
    tmp_path: Path, type_: str, arguments: dict[str, Any]
) -> None:
    lines = "".join(f"text {n},{['bad', 'good'][n % 2]},0{n % 3}\n" for n in range(40))
    (tmp_path / "a.csv").write_text(f"text,label,code\n{lines}")
    expect(tmp_path, {"type": type_, "kwargs": {"column": "code", **arguments}})
    stage, _ = run(tmp_path, {"sentiment": {"kind": "classification", "files": {"train": "a.csv"}}})
    assert quarantine(stage) == []
