"""The Prefect server of one run: the one that PREFECT_API_URL names, or a temporary one on loopback.

Prefect's own temporary server can outlive a flow that was killed. This one runs the same application,
and the kernel ends it together with the process that started it. ``python -m doubleroute.flows.server
PORT`` is that process.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from doubleroute.errors import MachineError
from doubleroute.processes import end_with_parent
from doubleroute.workspace import Workspace

#: Seconds that a temporary server may take to answer; a new database on a busy machine takes longest.
PATIENCE = 120.0


@contextmanager
def prefect_api(workspace: Workspace, waiting: Callable[[], None]) -> Iterator[None]:
    """Give the flows inside an API to talk to; a temporary server keeps its database in the workspace.

    One temporary server at a time serves a project: ``waiting`` is called when another run has it.
    Raises MachineError when no server answers.
    """
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

    if PREFECT_API_URL.value():
        yield
        return
    home = workspace.root / "prefect"
    with workspace.lock("prefect", waiting):
        process, url = _start(home)
        try:
            with temporary_settings({PREFECT_API_URL: url, PREFECT_HOME: home}):
                yield
        finally:
            process.terminate()
            try:
                process.wait(timeout=3)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _start(home: Path) -> "tuple[subprocess.Popen[bytes], str]":
    """Start the server and wait for it. A database that a kill left half-made is put aside once."""
    for attempt in range(2):
        home.mkdir(parents=True, exist_ok=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        with (home / "server.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "doubleroute.flows.server", str(port)],
                env={**os.environ, "PREFECT_HOME": str(home), "PREFECT_UI_ENABLED": "false"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if _answers(process, port):
            return process, f"http://127.0.0.1:{port}/api"
        process.kill()
        process.wait()
        if attempt == 0:
            kept = home.with_name(f"{home.name}.damaged")
            shutil.rmtree(kept, ignore_errors=True)
            home.rename(kept)
    raise MachineError(
        f"the temporary Prefect server did not start; its log is {home / 'server.log'}. "
        "`prefect server start` and PREFECT_API_URL use a server of your own"
    )


def _answers(process: "subprocess.Popen[bytes]", port: int) -> bool:
    """Wait until the server is healthy; False when it ended or took too long."""
    from urllib.error import URLError
    from urllib.request import urlopen

    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            time.sleep(0.1)
    return False


def _serve(port: int) -> None:
    end_with_parent()
    import uvicorn

    uvicorn.run(
        "prefect.server.api.server:create_app",
        factory=True,
        host="127.0.0.1",
        port=port,
        log_level="error",
        lifespan="on",
    )


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
