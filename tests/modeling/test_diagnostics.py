"""What the gate did while a model answered."""

from pathlib import Path

import pytest
import torch
from test_routers import IDS, MASK, ROUTERS, awake, logits, routed

from doubleroute.modeling.diagnostics import watched_gate


def test_a_gate_that_has_learnt_nothing_of_the_tasks_weighs_all_experts_and_none_is_dead(
    tiny_model: Path,
) -> None:
    model = routed(tiny_model, ROUTERS["experts by task"])
    with watched_gate(model) as watch:
        logits(model)
    assert watch is not None
    found = watch.as_dict()
    assert found["dead"] == []
    assert list(found["tasks"]) == ["sentiment", "topics", "stars", "entities"]
    for each in found["tasks"].values():
        assert each["tokens"] == int(MASK.sum())
        assert each["load"] == pytest.approx([1 / 3] * 3, abs=1e-6)
        assert each["entropy"] == pytest.approx(1, abs=1e-6)


def test_an_expert_that_no_task_asks_is_dead_and_one_that_a_single_task_asks_is_not(tiny_model: Path) -> None:
    model = routed(tiny_model, ROUTERS["experts by task"])
    with torch.no_grad():
        model.router.task_gate[:] = torch.tensor([9.0, -9.0, -9.0])
        model.router.task_gate[1] = torch.tensor([-9.0, 9.0, -9.0])
    with watched_gate(model) as watch:
        logits(model)
    assert watch is not None
    found = watch.as_dict()
    assert found["dead"] == [2]
    assert found["tasks"]["topics"]["load"][1] > 0.999
    assert found["tasks"]["stars"]["entropy"] < 0.001


def test_padding_does_not_count_and_watching_changes_no_answer(tiny_model: Path) -> None:
    model = awake(routed(tiny_model, ROUTERS["experts"]))
    alone = logits(model)
    with watched_gate(model) as watch:
        watched = logits(model)
    with watched_gate(model) as longer:
        logits(
            model, torch.cat([IDS, torch.zeros_like(IDS)], 1), torch.cat([MASK, torch.zeros_like(MASK)], 1)
        )
    assert watch is not None
    assert longer is not None
    for task, values in alone.items():
        assert torch.equal(values, watched[task])
        assert watch.as_dict()["tasks"][task]["load"] == pytest.approx(
            longer.as_dict()["tasks"][task]["load"], abs=1e-5
        )


def test_a_router_without_a_gate_has_nothing_to_watch(tiny_model: Path) -> None:
    with watched_gate(routed(tiny_model, ROUTERS["linear"])) as watch:
        assert watch is None
