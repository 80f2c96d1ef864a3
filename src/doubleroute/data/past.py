"""The validated rows as they were at a moment of the past, for replays."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from doubleroute.config import SPLITS
from doubleroute.data.answers import copy_answers
from doubleroute.data.tables import read_validated, rows_digest
from doubleroute.digests import code_digest
from doubleroute.workspace import Stage, Workspace, write_json

if TYPE_CHECKING:
    import pandas as pd


def rows_before(workspace: Workspace, validated: Stage, tasks: Iterable[str], time: str) -> Stage:
    """Give the stage with ``<task>/<split>.parquet`` and ``labels.json`` as validation made them, of the
    rows dated before ``time`` (ISO, UTC to the second). Labels are those of the whole history.

    Every row stays in its split: held-out rows are held out at every moment.
    """
    names = list(tasks)
    inputs = {
        "rows": rows_digest(validated),
        "tasks": names,
        "time": time,
        "code": code_digest("data/past", "data/answers"),
    }

    def make(folder: Path) -> None:
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        labels = json.loads((validated.path / "labels.json").read_text(encoding="utf-8"))
        write_json(folder / "labels.json", {name: labels[name] for name in names})
        for task in names:
            (folder / task).mkdir()
            copy_answers(validated.path, task, folder)
            for split in SPLITS:
                table = pq.read_table(validated.path / task / f"{split}.parquet")
                table = table.filter(pc.less(table["time"], time))
                pq.write_table(table, folder / task / f"{split}.parquet", compression="zstd")

    return workspace.build("rows-before", inputs, make)


def dated(validated: Stage, task: str) -> "pd.DataFrame":
    """All rows of a task with their ``split``, oldest first; rows of one moment in the order of the files."""
    import pandas as pd

    frames = [read_validated(validated.path, task, split).assign(split=split) for split in SPLITS]
    return pd.concat(frames, ignore_index=True).sort_values("time", kind="stable", ignore_index=True)
