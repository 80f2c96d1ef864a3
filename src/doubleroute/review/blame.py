"""Which group of changed training rows is behind a change: the loss that goes away when it is undone."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from doubleroute import linear
from doubleroute.review.estimates import described, holm_alphas, pooled
from doubleroute.review.groups import Group, groups_of
from doubleroute.review.impact import Losses, Progress, Trained
from doubleroute.review.rows import Changes, VersionRows
from doubleroute.review.study import Features, Study

#: Groups that are tried, and the draws that each is tried on.
MOST_GROUPS = 12
_DRAWS = 3
_SAYS = {"better": "harms", "worse": "helps", "cannot tell": "cannot tell"}


def blame(
    study: Study,
    trained: Trained,
    base: VersionRows,
    head: VersionRows,
    changes: Changes,
    features: Features,
    progress: Progress,
) -> list[dict[str, Any]]:
    """What each group of changed training rows did: the entry of ``blame`` in review.json, worst first.

    Head is learned again with the group's rows as they are in base; ``value`` is the loss that goes away,
    above zero where the group harms, with an interval over the draws and the rows that were asked about; all
    groups together are wrong in 5% of reviews. At most MOST_GROUPS, those that should matter most: by the
    loss that their rows should add, to first order. Empty where both versions teach the same.
    """
    places = changed_rows(study, changes)
    groups = groups_of(base, head, changes, places, features)
    if not groups or not len(study.held_rows):
        return []
    total = len(groups)
    groups = _likeliest(study, trained, changes, groups)
    draws = trained.drawn[:_DRAWS]
    starts = [trained.head, *(pair[1] for pair in draws)]
    times = [np.ones_like(study.head), *trained.weights[:_DRAWS]]
    jobs = [
        partial(study.fit, undone(study, changes, group.places) * each, start)
        for group in groups
        for each, start in zip(times, starts, strict=True)
    ]
    models = []
    for model in linear.side_by_side(jobs):
        models.append(model)
        progress("blame", {"step": len(models), "total": len(jobs), "unit": "models"})
    found = []
    for place in range(len(groups)):
        own = models[place * len(starts) : (place + 1) * len(starts)]
        pairs = list(zip(starts, own, strict=True))
        losses = Losses.of(study, Trained(*pairs[0], pairs[1:], trained.weights[:_DRAWS]))
        found.append(losses.gain(np.arange(len(losses.owner)))[:3])
    estimates = pooled(found)
    lines = [
        {"by": group.by, "group": group.name, "rows": len(group.places), **described(each, alpha)}
        for group, each, alpha in zip(groups, estimates, holm_alphas(estimates, total), strict=True)
    ]
    return [
        line | {"verdict": _SAYS[line["verdict"]]} for line in sorted(lines, key=lambda line: -line["value"])
    ]


def changed_rows(study: Study, changes: Changes) -> np.ndarray:
    """The places [k] in ``changes.pairs`` where what is learned is not the same in both versions."""
    before, after = _contents(study, changes.pairs)
    return np.flatnonzero(before != after)


def undone(study: Study, changes: Changes, places: np.ndarray) -> np.ndarray:
    """How often head has each content [u] when these places in ``changes.pairs`` are as in base."""
    before, after = _contents(study, changes.pairs[places])
    size = len(study.head)
    added = np.bincount(before[before >= 0], minlength=size)
    return np.asarray(study.head + added - np.bincount(after[after >= 0], minlength=size))


def _contents(study: Study, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The content of each pair's rows [m], -1 for a row that is not learned from or not there."""
    sides = (study.base_content, study.head_content)
    before, after = (
        np.where(pairs[:, side] >= 0, np.append(of, -1)[pairs[:, side]], -1) for side, of in enumerate(sides)
    )
    return before, after


def _likeliest(study: Study, trained: Trained, changes: Changes, groups: Sequence[Group]) -> list[Group]:
    """At most MOST_GROUPS, those whose rows should have added or taken the most loss, in their order."""
    if len(groups) <= MOST_GROUPS:
        return list(groups)
    pull = _pull(study, trained.head)
    after = study.head @ pull
    moved = [abs(after - undone(study, changes, group.places) @ pull) for group in groups]
    likeliest = np.sort(np.argsort(-np.array(moved), kind="stable")[:MOST_GROUPS])
    return [groups[place] for place in likeliest]


def _pull(study: Study, model: np.ndarray) -> np.ndarray:
    """How far learning from each content [u] once more, for all that it stands for, moves the held-out loss,
    to first order: the product of both gradients, as if all directions of the features were curved alike."""
    held, given = study.held, study.learned
    goal = held.features.T @ linear.slopes(study.kind, held.features @ model, held.targets).astype(np.float32)
    own = linear.slopes(study.kind, given.features @ model, given.targets)
    each = -((given.features @ goal) * own).sum(axis=1)
    return np.bincount(given.owner, each, len(study.head)) * study.weight
