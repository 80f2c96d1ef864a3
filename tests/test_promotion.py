"""The promotion rule, case by case."""

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubleroute.config import Promotion
from doubleroute.promotion import decide


def task(
    value: float | None,
    low: float | None,
    high: float | None,
    models: tuple[str, ...] = ("routed", "champion"),
    metric: str = "accuracy",
) -> dict[str, Any]:
    """One task of an evaluation with a routed-against-champion difference (none without a champion)."""
    other = {"model": "routed", "against": "plain", "metric": metric, "value": 9.0, "low": 9.0, "high": 9.0}
    unused = {"model": "routed", "against": "champion", "metric": "mcc", "value": -9, "low": -9, "high": -9}
    found = {"model": "routed", "against": "champion", "metric": metric}
    found |= {"scores": [0.8, 0.8], "value": value, "low": low, "high": high}
    return {
        "kind": "classification",
        "metric": metric,
        "higher_is_better": metric != "mae",
        "rows": 200,
        "models": {name: {"scores": {metric: {"value": 0.8}}} for name in models},
        "differences": [other, unused, *([found] if {"routed", "champion"} <= set(models) else [])],
    }


def evaluation(champion: dict[str, Any] | None = None, **tasks: dict[str, Any]) -> dict[str, Any]:
    """An evaluation of a routed model and a champion."""
    return {"models": {"routed": {"digest": "aa"}, "champion": champion or {"digest": "bb"}}, "tasks": tasks}


RULE = Promotion(max_loss=0.01, min_gain=0.0)


def test_without_a_champion_the_challenger_is_promoted() -> None:
    lonely = {"models": {"routed": {}}, "tasks": {"a": task(None, None, None, models=("routed",))}}
    decision = decide(lonely, RULE)
    assert decision.promoted
    assert decision.reasons == ("there is no champion yet",)


def test_equal_answers_and_one_task_more_are_promoted_and_without_it_they_are_not() -> None:
    more = evaluation(a=task(0.0, 0.0, 0.0), tone=task(None, None, None, models=("routed",)))
    decision = decide(more, RULE)
    assert decision.promoted
    assert decision.reasons[-1] == (
        "mean gain over 1 task +0.0000: nothing is lost, and the champion does not answer tone"
    )
    assert decide(evaluation(a=task(0.0, 0.0, 0.0)), RULE).verdict == "cannot tell"
    more["tasks"]["a"] = task(-0.001, -0.002, 0.0)
    assert decide(more, RULE).verdict == "cannot tell"


GATE = {"gate": {"experts": 4, "dead": [2, 3], "tasks": {}}}


def gained(*, champion: bool = False, **tasks: tuple[float | None, float | None]) -> dict[str, Any]:
    """An evaluation whose gate gains so much over equal weights, with the lower end of its interval."""
    found = evaluation(**{name: task(0.02, 0.01, 0.04) for name in tasks})
    found["models"] = {"routed": {"digest": "aa", **GATE}} | (
        {"champion": {"digest": "bb"}} if champion else {}
    )
    found["router"] = {
        name: [{"gate": "uniform", "value": value, "low": low, "high": value}, {"gate": "shuffled"}]
        for name, (value, low) in tasks.items()
    }
    return found


def checked(**checks: float) -> Promotion:
    return Promotion.model_validate({"max_dead_experts": 1.0, "router_checks": checks})


@pytest.mark.parametrize("champion", [False, True])
@pytest.mark.parametrize(
    ("tasks", "checks", "promoted"),
    [
        ({"a": (-0.01, -0.02)}, {}, True),  # told, and nothing follows
        ({"a": (0.03, 0.01), "b": (-0.2, -0.3)}, {"min_gain": 0.02}, True),  # one task is enough
        ({"a": (0.03, -0.01)}, {"min_gain": 0.02}, False),  # not certain
        ({"a": (0.01, 0.005)}, {"min_gain": 0.02}, False),  # certain, and too little
        ({"a": (0.0, 0.0)}, {"min_gain": 0.0}, False),  # one expert: equal weights are its gate
        ({"a": (None, None)}, {"min_gain": 0.0}, False),
        ({"a": (0.03, 0.01)}, {"max_dead": 0.5}, True),
        ({"a": (0.03, 0.01)}, {"max_dead": 0.25}, False),
    ],
)
def test_a_router_that_does_not_show_what_the_project_asks_is_refused_also_without_a_champion(
    champion: bool, tasks: dict[str, Any], checks: dict[str, float], promoted: bool
) -> None:
    decision = decide(gained(champion=champion, **tasks), checked(**checks))
    assert decision.verdict == ("promote" if promoted else "refuse")
    assert json.loads(json.dumps(decision.as_dict())) == decision.as_dict()


def test_a_check_says_what_was_measured_and_what_was_asked() -> None:
    decision = decide(gained(a=(0.03, -0.01)), checked(min_gain=0.02, max_dead=0.25))
    assert decision.reasons == (
        "there is no champion yet",
        "the router's gate gains over equal weights: a +0.0300 (-0.0100 to +0.0300): router_checks.min_gain "
        "0.02 is certainly reached in no task",
        "2 of the router's 4 experts are dead: more than router_checks.max_dead 0.25",
    )


def test_a_gain_that_loses_nothing_is_promoted_and_says_its_numbers() -> None:
    decision = decide(evaluation(a=task(0.02, -0.005, 0.04)), RULE)
    assert decision.verdict == "promote"
    assert "difference +0.0200 (95% interval -0.0050 to +0.0400, 200 rows)" in decision.reasons[0]
    assert decision.numbers["mean_gain"] == pytest.approx(0.02)
    assert json.loads(json.dumps(decision.as_dict())) == decision.as_dict()


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [
        ((0.02, -0.0100, 0.05), "promote"),  # the margin itself is still allowed
        ((0.02, -0.0101, 0.05), "cannot tell"),
        ((-0.02, -0.05, 0.01), "cannot tell"),
        ((-0.02, -0.05, 0.00), "cannot tell"),  # the interval still reaches zero
        ((-0.02, -0.05, -0.001), "refuse"),
        ((-0.008, -0.02, -0.001), "refuse"),  # within max_loss, but its gain is certainly below zero
        ((-0.05, -0.08, -0.02), "refuse"),
        ((-0.001, -0.005, 0.004), "cannot tell"),  # harmless, but no gain
        ((0.0, 0.0, 0.0), "cannot tell"),  # equal answers: the champion stays
        ((None, None, None), "cannot tell"),
        ((float("nan"), -0.1, 0.1), "cannot tell"),
    ],
)
def test_one_task_decides_by_its_interval(difference: tuple[Any, ...], verdict: str) -> None:
    assert decide(evaluation(a=task(*difference)), RULE).verdict == verdict


def test_a_task_that_is_certainly_worse_refuses_whatever_the_others_gain() -> None:
    decision = decide(evaluation(a=task(0.3, 0.2, 0.4), b=task(-0.05, -0.08, -0.02)), RULE)
    assert decision.verdict == "refuse"
    assert any(reason.startswith("b:") and "is worse" in reason for reason in decision.reasons)


def test_a_mean_gain_below_min_gain_keeps_the_champion() -> None:
    rule = Promotion(max_loss=0.01, min_gain=0.03)
    assert decide(evaluation(a=task(0.02, 0.0, 0.04)), rule).verdict == "cannot tell"
    assert decide(evaluation(a=task(0.02, 0.0, 0.029)), rule).verdict == "refuse"
    both = evaluation(a=task(0.05, 0.0, 0.1), b=task(0.01, 0.0, 0.04))
    assert decide(both, rule).verdict == "promote"


def test_an_error_in_the_labels_unit_counts_as_a_share_in_the_mean() -> None:
    risk = task(2.0, 1.0, 3.0, metric="mae")
    risk["differences"][-1]["scores"] = [10.0, 12.0]
    mood = task(-0.3, -0.5, 0.0, metric="macro_f1")
    mean = decide(evaluation(risk=risk, mood=mood), RULE).numbers["mean_gain"]
    assert mean == pytest.approx((2 / 11 - 0.3) / 2)
    back = task(-2.0, -3.0, -1.0, metric="mae")
    back["differences"][-1]["scores"] = [12.0, 10.0]
    other_way = decide(evaluation(risk=back, mood=task(0.3, 0.0, 0.5, metric="macro_f1")), RULE)
    assert other_way.numbers["mean_gain"] == pytest.approx(-mean), "no two models replace each other in turns"


def test_the_same_weights_keep_the_champion() -> None:
    for rule in (RULE, Promotion(max_loss=0.01, min_gain=0.03)):
        decision = decide(evaluation({"digest": "aa"}, a=task(0.0, 0.0, 0.0)), rule)
        assert decision.verdict == "cannot tell"
        assert "same weights" in decision.reasons[0]


def test_a_task_that_the_challenger_lost_refuses() -> None:
    gone = evaluation(a=task(0.1, 0.05, 0.2), b=task(None, None, None, models=("champion",)))
    no_longer_in_project = evaluation({"tasks": ["a", "b"]}, a=task(0.1, 0.05, 0.2))
    for case in (gone, no_longer_in_project):
        decision = decide(case, RULE)
        assert decision.verdict == "refuse"
        assert "promotion.model_name" in decision.reasons[0]


def test_a_task_that_the_champion_does_not_answer_is_not_compared() -> None:
    new = evaluation(a=task(0.1, 0.05, 0.2), b=task(None, None, None, models=("routed",)))
    decision = decide(new, RULE)
    assert decision.verdict == "promote"
    assert "b: the champion does not answer this task; not compared" in decision.reasons
    assert list(decision.numbers["tasks"]) == ["a"]


def test_without_one_common_task_it_cannot_tell() -> None:
    decision = decide(evaluation({"tasks": []}, a=task(None, None, None, models=("routed",))), RULE)
    assert decision.verdict == "cannot tell"


def costs(slower: float, fastest: float, larger: float) -> dict[str, Any]:
    theirs = {"seconds": 0.2, "rounds": [0.1, 0.2, 0.3], "bytes": 1_000_000}
    ours = {"seconds": 0.2 * slower, "rounds": [0.1 * fastest, 0.9], "bytes": int(1_000_000 * larger)}
    return {"texts": 64, "threads": 1, "models": {"routed": ours, "champion": theirs}}


@pytest.mark.parametrize(
    ("found", "verdict", "said"),
    [
        (costs(1.45, 1.45, 2.0), "promote", "1.45 times as long (fastest rounds: 1.45): within"),
        (costs(1.6, 1.6, 1.0), "refuse", "1.60 times as long (fastest rounds: 1.60): more than"),
        (costs(1.6, 1.1, 1.0), "promote", "1.60 times as long (fastest rounds: 1.10): within"),
        (costs(1.0, 1.0, 2.1), "refuse", "2.10 times as many: more than max_size_ratio 2"),
    ],
)
def test_time_and_size_have_their_limits(found: dict[str, Any], verdict: str, said: str) -> None:
    decision = decide(evaluation(a=task(0.02, -0.005, 0.04)) | {"costs": found}, RULE)
    assert decision.verdict == verdict
    assert any(said in reason for reason in decision.reasons)
    assert decision.numbers["costs"]["latency_ratio"] == pytest.approx(
        found["models"]["routed"]["seconds"] / 0.2
    )


numbers = st.floats(-1, 1)


@given(st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=4), st.floats(0, 1))
def test_two_models_never_replace_each_other(
    differences: list[tuple[float, float, float]], max_loss: float
) -> None:
    ordered = [sorted(each) for each in differences]
    there = {f"t{i}": task(value, low, high) for i, (low, value, high) in enumerate(ordered)}
    back = {f"t{i}": task(-value, -high, -low) for i, (low, value, high) in enumerate(ordered)}
    rule = Promotion(max_loss=max_loss, min_gain=0.0)
    assert not (decide(evaluation(**there), rule).promoted and decide(evaluation(**back), rule).promoted)


def test_the_rule_works_without_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; import doubleroute.promotion"
    subprocess.run([sys.executable, "-c", code], check=True)
