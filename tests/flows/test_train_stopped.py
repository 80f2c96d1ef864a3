"""`doubleroute train` as a process: what it prints, how it is stopped, and what is left of it: nothing."""

import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import write_tiny_project
from running import Train

from doubleroute.integrations.registry import Registry
from doubleroute.workspace import Workspace

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")

LONG = "training.epochs=1000"
STEPS = "pull|validate|tokenise|evaluate|report|register|promote"
PROGRESS = re.compile(
    rf"({STEPS}) \.\.\."
    r"|(activations|frozen): [\d,]+ of [\d,]+ tokens( of \w+, \w+)?(  \d+:\d\d left)?"
    r"|(routed|frozen|plain): [\d,]+ of [\d,]+  .* left"
)
WAITING = re.compile(
    r"another run of this project is under way: "
    r"(process \d+ since [\d-]+ [\d:]+ UTC \(.*\)|another process); waiting for it to end"
)


@pytest.fixture
def long(tiny_project: Path) -> Iterator[Train]:
    """A run in the middle of its fits."""
    train = Train(tiny_project, LONG)
    try:
        train.until_it_fits()
        yield train
    finally:
        if train.process.poll() is None:
            os.killpg(train.pid, signal.SIGKILL)
            train.wait()


def foreign_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not PROGRESS.fullmatch(line)]


@pytest.mark.slow
def test_two_runs_at_once_end_with_one_version_and_leave_no_process(
    tiny_backbone: Path, tmp_path: Path
) -> None:
    root = write_tiny_project(tmp_path / "project", tiny_backbone)
    runs = [Train(root), Train(root)]
    assert [run.wait() for run in runs] == [0, 0], runs[0].err + runs[1].err
    assert [run.processes() for run in runs] == [{}, {}]
    (version,) = Registry(root, "tiny").versions()
    assert version.aliases == ("champion",)
    assert all("version 1 of tiny is champion" in run.out for run in runs)
    (said,) = foreign_lines(runs[0].err) + foreign_lines(runs[1].err)
    assert WAITING.fullmatch(said)


def test_a_second_start_says_which_process_is_at_work(tiny_project: Path) -> None:
    with Workspace(tiny_project).lock("prefect"):
        train = Train(tiny_project)
        until = time.monotonic() + 120
        while not train.err.endswith("\n") and time.monotonic() < until:
            assert train.process.poll() is None, train.err
            time.sleep(0.1)
        os.killpg(train.pid, signal.SIGKILL)
        train.wait()
    (said,) = foreign_lines(train.err)
    assert WAITING.fullmatch(said)
    assert f"process {os.getpid()} since" in said
    train.seconds_until_alone()


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.costly),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
    ],
)
def test_a_stop_takes_less_than_ten_seconds_says_how_to_go_on_and_leaves_nothing(
    long: Train, number: int, code: int
) -> None:
    begun = time.monotonic()
    os.killpg(long.pid, number)  # a terminal sends Ctrl-C to every process of the group
    assert long.wait() == code
    assert time.monotonic() - begun < 10
    assert long.processes() == {}
    (line,) = foreign_lines(long.err)
    assert line == (
        "stopped; run the same command again: it continues at the last checkpoint of the stage 'fit'"
    )
    assert long.out == ""


@pytest.mark.costly
def test_a_kill_of_the_parent_ends_its_server_and_its_workers(long: Train) -> None:
    assert len(long.processes()) >= 3
    long.process.kill()
    long.wait()
    assert long.seconds_until_alone() < 10
    assert foreign_lines(long.err) == []
