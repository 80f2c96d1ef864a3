"""What a version remembers of its rows, and what counts as arrived since."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import write_tiny_project

from doubleroute.config import Project, load_project
from doubleroute.data.arrivals import (
    REFERENCE,
    ROWS,
    HeldOut,
    Seen,
    hold_out,
    read_reference,
    remember,
    row_keys,
    text_keys,
)
from doubleroute.data.tables import read_validated
from doubleroute.errors import DataError
from doubleroute.integrations.validation import validate
from doubleroute.workspace import Stage, Workspace


@pytest.fixture
def project(tiny_backbone: Path, tmp_path: Path) -> Project:
    return load_project(write_tiny_project(tmp_path / "project", tiny_backbone))


def validated(project: Project) -> Stage:
    return validate(project, Workspace(project.root))


def known(seen: Seen, stage: Stage, task: str, split: str) -> list[bool]:
    frame = read_validated(stage.path, task, split)
    return list(seen.knows(task, row_keys(frame, text_keys(frame))))


def test_rows_are_known_by_what_they_say_and_a_new_row_and_a_new_label_are_not(project: Project) -> None:
    stage = validated(project)
    kept = remember(project, Workspace(project.root), stage)
    seen = Seen.read(kept.path / ROWS)
    assert all(known(seen, stage, task, split) for task in project.tasks for split in ("train", "test"))
    file = project.root / "data" / "sentiment.csv"
    lines = file.read_text(encoding="utf-8").splitlines()
    frame = read_validated(stage.path, "sentiment", "train")
    text = frame["text"][0]
    turned = [line for line in lines if not line.startswith(f"{text},")]
    turned += [
        f"{text},{'pos' if frame['label'][0] == 'neg' else 'neg'},mail",
        "a new line that is good,pos,mail",
    ]
    file.write_text("\n".join([turned[0], *reversed(turned[1:])]) + "\n", encoding="utf-8")
    again = validated(project)
    fresh = [
        row
        for split in ("train", "validation", "test")
        for row, old in zip(
            read_validated(again.path, "sentiment", split)["text"],
            known(seen, again, "sentiment", split),
            strict=True,
        )
        if not old
    ]
    assert sorted(fresh) == sorted([text, "a new line that is good"])


@pytest.mark.costly
def test_what_was_learned_from_are_the_training_rows_with_a_label(project: Project) -> None:
    more = "tasks.other={kind: classification, files: {train: data/shared.csv}, columns: {label: other}}"
    rows = [f"line {number},x{number % 2}," for number in range(40)]
    rows += [f"row {number},x{number % 2},y{number % 2}" for number in range(20)]
    text = "\n".join(["text,label,other", *rows]) + "\n"
    (project.root / "data" / "shared.csv").write_text(text, encoding="utf-8")
    project = load_project(
        project.root, ["tasks.sentiment.files.train=data/shared.csv", more, "tasks.sentiment.slices=[]"]
    )
    stage = validated(project)
    kept = remember(project, Workspace(project.root), stage, None)
    seen = Seen.read(kept.path / ROWS)
    frame = read_validated(stage.path, "other", "train")
    assert seen.labelled["other"] == frame["label"].notna().sum() < len(frame)
    assert len(seen.learned["other"]) == len(frame)


@pytest.mark.costly
def test_the_sample_gives_rows_back_as_they_were(project: Project) -> None:
    stage = validated(project)
    kept = remember(project, Workspace(project.root), stage)
    sample = read_reference(kept.path / REFERENCE)
    for task in project.tasks:
        frame = read_validated(stage.path, task, "test")
        held = sample[task][sample[task]["split"] == "test"].reset_index(drop=True)
        assert held["label"].tolist() == frame["label"].tolist()
        assert held["row"].tolist() == frame["row"].tolist()
    assert sample["entities"]["tokens"][0] == read_validated(stage.path, "entities", "test")["tokens"][0]
    assert set(sample["sentiment"]["slice_source"]) == {"mail", "chat"}


@pytest.mark.costly
def test_stages_of_some_of_the_rows_hold_the_answers_that_are_retrieved(project: Project) -> None:
    data, path = project.root / "data", project.root / "project.yaml"
    (data / "answers.csv").write_text("id,text\nneg,Sorry.\npos,Thank you.\n")
    more = (
        "  help: {kind: retrieval, files: {train: data/sentiment.csv}, answers: {file: data/answers.csv},\n"
        "         split: {validation: 0.2, test: 0.2}}\ntraining: {"
    )
    path.write_text(path.read_text(encoding="utf-8").replace("training: {", more), encoding="utf-8")
    workspace, stage = Workspace(project.root), validated(load_project(project.root))
    seen = Seen.read(remember(load_project(project.root), workspace, stage).path / ROWS)
    path.write_text(path.read_text(encoding="utf-8").replace("seed: 3", "seed: 4"), encoding="utf-8")
    kept, out = hold_out(workspace, validated(load_project(project.root)), ["sentiment", "help"], seen)
    assert out["help"] > 0
    assert read_validated(kept.path, "help", "answers")["text"].tolist() == ["Sorry.", "Thank you."]


@pytest.mark.costly
def test_a_test_row_never_goes_into_training_again(project: Project) -> None:
    workspace, tasks = Workspace(project.root), list(project.tasks)
    stage = validated(project)
    first = remember(project, workspace, stage)
    seen = Seen.read(first.path / ROWS)
    assert hold_out(workspace, stage, tasks, seen) == (stage, {})
    test = read_validated(stage.path, "sentiment", "test")
    path = project.root / "project.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("seed: 3", "seed: 4"), encoding="utf-8")
    other = load_project(project.root)
    moved = validated(other)
    kept, out = hold_out(workspace, moved, tasks, seen)
    assert out["sentiment"] > 0
    for split in ("train", "validation"):
        assert not set(read_validated(kept.path, "sentiment", split)["text"]) & set(test["text"])
    assert json.loads((kept.path / "labels.json").read_text(encoding="utf-8"))["sentiment"] == ["neg", "pos"]
    # The next version holds out the test rows of both.
    second = Seen.read(remember(other, workspace, kept, [first.path / ROWS]).path / ROWS)
    assert second.holds_out("sentiment", text_keys(test)).all()
    assert second.holds_out("sentiment", text_keys(read_validated(kept.path, "sentiment", "test"))).all()
    # One that did not know the first, which was taken back: both are read.
    apart = remember(other, workspace, moved)
    both = Seen.read(apart.path / ROWS, first.path / ROWS)
    tested = HeldOut.of(apart.path / ROWS, first.path / ROWS)
    assert tested.held_out.keys() == both.held_out.keys()
    assert all(np.array_equal(tested.held_out[task], each) for task, each in both.held_out.items())
    assert not Seen.read(apart.path / ROWS).holds_out("sentiment", text_keys(test)).all()
    assert both.holds_out("sentiment", text_keys(test)).all()
    third = remember(other, workspace, kept, [apart.path / ROWS, first.path / ROWS])
    assert Seen.read(third.path / ROWS).holds_out("sentiment", text_keys(test)).all()


@pytest.mark.costly
def test_what_the_weights_learned_before_is_learned_for_ever(project: Project) -> None:
    workspace, stage = Workspace(project.root), validated(project)
    first = remember(project, workspace, stage)
    path = project.root / "project.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("seed: 3", "seed: 4"), encoding="utf-8")
    other = load_project(project.root)
    kept, _ = hold_out(workspace, validated(other), list(project.tasks), Seen.read(first.path / ROWS))
    cold = remember(other, workspace, kept, [first.path / ROWS])
    warm = remember(other, workspace, kept, [first.path / ROWS], first.path / ROWS)
    again = remember(other, workspace, kept, [warm.path / ROWS], warm.path / ROWS)
    for task in project.tasks:
        before = text_keys(read_validated(stage.path, task, "train"))
        test = text_keys(read_validated(kept.path, task, "test"))
        moved = np.isin(test, before)  # from train to test
        assert moved.any()
        assert not Seen.read(cold.path / ROWS).was_taught(task, test).any()
        for remembered in (warm, again):
            seen = Seen.read(remembered.path / ROWS)
            assert seen.was_taught(task, test).tolist() == moved.tolist()
            assert seen.was_taught(task, before).all()
            assert seen.labelled[task] == len(read_validated(kept.path, task, "train"))
            sample = read_reference(remembered.path / REFERENCE)[task]
            honest = text_keys(sample[sample["split"] == "test"])
            assert sorted(honest) == sorted(test[~moved]), "the others are answered by heart"


def test_a_split_of_nothing_but_former_test_rows_is_named(project: Project) -> None:
    workspace, stage = Workspace(project.root), validated(project)
    test = read_validated(stage.path, "entities", "validation")
    table = pd.DataFrame({"task": "entities", "split": "test", "text_key": text_keys(test), "row_key": 0})
    with pytest.raises(DataError, match=r"tasks\.entities: all labelled rows of the validation split were"):
        hold_out(workspace, stage, list(project.tasks), Seen(table))


@pytest.mark.costly
@pytest.mark.parametrize("change", ["files.test=data/test.csv", "split.test=0.1"], ids=["a file", "less"])
def test_no_row_that_was_drawn_for_test_is_drawn_for_validation_later(project: Project, change: str) -> None:
    def texts(stage: Stage, split: str) -> set[str]:
        return set(read_validated(stage.path, "sentiment", split)["text"])

    workspace, before = Workspace(project.root), validated(project)
    seen = Seen.read(remember(project, workspace, before).path / ROWS)
    (project.root / "data" / "test.csv").write_text("text,label,source\na good line,pos,mail\n", "utf-8")
    after = validated(load_project(project.root, [f"tasks.sentiment.{change}"]))
    _, out = hold_out(workspace, after, ["sentiment"], seen)
    assert out == {"sentiment": len(texts(before, "test") - texts(after, "test"))}
    assert texts(after, "validation") == texts(before, "validation")
