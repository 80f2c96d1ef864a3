"""Requests answered together: the same answers, each its own errors, nobody waits for nothing."""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from doubleroute.errors import InputError
from doubleroute.serving.together import Answers, Rows, Together


class Slow:
    """Answers a row by its text; the first call lasts until ``go`` is set. A text 'bad' is refused."""

    def __init__(self) -> None:
        self.go, self.begun = threading.Event(), threading.Event()
        self.calls: list[tuple[list[str], Sequence[str] | None]] = []

    def __call__(self, rows: Rows, tasks: Sequence[str] | None) -> Answers:
        self.calls.append(([row["text"] for row in rows], tasks))
        if not self.begun.is_set():
            self.begun.set()
            assert self.go.wait(60)
        if any(row["text"] == "bad" for row in rows):
            raise InputError("a bad text")
        return [{"echo": {"label": row["text"], "tasks": tasks}} for row in rows]


def asked_together(
    model: Slow, requests: Sequence[tuple[Sequence[str], Sequence[str] | None]], most: int = 256
) -> list[Any]:
    """What each request gets, answer labels or error, when all come while another is being answered."""
    together = Together(model, most)

    def ask(texts: Sequence[str], tasks: Sequence[str] | None) -> Any:
        rows: list[Mapping[str, Any]] = [{"text": text} for text in texts]
        try:
            return [answer["echo"]["label"] for answer in together.answer(rows, tasks)]
        except InputError as error:
            return str(error)

    with ThreadPoolExecutor(len(requests) + 1) as pool:
        first = pool.submit(ask, ["first"], None)
        assert model.begun.wait(60)
        others = [pool.submit(ask, *each) for each in requests]
        while len(together._waiting) < len(requests):
            threading.Event().wait(0.001)
        model.go.set()
        assert first.result(60) == ["first"]
        return [each.result(60) for each in others]


def test_requests_that_wait_are_answered_in_one_batch_each_with_its_own_rows() -> None:
    model = Slow()
    requests = [([f"{number}", f"{number}b"], None) for number in range(6)]
    assert asked_together(model, requests) == [texts for texts, _ in requests]
    assert [len(texts) for texts, _ in model.calls] == [1, 12]


def test_a_request_alone_is_answered_at_once_as_it_is() -> None:
    model = Slow()
    model.go.set()
    together = Together(model)
    for _ in range(2):
        assert together.answer([{"text": "a"}], ["x"]) == [{"echo": {"label": "a", "tasks": ["x"]}}]
    assert model.calls == [(["a"], ["x"])] * 2


def test_the_error_of_one_request_reaches_no_other() -> None:
    model = Slow()
    found = asked_together(model, [(["a"], None), (["bad"], None), (["b", "c"], None)])
    assert found == [["a"], "a bad text", ["b", "c"]]


def test_requests_for_other_tasks_are_not_mixed() -> None:
    model = Slow()
    asked_together(model, [(["a"], ["x"]), (["b"], None), (["c"], ["x"])])
    assert sorted((sorted(texts), tasks and tuple(tasks)) for texts, tasks in model.calls[1:]) == [
        (["a", "c"], ("x",)),
        (["b"], None),
    ]


def test_a_batch_is_bounded() -> None:
    model = Slow()
    asked_together(model, [([f"{number}"], None) for number in range(7)], most=3)
    assert sorted(len(texts) for texts, _ in model.calls[1:]) == [1, 3, 3]
    model = Slow()
    asked_together(model, [(["a"], None), (["b"] * 9, None), (["c"], None)], most=3)
    assert sorted(len(texts) for texts, _ in model.calls[1:]) == [2, 9]


def test_a_large_request_is_answered_alone_and_its_failure_reaches_no_other() -> None:
    model = Slow()

    def small(rows: Rows, tasks: Sequence[str] | None) -> Answers:
        if len(rows) > 4:
            raise MemoryError
        return model(rows, tasks)

    together = Together(small, most=6)
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(together.answer, [{"text": "first"}])
        assert model.begun.wait(60)
        others = [pool.submit(together.answer, [{"text": str(rows)}] * rows) for rows in (1, 2, 5, 20)]
        while len(together._waiting) < 4:
            threading.Event().wait(0.001)
        model.go.set()
        first.result(60)
        failed = [type(each.exception(60)) for each in others]
    assert failed == [type(None), type(None), MemoryError, MemoryError]


@pytest.mark.timeout(120)
def test_many_threads_all_get_their_answers() -> None:
    model = Slow()
    model.go.set()
    together = Together(model)
    with ThreadPoolExecutor(16) as pool:
        texts = [str(number) for number in range(400)]
        found = list(pool.map(lambda text: together.answer([{"text": text}]), texts))
    assert [answer["echo"]["label"] for (answer,) in found] == texts
