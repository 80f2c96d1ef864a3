"""Which parameters learn, how fast, and by which schedule."""

import math
from collections.abc import Callable, Collection, Iterable
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from doubleroute.config import Training
from doubleroute.errors import ConfigError
from doubleroute.modeling.model import DoublerouteModel
from doubleroute.modeling.trunk import Trunk, around, layers_of, refuse_other_layers


def freeze(model: DoublerouteModel, depth: int | None, dropout: float) -> Trunk | None:
    """Freeze the embeddings and the ``depth`` lowest layers (None: nothing), and the layers that no task
    reads, and set the dropout of the rest; give the frozen trunk, if there is one. With a layer learns what
    stands above it; when all are frozen nothing of the backbone does. Raises ModelError for a backbone whose
    layers cannot be told apart where that is needed."""
    for module in model.backbone.modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout
        for name, value in vars(module).items():  # ModernBERT and others drop attention by a bare number
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, dropout)
    refuse_other_layers(model.backbone, model.reads[-1:])  # of the wrong list none is a layer
    deepest = model.deepest()
    unread = set(around(model.backbone, deepest)[1] if deepest < model.height else ())
    named = dict(model.backbone.named_parameters())
    learning = [name for name, each in named.items() if each.requires_grad]
    if depth is not None:
        learning = around(model.backbone, depth)[1] if depth < len(layers_of(model.backbone)) else []
    for name, parameter in named.items():
        parameter.requires_grad_(name in learning and name not in unread)
    return None if depth is None else Trunk(model.backbone, depth)


def freeze_all_but(model: DoublerouteModel, tasks: Collection[str]) -> None:
    """Leave nothing to learn but the heads of these tasks: the answers to the others cannot change."""
    model.requires_grad_(False)
    for task in tasks:
        model.heads[task].requires_grad_(True)


def checkpoint_gradients(backbone: PreTrainedModel) -> None:
    """Keep of each layer its input alone and compute the rest again for its gradient (Chen et al. 2016).
    Raises ConfigError for a backbone that cannot."""
    if not backbone.supports_gradient_checkpointing:
        raise ConfigError(
            f"training.gradient_checkpointing: {type(backbone).__name__} cannot do it; take it out and write "
            "a smaller training.batch_size or backbone.max_tokens"
        )
    backbone.activation_checkpointing_enable({"use_reentrant": False})


def learn_mode(model: DoublerouteModel) -> None:
    """Training mode for what learns; evaluation mode (no dropout) for what is frozen."""
    model.train()
    for module in model.modules():
        own = list(module.parameters())
        if own and not any(parameter.requires_grad for parameter in own):
            module.eval()


def parameter_groups(
    model: DoublerouteModel,
    training: Training,
    share: float = 1.0,
    fresh: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Groups for the optimizer: backbone, each router and heads with rates of their own; no weight decay
    on biases and norms (one-dimensional parameters). What has learned before has a ``share`` of its rate;
    the heads of the ``fresh`` tasks have not."""
    heads: tuple[list[nn.Module], list[nn.Module]] = ([], [])
    for task, head in model.heads.items():
        heads[task in fresh].append(head)
    parts: list[tuple[nn.Module, float]] = [
        (model.backbone, training.learning_rate * share),
        *((each, (each.learning_rate or training.head_learning_rate) * share) for each in model.router.parts),
        (nn.ModuleList(heads[0]), training.head_learning_rate * share),
        (nn.ModuleList(heads[1]), training.head_learning_rate),
    ]
    groups = []
    for module, rate in parts:
        learning = [each for each in module.parameters() if each.requires_grad]
        for decays in (True, False):
            chosen = [each for each in learning if (each.ndim > 1) == decays]
            if chosen:
                decay = training.weight_decay if decays else 0.0
                groups.append({"params": chosen, "lr": rate, "weight_decay": decay})
    return groups


def make_optimizer(training: Training, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019, fused) or SGD with momentum 0.9."""
    if training.optimizer == "adamw":
        return torch.optim.AdamW(groups, fused=True)
    return torch.optim.SGD(groups, momentum=0.9)


def schedule(kind: str, total: int, warmup: float) -> Callable[[int], float]:
    """The factor of the learning rate at step 0..total-1: linear warm-up, then constant, linear to zero
    or half a cosine to zero. Never zero at a step that is taken."""
    rising = round(total * warmup)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)
        left = (total - step) / max(1, total - rising)
        if kind == "linear":
            return left
        return 0.5 * (1 - math.cos(math.pi * left)) if kind == "cosine" else 1.0

    return factor


def count(parameters: Iterable[nn.Parameter]) -> int:
    """How many numbers these parameters hold."""
    return sum(each.numel() for each in parameters)
