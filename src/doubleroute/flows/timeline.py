"""What a run did and how long each step took; and the progress of what takes long, on stderr."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from doubleroute.workspace import Stage


class Timeline:
    """``stages``: [{"name", "reused", "seconds"}] in the order of the run."""

    def __init__(self) -> None:
        self.stages: list[dict[str, Any]] = []
        self._begun = time.monotonic()

    def __call__(self, step: Any, *args: Any, **kwargs: Any) -> Any:
        """Run a step (a Prefect task) and note its seconds, and whether its result was there already.

        A step that is not given a FitProgress is named on stderr while it runs.
        """
        begun = time.monotonic()
        with _named(step.name, shown=not any(isinstance(each, FitProgress) for each in args)):
            result = step(*args, **kwargs)
        stages = result.values() if isinstance(result, dict) else [result]
        made = [stage for stage in stages if isinstance(stage, Stage)]
        reused = bool(made) and all(stage.reused for stage in made)
        seconds = round(time.monotonic() - begun, 2)
        self.stages.append({"name": step.name, "reused": reused, "seconds": seconds})
        return result

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return round(time.monotonic() - self._begun, 1)


@contextmanager
def _named(name: str, shown: bool) -> Iterator[None]:
    """A spinner on a terminal, a line elsewhere."""
    if shown and sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True).status(f"{name} ..."):
            yield
        return
    if shown:
        print(f"{name} ...", file=sys.stderr, flush=True)
    yield


def say_trimmed(removed: list[str]) -> None:
    """Told to ``Workspace.bounded``."""
    count = "1 stage" if len(removed) == 1 else f"{len(removed):,} stages"
    print(f"workspace.max_gb: {count} removed, those used longest ago", file=sys.stderr, flush=True)


@dataclass
class _Count:
    """Steps of one ``unit``, told from the ``first`` on, at the time ``begun``, up to ``step``."""

    unit: str
    first: int
    begun: float
    step: int


class FitProgress:
    """Bars on a terminal, a line every quarter of a minute elsewhere; always on stderr."""

    _EVERY = 15.0

    def __init__(self) -> None:
        self._said: dict[str, float] = {}
        self._counts: dict[str, _Count] = {}
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> "FitProgress":
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), "{task.fields[about]}")
            shown = [column if not isinstance(column, str) else TextColumn(column) for column in columns]
            self._bars = Progress(*shown, console=Console(stderr=True), transient=True)
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, name: str, point: dict[str, Any]) -> None:
        """Show a point of a model's training curve, or of another long step: ``step`` of ``total`` done,
        of what ``unit`` names."""
        now, step, unit = time.monotonic(), point["step"], point.get("unit", "")
        count = self._counts.get(name)
        if count is None or unit != count.unit or step < count.step:  # another thing, or the same once more
            count = self._counts[name] = _Count(unit, step, now, step)
        count.step = step
        about = _describe(point, count, now)
        if self._bars is not None:
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(f"{name:7}", total=point["total"], about=about)
            self._bars.update(self._tasks[name], completed=step, total=point["total"], about=about)
            return
        if now - self._said.get(name, 0.0) >= self._EVERY or step == point["total"]:
            self._said[name] = now
            print(f"{name}: {step:,} of {point['total']:,} {about}".rstrip(), file=sys.stderr, flush=True)


def _describe(point: dict[str, Any], count: _Count, now: float) -> str:
    """What is known beside the count. A fit knows the time that is left; of other steps it follows from what
    was done since the first of them was told."""
    if "loss" not in point:
        done = count.step - count.first
        left = _left((now - count.begun) * (point["total"] - count.step) / done) if done else ""
        return f"{count.unit}  {left}".rstrip()
    left = _left(point["seconds"] * (point["total"] / point["step"] - 1))
    return f" loss {point['loss']:.3f}  {point['tokens_per_second']:,.0f} tokens/s  {left}"


def _left(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} left"
