"""One direction from the gradients of several tasks, by the methods of torchjd."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

#: The names of the methods in project.yaml and their classes in torchjd.
METHODS = {
    "upgrad": "UPGrad",
    "mgda": "MGDA",
    "pcgrad": "PCGrad",
    "imtl_g": "IMTLG",
    "aligned_mtl": "AlignedMTL",
}
Aggregate = Callable[[Tensor], Tensor]


def aggregator(method: str) -> Aggregate:
    """[tasks, parameters], a gradient of each task -> [parameters], the direction of the step.
    The caller has seen to it that torchjd is installed (``extras``)."""
    from torchjd import aggregation

    found: Aggregate = getattr(aggregation, METHODS[method])()
    return found


def backward(
    losses: Sequence[Tensor],
    shared: Sequence[nn.Parameter],
    own: Sequence[nn.Parameter],
    aggregate: Aggregate,
) -> None:
    """Fill the gradients: of the ``shared`` parameters with what ``aggregate`` makes of those of the tasks'
    ``losses``, of the tasks' ``own`` ones with the sum. One pass backwards for each loss; holds a gradient of
    all shared parameters for each."""
    rows, touched = [], [False] * len(shared)
    for number, loss in enumerate(losses):
        more = number + 1 < len(losses)
        found = torch.autograd.grad(loss, [*shared, *own], retain_graph=more, allow_unused=True)
        flat = []
        for place, (parameter, gradient) in enumerate(zip(shared, found, strict=False)):
            touched[place] |= gradient is not None
            flat.append((torch.zeros_like(parameter) if gradient is None else gradient).flatten())
        rows.append(torch.cat(flat) if flat else loss.new_zeros(0))
        for parameter, gradient in zip(own, found[len(shared) :], strict=True):
            if gradient is not None:
                parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
    if not shared:
        return
    parts = aggregate(torch.stack(rows)).split([parameter.numel() for parameter in shared])
    for parameter, part, used in zip(shared, parts, touched, strict=True):
        parameter.grad = part.view_as(parameter) if used else None
