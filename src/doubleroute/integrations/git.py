"""Questions to git, put to its command; none of them changes a ref, the index or a file."""

import os
import subprocess
from pathlib import Path

from doubleroute.errors import MachineError


def ask(
    root: Path, *arguments: str, stdin: bytes = b"", index: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    """What ``git ARGUMENTS`` answers in the folder ``root``: exit code, output and messages, in English.

    ``index``: read this index instead of the repository's own. Raises MachineError when git is not
    installed or says nothing for a minute.
    """
    # A git hook that runs this sets GIT_DIR and GIT_INDEX_FILE of its own repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
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
