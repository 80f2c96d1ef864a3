"""The Prefect server of one run: the one that PREFECT_API_URL names, or a temporary one on loopback.

Prefect's own temporary server can outlive a flow that was killed. This one runs the same application,
and the kernel ends it together with the process that started it. ``python -m doubleroute.flows.server
PORT`` is that process.
"""

import logging
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from doubleroute.errors import MachineError
from doubleroute.processes import Child, start
from doubleroute.workspace import Workspace

#: Seconds that a temporary server may take to answer; a new database on a busy machine takes longest.
PATIENCE = 120.0
#: Seconds that the server of PREFECT_API_URL may take to say anything.
NAMED_PATIENCE = 10.0
_ENVIRONMENT = {
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",  # block types take seconds, once, and are not used
    # Errors into its log file.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "ERROR",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
}
#: What the log says of a database that a kill left half-made, or of another Prefect's.
_DAMAGED = (
    "file is not a database",
    "database disk image is malformed",
    "no such table",
    "no such column",
    "already exists",
    "duplicate column name",
    "Can't locate revision",
)
#: Only what records runs: no scheduler, no triggers, no pages.
_ONLY_RECORDS = {
    "PREFECT_UI_ENABLED": "false",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
}


@contextmanager
def prefect_api(
    workspace: Workspace, waiting: Callable[[], None], meanwhile: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Give the flows inside an API to talk to; a temporary server keeps its database in the workspace.

    One temporary server at a time serves a project: ``waiting`` is called when another run has it.
    ``meanwhile`` is called while the server starts. Raises MachineError when no server answers.
    """
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_HOME,
        PREFECT_LOGGING_TO_API_ENABLED,
        temporary_settings,
    )

    named = PREFECT_API_URL.value()
    if named:
        check_server(named)
        meanwhile()
        with _quiet_stop():
            yield
        return
    home = workspace.root / "prefect"
    with workspace.lock("prefect", waiting), local_server(home, _ONLY_RECORDS, meanwhile) as url:
        # Nobody reads logs there, and sending them at a stop is what fails first.
        changes = {PREFECT_API_URL: url, PREFECT_HOME: home, PREFECT_LOGGING_TO_API_ENABLED: False}
        with temporary_settings(changes), _quiet_stop():
            yield
            _send_events()


def _send_events() -> None:
    """Send what Prefect still holds to the server that is about to end. Its one sender of events is for all
    servers of a process: kept, it would hold back the events of the next run, which has another server."""
    from prefect.events.worker import EventsWorker

    EventsWorker.drain_all(timeout=10)


@contextmanager
def _quiet_stop() -> Iterator[None]:
    """After a stop Prefect goes on sending logs and events for a while, to a server that may have been
    stopped too: nobody wants to know how that went."""
    try:
        yield
    except KeyboardInterrupt:
        logging.raiseExceptions = False  # what "--- Error logging to API ---" asks
        logging.getLogger("prefect").setLevel(logging.CRITICAL)  # "Unable to connect to ..."
        raise


@contextmanager
def local_server(
    home: Path, environment: Mapping[str, str], meanwhile: Callable[[], None] = lambda: None
) -> Iterator[str]:
    """The URL of a server on loopback with its database in ``home``, ended with the block; nobody inside
    asks a proxy for what is on loopback. A database that a kill left half-made is put aside, once. Raises
    MachineError when it does not start."""
    with _past_proxies():
        process, port = _start(home, environment)
        try:
            meanwhile()
            aside = False
            for another in (True, True, False):
                if _answers(process, port):
                    break
                ended = process.poll() is not None
                _end(process)
                log = (home / "server.log").read_text(encoding="utf-8", errors="replace")
                if not another or not ended:
                    last = (log.strip().splitlines() or ["its log is empty"])[-1]
                    raise MachineError(
                        f"the Prefect server did not start: {last} ({home / 'server.log'}). "
                        "`prefect server start` and PREFECT_API_URL use a server of your own"
                    )
                if not aside and _blames_database(log):
                    aside = True
                    kept = home.with_name(f"{home.name}.damaged")
                    shutil.rmtree(kept, ignore_errors=True)
                    home.rename(kept)
                process, port = _start(home, environment)
            yield f"http://127.0.0.1:{port}/api"
        finally:
            _end(process)


@contextmanager
def _past_proxies() -> Iterator[None]:
    """Let this process and its children reach loopback where the environment names a proxy."""
    before = {name: os.environ.get(name) for name in ("no_proxy", "NO_PROXY")}
    direct = before["no_proxy"] or before["NO_PROXY"] or ""
    if direct != "*":  # which stands for every host only alone
        direct = ",".join(filter(None, (direct, "127.0.0.1", "localhost")))
    os.environ.update(dict.fromkeys(before, direct))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _blames_database(log: str) -> bool:
    """Whether a server did not start for its database: not a full disk, say, or one that somebody locked."""
    return any(said in log for said in _DAMAGED)


def _start(home: Path, environment: Mapping[str, str]) -> tuple[Child, int]:
    home.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (home / "server.log").open("wb") as log:
        process = start(
            "doubleroute.flows.server",
            str(port),
            env={**os.environ, "PREFECT_HOME": str(home), **_ENVIRONMENT, **environment},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
        )
    return process, port


def _end(process: Child) -> None:
    """Close the server's stdin, which ends it, and kill it when it does not end in time."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(timeout=3)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _answers(process: Child, port: int) -> bool:
    """Wait until the server is healthy; False when it ended or took too long."""
    from urllib.request import urlopen

    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            time.sleep(0.1)
    return False


def check_server(url: str) -> None:
    """Ask the server of PREFECT_API_URL. Any answer will do, also one that wants a password. Raises
    MachineError when there is none."""
    from urllib.error import HTTPError
    from urllib.request import urlopen

    try:
        urlopen(f"{url.rstrip('/')}/health", timeout=NAMED_PATIENCE).close()
    except HTTPError:
        return
    except (OSError, ValueError) as error:
        raise MachineError(
            f"the Prefect server of PREFECT_API_URL ({url}) does not answer: {error}; start it "
            "(`prefect server start`), or unset PREFECT_API_URL to use a temporary one"
        ) from error


def _serve(port: int) -> None:
    """Serve until stdin is closed: by ``_end``, or by the end of the process that started this one."""
    import prefect.context
    import uvicorn

    prefect.context.refresh_global_settings_context()  # a fork has read the environment before
    _create_database(Path(os.environ["PREFECT_HOME"]) / "prefect.db")

    application = "prefect.server.api.server:create_app"
    where: dict[str, Any] = {"factory": True, "host": "127.0.0.1", "port": port}
    server = uvicorn.Server(uvicorn.Config(application, **where, log_level="error", lifespan="on"))

    def listen() -> None:
        sys.stdin.buffer.read()
        server.should_exit = True

    threading.Thread(target=listen, daemon=True).start()
    server.run()


def _create_database(place: Path) -> None:
    """Make a new database as Prefect's migrations leave it, without running the hundred of them, which takes
    four seconds. Prefect itself brings it up to date at its start where it is newer; where it is older than
    the schema that is kept here, this does nothing."""
    import prefect
    from packaging.version import Version

    schema = Path(__file__).with_name("prefect_schema.sql").read_text(encoding="utf-8")
    made_by = schema.partition("\n")[0].rpartition(" ")[2]
    if place.exists() or Version(prefect.__version__) < Version(made_by):
        return
    partial = place.with_suffix(".new")
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(schema)
        partial.write_bytes(database.serialize())
    partial.replace(place)


if __name__ == "__main__":
    from doubleroute.environment import collect_rarely

    collect_rarely()
    _serve(int(sys.argv[1]))
