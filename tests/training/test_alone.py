"""A task that learns alone: the joint run without the other tasks' rows."""

import json
from pathlib import Path

import numpy as np
import torch
from conftest import write_tiny_project

from doubleroute.config import Training, load_project
from doubleroute.data.batches import Encoded
from doubleroute.data.tokens import Packed
from doubleroute.integrations.validation import validate
from doubleroute.modeling.model import load_model
from doubleroute.training.encode import encode
from doubleroute.training.feed import Feed
from doubleroute.training.fit import Learner
from doubleroute.training.ladder import store
from doubleroute.training.plan import Plan
from doubleroute.training.variants import variant
from doubleroute.workspace import Workspace


def rows(lengths: list[int]) -> Encoded:
    """Rows of these lengths, all of one token."""
    starts = np.concatenate([[0], np.cumsum(lengths)])
    packed = Packed(np.ones(starts[-1], np.int32), starts, None, None, np.zeros(len(lengths), bool))
    return Encoded(packed, np.zeros(len(lengths), np.int64), np.arange(len(lengths)))


def test_the_batches_of_one_task_are_those_of_all_without_the_others_rows() -> None:
    encoded = {"a": rows([3, 9] * 20), "b": rows([4] * 5)}
    options = Training(batch_size=4, sampling_temperature=2.0)
    joint, alone = Feed(encoded, None, options, 7, 0), Feed(encoded, None, options, 7, 0, alone="b")
    assert alone.steps == joint.steps
    for epoch in range(3):
        for both, own in zip(joint.plan(epoch), alone.plan(epoch), strict=True):
            assert list(own) == ["b"]
            np.testing.assert_array_equal(own["b"], both["b"])


def test_steps_and_rows_are_counted_where_there_are_rows() -> None:
    encoded = {"a": rows([3] * 30), "b": rows([40] * 2)}
    options = Training(batch_size=4)
    joint, alone = Feed(encoded, None, options, 7, 0), Feed(encoded, None, options, 7, 0, alone="b")
    planned = [*joint.plan(0), *joint.plan(1)][:10]
    rows_of = {task: [len(each[task]) for each in planned] for task in "ab"}
    assert joint.drawn(10) == (10, {task: sum(each) for task, each in rows_of.items()})
    assert alone.drawn(10) == (sum(each > 0 for each in rows_of["b"]), {"b": sum(rows_of["b"])})


def test_a_fit_of_one_task_begins_as_the_joint_one_and_has_that_task_alone(
    tiny_backbone: Path, tmp_path: Path
) -> None:
    root = write_tiny_project(tmp_path / "project", tiny_backbone)
    project, workspace = load_project(root), Workspace(root)
    validated = validate(project, workspace)
    encoded = encode(project, workspace, validated)
    stored = store(project, workspace, encoded, lambda *_: None)
    torch.set_num_threads(1)
    given = (project, variant(project, "plain"), validated, encoded, stored, "float32")
    joint, alone = Learner(*given), Learner(*given, plan=Plan(alone="entities"))
    for (name, one), (_, other) in zip(
        alone.model.heads["entities"].named_parameters(),
        joint.model.heads["entities"].named_parameters(),
        strict=True,
    ):
        assert torch.equal(one, other), name
    for folder in ("fit", "partial"):
        (tmp_path / folder).mkdir()
    alone.run(tmp_path / "fit", tmp_path / "partial", lambda _: None)
    history = json.loads((tmp_path / "fit" / "history.json").read_text(encoding="utf-8"))
    taken, drawn = joint.feed.drawn(joint.total)
    assert history["rows"] == {"entities": drawn["entities"]}
    assert history["total_steps"] == alone.feed.drawn(joint.total)[0] <= taken == joint.total
    assert list(load_model(tmp_path / "fit" / "model").config.tasks) == ["entities"]
