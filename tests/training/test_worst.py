"""The worst rows are those that the scorer counts as wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from doubleroute.data.batches import Encoded
from doubleroute.data.tokens import Packed
from doubleroute.training.scoring import Truths
from doubleroute.training.worst import worst_errors


def truths(root: Path, columns: dict[str, list[Any]], labels: list[str]) -> Truths:
    """The test rows of a task, as the validation stage keeps them."""
    rows = len(columns["label"])
    (root / "task").mkdir()
    about = {"file": ["a.jsonl"] * rows, "row": range(1, rows + 1)}
    pd.DataFrame({**columns, **about}).to_parquet(root / "task" / "test.parquet")
    packed = Packed(np.zeros(0, np.int32), np.zeros(rows + 1, np.int64), None, None, np.zeros(rows, bool))
    return Truths(root, "task", "test", Encoded(packed, np.zeros(rows), np.arange(rows)), labels)


def test_tags_that_begin_entities_with_i_are_right_where_the_scorer_takes_them_so(tmp_path: Path) -> None:
    tags = [["I-x", "I-x"], ["I-x", "O"]]
    rows = truths(tmp_path, {"tokens": [["a", "b"]] * 2, "label": tags}, ["O", "B-x", "I-x"])
    found = worst_errors("tagging", rows, [{"tags": ["B-x", "I-x"]}, {"tags": ["O", "O"]}])
    assert [each["row"] for each in found] == [2]


def test_an_ordinal_truth_that_the_model_has_never_had_is_an_error_by_its_distance(tmp_path: Path) -> None:
    labels = ["low", "middle", "high", "highest"]
    rows = truths(tmp_path, {"text": ["a"] * 3, "label": ["middle", "highest", "low"]}, labels)
    answer = {"label": "low", "probabilities": {"low": 0.8, "middle": 0.1, "high": 0.1}}
    assert [each["row"] for each in worst_errors("ordinal", rows, [answer] * 3)] == [2, 1]
