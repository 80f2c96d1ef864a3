"""Changes that no quick model can learn."""

from collections.abc import Sequence

import numpy as np

from doubleroute.review.findings import counted
from doubleroute.review.rows import VersionRows
from doubleroute.review.study import label_names

#: Rows (of tagging words) times labels that one fit may hold: about half a gigabyte, on each processor.
_MOST = 30_000_000
#: What the search for the coefficients remembers of a label takes as much room as so many rows.
_SEARCH_ROWS = 10_000
#: Numbers beyond this have squares that float32 cannot hold.
_LARGEST = 1e18


def unlearnable(sides: Sequence[VersionRows], looked_at: Sequence[np.ndarray]) -> str:
    """Why no quick model learns from the rows that are ``looked_at``, bool [rows] of base and of head; empty
    where one does."""
    kind = sides[0].kind
    if kind == "span":
        return "no quick model looks for answers in a context"
    places = [np.flatnonzero(mask).tolist() for mask in looked_at]
    labels = [side.comparable()[row] for side, rows in zip(sides, places, strict=True) for row in rows]
    if kind == "regression":
        largest = max((abs(label) for label in labels if label is not None), default=0.0)
        beyond = f"numbers as large as {largest:.2g} are beyond float32 when squared"
        return beyond if largest > _LARGEST else ""
    names = len(label_names(kind, labels))
    if not names:
        return "no row has a label"
    sizes = [
        len(rows) if side.tokens is None else sum(len(side.tokens[row]) for row in rows)
        for side, rows in zip(sides, places, strict=True)
    ]
    if (max(sizes) + _SEARCH_ROWS) * names <= _MOST:
        return ""
    noun = "row" if kind != "tagging" else "word"
    return (
        f"{counted(max(sizes), noun)} with {counted(names, 'label')} are too many for a quick model: {noun}s "
        f"and {_SEARCH_ROWS:,} more, times labels, may be {_MOST:,}"
    )
