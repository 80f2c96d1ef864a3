"""Policies played over history: when each would have retrained, what its model scored on what came next.

Prequential (Dawid 1984; Gama et al. 2013, Machine Learning 90:317): the model that is live answers a
window before anybody may learn from it; then the window's rows and labels have arrived, the policy
decides, and the model that is live after that answers the next window. All policies begin with the same
first model, whose cost is not counted. The windows are n; window 0 is answered by the first model, and
there is no decision after the last one: nothing comes next.

There is no promotion gate: every model that a policy trains serves from then on, also one that the gate of a
live project would refuse. So a policy that retrains often may look better or worse here than it would live.

What models score and cost comes from callables, which are asked for what some policy needs and nothing
else. ``keep_unmoved`` and ``only_new_tasks`` are not played.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal, NamedTuple

from doubleroute.config import Retraining
from doubleroute.drift.policy import decide, moment


class Model(NamedTuple):
    """A model by how it came about. ``at``: the windows before which it was trained, oldest first: (0, 2)
    was trained on what there was before window 2, beginning with the weights of (0,); (2,) before window 2
    from the pretrained ones. ``recipe``: what else of ``Retraining`` went into its training. ``follows``: the
    window before which the model that it follows was trained, where that one's rows weigh less than new ones
    and its weights are not taken."""

    at: tuple[int, ...]
    recipe: tuple[tuple[str, Any], ...] = ()
    follows: int | None = None

    @property
    def parent(self) -> "Model | None":
        """The model whose weights it began with."""
        before = self.at[:-1]
        return Model(before, self.recipe if len(before) > 1 else ()) if before else None


FIRST = Model((0,))


@dataclass(frozen=True)
class Policy:
    """``never`` and ``always`` are what the others are measured against; ``decide`` follows the rule of
    ``drift.policy``. ``retraining`` also says what a retraining begins with (``start``)."""

    name: str
    rule: Literal["never", "always", "decide"]
    retraining: Retraining


@dataclass(frozen=True)
class Window:
    """Rows that arrived together: from ``begin`` (included) to ``end`` (not), ISO times."""

    name: str
    begin: str
    end: str
    rows: int


@dataclass(frozen=True)
class World:
    """What happened, or would have.

    ``score(model, window)``: {task: {"value", "low", "high", "rows"}} of its answers to that window.
    ``total(models)``: the same over all windows, answered by these models one after the other;
    ``difference(models, others)``: how much better the first are, paired, {task: {"value", "low", "high"}}.
    ``facts(model, window)``: what is known of this model when that window has come: "drift",
    "performance", "new_labels" and "learned_from" as ``drift.policy.decide`` takes them.
    ``cost(model)``: {"seconds", "steps"} of the last of its trainings.
    ``expected(model, window, retraining)``: what a retraining after that window is expected to cost, from
    what was known then; None if unknown.
    ``higher_is_better``: for each task, of its metric.
    """

    windows: Sequence[Window]
    score: Callable[[Model, int], Mapping[str, Mapping[str, Any]]]
    total: Callable[[Sequence[Model]], Mapping[str, Mapping[str, Any]]]
    difference: Callable[[Sequence[Model], Sequence[Model]], Mapping[str, Mapping[str, Any]]]
    facts: Callable[[Model, int], Mapping[str, Any]]
    cost: Callable[[Model], Mapping[str, float]]
    expected: Callable[[Model, int, Retraining], float | None]
    higher_is_better: Mapping[str, bool]


@dataclass
class Play:
    """One policy's course. ``models`` [n]: which model answered each window. ``decisions``: one for each
    window but the last, {"window", "time", "verdict", "reasons", "numbers"}; without reasons for never
    and always."""

    policy: Policy
    models: list[Model]
    decisions: list[dict[str, Any]] = field(default_factory=list)

    @property
    def retrained(self) -> list[int]:
        """The windows that a new model answered first."""
        return [place for place in range(1, len(self.models)) if self.models[place] != self.models[place - 1]]


def play(policy: Policy, world: World) -> Play:
    """Play one policy over all windows. An ask counts as a wait: nobody was there to answer."""
    found = Play(policy, [FIRST])
    times: list[str] = []
    for place, window in enumerate(world.windows[:-1]):
        live = found.models[-1]
        decision = _decision(policy, world, live, place, times)
        found.decisions.append({"window": window.name, "time": window.end, **decision})
        if decision["verdict"] == "retrain":
            times.insert(0, window.end)
            live = _trained(live, place + 1, policy.retraining)
        found.models.append(live)
    return found


def _trained(live: Model, window: int, retraining: Retraining) -> Model:
    """The model that a retraining before this window makes. Policies of one recipe share it."""
    warm = retraining.start == "champion"
    wanted = {"mode", "effort", "rate"} if warm else set[str]()
    if retraining.rows != "all" or retraining.new_rows_weight != 1:
        wanted |= {"rows", "recent_days", "half_life_days", "new_rows_weight"}
    recipe = tuple(sorted(retraining.model_dump(include=wanted).items()))
    follows = live.at[-1] if not warm and retraining.new_rows_weight != 1 else None
    return Model((*live.at, window) if warm else (window,), recipe, follows)


def _decision(policy: Policy, world: World, live: Model, place: int, times: Sequence[str]) -> dict[str, Any]:
    if policy.rule != "decide":
        verdict = "retrain" if policy.rule == "always" else "wait"
        return {"verdict": verdict, "reasons": [], "numbers": {}}
    now, trained = world.windows[place].end, world.windows[live.at[-1]].begin
    facts = {
        "now": now,
        "champion": {
            "version": None,
            "registered": trained,
            "age_days": (moment(now) - moment(trained)).total_seconds() / 86400,
        },
        **world.facts(live, place),
        "retrainings": list(times),
        "expected_seconds": world.expected(live, place, policy.retraining),
    }
    played = policy.retraining.model_copy(update=dict.fromkeys(("keep_unmoved", "only_new_tasks"), False))
    return decide(facts, played).as_dict()


def compare(policies: Sequence[Policy], world: World) -> dict[str, Any]:
    """Play all of them; plain JSON.

    {"windows": [{"name", "begin", "end", "rows"}], "higher_is_better", "policies": {name: {"rule",
    "start", "windows": [{"window", "model", "retrained", "scores"}], "decisions", "retrainings", "asks",
    "total": {task: score}, "mean", "seconds", "steps", "against": {"never" | "always": {task:
    paired difference, positive is better}}, "gain", "regret", "share_of_gain", "share_of_cost",
    "share_of_steps"}}}. ``mean``: of the tasks' totals, errors counted negative. ``gain``: mean less that
    of never; ``regret``: that of always less mean, so positive is worse. The shares are
    of always' gain, seconds and steps; the first is None where always gains nothing.

    ``policies`` must hold one of the rule never and one of always; the first of each is compared with.
    """
    known = replace(world, score=cache(world.score), facts=cache(world.facts), cost=cache(world.cost))
    plays = {policy.name: play(policy, known) for policy in policies}
    found = {name: _told(each, known) for name, each in plays.items()}
    names = {rule: next(each.name for each in policies if each.rule == rule) for rule in ("never", "always")}
    never, always = found[names["never"]], found[names["always"]]
    most = always["mean"] - never["mean"]
    for name, each in found.items():
        each["against"] = {
            rule: {
                task: dict(value)
                for task, value in world.difference(plays[name].models, plays[other].models).items()
            }
            for rule, other in names.items()
        }
        each["gain"] = each["mean"] - never["mean"]
        each["regret"] = always["mean"] - each["mean"]
        each["share_of_gain"] = each["gain"] / most if most > 0 else None
        for unit, share in (("seconds", "share_of_cost"), ("steps", "share_of_steps")):
            each[share] = each[unit] / always[unit] if always[unit] else None
    return {
        "windows": [vars(window) for window in world.windows],
        "higher_is_better": dict(world.higher_is_better),
        "policies": found,
    }


def _told(each: Play, world: World) -> dict[str, Any]:
    new = set(each.retrained)
    total = {task: dict(score) for task, score in world.total(each.models).items()}
    gains = [
        score["value"] if world.higher_is_better[task] else -score["value"] for task, score in total.items()
    ]
    return {
        "rule": each.policy.rule,
        "start": each.policy.retraining.start,
        "windows": [
            {
                "window": world.windows[place].name,
                "model": list(model.at),
                "retrained": place in new,
                "scores": {task: dict(score) for task, score in world.score(model, place).items()},
            }
            for place, model in enumerate(each.models)
        ],
        "decisions": each.decisions,
        "retrainings": len(new),
        "asks": sum(decision["verdict"] == "ask" for decision in each.decisions),
        "total": total,
        "mean": sum(gains) / len(gains),
        **{
            unit: sum(world.cost(each.models[place])[unit] for place in each.retrained)
            for unit in ("seconds", "steps")
        },
    }
