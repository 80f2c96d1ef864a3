"""The paired tests behind the promotion gate, and what answering costs."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from doubleroute.modeling.inference import Answerer
from doubleroute.modeling.model import DoublerouteConfig, assemble, load_model
from doubleroute.training.comparison import TEXTS, Pair, costs, mcnemar

LABELS = ["a", "b"]


def labelled(right: np.ndarray, truths: list[str]) -> list[dict[str, Any]]:
    """A classifier's answers that are right on these rows."""
    given = [truth if each else "ab"[truth == "a"] for truth, each in zip(truths, right, strict=True)]
    return [{"label": label, "probabilities": {label: 0.75}} for label in given]


def tagged(right: np.ndarray) -> list[dict[str, Any]]:
    return [{"tags": ["O", "B-x"] if each else ["O", "O"]} for each in right]


@pytest.mark.parametrize(("lost", "won"), [(6, 0), (5, 0), (30, 12), (900, 700), (3, 3), (2, 9), (0, 0)])
def test_mcnemars_p_is_twice_the_binomial_tail(lost: int, won: int) -> None:
    tail = binomtest(lost, lost + won, alternative="greater").pvalue if lost + won else 1.0
    assert mcnemar(lost, won) == pytest.approx(min(1.0, 2 * tail) if lost > won else 1.0, rel=1e-9)


def test_accuracy_is_compared_by_the_rows_that_one_of_the_two_lost() -> None:
    truths = ["a", "b"] * 20
    ours, theirs = np.ones(40, bool), np.ones(40, bool)
    ours[:9] = False
    theirs[9] = False
    pair = Pair("classification", LABELS, truths, labelled(ours, truths), labelled(theirs, truths))
    everything = np.arange(40)
    assert pair.chance(everything, "accuracy", True, 100, 0) == pytest.approx(mcnemar(9, 1))
    assert pair.chance(np.arange(9), "accuracy", True, 100, 0) == pytest.approx(mcnemar(9, 0))
    assert pair.chance(np.arange(9, 40), "accuracy", True, 100, 0) == 1


def test_label_sets_are_compared_as_sets() -> None:
    answers = [{"labels": ["b", "a"], "probabilities": {"a": 0.9, "b": 0.9}}] * 8
    wrong = [{"labels": ["a"], "probabilities": {"a": 0.9, "b": 0.1}}] * 8
    pair = Pair("multilabel", LABELS, [["a", "b"]] * 8, wrong, answers)
    assert pair.chance(np.arange(8), "subset_accuracy", True, 100, 0) == pytest.approx(2 * 0.5**8)


def test_randomisation_agrees_with_the_exact_test_where_there_is_one() -> None:
    theirs, ours = np.ones(60, bool), np.ones(60, bool)
    ours[:10], theirs[10:12] = False, False
    truths = [["O", "B-x"]] * 60
    pair = Pair("tagging", ["O", "B-x"], truths, tagged(ours), tagged(theirs))
    found = pair.chance(np.arange(60), "token_accuracy", True, 20_000, 1)
    assert found == pytest.approx(mcnemar(10, 2), abs=0.012)


def test_a_loss_is_worse_in_errors_too_and_a_gain_is_not() -> None:
    truths = np.random.default_rng(0).normal(size=80)
    close, far = ([{"value": float(value)} for value in truths + shift] for shift in (0.1, 0.5))
    worse = Pair("regression", [], truths.tolist(), far, close)
    better = Pair("regression", [], truths.tolist(), close, far)
    assert worse.chance(np.arange(80), "mae", False, 999, 0) == pytest.approx(2 / 1000)
    assert better.chance(np.arange(80), "mae", False, 999, 0) == 1
    constant = Pair("regression", [], truths.tolist(), [{"value": 0.0}] * 80, close)
    assert constant.chance(np.arange(80), "spearman", True, 999, 0) is None


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "ece"])
def test_equal_models_are_called_worse_one_time_in_twenty_or_less(metric: str) -> None:
    generator, found = np.random.default_rng(3), []
    for number in range(150):
        truths = generator.choice(LABELS, 60).tolist()
        one, other = (labelled(generator.random(60) < 0.7, truths) for _ in range(2))
        pair = Pair("classification", LABELS, truths, one, other)
        found.append(pair.chance(np.arange(60), metric, metric != "ece", 400, number))
    assert sum(chance <= 0.05 for chance in found if chance is not None) <= 0.05 / 2 * 150 + 2 * 1.9


def test_costs_are_those_of_the_same_texts_in_turns(tiny_model: Path) -> None:
    import torch

    threads = torch.get_num_threads()
    answerer = Answerer(tiny_model)
    rows = [{"text": "a good film"}] * (TEXTS + 9)
    found = costs({"one": answerer, "two": answerer}, {"one": tiny_model, "two": tiny_model}, rows)
    assert found is not None
    assert (found["texts"], found["threads"]) == (TEXTS, 1)
    one, two = found["models"].values()
    assert one["bytes"] == two["bytes"] > (tiny_model / "model.safetensors").stat().st_size
    assert len(one["rounds"]) == len(two["rounds"]) >= 3
    assert min(one["rounds"]) <= one["seconds"] <= max(one["rounds"])
    assert torch.get_num_threads() == threads


def test_where_a_model_only_looks_into_contexts_costs_are_those_of_the_rows_that_have_one(
    tiny_model: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "spans"))
    other = load_model(tiny_model)
    about = {"kind": "span", "labels": [], "dropout": 0.0, "weight": 1.0, "overlap": 2}
    config = DoublerouteConfig(backbone=other.config.backbone, tasks={"answers": about}, max_tokens=16)
    assemble(config, other.backbone, seed=1).save_pretrained(folder)
    answerers, folders = (
        {"routed": Answerer(folder), "champion": Answerer(folder)},
        {"routed": folder, "champion": folder},
    )
    text, question = {"text": "a good film"}, {"text": "good", "text_pair": "a good film"}
    found = costs(answerers, folders, [text, question, {**text, "text_pair": None}])
    assert found is not None
    assert found["texts"] == 1
    assert costs(answerers, folders, [text]) is None


def test_one_that_answers_more_tasks_costs_what_those_of_both_cost(tiny_model: Path, tmp_path: Path) -> None:
    more = load_model(tiny_model)
    known, *others = more.config.tasks
    config = DoublerouteConfig(
        more.config.backbone, more.config.router, {known: more.config.tasks[known]}, more.config.max_tokens
    )
    folder = Path(shutil.copytree(tiny_model, tmp_path / "less"))
    assemble(config, more.backbone, seed=1).save_pretrained(folder)
    answerers = {"routed": Answerer(tiny_model), "champion": Answerer(folder)}
    found = costs(answerers, {"routed": tiny_model, "champion": folder}, [{"text": "a good film"}])
    assert found is not None
    files = {
        name: sum(path.stat().st_size for path in each.rglob("*"))
        for name, each in (("routed", tiny_model), ("champion", folder))
    }
    heads = sum(each.nbytes for task in others for each in more.head(task).state_dict().values())
    assert found["models"]["routed"]["bytes"] == files["routed"] - heads
    assert found["models"]["champion"]["bytes"] == files["champion"]
