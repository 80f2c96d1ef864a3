"""What holds for all kinds alike: names, metrics, undefined scores, losses without targets."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from doubleroute.config import METRICS
from doubleroute.errors import InputError
from doubleroute.kinds import IGNORE, Kind, Scorer, kind
from doubleroute.kinds.span import with_texts

EXTRA = {
    "classification": {"ece"},
    "multilabel": {"ece"},
    "ordinal": set(),
    "regression": set(),
    "retrieval": set(),
    "span": set(),
    "tagging": {"token_weighted_f1"},
}
LABELS = {
    "classification": ["neg", "pos"],
    "multilabel": ["a", "b", "c"],
    "ordinal": ["low", "middle", "high"],
    "regression": [],
    "retrieval": ["refund", "delivery", "password"],
    "span": [],
    "tagging": ["O", "B-per", "I-per"],
}
TRUTHS = {
    "classification": ["neg", "pos", "pos", "neg", "pos"],
    "multilabel": [["a"], [], ["b", "c"], ["a", "c"], []],
    "ordinal": ["low", "high", "middle", "low", "high"],
    "retrieval": ["refund", "password", "delivery", "refund", "refund"],
    "regression": [1.0, 2.5, -3.0, 4.0, 4.0],
    "span": [["0:a b"], [], ["2:b", "4:c"], ["4:c d"], ["0:a", "0:a b"]],
    "tagging": [["O"], ["B-per", "I-per"], ["O", "B-per", "O"], [], ["B-per", "B-per"]],
}
NAMES = list(METRICS)
PER_TOKEN = ("span", "tagging")
#: What the heads keep for decoding.
KEPT = {"retrieval": {"vectors": np.random.default_rng(1).normal(size=(3, 6)).astype(np.float32)}}


#: What a span is one of, and the characters of its words.
CONTEXT = "a b c d"
PLACES = np.array([[-1, -1], [0, 1], [2, 3], [4, 5], [6, 7]], np.float32)


def outputs_of(name: str) -> int:
    """How many logits a row or token gets."""
    head = kind(name).head(6, LABELS[name], {"pooling": "mean", "dropout": 0.0})
    return int(head(torch.zeros(1, 2, 6), torch.ones(1, 2, dtype=torch.int64)).shape[-1])


def logits_of(name: str, rows: list[int] | None = None, seed: int = 0) -> list[np.ndarray]:
    """Random logits for the rows of TRUTHS."""
    generator = np.random.default_rng(seed)
    outputs = outputs_of(name)
    shapes = [(len(truth), outputs) if name == "tagging" else (outputs,) for truth in TRUTHS[name]]  # type: ignore[arg-type]
    if name == "span":  # a window of the first token and the four words of CONTEXT
        shapes = [(5, outputs)] * 5
    drawn = [generator.normal(size=shape).astype(np.float32) for shape in shapes]
    if name == "span":
        drawn = [np.hstack([each, PLACES]) for each in drawn]
    return drawn if rows is None else [drawn[row] for row in rows]


def decoded(name: str, rows: list[int] | None = None) -> list[dict[str, Any]]:
    """Random answers to TRUTHS."""
    found = kind(name).decode(logits_of(name, rows), LABELS[name], KEPT.get(name, {}))
    return with_texts(found, [CONTEXT] * len(found)) if name == "span" else found


def scorer_of(name: str, rows: list[int] | None = None) -> Scorer:
    """A scorer of random answers to TRUTHS."""
    one: Kind = kind(name)
    truths = TRUTHS[name] if rows is None else [TRUTHS[name][row] for row in rows]
    return one.scorer(decoded(name, rows), truths, LABELS[name])


@pytest.mark.parametrize("name", NAMES)
def test_a_kind_is_found_by_its_name(name: str) -> None:
    assert kind(name).name == name
    assert kind(name).per_token == (name in PER_TOKEN)


@pytest.mark.parametrize("name", NAMES)
def test_metrics_are_those_of_the_project_file_and_the_extras(name: str) -> None:
    assert set(scorer_of(name).score()) == set(METRICS[name]) | EXTRA[name]


@pytest.mark.parametrize("name", NAMES)
def test_all_rows_once_is_the_default(name: str) -> None:
    scorer = scorer_of(name)
    assert scorer.score() == scorer.score(np.arange(5))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rows", [[0, 1], [4, 2, 1], [1, 1, 2, 2, 4], [2, 1, 0, 4, 3, 2]])
def test_a_score_over_rows_is_that_of_a_scorer_of_those_rows(name: str, rows: list[int]) -> None:
    chosen, alone = scorer_of(name).score(np.array(rows)), scorer_of(name, rows).score()
    assert chosen.keys() == alone.keys()
    for metric in chosen:
        assert chosen[metric] == pytest.approx(alone[metric], nan_ok=True, abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_without_rows_every_metric_is_nan(name: str) -> None:
    for scores in (scorer_of(name, []).score(), scorer_of(name).score(np.zeros(0, np.int64))):
        assert all(math.isnan(value) for value in scores.values())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rows", [None, []])
def test_details_and_answers_are_plain_json(name: str, rows: list[int] | None) -> None:
    json.dumps(scorer_of(name, rows).details(), allow_nan=False)
    json.dumps(decoded(name), allow_nan=False)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_to_count_is_an_exact_zero_with_a_graph(name: str) -> None:
    outputs = outputs_of(name)
    logits = torch.randn((4, 6, outputs) if name in PER_TOKEN else (4, outputs), requires_grad=True)
    targets = {
        "classification": torch.full((4,), IGNORE),
        "multilabel": torch.full((4, 3), math.nan),
        "ordinal": torch.full((4, 2), math.nan),
        "regression": torch.full((4,), math.nan),
        "retrieval": torch.zeros(0, dtype=torch.int64),
        "span": torch.full((4, 6), IGNORE),
        "tagging": torch.full((4, 6), IGNORE),
    }[name]
    loss = kind(name).loss(logits, targets, 0.1)
    loss.backward()
    assert loss.item() == 0
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_float32_and_the_same_inside_a_bfloat16_autocast(name: str) -> None:
    one, labels = kind(name), LABELS[name]
    encoded = one.encode(TRUTHS[name], labels)
    if name == "tagging":
        logits, targets = torch.randn(1, 3, 3), torch.from_numpy(encoded[2])[None]
    elif name == "span":  # its targets go with tokens: tests/data/test_context_windows.py
        logits, targets = torch.randn(1, 3, 2), torch.tensor([[0, 1, 2]])
    else:
        targets = torch.from_numpy(np.asarray(encoded))
        answers = len(labels) if name == "retrieval" else 0  # behind the queries stand the answers
        logits = torch.randn(5 + answers, outputs_of(name))
    outside = one.loss(logits, targets, 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        inside = one.loss(logits, targets, 0.1)
        low = one.loss(logits.bfloat16(), targets, 0.1)
    assert inside.dtype == low.dtype == torch.float32
    assert torch.equal(inside, outside)
    assert torch.equal(low, one.loss(logits.bfloat16().float(), targets, 0.1))


@pytest.mark.parametrize("name", [name for name in NAMES if LABELS[name]])
def test_an_unknown_label_is_an_input_error_that_names_it_and_a_near_one(name: str) -> None:
    unknown = {
        "classification": "posi",
        "multilabel": ["a", "bb"],
        "ordinal": "mid",
        "retrieval": "refunds",
        "tagging": ["O", "I-perr"],
    }[name]
    with pytest.raises(
        InputError, match=r"label '(posi|bb|mid|refunds|I-perr)' is not one of .*did you mean"
    ):
        kind(name).encode([TRUTHS[name][0], unknown], LABELS[name])


@pytest.mark.parametrize("name", [name for name in NAMES if LABELS[name]])
def test_a_truth_outside_the_labels_cannot_be_scored(name: str) -> None:
    (answer,) = decoded(name, [1])
    unknown = {"multilabel": ["x"], "tagging": ["O", "x"]}.get(name, "x")
    with pytest.raises(InputError, match="label 'x' is not one of"):
        kind(name).scorer([answer], [unknown], LABELS[name])


def test_a_long_label_list_is_cut_in_the_error() -> None:
    with pytest.raises(InputError, match="and 140 more"):
        kind("classification").encode(["?"], [f"intent_{number}" for number in range(150)])
