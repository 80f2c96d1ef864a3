"""When the policy retrains, waits or asks, with every reason and its numbers."""

import json
from typing import Any

import pytest

from doubleroute.config import Retraining, Training
from doubleroute.drift.expected import expected_seconds
from doubleroute.drift.policy import decide

POLICY = Retraining()
MOVED = {
    "verdict": "moved",
    "moved": ["inputs"],
    "tests": [
        {"scope": "inputs", "what": "embeddings", "p_adjusted": 0.01, "effect": 0.2},
        {"scope": "inputs", "what": "length", "p_adjusted": 0.6, "effect": 0.0},
    ],
}
STILL = {"verdict": "not seen", "moved": [], "tests": []}


def fall(value: float, low: float, high: float, rows: int = 400) -> dict[str, Any]:
    """Performance of one task whose metric fell like this."""
    return {
        "metric": "accuracy",
        "higher_is_better": True,
        "current": {"rows": rows},
        "fall": {"value": value, "low": low, "high": high},
    }


def facts(**changes: Any) -> dict[str, Any]:
    """A quiet day: a champion of ten days, nothing moved, nothing fell, a few new labels."""
    return {
        "now": "2026-03-10T02:00:00",
        "champion": {"version": "4", "registered": "2026-02-28T02:00:00", "age_days": 10.0},
        "drift": STILL,
        "performance": {"mood": fall(0.0, -0.02, 0.015)},
        "new_labels": {"mood": 50},
        "learned_from": {"mood": 1000},
        "retrainings": ["2026-02-28T02:00:00"],
        "expected_seconds": 60.0,
        **changes,
    }


def reason(decision: Any, words: str) -> str:
    """The one reason that holds these words."""
    found = [each for each in decision.reasons if words in each]
    assert len(found) == 1, decision.reasons
    return str(found[0])


def test_on_a_quiet_day_it_waits_and_says_what_it_looked_at() -> None:
    decision = decide(facts(), POLICY)

    assert decision.verdict == "wait"
    assert reason(decision, "nothing speaks for")
    assert reason(decision, "no drift was seen")
    assert "50 new labelled training rows, 5.0% of 1000" in reason(decision, "fewer than new_labels")
    assert decision.numbers["new_share"] == {"mood": 0.05}


@pytest.mark.parametrize(
    ("changes", "policy", "words"),
    [
        ({"champion": None}, POLICY, "there is no champion yet"),
        (
            {"performance": {}, "drift": MOVED},
            POLICY,
            "moved: inputs (inputs by embeddings, corrected p 0.01)",
        ),
        (
            {"performance": {"mood": fall(0.06, 0.03, 0.09)}},
            POLICY,
            "by +0.0600 (95% interval +0.0300 to +0.0900, 400 rows): for certain more than max_fall 0.02",
        ),
        (
            {"new_labels": {"mood": 700}},
            Retraining(new_labels=0.7),
            "700 new labelled training rows, 70.0% of 1000 learned from: at least new_labels 0.7",
        ),
        ({}, Retraining(max_age_days=7.0), "10.0 days old, more than max_age_days 7"),
    ],
)
def test_each_reason_alone_is_enough_to_retrain(
    changes: dict[str, Any], policy: Retraining, words: str
) -> None:
    decision = decide(facts(**changes), policy)

    assert decision.verdict == "retrain"
    assert reason(decision, words)


def test_a_fall_counts_by_the_lower_end_of_its_interval() -> None:
    uncertain = decide(facts(performance={"mood": fall(0.08, 0.02, 0.14)}), POLICY)
    certain = decide(facts(performance={"mood": fall(0.08, 0.0201, 0.14)}), POLICY)

    assert (uncertain.verdict, certain.verdict) == ("wait", "retrain")
    assert reason(uncertain, "cannot tell whether by more than max_fall 0.02")


def test_a_task_may_fall_by_its_own_measure() -> None:
    price = {**fall(3.0, 1.0, 4.5), "metric": "mae", "higher_is_better": False}
    changes = {"performance": {"price": price, "mood": fall(0.0, -0.02, 0.015)}, "drift": MOVED}

    own, another = (decide(facts(**changes), Retraining(max_falls={"price": most})) for most in (5, 0.5))

    assert (own.verdict, another.verdict) == ("wait", "retrain")
    assert "no task fell by more than max_fall 0.02 or its own" in reason(own, "moved: inputs")
    assert reason(own, "for certain at most its max_fall 5")
    assert "for certain more than its max_fall 0.5" in reason(another, "price: mae")


def test_the_tasks_that_speak_for_a_retraining_are_among_its_numbers() -> None:
    fell = {"mood": fall(0.06, 0.03, 0.09), "names": fall(0.0, -0.1, 0.1)}
    moved = {**MOVED, "moved": ["topics"]}
    labels = {"new_labels": {"mood": 20, "parts": 90}, "learned_from": {"mood": 1000, "parts": 100}}

    each = decide(facts(performance=fell, drift=moved, **labels), POLICY)
    inputs = decide(facts(performance=fell, drift={**MOVED, "moved": ["inputs", "topics"]}), POLICY)

    assert each.numbers["tasks"] == ["mood", "topics", "parts"]
    assert inputs.numbers["tasks"] is None
    assert decide(facts(performance=fell), Retraining(max_age_days=7.0)).numbers["tasks"] is None
    assert decide(facts(), POLICY).numbers["tasks"] == []


def test_a_task_that_the_champion_lacks_speaks_for_a_retraining_once_it_has_labels() -> None:
    few, enough = (
        decide(facts(new_tasks=["topics"], new_labels={"mood": 50, "topics": rows}), POLICY)
        for rows in (19, 20)
    )

    assert (few.verdict, enough.verdict, enough.numbers["tasks"]) == ("wait", "retrain", ["topics"])
    assert "20 labelled training rows of it: at least min_new_labels 20" in reason(enough, "lacks this task")


def test_where_only_new_tasks_may_learn_there_must_be_one_with_labels() -> None:
    policy = Retraining(only_new_tasks=True)
    changes = {"drift": MOVED, "performance": {}, "new_labels": {"mood": 50, "topics": 5}}

    none, few = (decide(facts(**changes, new_tasks=new), policy) for new in ([], ["topics"]))

    assert (none.verdict, few.verdict) == ("wait", "ask")
    assert reason(none, "the champion lacks no task: nothing would learn")
    assert reason(few, "at most 5 new labelled training rows").endswith("label some rows of topics")


def test_a_drift_that_labels_show_to_be_harmless_is_noted_alone() -> None:
    harmless = decide(facts(drift=MOVED, performance={"mood": fall(0.0, -0.02, 0.02)}), POLICY)
    unknown = decide(facts(drift=MOVED, performance={"mood": fall(0.0, -0.02, 0.021)}), POLICY)

    assert (harmless.verdict, unknown.verdict) == ("wait", "retrain")
    assert "no task fell by more than max_fall 0.02, for certain" in reason(harmless, "moved: inputs")
    assert decide(facts(drift=MOVED, performance={}), Retraining(on_drift=False)).verdict == "wait"


def test_a_drift_without_new_labels_asks_for_labels_of_the_task_that_moved() -> None:
    moved = {**MOVED, "moved": ["inputs", "names"]}
    changes = {"drift": moved, "performance": {}, "new_labels": {"mood": 5, "names": 3}}
    decision = decide(facts(**changes), POLICY)

    assert decision.verdict == "ask"
    text = reason(decision, "nothing new to learn from")
    assert text.endswith("label some rows of names")
    assert "at most 5 new labelled training rows of a task, min_new_labels is 20" in text


def test_a_retraining_that_costs_too_much_is_asked_for() -> None:
    policy = Retraining(max_seconds=30.0)

    dear = decide(facts(drift=MOVED, performance={}), policy)
    cheap = decide(facts(drift=MOVED, performance={}, expected_seconds=29.0), policy)

    assert (dear.verdict, cheap.verdict) == ("ask", "retrain")
    assert reason(dear, "expected to take 60 s, more than max_seconds 30")
    unknown = decide(facts(drift=MOVED, performance={}, expected_seconds=None), policy)
    assert (unknown.verdict, reason(unknown, "what a retraining will cost")[:6]) == ("retrain", "cannot")


def test_a_retraining_costs_no_more_than_the_budget_of_mode_auto() -> None:
    auto = Training(mode="auto", budget="1m", epochs=10, batch_size=10)
    drawn = {"rows": 1000.0, "seconds": 50.0, "steps": 500, "heads": 2.0}
    fresh = Retraining(start="pretrained")

    assert expected_seconds(auto.model_copy(update={"budget": None}), fresh, **drawn) == 100.0
    assert expected_seconds(auto, fresh, **drawn) == 60.0
    assert expected_seconds(auto, Retraining(effort=0.5), **drawn) == 50.0
    assert expected_seconds(auto, Retraining(effort=1.0, mode="full"), **drawn) == 100.0
    assert expected_seconds(auto, Retraining(mode="heads"), **drawn) == 2.0


def test_where_heads_alone_learn_their_cost_is_expected() -> None:
    cost = {"expected_seconds": 60.0, "expected_heads_seconds": 2.0}
    of_task = facts(**cost, drift={**MOVED, "moved": ["mood"]}, performance={})
    of_inputs, new = facts(**cost, drift=MOVED, performance={}), facts(**cost, new_tasks=["mood"])
    keep = Retraining(keep_unmoved=True, max_seconds=30.0)

    assert [decide(each, keep).verdict for each in (of_task, of_inputs)] == ["retrain", "ask"]
    assert decide(of_task, Retraining(max_seconds=30.0)).verdict == "ask"
    assert decide(new, Retraining(only_new_tasks=True, max_seconds=30.0)).verdict == "retrain"
    auto, drawn = Training(mode="auto"), {"rows": 1000.0, "seconds": 50.0, "steps": 500, "heads": 2.0}
    assert expected_seconds(auto, POLICY, **drawn, heads_alone=True) == 2.0
    assert expected_seconds(Training(mode="full"), POLICY, **drawn, heads_alone=True) is None


def test_where_the_cost_of_heads_is_not_known_that_of_everything_bounds_it() -> None:
    full = facts(expected_heads_seconds=None, drift={**MOVED, "moved": ["mood"]}, performance={})
    new = facts(expected_heads_seconds=None, new_tasks=["mood"])
    keep, only = Retraining(keep_unmoved=True), Retraining(only_new_tasks=True)

    for each, policy in ((full, keep), (new, only)):
        dear, cheap = (decide(each, policy.model_copy(update={"max_seconds": most})) for most in (30.0, 90.0))
        assert (dear.verdict, cheap.verdict) == ("ask", "retrain")
        assert dear.numbers["expected_seconds"] == 60.0


def test_where_heads_alone_learn_it_is_their_labels_that_count() -> None:
    moved = {"drift": {**MOVED, "moved": ["stars"]}, "performance": {}}
    given = facts(**moved, new_labels={"mood": 50, "stars": 3}, learned_from={"mood": 1000, "stars": 900})
    keep = Retraining(keep_unmoved=True)

    kept = decide(given, keep)
    assert kept.verdict == "ask"
    assert reason(kept, "at most 3 new labelled training rows").endswith("label some rows of stars")
    for policy in (POLICY, keep.model_copy(update={"start": "pretrained"})):
        assert decide(given, policy).verdict == "retrain"
    inputs = {**given, "drift": {**MOVED, "moved": ["inputs", "stars"]}}
    assert decide(inputs, keep).verdict == "retrain"


def test_a_retraining_that_a_wrong_clock_dated_years_ahead_holds_nothing_up() -> None:
    moved = {"drift": MOVED, "performance": {}}
    assert decide(facts(retrainings=["2031-02-28T02:00:00"], **moved), POLICY).verdict == "retrain"
    assert decide(facts(retrainings=["2026-03-10T02:30:00"], **moved), POLICY).verdict == "wait"


def test_cooldown_and_the_weekly_maximum_turn_every_reason_into_a_wait() -> None:
    now = {"drift": MOVED, "performance": {}, "new_labels": {"mood": 0}}
    soon = decide(facts(**now, retrainings=["2026-03-09T12:00:00"]), POLICY)
    often = decide(
        facts(**now, retrainings=["2026-03-08T02:00:00", "2026-03-06T02:00:00", "2026-03-04T02:00:00"]),
        POLICY,
    )
    aside = decide(
        facts(drift=MOVED, performance={}, retrainings=["2026-03-08T02:00:00", "2026-03-03T02:00:00"]),
        Retraining(max_per_week=2),
    )

    assert (soon.verdict, often.verdict) == ("wait", "wait")
    assert reason(soon, "14.0 hours ago, less than cooldown_hours 20")
    assert reason(soon, "nothing new to learn from"), "the other reasons are given too"
    assert reason(often, "3 retrainings in the last seven days: max_per_week is 3")
    assert aside.verdict == "retrain", "seven days ago to the second is outside"
    assert aside.numbers["retrainings_in_seven_days"] == 1


def test_what_a_version_was_made_of_already_is_waited_with_whatever_speaks_for_it() -> None:
    tried = {"decision": "20260309T020000-1a2b3c4d", "version": "5", "verdict": "cannot tell"}
    decision = decide(facts(drift=MOVED, performance={}, tried=tried), POLICY)

    assert decision.verdict == "wait"
    assert reason(decision, "version 5 was made of these data, and the promotion gate said cannot tell")
    assert decide(facts(champion=None, tried=tried), POLICY).verdict == "wait"


def test_times_with_and_without_a_zone_are_compared_in_utc() -> None:
    decision = decide(
        facts(now="2026-03-10T02:00:00+00:00", retrainings=["2026-03-10T02:30:00+01:00"]), POLICY
    )

    assert decision.numbers["hours_since_retraining"] == 0.5


def test_what_cannot_be_told_is_said_and_decides_nothing() -> None:
    about = {"metric": "accuracy", "higher_is_better": True, "current": None, "fall": None}
    unclear = {"verdict": "cannot tell", "moved": [], "tests": []}
    decision = decide(facts(drift=unclear, performance={"mood": about}), POLICY)

    assert decision.verdict == "wait"
    assert reason(decision, "cannot tell whether anything moved")
    assert reason(decision, "mood: cannot tell whether accuracy fell (0 labelled current rows)")


@pytest.mark.parametrize(
    ("higher", "reference", "estimated"),
    [
        (True, {"low": 0.88, "high": 0.92}, {"low": 0.77, "high": 0.83}),
        (False, {"low": 0.28, "high": 0.32}, {"low": 0.37, "high": 0.43}),
    ],
)
def test_a_fall_that_is_estimated_without_labels_asks_for_labels(
    higher: bool, reference: dict[str, float], estimated: dict[str, float]
) -> None:
    about = {
        "metric": "accuracy" if higher else "mae",
        "higher_is_better": higher,
        "reference": reference,
        "estimated": estimated,
        "fall": None,
    }
    decision = decide(facts(performance={"mood": about}), POLICY)

    assert decision.verdict == "ask"
    assert "fallen by at least 0.0500, more than max_fall 0.02" in reason(decision, "label some current rows")
    assert decide(facts(performance={"mood": about}, drift=MOVED), POLICY).verdict == "retrain"


def test_the_first_champion_needs_no_new_labels() -> None:
    assert decide(facts(champion=None, new_labels={}, learned_from={}), POLICY).verdict == "retrain"


def test_the_same_facts_read_from_json_give_the_same_decision() -> None:
    given = facts(drift=MOVED, performance={"mood": fall(0.1 / 3, 0.02 + 1e-17, 0.1)})

    first, again = decide(given, POLICY), decide(json.loads(json.dumps(given)), POLICY)

    assert json.dumps(first.as_dict()) == json.dumps(again.as_dict())
