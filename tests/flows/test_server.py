"""The database of a temporary Prefect server."""

import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.request import proxy_bypass

import pytest

from doubleroute.errors import MachineError
from doubleroute.flows import server

MIGRATE = """
import asyncio
from prefect.server.database import provide_database_interface
asyncio.run(provide_database_interface().create_db())
"""


def schema(place: Path) -> dict[tuple[str, str], Any]:
    """What a database has: the parts of its tables and indices, in any order and without white space, and
    its revision."""
    with closing(sqlite3.connect(place)) as database:
        made = database.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
        revision = database.execute("SELECT version_num FROM alembic_version").fetchall()
    parts = {(kind, name): sorted("".join((sql or "")[:-1].split()).split(",")) for kind, name, sql in made}
    return {**parts, ("revision", ""): revision}


@pytest.mark.slow
def test_a_new_database_is_as_the_migrations_of_prefect_make_it(tmp_path: Path) -> None:
    server._create_database(tmp_path / "ours.db")
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", MIGRATE], env=environment, check=True, timeout=200)
    assert schema(tmp_path / "ours.db") == schema(tmp_path / "prefect.db")


def test_a_database_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    place = tmp_path / "prefect.db"
    place.write_bytes(b"mine")
    server._create_database(place)
    assert place.read_bytes() == b"mine"


class Healthy(BaseHTTPRequestHandler):
    """Says yes to everything."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.mark.parametrize("direct", [None, "intern.example"])
def test_behind_a_proxy_the_server_on_loopback_is_reached(
    monkeypatch: pytest.MonkeyPatch, direct: str | None
) -> None:
    for name in ("no_proxy", "NO_PROXY", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr("urllib.request._opener", None)  # urlopen keeps the proxies that it saw first
    if direct:
        monkeypatch.setenv("NO_PROXY", direct)
    before = dict(os.environ)
    with HTTPServer(("127.0.0.1", 0), Healthy) as healthy:
        threading.Thread(target=healthy.serve_forever, daemon=True).start()
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
            with server._past_proxies():
                assert proxy_bypass("localhost")
                assert bool(proxy_bypass("intern.example")) == bool(direct)
                assert server._answers(process, healthy.server_port)
            process.communicate(b"\n")
        healthy.shutdown()
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("said", "blamed"),
    [
        ("sqlite3.DatabaseError: file is not a database", True),
        ("sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) table flow already exists", True),
        ("sqlite3.OperationalError: database is locked", False),
        ("sqlite3.OperationalError: database or disk is full", False),
        ("ModuleNotFoundError: No module named 'prefect.server'", False),
    ],
)
def test_a_database_is_put_aside_only_when_the_log_blames_it(said: str, blamed: bool) -> None:
    assert server._blames_database(said) == blamed


@pytest.mark.slow
def test_a_damaged_database_is_put_aside_and_made_anew(tmp_path: Path) -> None:
    home = tmp_path / "prefect"
    home.mkdir()
    (home / "prefect.db").write_bytes(b"cut short " * 100)
    with server.local_server(home, server._ONLY_RECORDS):
        assert (tmp_path / "prefect.damaged" / "prefect.db").read_bytes() == b"cut short " * 100


@pytest.mark.slow
def test_a_database_that_is_whole_stays_when_the_server_does_not_start(tmp_path: Path) -> None:
    home = tmp_path / "prefect"
    home.mkdir()
    server._create_database(home / "prefect.db")
    before = (home / "prefect.db").read_bytes()
    nowhere = {"PREFECT_API_DATABASE_CONNECTION_URL": "nonsense://"}
    with pytest.raises(MachineError, match="did not start"), server.local_server(home, nowhere):
        pass
    assert (home / "prefect.db").read_bytes() == before
    assert not (tmp_path / "prefect.damaged").exists()
