"""Heads that are more than a linear layer: saved, loaded, exported, and their answers the same."""

from pathlib import Path
from typing import Any

import pytest
import torch
from test_onnx import ROWS, exported

from doubleroute.modeling.backbone import Source, load_tokenizer
from doubleroute.modeling.inference import Answerer
from doubleroute.modeling.model import DoublerouteConfig, assemble, load_model
from doubleroute.modeling.onnx_answerer import KEPT, OnnxAnswerer

OPTIONS = {"pooling": "mean", "dropout": 0.0, "weight": 1.0}
TASKS: dict[str, dict[str, Any]] = {
    "entities": {"kind": "tagging", "labels": ["O", "B-per", "I-per"], "crf": True, **OPTIONS},
    "stars": {"kind": "ordinal", "labels": ["1", "2", "3"], **OPTIONS},
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
    for found, wanted in zip(graph.answer(ROWS), plain.answer(ROWS), strict=True):
        assert found["entities"]["tags"] == wanted["entities"]["tags"]
        assert found["stars"]["label"] == wanted["stars"]["label"]
        assert found["entities"]["confidences"] == pytest.approx(wanted["entities"]["confidences"], abs=1e-4)


def test_the_transitions_of_a_crf_have_a_say_in_the_answer(model: Path) -> None:
    answerer = Answerer(model)
    with_them = answerer.answer(ROWS, ["entities"])
    answerer.kept["entities"] = {}
    assert answerer.answer(ROWS, ["entities"]) != with_them
