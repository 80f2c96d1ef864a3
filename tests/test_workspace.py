"""Stages: whole or not there, built once, found again."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from doubleroute.digests import code_digest, digest_of, file_digest
from doubleroute.errors import DataError, MachineError
from doubleroute.workspace import Workspace, write_json, write_text


def _one_file(folder: Path) -> None:
    (folder / "a.txt").write_text("a", encoding="utf-8")


def test_a_stage_is_built_once_and_then_found(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    first = workspace.build("fit", {"seed": 1}, _one_file)

    def never(_: Path) -> None:
        raise AssertionError("a whole stage was built again")

    second = workspace.build("fit", {"seed": 1}, never)
    assert (first.reused, second.reused) == (False, True)
    assert first.path == second.path
    assert second.manifest["inputs"] == {"seed": 1}
    assert list(second.manifest["files"]) == ["a.txt"]


def test_other_inputs_are_another_stage(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    stages = [workspace.build("fit", {"seed": seed}, _one_file) for seed in (1, 2)]
    assert stages[0].path != stages[1].path


def test_files_that_are_links_into_another_stage_are_not_read_again(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)

    def data(folder: Path) -> None:
        for name in ("linked", "copied"):
            (folder / name).write_text("read once")

    first = workspace.build("data", {}, data)
    for name in ("linked", "copied"):
        (first.path / name).write_text("unlikely!")

    def links(folder: Path) -> None:
        (folder / "linked").hardlink_to(first.path / "linked")
        (folder / "copied").write_text("unlikely!")

    second = workspace.build("revision", {}, links, linked=first)
    known, found = first.manifest["files"], second.manifest["files"]
    assert found["linked"] == known["linked"]
    assert found["copied"] != known["copied"]


def test_a_failed_stage_leaves_nothing(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)

    def fails(folder: Path) -> None:
        _one_file(folder)
        raise ValueError("half done")

    with pytest.raises(ValueError, match="half done"):
        workspace.build("fit", {}, fails)
    assert list(workspace.stages.iterdir()) == []


@pytest.mark.parametrize(
    ("why", "word"),
    [
        ((errno.ENOSPC, "refused", "a.txt"), "no space"),
        ((errno.EROFS, "refused", "a.txt"), "read-only"),
        ((errno.EACCES, "refused", "a.txt"), "permission"),
        (("1048576 requested and 262112 written",), "no space"),  # as numpy says it
    ],
)
def test_a_disk_that_does_not_take_it_is_said_to_be_the_reason(
    tmp_path: Path, why: tuple[Any, ...], word: str
) -> None:
    workspace = Workspace(tmp_path)

    def fails(_: Path) -> None:
        raise OSError(*why)

    with pytest.raises(MachineError, match=word):
        workspace.build("fit", {}, fails)
    assert list(workspace.stages.iterdir()) == []


def test_a_stage_that_lost_a_file_is_built_again(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    (workspace.build("fit", {}, _one_file).path / "a.txt").unlink()
    assert workspace.find("fit", {}) is None
    again = workspace.build("fit", {}, _one_file)
    assert not again.reused
    assert (again.path / "a.txt").read_text(encoding="utf-8") == "a"


@pytest.mark.parametrize(
    "text", ["", "[]", "null", '{"files": []}', '{"files": {}}', '{"files": {"a.txt": 3}}']
)
def test_a_stage_with_a_damaged_manifest_is_built_again(tmp_path: Path, text: str) -> None:
    workspace = Workspace(tmp_path)
    (workspace.build("fit", {}, _one_file).path / "manifest.json").write_text(text, encoding="utf-8")
    assert not workspace.build("fit", {}, _one_file).reused


def test_a_stage_that_another_run_removes_still_tells_what_went_in(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.build("fit", {"seed": 1}, _one_file)
    (found,) = workspace.all("fit")
    shutil.rmtree(found.path)
    assert found.manifest["inputs"] == {"seed": 1}
    assert workspace.all("fit") == []


def test_processes_that_want_the_same_stage_build_it_once(tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from doubleroute.workspace import Workspace
def make(folder):
    time.sleep(0.3)
    (folder / "a.txt").write_text("a")
print(Workspace(Path(sys.argv[1])).build("fit", {}, make).reused)
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = sorted(process.communicate()[0].strip() for process in running)
    assert said == ["False", "True", "True"]


def test_a_lock_says_that_it_waits_and_is_free_after_its_holder_was_killed(tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from doubleroute.workspace import Workspace
with Workspace(Path(sys.argv[1])).lock("train"):
    print("held", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        said = []

        def waiting() -> None:
            said.append("waits")
            holder.kill()

        with Workspace(tmp_path).lock("train", waiting):
            assert said == ["waits"]


def test_a_document_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": 1}
    write_text(path, "2")
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


def test_a_file_that_changes_while_it_is_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    path = tmp_path / "data.csv"
    path.write_text("a", encoding="utf-8")
    real = hashlib.file_digest

    def slow(file: object, name: str) -> object:
        path.write_text("ab", encoding="utf-8")
        return real(file, name)  # type: ignore[arg-type, type-var]

    monkeypatch.setattr(hashlib, "file_digest", slow)
    with pytest.raises(DataError, match="changed while it was read"):
        file_digest(path)


def test_digests_depend_on_values_and_not_on_the_order_of_keys() -> None:
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 2})


def test_the_digest_of_code_tells_packages_apart() -> None:
    assert code_digest("kinds") != code_digest("data")
    assert code_digest("training/fit") != code_digest("training/feed")


def test_whoever_holds_a_lock_is_named_and_a_waiter_may_give_up(tmp_path: Path) -> None:
    class GaveUpError(Exception):
        pass

    def give_up() -> None:
        raise GaveUpError

    code = (
        "import sys, time; from pathlib import Path; from doubleroute.workspace import Workspace\n"
        "with Workspace(Path(sys.argv[1])).lock('train'): print('held', flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", code, str(tmp_path), "--as-a-test"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        workspace = Workspace(tmp_path)
        said = workspace.holder("train")
        assert said is not None
        assert f"process {process.pid} since" in said
        assert "--as-a-test" in said
        with pytest.raises(GaveUpError), workspace.lock("train", give_up):
            pass
        process.communicate("")
    with workspace.lock("train"):
        pass
    assert workspace.holder("train") is None


def test_all_stages_of_a_name_are_given_the_one_used_last_first(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    first, second = (workspace.build("fit", {"seed": seed}, _one_file) for seed in (1, 2))
    workspace.build("evaluate", {"seed": 1}, _one_file)
    os.utime(first.path, (2e9, 2e9))
    assert [stage.digest for stage in workspace.all("fit")] == [first.digest, second.digest]


def test_stages_used_longest_ago_go_first_and_what_a_run_used_stays(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)

    def make(folder: Path) -> None:
        (folder / "a.bin").write_bytes(bytes(1000))

    stages = [workspace.build("fit", {"seed": seed}, make) for seed in range(4)]
    for age, stage in enumerate(reversed(stages)):
        os.utime(stage.path, (1e9 - age, 1e9 - age))
    told: list[list[str]] = []
    with workspace.bounded(3000, told.append):
        workspace.find("fit", {"seed": 0})  # the oldest, which is used now
    assert told == [[stages[1].path.name, stages[2].path.name]]
    assert [workspace.find("fit", {"seed": seed}) is not None for seed in range(4)] == [
        True,
        False,
        False,
        True,
    ]
    assert workspace.trim(0, since=1e9 - 1) == []
    os.utime(stages[3].path)  # used within the day, though not in the run
    assert workspace.trim(0, since=2e9) == []
    assert workspace.build("fit", {"seed": 1}, make).reused is False


def test_after_a_training_copies_of_models_that_nobody_used_for_a_day_are_gone(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    names = ("old", "old.parquet", "used", "used.parquet", "being-read")
    copies = {name: workspace.root / "registry" / name for name in names}
    with workspace.lock("train"):
        for copy in copies.values():
            copy.mkdir(parents=True) if not copy.suffix else copy.write_text("rows")
            os.utime(copy, (1e9, 1e9))
        for name in ("used", "used.parquet"):
            os.utime(copies[name])
        with workspace.lock("registry-being-read"), workspace.bounded(1e9, lambda _: None):
            pass
    left = {path.name for path in (workspace.root / "registry").iterdir()}
    assert left == {*copies} - {"old", "old.parquet"}


def test_a_stage_that_is_being_built_is_not_removed(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    stage = workspace.build("fit", {}, _one_file)
    os.utime(stage.path, (1e9, 1e9))
    with workspace.lock(stage.path.name):
        assert workspace.trim(0, since=2e9) == []
    assert workspace.trim(0, since=2e9) == [stage.path.name]
    assert list(workspace.stages.iterdir()) == []


def test_git_takes_nothing_of_it_along(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with workspace.lock("train"):
        pass
    ignored = tmp_path / ".doubleroute" / ".gitignore"
    assert ignored.read_text() == "*\n"
    os.utime(ignored, (0, 0))
    with workspace.scratch():
        assert ignored.exists()  # unlike half-written files of long ago
