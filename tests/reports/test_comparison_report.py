"""The report of a comparison: the answer first and plainly, every difference, what was compared."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from comparisons import comparison, task

from doubleroute.reports.comparison import (
    comparison_rows,
    forest_figure,
    model_rows,
    score_rows,
    verdict_lines,
    write_comparison,
)

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")


@pytest.fixture
def found() -> dict[str, Any]:
    return comparison(mood=task(), names=task())


def helped(found: dict[str, Any]) -> None:
    found["tasks"]["mood"]["routing"]["experts"] = {"verdict": "helps", "why": "certainly better"}


def test_if_nothing_helps_it_says_so(found: dict[str, Any]) -> None:
    lines = verdict_lines(found)
    assert lines[0].startswith("does routing help: nothing here shows that it does; on no task")
    assert "mood: experts +0.005 [-0.015, 0.025] against shared, +0.005" in lines[1]
    assert "cannot tell (not certainly better than shared)" in lines[1]
    assert lines[-1] == "negative transfer: none is certain"


def test_what_helps_hurts_and_cannot_be_told_is_named(found: dict[str, Any]) -> None:
    helped(found)
    assert verdict_lines(found)[0] == "does routing help: yes: experts on mood; cannot tell: experts on names"
    found["tasks"]["mood"]["routing"]["experts"]["verdict"] = "hurts"
    assert verdict_lines(found)[0].endswith("it certainly hurts: experts on mood")


def test_negative_transfer_is_named_with_its_interval() -> None:
    found = comparison(mood=task(shared_single="hurts"))
    found["negative_transfer"] = [{"task": "mood", "model": "shared"}]
    assert verdict_lines(found)[-1] == (
        "negative transfer: mood: shared is certainly worse than a model of its own, "
        "-0.050 [-0.070, -0.030] in accuracy"
    )


def test_the_tables_hold_scores_differences_steps_parameters_rows_and_seconds(found: dict[str, Any]) -> None:
    header, rows = score_rows(found)
    assert header == ("task", "model", "metric", "mean", "seed 3", "seed 4", "rows")
    assert rows[1] == ("mood", "shared", "accuracy", "0.810", "0.800", "0.820", "200")
    assert comparison_rows(found)[1][0] == (
        *("mood", "experts against shared", "cannot tell", "+0.005 [-0.015, 0.025]", "0.400", "1.000"),
    )
    _, models = model_rows(found)
    assert models[0] == ("single mood", "500,000", "0", "90 to 95", "1,600", "11.0")
    assert models[-1] == ("experts", "500,300", "300", "100", "3,200", "11.0")


def test_the_sizes_of_dense_layer_and_router_are_said_exactly(found: dict[str, Any], tmp_path: Path) -> None:
    write_comparison(tmp_path, found)
    for file in ("report.html", "report.md"):
        text = (tmp_path / file).read_text(encoding="utf-8")
        assert "dense has 297 parameters in its layer, experts 300 (-1.00%)" in text


def test_the_forest_marks_what_is_certain() -> None:
    figure = forest_figure(comparison(mood=task(experts_shared="helps")), "mood")
    assert "1 of 5 are certain" in figure.description
    assert "experts against single" in figure.svg


def test_the_forest_has_room_for_a_router_whose_options_were_given(found: dict[str, Any]) -> None:
    given = json.loads(json.dumps(found).replace('"experts"', '"experts:private=2:bottleneck=128"'))
    assert "experts against single" in forest_figure(given, "mood").svg
    assert ("mood", "experts:private=2:bottleneck=128 against shared") in [
        row[:2] for row in comparison_rows(given)[1]
    ]


def test_a_difference_that_is_undefined_is_a_dash(found: dict[str, Any], tmp_path: Path) -> None:
    found["tasks"]["mood"]["comparisons"][0] |= {"value": None, "low": None, "high": None}
    found["tasks"]["mood"]["scores"]["experts"] = [0.8, None]
    assert score_rows(found)[1][3][3:6] == ("–", "0.800", "–")
    write_comparison(tmp_path, found)


def test_the_same_comparison_gives_the_same_bytes(found: dict[str, Any], tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_comparison(tmp_path / name, found)
    for file in ("report.html", "report.md"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@pytest.mark.costly
@pytest.mark.skipif(not (BROWSER and DRIVER), reason="chromium and chromedriver are not installed")
def test_a_browser_shows_tables_and_a_figure_a_task_at_any_width(
    found: dict[str, Any], tmp_path: Path
) -> None:
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    write_comparison(tmp_path, found)
    options = Options()
    options.binary_location = str(BROWSER)
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync"
    for flag in [*flags.split(), f"--user-data-dir={tmp_path / 'profile'}"]:
        options.add_argument(flag)
    service = Service(DRIVER)
    browser = webdriver.Chrome(options=options, service=service)
    try:
        browser.get((tmp_path / "report.html").as_uri())
        assert browser.title == "tiny: does routing help?"
        assert len(browser.find_elements("css selector", "table")) == 4
        figures = browser.find_elements("css selector", "figure svg")
        assert len(figures) == 2
        assert all(figure.size["height"] > 100 for figure in figures)
        assert browser.get_log("browser") == []
        for width in (1280, 400, 320):
            metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        browser.quit()
        service.stop()
