"""Adapters inside the backbone: they alone learn, and the saved model has none."""

import sys
from pathlib import Path

import pytest
import torch
from conftest import write_tiny_project
from test_fit import Run, same, weights
from test_mixing import killed

from doubleroute.config import load_project
from doubleroute.errors import ConfigError

LORA = "training.lora={rank: 2, alpha: 4}"


@pytest.fixture(scope="module")
def root(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_project(tmp_path_factory.mktemp("lora") / "project", tiny_backbone)


@pytest.fixture(autouse=True)
def _peft(request: pytest.FixtureRequest) -> None:
    if "without_peft" not in request.node.name:
        pytest.importorskip("peft")


def test_only_adapters_router_and_heads_learn_and_the_saved_model_has_the_names_of_any_other(
    root: Path, tmp_path: Path
) -> None:
    run = Run(root, LORA, "training.trainable=all", "training.learning_rate=1e-2")
    learner = run.learner()
    learning = {name for name, each in learner.model.named_parameters() if each.requires_grad}
    of_backbone = {name for name in learning if name.startswith("backbone.")}
    assert len(of_backbone) == 2 * 2 * 6  # A and B of six linear layers in each of two
    assert all("lora_" in name for name in of_backbone)
    assert {name.partition(".")[0] for name in learning - of_backbone} == {"router", "heads"}
    history, plain = run.fit(tmp_path), Run(root).learner().model
    saved = weights(tmp_path)
    assert saved.keys() == plain.state_dict().keys()
    linear = {
        f"{name}.weight" for name, module in plain.named_modules() if isinstance(module, torch.nn.Linear)
    }
    before = {name: value for name, value in plain.state_dict().items() if name.startswith("backbone.")}
    changed = {name for name, value in before.items() if not torch.equal(value, saved[name])}
    assert changed == {name for name in before if name in linear}
    assert history["parameters"] == sum(value.numel() for value in saved.values())
    assert history["trained_parameters"] < history["parameters"] / 3


def test_the_merged_model_answers_as_the_adapted_one_to_float_rounding(root: Path) -> None:
    learner = Run(root, LORA, "training.trainable=all").learner()
    model = learner.model.eval()
    batch = learner.feed.batch(learner.feed.plan(0)[0])
    given = {**batch.inputs.keywords, "tasks": ["sentiment", "entities"]}
    with torch.no_grad():
        plain = model(**given).logits
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.normal_(std=0.5, generator=torch.Generator().manual_seed(len(name)))
        adapted = model(**given).logits
        assert learner.adapters is not None
        learner.adapters.merge_and_unload()
        merged = model(**given).logits
    for task, logits in adapted.items():
        torch.testing.assert_close(merged[task], logits, rtol=1e-4, atol=1e-5)
        assert (logits - plain[task]).abs().max() > 1e-3


def test_an_adapter_that_has_learned_nothing_changes_no_answer(root: Path) -> None:
    adapted, plain = Run(root, LORA).learner(), Run(root).learner()
    batch = plain.feed.batch(plain.feed.plan(0)[0])
    with torch.no_grad():
        one, other = (each.model.eval()(**batch.inputs.keywords).logits for each in (adapted, plain))
    assert all(torch.equal(one[task], other[task]) for task in one)


def test_below_the_layers_that_learn_there_are_no_adapters_and_a_trunk_s_stored_states_do(
    root: Path, tmp_path: Path
) -> None:
    run = Run(root, "training.lora={rank: 2, targets: [query, output.dense]}", "training.trainable=1")
    learner = run.learner()
    names = {name for name, _ in learner.model.named_parameters() if "lora_A" in name}
    assert {name.split("encoder.")[1].partition(".lora_A")[0] for name in names} == {
        "layer.1.attention.self.query",
        "layer.1.attention.output.dense",
        "layer.1.output.dense",
    }
    run.fit(tmp_path / "whole", stored=run.stored)
    assert run.learner("frozen").adapters is None


def test_a_fit_with_adapters_that_was_killed_ends_with_the_same_weights(root: Path, tmp_path: Path) -> None:
    run = Run(root, LORA, "training.learning_rate=1e-2")
    run.fit(tmp_path / "whole")
    killed(run, tmp_path / "killed", 7)
    assert same(tmp_path / "whole", tmp_path / "killed")


def test_a_target_that_is_not_there_is_named_beside_those_that_are(root: Path) -> None:
    run = Run(root, "training.lora={targets: [q_proj]}")
    with pytest.raises(ConfigError, match=r"no linear layer 'q_proj'; they have: query, key, value, dense"):
        run.learner()
    with pytest.raises(ConfigError, match="with trainable: frozen no layer has adapters"):
        load_project(root, [LORA, "training.trainable=frozen"])


def test_without_peft_the_command_that_installs_it_is_said(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConfigError, match=r"training\.lora needs peft.* -e '\.\[lora\]'"):
        Run(root, LORA)
