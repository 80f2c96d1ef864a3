"""What makes training faster on a device without changing what is computed.

On a processor it is dropout: torch draws a double for every element that dropout may zero, and with MiniLM
on short texts that took a tenth of a step. Here 16 bits are drawn, in half the time.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

from doubleroute.errors import ModelError
from doubleroute.modeling.backbone import states_of
from doubleroute.modeling.trunk import layers_of

_NAME = "doubleroute"
#: Values of the bits that are drawn for an element.
_VALUES = 1 << 16


def make_quick(model: nn.Module, backbone: PreTrainedModel, device: str) -> None:
    """On the CPU let the dropouts of a model be ``dropout``, also the one inside the backbone's attention
    where transformers lets that be chosen; on a GPU let the attention be torch's fused one (sdpa). An
    attention that gives other states than the backbone's own is not taken."""
    if device == "cpu":
        for module in list(model.modules()):
            for name, child in module.named_children():
                if type(child) is nn.Dropout:
                    setattr(module, name, Dropout(child.p))
        AttentionInterface.register(_NAME, attention)
        AttentionMaskInterface.register(_NAME, eager_mask)
    chosen, exact = (_NAME, True) if device == "cpu" else ("sdpa", False)
    if backbone.config._attn_implementation == "eager" and backbone._can_set_attn_implementation():
        wanted = _states(backbone)
        try:
            backbone.set_attn_implementation(chosen)
        except ValueError:  # transformers names no other one for this backbone
            return
        found = _states(backbone)
        if not (torch.equal(found, wanted) if exact else torch.allclose(found, wanted, atol=1e-4)):
            backbone.set_attn_implementation("eager")


def narrow(backbone: PreTrainedModel, depth: int) -> None:
    """Let the states between the layers from ``depth`` on be bfloat16 under autocast, in which their products
    are anyway; norms still sum in float32, and the last states are float32 again. Without it each sum of a
    layer's input and output is float32, and is made bfloat16 anew for each product that reads it."""
    try:
        layers = layers_of(backbone)
    except ModelError:
        return
    if depth >= len(layers):
        return

    def before(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if not torch.is_autocast_enabled("cpu"):
            return None
        form = torch.get_autocast_dtype("cpu")
        if given:
            return (given[0].to(form), *given[1:]), named
        return given, {**named, "hidden_states": named["hidden_states"].to(form)}

    def after(_: nn.Module, __: object, output: Any) -> None:
        output.last_hidden_state = output.last_hidden_state.float()

    layers[depth].register_forward_pre_hook(before, with_kwargs=True)
    backbone.register_forward_hook(after)


def _states(backbone: PreTrainedModel) -> Tensor:
    """Of two made-up rows, the second of them padded; dropout is off."""
    ids = torch.arange(2, 18).reshape(2, 8) % backbone.config.vocab_size
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    training = backbone.training
    backbone.eval()
    with torch.no_grad():
        states = states_of(backbone, ids, mask)
    backbone.train(training)
    return states


class Dropout(nn.Dropout):
    """nn.Dropout by ``dropout``."""

    def forward(self, input: Tensor) -> Tensor:
        """Drop in training mode."""
        return dropout(input, self.p) if self.training else input


def dropout(values: Tensor, p: float) -> Tensor:
    """Each value is zero with probability ``p``, to 16 bits, and else divided by 1 - p (Srivastava et al.
    2014): [...] -> [...]. The random bits follow from the state of torch's generator."""
    dropped = round(p * _VALUES)
    if dropped == 0:
        return values
    if dropped == _VALUES:
        return values * 0.0
    stream = np.random.SFC64(int(torch.randint(1 << 62, ())))
    count = values.numel()
    # In numpy: torch takes several times as long to compare bytes and to turn truths into numbers.
    kept = stream.random_raw(-(-count // 4)).view(np.uint16)[:count] >= dropped
    factor = torch.tensor(_VALUES / (_VALUES - dropped), dtype=values.dtype)
    if values.dtype == torch.bfloat16:  # numpy has none: the 16 bits of the factor, or of zero
        factors = np.multiply(kept, factor.view(torch.int16).numpy(), dtype=np.int16)
    else:
        factors = np.multiply(kept, factor.numpy())
    return values * torch.from_numpy(factors).view(values.dtype).view(values.shape)


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """softmax(Q K' * scaling + mask) V (Vaswani et al. 2017), as transformers' eager attention has it:
    [batch, heads, seq, size] -> [batch, seq, heads, size], and the weights [batch, heads, seq, seq]."""
    if key.shape[1] < query.shape[1]:  # grouped queries
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = torch.matmul(query, key.transpose(2, 3)) * scale
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = _drop_weights(nn.functional.softmax(scores, dim=-1), dropout, module.training)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


def _drop_weights(weights: Tensor, p: float, training: bool) -> Tensor:
    return dropout(weights, p) if training else weights
