"""Promotion by hand and rollback with real models, each loaded in a process of its own."""

import json
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking._tracking_service import utils as tracking

from doubleroute.data.arrivals import ROWS
from doubleroute.digests import file_digest
from doubleroute.errors import GateError, InputError, MachineError
from doubleroute.flows.held_out import rows_of_champions
from doubleroute.integrations import registry_moves as moves
from doubleroute.integrations.registry import Candidate, Registry, Version
from doubleroute.integrations.registry_by_hand import promote_by_hand
from doubleroute.modeling.inference import Answerer
from doubleroute.workspace import write_json

EXAMPLES = [{"text": "a good film"}]
PROMOTE: dict[str, Any] = {"verdict": "promote", "reasons": ["it is better"], "numbers": {}}


@pytest.fixture(scope="module")
def registered(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one registered version. Do not write into it."""
    root = tmp_path_factory.mktemp("registered")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        golden = Answerer(tiny_model, threads=1).answer(EXAMPLES)
        Registry(root, "demo").register(Candidate("one", tiny_model, EXAMPLES, golden))
    return root


@pytest.fixture
def registry(registered: Path, tmp_path: Path) -> Registry:
    """Versions 1, 2 and 3, of files of their own; they were champions in this order, 3 is, 2 is challenger
    again."""
    root = tmp_path / "project"
    shutil.copytree(registered, root)
    tracking._artifact_repos_cache.clear()  # by run: another test's copy has runs of the same ids
    registry = Registry(root, "demo")
    client, first = registry._connect(), registry.version("1")
    for number in (2, 3):
        folder = root / f"files-{number}"
        shutil.copytree(registry.model_folder(first).parents[1], folder)
        tags = {**first.tags, "doubleroute.run_key": f"key {number}"}
        client.create_model_version("demo", folder.as_uri(), first.run_id, tags=tags)
    for number in ("1", "2", "3"):
        client.set_registered_model_alias("demo", "champion", number)
        registry.settle()
    client.set_registered_model_alias("demo", "challenger", "2")
    return registry


def rewrite(registry: Registry, number: str, name: str, content: bytes | None) -> None:
    """Give a version another file, or none, as if it had been registered so."""
    folder = registry.model_folder(registry.version(number)).parents[1]
    manifest = json.loads((folder / "manifest.json").read_text())
    if content is None:
        (folder / name).unlink()
        del manifest[name]
    else:
        (folder / name).write_bytes(content)
        manifest[name] = file_digest(folder / name)
    write_json(folder / "manifest.json", manifest)
    digest = file_digest(folder / "manifest.json")
    registry._connect().set_model_version_tag("demo", number, "doubleroute.manifest", digest)


def champion(registry: Registry) -> str | None:
    found = registry.champion()
    return found and found.number


def test_a_rollback_passes_over_what_does_not_load_and_says_so(registry: Registry) -> None:
    rewrite(registry, "2", "artifacts/model/config.json", b"{}")
    done = registry.rollback("bad answers")
    assert (done["version"], done["from"], champion(registry)) == ("1", "3", "1")
    assert "does not answer in a new process" in done["skipped"][0]
    first = registry.history()[0]
    assert (first["version"], first["from"], first["by"]) == ("1", "3", "rollback")
    assert first["reasons"][0] == "bad answers"
    assert first["reasons"][1].startswith("skipped: ")
    with pytest.raises(GateError, match="no earlier champion to go back to"):
        registry.rollback("once more")


@pytest.mark.costly
def test_where_no_earlier_champion_is_whole_a_rollback_moves_nothing(
    registry: Registry, tmp_path: Path
) -> None:
    weights = registry.model_folder(registry.version("1")) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    registry._connect().delete_model_version("demo", "2")
    with pytest.raises(GateError, match=r"version 2 was deleted; .*model\.safetensors is damaged"):
        registry.rollback("why")
    assert champion(registry) == "3"
    with pytest.raises(GateError, match="no earlier champion"):
        Registry(tmp_path / "empty", "demo").rollback("why")


@pytest.mark.costly
def test_a_promotion_of_what_does_not_answer_as_it_did_is_taken_back(registry: Registry) -> None:
    rewrite(registry, "2", "golden.json", b'{"examples": [{"text": "a"}], "answers": [{}]}')
    with pytest.raises(MachineError, match=r"answers differently .*; version 3 is champion again"):
        registry.promote(registry.version("2"), "3", PROMOTE)
    assert champion(registry) == "3"
    assert registry.history()[0]["version"] == "3"


def test_the_rows_of_champions_that_were_taken_back_or_replaced_by_hand_are_read_too(
    registry: Registry, tmp_path: Path
) -> None:
    assert rows_of_champions(registry) == []
    (tmp_path / ROWS).write_bytes(b"keys")
    with registry.locked() as client:
        client.log_artifact(registry.version("1").run_id, str(tmp_path / ROWS))  # the run of all three
        assert len(rows_of_champions(registry)) == 3
        back = moves.Move(moves.now(), "2", "3", None, ("it answers worse",), "rollback")
        moves.move(client, "demo", back, lambda _: None)
    assert champion(registry) == "2"
    assert len(rows_of_champions(registry)) == 3, "1 and 3 besides"


def test_the_rows_of_a_champion_that_a_promotion_replaced_are_read_too(registry: Registry) -> None:
    fetched = registry.workspace.root / "registry" / f"{registry.version('1').run_id}-{ROWS}"
    fetched.parent.mkdir(exist_ok=True)
    fetched.write_bytes(b"keys")  # the run of all three
    with registry.locked() as client:
        newer = moves.Move(moves.now(), "2", "3", None, ("it is better",), "promotion")
        moves.move(client, "demo", newer, lambda _: None)  # 2 was registered before 3 became champion
        assert len(rows_of_champions(registry)) == 3


def test_rows_of_a_champion_whose_run_is_gone_are_missed_where_nobody_handed_them_on(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ROWS).write_bytes(b"keys")
    database = registry.store.database
    assert database is not None
    with registry.locked() as client:
        client.log_artifact(registry.version("3").run_id, str(tmp_path / ROWS))

    def warned(registered: list[int]) -> list[str]:
        """What is said where the versions were registered on these days and champion from 2, 4 and 6 on."""
        with closing(sqlite3.connect(database)) as store, store:
            store.execute("UPDATE model_versions SET run_id = 'gone' WHERE version < 3")
            for number, (made, served) in enumerate(zip(registered, (2, 4, 6), strict=True), start=1):
                at = int(datetime(2026, 1, made, tzinfo=UTC).timestamp() * 1000)
                store.execute("UPDATE model_versions SET creation_time = ? WHERE version = ?", (at, number))
                store.execute(
                    "UPDATE registered_model_tags SET value = json_set(value, '$.time', ?) "
                    "WHERE key LIKE 'doubleroute.move.%' AND json_extract(value, '$.version') = ?",
                    (f"2026-01-0{served}T00:00:00+00:00", str(number)),
                )
        assert len(rows_of_champions(registry)) == 1
        said = capsys.readouterr().err.splitlines()  # among what MLflow says of downloads
        return [line.partition(",")[0] for line in said if line.startswith("warning: ")]

    lost = [f"warning: the test rows of version {number}" for number in (1, 2)]
    assert warned([1, 3, 5]) == [], "3 has them of 2, and 2 of 1"
    assert warned([1, 1, 5]) == lost[:1], "2 was registered before 1 served"
    assert warned([1, 3, 3]) == lost[1:], "3 was registered before 2 served"


@pytest.mark.costly
def test_by_hand_the_recorded_decision_is_done(registry: Registry) -> None:
    rewrite(registry, "2", "golden.json", None)  # of an earlier doubleroute: it is enough that it answers
    registry.record(registry.version("2"), PROMOTE, "3")
    done = promote_by_hand(registry, reason="it is time")
    assert (done["version"], done["from"], done["changed"], done["by"]) == ("2", "3", True, "promotion")
    assert registry.history()[0]["reasons"] == ["it is time", "it is better"]
    assert promote_by_hand(registry, "2")["changed"] is False
    assert champion(registry) == "2"
    with pytest.raises(InputError, match=r"has no challenger; .*there are: 3, 2, 1"):
        promote_by_hand(registry)


def test_without_a_decision_or_with_another_champion_nothing_is_promoted_by_hand(registry: Registry) -> None:
    with pytest.raises(GateError, match="has not decided about it"):
        promote_by_hand(registry)
    registry.record(registry.version("2"), PROMOTE, "1")
    with pytest.raises(GateError, match="compared with version 1, and now version 3 is champion"):
        promote_by_hand(registry)
    assert champion(registry) == "3"


@pytest.mark.costly
def test_against_the_decision_only_with_override_and_a_reason(registry: Registry) -> None:
    def refused() -> Version:
        registry.record(registry.version("2"), {"verdict": "refuse", "reasons": ["mail is worse"]}, "3")
        return registry.version("2")

    version = refused()
    with pytest.raises(GateError, match="the promotion gate said refuse: mail is worse"):
        promote_by_hand(registry, "2")
    with pytest.raises(InputError, match="--override needs --reason"):
        promote_by_hand(registry, "2", " ", True)
    done = promote_by_hand(registry, "2", "we know better", True)
    assert (done["by"], champion(registry)) == ("by hand", "2")
    first = registry.history()[0]
    assert (first["by"], first["verdict"]) == ("by hand", "refuse")
    assert first["reasons"] == ["we know better", "the promotion gate said refuse: mail is worse"]
    assert registry.version("2").decision == version.decision

    assert registry.rollback("they knew better")["version"] == "3"
    registry.record(registry.version("2"), PROMOTE, "3")
    with pytest.raises(GateError, match=r"it was taken back at \S+: they knew better"):
        promote_by_hand(registry, "2")
