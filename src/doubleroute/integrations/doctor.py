"""`doubleroute doctor`: what is wrong with the machine, the project or the stores, and what to do.

Every check looks and changes nothing, but for noting the md5 of data files that it read. One that finds
a DoublerouteError shows its message: the same that the command would show which needs the thing.
"""

import json
import os
import shlex
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from doubleroute.config import Project, check_folder, load_project
from doubleroute.digests import file_digest
from doubleroute.errors import DoublerouteError, MachineError
from doubleroute.integrations import versions
from doubleroute.integrations.data_files import is_there
from doubleroute.integrations.doctor_machine import Check, examine_machine
from doubleroute.workspace import MANIFEST, Workspace

__all__ = ["Check", "examine"]

#: Seconds that a server or a locked database gets to answer.
PATIENCE = 4
#: What a backbone needs, of each one of these: large models have their weights in parts under an index.
HUB_FILES = (("config.json",), ("model.safetensors", "model.safetensors.index.json"), ("tokenizer.json",))


def examine(root: Path) -> Iterator[Check]:
    """Check everything, one after the other. Without a project.yaml only the machine is looked at.

    Raises ConfigError when there is no such folder.
    """
    check_folder(root)
    yield from examine_machine(root)
    project: Project | None = None
    if os.path.lexists(root / "project.yaml"):
        try:
            project = load_project(root)
            yield Check("project", "ok", f"{project.name}: {', '.join(project.tasks)}")
        except DoublerouteError as error:
            yield Check("project", "fail", str(error), "edit project.yaml")
    else:
        advice = "`doubleroute init DATA_FILE` writes one, --project names another folder"
        yield Check("project", "warn", f"no project.yaml in {root.resolve()}", advice)
    yield _careful("git", lambda: git(root))
    yield _careful("data", lambda: data(root, project))
    if project is not None:
        found = project
        yield _careful("backbone", lambda: backbone(found))
        yield _careful("workspace", lambda: workspace(found.root))
        yield _careful("mlflow", lambda: mlflow_store(found))
    yield _careful("prefect", prefect)


def git(root: Path) -> Check:
    """Whether the code's and the data's version can be noted on a run."""
    if shutil.which("git") is None:
        return Check("git", "warn", "not installed", "runs will not carry a commit; install git")
    try:
        commit, dirty = versions.git_state(root)
    except MachineError as error:
        return Check("git", "warn", str(error), "runs will not carry a commit")
    if commit is None:
        return Check("git", "warn", "no commit here", "runs carry one after `git init`, `git commit`")
    state = "with changes that are not committed" if dirty else "clean"
    return Check("git", "ok", f"{commit[:12]}, {state}")


def data(root: Path, project: Project | None) -> Check:
    """Whether data/ is what data.dvc says, and every file of the project is there."""
    pointer = versions.read_pointer(root)
    if pointer is not None and not is_there(root):
        return Check("data", "warn", "data/ is missing", "`dvc pull`, or `doubleroute validate` fetches it")
    if project is not None:
        missing = sorted({str(path) for path in project.all_paths if not path.exists()})
        if missing:
            return Check("data", "fail", f"not there: {', '.join(missing)}", "edit `files` in project.yaml")
    if pointer is None:
        advice = "`dvc init && dvc add data` makes the version of the data part of every run"
        return Check("data", "warn", "no data.dvc: the data have no version", advice)
    version = versions.pull(root, project.all_paths if project else ())
    return Check("data", "ok", f"data/ is {version.dvc_md5}")


def backbone(project: Project) -> Check:
    """Whether the encoder's files are there and can be opened; no weights are loaded."""
    from doubleroute.modeling.source import locate

    source = locate(project.backbone.source, project.root)
    if source.folder is None:
        return _hub(source.name)
    from safetensors import SafetensorError, safe_open

    size = 0
    for file in sorted(source.folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="np") as tensors:
                size += len(list(tensors.keys()))
        except (SafetensorError, OSError) as error:
            return Check("backbone", "fail", f"{file}: {error}", "the file is damaged: get it again")
    for name in ("config.json", "tokenizer.json"):
        if (source.folder / name).exists():
            try:
                json.loads((source.folder / name).read_text(encoding="utf-8"))
            except ValueError as error:
                return Check("backbone", "fail", f"{source.folder / name}: {error}", "get the file again")
    return Check("backbone", "ok", f"{source.name}: {size} tensors, tokenizer")


def _hub(name: str) -> Check:
    """A Hugging Face name: in the cache, or reachable."""
    from huggingface_hub import get_token, try_to_load_from_cache
    from huggingface_hub.constants import ENDPOINT
    from huggingface_hub.errors import HFValidationError

    try:
        if all(
            any(isinstance(try_to_load_from_cache(name, file), str) for file in each) for each in HUB_FILES
        ):
            return Check("backbone", "ok", f"{name}, in the cache")
        token = get_token()  # that a download sends
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        urlopen(Request(f"{ENDPOINT}/api/models/{name}", headers=headers), timeout=PATIENCE).close()
    except HFValidationError as error:
        return Check("backbone", "fail", f"{name}: {error}", "edit backbone.source")
    except OSError as error:
        reason = f"{name} is not in the cache, and the hub does not give it: {error}"
        advice = "download it on a machine with a network, or use a folder or package:NAME/PATH"
        return Check("backbone", "fail", reason, advice)
    return Check("backbone", "ok", f"{name}, on the hub; it is downloaded when first used")


def workspace(root: Path) -> Check:
    """Whether every stage holds the bytes that its manifest says."""
    stages = Workspace(root).stages
    for folder in (stages.parent, stages):
        if folder.exists() and not folder.is_dir():
            advice = "results are kept in a folder of that name: move the file aside"
            return Check("workspace", "fail", f"{folder} is a file", advice)
    damaged: list[str] = []
    count = size = 0
    for folder in sorted(stages.iterdir()) if stages.is_dir() else []:
        manifest = folder / MANIFEST
        if folder.name.startswith(".") or not manifest.is_file():
            continue
        count += 1
        try:
            files = json.loads(manifest.read_text(encoding="utf-8"))["files"]
            wrong = [name for name, entry in files.items() if file_digest(folder / name) != entry["sha256"]]
            size += sum(entry["size"] for entry in files.values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            wrong = [f"{MANIFEST} ({error})"]
        damaged += [str(folder / name) for name in wrong]
    if damaged:
        folders = sorted({str(Path(name).parent) for name in damaged})
        advice = f"remove the stage, it is then built again: rm -r {shlex.join(folders)}"
        return Check("workspace", "fail", f"not the bytes that were written: {', '.join(damaged)}", advice)
    return Check("workspace", "ok", f"{count} stages, {size / 2**20:.0f} MiB, all whole")


def mlflow_store(project: Project, patience: float = PATIENCE) -> Check:
    """Whether the registry answers, its database is sane and free, and the champion's files are whole."""
    from doubleroute.integrations.registry import Registry

    registry = Registry(project.root, project.model_name)
    database = registry.store.database
    if database is not None and database.is_file():
        trouble = _sqlite_trouble(database, patience)
        if trouble:
            return trouble
    folder = registry.store.folder
    if folder is not None and folder.exists() and not os.access(folder, os.W_OK):
        return Check("mlflow", "fail", f"{folder} cannot be written", "make it writable")
    champion = registry.champion()
    if champion is None:
        return Check("mlflow", "ok", f"{registry.tracking_uri}, no champion yet")
    registry.model_folder(champion)
    found = f"{registry.tracking_uri}, champion is version {champion.number}, its files are whole"
    return Check("mlflow", "ok", found)


def _sqlite_trouble(database: Path, patience: float) -> Check | None:
    """A damaged, half-made or locked database."""
    try:
        with closing(
            sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True, timeout=patience)
        ) as connection:
            (state,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if state != "ok":
                return Check("mlflow", "fail", f"{database} is damaged: {state}", "restore a backup")
            revisions = connection.execute("SELECT count(*) FROM alembic_version").fetchone()[0]
            if revisions != 1:
                found = f"{database} has {revisions} schema versions, not 1"
                return Check("mlflow", "fail", found, "it was cut short while being made: move it aside")
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            advice = "another process writes to it for long: `fuser` on the file names it"
            return Check("mlflow", "warn", f"{database} is locked", advice)
        advice = "make it and its folder readable and writable, or restore a backup"
        if "no such table" in str(error):
            advice = "it is not a database of MLflow: move the file aside; a new one is made"
        return Check("mlflow", "fail", f"{database}: {error}", advice)
    except sqlite3.DatabaseError as error:
        return Check("mlflow", "fail", f"{database}: {error}", "restore a backup, or move it aside")
    return None


def prefect() -> Check:
    """Whether the server that PREFECT_API_URL names answers."""
    url = os.environ.get("PREFECT_API_URL", "").strip()
    if not url:
        return Check("prefect", "ok", "no PREFECT_API_URL: each train starts a temporary server")
    advice = "start it (`prefect server start`), or unset PREFECT_API_URL to use a temporary one"
    if urlsplit(url).scheme not in ("http", "https"):
        return Check("prefect", "fail", f"PREFECT_API_URL is '{url}', not an http address", advice)
    try:
        with urlopen(f"{url.rstrip('/')}/health", timeout=PATIENCE) as answer:
            return Check("prefect", "ok", f"{url} answers ({answer.status})")
    except HTTPError as error:  # as of one that wants a password; runs take it too
        return Check("prefect", "ok", f"{url} answers ({error.code})")
    except (OSError, HTTPException, ValueError) as error:  # no server, no HTTP, no address
        return Check("prefect", "fail", f"{url} does not answer: {error}", advice)


def _careful(name: str, check: Callable[[], Check]) -> Check:
    """The check, or the error that it ran into."""
    try:
        return check()
    except DoublerouteError as error:
        return Check(name, "fail", str(error), "")
    except (OSError, ImportError, HTTPException, ValueError) as error:
        return Check(name, "fail", f"{type(error).__name__}: {error}", "")
