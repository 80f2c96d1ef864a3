"""The promotion gate on answers made for the purpose, scored as evaluation scores them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from doubleroute.config import Project, Promotion
from doubleroute.corrections import holm
from doubleroute.data.batches import Encoded
from doubleroute.data.tokens import Packed
from doubleroute.promotion import Decision, decide
from doubleroute.training.scoring import Truths
from doubleroute.training.task_scores import draws_for, score_task

ROWS = 800
SOURCES = ["mail", "chat", "news", "forum"]


class Case:
    """Two classification tasks with rows from four sources, and what each model gets right of them."""

    def __init__(self, root: Path) -> None:
        generator = np.random.default_rng(1)
        task = {"kind": "classification", "files": {"train": "a.csv"}, "slices": ["source"]}
        about = {
            "name": "case",
            "backbone": {"source": "nowhere"},
            "tasks": {"mood": task, "topic": task},
            "evaluation": {"bootstrap": 100},
        }
        self.project = Project.model_validate_json(json.dumps(about))
        self.right = {}
        self.truths = {}
        for task in self.project.tasks:
            (root / task).mkdir()
            frame = pd.DataFrame(
                {
                    "file": "a.csv",
                    "row": range(1, ROWS + 1),
                    "text": [f"text {number}" for number in range(ROWS)],
                    "label": generator.choice(["no", "yes"], ROWS),
                    "slice_source": [SOURCES[number % 4] if number > 19 else "fax" for number in range(ROWS)],
                    "slice_arrived": ["before" if number % 3 else "since" for number in range(ROWS)],
                }
            )
            frame.to_parquet(root / task / "test.parquet")
            empty = Packed(
                np.empty(0, np.int32), np.zeros(ROWS + 1, np.int64), None, None, np.zeros(ROWS, bool)
            )
            encoded = Encoded(empty, np.zeros(ROWS, np.int64), np.arange(ROWS))
            self.truths[task] = Truths(root, task, "test", encoded, ["no", "yes"])
            self.right[task] = generator.random(ROWS) < 0.8

    def rows(self, task: str, column: str, value: str) -> np.ndarray:
        """Which rows are in a slice: bool [rows]."""
        found: np.ndarray = (self.truths[task].frame[f"slice_{column}"] == value).to_numpy()
        return found

    def decided(
        self,
        ours: dict[str, np.ndarray],
        sure: float | None = None,
        gates: tuple[Any, Any] = (None, None),
        learned: dict[str, np.ndarray] | None = None,
        **promotion: Any,
    ) -> Decision:
        """The decision about a challenger that gets these rows right and is as ``sure`` of every answer; by
        default as sure as it should be. ``gates``: what its router's gate did, and the champion's.
        ``learned``: rows that the champion learned from, all of which it gets right."""
        by_heart = learned or {}
        answers = {
            "routed": {
                task: self._answers(task, right, sure or right.mean()) for task, right in ours.items()
            },
            "champion": {
                task: self._answers(task, right | by_heart.get(task, False), right.mean())
                for task, right in self.right.items()
            },
        }
        draws = draws_for(self.project, self.truths)
        about = {"kind": "classification", "labels": ["no", "yes"]}
        tasks = {
            task: score_task(
                self.project, task, about, truths, answers, draws, by_heart.get(task), ["champion"]
            )
            for task, truths in self.truths.items()
        }
        models = {"routed": {"gate": gates[0]}, "champion": {"gate": gates[1]}}
        evaluation = {"models": models, "tasks": tasks}
        stored = json.loads(json.dumps(evaluation))  # as evaluation.json holds it
        return decide(stored, Promotion(**promotion))

    def _answers(self, task: str, right: np.ndarray, sure: float) -> list[dict[str, Any]]:
        other = {"no": "yes", "yes": "no"}
        found = []
        for truth, hit in zip(self.truths[task].values, right, strict=True):
            label = truth if hit else other[truth]
            found.append({"label": label, "probabilities": {label: sure, other[label]: 1 - sure}})
        return found


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("case"))


def better(case: Case, task: str) -> np.ndarray:
    """The champion's right rows, and a half of its mistakes besides."""
    right = case.right[task].copy()
    right[np.flatnonzero(~right)[::2]] = True
    return right


def churned(case: Case, task: str, seed: int) -> np.ndarray:
    """As many right rows as the champion has, a tenth of them others, in no slice more than elsewhere."""
    generator = np.random.default_rng(seed)
    right = case.right[task].copy()
    hit, missed = np.flatnonzero(right), np.flatnonzero(~right)
    count = len(missed) // 3
    right[generator.choice(hit, count, replace=False)] = False
    right[generator.choice(missed, count, replace=False)] = True
    return right


def test_a_task_that_is_answered_bit_by_bit_as_before_loses_nothing_and_the_same_labels_prove_less(
    case: Case,
) -> None:
    ours = {"mood": better(case, "mood"), "topic": case.right["topic"]}
    assert case.decided(ours, max_loss=0).verdict == "promote"
    unsure = case.decided(ours, sure=0.81, max_loss=0)
    assert unsure.verdict == "cannot tell"
    assert "topic: accuracy" in next(each for each in unsure.reasons if "not ruled out" in each)


def test_a_better_challenger_is_promoted(case: Case) -> None:
    decision = case.decided({task: better(case, task) for task in case.right})
    assert decision.verdict == "promote", decision.reasons
    assert any(
        reason.startswith("12 slices compared: none is certainly worse") for reason in decision.reasons
    )


def test_a_champion_that_learned_from_test_rows_is_compared_on_the_others(case: Case) -> None:
    learned = {"mood": np.arange(ROWS) % 4 > 0}
    decision = case.decided({task: better(case, task) for task in case.right}, learned=learned)
    assert decision.verdict == "promote", decision.reasons
    (reason,) = [reason for reason in decision.reasons if reason.startswith("mood: ")]
    assert "200 rows, without 600 that the champion learned from)" in reason
    mood = decision.numbers["tasks"]["mood"]
    rest = ~learned["mood"]
    assert mood["champion"] == pytest.approx(case.right["mood"][rest].mean())
    assert mood["challenger"] == pytest.approx(better(case, "mood")[rest].mean())
    compared = [each for each in decision.numbers["slices"] if each["task"] == "mood"]
    assert sum(each["rows"] for each in compared if each["column"] == "source") == 200
    assert decision.numbers["calibration"]["mood"]["rows"] == 200


def test_with_few_test_rows_that_the_champion_did_not_learn_from_nobody_can_tell(case: Case) -> None:
    learned = {"mood": np.arange(ROWS) >= 29}
    decision = case.decided({task: np.ones(ROWS, bool) for task in case.right}, learned=learned)
    assert decision.verdict == "cannot tell"
    assert decision.reasons[0] == (
        "mood: accuracy has no difference with an interval on 29 rows, without 771 that the champion learned "
        "from; bring test rows that it did not learn from"
    )
    assert {each["task"] for each in decision.numbers["slices"]} == {"topic"}
    nothing = {task: np.ones(ROWS, bool) for task in case.right}
    assert case.decided(nothing, learned=nothing).verdict == "cannot tell"


def test_an_equal_challenger_cannot_be_told(case: Case) -> None:
    decision = case.decided(dict(case.right))
    assert decision.verdict == "cannot tell"
    assert {entry["p_adjusted"] for entry in decision.numbers["slices"] if entry["compared"]} == {1.0}


@pytest.mark.parametrize("seed", range(5))
def test_a_challenger_with_other_mistakes_but_as_many_cannot_be_told(case: Case, seed: int) -> None:
    decision = case.decided({task: churned(case, task, seed) for task in case.right})
    assert decision.verdict == "cannot tell", decision.reasons
    assert not any(entry["refused"] for entry in decision.numbers["slices"])


def test_one_made_worse_on_one_slice_is_refused_by_its_name_though_it_gains_elsewhere(case: Case) -> None:
    ours = {task: better(case, task) for task in case.right}
    chat = np.flatnonzero(case.rows("mood", "source", "chat") & ours["mood"])
    ours["mood"][chat[:50]] = False
    decision = case.decided(ours)
    assert decision.verdict == "refuse"
    assert decision.numbers["tasks"]["mood"]["value"] > 0, "the whole task gained"
    (reason,) = [reason for reason in decision.reasons if "slice is worse" in reason]
    assert reason.startswith("mood, source=chat: accuracy 0.")
    assert "195 rows, adjusted p" in reason
    assert "by more than slice_margin 0.02" in reason
    (refused,) = [entry for entry in decision.numbers["slices"] if entry["refused"]]
    assert (refused["task"], refused["column"], refused["value"]) == ("mood", "source", "chat")
    assert refused["high"] < 0
    assert refused["p"] <= refused["p_adjusted"] <= 0.05


def test_a_slice_that_the_rows_bring_along_is_compared_too(case: Case) -> None:
    ours = {task: better(case, task) for task in case.right}
    since = np.flatnonzero(case.rows("topic", "arrived", "since") & ours["topic"])
    ours["topic"][since[:60]] = False
    decision = case.decided(ours)
    assert decision.verdict == "refuse"
    assert any(reason.startswith("topic, arrived=since: ") for reason in decision.reasons)


def test_a_certain_loss_within_slice_margin_does_not_refuse(case: Case) -> None:
    ours = {task: better(case, task) for task in case.right}
    chat = np.flatnonzero(case.rows("mood", "source", "chat") & ours["mood"])
    ours["mood"][chat[:50]] = False
    decision = case.decided(ours, slice_margin=0.5)
    assert decision.verdict == "promote"
    assert any(
        "largest loss: mood, source=chat" in reason and "certain" in reason for reason in decision.reasons
    )


def test_small_slices_are_listed_and_not_compared(case: Case) -> None:
    ours = {task: better(case, task) for task in case.right}
    ours["mood"] &= ~case.rows("mood", "source", "fax")
    decision = case.decided(ours)
    assert decision.verdict == "promote"
    told = "not compared, with fewer than slice_rows 30 rows or no score: mood, source=fax (20 rows)"
    assert any(reason.startswith(told) for reason in decision.reasons)
    assert case.decided(ours, slice_rows=5).verdict == "refuse"


def test_a_task_may_have_a_margin_of_its_own(case: Case) -> None:
    ours = {"mood": better(case, "mood"), "topic": case.right["topic"].copy()}
    lost = np.flatnonzero(ours["topic"])[::60]
    ours["topic"][lost] = False
    assert case.decided(ours, max_loss=0.005).verdict == "refuse"
    decision = case.decided(ours, max_loss=0.005, margins={"topic": 0.05})
    assert decision.verdict == "promote"
    assert any("loses no more than its margin 0.05" in reason for reason in decision.reasons)
    assert decision.numbers["tasks"]["topic"]["margin"] == 0.05


def test_a_calibration_error_that_grew_refuses(case: Case) -> None:
    decision = case.decided(dict(case.right), sure=0.999)
    assert decision.verdict == "refuse"
    assert any("the calibration error grew" in reason for reason in decision.reasons)
    assert decision.numbers["calibration"]["mood"]["refused"]
    assert case.decided(dict(case.right), sure=0.999, max_calibration_loss=0.3).verdict == "cannot tell"


def test_a_calibration_error_that_grew_by_less_than_the_metric_gained_does_not_refuse(case: Case) -> None:
    decision = case.decided({task: np.ones_like(right) for task, right in case.right.items()}, sure=0.85)
    grown = decision.numbers["calibration"]["mood"]
    assert grown["difference"] < -0.05
    assert not grown["refused"]
    assert decision.verdict == "promote"


def test_of_many_slices_that_are_no_worse_hardly_one_challenger_in_twenty_is_refused() -> None:
    from doubleroute.training.comparison import mcnemar

    generator, refused = np.random.default_rng(5), 0
    for _ in range(400):
        lost = generator.binomial(12, 0.5, 40)
        refused += min(holm([mcnemar(int(each), 12 - int(each)) for each in lost])) <= 0.05
    assert refused <= 0.05 * 400 + 2 * 4.4


def health(experts: int, dead: list[int]) -> dict[str, Any]:
    loads = [0.0 if expert in dead else 1 / (experts - len(dead)) for expert in range(experts)]
    return {
        "experts": experts,
        "dead": dead,
        "tasks": {"mood": {"tokens": 9, "load": loads, "entropy": 0.5}},
    }


def test_a_better_challenger_whose_router_has_collapsed_is_refused(case: Case) -> None:
    decision = case.decided(
        {task: better(case, task) for task in case.right}, gates=(health(4, [0, 1, 3]), health(4, []))
    )
    assert decision.verdict == "refuse"
    assert decision.reasons[-1] == (
        "3 of the router's 4 experts are dead, 0 of 4 of the champion's: more than max_dead_experts 0.5"
    )
    assert decision.numbers["router"]["challenger"]["dead"] == [0, 1, 3]


def test_a_router_that_works_stands_in_nobodys_way(case: Case) -> None:
    gates = (health(4, [2]), health(4, []))
    ours = {task: better(case, task) for task in case.right}
    assert case.decided(ours, gates=gates).verdict == "promote"
    assert case.decided(ours, gates=gates, max_dead_experts=0.0).verdict == "refuse"
