"""Policies over a history whose every number is known."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from doubleroute.config import Retraining
from doubleroute.drift.replay import FIRST, Model, Play, Policy, Window, World, compare, play

FRESH = Retraining(start="pretrained", new_labels=None, on_drift=False, max_fall=0.05, new_rows_weight=1.0)


class History:
    """Six months of 100 rows. A model scores 0.9 on the month after its training and loses 0.03 a month;
    it costs 10 seconds for each 100 rows that it learned from, a fifth of that from a champion."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Model, int]] = []
        self.windows = [Window(f"m{n}", f"2024-0{n + 1}-01", f"2024-0{n + 2}-01", 100) for n in range(6)]

    def score(self, model: Model, window: int) -> dict[str, Any]:
        self.asked.append(("score", model, window))
        value = 0.9 - 0.03 * (window - model.at[-1])
        return {"mood": {"value": value, "low": value - 0.01, "high": value + 0.01, "rows": 100}}

    def total(self, models: Sequence[Model]) -> dict[str, Any]:
        values = [self.score(model, place)["mood"]["value"] for place, model in enumerate(models)]
        return {"mood": {"value": sum(values) / len(values), "low": None, "high": None, "rows": 600}}

    def difference(self, models: Sequence[Model], others: Sequence[Model]) -> dict[str, Any]:
        value = self.total(models)["mood"]["value"] - self.total(others)["mood"]["value"]
        return {"mood": {"value": value, "low": None, "high": None}}

    def facts(self, model: Model, window: int) -> dict[str, Any]:
        self.asked.append(("facts", model, window))
        fall = 0.03 * (window - model.at[-1])
        about = {"metric": "accuracy", "higher_is_better": True, "current": {"rows": 100}}
        return {
            "drift": None,
            "performance": {"mood": {**about, "fall": {"value": fall, "low": fall, "high": fall}}},
            "new_labels": {"mood": 100 * (window + 1 - model.at[-1])},
            "learned_from": {"mood": 200 + 100 * model.at[-1]},
        }

    def cost(self, model: Model) -> dict[str, float]:
        self.asked.append(("cost", model, model.at[-1]))
        full = 10.0 * (2 + model.at[-1])
        return {"seconds": full / 5 if len(model.at) > 1 else full, "steps": 10 * (2 + model.at[-1])}

    def world(self) -> World:
        return World(
            self.windows,
            self.score,
            self.total,
            self.difference,
            self.facts,
            self.cost,
            lambda *_: None,
            {"mood": True},
        )


def at(found: Play) -> list[tuple[int, ...]]:
    """When the model of each window was trained."""
    return [model.at for model in found.models]


def test_never_keeps_the_first_model_and_asks_for_no_facts() -> None:
    history = History()

    found = play(Policy("never", "never", FRESH), history.world())

    assert at(found) == [(0,)] * 6
    assert history.asked == []


def test_always_trains_before_every_window_but_the_first() -> None:
    fresh = play(Policy("always", "always", FRESH), History().world())
    from_champion = Retraining(start="champion", new_rows_weight=1.0)
    warm = play(Policy("always", "always", from_champion), History().world())

    assert at(fresh) == [(0,), (1,), (2,), (3,), (4,), (5,)]
    assert warm.models[3] == Model((0, 1, 2, 3), (("effort", 0.2), ("mode", None), ("rate", 0.2)))
    assert warm.models[1].parent == FIRST
    assert fresh.retrained == [1, 2, 3, 4, 5]


def test_a_policy_retrains_after_the_window_in_which_the_fall_became_certain() -> None:
    found = play(Policy("fall", "decide", FRESH), History().world())

    # The fall is 0 after window 0, 0.03 after 1, 0.06 > 0.05 after 2: the model of window 3 is new.
    assert at(found) == [(0,), (0,), (0,), (3,), (3,), (3,)]
    assert [each["verdict"] for each in found.decisions] == ["wait", "wait", "retrain", "wait", "wait"]
    assert found.decisions[2]["time"] == "2024-04-01"
    assert "for certain more than max_fall 0.05" in found.decisions[2]["reasons"][0]


def test_gain_cost_and_regret_are_those_counted_by_hand() -> None:
    policies = [
        Policy("never", "never", FRESH),
        Policy("always", "always", FRESH),
        Policy("fall", "decide", FRESH),
    ]

    found = compare(policies, History().world())["policies"]

    never, always, fall = (found[name] for name in ("never", "always", "fall"))
    assert never["mean"] == pytest.approx(0.9 - 0.03 * 15 / 6)
    assert always["mean"] == pytest.approx(0.9)
    assert fall["mean"] == pytest.approx(0.9 - 0.03 * 6 / 6)
    assert [each["seconds"] for each in (never, always, fall)] == [0, 30 + 40 + 50 + 60 + 70, 50]
    assert fall["share_of_gain"] == pytest.approx(0.6)
    assert fall["share_of_cost"] == fall["share_of_steps"] == pytest.approx(0.2)
    assert fall["regret"] == pytest.approx(0.03)
    assert fall["against"]["never"]["mood"]["value"] == pytest.approx(0.03 * 9 / 6)
    assert fall["against"]["always"]["mood"]["value"] == pytest.approx(-0.03)
    assert (always["share_of_gain"], never["share_of_gain"]) == (1.0, 0.0)
    assert [each["retrained"] for each in fall["windows"]] == [False, False, False, True, False, False]


def test_with_an_error_as_metric_less_is_more() -> None:
    world = replace(History().world(), higher_is_better={"mood": False})

    found = compare([Policy("never", "never", FRESH), Policy("always", "always", FRESH)], world)["policies"]

    assert found["always"]["gain"] == pytest.approx(-0.075)
    assert found["never"]["share_of_gain"] is None, "always gained nothing"


def test_nothing_is_asked_twice_and_no_model_that_no_policy_trains() -> None:
    history = History()
    policies = [
        Policy("never", "never", FRESH),
        Policy("always", "always", FRESH),
        Policy("also never", "never", FRESH),
        Policy("fall", "decide", FRESH),
    ]

    compare(policies, history.world())

    facts = [each for each in history.asked if each[0] != "score"]
    assert len(facts) == len(set(facts))
    assert {model for _, model, _ in history.asked} == {Model((place,)) for place in range(6)}


def test_an_ask_leaves_the_live_model_and_is_counted() -> None:
    policy = FRESH.model_copy(update={"min_new_labels": 100_000})
    policies = [
        Policy("never", "never", FRESH),
        Policy("always", "always", FRESH),
        Policy("asks", "decide", policy),
    ]

    found = compare(policies, History().world())["policies"]["asks"]

    assert (found["retrainings"], found["asks"], found["seconds"]) == (0, 3, 0)


def test_the_cooldown_counts_from_the_policys_own_retrainings() -> None:
    policy = Retraining(start="pretrained", new_labels=0.1, cooldown_hours=24 * 45)

    found = play(Policy("slow", "decide", policy), History().world())

    assert at(found) == [(0,), (1,), (1,), (3,), (3,), (5,)]
    assert "less than cooldown_hours 1080" in " ".join(found.decisions[1]["reasons"])


def test_models_of_another_recipe_are_other_models() -> None:
    policies = [Retraining(start="champion", effort=effort) for effort in (0.2, 0.5)]
    policies += [Retraining(start="pretrained", effort=effort) for effort in (0.2, 0.5)]
    policies.append(Retraining(start="pretrained", new_rows_weight=3.0))
    policies.append(Retraining(start="champion", effort=0.2, mode="heads"))

    names = ("one", "two", "three", "four", "five", "six")
    last = [
        play(Policy(name, "always", each), History().world()).models[-1]
        for name, each in zip(names, policies, strict=True)
    ]

    assert last[0] != last[1]
    assert last[2] == last[3], "effort says nothing where nothing is taken over"
    assert last[4] != last[3]
    assert last[4].follows == last[4].at[-1] - 1, "what the model before it learned from is not new"
    assert last[5] != last[0]
    assert len({last[0].parent, last[1].parent}) == 2
