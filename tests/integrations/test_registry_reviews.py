"""Accepted reviews in real MLflow stores (sqlite and a folder), and the versions that lead to them."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from doubleroute.errors import GateError, InputError
from doubleroute.integrations.registry import Registry
from doubleroute.integrations.registry_reviews import log_review, reviews_of
from doubleroute.integrations.registry_version import REVIEWS
from doubleroute.workspace import write_json

if TYPE_CHECKING:
    from mlflow.entities import Run

BASE = f"{'0' * 32}.dir"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all tests; each reviews a data version of its own."""
    return tmp_path_factory.mktemp("projects") / "a project é"


@pytest.fixture
def registry(root: Path) -> Registry:
    root.mkdir(exist_ok=True)
    return Registry(root, "demo")


def review(letter: str, verdict: str = "approve", time: str = "2026-11-25T12:00:00") -> dict[str, Any]:
    """The parts of a review document that are read; its data version is 32 times ``letter``."""
    return {
        "format": 1,
        "project": "demo",
        "time": time,
        "seconds": {"read": 1.0},
        "base": {"name": "main", "commit": "a" * 40, "dvc_md5": BASE},
        "head": {"name": "topic", "commit": "b" * 40, "dvc_md5": f"{letter * 32}.dir"},
        "verdict": {"verdict": verdict, "reasons": ["40 rows leak"], "exit_code": 3 * (verdict == "block")},
    }


def files(folder: Path, document: dict[str, Any]) -> list[Path]:
    write_json(folder / "review.json", document)
    (folder / "review.html").write_text("<p>é")
    (folder / "review.md").write_text("# é")
    return [folder / name for name in ("review.json", "review.html", "review.md")]


def runs_of(registry: Registry, letter: str) -> list["Run"]:
    with registry.locked() as client:
        experiment = client.get_experiment_by_name("demo").experiment_id
        return list(client.search_runs([experiment], f"tags.review_of = '{letter * 32}.dir'"))


def version(registry: Registry, letter: str) -> str:
    """A further version of these data, as another program would have made it; its number."""
    with registry.locked() as client:
        if not client.search_registered_models("name = 'demo'"):
            client.create_registered_model("demo")
        made = client.create_model_version(
            "demo", registry.tracking_uri, tags={"dvc_md5": f"{letter * 32}.dir"}
        )
    return str(made.version)


def named(registry: Registry, number: str) -> list[str]:
    """The runs that a version leads to."""
    found: list[str] = json.loads(registry.version(number).tags.get(REVIEWS, "[]"))
    return found


def test_a_review_of_a_commit_against_itself_is_not_accepted(registry: Registry) -> None:
    document = review("0")
    document["base"] = document["head"]
    with pytest.raises(GateError, match="one commit, so that nothing was compared"):
        log_review(registry, document, [], by_hand=True)


def test_a_review_is_a_run_that_names_its_data_and_holds_its_files(
    registry: Registry, root: Path, tmp_path: Path
) -> None:
    document = review("1")
    run_id = log_review(registry, document, files(tmp_path, document))
    (run,) = runs_of(registry, "1")
    assert (run.info.run_id, run.info.status) == (run_id, "FINISHED")
    tags = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")}
    assert len(tags.pop("doubleroute.review")) == 20
    assert tags == {
        "review_of": f"{'1' * 32}.dir",
        "review_base": BASE,
        "verdict": "approve",
        "accepted": "by its verdict",
        "review_time": "2026-11-25T12:00:00",
        "git_commit": "b" * 40,
        "git_commit_base": "a" * 40,
        "head_name": "topic",
        "base_name": "main",
    }
    folder = root / "mlflow" / "artifacts" / "demo" / run_id / "artifacts"
    assert sorted(path.name for path in folder.iterdir()) == ["review.html", "review.json", "review.md"]
    assert json.loads((folder / "review.json").read_text(encoding="utf-8")) == document


def test_the_same_review_logged_twice_at_once_and_later_again_is_one_run(root: Path) -> None:
    root.mkdir(exist_ok=True)
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(log_review, Registry(root, "demo"), review("2"), []) for _ in range(2)]
    again = {**review("2", time="2027-01-01T00:00:00"), "seconds": {"read": 9.0}}
    found = {job.result() for job in jobs} | {log_review(Registry(root, "demo"), again, [])}
    assert {run.info.run_id for run in runs_of(Registry(root, "demo"), "2")} == found
    assert len(found) == 1


def test_what_a_kill_left_is_not_a_review_and_goes(registry: Registry) -> None:
    first = log_review(registry, review("3"), [])
    with registry.locked() as client:
        whole = client.get_run(first)
        half = client.create_run(whole.info.experiment_id, tags=dict(whole.data.tags)).info.run_id
        client.delete_run(first)
    assert reviews_of(registry, f"{'3' * 32}.dir") == []
    second = log_review(registry, review("3"), [])
    assert [run.info.run_id for run in runs_of(registry, "3")] == [second]
    assert second not in (first, half)


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Registry]:
    """Two checkouts with one store that neither's lock guards."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'shared.db'}")
    monkeypatch.chdir(tmp_path)
    return [Registry(tmp_path / name, "demo") for name in ("one", "two")]


@pytest.mark.costly
def test_another_machines_run_is_left_alone_while_it_may_be_written_to(shared: list[Registry]) -> None:
    first = log_review(shared[0], review("3"), [])
    with shared[0].locked() as client:
        whole = client.get_run(first)
        experiment, tags = whole.info.experiment_id, dict(whole.data.tags)
        long_ago = int((time.time() - 7200) * 1000)
        young = client.create_run(experiment, tags=tags).info.run_id
        client.create_run(experiment, start_time=long_ago, tags=tags)
        failed = client.create_run(experiment, tags=tags).info.run_id
        client.set_terminated(failed, "FAILED")
    assert log_review(shared[1], review("3"), []) == first
    assert {run.info.run_id for run in runs_of(shared[1], "3")} == {first, young}


@pytest.mark.costly
def test_a_run_that_another_machine_deletes_is_logged_again(shared: list[Registry]) -> None:
    deleted: list[str] = []

    class Files(list[Path]):
        """Are asked for while the run is being written."""

        def __iter__(self) -> Iterator[Path]:
            if not deleted:
                (run,) = runs_of(shared[1], "3")
                deleted.append(run.info.run_id)
                with shared[1].locked() as client:
                    client.delete_run(run.info.run_id)
            return super().__iter__()

    found = log_review(shared[0], review("3"), Files())
    assert [found] == [run.info.run_id for run in runs_of(shared[1], "3")]
    assert [found] != deleted


def test_the_reviews_of_a_data_version_are_told_newest_first(registry: Registry) -> None:
    old = log_review(registry, review("4"), [])
    other = review("4", "look", "2026-11-26T12:00:00")
    other["head"] = {**other["head"], "name": "staged", "commit": None}
    new = log_review(registry, other, [], by_hand=True)
    log_review(registry, review("5"), [])
    base = {"name": "main", "commit": "a" * 40, "dvc_md5": BASE}
    assert reviews_of(registry, f"{'4' * 32}.dir") == [
        {
            "run_id": new,
            "verdict": "look",
            "time": "2026-11-26T12:00:00",
            "base": base,
            "head": {"name": "staged", "commit": None, "dvc_md5": f"{'4' * 32}.dir"},
        },
        {
            "run_id": old,
            "verdict": "approve",
            "time": "2026-11-25T12:00:00",
            "base": base,
            "head": {"name": "topic", "commit": "b" * 40, "dvc_md5": f"{'4' * 32}.dir"},
        },
    ]


def test_only_what_was_accepted_is_logged(registry: Registry) -> None:
    with pytest.raises(GateError, match="says look: 40 rows leak; a person may accept it with --accept"):
        log_review(registry, review("6", "look"), [])
    with pytest.raises(GateError, match="says block: 40 rows leak; nothing accepts it"):
        log_review(registry, review("6", "block"), [], by_hand=True)
    assert reviews_of(registry, f"{'6' * 32}.dir") == []


def test_a_run_says_whether_its_verdict_accepted_it_or_a_person(registry: Registry) -> None:
    log_review(registry, review("9"), [], by_hand=True)
    log_review(registry, review("a", "look"), [], by_hand=True)
    assert [run.data.tags["accepted"] for letter in "9a" for run in runs_of(registry, letter)] == [
        "by its verdict",
        "by hand",
    ]


def test_looking_creates_nothing_and_asks_for_a_data_version(tmp_path: Path) -> None:
    registry = Registry(tmp_path, "demo")
    assert reviews_of(registry, BASE) == []
    with pytest.raises(InputError, match="'x' is no version of the data"):
        reviews_of(registry, "x")
    assert list(tmp_path.iterdir()) == []


def test_versions_that_are_there_lead_to_a_review_that_comes_later(registry: Registry) -> None:
    one, two, other = (version(registry, letter) for letter in "778")
    first = log_review(registry, review("7"), [])
    assert (named(registry, one), named(registry, two), named(registry, other)) == ([first], [first], [])
    second = log_review(registry, review("7", "look", "2026-11-26T12:00:00"), [], by_hand=True)
    assert named(registry, one) == [second, first]
