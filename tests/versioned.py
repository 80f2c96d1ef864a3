"""A tiny project under git and DVC, for the tests of reviews."""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from conftest import write_tiny_project


def git(root: Path, *arguments: str) -> str:
    who = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
    command = ["git", "-C", str(root), *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def add(root: Path) -> None:
    """`dvc add data`, `git add --all`."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        repo.add(str(root / "data"))
    git(root, "add", "--all", ".")


def commit(root: Path, message: str) -> None:
    add(root)
    git(root, "commit", "--quiet", "-m", message)


def branch(root: Path, name: str, change: Callable[[Path], None]) -> None:
    """A branch off main with one change of data/, which is as it was afterwards."""
    before = shutil.copytree(root / "data", root.parent / f"before-{name}")
    git(root, "checkout", "--quiet", "-b", name, "main")
    change(root / "data")
    commit(root, name)
    git(root, "checkout", "--quiet", "main")
    shutil.rmtree(root / "data")
    before.rename(root / "data")


def sentences(data: Path) -> list[str]:
    return (data / "sentiment.csv").read_text(encoding="utf-8").splitlines()


def write_sentences(data: Path, lines: Sequence[str]) -> None:
    (data / "sentiment.csv").unlink(missing_ok=True)  # DVC may have made it a link into its cache
    (data / "sentiment.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def make(root: Path, backbone: Path, rows: int = 200) -> Path:
    """Main has the tiny project."""
    write_tiny_project(root, backbone, rows)
    return begin(root)


def begin(root: Path) -> Path:
    """Put a project under git and DVC; main has its first commit."""
    from dvc.repo import Repo

    git(root.parent, "init", "--quiet", "-b", "main", str(root))
    with Repo.init(str(root)):
        pass
    (root / ".gitignore").write_text("/data\n/.doubleroute\n/mlflow\n", encoding="utf-8")
    commit(root, "first")
    return root
