"""Child processes that never outlive the one that started them, and that stops leave to it.

``python -m doubleroute.processes PARENT MODULE ARGUMENT...`` runs a module as such a child.
"""

import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from doubleroute import forks
from doubleroute.forks import STOPS, Forked, end_with_parent

#: What a process that opens a model imports first; takes a second and a half.
FOR_MODELS = (
    "transformers.modeling_utils",
    "transformers.models.auto",
    "transformers.models.bert.modeling_bert",
)
#: What ``start`` gives.
Child = subprocess.Popen[Any] | Forked


def start(module: str, *arguments: str, **options: Any) -> Child:
    """Run ``python -m module`` in a child, in a fork where a fork server is kept; ``options`` are those of
    ``forks.start``.

    Ctrl-C in a terminal, and often SIGTERM, go to the whole group of processes. The child does not hear
    them: whoever started it ends it, after what still needs the child.
    """
    own = ["-m", "doubleroute.processes", str(os.getpid()), module]
    return forks.start(module, arguments, **options) or _execute(*own, *arguments, **options)


def start_script(script: Path, *arguments: str, **options: Any) -> Child:
    """The same for a file that imports nothing of doubleroute, or another copy of it, and that sees to it
    itself that it ends with its parent."""
    return forks.start(str(script), arguments, **options) or _execute(
        "-P", str(script), *arguments, **options
    )


def _execute(*words: str, libraries: object = None, **options: Any) -> "subprocess.Popen[Any]":  # noqa: ARG001
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # the child inherits the mask
    try:
        return subprocess.Popen([sys.executable, *words], **options)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


if __name__ == "__main__":
    end_with_parent(int(sys.argv[1]))
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
