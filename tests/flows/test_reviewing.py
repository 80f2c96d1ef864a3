"""The steps of a review in this process, on a tiny project under git and DVC."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import write_tiny_project
from versioned import begin, branch, git, make, sentences, write_sentences

from doubleroute.errors import GateError
from doubleroute.flows import reviewing
from doubleroute.flows.timeline import FitProgress
from doubleroute.workspace import Workspace

pytestmark = [
    pytest.mark.costly,
    pytest.mark.filterwarnings("ignore:_NoneStep.value will soon:DeprecationWarning"),
]


def one_row(data: Path) -> None:
    write_sentences(data, [*sentences(data), "words of this short line are good,pos,mail"])


def quick(root: Path, *changes: str) -> dict[str, Any]:
    return reviewing.review(root, "main", "topic", FitProgress(), quick=True, changes=changes)[0]


@pytest.fixture(scope="module")
def root(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make(tmp_path_factory.mktemp("reviewing") / "project", tiny_backbone)
    branch(made, "topic", one_row)
    return made


def test_a_change_that_turns_its_own_findings_down_is_looked_at(tiny_backbone: Path, tmp_path: Path) -> None:
    root = make(tmp_path / "project", tiny_backbone)
    path = root / "project.yaml"
    before = path.read_text(encoding="utf-8")

    def change(_: Path) -> None:
        path.write_text(f"{before}review: {{severity: {{rules: note}}}}\n", encoding="utf-8")

    branch(root, "topic", change)
    assert quick(root)["verdict"]["verdict"] == "look"
    assert quick(root, "review.severity.rules=note")["verdict"]["verdict"] == "approve"


def test_bad_rows_of_a_base_that_cannot_be_validated_are_not_charged_to_the_change(
    tiny_backbone: Path, tmp_path: Path
) -> None:
    root = write_tiny_project(tmp_path / "project", tiny_backbone, 200)
    header, *rows = sentences(root / "data")
    bad = ["  ,pos,mail", "  ,neg,chat"]
    write_sentences(root / "data", [header, *rows, *bad])
    filled = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "stars"}}
    (root / "expectations").mkdir()
    (root / "expectations" / "sentiment.json").write_text(json.dumps({"expectations": [filled]}))
    more = [f"{header},stars", *(f"{row},3" for row in [*rows, *bad, "\t,pos,mail"])]
    branch(begin(root), "topic", lambda data: write_sentences(data, more))
    found = quick(root)
    (invalid,) = [each for each in found["findings"] if each["name"] == "invalid"]
    assert invalid["count"] == 1
    (said,) = [each for each in found["verdict"]["reasons"] if each.startswith("base does not pass")]
    assert "could not be checked" in said


LONG = f"{' '.join(['good'] * 30_000)},pos,mail"  # validation refuses so long a text, reading does not


def measured(root: Path, full: bool = False) -> reviewing.Review:
    """The review of topic with its measured impact."""
    found = reviewing.read(root, "main", "topic")
    reviewing.compare(found)
    reviewing.find(found)
    reviewing.measure(found, FitProgress(), full)
    assert found.measured is not None
    return found


def test_rows_that_validation_takes_out_have_no_part_in_what_is_predicted(
    tiny_backbone: Path, tmp_path: Path
) -> None:
    root = make(tmp_path / "project", tiny_backbone)
    branch(root, "topic", lambda data: write_sentences(data, [*sentences(data), LONG]))
    found = measured(root)
    (place,) = found.tasks["sentiment"].quarantined[1]
    assert place == ("data/sentiment.csv", 201)
    assert found.measured is not None
    impact = found.measured.impact["sentiment"]
    assert impact["verdict"] == "no change"
    assert impact["learned"]["base"] == impact["learned"]["head"]


@pytest.mark.parametrize("failing", ["base", "head"])
def test_old_bad_rows_have_no_part_in_it_either_where_one_version_cannot_be_validated(
    tiny_backbone: Path, tmp_path: Path, failing: str
) -> None:
    """One version has the column that an expectation asks for, and the bad row stands a row later in head."""
    root = write_tiny_project(tmp_path / "project", tiny_backbone, 200)
    header, *rows = sentences(root / "data")
    filled = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "stars"}}
    (root / "expectations").mkdir()
    (root / "expectations" / "sentiment.json").write_text(json.dumps({"expectations": [filled]}))
    plain = [header, *rows, LONG]
    starred = [f"{header},stars", *(f"{row},3" for row in plain[1:])]
    before, after = (plain, starred) if failing == "base" else (starred, plain)
    after = [after[0], after[1], *after[1:]]  # a copy, which teaches nothing new
    write_sentences(root / "data", before)
    branch(begin(root), "topic", lambda data: write_sentences(data, after))
    found = measured(root, full=True)
    sides = {"base": found.base, "head": found.head}
    assert [name for name, side in sides.items() if side.validated is None] == [failing]
    out = [[row for _, row in sorted(places)] for places in found.tasks["sentiment"].quarantined]
    assert found.measured is not None
    impact = found.measured.impact["sentiment"]
    assert out == [[201], [202]]
    assert impact["learned"] == {"base": 121, "head": 122}
    (said,) = [each for each in found.findings if each.name == "untrained"]
    assert said.severity == "look"
    assert said.title.startswith(f"not trained for real: {failing} does not pass its own validation")


def test_full_beside_a_training_is_refused_before_anything_is_read(root: Path) -> None:
    with Workspace(root).lock("train"), pytest.raises(GateError, match="a training of this project is under"):
        reviewing.review(root, "nowhere", "topic", FitProgress(), full=True)


def test_a_training_that_begins_meanwhile_does_not_throw_a_review_away(root: Path) -> None:
    with Workspace(root).lock("train"):
        found = measured(root, full=True)
    document, folder = reviewing.conclude(found)
    assert (folder / "review.html").is_file()
    assert document["impact"]["sentiment"]["verdict"] == "cannot tell"
    why = "a training of this project is under way"
    assert document["full"] == {"sentiment": {"verdict": "cannot tell", "why": why}}
    assert document["verdict"]["verdict"] == "look"
    assert f"needs a look: untrained: not trained for real: {why}" in document["verdict"]["reasons"]


def of_days_ago(root: Path) -> tuple[Path, Path]:
    """A stage that nobody used for three days, and such a copy of a server's model."""
    stage, copy = root / ".doubleroute" / "stages" / "fit-0", root / ".doubleroute" / "registry" / "copy"
    days_ago = time.time() - 3 * 86400
    for folder in (stage, copy):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "weights").write_bytes(b"0" * 1000)
        os.utime(folder, (days_ago, days_ago))
    return stage, copy


def test_a_review_trims_the_workspace(root: Path) -> None:
    stage, copy = of_days_ago(root)
    quick(root)
    assert (stage.is_dir(), copy.is_dir()) == (True, False)
    document, folder = reviewing.review(
        root, "main", "topic", FitProgress(), quick=True, changes=["workspace.max_gb=0.000001"]
    )
    assert not stage.exists()
    assert folder.is_dir()
    assert document["head"]["commit"] == git(root, "rev-parse", "topic")


def test_a_review_removes_nothing_beside_a_training(root: Path) -> None:
    old = of_days_ago(root)
    with Workspace(root).lock("train"):
        quick(root, "workspace.max_gb=0.000001")
    assert [folder.is_dir() for folder in old] == [True, True]


def test_a_reviewed_branch_does_not_say_how_much_the_reviewers_workspace_holds(root: Path) -> None:
    path = root / "project.yaml"

    def change(_: Path) -> None:
        before = path.read_text(encoding="utf-8")
        path.write_text(f"{before}workspace: {{max_gb: 0.000001}}\n", encoding="utf-8")

    branch(root, "greedy", change)
    stage, _ = of_days_ago(root)
    found = reviewing.read(root, "main", "greedy")
    with reviewing.bounded(found):
        pass
    assert stage.is_dir()
    path.rename(root / "away.yaml")
    assert reviewing.read(root, "main", "greedy").max_gb == 50
    (root / "away.yaml").rename(path)
