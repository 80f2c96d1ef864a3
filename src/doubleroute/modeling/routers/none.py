"""No router: the plain fine-tuned baseline."""

from torch import Tensor

from doubleroute.modeling.routers import Router


class NoneRouter(Router):
    """H' = H."""

    def forward(self, states: Tensor, mask: Tensor, task: Tensor) -> Tensor:  # noqa: ARG002
        """Give the states as they are."""
        return states
