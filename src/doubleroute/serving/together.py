"""Requests that come while others are being answered are answered in one batch.

The first request of a quiet moment is answered at once. Those that come meanwhile wait for it, and the one
that is next answers all that wait with it: nobody waits longer than for the batch before, and without
concurrency nobody waits at all (group commit, as databases write their logs).
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Rows = Sequence[Mapping[str, Any]]
Answers = list[dict[str, dict[str, Any]]]


@dataclass(eq=False)
class _Request:
    rows: Rows
    tasks: tuple[str, ...] | None
    answers: Answers | None = None


class Together:
    """Answers as ``answer`` does, a batch at a time; several threads may ask.

    ``answer``: rows and tasks (None: all) -> an answer a row; it is never called by two threads at once.
    ``most``: rows of a batch of several requests; one that has more is answered alone.
    """

    def __init__(self, answer: Callable[[Rows, Sequence[str] | None], Answers], most: int = 256) -> None:
        self._answer, self._most = answer, most
        self._waiting: list[_Request] = []
        self._waits = threading.Lock()  # of the list
        self._answers = threading.Lock()  # held by the thread that answers

    def answer(self, rows: Rows, tasks: Sequence[str] | None = None) -> Answers:
        """Answer n rows. Raises what ``answer`` raises for these rows and tasks, whoever asks beside."""
        request = _Request(rows, None if tasks is None else tuple(tasks))
        with self._waits:
            self._waiting.append(request)
        with self._answers:
            if request.answers is None:
                self._run(self._take(request))
            if request.answers is not None:
                return request.answers
            return self._answer(rows, tasks)  # the batch failed: this one's error, if it has one

    def _take(self, request: _Request) -> list[_Request]:
        """Take a request, if it still waits, and those like it off the list; it is the first of them."""
        with self._waits:
            if request not in self._waiting:
                return []
            chosen, size = [request], len(request.rows)
            for each in self._waiting:
                joins = each is not request and each.tasks == request.tasks
                if joins and size + len(each.rows) <= self._most:
                    chosen.append(each)
                    size += len(each.rows)
            self._waiting = [each for each in self._waiting if each not in chosen]
            return chosen

    def _run(self, requests: list[_Request]) -> None:
        """Answer requests in one batch; where that fails none has answers."""
        if len(requests) < 2:
            return
        try:
            answers = self._answer([row for each in requests for row in each.rows], requests[0].tasks)
        except Exception:  # noqa: BLE001  whatever it is, one of them caused it: each is answered alone
            return
        first = 0
        for each in requests:
            each.answers = answers[first : first + len(each.rows)]
            first += len(each.rows)
