"""The dense baseline: as many parameters as a router, and nothing that knows a task."""

import pytest
import torch

from doubleroute.config import ExpertsRouter, LinearRouter, MlpRouter, Router
from doubleroute.config.routers import LayersRouter
from doubleroute.modeling.routers import Sizes, make_router
from doubleroute.training.dense import dense_like, router_parameters

ROUTERS = [
    ExpertsRouter(kind="experts"),
    ExpertsRouter(kind="experts", experts=16, bottleneck=8, by_task=False),
    MlpRouter(kind="mlp"),
    LinearRouter(kind="linear", learning_rate=3e-4),
]


@pytest.mark.parametrize("router", ROUTERS, ids=lambda router: router.kind)
@pytest.mark.parametrize("tasks", [2, 7])
def test_the_dense_layer_has_the_routers_parameters_within_two_percent(router: Router, tasks: int) -> None:
    sizes = Sizes(384, tasks, 6)
    dense = dense_like(router, sizes)
    ours, theirs = (router_parameters(each, sizes) for each in (dense, router))
    assert ours == pytest.approx(theirs, rel=0.02)
    assert abs(ours - theirs) <= 384 + 1
    assert dense.learning_rate == router.learning_rate  # type: ignore[union-attr]


def test_the_router_of_the_demonstration_is_counted_exactly() -> None:
    assert router_parameters(ROUTERS[0], Sizes(384, 2, 6)) == 4 * 64 * (2 * 384 + 1) + 4 * (384 + 2)


@pytest.mark.parametrize(("bottleneck", "unread"), [(None, 2), (4, 2 * 4 * 16)])
def test_what_a_task_of_a_lower_layer_never_reads_is_not_counted(bottleneck: int | None, unread: int) -> None:
    router = LayersRouter(kind="layers", bottleneck=bottleneck)
    whole, lower = (router_parameters(router, Sizes(16, 2, 3, depths)) for depths in ((3, 3), (1, 3)))
    assert whole - lower == unread  # of the embeddings and two layers below the last


def test_the_dense_layer_is_a_plain_residual_bottleneck() -> None:
    torch.manual_seed(1)
    sizes = Sizes(16, 3, 2)
    router = make_router(dense_like(ROUTERS[0], sizes).model_dump(mode="json"), sizes)
    torch.nn.init.normal_(router.up)
    states, mask = torch.randn(3, 5, 16), torch.ones(3, 5, dtype=torch.long)
    expected = states + torch.nn.functional.gelu(router.down(states)) @ router.up
    for task in range(3):
        torch.testing.assert_close(router(states, mask, torch.full((3,), task)), expected)


def test_a_router_larger_than_any_layer_gets_the_largest() -> None:
    assert (
        dense_like(ExpertsRouter(kind="experts", experts=256, bottleneck=512), Sizes(16, 2, 2)).bottleneck
        == 8192
    )
