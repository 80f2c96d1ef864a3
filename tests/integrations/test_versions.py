"""The version of the data: real git repositories, DVC caches and local DVC remotes in tmp_path."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from doubleroute.errors import DataError, InputError, MachineError
from doubleroute.integrations import data_record, doctor
from doubleroute.integrations.data_record import folder_md5
from doubleroute.integrations.versions import DataVersion, pull, read_pointer

# DVC calls what its own dependency pygtrie is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value will soon:DeprecationWarning")

FILES = {"sentiment/train.csv": "text,label\na,b\n", "sentiment/test.csv": "text,label\n", "é x.txt": "ü\n"}


def git(root: Path, *arguments: str) -> str:
    who = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
    command = ["git", "-C", str(root), *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def dvc(root: Path, work: Callable[..., None]) -> None:
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        work(repo)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A git and DVC repository with three data files, committed, and no remote."""
    from dvc.repo import Repo

    root = tmp_path / "a project"
    root.mkdir()
    git(root, "init", "--quiet")
    Repo.init(str(root)).close()
    for name, text in FILES.items():
        path = root / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (root / "project.yaml").write_text("name: x\n", encoding="utf-8")
    dvc(root, lambda repo: repo.add(str(root / "data")))
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "-m", "start")
    return root


@pytest.fixture
def remote(project: Path, tmp_path: Path) -> Path:
    """A folder as the project's default DVC remote, with everything pushed."""
    place = tmp_path / "remote"
    (project / ".dvc" / "config").write_text(f"[core]\nremote = store\n['remote \"store\"']\nurl = {place}\n")
    dvc(project, lambda repo: repo.push())
    return place


def without_cache(project: Path) -> None:
    shutil.rmtree(project / ".dvc" / "cache")
    shutil.rmtree(project / ".dvc" / "tmp", ignore_errors=True)


def damage(store: Path, name: str) -> None:
    """Overwrite the stored object of a file in place, its size kept."""
    md5 = folder_listing(store)[name]
    path = next(each for each in store.rglob("*") if each.parent.name + each.name == md5)
    path.chmod(0o644)
    path.write_bytes(b"?" * path.stat().st_size)


def folder_listing(store: Path) -> dict[str, str]:
    (folder,) = store.rglob("*.dir")
    return {entry["relpath"]: entry["md5"] for entry in json.loads(folder.read_text(encoding="utf-8"))}


def test_the_version_of_unchanged_data_is_the_commit_and_the_md5_of_data_dvc(project: Path) -> None:
    version = pull(project)
    md5 = read_pointer(project)
    assert md5 is not None
    assert version == DataVersion(git(project, "rev-parse", "HEAD"), False, md5, md5)
    assert json.loads(json.dumps(version.as_dict()))["dvc_md5"] == md5


def test_the_md5_of_a_folder_is_the_one_that_dvc_computes(project: Path) -> None:
    listing = folder_listing(project / ".dvc" / "cache")
    assert set(listing) == set(FILES)
    assert folder_md5(listing) == read_pointer(project)


def test_the_check_needs_no_cache_and_does_not_import_dvc(project: Path) -> None:
    without_cache(project)
    code = (
        "import sys, pathlib; from doubleroute.integrations.versions import pull; pull(pathlib.Path('.'));"
        "sys.exit('dvc' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=project, check=True)


def test_changed_added_and_removed_files_are_named_with_what_to_type(project: Path) -> None:
    (project / "data/sentiment/train.csv").write_text("text,label\nchanged,b\n")
    (project / "data/new.csv").write_text("text\n")
    (project / "data/sentiment/test.csv").unlink()
    with pytest.raises(DataError) as caught:
        pull(project)
    message = str(caught.value)
    assert "changed: sentiment/train.csv; added: new.csv; removed: sentiment/test.csv" in message
    assert "`dvc add data`" in message
    assert "`dvc checkout data.dvc`" in message


def test_changed_files_are_named_without_a_cache_when_the_data_were_once_seen_whole(project: Path) -> None:
    pull(project)
    without_cache(project)
    (project / "data/é x.txt").write_text("other\n")
    with pytest.raises(DataError, match=r"changed: é x\.txt\."):
        pull(project)


def test_a_mismatch_without_any_listing_says_that_files_cannot_be_named(project: Path) -> None:
    without_cache(project)
    (project / "data/é x.txt").write_text("other\n")
    with pytest.raises(DataError, match="cannot be named"):
        pull(project)


def test_a_mismatch_is_found_again_on_the_next_run(project: Path) -> None:
    pull(project)
    (project / "data/new.csv").write_text("text\n")
    for _ in range(2):
        with pytest.raises(DataError, match=r"added: new\.csv"):
            pull(project)
    (project / "data/new.csv").unlink()
    assert pull(project).digest == read_pointer(project)


def test_another_data_dvc_is_seen_although_no_file_changed(project: Path) -> None:
    pull(project)
    path = project / "data.dvc"
    path.write_text(path.read_text().replace(str(read_pointer(project)), "0" * 32 + ".dir"))
    with pytest.raises(DataError, match=r"not what data\.dvc says"):
        pull(project)


def test_a_change_that_keeps_size_and_modification_time_is_seen(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_record, "SETTLED_NS", 0)
    pull(project)
    path = project / "data/sentiment/train.csv"
    before = path.stat()
    path.write_text("text,label\na,c\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DataError, match=r"changed: sentiment/train\.csv"):
        pull(project)


def test_a_settled_file_is_not_read_again_and_a_fresh_one_is(project: Path) -> None:
    record = project / ".doubleroute" / "data.json"
    pull(project)
    assert json.loads(record.read_text())["files"] == {}
    past = time.time() - 3600
    fresh = project / "data/é x.txt"
    with data_record.Record(project) as store:
        store.md5(fresh)
    assert json.loads(record.read_text())["files"] == {}
    os.utime(fresh, (past, past))
    time.sleep(data_record.SETTLED_NS / 1e9 + 0.1)
    pull(project)
    assert str(fresh) in json.loads(record.read_text())["files"]
    written = record.stat().st_mtime_ns
    pull(project)
    assert record.stat().st_mtime_ns == written


def test_an_unreadable_record_is_ignored(project: Path) -> None:
    pull(project)
    (project / ".doubleroute" / "data.json").write_text('{"files": [1], "matched": 3')
    assert pull(project).digest == read_pointer(project)


def test_a_project_without_git_and_dvc_has_a_digest_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,label\n")
    (tmp_path / "data").mkdir()
    first = pull(tmp_path, [tmp_path / "rows.csv"])
    assert (first.git_commit, first.git_dirty, first.dvc_md5) == (None, False, None)
    (tmp_path / "rows.csv").write_text("text,label\na,b\n")
    second = pull(tmp_path, [tmp_path / "rows.csv"])
    (tmp_path / "data" / "more.csv").write_text("text\n")
    third = pull(tmp_path, [tmp_path / "rows.csv"])
    assert len({first.digest, second.digest, third.digest}) == 3


def test_a_file_outside_data_changes_the_digest_but_not_the_dvc_md5(project: Path) -> None:
    (project / "extra.csv").write_text("text\n")
    version = pull(project, [project / "extra.csv", project / "data/sentiment/train.csv"])
    assert version.dvc_md5 == read_pointer(project)
    assert version.digest != version.dvc_md5


def test_a_folder_outside_data_is_in_the_digest_by_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "saved" / "rows"
    folder.mkdir(parents=True)
    (folder / "data.arrow").write_bytes(b"one")
    before = pull(tmp_path, [tmp_path / "saved"])
    (folder / "data.arrow").write_bytes(b"another")
    assert pull(tmp_path, [tmp_path / "saved"]).digest != before.digest


def test_a_repository_without_a_commit_has_none(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "new")
    assert pull(tmp_path / "new").git_commit is None


def test_a_repository_that_git_cannot_read_is_told_and_stops_nothing(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / ".git" / "config").write_text("[core\n")
    assert pull(project).git_commit is None
    said = capsys.readouterr().err
    assert said.startswith(f"warning: git cannot read {project}: fatal: bad config line 1")
    assert said.endswith("the run carries no commit\n")
    assert doctor.git(project).state == "warn"


@pytest.mark.parametrize(
    "change", ["a tracked file", "an untracked project", "a new expectation", "an unknown state"]
)
def test_what_the_commit_does_not_hold_makes_it_dirty(project: Path, change: str) -> None:
    if change == "a tracked file":
        (project / "project.yaml").write_text("name: y\n")
    elif change == "a new expectation":
        (project / "expectations").mkdir()
        (project / "expectations" / "mood.json").write_text('{"expectations": []}')
    elif change == "an unknown state":  # git tells the commit and not what differs from it
        git(project, "config", "status.relativePaths", "nonsense")
    else:
        git(project, "rm", "--quiet", "--cached", "project.yaml")
        git(project, "commit", "--quiet", "-m", "forget it")
    version = pull(project)
    assert version.git_commit == git(project, "rev-parse", "HEAD")
    assert version.git_dirty


def test_missing_data_come_from_the_cache(project: Path) -> None:
    shutil.rmtree(project / "data")
    assert pull(project).digest == read_pointer(project)
    assert (project / "data/é x.txt").read_text(encoding="utf-8") == "ü\n"


@pytest.mark.usefixtures("remote")
def test_missing_data_come_from_the_remote(project: Path) -> None:
    shutil.rmtree(project / "data")
    without_cache(project)
    assert pull(project).digest == read_pointer(project)


def test_missing_data_without_a_remote_are_an_error_of_the_environment(project: Path) -> None:
    shutil.rmtree(project / "data")
    without_cache(project)
    with pytest.raises(MachineError, match=r"no remote is configured.*dvc remote add"):
        pull(project)


def test_a_remote_that_cannot_be_reached_is_named(project: Path, remote: Path) -> None:
    shutil.rmtree(project / "data")
    without_cache(project)
    remote.rename(remote.with_name("elsewhere"))
    with pytest.raises(MachineError, match=r"could not be fetched from store \(") as caught:
        pull(project)
    assert "Traceback" not in str(caught.value)


def test_a_remote_that_needs_another_package_is_an_error_of_the_environment(
    project: Path, remote: Path
) -> None:
    shutil.rmtree(project / "data")
    without_cache(project)
    config = project / ".dvc" / "config"
    config.write_text(config.read_text().replace(str(remote), "s3://bucket/x"))
    with pytest.raises(MachineError, match=r"from store \(s3://bucket/x\): .*requires 'dvc-s3'"):
        pull(project)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_damaged_object_in_the_remote_is_not_trained_on(project: Path, remote: Path) -> None:
    shutil.rmtree(project / "data")
    without_cache(project)
    damage(remote, "sentiment/train.csv")
    with pytest.raises((DataError, MachineError)):
        pull(project)


def test_a_damaged_object_in_the_cache_is_not_trained_on(project: Path) -> None:
    shutil.rmtree(project / "data")
    damage(project / ".dvc" / "cache", "sentiment/train.csv")
    with pytest.raises(DataError, match=r"changed: sentiment/train\.csv.*damaged"):
        pull(project)


FETCH = """
import os, pathlib, signal, sys, time
from doubleroute.integrations.versions import pull
root, done = pathlib.Path(sys.argv[1]), []

def copied(event, arguments):
    if event == "os.rename" and str(root / "data") in str(arguments[1]):
        if done:
            if sys.argv[2] == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(3)
        done.append(arguments)

sys.addaudithook(copied)
pull(root)
"""


def fetching(project: Path, how: str) -> "subprocess.Popen[bytes]":
    """A process that fetches missing data and is killed, or slow, after the first file."""
    with (project / ".dvc" / "config").open("a", encoding="utf-8") as config:
        config.write("[cache]\ntype = copy\n")
    shutil.rmtree(project / "data")
    return subprocess.Popen([sys.executable, "-c", FETCH, str(project), how])


def test_a_fetch_that_was_killed_is_fetched_again(project: Path) -> None:
    assert fetching(project, "killed").wait() == -signal.SIGKILL
    assert 0 < sum(path.is_file() for path in (project / "data").rglob("*")) < len(FILES) + 1
    assert pull(project).digest == read_pointer(project)
    assert {path.name for path in (project / "data").iterdir()} == {"sentiment", "é x.txt"}
    (project / "data" / "é x.txt").unlink()
    with pytest.raises(DataError, match=r"removed: é x\.txt"):
        pull(project)


def test_what_somebody_put_into_half_fetched_data_is_left_alone(project: Path) -> None:
    assert fetching(project, "killed").wait() == -signal.SIGKILL
    (project / "data" / "mine.csv").write_text("text\n")
    with pytest.raises(DataError, match=r"added: .*mine\.csv"):
        pull(project)
    assert (project / "data" / "mine.csv").read_text() == "text\n"


@pytest.mark.costly
def test_a_second_command_waits_for_the_first_ones_fetch(project: Path) -> None:
    first = fetching(project, "slow")
    while not any(path.is_file() for path in (project / "data").rglob("*")):
        assert first.poll() is None
        time.sleep(0.01)
    try:
        assert pull(project).digest == read_pointer(project)
    finally:
        assert first.wait() == 0


def test_data_dvc_without_a_dvc_folder_is_checked_but_cannot_be_fetched(project: Path) -> None:
    shutil.rmtree(project / ".dvc")
    assert pull(project).dvc_md5
    shutil.rmtree(project / "data")
    with pytest.raises(InputError, match="`dvc init`"):
        pull(project)


def test_files_that_dvcignore_names_do_not_count(project: Path) -> None:
    (project / ".dvcignore").write_text("*.tmp\n")
    (project / "data" / "note.tmp").write_text("x")
    assert pull(project).digest == read_pointer(project)


def test_a_link_to_a_folder_inside_data_is_refused(project: Path, tmp_path: Path) -> None:
    (project / "data" / "link").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(DataError, match="link to a folder"):
        pull(project)


def test_a_link_to_nothing_is_named(project: Path) -> None:
    (project / "data" / "gone.csv").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"gone\.csv .*link to nothing"):
        pull(project)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("<<<<<<< HEAD\nouts:\n- md5: 1\n=======\nouts:\n- md5: 2\n>>>>>>> x\n", "line 1: a merge conflict"),
        ("", "not what DVC writes"),
        ("outs: [", "not what DVC writes"),
        ("outs: 3\n", "not what DVC writes"),
        ("outs:\n- path: data\n  hash: md5\n", "outs\\[0\\].md5 is None"),
        ("outs:\n- path: data\n  hash: md5\n  md5: 12.dir\n", "outs\\[0\\].md5 is '12.dir'"),
        ("outs:\n- path: data\n  md5: " + "0" * 32 + ".dir\n", "outs\\[0\\].hash is None"),
        ("outs:\n- path: other\n  hash: md5\n  md5: " + "0" * 32 + ".dir\n", "outs\\[0\\].path is 'other'"),
    ],
)
def test_a_broken_data_dvc_is_explained(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "data.dvc").write_text(text)
    with pytest.raises(InputError, match=problem):
        pull(tmp_path)


def test_a_data_dvc_that_is_not_text_is_explained(tmp_path: Path) -> None:
    (tmp_path / "data.dvc").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        pull(tmp_path)
