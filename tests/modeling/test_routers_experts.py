"""What the router of experts does beside the common checklist: its own experts, and what is for training."""

from pathlib import Path
from typing import Any

import pytest
import torch
from test_routers import EXPERTS, GATED, MASK, ROUTERS, awake, loss, routed

from doubleroute.modeling.routers import Sizes, make_router
from doubleroute.modeling.routers.balance import load_balance, z_loss
from doubleroute.modeling.routers.experts import ExpertsRouter

SIZES = Sizes(hidden=16, tasks=2, layers=2)
TASK = torch.tensor([0, 1, 1])


def experts(**options: Any) -> ExpertsRouter:
    """A router whose every weight is drawn."""
    router = make_router({**EXPERTS, **options}, SIZES)
    assert isinstance(router, ExpertsRouter)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for each in router.parameters():
            each.copy_(torch.randn(each.shape, generator=generator))
    return router


def states(rows: int = 3, seq: int = 5) -> torch.Tensor:
    return torch.randn(rows, seq, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", GATED)
def test_a_task_that_is_unknown_gets_equal_weights_of_the_shared_experts(name: str) -> None:
    gate = experts(**ROUTERS[name]).gate(states(), torch.tensor([-1, -1, -1]))
    assert torch.equal(gate[..., :3], torch.full((3, 5, 3), 1 / 3))
    assert not gate[..., 3:].any()


def test_a_task_that_has_not_learned_gets_equal_weights_from_a_gate_by_task() -> None:
    router = experts(by_token=False, private=1)
    assert router.task_gate is not None
    with torch.no_grad():
        router.task_gate[1] = 0
    gate = router.gate(states(), TASK)
    assert torch.equal(gate[1:], torch.full((2, 5, 4), 1 / 4))
    assert not torch.allclose(gate[0], gate[1])


def test_a_private_expert_learns_from_its_own_task_alone() -> None:
    router = experts(private=2)
    router(states(), MASK, torch.tensor([1, 1, 1])).square().sum().backward()
    for name in ("private_down", "private_bias", "private_up", "private_gate"):
        grad = getattr(router, name).grad
        assert grad[1].abs().min() > 0
        assert not grad[0].any()


def test_without_weights_the_penalties_are_not_there_and_the_loss_is_bit_equal(tiny_model: Path) -> None:
    model = awake(routed(tiny_model, EXPERTS))
    quiet = loss(model)
    assert model.router.penalty is None
    model.router.train()
    assert torch.equal(loss(model), quiet)
    heavy = awake(routed(tiny_model, {**EXPERTS, "load_balance": 0.1, "z_loss": 0.01}))
    assert torch.equal(loss(heavy), quiet)  # in evaluation mode
    heavy.router.train()
    assert loss(heavy) > quiet
    assert heavy.router.take_penalty() is None  # the loss took it


@pytest.mark.parametrize("name", ["load_balance", "z_loss"])
def test_a_penalty_moves_the_gate_at_the_first_step_through_a_stack(tiny_model: Path, name: str) -> None:
    options = {"kind": "stack", "routers": [{"kind": "linear"}, {**EXPERTS, name: 0.1}]}
    model = routed(tiny_model, options).train()
    loss(model).backward()
    gate = dict(model.router.named_parameters())["routers.1.token_gate"].grad
    assert gate is not None
    assert gate.abs().max() > 0


def test_the_load_balance_is_one_for_equal_weights_and_n_for_one_expert_alone() -> None:
    equal, alone = torch.full((3, 5, 4), 0.25), torch.eye(4)[0].expand(3, 5, 4)
    for shared in (4, 3, 1):
        assert load_balance(equal, equal, MASK, TASK, shared).item() == pytest.approx(1)
    assert load_balance(alone, alone, MASK, TASK, 4).item() == pytest.approx(4)
    apart = torch.eye(4)[[0, 1, 1]][:, None, :].expand(3, 5, 4)  # each task keeps to one expert
    assert load_balance(apart, apart, MASK, TASK, 4).item() == pytest.approx(2)


def test_a_large_task_counts_like_a_small_one_in_the_load_balance() -> None:
    weights = torch.eye(2)[[0, 1, 1, 1]][:, None, :].expand(4, 5, 2)
    found = load_balance(weights, weights, torch.ones(4, 5).long(), torch.tensor([0, 1, 1, 1]), 2)
    assert found.item() == pytest.approx(1)


def test_padding_pays_no_penalty() -> None:
    logits = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(2))
    spoilt = logits + 100 * (1 - MASK)[..., None] * torch.tensor([1.0, 0, 0, 0])
    assert torch.equal(z_loss(logits, MASK), z_loss(spoilt, MASK))
    one, other = (
        load_balance(each.softmax(-1), each.softmax(-1), MASK, TASK, 3) for each in (logits, spoilt)
    )
    assert torch.equal(one, other)
    mean = logits[MASK.bool()].logsumexp(-1).square().mean()
    torch.testing.assert_close(z_loss(logits, MASK), mean)


@pytest.mark.parametrize("option", ["jitter", "expert_dropout"])
def test_jitter_and_left_out_experts_are_for_training_alone(option: str) -> None:
    router = experts(**{option: 0.4}, private=1)
    assert torch.equal(router.eval()(states(), MASK, TASK), experts(private=1).eval()(states(), MASK, TASK))
    torch.manual_seed(1)
    first, second = (router.train()(states(), MASK, TASK) for _ in range(2))
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("top_k", [None, 2])
def test_of_the_experts_that_are_not_left_out_the_weights_sum_to_one(top_k: int | None) -> None:
    router = experts(expert_dropout=0.9, private=1, top_k=top_k).train()
    seen: list[torch.Tensor] = []
    router.instead = lambda weights, *_: seen.append(weights) or weights  # type: ignore[func-returns-value]
    torch.manual_seed(1)
    with torch.no_grad():
        router(states(200), torch.ones(200, 5).long(), torch.arange(200) % 2)
    weights = seen[0]
    torch.testing.assert_close(weights.sum(-1), torch.ones(200, 5))
    out = (weights == 0).all(1)
    assert out.any(0).all()  # each expert is left out of some row
    assert not out.all(-1).any()
