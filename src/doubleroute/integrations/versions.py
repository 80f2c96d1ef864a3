"""The version of the data that a run learns from: git revision and the md5 in data.dvc.

That data/ is what data.dvc says is checked here, with DVC's own md5 of a folder, so the check needs neither
a cache nor a remote. An unchanged file is not read again: see data_record.
"""

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from doubleroute.errors import DataError, InputError, MachineError
from doubleroute.integrations.data_files import cached_listing, fetch_missing, some, walk
from doubleroute.integrations.data_record import Listing, Record, folder_md5
from doubleroute.integrations.git import ask, failed, is_in_none


@dataclass(frozen=True)
class DataVersion:
    """What stands behind the rows of a run.

    ``git_commit`` is None outside a repository that git can read (or before its first commit);
    ``git_dirty`` says that it does not hold the project as it is: tracked files differ from it, or
    project.yaml, data.dvc or expectations are not tracked. ``dvc_md5`` is
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
    fetched = pointer is not None and fetch_missing(root, pointer)
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


def _mismatch(root: Path, pointer: str, now: Listing, then: Listing | None, fetched: bool) -> DataError:
    then = then or cached_listing(root, pointer)
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


def git_state(root: Path) -> tuple[str | None, bool]:
    """The commit that the project stands at, and whether it can give the project as it is; None without a
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
    # What git cannot say is no reason to believe that nothing changed.
    changed = _git(root, "status", "--porcelain", "--untracked-files=no") != ""
    unknown = _git(root, "ls-files", "--others", "--", "expectations/*.json") != ""
    there = [name for name in ("project.yaml", "data.dvc") if (root / name).exists()]
    tracked = (_git(root, "ls-files", "--", *there) or "").splitlines() if there else []
    return commit, changed or unknown or len(tracked) < len(there)


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = ask(root, *arguments)
    except MachineError:
        return None
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None
