"""The report of a replay: one table, figures that draw what was measured, the reasons."""

from pathlib import Path
from typing import Any

import pytest

from doubleroute.reports.replay import (
    gain_figure,
    over_time,
    policy_rows,
    sections_of,
    verdict_lines,
    write_replay,
)


def score(value: float | None) -> dict[str, Any]:
    if value is None:
        return {"value": None, "low": None, "high": None, "rows": 50}
    return {"value": value, "low": value - 0.02, "high": value + 0.02, "rows": 50}


def policy(
    rule: str, values: list[float | None], new: set[int], seconds: float, **more: Any
) -> dict[str, Any]:
    """One policy of a replay document."""
    known = [value for value in values if value is not None]
    mean = sum(known) / len(known)
    windows = [
        {"window": f"w{place}", "model": [0], "retrained": place in new, "scores": {"mood": score(value)}}
        for place, value in enumerate(values)
    ]
    difference = {"mood": {"value": mean - 0.7, "low": mean - 0.72, "high": mean - 0.68}}
    return {
        "rule": rule,
        "start": "champion",
        "windows": windows,
        "decisions": [
            {"window": "w0", "verdict": "retrain", "reasons": ["mood: fell <b>far</b>"]},
            {"window": "w1", "verdict": "ask", "reasons": []},
        ],
        "retrainings": len(new),
        "asks": 1,
        "total": {"mood": score(mean)},
        "mean": mean,
        "seconds": seconds,
        "gain": mean - 0.7,
        "regret": 0.8 - mean,
        "share_of_gain": (mean - 0.7) / 0.1,
        "share_of_cost": seconds / 90,
        "share_of_steps": seconds / 100,
        "against": {"never": difference, "always": difference},
        **more,
    }


@pytest.fixture
def found() -> dict[str, Any]:
    return {
        "project": "tiny",
        "every": "month",
        "metrics": {"mood": "accuracy"},
        "windows": [{"name": f"w{place}", "rows": 80} for place in range(3)],  # 50 of them of the task
        "policies": {
            "never": policy("never", [0.7, 0.7, 0.7], set(), 0.0, share_of_gain=0.0),
            "always": policy("always", [0.7, 0.8, 0.9], {1, 2}, 90.0),
            "policy": policy("decide", [0.7, 0.85, None], {1}, 30.0),
        },
    }


def test_the_table_holds_cost_and_gain_of_every_policy(found: dict[str, Any]) -> None:
    header, rows = policy_rows(found)

    assert header == (
        *("policy", "retrainings", "seconds", "of always'", "steps of always'", "gain of always'"),
        "mood accuracy",
    )
    assert rows[2] == ("policy", "1", "30.0", "33%", "30%", "75%", "0.775 [0.755, 0.795]")
    assert rows[0][2:6] == ("0.0", "0%", "0%", "0%")


def test_a_tasks_windows_say_how_many_rows_of_the_task_were_scored(found: dict[str, Any]) -> None:
    windows = next(each for each in sections_of(found) if each.title == "Windows")

    assert [row[1] for row in windows.blocks[0].rows] == ["50", "50", "50"]


def test_a_sentence_says_what_a_deciding_policy_gained_and_lost(found: dict[str, Any]) -> None:
    lines = verdict_lines(found)

    assert len(lines) == 1
    assert (
        "1 retrainings, asked 1 times, 75% of always' gain for 33% of its seconds and 30% of its steps"
        in lines[0]
    )
    assert "mood +0.075 [0.055, 0.095] against never" in lines[0]


def test_the_figure_has_a_line_a_policy_and_a_ring_where_a_model_is_new(found: dict[str, Any]) -> None:
    figure = over_time(found, "mood")

    assert all(name in figure.svg for name in ("never", "always", "policy", "w2"))
    before = figure.svg.count("<use")
    found["policies"]["policy"]["windows"][1]["retrained"] = False
    assert over_time(found, "mood").svg.count("<use") == before - 1
    assert "policy +0.075 for 30 s" in gain_figure(found).description


def test_a_task_without_later_rows_and_a_gain_that_is_undefined_are_left_out(
    found: dict[str, Any], tmp_path: Path
) -> None:
    found["metrics"]["late"] = "accuracy"
    found["policies"]["policy"]["gain"] = None
    write_replay(tmp_path, found)
    assert policy_rows(found)[1][0][-1] == "–"
    assert "policy –" in gain_figure(found).description


def test_the_report_names_reasons_and_escapes_them(found: dict[str, Any], tmp_path: Path) -> None:
    write_replay(tmp_path, found)

    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "fell &lt;b&gt;far&lt;/b&gt;" in page
    assert "fell &lt;b&gt;far&lt;/b&gt;" in text
    assert "0.850 [0.830, 0.870] *" in text.replace("\\*", "*"), "a new model is marked"


def test_the_same_replay_gives_the_same_bytes(found: dict[str, Any], tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_replay(tmp_path / name, found)

    for file in ("report.html", "report.md"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
