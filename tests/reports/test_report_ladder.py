"""What the report says about fits in stages."""

from typing import Any

from doubleroute.reports.ladder import RUNGS, ladder_blocks
from doubleroute.reports.svg import Figure
from doubleroute.reports.tables import Table

EVALUATION: dict[str, Any] = {
    "models": {"routed": {"router": "experts"}},
    "tasks": {"mood": {"metric": "accuracy"}},
}


def epoch(number: int, rung: str | None, score: float) -> dict[str, Any]:
    return {
        "epoch": number,
        "rung": rung,
        "seconds": 10.0 * number,
        "validation": {"mood": {"accuracy": score}},
    }


def test_each_epoch_is_a_line_with_its_seconds_and_the_best_is_marked() -> None:
    epochs = [epoch(1, "heads", 0.7), epoch(2, "top", 0.8), epoch(3, "whole", 0.75)]
    table, figure = ladder_blocks(EVALUATION, {"routed": {"epochs": epochs, "best_epoch": 2}})
    assert isinstance(table, Table)
    assert isinstance(figure, Figure)
    assert [(row[0], row[1], row[2], row[3]) for row in table.rows] == [
        (RUNGS["heads"], "", "10.0", "0.700"),
        (RUNGS["top"], "kept", "20.0", "0.800"),
        (RUNGS["whole"], "", "30.0", "0.750"),
    ]
    assert "by seconds of training" in figure.title


def test_a_model_that_was_fitted_once_has_no_stages() -> None:
    once = {"epochs": [epoch(1, None, 0.7), epoch(2, None, 0.8)], "best_epoch": 2}
    solved = {"epochs": [epoch(1, "heads", 0.7)], "best_epoch": 1}
    assert list(ladder_blocks(EVALUATION, {"routed": once, "frozen": solved})) == []
