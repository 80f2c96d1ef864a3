"""What `doubleroute status` shows while others are at work."""

import shutil
import threading
from pathlib import Path

from doubleroute.integrations import status
from doubleroute.workspace import Workspace


def test_stages_that_go_while_they_are_listed_are_passed_over(tmp_path: Path) -> None:
    workspace, ends = Workspace(tmp_path), threading.Event()

    def make(folder: Path) -> None:
        (folder / "a.txt").write_text("a")

    def make_and_remove() -> None:
        while not ends.is_set():
            folders = [workspace.stages / f"fit-{number}" for number in range(20)]
            for folder in folders:
                (folder / "deep").mkdir(parents=True)
                (folder / "manifest.json").write_text("{}")
                (folder / "deep" / "weights").write_text("w")
            for folder in folders:
                shutil.rmtree(folder)

    kept = workspace.build("kept", {}, make)
    busy = threading.Thread(target=make_and_remove)
    busy.start()
    try:
        for _ in range(300):
            assert kept.digest in {stage["digest"] for stage in status._stages(tmp_path)}
            assert status._size(workspace.root)["bytes"] > 0
    finally:
        ends.set()
        busy.join()
