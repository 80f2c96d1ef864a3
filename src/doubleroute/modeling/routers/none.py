"""No router: the plain fine-tuned baseline."""

from doubleroute.modeling.routers import Layers, Mask, Router, States, Tasks


class NoneRouter(Router):
    """H' = H."""

    def forward(self, states: States, mask: Mask, task: Tasks, layers: Layers | None = None) -> States:  # noqa: ARG002
        """Give the states as they are."""
        return states
