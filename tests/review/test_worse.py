"""What the impact says becomes a finding when a score falls for certain."""

from typing import Any

from doubleroute.config import Review
from doubleroute.review.worse import worse, worse_for_real


def interval(value: float, half: float) -> dict[str, Any]:
    low, high = value - half, value + half
    verdict = "better" if low > 0 else "worse" if high < 0 else "cannot tell"
    return {"value": value, "low": low, "high": high, "verdict": verdict}


def impact(metric: dict[str, Any], loss: dict[str, Any]) -> dict[str, Any]:
    verdict = metric["verdict"] if metric["verdict"] != "cannot tell" else loss["verdict"]
    return {
        "metric": "accuracy",
        "rows": 400,
        "difference": metric,
        "loss": {"difference": loss},
        "verdict": verdict,
    }


BLAME = [
    {"by": "label", "group": "a -> b", "rows": 13, "verdict": "harms"},
    {"by": "file", "group": "x.csv", "rows": 40, "verdict": "cannot tell"},
]


def test_a_certain_fall_blocks_and_names_the_rows_to_blame() -> None:
    (found,) = worse("mood", impact(interval(-0.03, 0.01), interval(-0.1, 0.2)), BLAME, Review())
    assert (found.name, found.severity, found.count) == ("worse", "block", 400)
    assert found.title == "accuracy gets worse by 0.0300 (95% interval 0.0200 to 0.0400) on 400 held-out rows"
    assert found.fix == "look at the rows to blame first: label a -> b (13 rows)"


def test_a_fall_that_the_project_allows_is_no_finding() -> None:
    assert worse("mood", impact(interval(-0.03, 0.01), interval(0, 1)), [], Review(max_fall=0.02)) == []


def test_a_loss_that_rises_while_the_metric_cannot_tell_asks_for_a_look() -> None:
    (found,) = worse("mood", impact(interval(-0.01, 0.02), interval(-0.05, 0.01)), [], Review())
    assert (found.name, found.severity) == ("worse-loss", "look")
    assert "the loss gets worse by 0.0500" in found.title
    assert found.title.endswith("accuracy alone cannot tell")


def test_no_fall_is_no_finding() -> None:
    for each in (interval(0.02, 0.01), interval(0.0, 0.01)):
        assert worse("mood", impact(each, each), [], Review()) == []
    assert worse("mood", {"verdict": "no change"}, [], Review()) == []


def test_a_fall_that_is_allowed_does_not_hide_a_loss_that_certainly_rises() -> None:
    (found,) = worse(
        "mood", impact(interval(-0.006, 0.001), interval(-0.05, 0.01)), [], Review(max_fall=0.01)
    )
    assert (found.name, found.severity) == ("worse-loss", "look")
    assert found.title.endswith("accuracy does not fall by more than 0.01 for certain")


def test_a_certain_fall_when_trained_for_real_blocks_like_one_that_is_predicted() -> None:
    fall = {"metric": "accuracy", "rows": 400, "difference": interval(-0.03, 0.01), "verdict": "worse"}
    unsure = {**fall, "difference": interval(-0.03, 0.05), "verdict": "cannot tell"}
    full = {"mood": fall, "other": unsure, "gone": {"verdict": "cannot tell", "why": "in one version alone"}}
    (found,) = worse_for_real(full, Review())
    assert (found.name, found.severity, found.task, found.count) == ("worse", "block", "mood", 400)
    assert found.title == (
        "trained for real, accuracy gets worse by 0.0300 (95% interval 0.0200 to 0.0400) on 400 held-out rows"
    )
    assert worse_for_real(full, Review(max_fall=0.02)) == []
