"""The champion's alias on a real sqlite store: moves, their history, and what a kill leaves; no models."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from doubleroute.errors import InputError, MachineError, ModelError
from doubleroute.integrations import registry_store as stores
from doubleroute.integrations.registry import Registry
from doubleroute.integrations.registry_moves import (
    MOVING,
    By,
    Move,
    goals,
    move,
    read,
    settle,
    taken_back,
)
from doubleroute.integrations.registry_version import DECISION, VERDICT, note, registered, with_alias

if TYPE_CHECKING:
    from mlflow import MlflowClient

LONG_AGO = "2026-01-01T00:00:00+00:00"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with an empty store."""
    root = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        stores.connect(stores.locate(root), "demo")
    return root


@pytest.fixture
def client(store: Path, monkeypatch: pytest.MonkeyPatch) -> "MlflowClient":
    """Versions 1 to 3 of "demo"; 1 is champion, 2 challenger."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    client = stores.connect(stores.locate(store), "demo")
    if client.search_registered_models("name = 'demo'"):
        client.delete_registered_model("demo")
    client.create_registered_model("demo")
    for _ in range(3):
        client.create_model_version("demo", "file:///nowhere", run_id=None)
    client.set_registered_model_alias("demo", "champion", "1")
    client.set_registered_model_alias("demo", "challenger", "2")
    settle(client, "demo", loads)
    return client


def loads(number: str) -> None:
    """A version that answers."""


def does_not_load(number: str) -> None:
    raise ModelError(f"version {number} does not answer")


def step(number: str, before: str | None, by: By = "promotion") -> Move:
    return Move(LONG_AGO, number, before, "promote", ("why",), by)


def champion(client: "MlflowClient") -> str | None:
    found = with_alias(client, "demo", "champion")
    return found and found.number


def told(client: "MlflowClient") -> list[tuple[str, str | None, str]]:
    return [(each.version, each.before, each.by) for each in read(registered(client, "demo"))]


def test_a_move_that_is_verified_joins_the_history(client: "MlflowClient") -> None:
    seen = []

    def check(number: str) -> None:
        seen.append((number, champion(client)))

    move(client, "demo", step("2", "1"), check)
    assert seen == [("2", "2")], "it is checked when it is champion"
    assert champion(client) == "2"
    assert with_alias(client, "demo", "challenger") is None
    assert read(registered(client, "demo"))[-1] == step("2", "1")
    assert MOVING not in client.get_registered_model("demo").tags


def test_a_champion_that_does_not_answer_is_taken_back_at_once(client: "MlflowClient") -> None:
    wanted = r"version 2 did not stand the test as champion: .*not answer; version 1 is champion again"
    with pytest.raises(MachineError, match=wanted):
        move(client, "demo", step("2", "1"), does_not_load)
    assert champion(client) == "1"
    assert with_alias(client, "demo", "challenger") is not None
    assert told(client) == [("1", None, "by hand")]
    assert MOVING not in client.get_registered_model("demo").tags


def test_a_first_champion_that_does_not_answer_leaves_none(client: "MlflowClient") -> None:
    client.delete_registered_model_alias("demo", "champion")
    with pytest.raises(MachineError, match="there is no champion, as before"):
        move(client, "demo", step("2", None), does_not_load)
    assert champion(client) is None


def test_an_alias_that_another_machine_moved_meanwhile_is_no_success(client: "MlflowClient") -> None:
    class Elsewhere:  # another client that moves the alias whenever ours does
        def __getattr__(self, name: str) -> object:
            return getattr(client, name)

        def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
            client.set_registered_model_alias(name, alias, "3" if version == "2" else version)

    with pytest.raises(MachineError, match="the alias names version 3 after it was moved"):
        move(Elsewhere(), "demo", step("2", "1"), loads)  # type: ignore[arg-type]


def test_a_move_cut_short_before_the_alias_moved_leaves_nothing(client: "MlflowClient") -> None:
    client.set_registered_model_tag("demo", MOVING, step("2", "1").text())
    assert told(client) == [("1", None, "by hand")]
    settle(client, "demo", does_not_load)
    assert told(client) == [("1", None, "by hand")]
    assert MOVING not in client.get_registered_model("demo").tags


@pytest.mark.parametrize("check", [loads, does_not_load])
def test_a_move_cut_short_after_the_alias_moved_is_verified_by_the_next_run(
    client: "MlflowClient", check: Callable[[str], None]
) -> None:
    client.set_registered_model_tag("demo", MOVING, step("2", "1").text())
    client.set_registered_model_alias("demo", "champion", "2")
    assert read(registered(client, "demo"))[-1] == step("2", "1")
    if check is loads:
        settle(client, "demo", check)
        assert (champion(client), read(registered(client, "demo"))[-1]) == ("2", step("2", "1"))
        assert with_alias(client, "demo", "challenger") is None
    else:
        with pytest.raises(MachineError, match="version 1 is champion again"):
            settle(client, "demo", check)
        assert (champion(client), told(client)) == ("1", [("1", None, "by hand")])
    assert MOVING not in client.get_registered_model("demo").tags


def test_a_move_cut_short_after_it_was_noted_is_noted_once(client: "MlflowClient") -> None:
    move(client, "demo", step("2", "1"), loads)
    client.set_registered_model_tag("demo", MOVING, step("2", "1").text())
    settle(client, "demo", does_not_load)
    assert told(client) == [("1", None, "by hand"), ("2", "1", "promotion")]


def test_an_alias_that_somebody_else_moved_is_in_the_history(client: "MlflowClient") -> None:
    client.set_registered_model_alias("demo", "champion", "3")
    last = read(registered(client, "demo"))[-1]
    assert (last.time, last.version, last.before, last.by) == (None, "3", "1", "by hand")
    settle(client, "demo", does_not_load)
    found = read(registered(client, "demo"))[-1]
    assert (found.version, found.before, found.by) == ("3", "1", "by hand")
    assert found.time is not None


def test_the_newest_move_is_the_last_whatever_the_clock_says(client: "MlflowClient") -> None:
    key = "doubleroute.move.29990101T000000.000000Z"
    client.set_registered_model_tag("demo", key, step("1", "3").text())
    move(client, "demo", step("2", "1"), loads)
    assert told(client)[-2:] == [("1", "3", "promotion"), ("2", "1", "promotion")]


def test_of_more_slices_than_a_tag_holds_the_worst_are_kept_and_the_others_counted(
    client: "MlflowClient",
) -> None:
    slices = [
        {"column": "source", "value": f"source {number}", "difference": number / 1000, "refused": False}
        for number in range(2000)
    ]
    slices[1234] |= {"difference": -0.5, "refused": True}
    decision = {"verdict": "refuse", "reasons": ["a slice"], "numbers": {"slices": slices, "mean_gain": 0.1}}
    note(client, "demo", "2", decision, "1")
    version = with_alias(client, "demo", "challenger")
    assert version is not None
    found = version.decision
    assert found is not None
    numbers = found.pop("numbers")
    assert found == {"verdict": "refuse", "reasons": ["a slice"], "against": "1"}
    assert numbers["slices"][:3] == [slices[1234], slices[0], slices[1]]
    assert (len(numbers["slices"]) + numbers["slices_left_out"], numbers["mean_gain"]) == (2000, 0.1)
    assert version.tags[VERDICT] == "refuse"


def test_a_verdict_is_written_after_its_decision(client: "MlflowClient") -> None:
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException):
        note(client, "demo", "2", {"verdict": "promote", "reasons": ["x" * 100_001]}, "1")
    version = with_alias(client, "demo", "challenger")
    assert version is not None
    assert not {DECISION, VERDICT} & version.tags.keys()


def test_the_registry_tells_the_newest_first_and_nothing_without_a_store(
    client: "MlflowClient", store: Path, tmp_path: Path
) -> None:
    move(client, "demo", step("2", "1"), loads)
    first, second = Registry(store, "demo").history()
    assert first == {
        "time": LONG_AGO,
        "version": "2",
        "from": "1",
        "verdict": "promote",
        "reasons": ["why"],
        "by": "promotion",
    }
    assert second["by"] == "by hand"
    assert Registry(tmp_path, "demo").history() == []
    assert list(tmp_path.iterdir()) == []
    assert Registry(store, "other").history() == []


def test_reasons_that_are_too_long_for_a_tag_are_counted() -> None:
    long = Move(LONG_AGO, "2", "1", "promote", ("x" * 3000, "y" * 3000, "z"), "promotion")
    assert json.loads(long.text())["reasons"] == [
        "x" * 3000,
        "and 2 more, in the decision of the version",
    ]
    assert len(long.text()) < 5000


def row(*steps: tuple[str, By]) -> list[Move]:
    before = [None, *(number for number, _ in steps)]
    return [step(number, last, by) for (number, by), last in zip(steps, before, strict=False)]


UP = (("1", "promotion"), ("2", "promotion"), ("3", "promotion"))
ROWS: dict[str, tuple[tuple[tuple[str, By], ...], list[str]]] = {
    "the last champion first": (UP, ["2", "1"]),
    "not what was taken back": ((*UP, ("2", "rollback")), ["1"]),
    "nothing before the first": ((*UP, ("1", "rollback")), []),
    "what came after a rollback": ((*UP, ("2", "rollback"), ("4", "promotion")), ["2", "1"]),
    "also one between two turns of its": (
        (("1", "promotion"), ("2", "promotion"), ("1", "by hand"), ("3", "promotion"), ("1", "rollback")),
        ["2"],
    ),
    "once each": ((*UP, ("1", "by hand"), ("4", "promotion")), ["1", "3", "2"]),
    "nobody": ((), []),
}


@pytest.mark.parametrize(("steps", "wanted"), ROWS.values(), ids=ROWS)
def test_a_rollback_tries_the_champions_before_the_newest_first(
    steps: tuple[tuple[str, By], ...], wanted: list[str]
) -> None:
    now = steps[-1][0] if steps else None
    assert goals(row(*steps), now, None) == wanted


def test_a_rollback_may_be_told_where_to_go_but_not_where_nobody_was() -> None:
    assert goals(row(*UP), "3", "1") == ["1"]
    with pytest.raises(InputError, match="version 3 is champion already"):
        goals(row(*UP), "3", "3")
    with pytest.raises(InputError, match=r"version 4 was never champion \(champions were: 1, 2, 3\)"):
        goals(row(*UP), "3", "4")


def test_what_was_taken_back_is_known_until_it_is_champion_again() -> None:
    back = (*UP, ("2", "rollback"))
    assert taken_back(row(*UP), "3") is None
    found = taken_back(row(*back), "3")
    assert found is not None
    assert (found.version, found.by) == ("2", "rollback")
    assert taken_back(row(*back), "2") is None
    assert taken_back(row(*back, ("3", "by hand")), "3") is None
