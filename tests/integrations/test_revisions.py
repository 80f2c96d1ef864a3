"""Revisions of a project: real git repositories, DVC caches and local DVC remotes in tmp_path."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from doubleroute.errors import DataError, InputError, MachineError
from doubleroute.integrations.data_record import folder_md5
from doubleroute.integrations.git import ask
from doubleroute.integrations.revisions import Revision, check_versioned, fork_point, revision, staged
from doubleroute.integrations.versions import read_pointer
from doubleroute.workspace import Workspace

# DVC calls what its own dependency pygtrie is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value will soon:DeprecationWarning")

BEFORE = {"a/train.csv": b"text,label\nx,y\n", "\xe9 x.bin": bytes(range(256))}
AFTER = {**BEFORE, "a/train.csv": b"text,label\nx,z\n", "new.csv": b"text\n"}
SUITE = '{"expectations": []}'


def git(root: Path, *arguments: str) -> str:
    who = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
    command = ["git", "-C", str(root), *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def write(root: Path, files: dict[str, bytes]) -> None:
    shutil.rmtree(root / "data", ignore_errors=True)
    for name, content in files.items():
        (root / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "data" / name).write_bytes(content)


def add(root: Path, files: dict[str, bytes], push: bool = True) -> None:
    """Write data/, `dvc add data`, `git add --all` and, if wanted, `dvc push`."""
    from dvc.repo import Repo

    write(root, files)
    with Repo(str(root)) as repo:
        repo.add(str(root / "data"))
        if push:
            repo.push()
    git(root, "add", "--all", ".")


def commit(root: Path, message: str) -> str:
    git(root, "commit", "--quiet", "--all", "-m", message)
    return git(root, "rev-parse", "HEAD")


def make(repository: Path, project: str) -> None:
    """A repository on branch main with BEFORE; its branch topic has AFTER. ../remote holds both."""
    from dvc.repo import Repo

    root = repository / project
    root.mkdir(parents=True)
    (repository.parent / "remote").mkdir()
    git(repository, "init", "--quiet", "--initial-branch=main")
    Repo.init(str(repository)).close()
    (repository / ".dvc" / "config").write_text(
        "[core]\nremote = store\n['remote \"store\"']\nurl = ../../remote\n"
    )
    (repository / ".gitignore").write_text(".doubleroute/\n")
    (root / "project.yaml").write_text("name: x\n")
    (root / "expectations").mkdir()
    (root / "expectations" / "a.json").write_text(SUITE)
    add(root, BEFORE)
    commit(root, "start")
    git(repository, "switch", "--quiet", "-c", "topic")
    (root / "project.yaml").write_text("name: y\n")
    (root / "acknowledged.yaml").write_text("[]\n")
    add(root, AFTER)
    commit(root, "more")
    git(repository, "switch", "--quiet", "main")
    write(root, BEFORE)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    make(folder / "a project", "")
    return folder


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy of ``made``: the project, and beside it the folder that is its DVC remote."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True, symlinks=True)
    return tmp_path / "a project"


def read(root: Path, name: str) -> Revision:
    return revision(root, Workspace(root), name)


def read_staged(root: Path) -> Revision:
    return staged(root, Workspace(root))


def data_in(revision: Revision) -> dict[str, bytes]:
    folder = revision.root / "data"
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def seen(root: Path) -> dict[str, object]:
    """All of the repository that a person could miss: files with their times, the index, refs."""
    own = [
        path for path in root.rglob("*") if path.is_file() and not {".doubleroute", "tmp"} & set(path.parts)
    ]
    stats = {str(path): (path.stat().st_mtime_ns, path.stat().st_ino, path.stat().st_mode) for path in own}
    return {**stats, "status": git(root, "--no-optional-locks", "status", "--porcelain"), "refs": refs(root)}


def refs(root: Path) -> str:
    return git(root, "for-each-ref") + git(root, "rev-parse", "HEAD")


def forget_cache(root: Path) -> None:
    shutil.rmtree(root / ".dvc" / "cache")
    shutil.rmtree(root / ".doubleroute", ignore_errors=True)


def stored(store: Path, content: bytes) -> Path:
    """Where a DVC store keeps this content."""
    return next(path for path in store.rglob("*") if path.is_file() and path.read_bytes() == content)


def test_a_revision_has_its_own_project_file_expectations_and_data(root: Path) -> None:
    found = read(root, "topic")
    assert data_in(found) == AFTER
    assert (found.root / "project.yaml").read_text() == "name: y\n"
    assert (found.root / "expectations" / "a.json").read_text() == SUITE
    assert (found.root / "acknowledged.yaml").read_text() == "[]\n"
    assert (found.name, found.commit) == ("topic", git(root, "rev-parse", "topic"))
    assert folder_md5(dict(found.files)) == found.dvc_md5
    before = read(root, "main")
    assert data_in(before) == BEFORE
    assert not (before.root / "acknowledged.yaml").exists()
    assert before.dvc_md5 == read_pointer(root) != found.dvc_md5


def test_nothing_in_the_working_tree_the_index_and_the_refs_is_touched(root: Path) -> None:
    (root / "project.yaml").write_text("name: being written\n")
    before = seen(root)
    read(root, "topic")
    read_staged(root)
    fork_point(root, "main", "topic")
    assert seen(root) == before


@pytest.mark.parametrize(
    "name",
    [
        "topic",
        "v1",
        "v1-annotated",
        "origin/topic",
        "later~1",
        "later^",
        "hash",
        "short hash",
        "later^{/more}",
    ],
)
def test_whatever_git_takes_for_a_commit_is_taken(root: Path, name: str) -> None:
    commit_of_topic = git(root, "rev-parse", "topic")
    git(root, "tag", "v1", "topic")
    git(root, "tag", "--annotate", "-m", "first", "v1-annotated", "topic")
    git(root, "update-ref", "refs/remotes/origin/topic", "topic")
    tree = git(root, "rev-parse", "topic^{tree}")
    git(root, "branch", "later", git(root, "commit-tree", tree, "-p", "topic", "-m", "later"))
    name = {"hash": commit_of_topic, "short hash": commit_of_topic[:9]}.get(name, name)
    assert read(root, name).commit == commit_of_topic


def test_a_second_look_needs_neither_cache_nor_remote(root: Path) -> None:
    first = read(root, "topic")
    shutil.rmtree(root / ".dvc" / "cache")
    shutil.rmtree(root.parent / "remote")
    assert read(root, "topic") == first


def test_two_revisions_with_the_same_data_keep_them_once(root: Path) -> None:
    git(root, "switch", "--quiet", "-c", "words")
    (root / "project.yaml").write_text("name: z\n")
    commit(root, "words")
    main, words = read(root, "main"), read(root, "words")
    assert main.root != words.root
    assert (main.root / "data/a/train.csv").samefile(words.root / "data/a/train.csv")
    assert len(Workspace(root).all("data")) == 1


def test_a_project_in_a_subfolder_is_read_from_there(tmp_path: Path) -> None:
    make(tmp_path / "repository", "models/one")
    root = tmp_path / "repository" / "models" / "one"
    assert data_in(read(root, "topic")) == AFTER
    assert (read(root, "topic").root / "project.yaml").read_text() == "name: y\n"
    assert data_in(read_staged(root)) == BEFORE
    with pytest.raises(InputError, match=r"models/project\.yaml is not there"):
        read(root.parent, "topic")


def test_what_the_cache_lacks_is_fetched_once_and_checked(root: Path) -> None:
    forget_cache(root)
    assert data_in(read(root, "topic")) == AFTER
    shutil.rmtree(root.parent / "remote")
    shutil.rmtree(root / ".doubleroute")
    assert data_in(read(root, "topic")) == AFTER


def test_data_are_fetched_from_the_remote_that_data_dvc_names(root: Path) -> None:
    (root.parent / "remote").rename(root.parent / "elsewhere")
    with (root / ".dvc" / "config").open("a") as file:
        file.write("['remote \"other\"']\nurl = ../../elsewhere\n")
    git(root, "switch", "--quiet", "topic")
    with (root / "data.dvc").open("a") as file:
        file.write("  remote: other\n")
    named = commit(root, "data of another remote")
    forget_cache(root)
    assert data_in(read(root, named)) == AFTER


def test_one_missing_file_is_fetched_alone(root: Path) -> None:
    stored(root / ".dvc" / "cache", AFTER["new.csv"]).unlink()
    stored(root.parent / "remote", AFTER["a/train.csv"]).unlink()
    assert data_in(read(root, "topic")) == AFTER


def test_data_that_lie_in_the_working_tree_need_no_cache(root: Path) -> None:
    forget_cache(root)
    shutil.rmtree(root.parent / "remote")
    assert data_in(read(root, "HEAD")) == BEFORE


def test_an_unknown_revision_is_answered_with_near_ones(root: Path) -> None:
    git(root, "update-ref", "refs/remotes/origin/feature", "topic")
    with pytest.raises(InputError, match=r"'topc' is no commit, branch or tag of .*did you mean topic\?$"):
        read(root, "topc")
    with pytest.raises(InputError, match=r"did you mean origin/feature\?$"):
        read(root, "feature")
    with pytest.raises(InputError, match=r"it has: main, origin/feature, topic$"):
        read(root, "1234567")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-h",
        "--all",
        "^main",
        "main..topic",
        "main:data.dvc",
        "topic^{tree}",
        "a\0b",
        "main\ntopic",
        "HEAD~9",
    ],
)
def test_what_is_not_one_commit_is_refused(root: Path, name: str) -> None:
    with pytest.raises(InputError, match="is no commit, branch or tag"):
        read(root, name)


def test_a_name_of_a_branch_and_a_tag_is_not_guessed(root: Path) -> None:
    git(root, "tag", "topic", "main")
    with pytest.raises(InputError, match=r"'topic' means more than one thing.*heads/topic"):
        read(root, "topic")
    assert data_in(read(root, "heads/topic")) == AFTER


def test_a_folder_without_git_is_explained(tmp_path: Path) -> None:
    for look in (lambda: read(tmp_path, "main"), lambda: read_staged(tmp_path)):
        with pytest.raises(InputError, match=r"is in no git repository.*`git init`"):
            look()


def test_a_repository_without_a_commit_has_no_revision(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    with pytest.raises(InputError, match=r"'HEAD' is no commit.*it has no branch and no tag yet"):
        read(tmp_path, "HEAD")


def test_git_that_is_not_installed_is_an_error_of_the_machine(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MachineError, match="git is not installed"):
        read(root, "topic")


def test_what_a_shallow_clone_lacks_is_said(root: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", "--depth=1", "--branch=topic", root.as_uri(), str(clone))
    for name in ("HEAD~1", git(root, "rev-parse", "main"), "main"):
        with pytest.raises(InputError, match=r"clone is shallow.*`git fetch --unshallow`"):
            read(clone, name)
    git(clone, "fetch", "--quiet", "--depth=1", "origin", "main:refs/remotes/origin/main")
    with pytest.raises(InputError, match=r"no common ancestor.*`git fetch --unshallow`"):
        fork_point(clone, "origin/main", "topic")


@pytest.mark.parametrize("name", ["project.yaml", "data.dvc"])
def test_a_revision_without_project_file_or_pointer_is_an_error(root: Path, name: str) -> None:
    git(root, "rm", "--quiet", "--cached", name)
    git(root, "commit", "--quiet", "-m", "without")
    with pytest.raises(InputError, match=rf"^HEAD \(\w{{10}}\): a project/{name} is not there"):
        read(root, "HEAD")
    with pytest.raises(InputError, match=rf"^the index: a project/{name} is not there"):
        read_staged(root)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("<<<<<<< HEAD\nouts:\n- md5: 1\n=======\nouts:\n- md5: 2\n>>>>>>> x\n", "line 1: a merge conflict"),
        ("outs: [", "not what DVC writes"),
        (f"outs:\n- path: other\n  hash: md5\n  md5: {'0' * 32}.dir\n", r"outs\[0\].path is 'other'"),
        ("\udcff", "cannot be read"),
    ],
)
def test_a_broken_pointer_is_explained_with_its_revision(root: Path, text: str, problem: str) -> None:
    (root / "data.dvc").write_text(text, errors="surrogateescape")
    commit(root, "broken")
    with pytest.raises(InputError, match=rf"^HEAD \(\w{{10}}\): data\.dvc.*{problem}"):
        read(root, "HEAD")
    with pytest.raises(InputError, match=rf"^the index: data\.dvc.*{problem}"):
        read_staged(root)


def test_an_object_that_git_lost_is_an_error_of_the_machine(root: Path) -> None:
    lost = git(root, "rev-parse", "topic:project.yaml")
    (root / ".git" / "objects" / lost[:2] / lost[2:]).unlink()
    with pytest.raises(MachineError, match=f"git cannot read .*{lost} missing"):
        read(root, "topic")


def test_a_pointer_that_is_a_link_is_refused(root: Path) -> None:
    (root / "data.dvc").rename(root / "other.dvc")
    (root / "data.dvc").symlink_to("other.dvc")
    git(root, "add", "data.dvc")
    commit(root, "link")
    with pytest.raises(InputError, match=r"data\.dvc is no plain file"):
        read(root, "HEAD")


def test_a_remote_that_cannot_be_reached_is_an_error(root: Path) -> None:
    forget_cache(root)
    (root.parent / "remote").rename(root.parent / "elsewhere")
    with pytest.raises(MachineError, match=r"could not be fetched from the DVC remote store \(.*no folder"):
        read(root, "topic")


def test_a_remote_that_needs_another_package_is_an_error(root: Path) -> None:
    forget_cache(root)
    config = root / ".dvc" / "config"
    config.write_text(config.read_text().replace("../../remote", "s3://bucket/x"))
    with pytest.raises(MachineError, match=r"s3://bucket/x.*requires 'dvc-s3'"):
        read(root, "topic")
    config.write_text("[core")
    with pytest.raises(InputError, match=r"DVC cannot work in .*config file error"):
        read(root, "topic")


def test_a_password_in_the_address_of_a_remote_is_not_shown(root: Path) -> None:
    forget_cache(root)
    config = root / ".dvc" / "config"
    config.write_text(config.read_text().replace("../../remote", "http://me:secret@127.0.0.1:9/x"))
    with pytest.raises(MachineError, match=r"remote store \(http://127\.0\.0\.1:9/x\)") as caught:
        read(root, "topic")
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_data_that_nobody_pushed_are_an_error_that_says_whose(root: Path) -> None:
    git(root, "switch", "--quiet", "-c", "alone")
    add(root, {"x.csv": b"only here\n"}, push=False)
    commit(root, "alone")
    write(root, BEFORE)
    forget_cache(root)
    short = git(root, "rev-parse", "--short", "HEAD")
    with pytest.raises(
        MachineError,
        match=rf"never pushed to .*list of the files.*`dvc push`.*commit {short} of .* by someone",
    ):
        read(root, "alone")


def test_a_file_that_nobody_pushed_is_named(root: Path) -> None:
    forget_cache(root)
    stored(root.parent / "remote", AFTER["a/train.csv"]).unlink()
    with pytest.raises(MachineError, match=r"^topic \(\w+\): .*never pushed to .*: data/a/train\.csv; type"):
        read(root, "topic")
    assert Workspace(root).all("data") == Workspace(root).all("revision") == []


def test_without_a_remote_what_the_cache_lacks_is_named(root: Path) -> None:
    forget_cache(root)
    config = root / ".dvc" / "config"
    config.write_text(config.read_text().replace("[core]\nremote = store\n", ""))
    with pytest.raises(MachineError, match=r"`dvc remote default NAME` \(store\)"):
        read(root, "topic")
    config.write_text("")
    with pytest.raises(MachineError, match=r"no remote is configured: `dvc remote add --default NAME URL`"):
        read(root, "topic")


def test_a_damaged_object_in_the_cache_is_named(root: Path) -> None:
    path = stored(root / ".dvc" / "cache", AFTER["a/train.csv"])
    path.chmod(0o644)
    path.write_bytes(b"?" * path.stat().st_size)
    with pytest.raises(DataError, match=rf"{path} \(data/a/train\.csv\) is damaged.*remove that file"):
        read(root, "topic")
    path.unlink()
    assert data_in(read(root, "topic")) == AFTER


def test_a_damaged_list_of_files_in_the_cache_is_named(root: Path) -> None:
    md5 = read(root, "topic").dvc_md5
    shutil.rmtree(root / ".doubleroute")
    path = root / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]
    path.chmod(0o644)
    for text in ("[]", "{", '[{"md5": 3, "relpath": 4}]'):
        path.write_text(text)
        with pytest.raises(DataError, match=rf"{path} \(the list of the files in data/\) is damaged"):
            read(root, "topic")


@pytest.mark.parametrize("which", ["a file", "the list"])
def test_a_damaged_object_in_the_remote_is_never_used(root: Path, which: str) -> None:
    md5 = read(root, "topic").dvc_md5
    forget_cache(root)
    remote = root.parent / "remote"
    path = remote / "files" / "md5" / md5[:2] / md5[2:] if which == "the list" else None
    path = path or stored(remote, AFTER["a/train.csv"])
    path.chmod(0o644)
    path.write_bytes(b"?" * path.stat().st_size)
    path.chmod(0o444)
    for _ in range(2):
        with pytest.raises(DataError, match="is damaged"):
            read(root, "topic")


def point_to(root: Path, *names: str) -> None:
    """Commit a data.dvc whose list has these files, each with the contents of one that is in the cache."""
    cache = root / ".dvc" / "cache" / "files" / "md5"
    md5 = next(path.parent.name + path.name for path in cache.glob("*/*") if path.suffix == "")
    pointer = folder_md5(dict.fromkeys(names, md5))
    path = cache / pointer[:2] / pointer[2:]
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([{"md5": md5, "relpath": name} for name in names]))
    (root / "data.dvc").write_text(f"outs:\n- path: data\n  hash: md5\n  md5: {pointer}\n")
    commit(root, "hostile")


@pytest.mark.parametrize("name", ["../outside.csv", "/etc/outside.csv", "a/../../x", ""])
def test_a_list_that_names_a_file_outside_data_is_refused(root: Path, name: str) -> None:
    point_to(root, name)
    with pytest.raises(DataError, match="which is no file inside data/"):
        read(root, "HEAD")


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a")])
def test_a_list_that_contradicts_itself_is_refused(root: Path, names: tuple[str, str]) -> None:
    point_to(root, *names)
    with pytest.raises(DataError, match="is both file and folder"):
        read(root, "HEAD")


def test_a_repository_without_dvc_is_explained(root: Path) -> None:
    git(root, "rm", "--quiet", "-r", "--cached", ".dvc")
    shutil.rmtree(root / ".dvc")
    with pytest.raises(InputError, match=r"has no \.dvc folder.*`dvc init`"):
        read(root, "topic")


def test_what_is_staged_is_read_before_it_is_committed(root: Path) -> None:
    add(root, AFTER, push=False)
    (root / "project.yaml").write_text("name: not staged\n")
    found = read_staged(root)
    assert (found.name, found.commit, found.dvc_md5) == ("staged", None, read_pointer(root))
    assert data_in(found) == AFTER
    assert (found.root / "project.yaml").read_text() == "name: x\n"


def test_staged_data_without_a_cache_come_from_the_working_tree(root: Path) -> None:
    add(root, AFTER, push=False)
    forget_cache(root)
    shutil.rmtree(root.parent / "remote")
    assert data_in(read_staged(root)) == AFTER


def test_staged_data_that_are_nowhere_are_an_error(root: Path) -> None:
    add(root, {"x.csv": b"gone\n"}, push=False)
    forget_cache(root)
    write(root, BEFORE)
    with pytest.raises(MachineError, match=r"never pushed.*where `dvc add data` was typed"):
        read_staged(root)


def test_nothing_staged_is_the_same_as_head(root: Path) -> None:
    head, index = read(root, "HEAD"), read_staged(root)
    assert (index.dvc_md5, index.root) == (head.dvc_md5, head.root)
    shutil.rmtree(root / "data")
    assert read_staged(root) == index


def test_a_change_of_data_that_is_not_added_is_not_taken_for_no_change(root: Path) -> None:
    write(root, AFTER)
    with pytest.raises(DataError, match=r"`dvc add data`, then `git add data\.dvc`"):
        read_staged(root)
    add(root, AFTER, push=False)
    git(root, "restore", "--staged", "data.dvc")
    with pytest.raises(DataError, match=r"changed and is not staged; `git add data\.dvc`"):
        read_staged(root)


def test_the_index_of_a_merge_with_a_conflict_is_refused(root: Path) -> None:
    add(root, {"x.csv": b"mine\n"}, push=False)
    commit(root, "mine")
    with pytest.raises(subprocess.CalledProcessError):
        git(root, "merge", "topic")
    with pytest.raises(InputError, match=r"^the index: a merge conflict in data\.dvc is not resolved"):
        read_staged(root)


def test_in_a_hook_the_index_of_the_commit_being_made_counts(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(root, AFTER, push=False)
    shutil.move(root / ".git" / "index", root / ".git" / "next-index-1.lock")
    git(root, "reset", "--quiet")
    monkeypatch.setenv("GIT_INDEX_FILE", str(root / ".git" / "next-index-1.lock"))
    assert data_in(read_staged(root)) == AFTER
    shutil.copy(root / ".git" / "next-index-1.lock", tmp_path / "foreign")
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "foreign"))
    with pytest.raises(DataError, match="not staged"):
        read_staged(root)


def test_git_has_the_users_settings_and_not_the_repository_of_a_hook(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "--quiet", "other")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    for name, value in (("COUNT", "1"), ("KEY_0", "safe.directory"), ("VALUE_0", "/work")):
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    assert ask(root, "config", "safe.directory").stdout == b"/work\n"
    found = ask(root, "rev-parse", "--absolute-git-dir").stdout.decode().strip()
    assert Path(found) == (root / ".git").resolve()


def test_a_pull_request_is_compared_with_where_it_left_the_base(root: Path) -> None:
    start = git(root, "rev-parse", "main")
    (root / "project.yaml").write_text("name: moved on\n")
    commit(root, "main goes on")
    assert fork_point(root, "main", "topic") == start
    assert fork_point(root, start, "main") == start
    git(root, "branch", "stranger", git(root, "commit-tree", "main^{tree}", "-m", "no parent"))
    with pytest.raises(InputError, match=r"no common ancestor .*one history"):
        fork_point(root, "main", "stranger")


def test_data_files_outside_data_have_no_versions(root: Path) -> None:
    check_versioned(root, [root / "data" / "a" / "train.csv"])
    with pytest.raises(InputError, match=r"outside data/.*: \.\./far\.csv, other\.csv; move them"):
        check_versioned(root, [root / "other.csv", root.parent / "far.csv", root / "data" / "new.csv"])
