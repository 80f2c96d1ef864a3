"""Dropout by 16 random bits an element, and the attention that uses it."""

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel

from doubleroute.modeling.quick import Dropout, attention, dropout, make_quick


def encoder(**options: float) -> BertModel:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    torch.manual_seed(0)
    config = BertConfig(vocab_size=40, max_position_embeddings=32, **sizes, **options)
    return BertModel._from_config(config, attn_implementation="eager")


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("form", [torch.float32, torch.bfloat16])
def test_dropout_zeroes_a_share_of_p_and_keeps_the_mean(p: float, form: torch.dtype) -> None:
    torch.manual_seed(0)
    given = dropout(torch.ones(1000, 401, dtype=form), p)
    assert given.dtype == form
    assert float((given == 0).float().mean()) == pytest.approx(p, abs=0.005)
    factor = torch.tensor(1 / (1 - p) if p < 1 else 0.0).to(form)
    assert float(given.max()) == pytest.approx(float(factor), rel=1e-4)


def test_dropout_follows_from_the_generator_of_torch() -> None:
    values = torch.randn(7, 13)
    torch.manual_seed(1)
    first, second = dropout(values, 0.5), dropout(values, 0.5)
    state = torch.get_rng_state()
    third = dropout(values, 0.5)
    torch.manual_seed(1)
    assert torch.equal(dropout(values, 0.5), first)
    assert torch.equal(dropout(values, 0.5), second)
    assert not torch.equal(first, second)
    torch.set_rng_state(state)
    assert torch.equal(dropout(values, 0.5), third)


def test_the_gradient_is_that_of_the_values_that_were_kept() -> None:
    values = torch.ones(50, dtype=torch.bfloat16, requires_grad=True)
    given = dropout(values, 0.5)
    given.sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad, given.detach())


def test_in_evaluation_a_quick_encoder_answers_as_before_bit_by_bit_and_has_the_same_weights() -> None:
    model, ids = encoder(), torch.arange(12).reshape(2, 6)
    mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
    before, names = model.eval()(ids, mask).last_hidden_state, list(model.state_dict())
    make_quick(model, model, "cpu")
    assert model.config._attn_implementation == "doubleroute"
    assert torch.equal(model.eval()(ids, mask).last_hidden_state, before)
    assert list(model.state_dict()) == names
    assert all(type(module) is Dropout for module in model.modules() if isinstance(module, nn.Dropout))


def test_on_a_gpu_the_fused_attention_is_taken_where_it_gives_the_same_states() -> None:
    model, ids = encoder(), torch.arange(12).reshape(2, 6)
    mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
    before = model.eval()(ids, mask).last_hidden_state
    make_quick(model, model, "cuda")
    assert model.config._attn_implementation == "sdpa"
    after = model.eval()(ids, mask).last_hidden_state
    torch.testing.assert_close(after[mask.bool()], before[mask.bool()])
    assert not any(type(module) is Dropout for module in model.modules())


def test_in_training_attention_drops_weights() -> None:
    model = encoder(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.5)
    make_quick(model, model, "cpu")
    ids = torch.arange(6)[None]
    first, second = (model.train()(ids).last_hidden_state for _ in range(2))
    assert not torch.equal(first, second)


def test_an_attention_that_does_something_else_stays() -> None:
    model = encoder()

    class Louder(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, *given: object, **options: object) -> object:
            states, *rest = self.inner(*given, **options)
            # What it adds stands for a bias or a cap that only its own eager attention knows.
            loud = 2.0 if model.config._attn_implementation == "eager" else 1.0
            return (states * loud, *rest)

    for layer in model.encoder.layer:
        layer.attention.self = Louder(layer.attention.self)
    make_quick(model, model, "cpu")
    assert model.config._attn_implementation == "eager"


def test_attention_weighs_what_the_mask_lets_through() -> None:
    query, key, value = torch.randn(3, 1, 2, 5, 8).unbind()
    mask = torch.zeros(1, 1, 1, 5)
    mask[..., 3:] = float("-inf")
    given, weights = attention(nn.Module().eval(), query, key, value, mask)
    wanted = nn.functional.scaled_dot_product_attention(query, key, value, mask)
    torch.testing.assert_close(given, wanted.transpose(1, 2))
    assert float(weights[..., 3:].abs().max()) == 0
