"""The embedded store's registry, read from its database without MLflow: two queries answer who is champion,
and importing MLflow takes seconds.

Only a database of the one schema that this module knows is read, and only where the installed MLflow writes
that schema itself; of any other MLflow says what it is.
"""

import sqlite3
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from doubleroute.integrations.registry_version import Registered, Version

#: The newest migration of MLflow's database when this was written, in MLflow 3.17.
SCHEMA = "dc11669786a5"
#: Without workspaces, which a database in a project does not have, everything is in this one.
_MINE = "name = ? AND workspace = 'default'"
#: Seconds that a locked database is waited for.
_PATIENCE = 20


def readable(database: Path) -> bool:
    """Whether ``read`` knows what the database holds."""
    return _written_by_mlflow() and _schema(database) == [(SCHEMA,)]


def read(database: Path, name: str) -> Registered:
    """A registered model as ``registry_version.registered`` gives it. Raises sqlite3.Error."""
    with closing(sqlite3.connect(str(database), timeout=_PATIENCE)) as connection:
        connection.execute("BEGIN")  # all of one moment

        def rows(columns: str, table: str) -> list[Any]:
            return connection.execute(f"SELECT {columns} FROM {table} WHERE {_MINE}", (name,)).fetchall()

        tags = dict(rows("key, value", "registered_model_tags"))
        aliases: dict[int, list[str]] = {}
        for alias, number in rows("alias, version", "registered_model_aliases"):
            aliases.setdefault(number, []).append(alias)
        of_version: dict[int, dict[str, str]] = {}
        for number, key, value in rows("version, key, value", "model_version_tags"):
            of_version.setdefault(number, {})[key] = value
        columns = "version, run_id, source, storage_location, creation_time, current_stage"
        found = [
            Version(
                number=str(number),
                run_id=run or "",
                aliases=tuple(sorted(aliases.get(number, []))),
                tags=of_version.get(number, {}),
                source=source,
                created=int(created or 0),
                place=place or source,
            )
            for number, run, source, place, created, stage in sorted(rows(columns, "model_versions"))
            if stage != "Deleted_Internal"  # what MLflow leaves of a deleted version
        ]
    return Registered(tags, found[::-1])


def _schema(database: Path) -> list[Any]:
    """The revisions that the database notes; none where it cannot be read, of which MLflow says why."""
    try:
        with closing(sqlite3.connect(str(database), timeout=_PATIENCE)) as connection:
            return connection.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.Error:
        return []


def _written_by_mlflow() -> bool:
    """Whether SCHEMA is the newest migration of the installed MLflow: one file names it, as its own and not
    as the one that it follows."""
    spec = find_spec("mlflow")
    if spec is None or spec.origin is None:
        return False
    migrations = (Path(spec.origin).parent / "store" / "db_migrations" / "versions").glob("*.py")
    named = f'revision = "{SCHEMA}"'
    return sum(named in path.read_text(encoding="utf-8") for path in migrations) == 1
