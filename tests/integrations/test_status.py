"""What `doubleroute status` shows, also while others are at work."""

import shutil
import threading
from pathlib import Path

from doubleroute.config import load_project
from doubleroute.integrations import status
from doubleroute.workspace import Workspace


def test_the_reasons_of_the_challenger_s_decision_stand_below_it(tmp_path: Path) -> None:
    (tmp_path / "project.yaml").write_text(
        "name: demo\nbackbone: {source: ./model}\n"
        "tasks: {mood: {kind: classification, files: {train: train.csv}}}\n"
    )
    found = status.describe(load_project(tmp_path))
    reasons = ["mood: accuracy is 0.1 lower", "it answers twice as slowly"]
    found["registry"]["challenger"] = {"version": "2", "verdict": "refuse", "reasons": reasons}
    lines = status.lines(found)
    place = lines.index("challenger version 2 (decision: refuse)")
    assert [line.strip() for line in lines[place + 1 : place + 3]] == reasons


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
