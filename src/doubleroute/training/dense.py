"""The dense baseline: a residual layer without tasks or gates, about as large as a router.

A router adds parameters, and parameters alone can help. What routing does is seen against a layer of the same
form and size that treats all tasks and tokens alike: H' = H + U GELU(D H), the experts router of one expert.
"""

from pathlib import Path

import torch

from doubleroute.config import ExpertsRouter, Router
from doubleroute.modeling.routers import Sizes, make_router, resolve

#: Units that project.yaml allows for a bottleneck.
_MOST = 8192


def router_parameters(router: Router, sizes: Sizes, root: Path = Path()) -> int:
    """How many numbers of a router learn, and are used, between a backbone and heads of these sizes.
    ``root``: the folder of the project, where a router with weights of its own finds them."""
    options = resolve(router.model_dump(mode="json"), root)
    with torch.device("meta"):  # nothing is drawn or stored
        made = make_router(options, sizes)
    return sum(each.numel() for each in made.parameters() if each.requires_grad) - made.unread


def dense_like(router: Router, sizes: Sizes, root: Path = Path()) -> ExpertsRouter:
    """The dense layer whose number of parameters is nearest to the router's, with its learning rate.

    A unit has 2 * hidden + 1 parameters: the two differ by half as many at most, unless the router is smaller
    than one unit or larger than 8,192.
    """
    units = round(router_parameters(router, sizes, root) / (2 * sizes.hidden + 1))
    return ExpertsRouter(
        kind="experts",
        experts=1,
        bottleneck=min(_MOST, max(1, units)),
        by_task=False,
        by_token=False,
        learning_rate=getattr(router, "learning_rate", 1e-3),
    )
