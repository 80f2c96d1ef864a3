"""What `make bench` writes, and what `make bench-check` calls a regression."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.main import get_command

from doubleroute.cli import app

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Gives a script of the folder as a module."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module
    for name in {file.stem for file in BENCHMARKS.glob("*.py")} - before:
        sys.modules.pop(name, None)


@pytest.fixture
def run(script: Callable[[str], Any]) -> Any:
    return script("run")


def line(work: str, ours: list[float], theirs: list[float], unit: str = "s") -> dict[str, Any]:
    from measure import Line

    made = Line(work, "a peer", unit, ours, theirs, least=2.0)
    return {**vars(made), "ratio": made.ratio, "share": made.share}


def test_a_ratio_that_fell_by_more_than_a_sixth_is_a_regression(run: Any) -> None:
    kept = [line("fit", [1.0], [4.0]), line("tokens", [8.0], [2.0], "tokens/s"), line("gone", [1.0], [1.0])]
    now = [line("fit", [1.3], [4.0]), line("tokens", [7.0], [2.0], "tokens/s"), line("new", [9.0], [1.0])]
    (said,) = run.regressions(kept, now)
    assert said == "fit, against a peer: 3.08 times, it was 4.00"


def test_the_page_says_what_is_met_and_how_far_the_rounds_lie_apart(run: Any) -> None:
    lines = [line("fit", [1.0, 2.0], [4.0, 4.0]), line("slow", [4.0], [4.0])]
    page = run.page({**run.machine(), "seconds": 130, "lines": lines})
    assert "| fit | a peer | 1.5 s | 4 | 2.67 (2.00 to 4.00) | 2 (met) |" in page
    assert "1.00 (one round) | 2 (not met) |" in page


def test_growth_is_a_table_and_a_picture_that_a_browser_shows_by_itself(run: Any) -> None:
    by_rows = {rows: {"seconds": rows / 1e4, "mb": 3.0} for rows in (300, 3000)}
    growth = [{"stage": "predict", "by_rows": {str(rows): each for rows, each in by_rows.items()}}]
    page = run.page({**run.machine(), "seconds": 130, "lines": [], "growth": growth, "parts": {"growth": 9}})
    assert "| predict | 0.030 s, 3 MB | 0.300 s, 3 MB | 10.0 | 1.0 |" in page
    picture = run.growth_plot({"predict": by_rows})
    assert ElementTree.fromstring(picture).tag == "{http://www.w3.org/2000/svg}svg"
    assert "3,000" in picture


def test_the_commands_whose_cost_is_measured_are_ones_that_the_command_line_takes(
    script: Callable[[str], Any], tmp_path: Path
) -> None:
    known = get_command(app)
    for name, *words in script("overhead").SERVERLESS:
        given = known.commands[name].make_context(name, ["--project", str(tmp_path), *words])
        assert given.params["project"] == tmp_path


def test_a_measured_command_may_end_with_no_other_exit_code_than_a_good_one(
    script: Callable[[str], Any], tmp_path: Path
) -> None:
    overhead = script("overhead")
    ends = [sys.executable, "-c", "import sys; sys.exit(4)"]
    assert overhead.cost(ends, tmp_path, (0, 4)) > 0
    with pytest.raises(SystemExit, match="ended with 4"):
        overhead.cost(ends, tmp_path)
