"""One checklist for every router."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from doubleroute.modeling.model import DoublerouteConfig, DoublerouteModel, assemble, load_model
from doubleroute.modeling.routers import Router, Sizes, make_router, resolve
from doubleroute.modeling.routers.experts import ExpertsRouter
from doubleroute.modeling.routers.layers import LayersRouter

EXPERTS = {"kind": "experts", "experts": 3, "bottleneck": 4}
ROUTERS: dict[str, dict[str, Any]] = {
    "none": {"kind": "none"},
    "linear": {"kind": "linear"},
    "mlp": {"kind": "mlp", "width": 8},
    "pooled": {"kind": "pooled", "width": 8},
    "layers": {"kind": "layers", "top": None},
    "layers top 2": {"kind": "layers", "top": 2},
    "layers with a bottleneck": {"kind": "layers", "top": None, "bottleneck": 3},
    "transformer": {"kind": "transformer", "width": 8, "heads": 2},
    "GPT-2, frozen": {"kind": "language_model", "source": "gpt2", "frozen": True},
    "Llama": {"kind": "language_model", "source": "llama", "frozen": False},
    "experts": EXPERTS,
    "experts by task": {**EXPERTS, "by_token": False},
    "experts by token": {**EXPERTS, "by_task": False},
    "experts top 2": {**EXPERTS, "top_k": 2, "tau": 0.5},
    "experts, private": {**EXPERTS, "private": 2},
    "experts, private, top 2, by token": {**EXPERTS, "private": 1, "top_k": 2, "by_task": False},
    "layers before experts": {
        "kind": "stack",
        "routers": [{"kind": "layers", "top": 2}, {**EXPERTS, "private": 1}],
    },
    "a stack of three": {
        "kind": "stack",
        "routers": [{"kind": "pooled", "width": 8}, {"kind": "layers", "top": None}, {"kind": "linear"}],
    },
}
GATED = [name for name in ROUTERS if name.startswith("experts")]
every_router = pytest.mark.parametrize("options", ROUTERS.values(), ids=ROUTERS.keys())


def write_language_models(root: Path) -> None:
    """Two random causal language models of 12 units, ``gpt2`` and ``llama``, without tokenizers."""
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    gpt2 = GPT2Config(vocab_size=9, n_positions=32, n_embd=12, n_layer=2, n_head=2)
    llama = LlamaConfig(vocab_size=9, hidden_size=12, intermediate_size=16, num_hidden_layers=1,
                        num_attention_heads=2, max_position_embeddings=32)  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        for name, model in (("gpt2", GPT2LMHeadModel(gpt2)), ("llama", LlamaForCausalLM(llama))):
            model.save_pretrained(root / name)


def routed(folder: Path, options: dict[str, Any]) -> DoublerouteModel:
    """The tiny model with another router."""
    root = folder.parent
    if "language_model" in str(options) and not (root / "llama").is_dir():
        write_language_models(root)
    model = load_model(folder)
    config = DoublerouteConfig(**{**model.config.to_dict(), "router": resolve(options, root)})
    return assemble(config, model.backbone, seed=1, root=root).eval()


def awake(model: DoublerouteModel) -> DoublerouteModel:
    """The model after its router has learnt something: no parameter is zero."""
    with torch.no_grad():
        generator = torch.Generator().manual_seed(2)
        for parameter in model.router.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


IDS = torch.tensor([[2, 5, 6, 7, 3], [2, 8, 3, 0, 0], [2, 9, 10, 3, 0]])
MASK = (IDS > 0).long()
TARGETS = {
    "sentiment": torch.tensor([0, 1, 1]),
    "topics": torch.tensor([[1.0, 0.0]] * 3),
    "stars": torch.ones(3),
    "entities": torch.zeros(3, 5, dtype=torch.long),
}


def logits(model: DoublerouteModel, ids: Tensor = IDS, mask: Tensor = MASK) -> dict[str, Tensor]:
    """All tasks' logits of a batch."""
    with torch.inference_mode():
        found: dict[str, Tensor] = model(ids, mask).logits
        return found


def loss(model: DoublerouteModel, tasks: tuple[str, ...] = tuple(TARGETS)) -> Tensor:
    """The loss of a batch whose rows all have the labels of these tasks."""
    rows = {task: torch.arange(3) for task in tasks}
    found: Tensor = model(IDS, MASK, rows=rows, targets={task: TARGETS[task] for task in tasks}).loss
    return found


@every_router
def test_every_router_begins_bit_equal_to_the_plain_model(tiny_model: Path, options: dict[str, Any]) -> None:
    plain, started = logits(routed(tiny_model, ROUTERS["none"])), logits(routed(tiny_model, options))
    for task, values in plain.items():
        assert torch.equal(values, started[task]), task


@every_router
def test_a_gradient_arrives_at_the_first_step(tiny_model: Path, options: dict[str, Any]) -> None:
    model = routed(tiny_model, options)
    loss(model).backward()
    ups = [value for name, value in model.router.named_parameters() if name.endswith("up")]
    assert bool(ups) == (options["kind"] != "none")
    assert all(up.grad is not None and up.grad.abs().max() > 0 for up in ups)


@every_router
def test_everything_learns_once_the_router_is_awake(tiny_model: Path, options: dict[str, Any]) -> None:
    model = awake(routed(tiny_model, options))
    loss(model).backward()
    still = {name for name, value in model.router.named_parameters() if value.grad is None}
    frozen = {name for name, value in model.router.named_parameters() if not value.requires_grad}
    assert still == frozen
    assert bool(frozen) == (options.get("frozen") is True)


@every_router
def test_a_row_does_not_depend_on_neighbours_padding_or_order(
    tiny_model: Path, options: dict[str, Any]
) -> None:
    model = awake(routed(tiny_model, options))
    together = logits(model)
    alone = logits(model, IDS[1:2, :3], MASK[1:2, :3])
    wide = torch.zeros(3, 4, dtype=torch.long)
    wider = logits(model, torch.cat([IDS, wide], 1), torch.cat([MASK, wide], 1))
    turned = logits(model, IDS.flip(0), MASK.flip(0))
    for task, values in together.items():
        row = values[1, :3] if task == "entities" else values[1]
        torch.testing.assert_close(row, alone[task][0], rtol=1e-5, atol=1e-6)
        real = MASK[..., None].bool() if task == "entities" else torch.ones(3, 1, dtype=torch.bool)
        torch.testing.assert_close(values * real, turned[task].flip(0) * real, rtol=1e-5, atol=1e-6)
        padded = wider[task][:, :5] if task == "entities" else wider[task]
        torch.testing.assert_close(values * real, padded * real, rtol=1e-5, atol=1e-6)


@every_router
def test_saving_and_loading_keeps_every_answer_exactly(
    tiny_model: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    model = awake(routed(tiny_model, options))
    model.save_pretrained(tmp_path)
    loaded = load_model(tmp_path)
    assert type(loaded.router) is type(model.router)
    assert loaded.task_numbers == model.task_numbers
    weights = loaded.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    for task, values in logits(model).items():
        torch.testing.assert_close(values, logits(loaded)[task], rtol=1e-6, atol=1e-7)


@every_router
def test_a_saved_model_has_each_tensor_once_and_needs_no_other_file(
    tiny_model: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    routed(tiny_model, options).save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
    kept = load_file(tmp_path / "model.safetensors")
    backbone = {name for name in kept if name.startswith("backbone.")}
    assert backbone == {name for name in load_file(tiny_model / "model.safetensors") if name in backbone}
    assert not any("wte" in name or "embed_tokens" in name for name in kept)
    assert sum(each.numel() for each in kept.values()) == sum(
        each.numel() for each in load_model(tmp_path).parameters()
    )


@every_router
def test_rows_of_some_tasks_are_answered_as_when_all_are_asked(
    tiny_model: Path, options: dict[str, Any]
) -> None:
    model = awake(routed(tiny_model, options))
    whole = logits(model)
    rows = {"entities": torch.tensor([2, 0]), "topics": torch.tensor([], dtype=torch.long)}
    with torch.inference_mode():
        some = model(IDS, MASK, rows=rows).logits
    assert some["topics"].shape == (0, 2)
    real = MASK[[2, 0], :, None]
    torch.testing.assert_close(
        some["entities"] * real, whole["entities"][[2, 0]] * real, rtol=1e-5, atol=1e-6
    )
    few = {"sentiment": torch.arange(3), "entities": torch.tensor([], dtype=torch.long)}
    targets = {"sentiment": TARGETS["sentiment"], "entities": torch.zeros(0, 5, dtype=torch.long)}
    value = model.train()(IDS, MASK, rows=few, targets=targets).loss
    value.backward()
    assert torch.isfinite(value)
    grad = model.heads["entities"].out.weight.grad
    assert grad is None or grad.abs().max() == 0


def drawn(router: Router, rows: int) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:
    """Random states of rows of four tokens, and of the layers that the router reads."""
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(rows, 4, 16, generator=generator)
    return states, {depth: torch.randn(rows, 4, 16, generator=generator) for depth in router.reads}


@every_router
def test_tasks_that_read_the_same_rows_are_answered_as_each_by_itself(
    tiny_model: Path, options: dict[str, Any]
) -> None:
    model = awake(routed(tiny_model, options))
    everything = {task: torch.arange(3) for task in model.task_numbers}
    with torch.inference_mode():
        states, layers = model.encode_layers(IDS, MASK)
        apart = model.answer(states, MASK, everything, layers)
        together = model.answer_all(states, MASK, list(everything), layers)
    assert list(together) == list(apart)
    for task, values in apart.items():
        real = MASK[..., None].bool() if task == "entities" else torch.ones(3, 1, dtype=torch.bool)
        torch.testing.assert_close(together[task] * real, values * real, rtol=1e-6, atol=1e-6)


@every_router
def test_tasks_are_told_apart_only_by_routers_that_see_them(
    tiny_model: Path, options: dict[str, Any]
) -> None:
    router = awake(routed(tiny_model, options)).router
    states, layers = drawn(router, 1)
    mask = torch.ones(1, 4, dtype=torch.long)
    first, second = (router(states, mask, torch.tensor([task]), layers) for task in (0, 1))
    blind = options["kind"] == "none" or (options.get("by_task") is False and not options.get("private"))
    assert torch.equal(first, second) == blind


@every_router
def test_every_router_runs_under_bfloat16_and_keeps_the_states_type(
    tiny_model: Path, options: dict[str, Any]
) -> None:
    router = awake(routed(tiny_model, options)).router
    states, layers = drawn(router, 2)
    given = (torch.ones(2, 4, dtype=torch.long), torch.tensor([0, 1]))
    exact = router(states, *given, layers)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = router(states, *given, layers)
        low = router(states.bfloat16(), *given, {depth: each.bfloat16() for depth, each in layers.items()})
    assert (rounded.dtype, low.dtype) == (torch.float32, torch.bfloat16)
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.1)


@pytest.mark.parametrize("name", GATED)
def test_gates_are_float32_under_bfloat16_and_sum_to_one(name: str) -> None:
    router = make_router(ROUTERS[name], Sizes(hidden=16, tasks=2, layers=2))
    router.begin(Path())
    assert isinstance(router, ExpertsRouter)
    states = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        gate = router.gate(states.bfloat16(), torch.tensor([0, 1]))
    assert gate.dtype == torch.float32
    torch.testing.assert_close(gate.sum(-1), torch.ones(2, 5))
    assert gate.min() >= 0
    kept = ROUTERS[name].get("top_k", 3 + ROUTERS[name].get("private", 0))
    assert ((gate > 0).sum(-1) == kept).all()


def test_a_layer_s_weight_is_its_share_of_the_squares_of_all_that_is_added() -> None:
    options = resolve({"kind": "layers", "top": None, "bottleneck": 3}, Path())
    router = make_router(options, Sizes(hidden=16, tasks=2, layers=2))
    assert isinstance(router, LayersRouter)
    torch.nn.init.normal_(router.up)
    torch.nn.init.normal_(router.down)
    task = torch.tensor([0, 1, 0])
    maps = torch.einsum("nhr,nlrk->nlhk", router.up[task], router.down[task])
    squares = maps.square().sum((-2, -1))
    torch.testing.assert_close(router.weights(task), squares / squares.sum(-1, keepdim=True))
    torch.testing.assert_close(router.strength(task), squares.sum(-1).sqrt())


def test_a_language_model_that_is_gone_is_not_needed_by_a_saved_model(
    tiny_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    model = awake(routed(folder, ROUTERS["Llama"]))
    model.save_pretrained(tmp_path / "saved")
    shutil.rmtree(tmp_path / "llama")
    for task, values in logits(load_model(tmp_path / "saved")).items():
        torch.testing.assert_close(values, logits(model)[task], rtol=1e-6, atol=1e-7)
    kept = json.loads((tmp_path / "saved" / "config.json").read_text(encoding="utf-8"))
    assert str(tmp_path) not in json.dumps(kept["router"])


@pytest.mark.parametrize("name", ["GPT-2, frozen", "Llama"])
def test_a_language_model_begins_with_the_weights_of_its_files(tiny_model: Path, name: str) -> None:
    options = ROUTERS[name]
    model = routed(tiny_model, options)
    kept = load_file(tiny_model.parent / options["source"] / "model.safetensors")
    state = model.router.model.state_dict()
    assert state
    for place, value in state.items():
        assert torch.equal(value, kept[f"{'transformer' if 'GPT' in name else 'model'}.{place}"])


def test_a_head_starts_the_same_whatever_the_other_tasks(tiny_model: Path) -> None:
    model = load_model(tiny_model)
    config = model.config.to_dict()
    config |= {"tasks": {"entities": config["tasks"]["entities"]}, "task_names": None}
    alone = assemble(DoublerouteConfig(**config), model.backbone, seed=1)
    together = routed(tiny_model, ROUTERS["none"])
    assert torch.equal(alone.heads["entities"].out.weight, together.heads["entities"].out.weight)


def test_autoclasses_know_the_model(tiny_model: Path) -> None:
    from transformers import AutoConfig, AutoModel

    assert isinstance(AutoConfig.from_pretrained(tiny_model), DoublerouteConfig)
    assert isinstance(AutoModel.from_pretrained(tiny_model), DoublerouteModel)
