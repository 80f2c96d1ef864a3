"""The train flow on a tiny project, with a real Prefect server, a real MLflow store, git and DVC."""

import gc
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import relabel, write_tiny_project
from prefect.artifacts import Artifact
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, PREFECT_HOME

from doubleroute.config import load_project
from doubleroute.data.tables import read_validated
from doubleroute.errors import DataError, GateError, MachineError
from doubleroute.flows.candidate import run_key
from doubleroute.flows.server import prefect_api
from doubleroute.flows.train import run
from doubleroute.integrations.registry import CHAMPION, Registry, Version
from doubleroute.workspace import Workspace

pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed <socket:ResourceWarning",
    "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning",
)

STEPS = [
    *("pull", "validate", "tokenise", "activations", "fit"),
    *("evaluate", "report", "register", "promote"),
]


def command(*words: str, at: Path) -> str:
    """Run git or dvc; what it printed."""
    names = {"NAME": "t", "EMAIL": "t@t"}
    who = {f"GIT_{role}_{name}": value for role in ("AUTHOR", "COMMITTER") for name, value in names.items()}
    environment = {**os.environ, **who, "DVC_NO_ANALYTICS": "1"}
    full = [sys.executable, "-m", "dvc", *words[1:]] if words[0] == "dvc" else list(words)
    return subprocess.run(
        full, cwd=at, env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture(scope="module", autouse=True)
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One server for the runs of this file; it is what PREFECT_API_URL names to them."""
    with prefect_api(Workspace(tmp_path_factory.mktemp("server")), lambda: None):
        yield
    with warnings.catch_warnings():  # Prefect's clients leave their sockets to the garbage collector
        warnings.simplefilter("ignore")
        gc.collect()


@pytest.fixture(scope="module")
def trained(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A project under git and DVC, and the result of its first run. Do not change it."""
    root = write_tiny_project(tmp_path_factory.mktemp("trained") / "project", tiny_backbone)
    ignored = ".doubleroute/\nmlflow/\n/data\n"
    (root / ".gitignore").write_text(ignored, encoding="utf-8")
    command("git", "init", "--quiet", at=root)
    command("dvc", "init", "--quiet", at=root)
    command("dvc", "add", "--quiet", "data", at=root)
    command("git", "add", ".", at=root)
    command("git", "commit", "--quiet", "--message", "data", at=root)
    return root, run(load_project(root))


@pytest.fixture
def copied(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> Path:
    """The trained project at another place, stages and registry included, to be changed."""
    return Path(shutil.copytree(trained[0], tmp_path / "project", symlinks=True))


def stages(root: Path, name: str) -> set[str]:
    return {path.name for path in (root / ".doubleroute" / "stages").glob(f"{name}-*")}


def fit_of(root: Path, version: Version) -> Path:
    """The stage of the model that the version is."""
    workspace = Workspace(root)
    (validated,) = workspace.all("validate")
    return next(fit.path for fit in workspace.all("fit") if run_key(fit, validated) == version.run_key)


def validation_rows(root: Path) -> dict[str, list[int]]:
    """The rows of the files that validation drew for the last run of a project, by task."""
    last = max(Workspace(root).all("validate"), key=lambda stage: stage.path.stat().st_mtime)
    tasks = load_project(root).tasks
    return {task: read_validated(last.path, task, "validation")["row"].tolist() for task in tasks}


def test_texts_of_the_data_are_redacted_in_the_report_and_in_what_is_logged(copied: Path) -> None:
    (evaluated,) = stages(copied, "evaluate")
    path = copied / ".doubleroute" / "stages" / evaluated / "evaluation.json"
    before = json.loads(path.read_text(encoding="utf-8"))
    word = before["tasks"]["sentiment"]["errors"][0]["text"].split()[0]
    changes, known = [f"serving.redact=['re:{word}']"], stages(copied, "report")
    result = run(load_project(copied, changes), changes)
    (new,) = stages(copied, "report") - known
    for name in ("report.html", "report.md", "evaluation.json"):
        assert "[redacted]" in (copied / ".doubleroute" / "stages" / new / name).read_text(encoding="utf-8")
    found = json.loads((copied / ".doubleroute" / "stages" / new / "evaluation.json").read_text("utf-8"))
    for task, about in found["tasks"].items():
        assert not any(word in each["text"] for each in about["errors"]), task
        assert [each["row"] for each in about["errors"]] == [
            each["row"] for each in before["tasks"][task]["errors"]
        ]
    shown = [way for ways in found["ways"].values() for way in ways]
    assert not any(word in "".join(way["tokens"]) for way in shown)
    assert result["evaluation"]["tasks"]["sentiment"]["models"] == found["tasks"]["sentiment"]["models"]


def test_every_step_is_a_task_run_in_prefect(trained: tuple[Path, dict[str, Any]]) -> None:
    root, result = trained
    assert [stage["name"] for stage in result["stages"]] == STEPS
    with get_client(sync_client=True) as client:
        flows = [each for each in client.read_flow_runs() if each.parameters["project"] == str(root)]
        first = min(flows, key=lambda each: str(each.start_time))
        deadline = time.monotonic() + 60  # the server records the steps a moment later
        while True:
            tasks = [each for each in client.read_task_runs() if each.flow_run_id == first.id]
            done = [each for each in tasks if each.state_name == "Completed"]
            if len(done) >= len(STEPS) or time.monotonic() > deadline:
                break
            time.sleep(0.5)
    assert first.state_name == "Completed"
    names = [each.name.rpartition("-")[0] for each in sorted(tasks, key=lambda each: str(each.start_time))]
    assert names == STEPS
    assert {each.state_name for each in tasks} == {"Completed"}


def test_tables_verdicts_and_the_report_s_link_are_artifacts(trained: tuple[Path, dict[str, Any]]) -> None:
    found = {name: Artifact.get(f"tiny-{name}") for name in ("rows", "scores", "verdicts", "report")}
    kept = {name: str(artifact.data) for name, artifact in found.items() if artifact is not None}
    assert kept.keys() == found.keys()
    assert "quarantined" in kept["rows"]
    assert "accuracy" in kept["scores"]
    assert trained[1]["verdicts"][0] in kept["verdicts"]
    assert "report.html" in kept["report"]


def test_the_one_version_is_champion_and_knows_its_data_and_its_run_key(
    trained: tuple[Path, dict[str, Any]],
) -> None:
    root, result = trained
    (version,) = Registry(root, "tiny").versions()
    assert (version.number, version.aliases) == (result["version"], (CHAMPION,))
    assert result["decision"]["verdict"] == "promote"
    assert fit_of(root, version).is_dir()
    assert len(stages(root, "fit")) == 3
    commit = command("git", "rev-parse", "HEAD", at=root)
    pointer = command("git", "show", "HEAD:data.dvc", at=root).split("md5: ")[1].split()[0]
    data = {name: version.tags[name] for name in ("git_commit", "git_dirty", "dvc_md5")}
    assert data == {"git_commit": commit, "git_dirty": "False", "dvc_md5": pointer}
    assert result["data_version"]["digest"] == version.tags["digest"]


def test_the_run_s_datasets_carry_md5_and_commit(trained: tuple[Path, dict[str, Any]]) -> None:
    from mlflow import MlflowClient

    root, result = trained
    registry = Registry(root, "tiny")
    version = registry.version("champion")
    inputs = MlflowClient(registry.tracking_uri).get_run(version.run_id).inputs.dataset_inputs
    assert len(inputs) == 6  # two tasks, three splits
    for each in inputs:
        tags = {tag.key: tag.value for tag in each.tags}
        assert tags["dvc_md5"] == result["data_version"]["dvc_md5"]
        assert tags["git_commit"] == result["data_version"]["git_commit"]
        assert tags["mlflow.data.context"] in ("train", "validation", "test")


def test_a_second_run_reuses_every_stage_and_is_the_same_version(
    trained: tuple[Path, dict[str, Any]],
) -> None:
    root, first = trained
    before = set((root / ".doubleroute" / "stages").iterdir())
    second = run(load_project(root))
    reused = {stage["name"]: stage["reused"] for stage in second["stages"]}
    assert all(reused[name] for name in STEPS[1:7])
    assert (second["version"], second["evaluation"]) == (first["version"], first["evaluation"])
    assert set((root / ".doubleroute" / "stages").iterdir()) == before
    assert len(Registry(root, "tiny").versions()) == 1


@pytest.mark.costly
def test_a_run_that_finds_every_stage_does_not_wait_for_transformers(
    trained: tuple[Path, dict[str, Any]],
) -> None:
    code = (
        "import sys; from pathlib import Path; from doubleroute.config import load_project; "
        "from doubleroute.flows.train import run; result = run(load_project(Path(sys.argv[1]))); "
        "print([stage['reused'] for stage in result['stages'][1:7]], 'transformers' in sys.modules)"
    )
    given = {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value())}
    ran = subprocess.run(
        [sys.executable, "-c", code, str(trained[0])], env=given, capture_output=True, text=True
    )
    assert ran.stdout.splitlines()[-1:] == [f"{[True] * 6} False"], ran.stderr


@pytest.mark.costly
def test_a_changed_row_is_a_new_version_and_a_decision_with_reasons(copied: Path) -> None:
    (copied / "data.dvc").unlink()
    table = copied / "data" / "sentiment.csv"
    longer = table.read_text(encoding="utf-8").replace(",neg,", " bad,neg,", 1)  # a training row
    table.write_text(longer, encoding="utf-8")
    result = run(load_project(copied))
    reused = {stage["name"]: stage["reused"] for stage in result["stages"]}
    assert not any(reused[name] for name in ("validate", "tokenise", "fit"))
    assert result["version"] == "2"
    assert result["data_version"]["dvc_md5"] is None
    assert result["decision"]["verdict"] in ("promote", "refuse", "cannot tell")
    assert result["decision"]["reasons"]
    assert "champion" in result["evaluation"]["models"]
    registry = Registry(copied, "tiny")
    old, new = registry.version("1"), registry.version("2")
    promoted = result["decision"]["verdict"] == "promote"
    assert (CHAMPION in new.aliases, CHAMPION in old.aliases) == (promoted, not promoted)
    assert new.as_dict()["verdict"] == result["decision"]["verdict"]


@pytest.mark.costly
def test_a_corrected_test_label_is_a_new_version_of_the_same_weights(copied: Path) -> None:
    (copied / "data.dvc").unlink()
    (validated,) = Workspace(copied).all("validate")
    relabel(copied, read_validated(validated.path, "sentiment", "test")["text"].iloc[0])
    result = run(load_project(copied, ["promotion.min_gain=0.01"]))
    reused = {stage["name"]: stage["reused"] for stage in result["stages"]}
    assert {name for name in STEPS[1:7] if reused[name]} == {"activations", "fit"}
    old, new = (Registry(copied, "tiny").version(number) for number in ("1", "2"))
    assert (result["version"], new.digest) == ("2", old.digest)
    assert old.tags["evaluation"] != new.tags["evaluation"]
    assert result["decision"]["verdict"] == "cannot tell"
    assert result["decision"]["reasons"][0] == "the challenger has the same weights as the champion"


@pytest.mark.costly
def test_rows_that_were_split_off_for_validation_stay_when_a_test_file_comes(copied: Path) -> None:
    (copied / "data.dvc").unlink()
    drawn = [f"{words},pos,mail" for words in ("a good short line", "the good film", "this reads good")]
    (copied / "data" / "test.csv").write_text("\n".join(["text,label,source", *drawn]), encoding="utf-8")
    before = validation_rows(copied)
    changes = ["tasks.sentiment.files.test=data/test.csv", "tasks.entities.split.test=0.1"]
    assert run(load_project(copied, changes), changes)["version"] == "2"
    assert validation_rows(copied) == before


@pytest.mark.costly
def test_a_model_that_is_fitted_again_alone_has_the_same_weights(copied: Path) -> None:
    """As after a kill when the others were done: it must not take the processors that they leave free."""
    champion = Registry(copied, "tiny").champion()
    assert champion is not None
    fit = fit_of(copied, champion)
    before = {name: (fit / name).read_bytes() for name in ("model/model.safetensors", "model/config.json")}
    threads = json.loads((fit / "history.json").read_text(encoding="utf-8"))["threads"]
    shutil.rmtree(fit)
    result = run(load_project(copied))
    assert result["version"] == "1"
    assert {name: (fit / name).read_bytes() for name in before} == before
    assert json.loads((fit / "history.json").read_text(encoding="utf-8"))["threads"] == threads


def test_data_that_are_not_what_data_dvc_says_stop_the_run_before_training(copied: Path) -> None:
    with (copied / "data" / "sentiment.csv").open("a", encoding="utf-8") as file:
        file.write("a good line,pos,mail\n")
    before = set((copied / ".doubleroute" / "stages").iterdir())
    with pytest.raises(DataError, match=r"changed: sentiment\.csv"):
        run(load_project(copied))
    assert set((copied / ".doubleroute" / "stages").iterdir()) == before


def test_too_many_invalid_rows_stop_the_run_before_any_fit(tiny_project: Path) -> None:
    table = tiny_project / "data" / "sentiment.csv"
    lines = table.read_text(encoding="utf-8").splitlines(keepends=True)
    table.write_text("".join([*lines[:-20], *(",pos,mail\n" for _ in range(20))]), encoding="utf-8")
    with pytest.raises(GateError, match="sentiment"):
        run(load_project(tiny_project))
    assert not stages(tiny_project, "fit")
    assert not (tiny_project / "mlflow").exists()


def test_an_mlflow_server_that_does_not_answer_is_told_before_training(
    tiny_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{taken.getsockname()[1]}")
    with pytest.raises(MachineError, match="does not answer"):
        run(load_project(tiny_project))
    assert not stages(tiny_project, "fit")


def test_a_prefect_server_that_does_not_answer_is_told(
    tiny_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    monkeypatch.setattr("doubleroute.flows.server.NAMED_PATIENCE", 1.0)
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(MachineError, match=r"PREFECT_API_URL .*does not answer"),
    ):
        run(load_project(tiny_project))


def test_the_database_of_runs_lies_in_the_workspace() -> None:
    assert (PREFECT_HOME.value() / "prefect.db").is_file()


def test_temporary_files_of_a_run_are_gone(trained: tuple[Path, dict[str, Any]]) -> None:
    root = trained[0] / ".doubleroute"
    assert not (root / "scratch").exists()
    assert not list((root / "stages").glob(".*"))
    assert not list((root / "partial").iterdir())
