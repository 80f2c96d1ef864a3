"""Which experts and layers each token of a text went through."""

from pathlib import Path
from typing import Any

import pytest
import torch
from test_routers import ROUTERS, awake, routed

from doubleroute.errors import InputError
from doubleroute.modeling.diagnostics import gated, seen_gate
from doubleroute.modeling.explain import explain
from doubleroute.modeling.inference import Answerer

TEXTS: list[dict[str, Any]] = [
    {"text": "a good film"},
    {"text": "the bad model reads 42 lines"},
    {"text": "words", "text_pair": "a film"},
]


def answerer(tiny_model: Path, router: str) -> Answerer:
    found = Answerer(tiny_model)
    found.model = awake(routed(tiny_model, ROUTERS[router]))
    return found


@pytest.mark.parametrize("router", ["experts", "experts, private", "layers before experts"])
def test_the_weights_of_a_token_are_those_of_the_gate_in_a_pass_of_the_text_alone(
    tiny_model: Path, router: str
) -> None:
    asked = answerer(tiny_model, router)
    gate = gated(asked.model)
    assert gate is not None
    seen: list[torch.Tensor] = []
    with seen_gate(asked.model, lambda gate, states, _, task: seen.append(gate.gate(states, task))):
        asked.answer(TEXTS[1:2], ["topics"])
    (alone,) = seen
    found = explain(asked, TEXTS, ["entities", "topics"])[1]
    assert found["tokens"][:3] == ["[CLS]", "the", "bad"]
    weights = found["tasks"]["topics"]["weights"]
    assert list(found["tasks"]) == ["entities", "topics"]
    assert torch.tensor(weights) == pytest.approx(alone[0].numpy(), abs=1e-4)
    assert len(weights[0]) == len(found["experts"])
    assert found["experts"][:3] == ["1", "2", "3"]
    assert ("own 1" in found["experts"]) == bool(gate.private)


def test_the_task_s_part_and_the_token_s_part_are_shown_where_the_router_has_them(tiny_model: Path) -> None:
    both = explain(answerer(tiny_model, "experts"), TEXTS)[0]["tasks"]
    assert sum(both["stars"]["task"]) == pytest.approx(1, abs=1e-3)
    assert both["stars"]["task"] != both["topics"]["task"]
    assert both["stars"]["token"] == both["topics"]["token"]
    by_task = explain(answerer(tiny_model, "experts by task"), TEXTS)[0]["tasks"]["stars"]
    assert by_task["token"] is None
    assert all(token == by_task["task"] for token in by_task["weights"])
    by_token = explain(answerer(tiny_model, "experts by token"), TEXTS)[0]["tasks"]["stars"]
    assert by_token["task"] is None
    assert by_token["token"] == by_token["weights"]


def test_a_pair_shows_the_tokens_of_both_texts(tiny_model: Path) -> None:
    found = explain(answerer(tiny_model, "experts"), TEXTS)[2]
    assert found["tokens"] == ["[CLS]", "words", "[SEP]", "a", "film", "[SEP]"]
    assert len(found["tasks"]["stars"]["weights"]) == 6


def test_a_mixture_of_layers_names_its_layers_and_their_weights(tiny_model: Path) -> None:
    asked = answerer(tiny_model, "layers")
    with torch.no_grad():
        asked.model.router.mix[0] = torch.tensor([0.0, 20.0, 0.0])
        asked.model.router.mix[1] = 0
    found = explain(asked, TEXTS, ["sentiment", "topics"])[0]
    assert "tasks" not in found
    layers = found["layers"]
    assert layers["layers"] == ["embeddings", "1", "2"]
    assert layers["tasks"]["sentiment"]["weights"] == pytest.approx([0, 1, 0], abs=1e-6)
    assert layers["tasks"]["sentiment"]["entropy"] == pytest.approx(0, abs=1e-4)
    assert layers["tasks"]["topics"]["entropy"] == pytest.approx(1)
    assert list(layers["tasks"]) == ["sentiment", "topics"]


def test_a_router_without_gate_and_mixture_has_nothing_to_explain(tiny_model: Path) -> None:
    with pytest.raises(InputError, match="this model's router, linear, has no gate and no mixture"):
        explain(answerer(tiny_model, "linear"), TEXTS)


def test_a_task_of_single_texts_goes_its_way_on_the_text_alone_beside_one_of_pairs(tiny_model: Path) -> None:
    asked = answerer(tiny_model, "experts")
    asked.tasks["topics"]["pair"] = False
    row = {"text": "words", "text_pair": "a film"}
    (found,) = explain(asked, [row], ["topics", "stars"])
    assert found["tokens"] == ["[CLS]", "words", "[SEP]", "a", "film", "[SEP]"]
    assert list(found["tasks"]) == ["topics", "stars"]
    assert "tokens" not in found["tasks"]["stars"]
    (alone,) = explain(asked, [row], ["topics"])
    assert alone["tokens"] == found["tasks"]["topics"].pop("tokens") == ["[CLS]", "words", "[SEP]"]
    assert alone["tasks"] == {"topics": found["tasks"]["topics"]}
