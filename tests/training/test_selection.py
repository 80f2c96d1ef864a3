"""Which rows a retraining draws, and how often."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import relabel, write_tiny_project
from test_fit import Run

from doubleroute.config import Retraining
from doubleroute.data.arrivals import Seen, row_keys, text_keys
from doubleroute.data.batches import Encoded
from doubleroute.data.tables import read_validated
from doubleroute.data.tokens import Packed
from doubleroute.errors import DataError
from doubleroute.training.plan import Plan
from doubleroute.training.selection import of_windows, read_selection, selection, weights

TIMES = ["2024-01-01T00:00:00", "2024-12-31T12:00:00", None, "2024-07-04T00:00:00", "2025-01-01T00:00:00"]


def options(**values: object) -> Retraining:
    return Retraining.model_validate({"new_rows_weight": 1, **values})


def test_recent_rows_are_those_up_to_so_many_days_before_the_newest() -> None:
    found = weights(TIMES, None, options(rows="recent", recent_days=181))
    assert found.tolist() == [0, 1, 0, 1, 1]


def test_a_row_of_the_future_does_not_make_the_others_old() -> None:
    now = datetime.now(UTC)
    times = [f"{now - timedelta(days=days):%Y-%m-%dT%H:%M:%S}" for days in (3, 40, -9999)]
    assert weights(times, None, options(rows="recent", recent_days=30)).tolist() == [1, 0, 1]


def test_the_weight_of_a_row_halves_with_each_half_life() -> None:
    found = weights(TIMES, None, options(rows="weighted", half_life_days=183))
    np.testing.assert_allclose(found, [0.25, 2 ** (-0.5 / 183), 0.25, 2 ** (-181 / 183), 1], rtol=1e-12)


def test_rows_without_any_time_all_count() -> None:
    for rows in ("recent", "weighted"):
        assert weights([None, None], None, options(rows=rows)).tolist() == [1, 1]


def test_rows_that_the_champion_has_not_seen_count_so_many_times() -> None:
    known = np.array([True, True, True, True, False])
    assert weights(TIMES, known, options(new_rows_weight=8)).tolist() == [1, 1, 1, 1, 8]
    both = weights(TIMES, ~known, options(new_rows_weight=8, rows="recent", recent_days=1))
    assert both.tolist() == [0, 8, 0, 0, 1]


@pytest.fixture(scope="module")
def root(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny project with a day for each tweet."""
    root = write_tiny_project(tmp_path_factory.mktemp("selection") / "project", tiny_backbone)
    path = root / "data" / "entities.jsonl"
    tweets = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    dated = [{**row, "day": f"2024-01-{number % 28 + 1:02d}"} for number, row in enumerate(tweets)]
    path.write_text("".join(json.dumps(row) + "\n" for row in dated), encoding="utf-8")
    return root


DATED = "tasks.entities.columns.time=day"


def seen(run: Run, but: int) -> Seen:
    """All training rows but the last ones of each task."""
    parts = []
    for task in run.project.tasks:
        frame = read_validated(run.validated.path, task, "train").iloc[:-but]
        texts = text_keys(frame)
        parts.append(
            pd.DataFrame(
                {"task": task, "split": "train", "text_key": texts, "row_key": row_keys(frame, texts)}
            )
        )
    return Seen(pd.concat(parts))


def test_nothing_is_selected_where_all_rows_count_alike(root: Path) -> None:
    run = Run(root, "retraining.new_rows_weight=1")
    assert selection(run.project, run.workspace, run.validated, seen(run, 5)) is None
    run = Run(root, "retraining.new_rows_weight=3")
    assert selection(run.project, run.workspace, run.validated, None) is None


def test_a_fit_reads_recent_rows_alone_and_costs_as_much(root: Path) -> None:
    run = Run(root, DATED, "retraining.rows=recent", "retraining.recent_days=9")
    stage = selection(run.project, run.workspace, run.validated, None)
    assert stage is not None
    learner = run.learner(plan=Plan(selection=stage))
    days = read_validated(run.validated.path, "entities", "train")["time"].to_numpy()
    newest = max(days)
    drawn = np.concatenate([each["entities"] for each in learner.feed.plan(0)])
    kept = read_selection(stage, ["entities"])
    assert kept is not None
    assert 0 < len(drawn) == kept["entities"].sum() < len(days)
    assert {int(newest[8:10]) - int(day[8:10]) for day in days[drawn]} <= set(range(10))
    assert learner.total < run.learner().total


def test_new_rows_are_drawn_more_often_and_two_plans_of_one_epoch_are_the_same(root: Path) -> None:
    run = Run(root, "retraining.new_rows_weight=3")
    stage = selection(run.project, run.workspace, run.validated, seen(run, 4))
    assert stage is not None
    feed, again = (run.learner(plan=Plan(selection=stage)).feed for _ in range(2))
    for epoch in range(2):
        for one, other in zip(feed.plan(epoch), again.plan(epoch), strict=True):
            assert all((rows == other[task]).all() for task, rows in one.items())
    rows = len(feed.encoded["sentiment"])
    drawn = np.concatenate([each["sentiment"] for each in feed.plan(0)])
    assert np.bincount(drawn, minlength=rows).tolist() == [1] * (rows - 4) + [3] * 4


def test_all_rows_of_weight_one_are_read_in_the_order_of_no_selection(root: Path) -> None:
    run = Run(root, DATED, "retraining.rows=recent", "retraining.recent_days=1000")
    stage = selection(run.project, run.workspace, run.validated, None)
    chosen, plain = run.learner(plan=Plan(selection=stage)).feed, run.learner().feed
    for one, other in zip(chosen.plan(1), plain.plan(1), strict=True):
        assert all((rows == other[task]).all() for task, rows in one.items())


@pytest.mark.costly
def test_a_test_row_has_no_part_in_what_is_drawn(tiny_project: Path) -> None:
    found = []
    for _ in range(2):
        run = Run(tiny_project, "retraining.new_rows_weight=3")
        stage = selection(run.project, run.workspace, run.validated, seen(run, 4))
        assert stage is not None
        found.append(stage.digest)
        relabel(tiny_project, read_validated(run.validated.path, "sentiment", "test")["text"].iloc[0])
    assert found[0] == found[1]


def test_a_task_without_any_row_left_is_an_error_that_says_what_to_write(root: Path) -> None:
    run = Run(root)
    stage = run.workspace.build("selection", {"none": True}, lambda folder: _zeros(run, folder))
    with pytest.raises(DataError, match=r"sentiment: retraining\.rows leaves no training row; write `all`"):
        run.learner(plan=Plan(selection=stage))


def _zeros(run: Run, folder: Path) -> None:
    for task in run.project.tasks:
        frame = read_validated(run.validated.path, task, "train")
        np.save(folder / f"{task}.npy", np.zeros(len(frame)))


def test_each_window_of_a_row_is_drawn_as_often_as_the_row() -> None:
    nothing = np.zeros(0, np.int32)
    starts, cut = np.zeros(4, np.int64), np.zeros(3, bool)
    whole = Packed(nothing, starts, None, None, cut)
    windows = Packed(nothing, starts, None, None, cut, owners=np.array([0, 0, 1]))
    rows = {"mood": Encoded(whole, nothing, nothing), "place": Encoded(windows, nothing, nothing)}
    given = {"mood": np.array([1.0, 2.0, 3.0]), "place": np.array([0.5, 2.0])}
    found = of_windows(given, rows)
    assert found is not None
    assert (found["mood"].tolist(), found["place"].tolist()) == ([1, 2, 3], [0.5, 0.5, 2])
    assert of_windows(None, rows) is None
