"""The pass of a model in training as a recording of a GPU's kernels: the same values and gradients."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ModernBertConfig,
    PreTrainedConfig,
    XLMRobertaConfig,
)

from doubleroute.modeling.model import DoublerouteConfig, DoublerouteModel
from doubleroute.modeling.quick import make_quick
from doubleroute.modeling.recorded import Recorded
from doubleroute.modeling.trunk import Trunk

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="records the kernels of a GPU: none here"),
]

SIZES: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 66,
}
DISTIL: dict[str, Any] = {"vocab_size": 60, "dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 64}
ROUTERS: dict[str, dict[str, Any]] = {
    "none": {"kind": "none"},
    "experts": {"kind": "experts", "experts": 2, "bottleneck": 8},
    "layers": {"kind": "layers", "top": 3},
}
DROPPED = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def model(
    backbone: PreTrainedConfig, router: str = "experts", dropout: float | None = None
) -> DoublerouteModel:
    """A random model of two tasks on the GPU, in training."""
    head = {"pooling": "mean", "dropout": 0.0, "weight": 1.0}
    tasks = {
        "sentiment": {"kind": "classification", "labels": ["neg", "pos"], **head},
        "entities": {"kind": "tagging", "labels": ["O", "B", "I"], **head},
    }
    torch.manual_seed(0)
    config = DoublerouteConfig(backbone.to_dict(), ROUTERS[router], tasks, max_tokens=60)
    made = DoublerouteModel(config)
    for each in made.parameters():
        if each.ndim > 1:
            torch.nn.init.normal_(each, std=0.1)
    make_quick(made, made.backbone, "cuda")
    if dropout is not None:
        for module in made.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = dropout
    return made.cuda().train()


def batch(rows: int, width: int, seed: int) -> dict[str, Any]:
    """Random rows of at most ``width`` tokens, half of them of each task."""
    chance = torch.Generator().manual_seed(seed)
    ids = torch.randint(4, 60, (rows, width), generator=chance)
    lengths = torch.randint(2, width + 1, (rows, 1), generator=chance)
    lengths[0] = width
    mask = (torch.arange(width)[None] < lengths).long()
    half = rows // 2
    numbers = {"sentiment": torch.arange(half), "entities": torch.arange(half, rows)}
    targets = {
        "sentiment": torch.randint(0, 2, (half,), generator=chance),
        "entities": torch.where(
            mask[half:] > 0, torch.randint(0, 3, (rows - half, width), generator=chance), -100
        ),
    }
    moved: dict[str, Any] = {"input_ids": (ids * mask).cuda(), "attention_mask": mask.cuda()}
    for name, each in {"rows": numbers, "targets": targets}.items():
        moved[name] = {task: value.cuda() for task, value in each.items()}
    return moved


def learned(made: DoublerouteModel, given: dict[str, Any]) -> dict[str, Tensor]:
    """The loss of a batch and its gradients, by parameter."""
    made.zero_grad(set_to_none=True)
    loss = made(**given).loss
    loss.backward()
    found = {name: value.grad.clone() for name, value in made.named_parameters() if value.grad is not None}
    return {"loss": loss.detach(), **found}


def assert_the_same(found: dict[str, Tensor], wanted: dict[str, Tensor], rough: bool = False) -> None:
    assert set(found) >= {name for name, value in wanted.items() if value.any()}
    # Some gradients are zero but for rounding: that of an attention's keys does not depend on their bias.
    least = 1e-2 * max(float(each.norm()) for each in wanted.values())
    for name, value in found.items():
        reference = wanted.get(name, torch.zeros_like(value))
        apart = float((value - reference).norm()) / max(float(reference.norm()), least)
        assert apart < (3e-2 if rough else 1e-3), (name, apart)


BACKBONES: dict[str, PreTrainedConfig] = {
    "bert": BertConfig(**SIZES, **DROPPED),
    "xlm-roberta": XLMRobertaConfig(**SIZES, **DROPPED, pad_token_id=0),
    "distilbert": DistilBertConfig(**DISTIL, dropout=0.0, attention_dropout=0.0),
    "modernbert": ModernBertConfig(**SIZES, pad_token_id=0, global_attn_every_n_layers=2, local_attention=16),
    "deberta": DebertaV2Config(**SIZES, **DROPPED, relative_attention=True, pos_att_type=["p2c", "c2p"]),
}


@pytest.mark.parametrize("family", BACKBONES)
@pytest.mark.parametrize("router", ROUTERS)
def test_a_recording_gives_the_loss_and_gradients_of_the_model(family: str, router: str) -> None:
    made = model(BACKBONES[family], router)
    recorded = Recorded(made, None, pad_id=0)
    # Each shape comes again after others: what is recorded does not depend on which ran before.
    batches = [
        batch(rows, width, seed)
        for seed, (rows, width) in enumerate([(8, 9), (6, 15), (10, 24), (11, 21)] * 5)
    ]
    wanted = [learned(made, given) for given in batches]
    made.encode_layers = recorded  # type: ignore[method-assign]
    for given, reference in zip(batches, wanted, strict=True):
        assert_the_same(learned(made, given), reference)
    assert {shape[:2] for shape in recorded.recordings} == {(8, 16), (6, 16), (12, 24)}, recorded.refused


def test_in_bfloat16_a_recording_is_as_near_as_its_rounding() -> None:
    made = model(BACKBONES["bert"])
    with torch.autocast("cuda", torch.bfloat16):
        wanted = [learned(made, batch(8, 16, seed)) for seed in range(6)]
        made.encode_layers = recorded = Recorded(made, None, pad_id=0)  # type: ignore[method-assign]
        for seed, reference in enumerate(wanted):
            assert_the_same(learned(made, batch(8, 16, seed)), reference, rough=True)
        assert torch.is_autocast_cache_enabled()
    assert len(recorded.recordings) == 1, recorded.refused


def test_a_recording_draws_other_dropout_each_time_and_learns_with_what_the_optimizer_changed() -> None:
    made = model(BertConfig(**SIZES), dropout=0.2)
    made.encode_layers = recorded = Recorded(made, None, pad_id=0)  # type: ignore[method-assign]
    given = batch(8, 16, 1)
    losses = [float(learned(made, given)["loss"]) for _ in range(8)]
    assert len(set(losses)) == len(losses)
    assert recorded.recordings
    optimizer = torch.optim.AdamW(made.parameters(), lr=1e-2, fused=True)
    for _ in range(60):
        learned_now = learned(made, given)
        optimizer.step()
    assert float(learned_now["loss"]) < 0.7 * min(losses)


def test_a_recording_reads_the_states_of_a_trunk_that_is_out() -> None:
    made = model(BACKBONES["bert"], "layers")
    for name, each in made.backbone.named_parameters():
        each.requires_grad_("layer.2" in name)
    trunk = Trunk(made.backbone.cpu(), 2)
    made.cuda()
    trunk.take_out()
    batches = [batch(8, 13, seed) for seed in range(6)]
    states = [
        {depth: torch.randn(8, 13, 32, dtype=torch.bfloat16) for depth in (1, 2)} for _ in range(len(batches))
    ]
    wanted = []
    for given, fed in zip(batches, states, strict=True):
        trunk.feed(fed)
        wanted.append(learned(made, given))
    made.encode_layers = recorded = Recorded(made, trunk, pad_id=0)  # type: ignore[method-assign]
    for given, fed, reference in zip(batches, states, wanted, strict=True):
        trunk.feed(fed)
        assert_the_same(learned(made, given), reference)
    assert len(recorded.recordings) == 1, recorded.refused


def test_a_backbone_whose_kernels_depend_on_values_learns_unrecorded() -> None:
    made = model(BertConfig(**SIZES), dropout=0.2)

    def ask(_: Any, __: Any, output: Any) -> None:
        first = output[0] if isinstance(output, tuple) else output
        assert float(first.abs().sum()) > 0

    made.backbone.encoder.layer[0].register_forward_hook(ask)
    made.encode_layers = recorded = Recorded(made, None, pad_id=0)  # type: ignore[method-assign]
    before = torch.cuda.current_stream()
    losses = {float(learned(made, batch(8, 16, 1))["loss"]) for _ in range(8)}
    assert recorded.refused
    assert "captur" in recorded.refused
    assert not recorded.recordings
    assert len(losses) == 8
    assert torch.cuda.current_stream() == before
    other = model(BACKBONES["bert"])
    wanted = learned(other, batch(8, 16, 1))
    other.encode_layers = again = Recorded(other, None, pad_id=0)  # type: ignore[method-assign]
    for _ in range(4):
        assert_the_same(learned(other, batch(8, 16, 1)), wanted)
    assert len(again.recordings) == 1, again.refused


def test_in_evaluation_the_model_runs_as_it_is() -> None:
    made = model(BACKBONES["bert"])
    given = {name: value for name, value in batch(7, 11, 1).items() if name not in ("rows", "targets")}
    wanted = made.eval()(**given).logits
    made.encode_layers = recorded = Recorded(made, None, pad_id=0)  # type: ignore[method-assign]
    for _ in range(4):
        found = made(**given).logits
    assert all(torch.equal(found[task], wanted[task]) for task in wanted)
    assert not recorded.seen
