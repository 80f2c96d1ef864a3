"""Child processes that never outlive the one that started them, and that stops leave to it.

``python -m doubleroute.processes PARENT MODULE ARGUMENT...`` runs a module as such a child.
"""

import ctypes
import os
import runpy
import signal
import subprocess
import sys
from typing import Any

#: What a child of ``start`` does not hear.
STOPS = frozenset({signal.SIGINT, signal.SIGTERM})
_PR_SET_PDEATHSIG = 1


def start(module: str, *arguments: str, **options: Any) -> "subprocess.Popen[Any]":
    """Run ``python -m module`` in a child; ``options`` are those of Popen.

    Ctrl-C in a terminal, and often SIGTERM, go to the whole group of processes. The child does not hear
    them: whoever started it ends it, after what still needs the child.
    """
    own = ["doubleroute.processes", str(os.getpid())]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # the child inherits the mask
    try:
        return subprocess.Popen([sys.executable, "-m", *own, module, *arguments], **options)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent(parent: int | None = None) -> None:
    """Called first thing in a child: on Linux the kernel then ends it when its parent dies, however.

    ``parent`` is the process id of the parent as itself told it: the parent may be dead before the call.
    """
    if sys.platform == "linux":
        parent = parent or os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit(1)


if __name__ == "__main__":
    end_with_parent(int(sys.argv[1]))
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
