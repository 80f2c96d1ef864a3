"""What a gate may be made to pay for: experts that all or nobody asks, and logits that grow.

Both are means over tokens, so they are terms of the loss and never of an answer; padding does not count.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from doubleroute.modeling.routers import Mask, Tasks

Gate = Float[Tensor, "rows seq experts"]


def load_balance(weights: Gate, chosen: Gate, mask: Mask, task: Tasks, shared: int) -> Float[Tensor, ""]:
    """The load balance of Fedus et al. 2022, eq. 4, with a mean over tasks in place of one over tokens.

    n sum_e f_e P_e over the n experts that a task has: P_e is the mean over the batch's tasks of the mean
    weight that a task's tokens give to expert e, f_e the same of ``chosen``, the share in which experts are
    used (the weights themselves, or 1/k for each of the k that are kept). So a large task counts like a small
    one, and tasks may keep to experts of their own as long as all experts are asked by some. Of the private
    experts, those after the first ``shared``, each task's own are looked at and the mean over tasks is taken
    after the product. 1 when all weights are equal, n when all tasks ask one expert alone; no gradient
    through ``chosen`` when it is not ``weights``. Zero for a batch without tokens.
    """
    real = mask.unsqueeze(-1).float()
    names, where = task.unique(return_inverse=True)

    def by_task(values: Tensor) -> Tensor:
        """Sums over each task's tokens: [tasks, experts]."""
        return values.new_zeros(len(names), values.shape[-1]).index_add(0, where, (values * real).sum(1))

    tokens = by_task(torch.ones_like(weights[..., :1])).clamp_min(1)
    load, used = by_task(weights) / tokens, by_task(chosen) / tokens
    together = (load[:, :shared].mean(0) * used[:, :shared].mean(0)).sum()
    own = (load[:, shared:] * used[:, shared:]).sum(-1).mean()
    return weights.shape[-1] * (together + own)


def z_loss(logits: Gate, mask: Mask) -> Float[Tensor, ""]:
    """The router z-loss of Zoph et al. 2022, eq. 5: the mean over tokens of logsumexp(logits) squared."""
    real = mask.float()
    return (logits.logsumexp(-1).square() * real).sum() / real.sum().clamp_min(1)
