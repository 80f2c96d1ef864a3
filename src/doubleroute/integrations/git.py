"""Questions to git, put to its command; none of them changes a ref, the index or a file."""

import os
import subprocess
from pathlib import Path

from doubleroute.errors import MachineError

#: What points to a repository: a git hook that runs this sets those of its own. Other variables, as those by
#: which a container trusts a folder (GIT_CONFIG_COUNT and the like), are the user's settings and hold.
_OF_A_REPOSITORY = frozenset(
    f"GIT_{name}"
    for name in (
        "ALTERNATE_OBJECT_DIRECTORIES",
        "COMMON_DIR",
        "DIR",
        "GRAFT_FILE",
        "IMPLICIT_WORK_TREE",
        "INDEX_FILE",
        "NAMESPACE",
        "OBJECT_DIRECTORY",
        "PREFIX",
        "QUARANTINE_PATH",
        "REPLACE_REF_BASE",
        "SHALLOW_FILE",
        "WORK_TREE",
    )
)


def ask(
    root: Path, *arguments: str, stdin: bytes = b"", index: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    """What ``git ARGUMENTS`` answers in the folder ``root``: exit code, output and messages, in English.

    ``index``: read this index instead of the repository's own. Raises MachineError when git is not
    installed or says nothing for a minute.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _OF_A_REPOSITORY}
    environment["LC_ALL"] = "C"
    if index is not None:
        environment["GIT_INDEX_FILE"] = str(index)
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        return subprocess.run(command, input=stdin, capture_output=True, env=environment, timeout=60)
    except FileNotFoundError:
        raise MachineError("git is not installed, or not on PATH") from None
    except subprocess.TimeoutExpired:
        raise MachineError(f"`git {arguments[0]}` in {root} did not answer within 60 s") from None
    except OSError as error:
        raise MachineError(f"git cannot be started: {error.strerror or error}") from None


def is_in_none(answer: subprocess.CompletedProcess[bytes]) -> bool:
    """Whether git answered that the folder is in no repository."""
    return answer.returncode != 0 and b"not a git repository" in answer.stderr


def failed(root: Path, stderr: bytes) -> MachineError:
    """The error for a repository that git cannot read, with what it says."""
    return MachineError(f"git cannot read {root}: {' '.join(stderr.decode(errors='replace').split())}")
