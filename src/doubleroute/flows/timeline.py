"""What a run did and how long each step took; and the progress of its fits."""

import sys
import time
from typing import Any

from doubleroute.workspace import Stage


class Timeline:
    """``stages``: [{"name", "reused", "seconds"}] in the order of the run."""

    def __init__(self) -> None:
        self.stages: list[dict[str, Any]] = []
        self._begun = time.monotonic()

    def __call__(self, step: Any, *args: Any, **kwargs: Any) -> Any:
        """Run a step (a Prefect task) and note its seconds, and whether its result was there already."""
        begun = time.monotonic()
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


class FitProgress:
    """Bars on a terminal, a line every quarter of a minute elsewhere; always on stderr."""

    _EVERY = 15.0

    def __init__(self) -> None:
        self._said: dict[str, float] = {}
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
        """Show a point of a model's training curve, or the tokens done of another long step."""
        about = _describe(point)
        if self._bars is not None:
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(f"{name:7}", total=point["total"], about=about)
            self._bars.update(self._tasks[name], completed=point["step"], about=about)
            return
        now = time.monotonic()
        if now - self._said.get(name, 0.0) >= self._EVERY or point["step"] == point["total"]:
            self._said[name] = now
            print(f"{name}: {point['step']:,} of {point['total']:,}  {about}", file=sys.stderr, flush=True)


def _describe(point: dict[str, Any]) -> str:
    if "loss" not in point:
        return ""
    left = point["seconds"] * (point["total"] / point["step"] - 1)
    minutes, seconds = divmod(round(left), 60)
    return (
        f"loss {point['loss']:.3f}  {point['tokens_per_second']:,.0f} tokens/s  {minutes}:{seconds:02d} left"
    )
