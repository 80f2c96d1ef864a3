"""Which fits a run makes: one of each model, or a ladder of them, each beginning where the last one ended.

In mode auto a model is fitted from cheap to dear: its heads on stored states, then the upper half of the
layers that may learn from the stored outputs of the others, then all of them. Each rung begins with the best
model so far, by the validation rows, and is never worse there; the history of the last one tells of all.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from doubleroute.config import Project, Router
from doubleroute.training.activations import activations
from doubleroute.training.crew import Order, Progress, fit_orders
from doubleroute.training.encode import read_meta
from doubleroute.training.extras import extras
from doubleroute.training.history import is_over, read_history
from doubleroute.training.machine import resolve_precision
from doubleroute.training.plan import FROM_NOTHING, Plan, Rung, Start
from doubleroute.training.start import refuse_another
from doubleroute.training.variants import Name, RungName, variant, variants
from doubleroute.workspace import Stage, Workspace

#: With less of the budget left than this share of it no further rung is begun.
_LEAST_LEFT = 0.1
#: A rung is given what is left in parts of the budget: a rung below that is made once more, in a second more
#: or less, must not be another rung above (most of the time; what is left of a part stays unused).
_PARTS = 20


def store(
    project: Project,
    workspace: Workspace,
    encoded: Stage,
    progress: Progress,
    plan: Plan = FROM_NOTHING,
    names: Sequence[Name] | None = None,
    routers: Sequence[Router] = (),
) -> Stage | None:
    """The stored outputs of every trunk that the run's models share; None when none is wanted.

    ``names``: the models; all that the project wants by default. ``routers``: of further models. Raises
    ConfigError when the plan's start has another backbone or router.
    """
    _check(project, encoded, plan)
    models = [
        variant(project, name, rung=rung or "whole")
        for name in variants(project, names)
        for rung in ladder_of(project, name, plan)
    ]
    models += [variant(project, "routed", router) for router in routers]
    depths = {depth for each in models for depth in each.stored}
    if not depths:
        return None

    def tell(done: int, total: int) -> None:
        progress("activations", {"step": done, "total": total, "unit": "tokens"})

    precision = resolve_precision(project.training.precision)
    return activations(project, workspace, encoded, sorted(depths), precision, tell, plan.start)


def fit(
    project: Project,
    workspace: Workspace,
    validated: Stage,
    encoded: Stage,
    stored: Stage | None,
    progress: Progress,
    plan: Plan = FROM_NOTHING,
    names: Sequence[Name] | None = None,
    made: Callable[[Stage], None] = lambda _: None,
) -> dict[str, Stage]:
    """The project's model and its baselines, or those of ``names``; those that are not there yet are fitted
    side by side, as the plan says. ``stored`` is what ``store`` gave for the same plan; ``made`` is told the
    fit of every rung, of which the last ones are given.

    Raises ConfigError when the plan's start has another backbone or router, or the training needs a package
    that is not installed.
    """
    _check(project, encoded, plan)
    order = Order(project, validated, encoded, stored, resolve_precision(project.training.precision), plan)
    orders = {name: replace(order, name=name) for name in variants(project, names)}
    ladders = {name: ladder_of(project, name, plan) for name in orders}
    found: dict[str, Stage] = {}
    for height in range(max(map(len, ladders.values()))):
        next_ones: dict[str, Order] = {}
        for name, ladder in ladders.items():
            if height < len(ladder):
                plan_of_rung = next_plan(project, plan, ladder, height, found.get(name))
                if plan_of_rung is not None:
                    next_ones[name] = replace(orders[name], plan=plan_of_rung)
        fits = fit_orders(next_ones, workspace, progress)
        for stage in fits.values():
            made(stage)
        found |= fits
    return found


def next_plan(
    project: Project, plan: Plan, ladder: Sequence[RungName | None], height: int, below: Stage | None
) -> Plan | None:
    """The plan of the rung at this height of a ladder, above the fit ``below``; None when the ladder ends
    before it: nothing is left of the budget or of the patience (``training.early_stopping``)."""
    name = ladder[height]
    if name is None:
        return plan
    seconds, start = project.training.seconds, plan.start
    if below is not None:
        history = read_history(below.path)
        if is_over(history, project.training.early_stopping):
            return None
        if seconds is not None:
            parts = math.floor(_PARTS * (1 - history["seconds"] / seconds))
            if parts < _LEAST_LEFT * _PARTS:
                return None
            seconds = round(seconds * parts / _PARTS, 1)
        start = Start(below.path / "model", below.digest)
    if name == "heads":  # solved, however long that takes
        seconds = None
    rung = Rung(name, seconds, _share(name, ladder), first=below is None, retraining=plan.start is not None)
    return replace(plan, start=start, rung=rung)


def _share(name: RungName, ladder: Sequence[RungName | None]) -> float:
    """What of the epochs a rung of this ladder gets; heads are solved, without epochs."""
    whole = 2 / 3 if "top" in ladder else 1.0
    return {"heads": 0.0, "top": 1 / 3, "whole": whole}[name]


def ladder_of(project: Project, name: Name, plan: Plan) -> tuple[RungName | None, ...]:
    """The rungs of a model's ladder; None stands for a fit that is all there is."""
    mode = (plan.start and project.retraining.mode) or project.training.mode
    solved = all(task.has_linear_head for task in project.tasks.values())
    if name == "frozen" and solved:
        return ("heads",)
    if mode == "full" or plan.alone is not None:
        return (None,)
    lowest: tuple[RungName | None, ...] = ("heads",) if solved else ()
    if lowest and (mode == "heads" or plan.moved is not None):
        return lowest
    if name == "frozen" or plan.moved is not None:
        return (None,)
    whole, top = (variant(project, name, rung=rung) for rung in ("whole", "top"))
    return (*lowest, *(("top",) if top.trainable not in (0, whole.trainable) else ()), "whole")


def _check(project: Project, encoded: Stage, plan: Plan) -> None:
    extras(project.training)  # told before hours of training
    if plan.start is not None:
        refuse_another(project, read_meta(encoded.path)["backbone"], plan.start)
