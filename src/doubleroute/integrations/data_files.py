"""The files of data/ on disk, and how they get there.

DVC is imported here and in data_objects, and only when it has something to do: fetch missing data, or say
which files changed.
"""

import json
import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from doubleroute.errors import DataError, DoublerouteError, InputError, MachineError
from doubleroute.integrations.data_record import Listing, Record, folder_md5
from doubleroute.workspace import Workspace, write_text

#: How DVC calls a file that it has not copied whole.
_PARTIAL = re.compile(r"\.[\w-]{22}\.tmp")


def is_there(root: Path) -> bool:
    """Whether there is any file below ``root/data`` and no fetch was cut off; else ``pull`` fetches."""
    return has_files(root / "data") and not _marker(root).exists()


def has_files(data: Path) -> bool:
    """Whether there is any file below ``data``."""
    return any(path.is_file() for path in data.rglob("*"))


def _marker(root: Path) -> Path:
    """What lies in the workspace from before a fetch until all data are there, with their md5 in data.dvc."""
    return Workspace(root).root / "fetching"


def fetch_missing(root: Path, pointer: str) -> bool:
    """Fetch the data of ``pointer``, the md5 in data.dvc, unless ``root/data`` holds data; whether they were
    fetched. Data of a fetch that was cut off are fetched again, but for files that somebody else put there.

    Raises InputError and MachineError as ``_fetch``.
    """
    if is_there(root):
        return False
    with Workspace(root).lock("fetch"):
        begun = has_files(root / "data")
        if begun and not _is_half(root, pointer):
            return False
        write_text(_marker(root), pointer)
        try:
            half = _fetch(root, force=begun)
        except DoublerouteError:  # nothing came
            _marker(root).unlink()
            raise
        if not half:
            _marker(root).unlink()
    return True


def _is_half(root: Path, pointer: str) -> bool:
    """Whether data/ holds nothing but what a fetch of ``pointer`` that was cut off put there: DVC puts files
    into their places whole. Otherwise the mark of it is removed."""
    marker = _marker(root)
    if marker.exists() and marker.read_text(encoding="utf-8") == pointer:
        wanted, record = cached_listing(root, pointer) or {}, Record(root)
        if all(
            _PARTIAL.fullmatch(path.name) or wanted.get(name) == record.md5(path)
            for name, path in walk(root / "data", versioned=True)
        ):
            return True
    marker.unlink(missing_ok=True)
    return False


def walk(data: Path, versioned: bool) -> list[tuple[str, Path]]:
    """The files that DVC counts as the content of data/, with their paths relative to it.

    ``versioned``: as DVC does, so that a link to a folder is a DataError and .dvcignore is obeyed.
    """
    if versioned and _has_ignore_patterns(data):
        found = _walk_with_dvc(data)
    else:
        found = []
        for folder, folders, names in os.walk(data):
            found += [Path(folder) / name for name in names]
            linked = next(
                (Path(folder) / each for each in folders if (Path(folder) / each).is_symlink()), None
            )
            if versioned and linked:
                raise DataError(
                    f"{linked} is a link to a folder, and DVC does not version what is behind it; "
                    "put the files themselves into data/"
                )
    return sorted((path.relative_to(data).as_posix(), path) for path in found)


def _has_ignore_patterns(data: Path) -> bool:
    """Whether a .dvcignore on the way to data/ or inside it says anything."""
    repository = next((each for each in data.parents if (each / ".dvc").is_dir()), data.parent)
    above = [each for each in data.parents if each.is_relative_to(repository)]
    for file in [*(each / ".dvcignore" for each in above), *data.rglob(".dvcignore")]:
        with suppress(OSError):
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            if any(line.strip() and not line.startswith("#") for line in lines):
                return True
    return False


def _walk_with_dvc(data: Path) -> list[Path]:
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    try:
        with Repo(str(data.parent)) as repo:
            return [Path(name) for name in repo.dvcignore.find(repo.fs, str(data))]
    except NotDvcRepoError:
        raise InputError(f"{data.parent} has data.dvc but no .dvc folder; `dvc init` makes one") from None


def _fetch(root: Path, force: bool) -> str:
    """Put data/ there from DVC's cache or remote, every object checked against its md5 on arrival; ``force``:
    in place of what is there. Gives why not all of it came, empty where it did.

    Raises InputError without a .dvc folder, MachineError where nothing came.
    """
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.repo import Repo

    reason = ""
    remotes: dict[str, Any] = {}
    with log_of("dvc", "dvc_data", "dvc_objects") as messages:
        try:
            with Repo(str(root)) as repo:
                remotes = dict(repo.config["remote"])
            verify = {"remote": {name: {"verify": True} for name in remotes}}
            with Repo(str(root), config=verify) as repo:
                repo.pull(targets=[str(root / "data.dvc")], force=force)
        except NotDvcRepoError:
            raise InputError(f"{root} has data.dvc but no .dvc folder; `dvc init` makes one") from None
        except (DvcException, OSError, ImportError, ValueError) as error:
            reason = " ".join(re.sub(r"\x1b\[\d*m", "", str(error)).split())
    if has_files(root / "data"):
        return reason
    reason = reason or "DVC fetched nothing"
    if not remotes:
        reason = "DVC's cache here does not hold it and no remote is configured"
    known = ", ".join(f"{name} ({each.get('url')})" for name, each in remotes.items())
    details = "".join(f"\n  {message}" for message in messages) if remotes else ""
    raise MachineError(
        f"{root / 'data'} is missing and could not be fetched{f' from {known}' if known else ''}: {reason}. "
        "Put the files of this version there, or name a DVC remote that can be reached and holds them: "
        f"`dvc remote add --default NAME URL`{details}"
    )


@contextmanager
def log_of(*names: str) -> Iterator[list[str]]:
    """Collect what these loggers say instead of showing it with tracebacks."""
    messages: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    loggers = [logging.getLogger(name) for name in names]
    before = [each.propagate for each in loggers]
    for each in loggers:
        each.addHandler(handler)
        each.propagate = False
    try:
        yield messages
    finally:
        for each, propagate in zip(loggers, before, strict=True):
            each.removeHandler(handler)
            each.propagate = propagate


def some(names: Iterable[str], limit: int = 8) -> str:
    names = sorted(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def cached_listing(root: Path, pointer: str) -> Listing | None:
    """The files of a data version, from the folder object in DVC's cache; None if it is not there whole."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            text = Path(repo.cache.local.oid_to_path(pointer)).read_text(encoding="utf-8")
        listing = {entry["relpath"]: entry["md5"] for entry in json.loads(text)}
    except (DvcException, OSError, ValueError, KeyError, TypeError):
        return None
    return listing if folder_md5(listing) == pointer else None
