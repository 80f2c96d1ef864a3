"""The comparison of a tiny project, whole: every cell is fitted in a process of its own."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import write_tiny_project
from typer.testing import CliRunner

from doubleroute.cli import app
from doubleroute.cli.comparing import _routers
from doubleroute.config import load_project
from doubleroute.errors import InputError
from doubleroute.flows.comparing import compare
from doubleroute.workspace import Workspace

pytestmark = pytest.mark.timeout(600)


def run(root: Path, *more: str) -> Any:
    words = ["compare", "--project", str(root), "--seeds", "2", "--steps", "5", *more]
    return CliRunner().invoke(app, words)


@pytest.fixture(scope="module")
def project(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_project(tmp_path_factory.mktemp("compare") / "project", tiny_backbone)


@pytest.fixture(scope="module")
def printed(project: Path) -> Any:
    return run(project)


@pytest.fixture(scope="module")
def found(printed: Any, project: Path) -> dict[str, Any]:
    assert printed.exit_code == 0, printed.stderr
    folder = Workspace(project).all("compare")[0].path
    document: dict[str, Any] = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    return document


@pytest.mark.costly
def test_the_command_ends_well_with_a_line_for_each_cell(printed: Any) -> None:
    assert printed.exit_code == 0
    for cell in ("single sentiment", "single entities", "shared", "dense", "experts"):
        for seed in (3, 4):
            assert f": {cell}, seed {seed}: " in printed.stderr
    assert "10 of 10" in printed.stderr
    assert "does routing help: " in printed.stdout
    assert "negative transfer: " in printed.stdout


@pytest.mark.costly
def test_all_models_take_the_same_steps_and_single_ones_the_joint_rows(found: dict[str, Any]) -> None:
    by_role: dict[str, list[dict[str, Any]]] = {}
    for each in found["models"]:
        by_role.setdefault(each["role"], []).append(each)
    joint = [each for role in ("shared", "dense", "router") for each in by_role[role]]
    assert [each["steps"] for each in joint] == [[5, 5]] * 3
    rows = joint[0]["rows"]
    assert [each["rows"] for each in joint] == [rows] * 3
    assert all(1 <= steps <= 5 for each in by_role["single"] for steps in each["steps"])
    alone = [each["rows"] for each in by_role["single"]]
    assert [sum(each) for each in zip(*alone, strict=True)] == rows


@pytest.mark.costly
def test_the_dense_layer_is_as_large_as_the_router(found: dict[str, Any]) -> None:
    sizes = {each["name"]: each for each in found["models"]}
    assert sizes["dense"]["router_parameters"] == pytest.approx(
        sizes["experts"]["router_parameters"], rel=0.02
    )
    more = sizes["dense"]["trained_parameters"] - sizes["shared"]["trained_parameters"]
    assert more == sizes["dense"]["router_parameters"]


@pytest.mark.costly
def test_every_task_has_scores_of_both_seeds_and_every_difference(found: dict[str, Any]) -> None:
    for task in found["tasks"].values():
        assert {name: len(seeds) for name, seeds in task["scores"].items()} == dict.fromkeys(
            ("single", "shared", "dense", "experts"), 2
        )
        couples = [(each["model"], each["against"]) for each in task["comparisons"]]
        assert couples == [
            ("experts", "shared"),
            ("experts", "dense"),
            ("experts", "single"),
            ("dense", "shared"),
            ("shared", "single"),
        ]


@pytest.mark.costly
def test_again_nothing_is_fitted_and_the_same_is_said(project: Path, found: dict[str, Any]) -> None:
    again = run(project, "--json")
    document = json.loads(again.stdout)
    assert again.stderr.count("was there") == 10
    assert {key: document[key] for key in found} == found


@pytest.mark.costly
def test_a_cell_that_a_kill_took_is_fitted_again_alone(project: Path, found: dict[str, Any]) -> None:
    lost = found["models"][-1]["fits"][0]
    shutil.rmtree(project / ".doubleroute" / "stages" / f"fit-{lost}")
    again = run(project)
    assert again.stderr.count("was there") == 9
    assert "10 of 10: experts, seed 3" in again.stderr


@pytest.mark.costly
def test_the_fits_are_those_of_a_training_run(project: Path, found: dict[str, Any]) -> None:
    from doubleroute.integrations.validation import validate
    from doubleroute.training.encode import encode
    from doubleroute.training.ladder import fit, store

    loaded = load_project(project, [f"training.epochs={found['epochs']}"])
    workspace = Workspace(project)
    validated = validate(loaded, workspace)
    encoded = encode(loaded, workspace, validated)
    stored = store(loaded, workspace, encoded, lambda *_: None)
    fits = fit(loaded, workspace, validated, encoded, stored, lambda *_: None, names=["routed", "plain"])
    models = {each["name"]: each["fits"][0] for each in found["models"]}
    assert fits["plain"].digest == models["shared"]
    assert fits["routed"].digest == models["experts"]
    assert fits["plain"].reused
    assert fits["routed"].reused


@pytest.mark.costly
def test_the_report_and_its_markdown_say_what_the_terminal_said(project: Path, printed: Any) -> None:
    folder = Workspace(project).all("compare")[0].path
    page = (folder / "report.html").read_text(encoding="utf-8")
    text = (folder / "report.md").read_text(encoding="utf-8")
    line = next(line for line in printed.stdout.splitlines() if line.startswith("does routing help"))
    assert line.partition(": ")[2] in page
    assert line in text
    assert "experts against dense" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seeds", "1"], "--seeds: one seed"),
        (["--routers", "none"], "--routers: there is no router to compare"),
        (["--routers", "experts:experts"], "write it as KIND"),
        (["--routers", "mlp:widht=3"], "--routers mlp: router.widht: unknown key; did you mean 'width'?"),
        (["--steps", "1000000"], "an epoch has 10 steps"),
        (["--epochs", "0"], "--epochs': Input should be greater than or equal to 0.1"),
        (["--epochs", "1"], "either --steps or --epochs"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_reason(
    project: Path, words: list[str], said: str
) -> None:
    refused = run(project, *words)
    assert refused.exit_code == 2
    assert said in refused.stderr


def test_a_project_without_router_has_to_name_one(project: Path) -> None:
    loaded = load_project(project, ["router={kind: none}"])
    with pytest.raises(InputError, match="--routers experts,mlp"):
        compare(loaded, {loaded.router.kind: loaded.router})


def test_values_of_a_router_may_hold_commas_and_colons_and_the_gate_is_not_checked(project: Path) -> None:
    text = "stack:routers=[{kind: layers}, {kind: mlp}],language_model:source=package:a/b:frozen=false"
    changes = ["promotion.router_checks={max_dead: 0.2}"]
    found = _routers(project, changes, load_project(project, changes), text)
    stack, language_model = found.values()
    assert (stack.kind, language_model.kind) == ("stack", "language_model")
    assert (language_model.source, language_model.frozen) == ("package:a/b", False)
