"""A stop while the Prefect server has gone away too."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

class Healthy(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *given):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Healthy)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{server.server_port}/api"

from doubleroute.environment import set_defaults
from doubleroute.flows.server import prefect_api
from doubleroute.workspace import Workspace

set_defaults()
ending = {"stop": KeyboardInterrupt, "error": ValueError}[sys.argv[2]]
try:
    with prefect_api(Workspace(Path(sys.argv[1])), lambda: None):
        from prefect.logging.handlers import APILogWorker

        log = {"level": 50, "message": "m", "name": "n", "timestamp": "2026-01-01T00:00:00Z"}
        APILogWorker.instance().send(log)
        server.shutdown()
        server.server_close()
        raise ending
except ending:
    print("ended", file=sys.stderr, flush=True)
"""


def said(root: Path, ending: str) -> list[str]:
    """What a process writes to stderr whose logs nobody takes any more."""
    command = [sys.executable, "-c", SCRIPT, str(root), ending]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(root)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()


@pytest.mark.costly
def test_after_a_stop_nothing_is_said_about_logs_that_nobody_takes(tmp_path: Path) -> None:
    assert said(tmp_path, "stop") == ["ended"]


@pytest.mark.costly
def test_after_any_other_end_it_is_said(tmp_path: Path) -> None:
    assert "--- Error logging to API ---" in said(tmp_path, "error")
