"""Causal language models of several families as routers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from test_routers import IDS, MASK, awake, logits, routed

from doubleroute.errors import ModelError
from doubleroute.modeling.model import load_model
from doubleroute.modeling.routers import resolve

SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt_neo": {
        "hidden_size": 16,
        "num_layers": 2,
        "num_heads": 2,
        "attention_types": [[["global", "local"], 1]],
    },
    "gpt_neox": SIZES,
    "llama": {**SIZES, "num_key_value_heads": 1},
    "qwen2": {**SIZES, "num_key_value_heads": 1},
    "gemma2": {**SIZES, "num_key_value_heads": 1, "head_dim": 8, "sliding_window": 4},
    "bloom": {"hidden_size": 16, "n_layer": 2, "n_head": 2},
    "opt": {**SIZES, "ffn_dim": 32, "word_embed_proj_dim": 16},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_causal_model_of_any_family_begins_plain_keeps_rows_apart_and_is_saved(
    tiny_model: Path, tmp_path: Path, family: str
) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(family, vocab_size=20, **FAMILIES[family])
    place = tiny_model.parent / family
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        AutoModelForCausalLM.from_config(config).to(torch.bfloat16).save_pretrained(place)
    options = {"kind": "language_model", "source": family, "frozen": True}
    plain, model = logits(routed(tiny_model, {"kind": "none"})), routed(tiny_model, options)
    assert all(torch.equal(values, plain[task]) for task, values in logits(model).items())
    assert {value.dtype for value in model.router.parameters()} == {torch.float32}
    together, alone = logits(awake(model)), logits(model, IDS[1:2, :3], MASK[1:2, :3])
    for task, values in together.items():
        row = values[1, :3] if task == "entities" else values[1]
        torch.testing.assert_close(row, alone[task][0], rtol=1e-4, atol=1e-5)
        assert not torch.equal(values, plain[task])
    model.save_pretrained(tmp_path)
    for task, values in logits(load_model(tmp_path)).items():
        torch.testing.assert_close(values, together[task], rtol=1e-5, atol=1e-6)


def test_an_encoder_with_a_decoder_is_refused_as_a_language_model(tmp_path: Path) -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    T5ForConditionalGeneration(
        T5Config(vocab_size=9, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    ).save_pretrained(tmp_path / "t5")
    with pytest.raises(ModelError, match="is no causal language model such as GPT-2 or Llama"):
        resolve({"kind": "language_model", "source": "t5", "frozen": True}, tmp_path)
