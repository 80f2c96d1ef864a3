"""The test rows of all champions, which no training may use again. No Prefect: people wait for the answer."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from doubleroute.data.arrivals import ROWS, Seen, text_keys
from doubleroute.data.tables import read_validated
from doubleroute.errors import DoublerouteError
from doubleroute.integrations.registry import CHAMPION, Registry
from doubleroute.workspace import Stage

if TYPE_CHECKING:
    import pandas as pd


def tested(registry: Registry) -> Seen | None:
    """The rows behind all champions, as if they were one: what it holds out no training may use; None when
    no champion remembers its rows."""
    rows = rows_of_champions(registry)
    return Seen.read(*rows) if rows else None


def usable(validated: Stage, task: str, split: str, held: Seen | None) -> "pd.DataFrame":
    """The validated rows of a split without those that a training leaves out: the rows of train and
    validation that a champion was tested on (``held``, of ``tested``)."""
    frame = read_validated(validated.path, task, split)
    return frame if held is None or split == "test" else frame[~held.holds_out(task, text_keys(frame))]


def rows_of_champions(registry: Registry) -> list[Path]:
    """The files that together hold the test rows of all champions: of every version that ever was champion. A
    promotion hands on only the rows of those that were champion when its version was registered."""
    moves = registry.history()
    champions = {number for move in moves for number in (move["version"], move["from"])}
    found = []
    for version in registry.versions():
        serves = CHAMPION in version.aliases
        if serves or version.number in champions:
            try:
                found.append(registry.artifact(version, ROWS))
            except DoublerouteError as error:
                if serves:
                    raise
                said = f"the test rows of version {version.number}, champion once, are not known"
                print(f"warning: {said}: {error}", file=sys.stderr, flush=True)
    return [rows for rows in found if rows is not None]
