"""What a pre-push hook reviews, from lines that git itself wrote and from such that it would not write."""

import os
import subprocess
from pathlib import Path

import pytest

from doubleroute.errors import InputError
from doubleroute.integrations.pushes import reviews_of_push
from doubleroute.review.pushes import pushed

A, B, ZERO = "a" * 40, "b" * 40, "0" * 40


def git(place: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(place), *identity, *arguments]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()


def test_the_lines_of_a_real_push_are_read(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "remote.git")
    git(tmp_path, "init", "--quiet", "--initial-branch=main", "here")
    here, lines = tmp_path / "here", tmp_path / "lines"
    hook = here / ".git" / "hooks" / "pre-push"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ncat > '{lines}'\n")
    hook.chmod(0o755)
    git(here, "remote", "add", "origin", "../remote.git")
    commits = []
    for _ in range(2):
        git(here, "commit", "--quiet", "--allow-empty", "--message", "one more")
        commits.append(git(here, "rev-parse", "HEAD"))
    git(here, "tag", "--annotate", "v1", "--message", "one")
    git(here, "push", "--quiet", "origin", "HEAD~1:refs/heads/main")
    assert pushed(lines.read_text().splitlines()) == [(None, commits[0])]
    git(here, "push", "--quiet", "origin", "main", "main:other", "v1")
    assert pushed(lines.read_text().splitlines()) == [(commits[0], commits[1]), (None, commits[1])]
    git(here, "push", "--quiet", "--force", "origin", "HEAD^{/one more}:refs/heads/x", ":other", ":v1")
    assert pushed(lines.read_text().splitlines()) == [(None, commits[1])]


def test_a_new_branch_that_merged_main_is_compared_with_what_it_merged(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "remote.git")
    git(tmp_path, "init", "--quiet", "--initial-branch=main", "here")
    here = tmp_path / "here"

    def commit(name: str) -> str:
        (here / name).write_text(str(len(list(here.iterdir()))))
        git(here, "add", "--all")
        git(here, "commit", "--quiet", "--message", name)
        return git(here, "rev-parse", "HEAD")

    (here / "project.yaml").write_text("name: x")
    first = commit("data.dvc")
    alone = f"{first[:10]} is not reviewed: no remote has a commit to compare it with"
    assert reviews_of_push(here, [(None, first)]) == ([], [alone])
    git(here, "remote", "add", "origin", "../remote.git")
    git(here, "push", "--quiet", "origin", "main")
    assert reviews_of_push(here, [(None, first)]) == ([], [])  # a remote has all of it
    git(here, "checkout", "--quiet", "-b", "topic")
    (here / "acknowledged.yaml").touch()
    topic = commit("acknowledged.yaml")
    assert reviews_of_push(here, [(None, topic)]) == ([(first, topic)], [])
    git(here, "checkout", "--quiet", "main")
    main = commit("project.yaml")
    git(here, "push", "--quiet", "origin", "main")
    git(here, "checkout", "--quiet", "topic")
    git(here, "merge", "--quiet", "--no-edit", "main")
    merged = git(here, "rev-parse", "HEAD")
    assert reviews_of_push(here, [(None, merged)]) == ([(main, merged)], [])


@pytest.mark.parametrize("name", ["data.dvc", "project.yaml"])
def test_a_push_that_takes_the_data_away_is_reviewed_and_one_that_brings_them_says_why_not(
    name: str, tmp_path: Path
) -> None:
    git(tmp_path, "init", "--quiet")

    def commit() -> str:
        git(tmp_path, "add", "--all")
        git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "one more")
        return git(tmp_path, "rev-parse", "HEAD")

    nothing = commit()
    for each in ("data.dvc", "project.yaml"):
        (tmp_path / each).write_text("x")
    whole = commit()
    (tmp_path / name).unlink()
    less = commit()
    why = f"{whole[:10]} is not reviewed: {nothing[:10]} has no data to compare it with"
    assert reviews_of_push(tmp_path, [(nothing, whole)]) == ([], [why])
    assert reviews_of_push(tmp_path, [(whole, less)]) == ([(whole, less)], [])


def test_a_push_from_a_folder_without_a_project_is_told_and_not_passed(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "desk").mkdir()
    for each in ("data.dvc", "project.yaml"):
        (tmp_path / "desk" / each).write_text("x")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "one")
    head = git(tmp_path, "rev-parse", "HEAD")
    with pytest.raises(InputError, match=r"no project\.yaml in .*--project names the folder"):
        reviews_of_push(tmp_path, [(None, head)])
    assert reviews_of_push(tmp_path / "desk", [(head, head)]) == ([], [])


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ([], []),
        (["\n", f"refs/heads/a {A} refs/heads/a {B}\n"], [(B, A)]),
        ([f"refs/heads/a {A} refs/heads/a {B}", f"refs/heads/a {A} refs/heads/b {B}"], [(B, A)]),
        ([f"HEAD {A} refs/for/main {ZERO}"], [(None, A)]),
        ([f"(delete) {ZERO} refs/heads/a {B}"], []),
        ([f"refs/heads/a {A} refs/heads/a {A}"], []),
        ([f"refs/tags/v1 {A} refs/tags/v1 {ZERO}", f"refs/notes/c {A} refs/notes/c {ZERO}"], []),
        ([f":/a word {'c' * 64} refs/heads/a {'0' * 64}"], [(None, "c" * 64)]),
    ],
)
def test_a_push_asks_for_the_commits_of_each_branch_that_it_changes(
    lines: list[str], wanted: list[tuple[str | None, str]]
) -> None:
    assert pushed(lines) == wanted


@pytest.mark.parametrize(
    "line", ["main", f"refs/heads/a {A} refs/heads/a", f"a {A[:7]} refs/heads/a {B}", f"a {A} heads/a {B}"]
)
def test_a_line_that_git_would_not_write_is_told(line: str) -> None:
    with pytest.raises(InputError, match=r"line 2 of stdin is '.*', not 'LOCAL_REF"):
        pushed([f"refs/heads/a {A} refs/heads/a {B}", line])
