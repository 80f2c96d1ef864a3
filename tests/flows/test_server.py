"""The database of a temporary Prefect server."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

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
