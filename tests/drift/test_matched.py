"""Inputs are compared with the tasks in the same proportions on both sides."""

from dataclasses import replace

import numpy as np
from test_detectors import OPTIONS, dated, sample

from doubleroute.drift.detectors import measure
from doubleroute.drift.sample import Sample, TaskRows
from doubleroute.drift.values import matched


def test_more_rows_for_one_task_than_for_another_do_not_move_the_inputs() -> None:
    def both(seed: int, reviews: int, tweets: int) -> Sample:
        given = sample(seed, reviews + tweets)
        given.embeddings[reviews:] += 2
        a, b = np.arange(reviews), reviews + np.arange(tweets)
        return replace(
            given,
            tasks={
                "a": TaskRows("regression", [], a, [None] * reviews),
                "b": TaskRows("regression", [], b, [None] * tweets),
            },
        )

    reference, current = both(1, 300, 300), both(2, 250, 50)
    rows, _ = matched(reference, current, 17)
    assert ((rows < 300).sum(), (rows >= 300).sum()) == (300, 60)
    assert measure(reference, current, OPTIONS, 17)["verdict"] == "not seen"
    assert measure(reference, both(2, 300, 0), OPTIONS, 17)["verdict"] == "not seen"
    everything = replace(reference, tasks={})
    assert [len(rows) for rows in matched(everything, current, 17)] == [600, 300]  # nothing to go by
    assert measure(everything, current, OPTIONS, 17)["moved"] == ["inputs"]


def test_a_few_texts_that_two_tasks_share_do_not_stand_for_the_reference() -> None:
    def tasks(a: np.ndarray, b: np.ndarray) -> dict[str, TaskRows]:
        return {name: TaskRows("regression", [], rows, []) for name, rows in (("a", a), ("b", b))}

    apart = sample(1, 600, **tasks(np.arange(310), np.arange(300, 600)))  # 10 rows are of both
    asked = sample(2, 100, **tasks(np.arange(100), np.arange(100)))
    assert [len(rows) for rows in matched(apart, asked, 17)] == [600, 100]
    together = sample(1, 600, **tasks(np.arange(600), np.arange(599)))  # one row lacks b
    stray = sample(2, 100, **tasks(np.arange(100), np.arange(97)))  # three do
    assert [rows.tolist() for rows in matched(together, stray, 17)] == [list(range(599)), list(range(97))]


def test_few_rows_of_a_task_neither_move_the_inputs_nor_hide_that_others_moved() -> None:
    def both(seed: int, a: int, b: int, shift: float = 0.0) -> Sample:
        given = sample(seed, a + b, shift)
        given.embeddings[a:] += 2
        places = {"a": np.arange(a), "b": a + np.arange(b)}
        tasks = {name: TaskRows("regression", [], each, [None] * len(each)) for name, each in places.items()}
        return replace(given, tasks=tasks)

    found = measure(both(1, 1000, 1000), both(2, 960, 40), OPTIONS, 17)
    assert found["verdict"] == "not seen"
    reference, current = both(1, 2000, 20), both(2, 200, 200, shift=2.0)
    assert [len(rows) for rows in matched(reference, current, 17)] == [2000, 200]
    assert "inputs" in measure(reference, current, OPTIONS, 17)["moved"]
    reference, current = both(1, 2000, 3), both(2, 100, 6, shift=2.0)
    assert [len(rows) for rows in matched(reference, current, 17)] == [2000, 100]
    assert [len(rows) for rows in matched(both(1, 90, 30), both(2, 100, 100), 17)] == [90, 100]
    assert [len(rows) for rows in matched(both(1, 90, 400), both(2, 150, 0), 17)] == [90, 150]


def test_many_tasks_with_few_rows_each_are_compared_like_one_with_many() -> None:
    sizes = {"large": 300, **{f"small {number}": 10 for number in range(20)}}

    def tasks(rows: dict[str, int]) -> dict[str, TaskRows]:
        ends = np.cumsum([0, *rows.values()])
        return {
            name: TaskRows("regression", [], np.arange(first, last), [None] * (last - first))
            for name, first, last in zip(rows, ends, ends[1:], strict=False)
        }

    before, now = sample(1, 21 * 300), sample(2, 500)
    now.embeddings[300:] += 2
    reference = replace(before, tasks=tasks(dict.fromkeys(sizes, 300)))
    current = replace(now, tasks=tasks(sizes))
    assert [len(rows) for rows in matched(reference, current, 17)] == [500, 500]
    assert measure(reference, current, OPTIONS, 17)["moved"] == ["inputs"]


def test_texts_of_several_tasks_that_are_new_together_are_compared_with_all() -> None:
    def tasks(a: np.ndarray, b: np.ndarray) -> dict[str, TaskRows]:
        return {
            name: TaskRows("regression", [], rows, [None] * len(rows)) for name, rows in (("a", a), ("b", b))
        }

    reference = sample(1, 1000, **tasks(np.arange(500), np.arange(500, 1000)))
    current = sample(2, 400, **tasks(np.arange(400), np.arange(300)))  # 300 of both, 100 of a
    current.embeddings[:300] += 2
    assert measure(reference, current, OPTIONS, 17)["moved"] == ["inputs"]


def test_a_past_window_of_one_task_is_compared_with_rows_of_that_task() -> None:
    def both(seed: int, rows: int, shift: float = 0.0) -> Sample:
        given = sample(seed, 2 * rows, shift)
        given.embeddings[rows:] += 4  # texts of b are nothing like those of a
        tasks = {
            name: TaskRows("regression", [], places, [None] * rows)
            for name, places in (("a", np.arange(rows)), ("b", rows + np.arange(rows)))
        }
        return replace(dated(given), tasks=tasks)

    reference = both(1, 1200)
    reference = replace(reference, times=[*reference.times[:1200], *[None] * 1200])  # b has no times
    found = measure(reference, both(2, 150, shift=0.5), OPTIONS, 17)
    assert found["moved"] == ["inputs"]
    assert "4 past windows showed effects of up to 0.0" in found["tests"][0]["why"]
    assert measure(reference, both(3, 150), OPTIONS, 17)["verdict"] == "not seen"
