"""The test rows of all champions, which no training may use again. No Prefect: people wait for the answer."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doubleroute.data.arrivals import ROWS, HeldOut, text_keys
from doubleroute.data.tables import read_validated
from doubleroute.errors import DoublerouteError
from doubleroute.integrations.registry import CHAMPION, Registry, Version
from doubleroute.workspace import Stage

if TYPE_CHECKING:
    import pandas as pd


def tested(registry: Registry) -> HeldOut | None:
    """The rows behind all champions, as if they were one: what it holds out no training may use; None when
    no champion remembers its rows."""
    rows = rows_of_champions(registry)
    return HeldOut.of(*rows) if rows else None


def usable(validated: Stage, task: str, split: str, held: HeldOut | None) -> "pd.DataFrame":
    """The validated rows of a split without those that a training leaves out: the rows of train and
    validation that a champion was tested on (``held``, of ``tested``)."""
    frame = read_validated(validated.path, task, split)
    return frame if held is None or split == "test" else frame[~held.holds_out(task, text_keys(frame))]


def rows_of_champions(registry: Registry) -> list[Path]:
    """The files that together hold the test rows of all champions: of every version that ever was champion. A
    promotion hands on only the rows of those that were champion when its version was registered. Says where
    the rows of a former champion are neither in its own run, which may be gone, nor handed on."""
    moves = registry.history()
    champions = {number for move in moves for number in (move["version"], move["from"])}
    versions, found, lost = registry.versions(), dict[str, Path](), dict[str, DoublerouteError]()
    for version in versions:
        serves = CHAMPION in version.aliases
        if serves or version.number in champions:
            try:
                rows = registry.artifact(version, ROWS)
            except DoublerouteError as error:
                if serves:
                    raise
                lost[version.number] = error
                continue
            if rows is not None:
                found[version.number] = rows
    for number in sorted(lost.keys() - _handed_on(found, versions, moves), key=int):
        said = f"the test rows of version {number}, champion once, are not known"
        print(f"warning: {said}: {lost[number]}", file=sys.stderr, flush=True)
    return list(found.values())


def _handed_on(
    numbers: Iterable[str], versions: Sequence[Version], moves: Sequence[Mapping[str, Any]]
) -> set[str]:
    """The champions whose test rows these versions hold besides their own: of each the one that was champion
    when it was registered, and those whose rows that one held. ``moves``: newest first."""
    created = {version.number: version.created / 1000 for version in versions}
    begun = [  # the time of a move is cut to the second
        (datetime.fromisoformat(move["time"]).timestamp() + 1, move["version"])
        for move in moves
        if move["time"] is not None
    ]
    holding, left = set[str](), list(numbers)
    while left:
        registered = created.get(left.pop(), 0)
        champion = next((number for since, number in begun if since <= registered), None)
        if champion is not None and champion not in holding:
            holding.add(champion)
            left.append(champion)
    return holding
