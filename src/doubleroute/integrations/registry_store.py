"""Which MLflow store a project uses, and how it is opened.

Without ``MLFLOW_TRACKING_URI`` it is embedded: sqlite in ``<project>/mlflow/mlflow.db`` and a folder of
artifacts beside it. MLflow is imported when a store is opened, not with this module.
"""

import logging
import os
import shlex
import socket
import sqlite3
import sys
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from doubleroute.errors import MachineError
from doubleroute.workspace import keep_out_of_git

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Seconds in which a server must take a connection, and again in which it must answer.
PATIENCE = 4
#: Columns of MLflow's database that hold absolute places of artifacts.
LOCATIONS = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}


@dataclass(frozen=True)
class Store:
    """Where runs and models are kept. ``folder`` is the embedded store's folder, None for a server."""

    tracking_uri: str
    registry_uri: str
    folder: Path | None

    @property
    def database(self) -> Path | None:
        """The embedded store's sqlite file."""
        return self.folder / "mlflow.db" if self.folder else None

    @property
    def shared(self) -> bool:
        """Whether other machines write to it, whom this project's lock does not keep out."""
        return self.folder is None

    def artifacts(self, experiment: str) -> str | None:
        """The URI of an experiment's artifacts; None where the server decides."""
        return (self.folder / "artifacts" / experiment).as_uri() if self.folder else None

    @property
    def exists(self) -> bool:
        """Whether there is something to ask; a server is taken to be there until it is asked."""
        database = self.database
        return database is None or (database.is_file() and database.stat().st_size > 0)


def locate(root: Path) -> Store:
    """The store of the project in ``root``; nothing is created or contacted.

    Raises MachineError when a file stands where the embedded store's folder must be, or the reverse.
    """
    tracking = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    if tracking:
        registry = os.environ.get("MLFLOW_REGISTRY_URI", "").strip() or tracking
        return Store(tracking, registry, None)
    folder = root.resolve() / "mlflow"
    if folder.exists() and not folder.is_dir():
        raise MachineError(f"{folder} is a file; MLflow's store is a folder of that name: move it aside")
    if (folder / "mlflow.db").is_dir():
        raise MachineError(f"{folder / 'mlflow.db'} is a folder; it must be MLflow's database: move it aside")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    return Store(uri, uri, folder)


def connect(store: Store, experiment: str) -> "MlflowClient":
    """Open the store; an embedded one is created if it is not there, or corrected after a move. For either
    the caller holds the lock.

    Raises MachineError within about ten seconds when a server cannot be reached.
    """
    with errors(store), _without_deprecations():
        from mlflow import MlflowClient

        if store.folder is None:
            for uri in dict.fromkeys((store.tracking_uri, store.registry_uri)):
                _probe(uri)
        else:
            if not store.exists:
                _create(store)
            follow_move(store, experiment)
        client = MlflowClient(store.tracking_uri, store.registry_uri)
        client.search_registered_models(max_results=1)  # a wrong schema or a missing right shows here
        return client


def import_libraries() -> None:
    """Import what ``connect`` needs for an embedded store, which takes seconds, before it is asked."""
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401


def refuse_read_only(store: Store) -> None:
    """Raise MachineError when this user could not register anything in the embedded store, naming the
    place; nothing is created. What a server allows is not known before."""
    if store.folder is None or store.database is None:
        return
    for place in (store.folder, store.database, store.folder / "artifacts"):
        there = next(path for path in (place, *place.parents) if path.exists())
        if not os.access(there, os.W_OK | os.X_OK if there.is_dir() else os.W_OK):
            raise MachineError(
                f"cannot write {there}: a trained model could not be registered there; make it writable, or "
                "set MLFLOW_TRACKING_URI to a server"
            )


@contextmanager
def errors(store: Store) -> Iterator[None]:
    """Turn what MLflow, its database, its server and the disk raise into MachineError."""
    try:
        yield
    except Exception as error:
        message = _told(error)
        if message is None:
            raise
        raise MachineError(f"MLflow at {shown(store.tracking_uri)}: {message}") from error


def _told(error: Exception) -> str | None:
    """What to say of an error of the store; None of another."""
    if isinstance(error, (sqlite3.Error, *_imported("sqlalchemy.exc", "SQLAlchemyError"))):
        return f"the database does not work: {_first_line(error)}; restore a backup or move it aside"
    if isinstance(error, _imported("mlflow.exceptions", "MlflowException")):
        old = "out-of-date database schema" in str(error)
        return _first_line(error) + ("; see mlflow/README.md, 'Upgrading'" if old else "")
    server = _imported("requests", "RequestException")
    if isinstance(error, (*server, OSError, ModuleNotFoundError)):
        return f"{type(error).__name__}: {error}"
    return None


def _imported(module: str, name: str) -> tuple[type[Exception], ...]:
    """A class of a library; none where nobody has imported it, so that nothing can have raised it."""
    found = getattr(sys.modules.get(module), name, None)
    return () if found is None else (found,)


@contextmanager
def _without_deprecations() -> Iterator[None]:
    """What MLflow's own imports deprecate is nothing that our user can act on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def shown(uri: str) -> str:
    """The URI without its password."""
    parts = urlsplit(uri)
    if not parts.password:
        return uri
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{parts.username}:***@{host}").geturl()


def page(store: Store) -> str:
    """How people look at the runs: the address of a server, or the command that shows them in a browser."""
    uri = store.tracking_uri
    parts = urlsplit(uri)
    if parts.scheme in ("http", "https"):
        return f"open {parts._replace(netloc=parts.netloc.rpartition('@')[2]).geturl()} in a browser"
    if shown(uri) != uri:
        return 'mlflow ui --backend-store-uri "$MLFLOW_TRACKING_URI"'
    return f"mlflow ui --backend-store-uri {shlex.quote(uri)}"


def local_path(uri: str) -> Path | None:
    """The folder that a ``file:`` URI or plain path names; None for anything remote."""
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return Path(unquote(uri)) if not parts.scheme else None


def _probe(uri: str) -> None:
    """Ask a server for a sign of life; MLflow itself would try for minutes."""
    parts = urlsplit(uri)
    if not parts.hostname:
        return
    ports = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
    try:
        given = parts.port
    except ValueError as error:
        raise MachineError(f"MLFLOW_TRACKING_URI {shown(uri)}: {error}; write http://HOST:PORT") from None
    port = given or ports.get(parts.scheme.partition("+")[0])
    advice = "start the server, or unset MLFLOW_TRACKING_URI to use the store inside the project"
    if parts.scheme not in ("http", "https"):
        if port is None:
            return
        try:
            socket.create_connection((parts.hostname, port), timeout=PATIENCE).close()
        except OSError as error:
            raise MachineError(f"the MLflow store {shown(uri)} does not answer: {error}; {advice}") from error
        return
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    try:  # any answer will do: a proxy may hide /health
        http_request(
            get_default_host_creds(uri),
            "/health",
            "GET",
            timeout=PATIENCE,
            max_retries=0,
            raise_on_status=False,
        )
    except MlflowException as error:
        raise MachineError(f"the MLflow server {shown(uri)} does not answer; {advice}") from error


def _create(store: Store) -> None:
    """Make the embedded database beside its place and rename it: a schema cut short by a kill would be
    unusable for ever."""
    assert store.folder is not None
    assert store.database is not None
    store.folder.mkdir(parents=True, exist_ok=True)
    keep_out_of_git(store.folder)
    for leftover in store.folder.glob(".new-*.db*"):
        leftover.unlink()
    beside = store.folder / f".new-{os.getpid()}.db"
    with quiet("mlflow.store.db.utils", "alembic"):
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        made = SqlAlchemyStore(f"sqlite:///{beside}", (store.folder / "artifacts").as_uri())
        made._dispose_engine()
    beside.replace(store.database)


@contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """Keep these loggers to warnings for a while."""
    levels = {name: logging.getLogger(name).level for name in loggers}
    for name in loggers:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def moved(store: Store, experiment: str) -> tuple[str, str] | None:
    """Where the database of an embedded store says that its artifacts are, and where they are now, when
    the project's folder was moved or copied since; None when it was not."""
    now = store.artifacts(experiment)
    if now is None or not store.exists:
        return None
    with closing(sqlite3.connect(str(store.database), timeout=20)) as database:
        query = "SELECT artifact_location FROM experiments WHERE name = ?"
        row = database.execute(query, (experiment,)).fetchone()
    if row is None or row[0] == now:
        return None
    tail = "/" + now.rpartition("/")[2]  # the name as the places have it, percent-encoded
    return row[0].removesuffix(tail), now.removesuffix(tail)


def follow_move(store: Store, experiment: str) -> None:
    """Correct the absolute places in the database after the project's folder was moved or copied; the caller
    holds the lock.

    MLflow would go on reading from, and writing to, the old place.
    """
    places = moved(store, experiment)
    if places is None:
        return
    old, new = places
    with closing(sqlite3.connect(str(store.database), timeout=20)) as database, database:
        for table, columns in LOCATIONS.items():
            for column in columns:
                database.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, length(?) + 1) "
                    f"WHERE substr({column}, 1, length(?) + 1) = ? || '/'",
                    (new, old, old, old),
                )
