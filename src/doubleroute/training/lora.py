"""Low-rank adapters inside the backbone: they learn in place of its weights and end up merged into them."""

import zlib
from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers import PreTrainedModel

from doubleroute.config import Lora
from doubleroute.errors import ConfigError

if TYPE_CHECKING:
    from peft.tuners.lora import LoraModel


def adapt(backbone: PreTrainedModel, options: Lora, seed: int) -> "LoraModel | None":
    """Put a LoRA adapter (Hu et al. 2022: W + alpha / rank B A, B zero at the start) into each linear layer
    that would learn and is among ``options.targets``; nothing else of the backbone learns then.

    ``merge_and_unload`` of what is given adds the adapters to the weights and takes them out. None when no
    linear layer would learn. Raises ConfigError for a target that is none of those layers. The caller has
    seen to it that peft is installed (``extras``).
    """
    learning = [
        name
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Linear) and module.weight.requires_grad
    ]
    if not learning:
        return None
    chosen = learning
    if options.targets is not None:
        chosen = [name for name in learning if any(_is(name, target) for target in options.targets)]
        for target in options.targets:
            if not any(_is(name, target) for name in learning):
                known = ", ".join(dict.fromkeys(name.rpartition(".")[2] for name in learning))
                raise ConfigError(
                    f"training.lora.targets: the layers that learn have no linear layer '{target}'; they "
                    f"have: {known}"
                )
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel

    config = LoraConfig(r=options.rank, lora_alpha=options.alpha, target_modules=chosen)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(zlib.crc32(f"{seed} lora".encode()))
        return LoraModel(backbone, config, "default")


def _is(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")
