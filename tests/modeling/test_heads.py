"""Heads that are more than a linear layer: saved, loaded, exported, and their answers the same."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_onnx import ROWS, exported

from doubleroute.data.batches import Encoded
from doubleroute.data.tokens import encode_texts
from doubleroute.errors import ModelError
from doubleroute.modeling.backbone import load_tokenizer
from doubleroute.modeling.inference import Answerer
from doubleroute.modeling.model import DoublerouteConfig, assemble, load_model
from doubleroute.modeling.onnx_answerer import KEPT, OnnxAnswerer
from doubleroute.modeling.source import Source
from doubleroute.training.scoring import keep_answers

OPTIONS = {"pooling": "mean", "dropout": 0.0, "weight": 1.0}
TASKS: dict[str, dict[str, Any]] = {
    "entities": {"kind": "tagging", "labels": ["O", "B-per", "I-per"], "crf": True, **OPTIONS},
    "stars": {"kind": "ordinal", "labels": ["1", "2", "3"], **OPTIONS},
    "minutes": {"kind": "regression", "labels": [], "mean": 300.0, "spread": 20.0, **OPTIONS},
    "help": {"kind": "retrieval", "labels": ["a", "b"], "answers": ["a good film", "plain words"], **OPTIONS},
}


@pytest.fixture(scope="module")
def model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model with these tasks, nothing of whose heads is zero. Do not write into it."""
    folder = tmp_path_factory.mktemp("heads") / "model"
    backbone = load_model(tiny_model).backbone
    config = DoublerouteConfig(backbone=backbone.config.to_dict(), tasks=TASKS, max_tokens=16)
    made = assemble(config, backbone, seed=4)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for value in made.heads.state_dict().values():
            value.normal_(generator=generator)
    made.save_pretrained(folder)
    load_tokenizer(Source("x", tiny_model)).save_pretrained(folder)
    return folder


def test_an_exported_model_answers_as_the_saved_one(model: Path, tmp_path: Path) -> None:
    graph, plain = OnnxAnswerer(exported(tmp_path / "onnx", model)), Answerer(model)
    assert (tmp_path / "onnx" / KEPT).is_file()
    assert graph.kept["minutes"] == {"mean": 300, "spread": 20}
    for found, wanted in zip(graph.answer(ROWS), plain.answer(ROWS), strict=True):
        assert found["entities"]["tags"] == wanted["entities"]["tags"]
        assert [each["id"] for each in found["help"]["answers"]] == [
            each["id"] for each in wanted["help"]["answers"]
        ]
        assert found["help"]["score"] == pytest.approx(wanted["help"]["score"], abs=1e-4)
        assert found["stars"]["label"] == wanted["stars"]["label"]
        assert found["minutes"]["value"] == pytest.approx(wanted["minutes"]["value"], abs=1e-2)
        assert found["entities"]["confidences"] == pytest.approx(wanted["entities"]["confidences"], abs=1e-4)


def test_a_stored_answer_is_found_by_its_own_text_and_comes_with_it(model: Path, tiny_model: Path) -> None:
    made = load_model(model)
    texts = TASKS["help"]["answers"]
    packed = encode_texts(load_tokenizer(Source("x", tiny_model)), texts, 16)
    keep_answers(made, {"help": Encoded(packed, np.arange(2), np.arange(2))}, pad_id=0)
    answerer = Answerer(model)
    answerer.kept["help"] = made.kept("help")
    for place, text in enumerate(texts):
        best = answerer.answer([{"text": text}], ["help"])[0]["help"]["answers"][0]
        assert (best["id"], best["text"]) == (TASKS["help"]["labels"][place], text)
        assert best["score"] == pytest.approx(1, abs=1e-5)


def test_a_model_without_the_vectors_of_its_answers_is_refused(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    tensors = load_file(file)
    del tensors["heads.help.vectors"]
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks what a head keeps: heads\.help\.vectors"):
        load_model(tmp_path / "model")


def test_the_transitions_of_a_crf_have_a_say_in_the_answer(model: Path) -> None:
    answerer = Answerer(model)
    with_them = answerer.answer(ROWS, ["entities"])
    answerer.kept["entities"] = {}
    assert answerer.answer(ROWS, ["entities"]) != with_them
