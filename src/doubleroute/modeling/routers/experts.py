"""The two-level router: a gate of task and token weighs parallel bottleneck experts.

The gate is that of a mixture of experts (Shazeer et al. 2017) with a bias for each task, as in
task-conditioned routing (Ma et al. 2018); an expert is a bottleneck with a residual (Houlsby et al. 2019).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from doubleroute.modeling.routers import Mask, Router, States, Tasks


class ExpertsRouter(Router):
    """H' = H + sum_e g_e U_e GELU(D_e H), g = softmax((W h_token + b_task) / tau) in float32.

    b routes by task, W by token; either can be switched off. With ``top_k`` only the k largest weights
    count, renormalised to sum to one. U is zero at the start.
    """

    of_tasks = ("task_gate",)

    def __init__(
        self,
        hidden: int,
        tasks: int,
        experts: int,
        bottleneck: int,
        by_task: bool = True,
        by_token: bool = True,
        tau: float = 1.0,
        top_k: int | None = None,
    ) -> None:
        super().__init__(hidden, tasks)
        self.experts = experts
        self.tau = tau
        self.top_k = top_k
        self.down = nn.Linear(hidden, experts * bottleneck)
        self.up = nn.Parameter(torch.zeros(experts * bottleneck, hidden))
        self.task_gate = nn.Parameter(torch.zeros(tasks, experts)) if by_task else None
        self.token_gate = nn.Parameter(torch.empty(experts, hidden)) if by_token else None
        if self.token_gate is not None:
            nn.init.normal_(self.token_gate, std=0.02)

    def gate(self, states: States, task: Tasks) -> Float[Tensor, "rows seq experts"]:
        """Weights of the experts: float32 [rows, seq, experts], non-negative, sum one."""
        with torch.autocast(states.device.type, enabled=False):
            rows, seq, _ = states.shape
            logits = states.new_zeros(rows, seq, self.experts, dtype=torch.float32)
            if self.token_gate is not None:
                logits = logits + functional.linear(states.float(), self.token_gate.float())
            if self.task_gate is not None:
                logits = logits + self.task_gate[task].float()[:, None, :]
            logits = logits / self.tau
            if self.top_k is not None and self.top_k < self.experts:
                kept = logits.topk(self.top_k, dim=-1).indices
                logits = torch.full_like(logits, float("-inf")).scatter(-1, kept, logits.gather(-1, kept))
            return logits.softmax(-1)

    def forward(self, states: States, mask: Mask, task: Tasks) -> States:  # noqa: ARG002
        """Add the gated sum of the experts to each token's state."""
        weights = self.gate(states, task)
        features = functional.gelu(self.down(states)).unflatten(-1, (self.experts, -1))
        weighted = (features * weights.to(features.dtype).unsqueeze(-1)).flatten(-2)
        return states + (weighted @ self.up.to(weighted.dtype)).to(states.dtype)
