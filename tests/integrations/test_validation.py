"""The validation stage on small real projects: counts, quarantine, labels, refusals."""

import csv
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from doubleroute.config import Project
from doubleroute.data.splits import position, text_key
from doubleroute.data.tables import read_validated
from doubleroute.errors import DataError, DoublerouteError, GateError, InputError
from doubleroute.integrations.validation import read_summary, summary_lines, validate
from doubleroute.workspace import Stage, Workspace

REAL_DATA = Path(__file__).parents[2].parent / "shared" / "data"


def jsonl(path: Path, rows: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))


def project(root: Path, tasks: dict[str, Any], **sections: Any) -> Project:
    data = {"name": "x", "backbone": {"source": "x"}, "tasks": tasks, **sections}
    made = Project.model_validate_json(json.dumps(data))
    made._root = root
    return made


def run(root: Path, tasks: dict[str, Any], **sections: Any) -> tuple[Stage, dict[str, Any]]:
    stage = validate(project(root, tasks, **sections), Workspace(root))
    return stage, read_summary(stage)


def refused(root: Path, tasks: dict[str, Any], error: type[DoublerouteError], **sections: Any) -> str:
    with pytest.raises(error) as caught:
        run(root, tasks, **sections)
    stages = root / ".doubleroute" / "stages"
    assert not stages.exists() or list(stages.iterdir()) == []
    return str(caught.value)


def reviews(count: int, prefix: str = "text") -> list[Any]:
    return [{"text": f"{prefix} {n}", "label": "good" if n % 2 else "bad"} for n in range(count)]


FILES = {"train": "data/train.jsonl", "validation": "data/dev.jsonl", "test": "data/test.jsonl"}
SENTIMENT = {"sentiment": {"kind": "classification", "files": FILES, "labels": ["bad", "good"]}}


def write_splits(root: Path, train: list[Any]) -> None:
    jsonl(root / "data/train.jsonl", train)
    jsonl(root / "data/dev.jsonl", reviews(4, "dev"))
    jsonl(root / "data/test.jsonl", reviews(4, "test"))


def quarantine(stage: Stage) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (stage.path / "quarantine.jsonl").read_text().splitlines()]


def test_every_bad_row_is_quarantined_with_its_reason_and_nothing_else_is_lost(tmp_path: Path) -> None:
    bad = [
        {"text": " ", "label": "good"},
        {"text": "typo", "label": "postive"},
        {"text": "x" * 51, "label": "good"},
        {"text": "TEST  1", "label": "good"},
        {"text": 5, "label": "good"},
        '{"text": "cut',
        {"text": "no label"},
    ]
    write_splits(tmp_path, [*reviews(20), *bad])
    rules = {"max_invalid": 0.5, "max_characters": 50}
    stage, summary = run(tmp_path, SENTIMENT, validation=rules)
    assert summary["tasks"]["sentiment"]["train"] == {
        "rows_in": 27,
        "rows_out": 20,
        "quarantined": 7,
        "unlabelled": 0,
    }
    lines = summary_lines(summary)
    assert lines[0] == "sentiment train: 27 rows in = 20 out + 7 quarantined"
    assert all(line.startswith("  quarantined: data/train.jsonl row ") for line in lines[1:3])
    assert lines[3] == "  quarantined: and 5 more"
    assert lines[-1] == f"all quarantined rows: {stage.path / 'quarantine.jsonl'}"
    entries = {entry["row"]: entry for entry in quarantine(stage)}
    assert {row: (entry["column"], entry["reason"]) for row, entry in entries.items()} == {
        21: ("text", "the text is empty or white space alone"),
        22: ("label", "label 'postive' is not one of bad, good"),
        23: ("text", "the text has 51 characters; validation.max_characters allows 50"),
        24: ("text", "the same text is in test (data/test.jsonl row 2)"),
        25: ("text", "is a number, not text"),
        26: (
            "",
            "the line is cut: it is not a whole JSON object (Unterminated string starting at, column 10)",
        ),
        27: ("label", "has no label; only a file that another task uses too may lack one"),
    }
    assert entries[22]["value"] == "postive"
    rules_broken = {row: entry["rule"] for row, entry in entries.items()}
    assert rules_broken == {**dict.fromkeys((21, 23, 25, 26, 27), "value"), 22: "label", 24: "leak"}
    assert {entry["file"] for entry in entries.values()} == {"data/train.jsonl"}
    frame = read_validated(stage.path, "sentiment", "train")
    assert list(frame.columns) == ["file", "row", "text", "label"]
    assert frame["row"].tolist() == list(range(1, 21))
    assert json.loads((stage.path / "labels.json").read_text()) == {"sentiment": ["bad", "good"]}
    assert (stage.path / "data_docs" / "index.html").is_file()
    checked = {entry["expectation"] for entry in summary["expectations"]}
    assert {"expect_column_values_to_be_in_set", "expect_column_to_exist"} <= checked
    again = validate(project(tmp_path, SENTIMENT, validation=rules), Workspace(tmp_path))
    assert again.reused


def test_more_bad_rows_than_allowed_stop_the_run_and_stay_to_be_looked_at(tmp_path: Path) -> None:
    write_splits(tmp_path, [*reviews(10), {"text": "typo", "label": "goood"}])
    message = refused(tmp_path, SENTIMENT, GateError)
    assert "tasks.sentiment: 1 of 19 rows (5.3%) are invalid; validation.max_invalid allows 2.0%" in message
    assert (
        "data/train.jsonl row 11, column label: label 'goood' is not one of bad, good, did you mean 'good'?"
        in message
    )
    kept = tmp_path / ".doubleroute" / "quarantine" / "rows.jsonl"
    assert json.loads(kept.read_text())["value"] == "goood"
    write_splits(tmp_path, reviews(10))
    run(tmp_path, SENTIMENT)
    assert not kept.exists()


@pytest.mark.costly
def test_a_version_that_lies_elsewhere_leaves_the_kept_bad_rows_of_the_project_alone(tmp_path: Path) -> None:
    kept = tmp_path / ".doubleroute" / "quarantine" / "rows.jsonl"
    jsonl(kept, [{"value": "goood"}])
    version = tmp_path / "version"
    write_splits(version, reviews(10))
    validate(project(version, SENTIMENT), Workspace(tmp_path))
    write_splits(version, [*reviews(10), {"text": "typo", "label": "baad"}])
    with pytest.raises(GateError, match=r"mend the rows, or raise max_invalid$"):
        validate(project(version, SENTIMENT), Workspace(tmp_path))
    assert json.loads(kept.read_text()) == {"value": "goood"}


def test_two_tasks_share_files_and_rows_may_lack_one_label(tmp_path: Path) -> None:
    rows = [
        {
            "text": f"go to town {n}",
            "tokens": ["go", "to", "town", str(n)],
            "tags": ["O", "O", "B-place", "O"],
        }
        for n in range(60)
    ]
    for n, row in enumerate(rows):
        row["label"] = "a" if n % 2 else "b"
    del rows[3]["label"]
    rows[4]["tags"] = None  # type: ignore[assignment]
    rows[5]["tags"] = ["O"]
    rows[6]["tags"] = ["O", "O", "place", "O"]
    jsonl(tmp_path / "data.jsonl", rows)
    tasks = {
        "intent": {"kind": "classification", "files": {"train": "data.jsonl"}, "slices": ["text"]},
        "slots": {"kind": "tagging", "files": {"train": ["data.jsonl"]}},
    }
    stage, summary = run(tmp_path, tasks, validation={"max_invalid": 0.1})
    total = {
        task: {key: sum(split[key] for split in splits.values()) for key in splits["train"]}
        for task, splits in summary["tasks"].items()
    }
    assert total["intent"] == {"rows_in": 60, "rows_out": 60, "quarantined": 0, "unlabelled": 1}
    assert total["slots"] == {"rows_in": 60, "rows_out": 58, "quarantined": 2, "unlabelled": 1}
    assert {entry["row"]: entry["reason"] for entry in quarantine(stage)} == {
        6: "4 tokens but 1 tags; each token needs one tag",
        7: "tag 'place' is not O, B-type or I-type",
    }
    assert json.loads((stage.path / "labels.json").read_text())["slots"] == ["O", "B-place", "I-place"]
    for split in ("train", "validation", "test"):
        intent, slots = (read_validated(stage.path, task, split) for task in tasks)
        assert set(slots["row"]) <= set(intent["row"])
        assert intent["slice_text"].tolist() == intent["text"].tolist()
    assert read_validated(stage.path, "slots", "train")["tokens"][0][:3] == ["go", "to", "town"]


@pytest.mark.costly
def test_pairs_numbers_and_many_labels_are_kept_in_their_types(tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["one", "two", "score", "topics"])
        writer.writerows([[f"a {n}", f"b {n}", n / 10, ["", "x;y", ";"][n % 3]] for n in range(80)])
        writer.writerows([["c", "d", "nan", "x"], ["e", "", "1", "z, w"]])
    columns = {"text": "one", "text_pair": "two"}
    tasks = {
        "similarity": {
            "kind": "regression",
            "files": {"train": "a.csv"},
            "columns": {**columns, "label": "score"},
        },
        "topics": {
            "kind": "multilabel",
            "files": {"train": "a.csv"},
            "columns": {**columns, "label": "topics"},
            "separator": ";",
        },
    }
    stage, summary = run(tmp_path, tasks, validation={"max_invalid": 0.1})
    assert sum(each["unlabelled"] for each in summary["tasks"]["topics"].values()) == 27
    assert json.loads((stage.path / "labels.json").read_text()) == {"similarity": [], "topics": ["x", "y"]}
    frame = read_validated(stage.path, "similarity", "train")
    assert str(frame["label"].dtype) == "float64"
    assert frame["text_pair"][0] == frame["text"][0].replace("a", "b")
    topics = read_validated(stage.path, "topics", "train")["label"]
    assert {None if label is None else tuple(label) for label in topics} >= {None, (), ("x", "y")}
    reasons = {(entry["task"], entry["row"]): entry["reason"] for entry in quarantine(stage)}
    assert reasons["similarity", 81] == "is not a finite number"
    assert reasons["similarity", 82] == "the text is empty or white space alone"


def test_copies_and_conflicts_are_warned_of_or_quarantined(tmp_path: Path) -> None:
    rows = [*reviews(20), {"text": "text 0", "label": "bad"}, {"text": "TEXT 1", "label": "bad"}]
    write_splits(tmp_path, rows)
    _, summary = run(tmp_path, SENTIMENT)
    assert summary["tasks"]["sentiment"]["train"]["rows_out"] == 22
    conflict, duplicate = summary["warnings"]
    assert conflict.startswith('sentiment train: 2 rows against "the same text always has the same label"')
    assert "row 2, column text: the same text has another label: 'bad' (data/train.jsonl row 22)" in conflict
    assert "row 21, column text: the same text and label are in data/train.jsonl row 1" in duplicate
    rules = {"duplicates": "quarantine", "conflicts": "quarantine", "max_invalid": 0.2}
    stage, summary = run(tmp_path, SENTIMENT, validation=rules)
    assert [entry["row"] for entry in quarantine(stage)] == [2, 22, 21]
    assert [entry["rule"] for entry in quarantine(stage)] == ["conflict", "conflict", "duplicate"]
    assert summary["warnings"] == []


def test_tags_that_begin_an_entity_with_i_are_warned_of_and_stay(tmp_path: Path) -> None:
    rows = [{"tokens": [f"word{number}", "42"], "tags": ["O", "B-number"]} for number in range(20)]
    rows[3]["tags"] = ["I-number", "I-number"]
    jsonl(tmp_path / "data/train.jsonl", rows)
    stage, summary = run(tmp_path, {"entities": {"kind": "tagging", "files": {"train": "data/train.jsonl"}}})
    (warning,) = [each for each in summary["warnings"] if "train" in each]
    assert "row 4, column tags: tag 'I-number' begins an entity and is read as 'B-number'" in warning
    assert quarantine(stage) == []


HELP = {
    "kind": "retrieval",
    "files": {"train": "data/train.jsonl"},
    "columns": {"text": "query", "label": "answer"},
    "answers": {"file": "data/answers.csv"},
}


def queries(root: Path, answers: str) -> None:
    """Twenty queries for the answers r and 7, and the table of answers."""
    jsonl(root / "data/train.jsonl", [{"query": f"q {n}", "answer": ["r", 7][n % 2]} for n in range(20)])
    (root / "data/answers.csv").write_text(answers, encoding="utf-8")


def test_the_labels_of_retrieval_are_its_answers_those_without_a_query_too(tmp_path: Path) -> None:
    queries(
        tmp_path, "id,text\nnew,Nobody asked yet.\nr,We refund it.\n7,It comes in a week.\nr,We refund it.\n"
    )
    stage, summary = run(tmp_path, {"help": HELP})
    assert json.loads((stage.path / "labels.json").read_text()) == {"help": ["new", "r", "7"]}
    answers = read_validated(stage.path, "help", "answers")
    assert answers["text"].tolist() == ["Nobody asked yet.", "We refund it.", "It comes in a week."]
    assert summary["warnings"] == []


WRONG_ANSWERS = {
    "another text": ("id,text\nr,a\n7,b\nr,c\n", r"row 3: the answer 'r' has another text in .* row 1"),
    "no text": ("id,text\nr,a\n7, \n", r"row 2, column text: the answer '7' has no text"),
    "no id": ("id,text\n,a\n7,b\n", r"row 1, column id: the answer has no id"),
    "a field too many": ("id,text\nr,a,b\n7,b\n", r"row 1: line 2: 3 fields where the header has 2"),
    "no column": (
        "name,text\nr,a\n",
        r"tasks\.help\.answers\.id: column 'id' is not in .*; it has: name, text",
    ),
    "one": ("id,text\nr,a\n", r"tasks\.help\.answers\.file: holds 1 answer; retrieval needs two or more"),
}


@pytest.mark.parametrize(("answers", "message"), WRONG_ANSWERS.values(), ids=WRONG_ANSWERS)
def test_a_wrong_table_of_answers_is_told_with_its_row(tmp_path: Path, answers: str, message: str) -> None:
    queries(tmp_path, answers)
    assert re.search(message, refused(tmp_path, {"help": HELP}, DataError))


@pytest.mark.costly
def test_a_query_whose_answer_is_not_in_the_table_is_quarantined(tmp_path: Path) -> None:
    queries(tmp_path, "id,text\nr,a\n8,b\n")
    assert "label '7' is not one of r, 8" in refused(tmp_path, {"help": HELP}, GateError)


@pytest.mark.costly
def test_a_label_whose_rows_were_all_split_off_is_told_as_that(tmp_path: Path) -> None:
    rare = next(n for n in range(100) if position(text_key(f"rare {n}"), 17) < 0.1)
    jsonl(tmp_path / "data/all.jsonl", [*reviews(60), {"text": f"rare {rare}", "label": "urgent"}])
    task = {"kind": "classification", "files": {"train": "data/all.jsonl"}}
    stage, _ = run(tmp_path, {"sentiment": task})
    (bad,) = quarantine(stage)
    assert (bad["split"], bad["value"], bad["reason"]) == (
        "test",
        "urgent",
        "label 'urgent' is in no row that is left for train once test is split off: give more rows of it or "
        "list it under labels",
    )
    stage, summary = run(tmp_path, {"sentiment": {**task, "labels": ["bad", "good", "urgent"]}})
    assert quarantine(stage) == []
    assert summary["class_counts"]["sentiment"]["test"]["urgent"] == 1


def test_a_rare_label_is_warned_of_with_what_was_probably_meant(tmp_path: Path) -> None:
    tasks = {"sentiment": {"kind": "classification", "files": FILES}}
    write_splits(tmp_path, [*reviews(20), {"text": "typo", "label": "goood"}])
    _, summary = run(tmp_path, tasks)
    assert summary["warnings"] == [
        "sentiment train: label 'goood' has 1 row; validation.min_rows_per_class asks for 2"
        "; did you mean 'good'?"
    ]
    assert summary["class_counts"]["sentiment"]["train"] == {"bad": 10, "good": 10, "goood": 1}


def test_of_many_rare_labels_a_few_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    tasks = {"sentiment": {"kind": "classification", "files": FILES}}
    write_splits(tmp_path, [*reviews(20), *({"text": f"rare {n}", "label": f"l{n}"} for n in range(8))])
    _, summary = run(tmp_path, tasks)
    assert len(summary["warnings"]) == 6
    assert summary["warnings"][-1] == "sentiment train: 3 more labels have fewer rows than that"


@pytest.mark.costly
def test_rows_may_be_scored_by_their_own_label(tmp_path: Path) -> None:
    rows = [{"text": f"t {n}", "spam": n % 2 == 0, "topics": ["a", "b"][: 1 + n % 2]} for n in range(40)]
    jsonl(tmp_path / "a.jsonl", rows)
    tasks = {
        name: {"kind": kind, "files": {"train": "a.jsonl"}, "columns": {"label": name}, "slices": [name]}
        for name, kind in (("spam", "classification"), ("topics", "multilabel"))
    }
    stage, summary = run(tmp_path, tasks)
    assert {each["quarantined"] for splits in summary["tasks"].values() for each in splits.values()} == {0}
    assert set(read_validated(stage.path, "spam", "train")["slice_spam"]) == {"True", "False"}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"train": ["data/train.jsonl", "data/../data/train.jsonl"]},
            "tasks.sentiment.files.train: data/../data/train.jsonl is named twice",
        ),
        (
            {"train": "data", "test": "data/test.jsonl", "validation": "data/test.jsonl"},
            "tasks.sentiment.files.test: data/test.jsonl is named there and in validation",
        ),
    ],
)
def test_a_file_that_a_task_names_twice_is_refused(tmp_path: Path, files: dict[str, Any], said: str) -> None:
    write_splits(tmp_path, reviews(20))
    tasks = {"sentiment": {"kind": "classification", "files": files}}
    assert said in refused(tmp_path, tasks, DataError)


@pytest.mark.costly
@pytest.mark.parametrize(
    ("rows", "task", "said"),
    [
        (
            [{"text": f"t {n}", "label": "a"} for n in range(60)],
            {"kind": "classification"},
            "every training row has the label 'a'",
        ),
        (
            [{"text": f"t {n}", "label": []} for n in range(60)],
            {"kind": "multilabel"},
            "no training row has a label",
        ),
        (
            [{"tokens": f"t {n}", "tags": "O O"} for n in range(60)],
            {"kind": "tagging"},
            "every tag of the training rows is O",
        ),
        (
            reviews(60),
            {"kind": "classification", "split": {"validation": 0.0}},
            "no labelled row is left for validation",
        ),
        (reviews(1), {"kind": "classification"}, "no labelled row is left"),
        (
            reviews(60),
            {"kind": "classification", "columns": {"label": "lable"}},
            "tasks.t.columns.label: column 'lable' is not in",
        ),
        (
            reviews(60),
            {"kind": "classification", "slices": ["sorce"]},
            "tasks.t.slices: column 'sorce' is not in",
        ),
        (reviews(60), {"kind": "tagging", "labels": ["O", "place"]}, "'place' is not a tag"),
    ],
)
def test_a_task_that_cannot_be_learned_is_refused(
    tmp_path: Path, rows: list[Any], task: dict[str, Any], said: str
) -> None:
    jsonl(tmp_path / "a.jsonl", rows)
    if task.get("labels"):
        jsonl(tmp_path / "a.jsonl", [{"tokens": "a", "tags": "O"}] * 5)
    assert said in refused(tmp_path, {"t": {"files": {"train": "a.jsonl"}, **task}}, DataError)


@pytest.mark.costly
@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression", "tagging"])
def test_a_file_of_bad_rows_alone_is_refused_by_the_gate(tmp_path: Path, kind: str) -> None:
    jsonl(tmp_path / "a.jsonl", [{"text": None, "tokens": None, "label": None, "tags": None}] * 30)
    tasks = {"t": {"kind": kind, "files": {"train": "a.jsonl"}}}
    assert "30 of 30 rows (100.0%) are invalid" in refused(tmp_path, tasks, GateError)
    message = refused(tmp_path, tasks, DataError, validation={"max_invalid": 1.0})
    assert "no labelled row is left for train" in message


def test_a_missing_file_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    write_splits(tmp_path, reviews(4))
    files = {"train": "data/trian.jsonl"}
    message = refused(tmp_path, {"t": {"kind": "classification", "files": files}}, DataError)
    assert "did you mean 'train.jsonl'?" in message


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


def test_a_workspace_may_be_named_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_splits(tmp_path, reviews(4))
    monkeypatch.chdir(tmp_path)
    stage = validate(project(tmp_path, SENTIMENT), Workspace(Path()))
    assert (stage.path / "data_docs" / "index.html").is_file()


@pytest.mark.costly
def test_the_result_does_not_change_for_what_does_not_decide_about_rows(tmp_path: Path) -> None:
    write_splits(tmp_path, reviews(4))
    first, _ = run(tmp_path, SENTIMENT)
    heavier = {"sentiment": {**SENTIMENT["sentiment"], "weight": 2.0, "head": {"dropout": 0.2}}}
    assert run(tmp_path, heavier, training={"epochs": 1})[0].digest == first.digest
    assert run(tmp_path, SENTIMENT, seed=3)[0].digest != first.digest


def test_the_key_is_made_without_heavy_imports(tmp_path: Path) -> None:
    import subprocess
    import sys

    write_splits(tmp_path, reviews(4))
    run(tmp_path, SENTIMENT)
    code = """if True:
        import json, sys
        from pathlib import Path
        from doubleroute.config import Project
        from doubleroute.integrations.validation import validate
        from doubleroute.workspace import Workspace
        project = Project.model_validate_json(sys.argv[2])
        project._root = Path(sys.argv[1])
        assert validate(project, Workspace(project.root)).reused
        heavy = {"great_expectations", "pandas", "pyarrow", "torch", "datasets"}
        print(sorted(heavy & set(sys.modules)))
    """
    data = json.dumps({"name": "x", "backbone": {"source": "x"}, "tasks": SENTIMENT})
    command = [sys.executable, "-c", code, str(tmp_path), data]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.data
@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="needs the real data sets")
def test_snips_as_two_tasks_on_one_file(tmp_path: Path) -> None:
    (tmp_path / "snips").symlink_to(REAL_DATA / "snips")
    files = {
        split: f"snips/{file}.jsonl"
        for split, file in [("train", "train"), ("validation", "dev"), ("test", "test")]
    }
    tasks = {kind: {"kind": kind, "files": files} for kind in ("classification", "tagging")}
    stage, summary = run(tmp_path, tasks)
    for counts in summary["tasks"].values():
        assert counts["train"] == {"rows_in": 13084, "rows_out": 13003, "quarantined": 81, "unlabelled": 0}
    assert len(json.loads((stage.path / "labels.json").read_text())["classification"]) == 7


@pytest.mark.costly
def test_a_test_row_that_another_task_learns_from_is_a_warning_and_one_table_of_two_tasks_has_none(
    tmp_path: Path,
) -> None:
    write_splits(tmp_path, reviews(20))
    jsonl(tmp_path / "data/topics.jsonl", [*reviews(20, "topic"), *reviews(2, "test")])
    topics = {"kind": "classification", "files": {**FILES, "train": "data/topics.jsonl"}}
    del topics["files"]["test"], topics["files"]["validation"]
    _, summary = run(tmp_path, SENTIMENT | {"topics": topics})
    (warning,) = [each for each in summary["warnings"] if "backbone" in each]
    said = r"sentiment test: the training rows of topics hold [12] of 4 texts too \(data/test.jsonl row [12]"
    assert re.match(said, warning)
    assert summary["tasks"]["sentiment"]["test"]["quarantined"] == 0
    one = {"kind": "classification", "files": {"train": "data/topics.jsonl"}}
    _, summary = run(tmp_path, {"first": one, "second": one})
    assert not [each for each in summary["warnings"] if "backbone" in each]
