"""Every router is trained, evaluated and asked, whatever of the backbone is frozen."""

import json
from pathlib import Path

import pytest
import torch
from conftest import write_tiny_project
from safetensors.torch import load_file
from test_fit import Run, same, weights

from doubleroute.errors import ConfigError, ModelError
from doubleroute.modeling.inference import Answerer
from doubleroute.modeling.model import load_model
from doubleroute.training.evaluate import evaluate, read_evaluation
from doubleroute.training.ladder import fit
from doubleroute.training.plan import Plan, Start
from doubleroute.training.start import refuse_another
from doubleroute.training.variants import variant

EXPERTS = (
    "{kind: experts, experts: 2, bottleneck: 4, private: 1, load_balance: 0.01, z_loss: 0.001, jitter: 0.1}"
)
ROUTERS = {
    "none": "{kind: none}",
    "linear": "{kind: linear}",
    "mlp": "{kind: mlp, width: 4}",
    "pooled": "{kind: pooled, width: 4}",
    "layers": "{kind: layers}",
    "layers with a bottleneck": "{kind: layers, bottleneck: 4}",
    "transformer": "{kind: transformer, width: 8, dropout: 0.1}",
    "language model": "{kind: language_model, source: models/gpt2}",
    "language model that learns": "{kind: language_model, source: models/llama, frozen: false}",
    "experts": EXPERTS,
    "stack": f"{{kind: stack, routers: [{{kind: layers, top: 2, learning_rate: 0.05}}, {EXPERTS}]}}",
}


@pytest.fixture(scope="module")
def root(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    root = write_tiny_project(tmp_path_factory.mktemp("routers") / "project", tiny_backbone)
    gpt2 = GPT2Config(vocab_size=9, n_positions=16, n_embd=8, n_layer=1, n_head=2)
    llama = LlamaConfig(vocab_size=9, hidden_size=8, intermediate_size=16, num_hidden_layers=1,
                        num_attention_heads=2, max_position_embeddings=16)  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        GPT2LMHeadModel(gpt2).save_pretrained(root / "models" / "gpt2")
        LlamaForCausalLM(llama).save_pretrained(root / "models" / "llama")
    return root


@pytest.mark.slow
@pytest.mark.parametrize("trainable", ["1", "frozen", "all"])
@pytest.mark.parametrize("router", ROUTERS.values(), ids=ROUTERS.keys())
def test_every_router_is_trained_evaluated_and_asked(root: Path, router: str, trainable: str) -> None:
    run = Run(root, f"router={router}", f"training.trainable={trainable}", "evaluation.baselines=[majority]")
    given = (run.project, run.workspace, run.validated, run.encoded)
    fits = fit(*given, run.stored, lambda *_: None)
    found = read_evaluation(evaluate(*given, dict(fits), None))
    history = json.loads((fits["routed"].path / "history.json").read_text(encoding="utf-8"))
    losses = [step["loss"] for step in history["steps"]]
    assert losses[-1] < losses[0]
    name = "layers + experts" if "stack" in router else run.project.router.kind
    assert found["models"]["routed"]["router"] == name
    answers = Answerer(fits["routed"].path / "model").answer([{"text": "a good film"}])
    assert set(answers[0]) == {"sentiment", "entities"}


def test_a_mixture_of_layers_learns_from_the_stored_states_of_all_that_it_reads(root: Path) -> None:
    run = Run(root, "router={kind: layers}", "training.trainable=frozen")
    assert variant(run.project, "routed").stored == (1, 2)
    assert variant(run.project, "plain").stored == (2,)
    learner = run.learner(stored=run.stored)
    with torch.no_grad():
        for each in learner.model.router.parameters():
            each.copy_(torch.randn(each.shape, generator=torch.Generator().manual_seed(1)))
    batch = learner.feed.batch(learner.feed.plan(0)[0])
    assert batch.states is not None
    assert learner.trunk is not None
    model = learner.model.eval()
    with torch.inference_mode():
        whole = model(**batch.inputs.keywords).logits
        _, layers = model.encode_layers(**batch.inputs.keywords)
        learner.trunk.take_out()
        learner.trunk.feed(batch.states)
        cut = model(**batch.inputs.keywords).logits
        _, stored = model.encode_layers(**batch.inputs.keywords)
    kept = batch.inputs.mask.bool()
    assert stored.keys() == layers.keys()
    for depth, states in layers.items():
        torch.testing.assert_close(stored[depth][kept], states[kept], atol=0.05, rtol=0.05)
    torch.testing.assert_close(cut["sentiment"], whole["sentiment"], atol=0.05, rtol=0.05)


def test_more_layers_than_there_are_is_said(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"router.top: 4 layers wanted, but the backbone has 2"):
        Run(root, "router={kind: layers, top: 4}")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("models/none", "router.source: './models/none' is no folder"),
        ("data", "router.source: the folder .* lacks config.json"),
    ],
)
def test_a_language_model_that_is_not_there_is_named_by_its_key(
    root: Path, source: str, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        Run(root, f"router={{kind: language_model, source: ./{source}}}")


def test_a_language_model_with_too_few_positions_is_refused(root: Path) -> None:
    run = Run(root, "router={kind: language_model, source: models/gpt2}", "backbone.max_tokens=17")
    with pytest.raises(ConfigError, match="17 is too long for LanguageModelRouter, which has 16 positions"):
        run.learner()


def test_routers_of_a_stack_learn_at_their_own_rates(root: Path) -> None:
    learner = Run(root, f"router={ROUTERS['stack']}").learner()
    names = {id(value): name for name, value in learner.model.named_parameters()}
    groups = zip(learner.optimizer.param_groups, learner.rates, strict=True)
    rates = {names[id(each)]: rate for group, rate in groups for each in group["params"]}
    assert rates["router.routers.0.up"] == rates["router.routers.0.mix"] == 0.05
    assert rates["router.routers.1.up"] == rates["router.routers.1.private_down"] == 1e-3


def test_what_a_router_draws_in_training_is_drawn_again_alike(root: Path, tmp_path: Path) -> None:
    run = Run(root, f"router={ROUTERS['stack']}")
    run.fit(tmp_path / "one")
    run.fit(tmp_path / "other")
    assert same(tmp_path / "one", tmp_path / "other")


def test_a_frozen_language_model_stays_as_its_files_have_it(root: Path, tmp_path: Path) -> None:
    run = Run(root, f"router={ROUTERS['language model']}", "training.epochs=0.2")
    history = run.fit(tmp_path)
    kept = load_file(root / "models" / "gpt2" / "model.safetensors")
    found = weights(tmp_path)
    names = [name for name in found if name.startswith("router.model.")]
    assert names
    for name in names:
        assert torch.equal(found[name], kept[name.replace("router.model.", "transformer.")])
    assert found["router.up"].any()
    frozen = sum(found[name].numel() for name in names)
    assert history["parameters"] - history["trained_parameters"] > frozen


@pytest.mark.costly
def test_a_champion_is_gone_on_from_with_other_options_of_learning_but_not_of_shape(
    root: Path, tmp_path: Path
) -> None:
    old = Run(root, f"router={ROUTERS['stack']}", "training.epochs=0.2")
    old.fit(tmp_path)
    start = Start(tmp_path / "model", "x")
    origin = load_model(tmp_path / "model").config.origin["digest"]
    calm = ROUTERS["stack"].replace("z_loss: 0.001", "z_loss: 0").replace("0.05", "0.01")
    refuse_another(Run(root, f"router={calm}").project, origin, start)
    more = (
        "tasks={tone: {kind: classification, files: {train: data/sentiment.csv}}, "
        "entities: {kind: tagging, files: {train: data/entities.jsonl}}, "
        "sentiment: {kind: classification, files: {train: data/sentiment.csv}}}"
    )
    run = Run(root, f"router={calm}", more)
    state = run.learner(plan=Plan(start)).model.state_dict()
    for name, value in weights(tmp_path).items():
        if name.startswith("router."):
            of_tasks = name.removeprefix("router.") in load_model(tmp_path / "model").router.of_tasks
            assert torch.equal(state[name][[2, 1]] if of_tasks else state[name], value)
    with pytest.raises(ConfigError, match=r"1: \{kind: experts, .*experts: 2.*the project .*experts: 3"):
        refuse_another(Run(root, f"router={calm.replace('experts: 2', 'experts: 3')}").project, origin, start)
