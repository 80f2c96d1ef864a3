"""Which rows a retraining draws, and how often: all, those of late, or by their age; new ones more often."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from doubleroute.config import Project, Retraining
from doubleroute.data.arrivals import Seen, row_keys, text_keys
from doubleroute.data.batches import Encoded
from doubleroute.data.tables import read_validated
from doubleroute.workspace import Stage, Workspace

if TYPE_CHECKING:
    import pandas as pd

_DAY = 86400.0


def weights(times: Sequence[str | None], known: np.ndarray | None, options: Retraining) -> np.ndarray:
    """How often each of n training rows of a task is drawn in an epoch: float64 [n], 0 leaves it out.

    ``times`` [n]: ISO 8601 in UTC, None where a row has none: it counts as old as the oldest, and without
    any time all rows count as of today. Ages are those before the newest of the rows that is not of the
    future: one wrong date does not make all others old.
    ``known`` bool [n]: the champion has learned from it; None: not known of any, and all count alike.

    rows ``all``: 1; ``recent``: 1 up to ``recent_days`` of age, then 0; ``weighted``: 2^(-age/half_life);
    times ``new_rows_weight`` where a row is not known. Rows of weight 1 are drawn once an epoch, so that an
    epoch costs as many rows as the weights sum to.
    """
    found, ages = np.ones(len(times)), _ages(times)
    if options.rows == "recent":
        found = (ages <= options.recent_days).astype(np.float64)
    elif options.rows == "weighted":
        found = np.exp2(-ages / options.half_life_days)
    if known is not None:
        found = np.where(known, found, found * options.new_rows_weight)
    return found


def _ages(times: Sequence[str | None]) -> np.ndarray:
    """Days before the newest row, at least 0: float64 [n]."""
    said = np.array([each or "NaT" for each in times], "datetime64[s]")
    if np.isnat(said).all():
        return np.zeros(len(times))
    said = np.where(np.isnat(said), np.nanmin(said), said)
    newest = min(said.max(), np.datetime64(datetime.now(UTC).replace(tzinfo=None), "s"))
    ages: np.ndarray = (newest - said).astype(np.float64) / _DAY
    return ages.clip(min=0)


def selection(project: Project, workspace: Workspace, validated: Stage, seen: Seen | None) -> Stage | None:
    """Give the stage with ``<task>.npy``: the weights of the labelled training rows, in their order, as
    ``project.retraining`` says; None when all rows count alike.

    ``seen``: the rows behind the champion; None when they are not known.
    """
    options = project.retraining
    if options.rows == "all" and (options.new_rows_weight == 1 or seen is None):
        return None
    chosen = {
        task: weights_of(task, read_validated(validated.path, task, "train"), seen, options)
        for task in project.tasks
    }

    def make(folder: Path) -> None:
        for task, each in chosen.items():
            np.save(folder / f"{task}.npy", each)

    # Keyed by the weights: a fit is found again as long as its rows are drawn as often.
    return workspace.build("selection", {task: _digest(each) for task, each in chosen.items()}, make)


def weights_of(task: str, frame: "pd.DataFrame", seen: Seen | None, options: Retraining) -> np.ndarray:
    """The ``weights`` of the labelled ones of these training rows of a task, in their order: float64 [n]."""
    frame = frame[frame["label"].notna()]
    known = None if seen is None else seen.learned_from(task, row_keys(frame, text_keys(frame)))
    times = frame["time"].tolist() if "time" in frame else [None] * len(frame)
    return weights(times, known, options)


def read_selection(stage: Stage | None, tasks: Sequence[str]) -> Mapping[str, np.ndarray] | None:
    """The weights of the rows by task; None for all alike."""
    if stage is None:
        return None
    return {task: np.load(stage.path / f"{task}.npy") for task in tasks}


def of_windows(
    weights: Mapping[str, np.ndarray] | None, rows: Mapping[str, Encoded]
) -> Mapping[str, np.ndarray] | None:
    """The weights of the encoded rows from those of the rows: each window of a row has the row's."""
    if weights is None:
        return None
    owners = {task: rows[task].packed.owners for task in weights}
    return {task: each if owners[task] is None else each[owners[task]] for task, each in weights.items()}


def _digest(values: np.ndarray) -> str:
    import xxhash

    return xxhash.xxh3_128_hexdigest(np.ascontiguousarray(values).tobytes())
