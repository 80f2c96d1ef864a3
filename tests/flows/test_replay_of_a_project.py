"""The replay of a tiny dated project, whole: models of the past are trained in processes of their own."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from doubleroute.cli import app
from doubleroute.config import load_project
from doubleroute.data.arrivals import reference_rows
from doubleroute.data.past import dated
from doubleroute.drift.replay import FIRST
from doubleroute.errors import InputError
from doubleroute.flows.replay import History, policies_of, replay
from doubleroute.flows.timeline import FitProgress
from doubleroute.integrations.validation import validate
from doubleroute.training.past_models import PastModels
from doubleroute.workspace import Workspace

pytestmark = [pytest.mark.costly, pytest.mark.timeout(600)]

#: Which words say what, before 2022 and since then.
WORDS = {False: ("bad", "good"), True: ("line", "plain")}


def write_dated_project(root: Path, backbone: Path, rows: int = 320) -> Path:
    """Four years of texts whose label is said by one word, by another pair of words since 2022."""
    draw = random.Random(5)
    root.mkdir()
    lines = ["text,label,day\n"]
    for number in range(rows):
        year, label = 2020 + 4 * number // rows, number % 2
        words = [draw.choice(["the", "model", "reads", "this", "short", "of"]) for _ in range(4)]
        words.insert(draw.randrange(5), WORDS[year >= 2022][label])
        lines.append(f"{' '.join(words)},{('neg', 'pos')[label]},{year}-{number % 12 + 1:02}-15\n")
    (root / "rows.csv").write_text("".join(lines), encoding="utf-8")
    (root / "project.yaml").write_text(
        f"""\
name: dated
seed: 3
backbone: {{source: '{backbone}', max_tokens: 16}}
tasks:
  mood:
    kind: classification
    files: {{train: rows.csv}}
    columns: {{time: day}}
    split: {{validation: 0.2, test: 0.2}}
validation: {{leaks: warn}}
training: {{epochs: 10, batch_size: 8, learning_rate: 1e-2, head_learning_rate: 1e-2, precision: float32}}
evaluation: {{bootstrap: 100, baselines: []}}
drift: {{min_rows: 20, max_rows: 100, permutations: 100, features: 64}}
retraining: {{effort: 0.5, new_rows_weight: 1}}
""",
        encoding="utf-8",
    )
    return root


def play(root: Path) -> dict[str, Any]:
    """The replay by years, of the project's policy and those beside it."""
    loaded = load_project(root)
    return replay(loaded, policies_of(loaded, {}), "year", "2022-01-01")


@pytest.fixture(scope="module")
def project(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dated_project(tmp_path_factory.mktemp("replay") / "project", tiny_backbone)


@pytest.fixture(scope="module")
def played(project: Path) -> dict[str, Any]:
    return play(project)


def test_always_learns_the_new_words_and_never_does_not(played: dict[str, Any]) -> None:
    never, always = (played["policies"][name] for name in ("never", "always"))

    assert [each["window"] for each in never["windows"]] == ["2022", "2023"]
    assert [each["model"] for each in always["windows"]] == [[0], [1]]
    assert never["windows"][0] == always["windows"][0], "both begin with the same model"
    assert always["windows"][1]["scores"]["mood"]["value"] > 0.8
    assert never["windows"][1]["scores"]["mood"]["value"] < 0.7
    assert never["seconds"] == 0 < always["seconds"]
    assert always["against"]["never"]["mood"]["low"] > 0


def test_the_policy_retrains_from_the_champion_with_its_share_of_the_steps(played: dict[str, Any]) -> None:
    policy = played["policies"]["policy"]

    assert [each["verdict"] for each in policy["decisions"]] == ["retrain"], "2022 had other words"
    assert policy["windows"][1]["model"] == [0, 1]
    assert policy["start"] == "champion"
    assert policy["share_of_steps"] == pytest.approx(0.5, abs=0.01)
    facts = " ".join(policy["decisions"][0]["reasons"])
    assert "fell by" in facts
    assert "new labelled training rows" in facts


def test_a_second_replay_trains_nothing_and_says_the_same(
    project: Path, played: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    again = play(project)

    assert "tokens/s" not in capsys.readouterr().err
    assert again == played


def test_the_weights_of_past_models_are_removed_and_the_report_stays(
    project: Path, played: dict[str, Any]
) -> None:
    assert Workspace(project).all("fit") == []
    folder = Path(played["folder"])
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Gain beside cost" in page
    assert "There was no promotion gate" in page
    assert "2022" in page
    assert "| never |" in (folder / "report.md").read_text(encoding="utf-8")
    assert json.loads((folder / "replay.json").read_text(encoding="utf-8"))["policies"] == played["policies"]


def test_what_the_project_had_before_a_replay_is_not_removed(tiny_backbone: Path, tmp_path: Path) -> None:
    loaded = load_project(write_dated_project(tmp_path / "project", tiny_backbone), ["training.epochs=1"])
    workspace = Workspace(loaded.root)
    validated = validate(loaded, workspace)

    def models() -> PastModels:
        return PastModels(loaded, workspace, validated, ["2022-01-01", "2023-01-01"], lambda *_: None)

    own, replayed = models(), models()
    own.get(FIRST)
    there = {path.name for path in workspace.stages.iterdir()}
    replayed.restore(FIRST)
    replayed.clear()
    assert {path.name for path in workspace.stages.iterdir()} == there
    own.clear()
    assert workspace.all("fit") == workspace.all("tokenise") == []


@pytest.mark.slow
def test_the_command_plays_another_policy_beside_the_projects(project: Path, played: dict[str, Any]) -> None:
    words = ["replay", "--project", str(project), "--every", "year", "--first", "2022-01-01"]
    idle = ["--policy", "idle:on_drift=false,new_labels=null,max_fall=1"]

    shown = CliRunner().invoke(app, [*words, *idle])
    quick = ["--policy", "quick:mode=auto"]
    more = json.loads(CliRunner().invoke(app, [*words, *idle, *quick, "--json"]).stdout)

    assert more["policies"]["idle"]["retrainings"] == 0
    assert more["policies"]["idle"]["windows"] == played["policies"]["never"]["windows"]
    assert more["policies"]["policy"] == played["policies"]["policy"]
    assert more["policies"]["quick"]["retrainings"] == 1
    assert Workspace(project).all("fit") == []  # of every rung
    assert shown.exit_code == 0
    assert "gain of always'" in shown.stdout
    assert CliRunner().invoke(app, [*words, "--policy", "idle"]).exit_code == 2


@pytest.mark.usefixtures("played")
def test_a_model_learned_from_nothing_that_came_later(project: Path) -> None:
    loaded = load_project(project)
    workspace = Workspace(project)
    newest = set()
    for stage in workspace.all("rows-before"):
        newest.add((stage.manifest["inputs"]["time"][:4], max(dated(stage, "mood")["time"])[:4]))

    assert newest == {("2022", "2021"), ("2023", "2022")}
    assert len(dated(validate(loaded, workspace), "mood")) == 320


@pytest.mark.usefixtures("played")
def test_a_retraining_is_expected_to_cost_what_its_rows_are_drawn(project: Path) -> None:
    loaded = load_project(project)
    workspace, quiet = Workspace(project), FitProgress()
    history = History(loaded, workspace, validate(loaded, workspace), "year", "2022-01-01", quiet)
    known = history.models.get(FIRST)
    train = history.frames["mood"]
    train = train[(train["split"] == "train") & (train["time"] < "2023-01-01")]
    new = int((train["time"] >= "2022-01-01").sum())
    for changes, rows in (
        ({"new_rows_weight": 3.0}, len(train) + 2 * new),
        ({"rows": "recent", "recent_days": 1.0}, int((train["time"] == train["time"].max()).sum())),
    ):
        expected = history.expected(FIRST, 0, loaded.retraining.model_copy(update=changes))
        assert expected == round(known.seconds / known.steps * 10 * 0.5 * rows / 8, 1)


def test_past_models_are_compared_with_what_they_would_have_kept_held_out_rows_first(project: Path) -> None:
    loaded, workspace = load_project(project), Workspace(project)
    history = History(loaded, workspace, validate(loaded, workspace), "year", "2022-01-01", FitProgress())
    kept, frame = history.reference("mood", "2022-01-01"), history.frames["mood"]
    before = frame[frame["time"] < "2022-01-01"]
    assert list(dict.fromkeys(kept["split"])) == ["test", "validation", "train"]
    assert sorted(kept["text"]) == sorted(before["text"])
    splits = {split: before[before["split"] == split] for split in ("train", "validation", "test")}
    held = len(splits["test"]) + len(splits["validation"])
    few = {split: len(part) for split, part in reference_rows(splits, 3, held + 5)}
    assert few == {"test": len(splits["test"]), "validation": len(splits["validation"]), "train": 5}


@pytest.mark.slow
@pytest.mark.usefixtures("played")
def test_rows_that_came_after_a_replay_are_answered_by_its_models_again(project: Path) -> None:
    with (project / "rows.csv").open("a", encoding="utf-8") as file:
        file.write(
            "".join(f"line {n} is plain,{('neg', 'pos')[n % 2]},2024-01-{n + 1:02}\n" for n in range(8))
        )
    loaded = load_project(project)
    policies = [each for each in policies_of(loaded, {}) if each.rule in ("never", "always")]
    found = replay(loaded, policies, "year", "2022-01-01")
    assert [each["name"] for each in found["windows"]] == ["2022", "2023 to 2024"]
    assert found["windows"][1]["rows"] == 88


def test_a_backbone_whose_files_changed_makes_other_models(tiny_backbone: Path, tmp_path: Path) -> None:
    backbone = Path(shutil.copytree(tiny_backbone, tmp_path / "backbone"))
    loaded = load_project(write_dated_project(tmp_path / "project", backbone))
    workspace = Workspace(loaded.root)
    validated = validate(loaded, workspace)
    models = PastModels(loaded, workspace, validated, ["2022-01-01", "2023-01-01"], lambda *_: None)
    before = models._inputs(FIRST, models.rows(FIRST))
    with (backbone / "config.json").open("a", encoding="utf-8") as file:
        file.write("\n")
    assert models._inputs(FIRST, models.rows(FIRST)) != before


def test_a_task_without_times_and_a_taken_name_are_refused(project: Path) -> None:
    loaded = load_project(project, ["tasks.mood.columns.time=null"])

    with pytest.raises(InputError, match=r"tasks.mood.columns.time is not set"):
        replay(loaded, policies_of(loaded, {}), "year", "2022-01-01")
    with pytest.raises(InputError, match="the name is taken"):
        policies_of(loaded, {"always": loaded.retraining})


def test_a_task_without_rows_before_the_first_window_is_named(project: Path) -> None:
    late = [
        "tasks.late={kind: classification, files: {train: late.csv}, columns: {time: day}}",
        "tasks.late.split={validation: 0.2, test: 0.2}",
    ]
    rows = [
        f"a line of {number},{('neg', 'pos')[number % 2]},2023-01-{number % 28 + 1:02}"
        for number in range(60)
    ]
    (project / "late.csv").write_text("\n".join(["text,label,day", *rows]) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"tasks.late: no labelled train row comes before 2022-01-01"):
        replay(load_project(project, late), [], "year", "2022-01-01")
