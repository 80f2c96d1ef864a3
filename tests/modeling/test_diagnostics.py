"""What the gate did while a model answered."""

from pathlib import Path

import numpy as np
import pytest
import torch
from test_routers import EXPERTS, IDS, MASK, ROUTERS, awake, logits, routed

from doubleroute.data.tokens import Packed, encode_texts, word_spans
from doubleroute.modeling.backbone import load_tokenizer
from doubleroute.modeling.diagnostics import (
    GateWatch,
    gated,
    logits_by_gate,
    mutual_information,
    replaced_gate,
    replacements,
    watched_gate,
)
from doubleroute.modeling.inference import logits_of
from doubleroute.modeling.source import Source


def test_a_gate_that_has_learnt_nothing_of_the_tasks_weighs_all_experts_and_none_is_dead(
    tiny_model: Path,
) -> None:
    model = routed(tiny_model, ROUTERS["experts by task"])
    with watched_gate(model) as watch:
        logits(model)
    assert watch is not None
    found = watch.as_dict()
    assert found["dead"] == []
    assert list(found["tasks"]) == ["sentiment", "topics", "stars", "entities"]
    for each in found["tasks"].values():
        assert each["tokens"] == int(MASK.sum())
        assert each["load"] == pytest.approx([1 / 3] * 3, abs=1e-6)
        assert each["entropy"] == pytest.approx(1, abs=1e-6)


def test_an_expert_that_no_task_asks_is_dead_and_one_that_a_single_task_asks_is_not(tiny_model: Path) -> None:
    model = routed(tiny_model, ROUTERS["experts by task"])
    with torch.no_grad():
        model.router.task_gate[:] = torch.tensor([9.0, -9.0, -9.0])
        model.router.task_gate[1] = torch.tensor([-9.0, 9.0, -9.0])
    with watched_gate(model) as watch:
        logits(model)
    assert watch is not None
    found = watch.as_dict()
    assert found["dead"] == [2]
    assert found["tasks"]["topics"]["load"][1] > 0.999
    assert found["tasks"]["stars"]["entropy"] < 0.001


def test_padding_does_not_count_and_watching_changes_no_answer(tiny_model: Path) -> None:
    model = awake(routed(tiny_model, ROUTERS["experts"]))
    alone = logits(model)
    with watched_gate(model) as watch:
        watched = logits(model)
    with watched_gate(model) as longer:
        logits(
            model, torch.cat([IDS, torch.zeros_like(IDS)], 1), torch.cat([MASK, torch.zeros_like(MASK)], 1)
        )
    assert watch is not None
    assert longer is not None
    for task, values in alone.items():
        assert torch.equal(values, watched[task])
        assert watch.as_dict()["tasks"][task]["load"] == pytest.approx(
            longer.as_dict()["tasks"][task]["load"], abs=1e-5
        )


def test_a_router_without_a_gate_has_nothing_to_watch(tiny_model: Path) -> None:
    with watched_gate(routed(tiny_model, ROUTERS["linear"])) as watch:
        assert watch is None


def test_private_experts_have_columns_of_their_own_and_only_their_task_can_leave_them_dead(
    tiny_model: Path,
) -> None:
    model = routed(tiny_model, {**EXPERTS, "private": 1, "by_token": False})
    with torch.no_grad():
        model.router.task_gate[1, 3] = -20  # topics does not ask its own
    with watched_gate(model) as watch:
        logits(model)
    assert watch is not None
    found = watch.as_dict()
    own = [f"{task}'s own 1" for task in found["tasks"]]
    assert found["names"] == ["1", "2", "3", *own]
    assert found["experts"] == 7
    assert found["dead"] == [4]
    assert found["tasks"]["stars"]["load"] == pytest.approx([0.25, 0.25, 0.25, 0, 0, 0.25, 0], abs=1e-6)


def test_the_gate_inside_a_stack_is_watched(tiny_model: Path) -> None:
    model = awake(routed(tiny_model, ROUTERS["layers before experts"]))
    with watched_gate(model) as watch:
        logits(model)
    assert watch is not None
    assert all(sum(each["load"]) == pytest.approx(1, abs=1e-5) for each in watch.as_dict()["tasks"].values())


def test_information_and_similarity_of_gates_that_are_alike_and_that_are_apart() -> None:
    assert mutual_information([[0.5, 0.5], [0.5, 0.5]]) == 0
    assert mutual_information([[1.0, 0.0], [0.0, 1.0]]) == pytest.approx(1)
    # H(1/4, 3/4 mixed) - mean of H(1/2), H(0): 0.811 - 0.5
    assert mutual_information([[0.5, 0.5], [0.0, 1.0]]) == pytest.approx(0.311278, abs=1e-6)
    watch = GateWatch(["one", "other"], 2)
    watch.add(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]), torch.ones(2, 1), torch.tensor([0, 1]))
    found = watch.as_dict()
    assert found["information"] == pytest.approx(1)
    assert found["similarity"] == {"one": {"one": 1.0, "other": 0.0}, "other": {"one": 0.0, "other": 1.0}}


def test_each_replacement_of_a_gate_is_what_it_says_and_ends_with_its_context(tiny_model: Path) -> None:
    model = awake(routed(tiny_model, EXPERTS))
    router = gated(model)
    assert router is not None
    states = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(1))
    task = torch.tensor([0, 1, 1])
    seen = {}
    before = router(states, MASK, task)
    for by in replacements(router):
        with replaced_gate(router, by):
            assert router.instead is not None
            seen[by] = router.instead(router.gate(states, task), states, MASK, task)
            assert not torch.equal(router(states, MASK, task), before)
    assert torch.equal(router(states, MASK, task), before)
    gate = router.gate(states, task)
    assert torch.equal(seen["uniform"], torch.full((3, 5, 3), 1 / 3))
    assert torch.equal(seen["shuffled"][0, :3], gate[1, :3])  # the next row has three tokens
    assert torch.equal(seen["shuffled"][0, 3:], gate[1, :2])
    assert torch.equal(seen["task"][1], seen["task"][2])
    assert torch.equal(seen["task"][1, 0], seen["task"][1, 1])
    assert not torch.equal(seen["token"], gate)


@pytest.mark.parametrize(
    ("name", "can"),
    [
        ("experts", ["uniform", "shuffled", "task", "token"]),
        ("experts by task", ["uniform"]),
        ("experts by token", ["uniform", "shuffled"]),
    ],
)
def test_a_gate_is_replaced_only_by_another_one(tiny_model: Path, name: str, can: list[str]) -> None:
    router = gated(routed(tiny_model, ROUTERS[name]))
    assert router is not None
    assert replacements(router) == can


@pytest.mark.parametrize("name", ["experts", "experts, private", "layers before experts"])
@pytest.mark.parametrize("task", ["sentiment", "entities"])
def test_the_learned_gate_among_its_replacements_answers_as_the_model_does(
    tiny_model: Path, name: str, task: str
) -> None:
    model = awake(routed(tiny_model, ROUTERS[name]))
    router = gated(model)
    assert router is not None
    tokenizer = load_tokenizer(Source("x", tiny_model))
    texts = ["a good film", "the bad model reads 42 lines", "words"]
    spans = [word_spans(text, None) for text in texts]
    packed = encode_texts(tokenizer, texts, 16, None, spans)
    words = [len(each) for each in spans]
    whole = logits_of(model, packed, [task], 0, words)[task]
    found = logits_by_gate(model, router, packed, [task], 0, words)[task]
    other = "topics" if task != "topics" else "stars"
    together = logits_by_gate(model, router, packed, [other, task], 0, words)[task]
    for by, alone in found.items():
        for one, same in zip(together[by], alone, strict=True):
            np.testing.assert_array_equal(one, same)
    for one, other in zip(found["learned"], whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert list(found) == ["learned", *replacements(router)]
    assert any(abs(one - other).max() > 1e-3 for one, other in zip(found["uniform"], whole, strict=True))


def test_no_row_of_several_is_weighed_by_its_own_gate_and_a_single_one_has_no_other(tiny_model: Path) -> None:
    model = awake(routed(tiny_model, EXPERTS))
    router = gated(model)
    assert router is not None
    rows, length = 33, 16  # of which 32 fill a pass
    ids = np.random.default_rng(1).integers(4, 21, (rows, length), np.int32)

    def found(count: int) -> dict[str, list[np.ndarray]]:
        starts = np.arange(count + 1) * length
        packed = Packed(ids[:count].ravel(), starts, None, None, np.zeros(count, bool))
        return logits_by_gate(model, router, packed, ["sentiment"], 0)["sentiment"]

    all_of_them = found(rows)
    for one, other in zip(all_of_them["learned"], all_of_them["shuffled"], strict=True):
        assert not np.allclose(one, other, rtol=1e-4)
    assert list(found(1)) == ["learned", "uniform", "task", "token"]
