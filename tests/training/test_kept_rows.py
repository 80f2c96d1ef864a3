"""What is computed row by row: kept, found again, and forgotten when nobody asks for it."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from doubleroute.training.kept_rows import MOST_STAGES, ROWS_A_STAGE, Arrays, kept_rows
from doubleroute.training.known_tokens import row_keys
from doubleroute.workspace import Stage, Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def ask(
    workspace: Workspace,
    numbers: Sequence[int],
    stop: int | None = None,
    meanwhile: Callable[[], object] = lambda: None,
) -> int:
    """Ask for rows of number % 3 items, each the number; see that they are given; how many were computed.
    ``stop``: after so many pieces. ``meanwhile``: done before each piece is."""
    computed = 0

    def compute(pieces: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, Arrays]]:
        nonlocal computed
        for done, piece in enumerate(pieces):
            if done == stop:
                raise KeyboardInterrupt
            meanwhile()
            computed += len(piece)
            some = np.array(numbers, np.int64)[piece]
            yield some % 3, {"values": np.repeat(some, some % 3)[:, None]}

    starts, arrays = kept_rows(
        workspace, "toys", {"version": 1}, row_keys([str(each) for each in numbers], None, None), compute
    )
    every = np.array(numbers, np.int64)
    assert starts.tolist() == [0, *np.cumsum(every % 3)]
    assert arrays["values"].tolist() == np.repeat(every, every % 3)[:, None].tolist()
    return computed


def grown_old(stage: Stage) -> None:
    """Let two days pass since the stage was used."""
    os.utime(stage.path, (time.time() - 2 * 86400,) * 2)


def is_old(stage: Stage) -> bool:
    return stage.path.stat().st_mtime < time.time() - 86400


def test_a_row_is_computed_once_and_given_as_often_as_it_is_asked_for(workspace: Workspace) -> None:
    assert ask(workspace, [7, 1, 7, 3, 2]) == 4
    assert ask(workspace, [2, 5, 5, 1, 8, 2]) == 2
    assert ask(workspace, [8, 7, 5, 3, 2, 1]) == 0


def test_no_rows_are_arrays_of_their_form(workspace: Workspace) -> None:
    assert ask(workspace, []) == 0
    assert ask(workspace, [1, 2]) == 2
    assert ask(workspace, []) == 0


def test_what_was_computed_before_a_stop_is_not_computed_again(workspace: Workspace) -> None:
    numbers = range(2 * ROWS_A_STAGE + 10)
    with pytest.raises(KeyboardInterrupt):
        ask(workspace, numbers, stop=2)
    assert ask(workspace, numbers) == 10


def test_rows_that_lie_in_many_stages_become_one(workspace: Workspace) -> None:
    for number in range(MOST_STAGES + 1):
        assert ask(workspace, [number]) == 1
    assert ask(workspace, range(MOST_STAGES + 1)) == 0
    assert len(workspace.all("toys")) == 1


def test_a_stage_without_a_row_that_is_asked_for_is_not_used_and_is_trimmed(workspace: Workspace) -> None:
    ask(workspace, range(10))
    (stage,) = workspace.all("toys")
    grown_old(stage)
    ask(workspace, range(10, 20))
    assert workspace.trim(0, time.time()) == [stage.path.name]
    assert ask(workspace, range(20)) == 10


def test_a_trim_while_rows_are_computed_leaves_what_the_call_reads(workspace: Workspace) -> None:
    ask(workspace, range(10))
    (read,) = workspace.all("toys")
    ask(workspace, range(10, 20))
    for stage in workspace.all("toys"):
        grown_old(stage)
    removed: list[str] = []
    now = [*range(5, 8), 30]
    assert ask(workspace, now, meanwhile=lambda: removed.extend(workspace.trim(0, time.time()))) == 1
    assert len(removed) == 1
    assert read.path.name not in removed


def test_rows_that_are_asked_for_no_more_are_not_taken_along_into_one_stage(workspace: Workspace) -> None:
    ask(workspace, range(10))
    (first,) = workspace.all("toys")
    for number in range(10, 10 + MOST_STAGES):
        ask(workspace, [number])
    now = range(5, 10 + MOST_STAGES)
    ask(workspace, now)
    assert len(workspace.all("toys")) == 2
    grown_old(first)
    assert ask(workspace, now) == 0
    assert is_old(first)
    assert ask(workspace, [3]) == 0
    assert not is_old(first)


def test_few_rows_among_a_hundred_thousand_are_found_at_once(workspace: Workspace) -> None:
    ask(workspace, range(100_000))
    keys = row_keys([str(each) for each in range(50_000, 50_010)], None, None)
    begun = time.process_time()
    kept_rows(workspace, "toys", {"version": 1}, keys, lambda _: pytest.fail("computed"))
    assert time.process_time() - begun < 0.03
