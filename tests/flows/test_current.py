"""The rows that the champion has not seen, as each task reads them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest

from doubleroute.config import Project, load_project
from doubleroute.data.arrivals import ROWS, Seen, hold_out, remember, row_keys, text_keys
from doubleroute.data.tables import read_validated
from doubleroute.flows import watching
from doubleroute.flows.current import arrived, as_logged, asked, given, new_labels, unlearned
from doubleroute.integrations.validation import validate
from doubleroute.serving.log import RequestLog
from doubleroute.workspace import Stage, Workspace

PROJECT = """\
name: desk
backbone: {source: x}
serving: {log: true}
tasks:
  mood: {kind: classification, files: {train: a.jsonl}}
  topic: {kind: classification, files: {train: a.jsonl}}
  same: {kind: classification, files: {train: b.jsonl}, columns: {text_pair: other}}
  qa: {kind: span, files: {train: c.jsonl}, columns: {text: question, text_pair: context}}
"""
Rows = Sequence[tuple[str, str | None]]
POSITIVE = {"label": "pos", "probabilities": {"pos": 1.0}}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "project.yaml").write_text(PROJECT, encoding="utf-8")
    return load_project(tmp_path)


def test_what_was_asked_are_the_rows_of_the_tasks_that_answered_with_a_pair_where_they_need_one(
    project: Project,
) -> None:
    every = dict.fromkeys(project.tasks, POSITIVE)
    log = RequestLog(project.root / project.serving.folder)
    log.write(
        [{"text": "one"}, {"text": "two", "text_pair": "zwei"}, {"text": "three"}],
        [every, every, {"mood": POSITIVE}],
    )
    found = asked(project, None)
    texts = {task: frame["text"].tolist() for task, frame in found.items()}
    assert texts == {"mood": ["one", "two", "three"], "topic": ["one", "two"], "same": ["two"], "qa": ["two"]}
    (file,) = (project.root / project.serving.folder).glob("*.jsonl")
    assert found["mood"][["file", "row"]].to_numpy().tolist() == [[file.name, row] for row in (1, 2, 3)]
    assert found["qa"]["text_pair"].tolist() == ["zwei"]
    assert "text_pair" not in found["mood"]
    assert found["mood"]["label"].isna().all()


def test_what_the_champion_knows_is_redacted_as_the_log_is(tmp_path: Path) -> None:
    tags = "  tags: {kind: tagging, files: {train: a.jsonl}}\n"
    redact = "serving: {redact: [phone, 'python:our_words:clean']}"
    text = PROJECT.replace("serving: {log: true}", redact) + tags
    (tmp_path / "project.yaml").write_text(text, encoding="utf-8")
    code = "def clean(text):\n    assert 'odd' not in text\n    return text\n"
    (tmp_path / "our_words.py").write_text(code, encoding="utf-8")
    project = load_project(tmp_path)
    words = [["call", "030", "1234567"], ["call", "me"]]
    sample = {
        "same": pd.DataFrame({"text": ["a", "odd"], "text_pair": ["030 1234567", "b"], "label": ["x", "y"]}),
        "tags": pd.DataFrame(
            {"text": [" ".join(each) for each in words], "tokens": words, "label": [["O"] * 3, ["O"] * 2]}
        ),
    }
    found = {task: frame.to_dict("records") for task, frame in as_logged(project, sample).items()}
    assert found["same"] == [{"text": "a", "text_pair": "[phone]", "label": "x"}]
    assert found["tags"] == [
        {"text": "call [phone]", "tokens": ["call", "[phone]"], "label": None},
        {"text": "call me", "tokens": ["call", "me"], "label": ["O", "O"]},
    ]


def test_a_file_is_read_by_the_tasks_whose_texts_it_has(project: Project) -> None:
    path = project.root / "more.csv"
    path.write_text("text,label\na good film,pos\n")
    assert list(given(project, path, {})) == ["mood", "topic"]
    path.write_text("text,other\na good film,ein guter Film\n")
    assert list(given(project, path, {})) == ["mood", "topic", "same"]


def test_rows_of_a_file_with_a_wrong_label_are_left_out_and_said(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    path = project.root / "more.csv"
    path.write_text("text,label\na good film,pos\nanother,meh\nno label,\n")
    found = given(project, path, {"mood": ["neg", "pos"], "topic": ["meh", "pos"]})
    assert found["mood"]["text"].tolist() == ["a good film", "no label"]
    assert len(found["topic"]) == 3
    assert "left out for mood: 1 of 3 rows; the first is row 2: 'meh' is no label of the task" in (
        capsys.readouterr().err
    )


def test_conll_columns_are_read_by_tasks_of_tags_alone(tmp_path: Path) -> None:
    tags = "  tags: {kind: tagging, files: {train: a.conll}}\n"
    (tmp_path / "project.yaml").write_text(PROJECT + tags, encoding="utf-8")
    path = tmp_path / "new.conll"
    path.write_text("London\tB-place\nis\tO\n\n")
    assert list(given(load_project(tmp_path), path, {})) == ["tags"]


def test_rows_that_moved_or_are_of_another_letter_label_time_or_slice_are_checked_anew() -> None:
    about = {"file": "a.csv", "row": 1, "time": "2026-01-01T00:00:00", "slice_source": "mail"}
    frame = pd.DataFrame({"text": ["a good film"], "label": ["pos"], "split": ["train"], **about})
    others = {"file": "b.csv", "row": 2, "time": "2026-01-02T00:00:00", "slice_source": "web", "label": "Pos"}
    texts = ("A good film", "a  good film", "a good film ")
    found = {watching._digest(frame.assign(**{name: value})) for name, value in others.items()}
    found |= {watching._digest(frame.assign(text=text)) for text in texts}
    assert len(found | {watching._digest(frame)}) == 9


def test_a_second_text_or_words_to_the_letter_are_part_of_what_was_checked() -> None:
    place = {"file": "a.csv", "row": 1, "label": None}
    pairs = [pd.DataFrame({"text": ["a"], "text_pair": [pair], **place}) for pair in ("b", "B")]
    words = [pd.DataFrame({"tokens": [tokens], **place}) for tokens in (["a b"], ["a", "b"], ["A", "b"])]
    assert len({watching._digest(frame) for frame in (*pairs, *words)}) == 5


def test_a_blank_cell_of_a_given_file_is_what_validation_takes_it_for(tmp_path: Path) -> None:
    (tmp_path / "project.yaml").write_text(
        "name: desk\nbackbone: {source: x}\ntasks:\n"
        "  topics: {kind: multilabel, files: {train: a.csv}, columns: {label: topics}}\n"
        "  mood: {kind: classification, files: {train: b.csv}}\n",
        encoding="utf-8",
    )
    project, path = load_project(tmp_path), tmp_path / "more.csv"
    path.write_text("text,topics\none,x\ntwo,\n")
    assert given(project, path, {"topics": ["x"]})["topics"]["label"].tolist() == [["x"], []]
    path.write_text("text,topics,label\none,x,good\ntwo,,bad\n")  # a file of both tasks
    assert given(project, path, {"topics": ["x"]})["topics"]["label"].tolist() == [["x"], None]


@pytest.mark.costly
def test_former_test_rows_that_stand_in_train_are_not_new(tiny_project: Path) -> None:
    workspace = Workspace(tiny_project)

    def learned(changes: list[str], before: list[Path]) -> tuple[Project, Stage, Path]:
        """A project, its rows, and what a champion remembers that learned from those that it may."""
        project = load_project(tiny_project, changes)
        stage = validate(project, workspace)
        held = Seen.read(*before) if before else None
        kept, _ = hold_out(workspace, stage, list(project.tasks), held)
        return project, stage, remember(project, workspace, kept, before).path / ROWS

    _, _, first = learned([], [])
    project, stage, second = learned(["seed=4"], [first])  # other rows are test rows now
    seen = Seen.read(second)
    assert all(frame.empty for frame in arrived(project, stage, seen, seen).values())
    assert not all(frame.empty for frame in arrived(project, stage, seen, None).values())


@pytest.fixture
def desk(tmp_path: Path) -> Callable[..., tuple[Project, Stage]]:
    """A project, and its rows validated, anew for each call: of the task ``mood`` these of train and test."""
    (tmp_path / "project.yaml").write_text(
        "name: desk\nbackbone: {source: x}\n"
        "validation: {leaks: warn}\ntasks:\n"
        "  mood: {kind: classification, files: {train: a.jsonl, validation: v.jsonl, test: t.jsonl}}\n"
        "  also: {kind: classification, files: {train: a.jsonl}, columns: {label: other}}\n",
        encoding="utf-8",
    )

    def validated(train: Rows, test: Rows = (("t 1", "good"), ("t 2", "bad"))) -> tuple[Project, Stage]:
        project = load_project(tmp_path)
        for name, rows in {"a": train, "v": (("v 1", "good"), ("v 2", "bad")), "t": test}.items():
            lines = [
                json.dumps({"text": text, "label": label, "other": "ab"[number % 2]}) + "\n"
                for number, (text, label) in enumerate(rows)
            ]
            (tmp_path / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        return project, validate(project, Workspace(tmp_path))

    return validated


@pytest.mark.costly
def test_relabelled_are_also_rows_of_test_and_a_first_label_is_of_a_row_that_arrived(
    desk: Callable[..., tuple[Project, Stage]],
) -> None:
    rows = [(f"text {number}", ("good", "bad")[number % 2]) for number in range(40)]
    project, before = desk([*rows, ("bare", None), ("once", "good"), ("once", None)])
    seen = Seen.read(remember(project, Workspace(project.root), before).path / ROWS)
    _, stage = desk(
        [*rows, ("bare", "good"), ("new", "bad"), ("once", "bad"), ("once", None)],
        [("t 1", "bad"), ("t 2", "bad"), ("t 3", "good")],
    )
    frames, relabelled = unlearned(arrived(project, stage, seen, None), stage, seen)
    assert sorted(frames["mood"]["text"]) == ["bare", "new", "t 3"]
    assert relabelled["mood"] == 2, "t 1 and once"


def test_of_rows_that_say_the_same_as_many_are_known_as_there_were(
    desk: Callable[..., tuple[Project, Stage]],
) -> None:
    rows = [(f"text {number}", ("good", "bad")[number % 2]) for number in range(40)]
    project, before = desk([*rows, ("thanks", "good"), ("thanks", "good")])
    seen = Seen.read(remember(project, Workspace(project.root), before).path / ROWS)
    same = arrived(project, before, seen, None)
    assert all(frame.empty for frame in same.values())
    _, stage = desk([*rows[1:], *[("thanks", "good")] * 5, ("new", "bad")])
    fresh = arrived(project, stage, seen, None)
    assert new_labels("mood", fresh["mood"], seen) == 1, "a copy is nothing to learn from"
    frames, relabelled = unlearned(fresh, stage, seen)
    assert sorted(frames["mood"]["text"]) == ["new", "thanks", "thanks", "thanks"]
    assert relabelled["mood"] == 0


@pytest.mark.costly
def test_all_labels_that_a_text_was_taught_under_are_remembered(
    desk: Callable[..., tuple[Project, Stage]],
) -> None:
    rows = [(f"text {number}", ("good", "bad")[number % 2]) for number in range(40)]
    stages = [desk([*rows, *more]) for more in ([("both", "good"), ("both", "bad")], [("both", "good")], [])]
    project, workspace = stages[0][0], Workspace(stages[0][0].root)
    two, one, none = (stage for _, stage in stages)
    taught = [remember(project, workspace, stage) for stage in (two, one)]
    later = [remember(project, workspace, none, start=each.path / ROWS) for each in taught]
    now = read_validated(two.path, "mood", "train")
    now = now[now["text"] == "both"]
    keys = row_keys(now, text_keys(now))
    assert [Seen.read(each.path / ROWS).was_taught_row("mood", keys).tolist() for each in later] == [
        [True, True],
        [True, False],
    ]


@pytest.mark.costly
def test_relabelled_are_rows_whose_learned_label_is_gone_from_the_data(tmp_path: Path) -> None:
    (tmp_path / "project.yaml").write_text(
        "name: desk\nbackbone: {source: x}\ntasks:\n"
        "  mood: {kind: classification, files: {train: a.jsonl, validation: v.jsonl, test: t.jsonl}}\n"
        "  again: {kind: classification, files: {train: a.jsonl}, columns: {label: other}}\n",
        encoding="utf-8",
    )
    project, workspace = load_project(tmp_path), Workspace(tmp_path)

    def validated(rows: dict[str, str | None], more: Sequence[tuple[str, str | None]] = ()) -> Stage:
        files = {"a": [*rows.items(), *more], "v": [("v 1", "good"), ("v 2", "bad")]}
        for name, each in {**files, "t": [("t 1", "good"), ("t 2", "bad")]}.items():
            lines = [
                json.dumps({"text": text, "label": label, "other": "ab"[number % 2]}) + "\n"
                for number, (text, label) in enumerate(each)
            ]
            (tmp_path / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        return validate(project, workspace)

    rows: dict[str, str | None] = {f"text {number}": ("good", "bad")[number % 2] for number in range(40)}
    gone = {text: label for text, label in rows.items() if text != "text 9"}
    first = remember(project, workspace, validated(rows))
    second = remember(project, workspace, validated(gone), start=first.path / ROWS)
    seen = Seen.read(second.path / ROWS)
    changed = {**rows, "text 0": "bad", "text 1": None, "new": "good"}  # and "text 9" came back
    stage = validated(changed, [("text 2", "bad")])
    fresh = arrived(project, stage, seen, None)
    assert sorted(fresh["mood"]["text"]) == ["new", "text 0", "text 1", "text 2", "text 9"]
    frames, relabelled = unlearned(fresh, stage, seen)
    assert sorted(frames["mood"]["text"]) == ["new", "text 2"]
    assert relabelled["mood"] == 1
