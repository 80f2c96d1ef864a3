"""Weights of a task's labels in its loss, as the project says them or balanced by the training rows."""

from collections.abc import Sequence

import numpy as np

from doubleroute.config import Task
from doubleroute.data.batches import IGNORE, Encoded
from doubleroute.errors import ConfigError


def class_weights(task: str, options: Task, labels: Sequence[str], train: Encoded) -> list[float] | None:
    """The weight of each label [labels] in the loss of a task; None where the project gives none.

    ``balanced``: n / (labels * n_label) over the n labelled rows, or words for tagging (King & Zeng 2001), so
    that every label weighs the same in all and their mean over the rows is one; multilabel: rows without the
    label for each row with it, so that either side weighs the same. 1 for a label without rows. A map gives
    its own weights, 1 to what it leaves out. Raises ConfigError for a label that the task has not.
    """
    wanted = options.class_weights
    if wanted is None:
        return None
    if wanted == "balanced":
        return _balanced(options.kind, np.asarray(train.labels), len(labels))
    unknown = sorted(set(wanted) - set(labels))
    if unknown:
        raise ConfigError(
            f"tasks.{task}.class_weights: there is no label '{unknown[0]}'; there are: {', '.join(labels)}"
        )
    return [wanted.get(label, 1.0) for label in labels]


def _balanced(kind: str, targets: np.ndarray, labels: int) -> list[float]:
    if kind == "multilabel":
        there = np.nansum(targets, axis=0).astype(np.float64)
        absent = (~np.isnan(targets)).sum(0) - there
        return np.where((there > 0) & (absent > 0), absent / np.maximum(there, 1), 1.0).tolist()
    counts = np.bincount(targets[targets != IGNORE], minlength=labels).astype(np.float64)
    seen = int((counts > 0).sum())
    return np.where(counts > 0, counts.sum() / (seen * np.maximum(counts, 1)), 1.0).tolist()
