"""One line of a benchmark: our figure and a peer's, measured in turns in one run, and their ratio."""

import json
import os
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

#: The file to which lines are added as JSON; unset: they are only printed.
VARIABLE = "DOUBLEROUTE_BENCH"
#: A folder for what several benchmarks of one run need; unset: each makes its own.
SHARED = "DOUBLEROUTE_BENCH_SHARED"
#: What a line's note says of answers that should be the same and are not.
OTHER = "OTHER ANSWERS"


@dataclass(frozen=True)
class Line:
    """``ours`` and ``theirs``: a figure for each round, in ``unit``; more is better where the unit is a rate
    ("tokens/s"), else less is. ``least``: the ratio that is wanted, None where nothing is; ``limit``: the
    best that could be reached at all, in ``unit``; ``note``: what else was seen."""

    work: str
    against: str
    unit: str
    ours: list[float]
    theirs: list[float]
    least: float | None = None
    limit: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float:
        """How many times better ours is, by the medians."""
        return ratio_of(self.unit, statistics.median(self.ours), statistics.median(self.theirs))

    @property
    def ratios(self) -> list[float]:
        """The ratio of each round."""
        return sorted(ratio_of(self.unit, *pair) for pair in zip(self.ours, self.theirs, strict=True))

    @property
    def share(self) -> float | None:
        """The part of the limit that ours reaches: at most 1, at the limit."""
        if self.limit is None:
            return None
        return ratio_of(self.unit, statistics.median(self.ours), self.limit)


def ratio_of(unit: str, ours: float, theirs: float) -> float:
    """How many times better ours is: more is better of a rate, less of anything else."""
    return ours / theirs if "/s" in unit else theirs / ours


def agreeing(share: float, least: float, reference: str) -> str:
    """The note of a line: which share of the answers are the reference's, and OTHER below the least."""
    said = f"{share:.2%} of the answers are those of {reference}"
    return said if share >= least else f"{said}: {OTHER}, {least:.0%} should be the same"


def grown(stage: str, by_rows: Mapping[int, Mapping[str, float]]) -> None:
    """Add a stage's growth to the file of the run: {rows: {"seconds", "mb"}}."""
    _add({"stage": stage, "by_rows": {str(rows): dict(each) for rows, each in by_rows.items()}})


def tell(line: Line) -> None:
    """Print a line, and add it to the file of the run."""
    wanted = "" if line.least is None else f" (wanted: {line.least:g})"
    share = "" if line.share is None else f", {line.share:.0%} of the limit {line.limit:,.4g}"
    note = f"; {line.note}" if line.note else ""
    print(
        f"{line.work}: {statistics.median(line.ours):,.3g} {line.unit} against "
        f"{statistics.median(line.theirs):,.3g} ({line.against}): {line.ratio:.2f} times{wanted}, "
        f"by round {', '.join(f'{each:.2f}' for each in line.ratios)}{share}{note}",
        flush=True,
    )
    _add({**asdict(line), "ratio": line.ratio, "share": line.share})


def processors(number: int, threads: int) -> set[int]:
    """Those of the contender of this number, from 0, that is a process of its own: as many as its threads, in
    turns of those that this process may use."""
    free = sorted(os.sched_getaffinity(0))
    return {free[(number * threads + each) % len(free)] for each in range(threads)}


def skip(work: str, why: str) -> None:
    """Say that a line is not measured, and add that to the file of the run."""
    print(f"skipped: {work}: {why}", flush=True)
    _add({"skipped": work, "why": why})


def _add(found: Mapping[str, object]) -> None:
    place = os.environ.get(VARIABLE)
    if place:
        with Path(place).open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")
