"""The registry on real MLflow stores (sqlite and a folder), with a real tiny model."""

import ast
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from doubleroute.config import METRICS, load_project
from doubleroute.digests import model_digest
from doubleroute.errors import GateError, InputError, MachineError, ModelError
from doubleroute.flows.candidate import parameters
from doubleroute.integrations import registry_package as package
from doubleroute.integrations import registry_run as runs
from doubleroute.integrations import registry_store as stores
from doubleroute.integrations.registry import Candidate, DatasetUse, Registry, Version
from doubleroute.integrations.registry_reviews import log_review
from doubleroute.integrations.registry_version import REVIEWS
from doubleroute.workspace import Workspace

EXAMPLES = [{"text": "a good film"}, {"text": "a bad film 42", "text_pair": "this film"}]
PROMOTE = {"verdict": "promote", "reasons": ["there is no champion yet"], "numbers": {}}


@pytest.fixture(scope="module")
def candidate(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    """A trained model with all that is logged about it."""
    from doubleroute.modeling.inference import Answerer

    report = tmp_path_factory.mktemp("report") / "report.html"
    report.write_text("<p>report</p>")
    return Candidate(
        run_key="k" * 20,
        model_folder=tiny_model,
        examples=EXAMPLES,
        golden=Answerer(tiny_model, threads=1).answer(EXAMPLES),
        params={"training": {"epochs": 3, "top": None}, "tasks": {"sentiment": {"labels": ["neg", "pos"]}}},
        metrics={"test/sentiment/accuracy": 0.8, "test/source=imdb": 0.5, "undefined": None},
        history=[
            {"epoch": 1, "step": 10, "validation": {"sentiment": {"accuracy": 0.6}}},
            {"epoch": 2, "step": 20, "validation": {"sentiment": {"accuracy": 0.7}}, "mean": float("nan")},
        ],
        artifacts={"report.html": report, "answers/renamed.html": report, "folder": report.parent},
        datasets=[
            DatasetUse("sentiment", "train", "data/a.csv", 7, ["text", "label"], "d1", {"dvc.md5": "m.dir"})
        ],
        tags={"git_commit": "abc123"},
    )


@pytest.fixture(scope="module")
def root(candidate: Candidate, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose first registration was killed, and was then done by two callers at once, where the
    environment names a graph to serve with."""
    root = tmp_path_factory.mktemp("projects") / "a project é"
    root.mkdir()
    store = stores.locate(root)
    with Workspace(root).lock("registry"):
        client = stores.connect(store, "demo")
        experiment = client.create_experiment("demo", artifact_location=store.artifacts("demo"))
        run = client.create_run(experiment, tags={"doubleroute.run_key": candidate.run_key})
        client.create_logged_model(experiment, name="model", source_run_id=run.info.run_id)
    with ThreadPoolExecutor(2) as pool, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOUBLEROUTE_EXPORT", str(root / "a graph of another model"))
        jobs = [pool.submit(Registry(root, "demo").register, candidate) for _ in range(2)]
        wait(jobs)
    assert jobs[0].result() == jobs[1].result()
    return root


@pytest.fixture
def registry(root: Path, candidate: Candidate) -> Iterator[Registry]:
    """The registry with version 1 as challenger and no champion, before and after each test."""
    registry = Registry(root, "demo")
    yield registry
    client = registry._connect()
    for version in registry.versions():
        if version.run_key != candidate.run_key or version.number != "1":
            client.delete_model_version("demo", version.number)
    for alias in registry.version("1").aliases:
        client.delete_registered_model_alias("demo", alias)
    for key in client.get_registered_model("demo").tags:
        client.delete_registered_model_tag("demo", key)
    client.set_registered_model_alias("demo", "challenger", "1")


def another(registry: Registry, **tags: str) -> Version:
    """A further version on the files of version 1, as another machine would have made it."""
    first = registry.version("1")
    made = registry._connect().create_model_version(
        "demo", first.source, first.run_id, tags={**first.tags, **tags}
    )
    return registry.version(str(made.version))


def test_the_same_run_registered_twice_at_once_is_one_version(
    registry: Registry, candidate: Candidate
) -> None:
    assert [version.number for version in registry.versions()] == ["1"]
    version = registry.register(candidate)
    assert version == registry.challenger()
    assert version.aliases == ("challenger",)
    assert version.digest == model_digest(candidate.model_folder)
    assert version.tags["git_commit"] == "abc123"
    assert registry.champion() is None


def test_a_registered_version_leads_to_the_reviews_of_its_data(
    registry: Registry, candidate: Candidate
) -> None:
    client, data = registry._connect(), f"{'d' * 32}.dir"
    client.set_model_version_tag("demo", "1", "dvc_md5", data)
    version = {"name": "main", "commit": None, "dvc_md5": data}
    verdict = {"verdict": "approve", "reasons": []}
    review = {"time": "2026-11-25T12:00:00", "base": version, "head": version, "verdict": verdict}
    run_id = log_review(registry, review, [])
    client.delete_model_version_tag("demo", "1", REVIEWS)  # as if it had been made after the review
    assert registry.register(candidate).tags[REVIEWS] == json.dumps([run_id])
    client.delete_run(run_id)
    for tag in (REVIEWS, "dvc_md5"):
        client.delete_model_version_tag("demo", "1", tag)


def test_a_graph_that_the_environment_names_is_not_what_is_read_back(registry: Registry) -> None:
    assert registry.version("1").golden == len(EXAMPLES)


def test_a_half_run_of_a_killed_attempt_is_marked_deleted(registry: Registry, candidate: Candidate) -> None:
    client = registry._connect()
    experiment = client.get_experiment_by_name("demo").experiment_id
    query = f"tags.`doubleroute.run_key` = '{candidate.run_key}'"
    assert [run.info.run_id for run in client.search_runs([experiment], query)] == [
        registry.version("1").run_id
    ]
    assert len(client.search_logged_models([experiment])) == 1


def test_in_a_shared_store_what_a_kill_left_goes_when_it_is_old_though_a_version_is_there(
    registry: Registry, candidate: Candidate, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, used = registry._connect(), registry.version("1").run_id
    experiment = client.get_experiment_by_name("demo").experiment_id
    tags = {"doubleroute.run_key": candidate.run_key}
    long_ago = int((time.time() - 7200) * 1000)
    old = client.create_run(experiment, start_time=long_ago, tags=tags).info.run_id
    client.create_logged_model(experiment, name="model", source_run_id=old)
    twin, young = (client.create_run(experiment, tags=tags).info.run_id for _ in range(2))
    for run_id in (twin, used):
        client.set_terminated(run_id, end_time=long_ago)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow' / 'mlflow.db'}")
    assert Registry(tmp_path, "demo").register(candidate).run_id == used
    left = client.search_runs([experiment], f"tags.`doubleroute.run_key` = '{candidate.run_key}'")
    assert {run.info.run_id for run in left} == {used, young}
    assert len(client.search_logged_models([experiment])) == 1
    client.delete_run(young)


def test_the_run_holds_parameters_metrics_data_and_artifacts(registry: Registry, root: Path) -> None:
    client = registry._connect()
    run = client.get_run(registry.version("1").run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {
        "training.epochs": "3",
        "training.top": "null",
        "tasks.sentiment.labels": '["neg", "pos"]',
    }
    assert run.data.metrics["test/sentiment/accuracy"] == 0.8
    assert run.data.metrics["test/source_imdb"] == 0.5
    assert not {"undefined", "mean"} & set(run.data.metrics)
    history = client.get_metric_history(run.info.run_id, "validation/sentiment/accuracy")
    assert [(point.step, point.value) for point in history] == [(10, 0.6), (20, 0.7)]
    (used,) = run.inputs.dataset_inputs
    assert (used.dataset.name, json.loads(used.dataset.profile)) == ("sentiment", {"num_rows": 7})
    assert {tag.key: tag.value for tag in used.tags} == {"dvc.md5": "m.dir", "mlflow.data.context": "train"}
    folder = root / "mlflow" / "artifacts" / "demo" / run.info.run_id / "artifacts"
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {"report.html", "answers/renamed.html", "folder/report.html"}


def test_a_file_of_a_run_is_fetched_once_and_used_when_it_is_asked_for(registry: Registry) -> None:
    version = registry.version("1")
    path = registry.artifact(version, "report.html")
    assert path is not None
    assert time.time() - path.stat().st_mtime < 60
    os.utime(path, (1e9, 1e9))
    assert registry.artifact(version, "report.html") == path
    assert path.stat().st_mtime > 1e9, "no training removes it within a day"
    assert registry.artifact(version, "rows.parquet") is None


def test_weights_of_labels_that_differ_in_special_characters_alone_are_one_parameter(
    registry: Registry, candidate: Candidate, tmp_path: Path
) -> None:
    weights = "{a+: 2, a*: 3, /: 4}"
    mood = f"mood: {{kind: classification, files: {{train: a.csv}}, class_weights: {weights}}}"
    text = f"name: desk\nbackbone: {{source: x}}\ntasks:\n  {mood}\n"
    (tmp_path / "project.yaml").write_text(text, encoding="utf-8")
    logged = replace(candidate, params=parameters(load_project(tmp_path)))
    client = registry._connect()
    run = client.create_run(client.get_experiment_by_name("demo").experiment_id).info
    model = client.create_logged_model(run.experiment_id, name="model", source_run_id=run.run_id)
    runs._log_numbers(client, run.run_id, model.model_id, logged)
    found = client.get_run(run.run_id).data.params["tasks.mood.class_weights"]
    assert json.loads(found) == {"a+": 2, "a*": 3, "/": 4}
    client.delete_logged_model(model.model_id)
    client.delete_run(run.run_id)


@pytest.mark.costly
def test_a_version_holds_no_pickle_and_pins_what_answering_imports(registry: Registry) -> None:
    folder = registry.model_folder(registry.version("1")).parents[1]
    names = {path.name for path in folder.rglob("*")}
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".bin", ".pt"))]
    pinned = {line.split("==")[0] for line in (folder / "requirements.txt").read_text().splitlines()}
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); import doubleroute.modeling.inference\n"
        "from doubleroute.serving import log, precision, recent, together\n"
        "from doubleroute.kinds import kind\n"
        f"for name in {list(METRICS)}: kind(name)\n"
        "print(json.dumps([m.__file__ for n, m in sys.modules.items() if n.startswith('doubleroute')]))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(folder / "code")], check=True, capture_output=True, text=True
    )
    imported = set()
    for file in json.loads(done.stdout):
        assert file.startswith(str(folder / "code")), "the stored code answers, not the installed one"
        for node in ast.walk(ast.parse(Path(file).read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(str(node.module).split(".")[0])
    assert imported - set(sys.stdlib_module_names) - {"doubleroute"} <= pinned


@pytest.mark.costly
def test_a_model_that_answers_differently_in_a_new_process_gets_no_version(
    registry: Registry, candidate: Candidate
) -> None:
    golden = json.loads(json.dumps(candidate.golden))
    golden[1]["sentiment"]["probabilities"]["neg"] += 0.01
    wrong = replace(candidate, run_key="wrong", golden=golden)
    with pytest.raises(ModelError, match=r"answers\[1\]\.sentiment\.probabilities\.neg is 0\."):
        registry.register(wrong)
    client = registry._connect()
    experiment = client.get_experiment_by_name("demo").experiment_id
    assert [version.number for version in registry.versions()] == ["1"]
    assert client.search_runs([experiment], "tags.`doubleroute.run_key` = 'wrong'") == []


@pytest.mark.parametrize(
    ("wanted", "found", "differs"),
    [
        ({"a": [1.0, "x"]}, {"a": [1.00009, "x"]}, None),
        ({"a": 1.0}, {"a": 1.001}, "w.a is 1.001, not 1.0"),
        ({"a": 1000.0}, {"a": 1000.05}, None),
        ({"a": "x"}, {"a": "y"}, "w.a is y, not x"),
        ({"a": [1]}, {"a": [1, 2]}, r"w.a is [1, 2], not [1]"),
        ({"a": 1}, {"b": 1}, "w is {'b': 1}, not {'a': 1}"),
        (1.0, None, "w is None, not 1.0"),
        (None, None, None),
    ],
)
def test_golden_answers_are_compared_with_a_tolerance(wanted: Any, found: Any, differs: str | None) -> None:
    assert package._difference(wanted, found, "w") == differs


def test_promotion_moves_the_alias_once_and_notes_why(registry: Registry) -> None:
    version = registry.version("challenger")
    for _ in range(2):
        promoted = registry.promote(version, None, PROMOTE)
        assert promoted.aliases == ("champion",)
        assert promoted.tags["doubleroute.verdict"] == "promote"
        assert promoted.decision == {**PROMOTE, "against": None}
        (move,) = registry.history()
        assert (move["version"], move["from"], move["by"]) == ("1", None, "promotion")
        assert (move["verdict"], move["reasons"]) == ("promote", PROMOTE["reasons"])
    described = registry.describe()
    assert described["champion"]["version"] == "1"
    assert described["challenger"] is None
    assert json.loads(json.dumps(described)) == described


def test_the_champion_does_not_become_challenger_again(registry: Registry, candidate: Candidate) -> None:
    registry._connect().set_registered_model_alias("demo", "champion", "1")
    registry._connect().delete_registered_model_alias("demo", "challenger")
    assert registry.register(candidate).aliases == ("champion",)
    assert registry.challenger() is None


@pytest.mark.costly
def test_promotion_is_refused_when_another_champion_was_compared(registry: Registry) -> None:
    second = another(registry, **{"doubleroute.run_key": "second"})
    registry._connect().set_registered_model_alias("demo", "champion", "1")
    registry._connect().delete_registered_model_alias("demo", "challenger")
    with pytest.raises(GateError, match="compared with no champion, and now version 1 is champion"):
        registry.promote(second, None, PROMOTE)
    assert registry.champion() == registry.version("1")
    assert registry.promote(second, "1", PROMOTE).aliases == ("champion",)
    assert registry.version("1").aliases == ()
    with pytest.raises(GateError, match=r"with version 1, and now version \d+ is champion"):
        registry.promote(registry.version("1"), "1", PROMOTE)


def test_a_refusal_is_noted_and_moves_nothing(registry: Registry) -> None:
    registry.record(registry.version("1"), {"verdict": "refuse", "reasons": ["worse"]})
    version = registry.version("1")
    assert version.tags["doubleroute.verdict"] == "refuse"
    assert version.aliases == ("challenger",)
    assert (version.as_dict()["verdict"], version.as_dict()["reasons"]) == ("refuse", ["worse"])


def test_a_twin_that_another_machine_made_is_deleted(registry: Registry, candidate: Candidate) -> None:
    another(registry)
    assert len(registry.versions()) == 2
    assert registry.register_again("another") is None
    assert registry.register_again(candidate.run_key) == registry.register(candidate)
    assert registry.register(candidate).number == "1"
    assert [version.number for version in registry.versions()] == ["1"]


@pytest.mark.parametrize("name", ["artifacts/model/model.safetensors", "model_from_code.py", "manifest.json"])
def test_damaged_or_missing_files_are_named_and_never_promoted(registry: Registry, name: str) -> None:
    version = registry.version("1")
    path = registry.model_folder(version).parents[1] / name
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(MachineError, match=rf"model 'demo', version 1: .*{Path(name).name}"):
            registry.promote(version, None, PROMOTE)
        path.unlink()
        with pytest.raises(MachineError, match="missing"):
            registry.model_folder(version)
    finally:
        path.write_bytes(whole)
    assert registry.champion() is None


def test_a_version_of_somebody_else_is_not_taken(registry: Registry) -> None:
    first = registry.version("1")
    made = registry._connect().create_model_version("demo", first.source, first.run_id)
    with pytest.raises(InputError, match="was not registered by doubleroute"):
        registry.model_folder(registry.version(str(made.version)))
    with pytest.raises(InputError, match=r"no version or alias '9'; there are: .*1, challenger"):
        registry.version("9")


def test_a_copied_project_reads_and_writes_its_own_files(
    registry: Registry, root: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(root, copy)
    moved = Registry(copy, "demo")
    folder = moved.model_folder(moved.version("challenger"))
    assert folder.is_relative_to(copy)
    client = moved._connect()
    experiment = client.get_experiment_by_name("demo")
    assert experiment.artifact_location == (copy / "mlflow" / "artifacts" / "demo").as_uri()
    assert client.get_run(moved.version("1").run_id).info.artifact_uri.startswith(copy.as_uri())
    assert registry.model_folder(registry.version("1")).is_relative_to(root)


@pytest.mark.slow
def test_a_whole_run_without_a_version_is_used_again(
    registry: Registry, root: Path, candidate: Candidate, tmp_path: Path
) -> None:
    shutil.copytree(root, tmp_path / "copy")
    copy = Registry(tmp_path / "copy", "demo")
    copy._connect().delete_model_version("demo", "1")
    assert copy.register(candidate).run_id == registry.version("1").run_id
