"""The validation stage on small real projects: counts, quarantine, labels, refusals."""

import csv
import json
import os
import re
from pathlib import Path

import pytest
from small_projects import FILES, SENTIMENT, jsonl, project, quarantine, refused, reviews, run, write_splits

from doubleroute.data.splits import position, text_key
from doubleroute.data.tables import read_validated
from doubleroute.errors import DataError, GateError
from doubleroute.integrations.validation import summary_lines, validate
from doubleroute.workspace import Workspace

REAL_DATA = Path(__file__).parents[2].parent / "shared" / "data"


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


def test_a_row_is_no_copy_of_one_that_goes_for_another_reason(tmp_path: Path) -> None:
    train = [*reviews(60), {"text": "test 0", "label": "bad"}, {"text": "test 2", "label": "bad"}]
    train += [{"text": "text 0", "label": "baad"}, {"text": "thrice", "label": "baad"}]
    train += [{"text": "thrice", "label": "bad"}] * 2
    unsure = [{"text": "both", "label": label} for label in ("good", "bad")]
    write_splits(tmp_path, [*train, unsure[0]])
    test = [{"text": "test 0", "label": "baad"}, *reviews(4, "test")[1:], *unsure]
    jsonl(tmp_path / "data/test.jsonl", test)
    rules = {"max_invalid": 0.2, "duplicates": "quarantine", "conflicts": "quarantine", "leaks": "quarantine"}
    stage, _ = run(tmp_path, SENTIMENT, validation=rules)
    found = {(each["file"], each["row"]): each["reason"] for each in quarantine(stage)}
    of_test, of_train = (1, 5, 6), (62, 63, 64, 66)
    assert sorted(found) == [
        *(("data/test.jsonl", row) for row in of_test),
        *(("data/train.jsonl", row) for row in of_train),
    ]
    assert found["data/train.jsonl", 62] == "the same text is in test (data/test.jsonl row 3)"
    assert found["data/train.jsonl", 66] == "the same text and label are in data/train.jsonl row 65"


def test_whole_numbers_beyond_64_bits_can_be_expected(tmp_path: Path) -> None:
    write_splits(tmp_path, [{**row, "id": 2**63 + n} for n, row in enumerate(reviews(60))])
    for name in ("dev", "test"):
        jsonl(tmp_path / f"data/{name}.jsonl", [{**row, "id": 1} for row in reviews(4, name)])
    expected = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "id"}}
    (tmp_path / "expectations").mkdir()
    (tmp_path / "expectations/sentiment.json").write_text(json.dumps({"expectations": [expected]}))
    _, summary = run(tmp_path, SENTIMENT)
    assert summary["tasks"]["sentiment"]["train"]["rows_out"] == 60


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
