"""What a step minimises: how the losses of the tasks in a batch become gradients."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from doubleroute.config import Training
from doubleroute.errors import ConfigError
from doubleroute.modeling.model import DoublerouteModel, RoutedOutput
from doubleroute.training.gradients import aggregator, backward
from doubleroute.training.machine import compute_device

if TYPE_CHECKING:
    from accelerate import Accelerator


class Objective:
    """The sum of the tasks' losses; with ``training.task_weights: uncertainty`` weighed by what is learned,
    and with ``training.gradients`` other than sum as one of the methods of ``gradients`` says.

    Uncertainty (Kendall et al. 2018, eq. 7 and 10): of each task c exp(-s) loss + s/2, s its learned log
    variance, c 1/2 for regression and else 1; each row counts the same, times its task's weight, as in the
    plain sum. s is 0 at the start, belongs to training alone and is no part of the model.
    Raises ConfigError when a method is asked for in a group of processes.
    """

    def __init__(
        self, training: Training, model: DoublerouteModel, parallel: "Accelerator | None" = None
    ) -> None:
        self.tasks, self.names = model.config.tasks, list(model.config.tasks)
        self.model, self.parallel, self.rate = model, parallel, training.head_learning_rate
        self.log_variances: nn.Parameter | None = None
        if training.task_weights == "uncertainty":
            self.log_variances = nn.Parameter(torch.zeros(len(self.names), device=compute_device()))
        self.aggregate = None
        if training.gradients != "sum":
            if parallel is not None:
                raise ConfigError(
                    "training.gradients: only sum learns on several GPUs; use one, or write sum"
                )
            self.aggregate = aggregator(training.gradients)

    @property
    def groups(self) -> list[dict[str, Any]]:
        """What the optimizer learns besides the model."""
        if self.log_variances is None:
            return []
        return [{"params": [self.log_variances], "lr": self.rate, "weight_decay": 0.0}]

    def backward(self, output: RoutedOutput, targets: Mapping[str, Tensor]) -> Tensor:
        """Fill the gradients from a pass in which each task had these ``targets``, one a labelled row; the
        loss, a scalar."""
        assert output.loss is not None
        assert output.losses is not None
        losses, loss = output.losses, output.loss
        if self.log_variances is not None:
            losses = self._by_uncertainty(output.losses, targets)
            loss = torch.stack([*losses.values()]).sum()
            loss = loss if output.penalty is None else loss + output.penalty
        if self.aggregate is not None:
            there = [each for name, each in losses.items() if len(targets[name])]
            if output.penalty is not None:  # every task pays its share
                there = [each + output.penalty / len(there) for each in there]
            backward(there, *self._parameters(), self.aggregate)
        elif self.parallel is not None:
            self.parallel.backward(loss)
            self._agree()
        else:
            loss.backward()
        return loss.detach()

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps of it, by name."""
        return {} if self.log_variances is None else {"objective.log_variances": self.log_variances.detach()}

    def put_back(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on with what ``tensors`` gave; others among these are passed over."""
        if self.log_variances is not None:
            self.log_variances.data.copy_(tensors["objective.log_variances"])

    def as_dict(self) -> dict[str, float] | None:
        """{task: exp(-s)}, what each task's loss is multiplied with now; None for fixed weights."""
        if self.log_variances is None:
            return None
        return dict(zip(self.names, torch.exp(-self.log_variances.detach()).tolist(), strict=True))

    def _by_uncertainty(
        self, losses: Mapping[str, Tensor], targets: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        assert self.log_variances is not None
        total, found = sum(map(len, targets.values())), {}
        for name, loss in losses.items():
            variance, about = self.log_variances[self.names.index(name)], self.tasks[name]
            half = 0.5 if about["kind"] == "regression" else 1.0
            share = about["weight"] * len(targets[name]) / total
            found[name] = half * torch.exp(-variance) * loss + share * variance / 2
        return found

    def _parameters(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """What learns of the model: that which tasks share, and that which is one task's own."""
        learning = [each for each in self.model.named_parameters() if each[1].requires_grad]
        own = [each for name, each in learning if name.startswith("heads.")]
        shared = [each for name, each in learning if not name.startswith("heads.")]
        return shared, own if self.log_variances is None else [*own, self.log_variances]

    def _agree(self) -> None:
        """The mean of the processes' gradients, for what is not part of the model that they share."""
        if self.parallel is not None and self.log_variances is not None:
            self.log_variances.grad = self.parallel.reduce(self.log_variances.grad, reduction="mean")
