"""The evaluation of a fitted model beside the majority answer and a champion, on a tiny project."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import write_questions, write_tiny_project
from test_fit import Run

from doubleroute.config import Project, load_project
from doubleroute.data.arrivals import ROWS, remember
from doubleroute.integrations.validation import validate
from doubleroute.promotion import decide
from doubleroute.reports.tables import verdicts
from doubleroute.training.encode import ANSWERS, encode, load_split
from doubleroute.training.evaluate import Champion, evaluate, read_evaluation
from doubleroute.training.ladder import fit, store
from doubleroute.training.plan import Plan, Start
from doubleroute.training.router_study import study_router
from doubleroute.training.scoring import Truths, keep_answers
from doubleroute.training.task_scores import score_task
from doubleroute.workspace import Workspace

ABOUT = {"router": None, "steps": 0, "parameters": 0, "trained_parameters": 0, "seconds": 0.0}
#: Test rows that the champion has not seen.
NEW_ROWS = 5
#: Test rows that the champion learned from.
LEARNED_ROWS = 2
SETTINGS = ("training.epochs=1", "evaluation.baselines=[majority]")


@pytest.fixture(scope="module")
def folder(tiny_backbone: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The evaluate stage of a routed model after one epoch; the champion is ``tiny_model``, which never
    learned anything and answers two more tasks."""
    root = write_tiny_project(tmp_path_factory.mktemp("evaluate") / "project", tiny_backbone, rows=240)
    project, workspace = load_project(root, SETTINGS), Workspace(root)
    validated = validate(project, workspace)
    encoded = encode(project, workspace, validated)
    stored = store(project, workspace, encoded, lambda *_: None)
    fits = fit(project, workspace, validated, encoded, stored, lambda *_: None)
    known = pd.read_parquet(remember(project, workspace, validated).path / ROWS)
    tests = known.index[(known["task"] == "sentiment") & (known["split"] == "test")]
    known.loc[tests[-LEARNED_ROWS:], "split"] = "train"
    known.drop(tests[:NEW_ROWS]).to_parquet(root / ROWS)
    champion = Champion(tiny_model, "0123", ABOUT, root / ROWS)
    return evaluate(project, workspace, validated, encoded, dict(fits), champion).path


@pytest.fixture(scope="module")
def evaluation(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    return found


def test_test_rows_that_the_champion_has_not_seen_or_has_learned_from_are_slices(
    evaluation: dict[str, Any],
) -> None:
    sentiment, entities = (evaluation["tasks"][task] for task in ("sentiment", "entities"))
    found = {name: each["rows"] for name, each in sentiment["models"]["routed"]["slices"]["arrived"].items()}
    before = sentiment["rows"] - NEW_ROWS - LEARNED_ROWS
    assert found == {"before": before, "since": NEW_ROWS, "learned": LEARNED_ROWS}
    assert "arrived" not in entities["models"]["routed"]["slices"]


def test_the_champion_is_scored_and_compared_on_rows_that_it_did_not_learn_from(
    evaluation: dict[str, Any],
) -> None:
    sentiment, entities = (evaluation["tasks"][task] for task in ("sentiment", "entities"))
    rows = sentiment["rows"] - LEARNED_ROWS
    assert {name: each["rows"] for name, each in sentiment["models"].items()} == {
        "majority": sentiment["rows"],
        "routed": sentiment["rows"],
        "champion": rows,
    }
    assert {each["against"]: each["rows"] for each in sentiment["differences"]} == {
        "majority": sentiment["rows"],
        "champion": rows,
    }
    assert {each["rows"] for each in entities["models"].values()} == {entities["rows"]}
    arrived = {
        each["value"]: each["rows"]
        for each in sentiment["against_champion"]["slices"]
        if each["column"] == "arrived"
    }
    assert arrived == {"before": rows - NEW_ROWS, "since": NEW_ROWS}
    assert sentiment["against_champion"]["calibration"]["rows"] == rows


def sentiment(folder: Path, evaluation: dict[str, Any]) -> tuple[Project, dict[str, Any], Truths]:
    """The project of an evaluation, what this says of the task sentiment, and the labels of its test rows."""
    project, task = load_project(folder.parents[2], SETTINGS), evaluation["tasks"]["sentiment"]
    workspace = Workspace(project.root)
    validated = validate(project, workspace)
    encoded = load_split(encode(project, workspace, validated).path, "test")["sentiment"]
    return project, task, Truths(validated.path, "sentiment", "test", encoded, task["labels"])


def test_a_model_that_began_with_the_champions_weights_is_not_scored_on_what_these_learned_from(
    folder: Path, evaluation: dict[str, Any]
) -> None:
    project, task, truths = sentiment(folder, evaluation)
    given = {
        name: {"sentiment": [each["answer"] for each in answers(folder, name, "sentiment")]}
        for name in task["models"]
    }
    kept = task["rows"] - LEARNED_ROWS
    learned, taught = np.arange(task["rows"]) >= kept, ["champion", "routed"]
    found = score_task(project, "sentiment", task, truths, given, learned=learned, taught=taught)
    rows = {name: each["rows"] for name, each in found["models"].items()}
    assert rows == {"majority": task["rows"], "routed": kept, "champion": kept}
    assert {each["rows"] for each in found["differences"]} == {kept}
    assert (
        f"on {kept} test rows ({LEARNED_ROWS} more that it learned from do not count)"
        in (verdicts({**evaluation, "tasks": {"sentiment": found}})[0])
    )


def test_answers_that_differ_in_their_last_bits_are_those_of_one_function(
    folder: Path, evaluation: dict[str, Any]
) -> None:
    project, task, truths = sentiment(folder, evaluation)
    routed = [each["answer"] for each in answers(folder, "routed", "sentiment")]

    def ends(by: float) -> list[tuple[float, float]]:
        other = [
            {**each, "probabilities": {name: p + by for name, p in each["probabilities"].items()}}
            for each in routed
        ]
        given = {"routed": {"sentiment": routed}, "champion": {"sentiment": other}}
        found = score_task(project, "sentiment", task, truths, given)["differences"]
        return [(each["low"], each["high"]) for each in found]

    assert ends(1e-7) == [(0, 0)]
    ((low, high),) = ends(1e-3)
    assert low < 0 < high


@pytest.mark.costly
def test_neither_side_is_scored_on_what_the_start_of_a_retraining_learned_before_another_was_champion(
    folder: Path, tiny_model: Path, tmp_path: Path
) -> None:
    root = folder.parents[2]
    project, workspace = load_project(root, SETTINGS), Workspace(root)
    validated = validate(project, workspace)
    encoded = encode(project, workspace, validated)
    given = (project, workspace, validated, encoded)
    stored = store(project, workspace, encoded, lambda *_: None)
    cold = fit(*given, stored, lambda *_: None)["routed"]
    plan = Plan(Start(cold.path / "model", cold.digest))
    stored = store(project, workspace, encoded, lambda *_: None, plan, ["routed"])
    warm = fit(*given, stored, lambda *_: None, plan, ["routed"])
    known = pd.read_parquet(remember(project, workspace, validated).path / ROWS)
    tests = known.index[(known["task"] == "sentiment") & (known["split"] == "test")]
    known.loc[tests[:3], "split"] = "train"
    known.to_parquet(tmp_path / ROWS)
    champion = Champion(tiny_model, "0123", ABOUT, root / ROWS)
    found = read_evaluation(evaluate(*given, dict(warm), champion, tmp_path / ROWS))["tasks"]["sentiment"]
    kept = len(tests) - 3 - LEARNED_ROWS
    rows = {name: each["rows"] for name, each in found["models"].items()}
    assert rows == {"majority": len(tests), "routed": kept, "champion": kept}


def answers(folder: Path, model: str, task: str) -> list[dict[str, Any]]:
    text = (folder / "answers" / model / f"{task}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_every_answer_stands_beside_the_label_of_its_own_row(folder: Path) -> None:
    data = folder.parents[2] / "data"
    with (data / "sentiment.csv").open(encoding="utf-8", newline="") as file:
        labels = [row["label"] for row in csv.DictReader(file)]
    lines = (data / "entities.jsonl").read_text(encoding="utf-8").splitlines()
    tags = [json.loads(line)["tags"] for line in lines]
    for model in ("majority", "routed", "champion"):
        for task, truths in (("sentiment", labels), ("entities", tags)):
            found = answers(folder, model, task)
            assert found
            assert all(truths[each["row"] - 1] == each["truth"] for each in found)


def test_scores_are_those_of_the_answers(folder: Path, evaluation: dict[str, Any]) -> None:
    task = evaluation["tasks"]["sentiment"]
    assert list(task["models"]) == ["majority", "routed", "champion"]
    for model, about in task["models"].items():
        found = answers(folder, model, "sentiment")[: about["rows"]]  # the last ones were learned from
        right = sum(each["truth"] == each["answer"]["label"] for each in found)
        score = about["scores"]["accuracy"]
        assert score["value"] == pytest.approx(right / len(found))
        assert score["low"] <= score["value"] <= score["high"]
        assert sum(each["rows"] for each in about["slices"]["source"].values()) == len(found)


def test_a_difference_is_that_of_the_two_scores(evaluation: dict[str, Any]) -> None:
    for task in evaluation["tasks"].values():
        against = {each["against"]: each for each in task["differences"]}
        assert set(against) == {"majority", "champion"}
        for name, each in against.items():
            ours, theirs = each["scores"]
            assert each["value"] == pytest.approx(ours - theirs)
            assert theirs == task["models"][name]["scores"][task["metric"]]["value"]


def test_a_champion_that_answers_tasks_which_the_project_dropped_is_not_replaced(
    folder: Path, evaluation: dict[str, Any]
) -> None:
    assert evaluation["models"]["champion"]["tasks"] == ["sentiment", "topics", "stars", "entities"]
    decision = decide(evaluation, load_project(folder.parents[2], SETTINGS).promotion)
    assert decision.verdict == "refuse"
    assert any(reason.startswith("topics: the champion answers this task") for reason in decision.reasons)


def test_the_worst_errors_come_first_and_name_their_row(evaluation: dict[str, Any]) -> None:
    errors = evaluation["tasks"]["sentiment"]["errors"]
    assert len(errors) > 1
    assert all(each["truth"] != each["answer"] for each in errors)
    sure = [each["confidence"] for each in errors]
    assert sure == sorted(sure, reverse=True)
    assert all(each["file"] == "data/sentiment.csv" and each["row"] >= 1 for each in errors)


def test_the_tokens_of_every_split_are_counted(evaluation: dict[str, Any]) -> None:
    assert set(evaluation["tokens"]["sentiment"]) == {"train", "validation", "test"}
    assert evaluation["tokens"]["sentiment"]["test"]["rows"] == evaluation["tasks"]["sentiment"]["rows"]


def test_routed_and_champion_are_compared_by_slice_and_calibration_on_the_same_rows(
    evaluation: dict[str, Any],
) -> None:
    task = evaluation["tasks"]["sentiment"]
    against, rows = task["against_champion"], task["models"]["champion"]["rows"]
    assert sum(each["rows"] for each in against["slices"] if each["column"] == "source") == rows
    for each in against["slices"]:
        theirs = task["models"]["champion"]["slices"][each["column"]][each["value"]]
        assert each["champion"] == theirs["value"]
        assert each["difference"] == pytest.approx(each["challenger"] - each["champion"])
        assert 0 <= each["p"] <= 1
    calibration = against["calibration"]
    assert calibration["champion"] == task["models"]["champion"]["scores"]["ece"]["value"]
    assert calibration["difference"] == pytest.approx(calibration["champion"] - calibration["challenger"])
    assert evaluation["tasks"]["entities"]["against_champion"]["calibration"] is None


def test_what_answering_costs_and_which_rows_were_held_out_is_written_down(
    folder: Path, evaluation: dict[str, Any]
) -> None:
    costs = evaluation["costs"]["models"]
    assert set(costs) == {"routed", "champion"}
    assert all(each["seconds"] > 0 and each["bytes"] > 1000 for each in costs.values())
    for task, held_out in evaluation["held_out"].items():
        assert held_out["rows"] == len(answers(folder, "routed", task))
    digests = {each["digest"] for each in evaluation["held_out"].values()}
    assert len(digests) == 2
    decision = decide(evaluation, load_project(folder.parents[2], SETTINGS).promotion)
    assert decision.numbers["held_out"] == evaluation["held_out"]
    assert decision.numbers["costs"]["size_ratio"] > 0


def test_the_router_is_scored_with_other_gates_on_the_same_rows(evaluation: dict[str, Any]) -> None:
    assert set(evaluation["router"]) == {"sentiment", "entities"}
    for task, entries in evaluation["router"].items():
        about = evaluation["tasks"][task]
        assert [each["gate"] for each in entries] == ["uniform", "shuffled", "task", "token"]
        learned = about["models"]["routed"]["scores"][about["metric"]]["value"]
        for each in entries:
            assert each["metric"] == about["metric"]
            assert each["value"] == pytest.approx(learned - each["score"])
            assert each["low"] <= each["value"] <= each["high"]
    gate = evaluation["models"]["routed"]["gate"]
    assert 0 <= gate["information"] <= 1
    assert gate["similarity"]["sentiment"]["sentiment"] == pytest.approx(1)


def test_queries_and_stored_answers_go_through_the_same_gate(tiny_project: Path) -> None:
    run = Run(tiny_project, write_questions(tiny_project))
    model, answers = run.learner().model.eval(), load_split(run.encoded.path, ANSWERS)
    with torch.no_grad():
        for parameter in model.router.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(2))
    keep_answers(model, answers, 0)
    rows = {"help": load_split(run.encoded.path, "test")["help"]}
    labels = model.config.tasks["help"]["labels"]
    truths = {"help": Truths(run.validated.path, "help", "test", rows["help"], labels)}
    found = study_router(run.project, model, 0, rows, truths, answers)
    assert found is not None
    scores = {each["gate"]: each["score"] for each in found["help"]}
    assert scores.pop("shuffled") < 1  # another gate for the answer than for the query of the same text
    assert scores == {"uniform": 1.0, "task": 1.0, "token": 1.0}


def test_a_few_test_rows_show_their_tokens_by_expert(folder: Path, evaluation: dict[str, Any]) -> None:
    assert evaluation["models"]["routed"]["layers"] is None
    data = folder.parents[2] / "data" / "sentiment.csv"
    texts = data.read_text(encoding="utf-8").splitlines()[1:]
    for task, ways in evaluation["ways"].items():
        assert len(ways) == 3, task
        for way in ways:
            assert way["experts"] == ["1", "2"]
            assert len(way["tokens"]) == len(way["weights"])
            assert all(sum(weights) == pytest.approx(1, abs=1e-3) for weights in way["weights"])
    for way in evaluation["ways"]["sentiment"]:
        assert " ".join(way["tokens"][1:-1]) == texts[way["row"] - 1].split(",")[0]
