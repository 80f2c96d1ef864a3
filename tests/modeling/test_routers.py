"""One checklist for every router."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from doubleroute.modeling.model import DoublerouteConfig, DoublerouteModel, assemble, load_model
from doubleroute.modeling.routers import make_router
from doubleroute.modeling.routers.experts import ExpertsRouter

ROUTERS: dict[str, dict[str, Any]] = {
    "none": {"kind": "none"},
    "linear": {"kind": "linear"},
    "mlp": {"kind": "mlp", "width": 8},
    "experts": {"kind": "experts", "experts": 3, "bottleneck": 4},
    "experts by task": {"kind": "experts", "experts": 3, "bottleneck": 4, "by_token": False},
    "experts by token": {"kind": "experts", "experts": 3, "bottleneck": 4, "by_task": False},
    "experts top 2": {"kind": "experts", "experts": 3, "bottleneck": 4, "top_k": 2, "tau": 0.5},
}
every_router = pytest.mark.parametrize("options", ROUTERS.values(), ids=ROUTERS.keys())


def routed(folder: Path, options: dict[str, Any]) -> DoublerouteModel:
    """The tiny model with another router."""
    model = load_model(folder)
    config = DoublerouteConfig(**{**model.config.to_dict(), "router": options})
    return assemble(config, model.backbone, seed=1).eval()


def awake(model: DoublerouteModel) -> DoublerouteModel:
    """The model after its router has learnt something: no parameter is zero."""
    with torch.no_grad():
        generator = torch.Generator().manual_seed(2)
        for parameter in model.router.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


IDS = torch.tensor([[2, 5, 6, 7, 3], [2, 8, 3, 0, 0], [2, 9, 10, 3, 0]])
MASK = (IDS > 0).long()


def logits(model: DoublerouteModel, ids: Tensor = IDS, mask: Tensor = MASK) -> dict[str, Tensor]:
    """All tasks' logits of a batch."""
    with torch.inference_mode():
        found: dict[str, Tensor] = model(ids, mask).logits
        return found


@every_router
def test_every_router_begins_bit_equal_to_the_plain_model(tiny_model: Path, options: dict[str, Any]) -> None:
    plain, started = logits(routed(tiny_model, ROUTERS["none"])), logits(routed(tiny_model, options))
    for task, values in plain.items():
        assert torch.equal(values, started[task]), task


@every_router
def test_a_gradient_arrives_at_the_first_step(tiny_model: Path, options: dict[str, Any]) -> None:
    model = routed(tiny_model, options)
    targets = {
        "sentiment": torch.tensor([0, 1, 1]),
        "topics": torch.tensor([[1.0, 0.0]] * 3),
        "stars": torch.ones(3),
        "entities": torch.zeros(3, 5, dtype=torch.long),
    }
    rows = {task: torch.arange(3) for task in targets}
    model(IDS, MASK, rows=rows, targets=targets).loss.backward()
    up = getattr(model.router, "up", None)
    assert (up is None) == (options["kind"] == "none")
    if up is not None:
        assert up.grad.abs().max() > 0


@every_router
def test_a_row_does_not_depend_on_neighbours_padding_or_order(
    tiny_model: Path, options: dict[str, Any]
) -> None:
    model = awake(routed(tiny_model, options))
    together = logits(model)
    alone = logits(model, IDS[1:2, :3], MASK[1:2, :3])
    turned = logits(model, IDS.flip(0), MASK.flip(0))
    for task, values in together.items():
        row = values[1, :3] if task == "entities" else values[1]
        torch.testing.assert_close(row, alone[task][0], rtol=1e-5, atol=1e-6)
        real = MASK[..., None].bool() if task == "entities" else torch.ones(3, 1, dtype=torch.bool)
        torch.testing.assert_close(values * real, turned[task].flip(0) * real, rtol=1e-5, atol=1e-6)


@every_router
def test_saving_and_loading_keeps_every_answer_exactly(
    tiny_model: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    model = awake(routed(tiny_model, options))
    model.save_pretrained(tmp_path)
    loaded = load_model(tmp_path)
    assert type(loaded.router) is type(model.router)
    assert loaded.task_numbers == model.task_numbers
    weights = loaded.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    for task, values in logits(model).items():
        torch.testing.assert_close(values, logits(loaded)[task], rtol=1e-6, atol=1e-7)


@every_router
def test_tasks_are_told_apart_only_by_routers_that_see_them(
    tiny_model: Path, options: dict[str, Any]
) -> None:
    router = awake(routed(tiny_model, options)).router
    states = torch.randn(1, 4, 16, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(1, 4, dtype=torch.long)
    first, second = (router(states, mask, torch.tensor([task])) for task in (0, 1))
    blind = options["kind"] == "none" or options.get("by_task") is False
    assert torch.equal(first, second) == blind


@pytest.mark.parametrize("name", [name for name in ROUTERS if name.startswith("experts")])
def test_gates_are_float32_under_bfloat16_and_sum_to_one(name: str) -> None:
    router = make_router(ROUTERS[name], hidden=16, tasks=2)
    assert isinstance(router, ExpertsRouter)
    states = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        gate = router.gate(states.bfloat16(), torch.tensor([0, 1]))
    assert gate.dtype == torch.float32
    torch.testing.assert_close(gate.sum(-1), torch.ones(2, 5))
    assert gate.min() >= 0
    kept = ROUTERS[name].get("top_k", 3)
    assert ((gate > 0).sum(-1) == kept).all()


def test_a_head_starts_the_same_whatever_the_other_tasks(tiny_model: Path) -> None:
    model = load_model(tiny_model)
    config = model.config.to_dict()
    config |= {"tasks": {"entities": config["tasks"]["entities"]}, "task_names": None}
    alone = assemble(DoublerouteConfig(**config), model.backbone, seed=1)
    together = routed(tiny_model, ROUTERS["none"])
    assert torch.equal(alone.heads["entities"].out.weight, together.heads["entities"].out.weight)


def test_rows_without_a_task_s_label_do_not_touch_its_head(tiny_model: Path) -> None:
    model = routed(tiny_model, ROUTERS["experts"])
    nothing = torch.tensor([], dtype=torch.long)
    rows = {"sentiment": torch.arange(3), "entities": nothing}
    targets = {"sentiment": torch.tensor([0, 1, 0]), "entities": torch.zeros(0, 5, dtype=torch.long)}
    loss = model(IDS, MASK, rows=rows, targets=targets).loss
    loss.backward()
    assert torch.isfinite(loss)
    grad = model.heads["entities"].out.weight.grad
    assert grad is None or grad.abs().max() == 0


def test_autoclasses_know_the_model(tiny_model: Path) -> None:
    from transformers import AutoConfig, AutoModel

    assert isinstance(AutoConfig.from_pretrained(tiny_model), DoublerouteConfig)
    assert isinstance(AutoModel.from_pretrained(tiny_model), DoublerouteModel)
