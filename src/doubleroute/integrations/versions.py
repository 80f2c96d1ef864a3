"""The version of the data that a run learns from: git revision and the md5 in data.dvc.

DVC is imported here and in data_objects, and only when it has something to do: fetch missing data,
or say which files changed. That data/ is what data.dvc says is checked here, with DVC's own md5 of a
folder, so the check needs neither a cache nor a remote. An unchanged file is not read
again: see data_record.
"""

import json
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from doubleroute.errors import DataError, InputError, MachineError
from doubleroute.integrations.data_record import Listing, Record, folder_md5
from doubleroute.integrations.git import ask, failed, is_in_none


@dataclass(frozen=True)
class DataVersion:
    """What stands behind the rows of a run.

    ``git_commit`` is None outside a repository that git can read (or before its first commit);
    ``git_dirty`` says that tracked files differ from it or that the project is not tracked. ``dvc_md5`` is
    the md5 in data.dvc, None without one. ``digest`` is the md5 of what is on disk, computed as DVC does; the
    two are equal unless files outside data/ belong to the project.
    """

    git_commit: str | None
    git_dirty: bool
    dvc_md5: str | None
    digest: str

    def as_dict(self) -> dict[str, Any]:
        """The four facts as plain JSON."""
        return asdict(self)


def pull(root: Path, files: Sequence[Path] = ()) -> DataVersion:
    """Make sure that ``root/data`` is what ``root/data.dvc`` says, and give the version of the data.

    Missing data are fetched from DVC's cache or its remote. ``files`` are the project's data files
    and folders: what is outside data/ goes into the digest as well. A project without data.dvc or git works.

    Raises DataError when data/ differs from data.dvc, InputError when data.dvc cannot be read, and
    MachineError when the data are missing and cannot be fetched.
    """
    root = root.resolve()
    pointer = read_pointer(root)
    data = root / "data"
    fetched = pointer is not None and not has_files(data)
    if pointer is not None and fetched:
        _fetch(root)
    with Record(root) as record:
        listing = {name: record.md5(path) for name, path in walk(data, versioned=pointer is not None)}
        if pointer is not None:
            if folder_md5(listing) != pointer:
                raise _mismatch(root, pointer, listing, record.matched(pointer), fetched)
            record.match(pointer, listing)
        outside = {
            os.path.relpath(path, data).replace(os.sep, "/"): record.md5(path)
            for file in sorted(file.absolute() for file in files)
            for path in (sorted(file.rglob("*")) if file.is_dir() else [file])
            if path.is_file() and not path.is_relative_to(data)
        }
    try:
        commit, dirty = git_state(root)
    except MachineError as error:
        print(f"warning: {error}; the run carries no commit", file=sys.stderr, flush=True)
        commit, dirty = None, False
    return DataVersion(commit, dirty, pointer, folder_md5({**listing, **outside}))


def read_pointer(root: Path) -> str | None:
    """The md5 of data/ in ``root/data.dvc``, as ``<32 hex digits>.dir``; None without that file.

    Raises InputError when the file is not what ``dvc add data`` of DVC 3 writes.
    """
    path = root / "data.dvc"
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}; `dvc add data` writes it anew") from None
    return pointer_in(content, str(path))


def pointer_in(content: bytes, path: str) -> str:
    """The md5 of data/ in the bytes of a data.dvc; ``path`` says in errors where they stand.

    Raises InputError when they are not what ``dvc add data`` of DVC 3 writes.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} cannot be read: {error}; `dvc add data` writes it anew") from None
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith(("<<<<<<<", "=======", ">>>>>>>")):
            raise InputError(
                f"{path} line {number}: a merge conflict is not resolved; keep one of the two versions "
                "(`git checkout --ours data.dvc` or `--theirs`), then `dvc checkout data.dvc`"
            )
    try:
        value = YAML(typ="safe", pure=True).load(StringIO(text))
        (out,) = value["outs"]
        md5, place, kind = out.get("md5"), out["path"], out.get("hash")
    except (YAMLError, KeyError, TypeError, ValueError, AttributeError):
        raise InputError(f"{path} is not what DVC writes; `dvc add data` writes it anew") from None
    if place != "data" or value.get("wdir", ".") != ".":
        raise InputError(f"{path}: outs[0].path is {place!r}; data.dvc must track the folder data beside it")
    if kind != "md5":
        raise InputError(
            f"{path}: outs[0].hash is {kind!r}, not 'md5'; `dvc add data` of DVC 3 writes it anew"
        )
    if not isinstance(md5, str) or not re.fullmatch(r"[0-9a-f]{32}\.dir", md5):
        raise InputError(f"{path}: outs[0].md5 is {md5!r}, not 32 hex digits and '.dir'; `dvc add data`")
    return md5


def remote_in(content: bytes) -> str | None:
    """The DVC remote that the bytes of a data.dvc name for its data, which ``pointer_in`` has read; None for
    the default one."""
    (out,) = YAML(typ="safe", pure=True).load(StringIO(content.decode("utf-8")))["outs"]
    remote: str | None = out.get("remote")
    return remote


def has_files(data: Path) -> bool:
    """Whether there is any file below ``data``; without one ``pull`` fetches."""
    return any(path.is_file() for path in data.rglob("*"))


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


def _fetch(root: Path) -> None:
    """Put data/ there from DVC's cache or remote, every object checked against its md5 on arrival."""
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.repo import Repo

    reason = "DVC fetched nothing"
    remotes: dict[str, Any] = {}
    with log_of("dvc", "dvc_data", "dvc_objects") as messages:
        try:
            with Repo(str(root)) as repo:
                remotes = dict(repo.config["remote"])
            verify = {"remote": {name: {"verify": True} for name in remotes}}
            with Repo(str(root), config=verify) as repo:
                repo.pull(targets=[str(root / "data.dvc")])
        except NotDvcRepoError:
            raise InputError(f"{root} has data.dvc but no .dvc folder; `dvc init` makes one") from None
        except (DvcException, OSError, ImportError, ValueError) as error:
            reason = " ".join(re.sub(r"\x1b\[\d*m", "", str(error)).split())
    if has_files(root / "data"):
        return
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


def _mismatch(root: Path, pointer: str, now: Listing, then: Listing | None, fetched: bool) -> DataError:
    then = then or _cached_listing(root, pointer)
    if then is None:
        names = "the list of its files is not in DVC's cache here, so the changed ones cannot be named"
    else:
        sorts = {
            "changed": [name for name in now if name in then and now[name] != then[name]],
            "added": [name for name in now if name not in then],
            "removed": [name for name in then if name not in now],
        }
        names = "; ".join(f"{sort}: {some(found)}" for sort, found in sorts.items() if found)
    what = f"{root / 'data'} is not what data.dvc says: {names}."
    if fetched:
        return DataError(
            f"{what} It was just fetched: objects in DVC's cache or remote are damaged or missing; "
            "remove .dvc/cache and data/, and `dvc push` them again from a machine that has them whole"
        )
    return DataError(
        f"{what} To keep the data as they are: `dvc add data`, then commit data.dvc with git. To go back to "
        "the version of data.dvc: `dvc checkout data.dvc`, or `dvc pull data.dvc` when only the remote has it"
    )


def some(names: Iterable[str], limit: int = 8) -> str:
    names = sorted(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _cached_listing(root: Path, pointer: str) -> Listing | None:
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


def git_state(root: Path) -> tuple[str | None, bool]:
    """The commit that the project stands at, and whether tracked files differ from it; None without a
    repository, a commit or git.

    Raises MachineError when there is a repository that git cannot read, as one of another user.
    """
    try:
        place = ask(root, "rev-parse", "--git-dir")
    except MachineError:
        return None, False
    if place.returncode and not is_in_none(place):
        raise failed(root, place.stderr)
    commit = _git(root, "rev-parse", "--verify", "HEAD")
    if not commit:
        return None, False
    changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    there = [name for name in ("project.yaml", "data.dvc") if (root / name).exists()]
    tracked = (_git(root, "ls-files", "--", *there) or "").splitlines() if there else []
    return commit, bool(changed) or len(tracked) < len(there)


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = ask(root, *arguments)
    except MachineError:
        return None
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None
