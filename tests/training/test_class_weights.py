"""Weights of labels in a task's loss."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import write_tiny_project
from test_fit import Run

from doubleroute.config import Task
from doubleroute.data.batches import IGNORE, Encoded
from doubleroute.data.tokens import Packed
from doubleroute.errors import ConfigError
from doubleroute.kinds import kind
from doubleroute.training.class_weights import class_weights

NOTHING = np.zeros(0, np.int32)
EMPTY = Packed(NOTHING, np.zeros(1, np.int64), None, None, np.zeros(0, bool))


def found(name: str, wanted: Any, labels: list[str], targets: list[Any]) -> Any:
    task = Task.model_validate({"kind": name, "files": {"train": "a.csv"}, "class_weights": wanted})
    return class_weights("mood", task, labels, Encoded(EMPTY, np.array(targets), NOTHING))


def test_balanced_labels_weigh_the_same_in_all_and_one_in_the_mean() -> None:
    weights = found("classification", "balanced", ["a", "b", "c"], [0, 0, 0, 1])
    assert weights == pytest.approx([4 / 6, 4 / 2, 1])
    assert 3 * weights[0] == pytest.approx(weights[1])
    assert found("tagging", "balanced", ["O", "B-x"], [IGNORE, 0, 0, 0, 1, IGNORE]) == pytest.approx(
        [4 / 6, 2]
    )


def test_balanced_sets_of_labels_count_the_rows_without_a_label_for_each_with_it() -> None:
    targets = [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, float("nan")]]
    assert found("multilabel", "balanced", ["a", "b", "c"], targets) == pytest.approx([3, 1, 0.5])


def test_a_map_gives_its_own_weights_and_names_a_label_that_is_not_there() -> None:
    assert found("classification", {"b": 3.0}, ["a", "b"], [0]) == [1.0, 3.0]
    assert found("classification", None, ["a", "b"], [0]) is None
    with pytest.raises(
        ConfigError, match=r"tasks\.mood\.class_weights: there is no label 'x'; there are: a, b"
    ):
        found("classification", {"x": 3.0}, ["a", "b"], [0])


@pytest.mark.parametrize("name", ["classification", "tagging", "multilabel"])
def test_a_weight_is_as_good_as_so_many_more_rows(name: str) -> None:
    one, logits = kind(name), torch.randn(4, 2, generator=torch.Generator().manual_seed(1))
    targets = torch.tensor([0, 1, 1, 0])
    more = torch.tensor([0, 1, 1, 1, 1, 2, 2, 2, 2, 3])[[0, 1, 2, 5, 6, 9]]  # the rows of label 1 twice
    if name == "multilabel":
        # Both labels' terms of a row come with it, so only a single label can be repeated.
        logits, targets = logits[:, :1], targets[:, None].float()
        weighed = one.loss(logits, targets, 0.0, class_weights=torch.tensor([2.0]))
    elif name == "tagging":
        weighed = one.loss(logits[None], targets[None], 0.0, class_weights=torch.tensor([1.0, 2.0]))
        logits, targets = logits[:, None], targets[:, None]
    else:
        weighed = one.loss(logits, targets, 0.0, class_weights=torch.tensor([1.0, 2.0]))
    repeated = one.loss(logits[more], targets[more], 0.0)
    torch.testing.assert_close(weighed, repeated * len(more) / 4)


def test_weights_of_labels_train_and_are_part_of_the_fit_s_digest(
    tiny_backbone: Path, tmp_path: Path
) -> None:
    root = write_tiny_project(tmp_path / "project", tiny_backbone)
    run = Run(root, "tasks.entities.class_weights=balanced", "training.epochs=1")
    learner = run.learner()
    weights = learner.model.config.tasks["entities"]["class_weights"]
    assert weights[1] > 2 > 1 > weights[0]  # one word of six is a number
    assert run.fit(tmp_path / "fit")["epochs"][0]["train_loss"] > 0
    with pytest.raises(ConfigError, match="do not fit kind regression"):
        Run(root, "tasks.sentiment.kind=regression", "tasks.sentiment.class_weights=balanced")
