"""The retrain flow on a tiny project, with a real Prefect server and a real MLflow store."""

import gc
import json
import random
import subprocess
import sys
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import write_tiny_project

from doubleroute.cli.watching import look_at
from doubleroute.config import load_project
from doubleroute.data.arrivals import Seen, text_keys
from doubleroute.data.tables import read_validated
from doubleroute.drift import records
from doubleroute.errors import GateError
from doubleroute.flows.current import learned
from doubleroute.flows.deciding import said
from doubleroute.flows.retrain import retrain as retrain_flow
from doubleroute.flows.retrain import run as retrain
from doubleroute.flows.server import prefect_api
from doubleroute.flows.train import run as train
from doubleroute.flows.watch import MOST_ATTEMPTS, watch
from doubleroute.integrations.registry import Registry
from doubleroute.integrations.validation import validate
from doubleroute.serving.log import RequestLog
from doubleroute.workspace import Workspace

pytestmark = [
    pytest.mark.costly,
    pytest.mark.filterwarnings(
        "ignore:unclosed <socket:ResourceWarning",
        "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning",
    ),
]
#: As many current rows as the tiny project gets are enough to tell.
CHANGES = ["drift.min_rows=20", "retraining.cooldown_hours=0", "evaluation.baselines=[majority]"]


@pytest.fixture(scope="module", autouse=True)
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with prefect_api(Workspace(tmp_path_factory.mktemp("server")), lambda: None):
        yield
    with warnings.catch_warnings():  # Prefect's clients leave their sockets to the garbage collector
        warnings.simplefilter("ignore")
        gc.collect()


@pytest.fixture(scope="module")
def root(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a champion. The tests change it, in their order."""
    root = write_tiny_project(tmp_path_factory.mktemp("retrain") / "project", tiny_backbone)
    train(load_project(root, CHANGES), CHANGES)
    return root


def add_rows(root: Path, count: int, seed: int) -> None:
    """New sentences of other words than the first ones, labelled as those are."""
    draw, words = random.Random(seed), ["numbers", "and", "like", "42", "film", "a"]
    lines = []
    for number in range(count):
        some = draw.choices(words, k=6)
        some.insert(draw.randrange(7), ("bad", "good")[number % 2])
        lines.append(f"{' '.join(some)},{('neg', 'pos')[number % 2]},mail")
    with (root / "data" / "sentiment.csv").open("a", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def test_without_new_rows_nothing_is_measured_and_nothing_trained(root: Path) -> None:
    result = retrain(load_project(root, CHANGES), CHANGES)
    assert result["record"]["verdict"] == "wait"
    assert result["trained"] is None
    assert result["said"][-1] == "nothing arrived since version 1 learned"
    assert [stage["name"] for stage in result["stages"]] == ["pull", "validate", "look", "decide"]


def test_corrected_labels_are_new_labels_and_no_rows_that_arrived(root: Path) -> None:
    project, file = load_project(root, CHANGES), root / "data" / "sentiment.csv"
    before = file.read_text(encoding="utf-8")
    rows = read_validated(validate(project, Workspace(root)).path, "sentiment", "train")["text"].tolist()
    other = {"pos": "neg", "neg": "pos"}
    lines = [line.split(",") for line in before.splitlines()]
    turned = [
        [text, other.get(label, label), source] if text in rows else [text, label, source]
        for text, label, source in lines
    ]
    file.write_text("\n".join(map(",".join, turned)) + "\n", encoding="utf-8")
    _, found = look_at(project, from_log=False)
    file.write_text(before, encoding="utf-8")
    assert found.facts["new_labels"] == found.relabelled == {"sentiment": len(rows), "entities": 0}
    assert found.arrived == {"sentiment": 0, "entities": 0}
    assert found.performance == {}
    line = f"sentiment: {len(rows)} rows that the champion knows have another label now"
    assert line in said(found)


def test_a_task_that_is_of_another_kind_now_is_not_compared(root: Path) -> None:
    registry = Registry(root, "tiny")
    same, other = load_project(root), load_project(root, ["tasks.sentiment.kind=multilabel"])
    found = [learned(registry, project) for project in (same, other)]
    assert [each and set(each.sample) for each in found] == [{"sentiment", "entities"}, {"entities"}]
    assert found[1] is not None
    assert found[1].answers == {"entities"}


def test_what_the_model_was_asked_is_looked_at_instead_of_the_rows(root: Path) -> None:
    project = load_project(root, [*CHANGES, "serving.log=true"])
    log = RequestLog(root / project.serving.folder)
    answer = {"sentiment": {"label": "pos", "probabilities": {"pos": 1.0}}}
    log.write([{"text": f"my parcel {number} never came"} for number in range(30)], [answer] * 30)
    _, found = look_at(project, from_log=True)
    assert found.arrived == {"sentiment": 30, "entities": 0}
    assert found.drift is not None
    assert found.drift["verdict"] == "moved", found.drift
    assert found.report is not None
    page = (found.report / "drift.html").read_text(encoding="utf-8")
    assert "None was asked for" in page  # who looks decides nothing


def test_texts_that_the_log_redacts_are_no_drift(root: Path) -> None:
    changes = ["serving.folder=blotted", "serving.redact=['re:the|model|line']"]
    project = load_project(root, [*CHANGES, *changes])
    log = RequestLog(root / project.serving.folder, redact=project.serving.redact)
    answer = {"sentiment": {"label": "pos", "probabilities": {"pos": 1.0}}}
    known = (root / "data" / "sentiment.csv").read_text(encoding="utf-8").splitlines()[1:]
    log.write([{"text": line.split(",")[0]} for line in known], [answer] * len(known))
    _, found = look_at(project, from_log=True)
    assert found.arrived == {"sentiment": 60, "entities": 0}
    assert found.drift is not None
    assert found.drift["verdict"] != "moved", found.drift


def test_new_rows_of_another_kind_are_found_decided_about_and_trained_on(root: Path) -> None:
    champion = Registry(root, "tiny").champion()
    assert champion is not None
    add_rows(root, 60, seed=1)
    result = retrain(load_project(root, CHANGES), CHANGES)
    record: dict[str, Any] = result["record"]
    assert record["verdict"] == "retrain"
    assert record["facts"]["drift"]["verdict"] == "moved"
    assert record["facts"]["new_labels"]["sentiment"] > 20
    assert record["facts"]["new_labels"]["entities"] == 0
    assert Path(record["report"]).is_file()
    facts, history = record["facts"], Registry(root, "tiny").artifact(champion, "history.json")
    assert history is not None
    cost = json.loads(history.read_text(encoding="utf-8"))
    rows = sum(facts["learned_from"].values()) + 4 * sum(facts["new_labels"].values())  # as they are drawn
    expected = cost["seconds"] / cost["total_steps"] * 2 * 0.2 * rows / 8
    assert facts["expected_seconds"] == round(expected, 1)
    trained = result["trained"]
    assert trained["version"] == "2"
    assert set(trained["evaluation"]["models"]) == {"majority", "routed", "champion"}
    assert record["outcome"]["version"] == "2"
    assert record["time"] <= record["outcome"]["began"] <= f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}"
    assert records.reproduce(record).same
    registry = Registry(root, "tiny")
    version = registry.version("2")
    assert version.tags["retraining_decision"] == record["id"]
    assert registry.artifact(version, "rows.parquet") is not None


def test_a_version_that_did_not_win_is_not_tried_again_on_the_same_data(root: Path) -> None:
    assert records.read_all(root)[0][0]["outcome"]["verdict"] != "promote", (
        "else there is nothing to see here"
    )
    result = retrain(load_project(root, CHANGES), CHANGES)
    assert (result["record"]["verdict"], result["trained"]) == ("wait", None)
    assert result["record"]["facts"]["tried"]["version"] == "2"
    assert len(result["record"]["facts"]["retrainings"]) == 1


def test_the_same_look_again_is_found_and_a_forced_retraining_makes_no_second_version(root: Path) -> None:
    result = retrain(load_project(root, CHANGES), CHANGES, force=True)
    assert result["record"]["outcome"]["forced"]
    assert result["trained"]["version"] == "2"
    assert len(Registry(root, "tiny").versions()) == 2


def test_any_error_of_a_retraining_is_noted_and_only_a_kill_is_not(root: Path) -> None:
    whole = {path: path.read_bytes() for path in root.glob(".doubleroute/stages/evaluate-*/evaluation.json")}
    for path, content in whole.items():
        path.write_bytes(b"?" * len(content))
    with pytest.raises(json.JSONDecodeError):
        retrain(load_project(root, CHANGES), CHANGES, force=True)
    for path, content in whole.items():
        path.write_bytes(content)
    record = records.read_all(root)[0][0]
    assert record["outcome"]["error"].startswith("JSONDecodeError: ")
    assert not records.is_under_way(record)


def test_a_retraining_that_a_kill_cut_short_goes_on_under_its_decision_until_it_was_killed_too_often(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_rows(root, 30, seed=2)
    looked = watch(str(root), CHANGES)
    assert looked["record"]["verdict"] == "retrain"
    for _ in range(MOST_ATTEMPTS):  # it began, and its process died
        records.begin(root, looked["record"]["id"])
    again = watch(str(root), CHANGES)["record"]
    error = f"began {MOST_ATTEMPTS} times and never ended; `doubleroute retrain --force` tries once more"
    assert (again["id"], again["outcome"]["error"]) == (looked["record"]["id"], error)
    assert f"error: retraining by decision {again['id']}: {error}" in capsys.readouterr().err
    told = watch(str(root), CHANGES)["record"]  # the week's retrainings are used up
    assert (told["id"] != again["id"], told["verdict"], told["outcome"]) == (True, "wait", None)
    for path in (root / "decisions").glob(f"{told['id']}*"):
        path.unlink()
    records.set_outcome(root, again["id"], {})
    result = retrain(load_project(root, CHANGES), CHANGES)
    assert result["record"]["id"] == looked["record"]["id"]
    assert result["record"]["outcome"]["version"] == "3"


def test_a_decision_is_carried_out_once(root: Path) -> None:
    done = records.read_all(root)[0][0]
    assert done["outcome"]["version"] == "3"
    again = retrain_flow(str(root), CHANGES, decision=done["id"])
    assert again["trained"] is None
    assert again["record"] == done


def test_a_decision_whose_process_died_after_its_version_was_decided_about_is_closed(root: Path) -> None:
    done = records.read_all(root)[0][0]
    records.set_outcome(root, done["id"], {})
    again = retrain_flow(str(root), CHANGES, decision=done["id"])
    assert again["trained"] is None
    assert again["record"]["outcome"] == {**done["outcome"], "seconds": None}


def test_a_decision_about_a_champion_that_serves_no_more_is_left_alone(root: Path) -> None:
    made = records.read_all(root)[0][0]
    facts = {**made["facts"], "champion": {**made["facts"]["champion"], "version": "0"}}
    about_another = {**made, "facts": facts, "verdict": "retrain", "outcome": None}
    (root / "decisions" / f"{made['id']}.json").write_text(json.dumps(about_another), encoding="utf-8")
    assert retrain_flow(str(root), CHANGES, decision=made["id"])["trained"] is None


def test_test_rows_that_the_champion_learned_from_are_left_out_and_stay_known(root: Path) -> None:
    others = [*CHANGES, "seed=4"]  # some training rows are test rows now
    trained = retrain(load_project(root, others), others, force=True)["trained"]
    rows = {
        task: {name: about["rows"] - each["rows"] for name, each in about["models"].items()}
        for task, about in trained["evaluation"]["tasks"].items()
    }
    for left_out in rows.values():
        assert 0 == left_out["majority"] < left_out["routed"] == left_out["champion"]
    assert "more that it learned from do not count" in trained["verdicts"][0]
    registry = Registry(root, "tiny")
    remembered = registry.artifact(registry.version(trained["version"]), "rows.parquet")
    assert remembered is not None
    seen = Seen.read(remembered)
    test = read_validated(validate(load_project(root, others), Workspace(root)).path, "sentiment", "test")
    known = seen.was_taught("sentiment", text_keys(test))
    assert known.sum() == rows["sentiment"]["champion"]


def test_a_second_start_says_who_is_at_work(root: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from doubleroute.workspace import Workspace\n"
        "with Workspace(Path(sys.argv[1])).lock('train'): print('held', flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", code, str(root)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(GateError, match=f"process {process.pid} since .*; one at a time"):
            retrain(load_project(root, CHANGES), CHANGES)
        process.communicate("")
