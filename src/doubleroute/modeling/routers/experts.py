"""The two-level router: a gate of task and token weighs parallel bottleneck experts.

The gate is that of a mixture of experts (Shazeer et al. 2017) with a bias for each task, as in
task-conditioned routing (Ma et al. 2018); an expert is a bottleneck with a residual (Houlsby et al. 2019);
experts of one task alone beside shared ones are those of Tang et al. 2020.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from doubleroute.modeling.routers import Addition, Layers, Mask, Router, Sizes, States, Tasks
from doubleroute.modeling.routers.balance import load_balance, z_loss

Gate = Float[Tensor, "rows seq experts"]
#: W h_token: of the shared experts alone.
Said = Float[Tensor, "rows seq shared"]


class ExpertsRouter(Router):
    """H' = H + sum_e g_e U_e GELU(D_e H), g = softmax((W h_token + b_task) / tau) in float32.

    b routes by task, W by token; either can be switched off. With ``top_k`` only the k largest weights count,
    renormalised to sum to one. U is zero at the start, and so is b. A task has the ``experts`` that all share
    and ``private`` ones that no other task is given; in a gate they come last. A row of an unknown task (-1)
    has equal weights for the shared experts.

    In training alone: ``jitter`` multiplies what W reads by numbers drawn evenly from 1 - jitter to 1 +
    jitter (Fedus et al. 2022), ``expert_dropout`` leaves each expert out of a row with this chance (all that
    a row has are never left out), and ``load_balance`` and ``z_loss`` weigh the penalties of ``balance``.
    """

    of_learning = Router.of_learning | {"jitter", "expert_dropout", "load_balance", "z_loss"}

    def __init__(
        self,
        sizes: Sizes,
        experts: int,
        bottleneck: int,
        private: int = 0,
        by_task: bool = True,
        by_token: bool = True,
        tau: float = 1.0,
        top_k: int | None = None,
        jitter: float = 0.0,
        expert_dropout: float = 0.0,
        load_balance: float = 0.0,
        z_loss: float = 0.0,
    ) -> None:
        super().__init__(sizes)
        self.experts, self.private = experts, private
        self.tau, self.top_k = tau, top_k
        self.jitter, self.expert_dropout = jitter, expert_dropout
        self.load_balance, self.z_loss = load_balance, z_loss
        #: Given the gate, states, mask and task of a pass: the gate to use instead
        #: (``modeling.diagnostics``).
        self.instead: Callable[[Gate, States, Mask, Tasks], Gate] | None = None
        hidden, tasks, own = sizes.hidden, sizes.tasks, private * bottleneck
        self.down = nn.Linear(hidden, experts * bottleneck)
        self.up = nn.Parameter(torch.zeros(experts * bottleneck, hidden))
        self.task_gate = nn.Parameter(torch.zeros(tasks, experts + private)) if by_task else None
        self.token_gate = nn.Parameter(torch.zeros(experts, hidden)) if by_token else None
        self.private_gate = (
            nn.Parameter(torch.zeros(tasks, private, hidden)) if by_token and private else None
        )
        self.private_down = nn.Parameter(torch.zeros(tasks, hidden, own)) if private else None
        self.private_bias = nn.Parameter(torch.zeros(tasks, own)) if private else None
        self.private_up = nn.Parameter(torch.zeros(tasks, own, hidden)) if private else None
        names = ("task_gate", "private_gate", "private_down", "private_bias", "private_up")
        self.of_tasks = tuple(name for name in names if getattr(self, name) is not None)

    def begin(self, root: Path) -> None:  # noqa: ARG002
        """Draw W and the private experts' D."""
        for each in (self.token_gate, self.private_gate, self.private_down):
            if each is not None:
                nn.init.normal_(each, std=0.02)

    def gate(self, states: States, task: Tasks, by_task: bool = True, by_token: bool = True) -> Gate:
        """Weights of the experts: float32 [rows, seq, experts + private], non-negative, sum one.

        ``by_task``, ``by_token``: whether b and W have a say, where the router has them. Nothing is random.
        """
        with torch.autocast(states.device.type, enabled=False):
            return self._keep(self._logits(states, task, by_task, by_token), task).softmax(-1)

    def forward(self, states: States, mask: Mask, task: Tasks, layers: Layers | None = None) -> States:  # noqa: ARG002
        """Add the gated sum of the experts to each token's state."""
        weights = self._learning_gate(states, mask, task) if self.training else self.gate(states, task)
        if self.instead is not None:
            weights = self.instead(weights, states, mask, task)
        weighted = _weigh(self._features(states), weights[..., : self.experts])
        added = weighted @ self.up.to(weighted.dtype)
        if self.private_up is not None:
            weighted = _weigh(self._own_features(states, task), weights[..., self.experts :])
            added = added + torch.bmm(weighted, self.private_up[task.clamp_min(0)].to(weighted.dtype))
        return states + added.to(states.dtype)

    def additions(self, states: States, mask: Mask, tasks: Sequence[int]) -> list[Addition]:
        """The experts' weighted features and U."""
        features, found = self._features(states), []
        with torch.autocast(states.device.type, enabled=False):
            said = self._said(states)
        for number in tasks:
            task = torch.full_like(mask[:, 0], number)
            with torch.autocast(states.device.type, enabled=False):
                weights = self._keep(self._logits(states, task, said=said), task).softmax(-1)
            if self.instead is not None:
                weights = self.instead(weights, states, mask, task)
            up: Tensor = self.up
            weighted = _weigh(features, weights[..., : self.experts])
            if self.private_up is not None:
                own = _weigh(self._own_features(states, task), weights[..., self.experts :])
                weighted = torch.cat([weighted, own], -1)
                up = torch.cat([up, self.private_up[number]])
            found.append(Addition(weighted, up))
        return found

    def _features(self, states: States) -> Float[Tensor, "rows seq experts units"]:
        """GELU(D H) of the shared experts."""
        return functional.gelu(self.down(states)).unflatten(-1, (self.experts, -1))

    def _own_features(self, states: States, task: Tasks) -> Float[Tensor, "rows seq private units"]:
        """The same of each task's own experts."""
        assert self.private_down is not None
        assert self.private_bias is not None
        asked = task.clamp_min(0)
        down, bias = self.private_down[asked], self.private_bias[asked]
        own = torch.bmm(states.to(down.dtype), down)
        return functional.gelu(own + bias.to(own.dtype)[:, None, :]).unflatten(-1, (self.private, -1))

    def _learning_gate(self, states: States, mask: Mask, task: Tasks) -> Gate:
        """The gate with jitter and left-out experts; notes the penalty."""
        with torch.autocast(states.device.type, enabled=False):
            read = states.float()
            if self.jitter:
                read = read * torch.empty_like(read).uniform_(1 - self.jitter, 1 + self.jitter)
            logits = self._logits(read, task)
            self.penalty = self._penalty(logits, mask, task)
            if self.expert_dropout:
                there = logits[:, :1] > float("-inf")
                out = torch.rand_like(logits[:, :1]) < self.expert_dropout
                out = out & (there & ~out).any(-1, keepdim=True)
                logits = logits.masked_fill(out, float("-inf"))
            return self._keep(logits, task).softmax(-1)

    def _penalty(self, logits: Tensor, mask: Mask, task: Tasks) -> Tensor | None:
        found = []
        if self.load_balance:
            weights = logits.softmax(-1)
            chosen = weights
            if self.top_k is not None:
                kept = self._keep(logits, task) > float("-inf")
                chosen = kept.float() / kept.sum(-1, keepdim=True)
            found.append(self.load_balance * load_balance(weights, chosen, mask, task, self.experts))
        if self.z_loss:
            found.append(self.z_loss * z_loss(logits, mask))
        return torch.stack(found).sum() if found else None

    def _said(self, states: States) -> Said | None:
        """W h_token of the shared experts; None for a gate that sees no token."""
        if self.token_gate is None:
            return None
        return functional.linear(states.float(), self.token_gate.float())

    def _logits(
        self,
        states: States,
        task: Tasks,
        by_task: bool = True,
        by_token: bool = True,
        said: Said | None = None,
    ) -> Float[Tensor, "rows seq experts"]:
        """(W h_token + b_task) / tau; minus infinity for the private experts of an unknown task. ``said``:
        what ``_said`` gives, where that is known."""
        rows, seq, _ = states.shape
        known, asked = (task >= 0)[:, None, None], task.clamp_min(0)
        logits = states.new_zeros(rows, seq, self.experts + self.private, dtype=torch.float32)
        if by_token and self.token_gate is not None:
            said = self._said(states) if said is None else said
            assert said is not None
            if self.private_gate is not None:
                own = torch.bmm(states.float(), self.private_gate[asked].float().transpose(1, 2))
                said = torch.cat([said, own], -1)
            logits = logits + said
        if by_task and self.task_gate is not None:
            logits = logits + self.task_gate[asked].float()[:, None, :]
        logits = logits / self.tau * known
        if self.private:
            private = torch.arange(logits.shape[-1], device=logits.device) >= self.experts
            logits = logits.masked_fill(~known & private, float("-inf"))
        return logits

    def _keep(self, logits: Tensor, task: Tasks) -> Tensor:
        """Minus infinity for all but the k largest, save where the task is unknown."""
        if self.top_k is None or self.top_k >= logits.shape[-1]:
            return logits
        kept = logits.topk(self.top_k, dim=-1).indices
        few = torch.full_like(logits, float("-inf")).scatter(-1, kept, logits.gather(-1, kept))
        return torch.where((task >= 0)[:, None, None], few, logits)


def _weigh(features: Tensor, weights: Tensor) -> Tensor:
    """[rows, seq, experts, units] times [rows, seq, experts], flattened to [rows, seq, experts * units]."""
    return (features * weights.to(features.dtype).unsqueeze(-1)).flatten(-2)
