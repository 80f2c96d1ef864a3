"""What a fit notes about itself."""

import math

import pytest

from doubleroute.training.history import History


def test_the_best_epoch_is_that_of_the_best_mean() -> None:
    history = History(total=3)
    means = [{"a": {"accuracy": 0.5}, "b": {"mae": 1.0}}, {"a": {"accuracy": 0.6}, "b": {"mae": 0.9}},
             {"a": {"accuracy": 0.9}, "b": {"mae": 2.0}}]  # fmt: skip
    better = [history.note_epoch(number, scores) for number, scores in enumerate(means, start=1)]
    assert better == [True, True, False]
    assert history.log["best_epoch"] == 2
    assert [each["mean"] for each in history.log["epochs"]] == pytest.approx([-0.25, -0.15, -0.55])


def test_an_error_counts_in_the_unit_of_its_task_and_is_noted_as_it_is() -> None:
    history = History(total=2, units={"minutes": 20.0})
    assert history.note_epoch(1, {"a": {"accuracy": 0.5}, "minutes": {"mae": 10.0}})
    assert not history.note_epoch(2, {"a": {"accuracy": 0.2}, "minutes": {"mae": 8.0}})
    assert history.log["epochs"][0]["mean"] == 0.0
    assert history.log["epochs"][1]["validation"]["minutes"] == {"mae": 8.0}


@pytest.mark.parametrize(("metric", "value"), [("mae", 1e6), ("rmse", 1e6)])
def test_an_error_that_is_no_number_is_worse_than_any_other(metric: str, value: float) -> None:
    history = History(total=2)
    assert history.note_epoch(1, {"a": {metric: value}})
    assert not history.note_epoch(2, {"a": {metric: math.nan}})
    assert history.log["epochs"][1]["validation"] == {"a": {metric: None}}


def test_a_fit_is_over_when_no_epoch_was_better_for_long_enough() -> None:
    history = History(total=4)
    over = []
    for epoch, value in enumerate([0.5, 0.6, 0.6, 0.1], start=1):
        history.note_epoch(epoch, {"a": {"accuracy": value}})
        over.append((history.is_over(2), history.is_over(None)))
    assert over == [(False, False), (False, False), (False, False), (True, False)]


def test_points_of_the_curve_are_means_of_the_steps_since_the_last_one() -> None:
    history = History(total=400)
    points = [history.note_step(step, float(step % 2), 10, 1e-3) for step in range(1, 401)]
    kept = [point for point in points if point]
    assert len(kept) == len(history.log["steps"]) == 200
    assert {point["loss"] for point in kept} == {0.5}
    assert (kept[-1]["step"], kept[-1]["total"]) == (400, 400)


def test_notes_and_time_go_on_after_a_checkpoint() -> None:
    first = History(total=4)
    first.note_step(1, 2.0, 10, 1e-3)
    first.log["seconds"] = 100.0
    log = first.kept()
    second = History(total=4)
    second.go_on(log)
    second.note_step(2, 4.0, 10, 1e-3)
    second.note_epoch(2, {"a": {"accuracy": 1.0}})
    assert second.log["epochs"][0]["train_loss"] == 3.0
    assert 100 <= second.seconds < 200


def test_a_fit_that_goes_on_from_another_tells_of_its_own_steps_and_seconds() -> None:
    first = History(total=2)
    first.note_step(2, 2.0, 10, 1e-3)
    first.note_epoch(2, {"a": {"accuracy": 1.0}})
    second = History(total=4, before={**first.as_dict(2, {"a": 16}), "seconds": 100.0})
    second.go_on()
    told = second.note_step(1, 4.0, 10, 1e-3)
    assert told is not None
    assert (told["step"], told["total"]) == (1, 4)
    assert told["seconds"] < 50
    kept = second.log["steps"][-1]
    assert (kept["step"], kept["seconds"] >= 100) == (3, True)


def test_a_task_has_finished_when_its_own_score_was_not_better_for_long_enough_and_stays_so() -> None:
    history = History(total=6)
    scores = [(0.5, 3.0), (0.6, math.nan), (0.6, 2.0), (0.6, 2.5), (0.9, 2.5), (0.9, 2.5)]
    for epoch, (one, other) in enumerate(scores, start=1):
        history.note_epoch(epoch, {"a": {"accuracy": one}, "b": {"mae": other}})
    assert history.finished(2) == {"a": 4, "b": 5}
    assert history.finished(3) == {"b": 6}
