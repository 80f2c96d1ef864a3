"""Whether a graph may answer in the model's place: decided from figures alone."""

from pathlib import Path
from typing import Any

import pytest

from doubleroute.modeling.inference import Answerer
from doubleroute.serving.acceptance import Labelled, compare, objections, same_answer

GOOD = {
    "metric": "accuracy",
    "model": 0.9,
    "graph": 0.898,
    "loss": 0.002,
    "rows": 500,
    "same": 490,
    "largest_difference": 0.1,
}


def figures(**changes: Any) -> dict[str, dict[str, Any]]:
    return {"mood": {**GOOD, **changes}}


def test_a_loss_within_the_margin_is_accepted_and_one_beyond_is_refused_with_both_values() -> None:
    assert objections(figures(), 0.005) == []
    (why,) = objections(figures(), 0.001)
    assert why.startswith("mood: accuracy 0.9000 becomes 0.8980 on 500 rows, 0.0020 worse")
    assert "serving.margin allows 0.001" in why


def test_a_better_graph_is_accepted_at_any_margin() -> None:
    assert objections(figures(graph=0.95, loss=-0.05), 0.0) == []


def test_an_undefined_metric_accepts_only_equal_answers() -> None:
    undefined = {"model": None, "graph": None, "loss": None}
    assert objections(figures(**undefined, same=500), 0.0) == []
    (why,) = objections(figures(**undefined), 1.0)
    assert "only 490 answers are the same" in why


def test_logits_that_are_not_finite_are_refused() -> None:
    assert objections(figures(largest_difference=None), 1.0) == ["mood: its logits are not all finite"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"label": "a", "probabilities": {}}, {"label": "a", "probabilities": {"a": 1.0}}, True),
        ({"label": "a"}, {"label": "b"}, False),
        ({"labels": ["a"]}, {"labels": []}, False),
        ({"tags": ["O", "B-x"]}, {"tags": ["O", "B-x"]}, True),
        ({"value": 100.0}, {"value": 100.05}, True),
        ({"value": 0.0}, {"value": 0.01}, False),
    ],
)
def test_answers_are_the_same_when_they_decide_alike(one: Any, other: Any, same: bool) -> None:
    assert same_answer(one, other) == same


def test_a_model_loses_nothing_against_itself(tiny_model: Path) -> None:
    model = Answerer(tiny_model, threads=1)
    rows = [{"text": "a good film"}, {"text": "bad words"}, {"text": "a good film"}]
    given = {
        "sentiment": Labelled(rows, ["pos", "neg", "pos"], "accuracy"),
        "stars": Labelled(rows, [1.0, 2.0, 3.0], "mae"),
    }
    found = compare(model, model, given)
    for each in found.values():
        assert (each["rows"], each["same"], each["loss"], each["largest_difference"]) == (3, 3, 0.0, 0.0)
        assert each["alone"] < 1e-5
    assert objections(found, 0.0) == []
