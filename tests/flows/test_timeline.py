"""What a run says on stderr while it works."""

import io
import re
import sys
import time
from typing import Any

import pytest

from doubleroute.flows.timeline import FitProgress, Timeline


class Step:
    """Called as Prefect's tasks are."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *given: Any) -> Any:
        return given


def test_a_step_is_named_when_it_begins_unless_it_tells_its_own_progress(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = Timeline()
    assert clock(Step("validate"), 1) == (1,)
    clock(Step("fit"), FitProgress())
    assert capsys.readouterr().err == "validate ...\n"
    assert [stage["name"] for stage in clock.stages] == ["validate", "fit"]


def test_tokens_are_counted_with_the_time_that_is_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FitProgress, "_EVERY", 0.0)
    with FitProgress() as progress:
        progress("activations", {"step": 1000, "total": 11_000, "unit": "tokens"})
        time.sleep(0.2)
        progress("activations", {"step": 2000, "total": 11_000, "unit": "tokens"})
        progress("activations", {"step": 500, "total": 1000, "unit": "tokens"})  # another set of rows
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == "activations: 1,000 of 11,000 tokens"
    assert re.fullmatch(r"activations: 2,000 of 11,000 tokens  0:0[2-9] left", second)
    assert third == "activations: 500 of 1,000 tokens"


def test_a_fit_tells_its_loss_its_speed_and_the_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    with FitProgress() as progress:
        point = {"step": 5, "total": 20, "loss": 0.5, "tokens_per_second": 1234.5, "seconds": 30.0}
        progress("routed", point)
    assert capsys.readouterr().err == "routed: 5 of 20  loss 0.500  1,234 tokens/s  1:30 left\n"


def test_the_time_left_counts_from_the_first_of_the_things_that_are_counted_now(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FitProgress, "_EVERY", 0.0)
    with FitProgress() as progress:
        progress("routed", {"step": 10, "total": 100, "unit": "tokens of a, train"})
        time.sleep(1)
        progress("routed", {"step": 10, "total": 1000, "unit": "tokens of b, train"})
        progress("routed", {"step": 20, "total": 1000, "unit": "tokens of b, train"})
        progress("routed", {"step": 10, "total": 1000, "unit": "tokens of b, train"})  # once more
    said = capsys.readouterr().err.splitlines()
    assert said[1] == "routed: 10 of 1,000 tokens of b, train"
    assert re.fullmatch(r"routed: 20 of 1,000 tokens of b, train  0:\d\d left", said[2])
    assert said[3] == said[1]


def test_a_bar_fills_up_whatever_it_counted_before(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    with FitProgress() as progress:
        progress("routed", {"step": 900, "total": 900, "unit": "tokens of a, train"})
        point = {"step": 20, "total": 20, "loss": 0.5, "tokens_per_second": 1234.5, "seconds": 30.0}
        progress("routed", point)
    assert isinstance(sys.stderr, Terminal)
    assert "20/20" in sys.stderr.getvalue()
