"""What killed runs leave behind is removed by later ones, and what is in use is not."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from doubleroute.workspace import Workspace

BUILD = """
import sys, time
from pathlib import Path
from doubleroute.workspace import Workspace

def make(folder):
    (folder / "half").write_text("x")
    print("begun", flush=True)
    time.sleep(60)

Workspace(Path(sys.argv[1])).build("fit", {"seed": 1}, make)
"""


def _one_file(folder: Path) -> None:
    (folder / "a.txt").write_text("a", encoding="utf-8")


def test_the_next_build_removes_what_killed_builds_left_and_not_what_is_being_built(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with subprocess.Popen([sys.executable, "-c", BUILD, str(tmp_path)], stdout=subprocess.PIPE) as builder:
        assert builder.stdout is not None
        builder.stdout.readline()
        (half,) = workspace.stages.iterdir()
        workspace.build("fit", {"seed": 2}, _one_file)
        assert half.is_dir()
        builder.kill()
    workspace.build("fit", {"seed": 3}, _one_file)
    assert not half.exists()
    assert len(list(workspace.stages.iterdir())) == 2


def test_temporary_files_of_a_run_lie_in_the_workspace_and_go_with_it(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    before = tempfile.gettempdir(), os.environ.get("TMPDIR")
    left = workspace.root / "scratch" / "of a killed run"
    left.mkdir(parents=True)
    with workspace.scratch() as folder:
        assert not left.exists()
        with tempfile.NamedTemporaryFile(delete=False) as file:
            assert Path(file.name).parent == folder
        child = "import tempfile; print(tempfile.gettempdir())"
        said = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True)
        assert Path(said.stdout.strip()) == folder
    assert not folder.exists()
    assert (tempfile.gettempdir(), os.environ.get("TMPDIR")) == before


def test_checkpoints_that_nobody_came_back_for_are_forgotten_after_a_month(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    old, new = workspace.partial("fit", {"seed": 1}), workspace.partial("fit", {"seed": 2})
    days = time.time() - 31 * 86400
    os.utime(old, (days, days))
    with workspace.scratch():
        assert (old.exists(), new.exists()) == (False, True)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends children with their parent on Linux")
def test_a_child_whose_parent_died_before_it_began_does_not_begin() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    command = [sys.executable, "-m", "doubleroute.processes", str(gone.pid), "doubleroute.nothing"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "")
