"""The files of a data version, out of DVC's cache and remote into a stage, without touching data/.

A data version is an object in the cache that lists files with their md5, and one object for each file.
What the cache lacks is fetched once, and no byte is believed: every object is read through its md5.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from doubleroute.errors import DataError, DoublerouteError, InputError, MachineError
from doubleroute.integrations.data_files import log_of, some, walk
from doubleroute.integrations.data_record import Listing, Record, folder_md5
from doubleroute.workspace import Stage, Workspace

#: The file of a stage that says which files it holds: their md5 by their path below data/.
LISTING = "files.json"


@dataclass(frozen=True)
class Origin:
    """Where a data.dvc stands, for errors: its revision in words, and where its data were added, which is
    asked only then. ``remote``: the DVC remote that it names for its data, None for the default one."""

    name: str
    made: Callable[[], str]
    remote: str | None = None


def data_stage(root: Path, workspace: Workspace, pointer: str, origin: Origin) -> Stage:
    """The stage that holds one version of the data as ``data/``, and ``LISTING`` beside it.

    ``pointer`` is the md5 of data.dvc. What DVC's cache lacks comes from ``root/data`` where that is this
    version, else from the remote, into the cache. Raises DataError when an object is damaged, and
    MachineError when one can be had nowhere.
    """
    return workspace.build("data", {"dvc_md5": pointer}, lambda folder: _fill(folder, root, pointer, origin))


def listing_on_disk(root: Path) -> Listing:
    """The md5 of each file in ``root/data``, as ``dvc add data`` would list them now."""
    record = Record(root)
    return {name: record.md5(path) for name, path in walk(root / "data", versioned=True)}


def is_inside(name: str) -> bool:
    """Whether a path with forward slashes stays below the folder that it is relative to."""
    parts = PurePosixPath(name).parts
    return bool(parts) and "\0" not in name and parts[0] != "/" and ".." not in parts


def _fill(folder: Path, root: Path, pointer: str, origin: Origin) -> None:
    with _repository(root) as repo:
        sources = _sources(repo, root, pointer, origin)
    (folder / "data").mkdir()
    for name, (md5, source) in sources.items():
        target = folder / "data" / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            copied = _copied(source, target)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise DataError(f"{origin.name}: data/{name} is both file and folder; `dvc add data`") from None
        if copied != md5 and source.is_relative_to(root / "data"):
            raise DataError(f"{source} changed while it was read; run again when nothing writes to it")
        if copied != md5:
            raise _damaged(source, f"data/{name}", origin)
    listing = {name: md5 for name, (md5, _) in sources.items()}
    (folder / LISTING).write_text(json.dumps(listing, ensure_ascii=False, indent=1), encoding="utf-8")


@contextmanager
def _repository(root: Path) -> Iterator[Any]:
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.repo import Repo

    with log_of("dvc", "dvc_data", "dvc_objects"):
        try:
            repo = Repo(str(root))
        except NotDvcRepoError:
            raise InputError(f"{root} has no .dvc folder, nor one above it; `dvc init` makes one") from None
        except DvcException as error:
            raise InputError(f"DVC cannot work in {root}: {_line(error)}") from None
        with repo:
            yield repo


def _sources(repo: Any, root: Path, pointer: str, origin: Origin) -> dict[str, tuple[str, Path]]:
    """Where each file of the data version can be read: its path below data/ -> (md5, file)."""

    def place(md5: str) -> Path:
        return Path(repo.cache.local.oid_to_path(md5))

    def lacking(listing: Listing) -> dict[str, str]:
        return {md5: f"data/{name}" for name, md5 in listing.items() if not place(md5).is_file()}

    listing = _listed(place(pointer), pointer, origin) if place(pointer).is_file() else None
    if listing is None or lacking(listing):
        found = _on_disk_as(root, pointer)
        if found is not None:
            return {name: (md5, root / "data" / name) for name, md5 in found.items()}
    if listing is None:
        _fetch(repo, {pointer: "the list of the files in data/"}, origin)
        listing = _listed(place(pointer), pointer, origin)
    if missing := lacking(listing):
        _fetch(repo, missing, origin)
    return {name: (md5, place(md5)) for name, md5 in listing.items()}


def _on_disk_as(root: Path, pointer: str) -> Listing | None:
    """The files of ``root/data`` if they are this version of the data."""
    try:
        found = listing_on_disk(root)
    except DoublerouteError:
        return None  # what cannot be read is not this version
    return found if folder_md5(found) == pointer else None


def _listed(path: Path, pointer: str, origin: Origin) -> Listing:
    """The files that a folder object lists, checked: their md5 together, and that none lies outside."""
    try:
        entries = json.loads(path.read_bytes())
        listing = {entry["relpath"]: entry["md5"] for entry in entries}
        whole = len(listing) == len(entries) and folder_md5(listing) == pointer
        whole = whole and all(isinstance(part, str) for pair in listing.items() for part in pair)
    except (ValueError, KeyError, TypeError):
        whole = False
    except OSError as error:
        raise MachineError(f"{path} cannot be read: {error.strerror or error}") from None
    if not whole:
        raise _damaged(path, "the list of the files in data/", origin)
    for name, md5 in listing.items():
        if not is_inside(name) or not re.fullmatch("[0-9a-f]{32}", md5):
            raise DataError(
                f"{origin.name}: data.dvc lists {name!r} with md5 {md5!r}, which is no file inside data/; "
                "`dvc add data` writes it anew"
            )
    return listing


def _copied(source: Path, target: Path) -> str:
    """Copy a file, read-only, and give the md5 of what was copied."""
    md5 = hashlib.md5(usedforsecurity=False)
    try:
        file = source.open("rb")
    except OSError as error:
        raise MachineError(f"{source} cannot be read: {error.strerror or error}") from None
    with file, target.open("wb") as copy:
        while block := file.read(1 << 20):
            md5.update(block)
            copy.write(block)
    target.chmod(0o444)
    return md5.hexdigest()


def _damaged(path: Path, what: str, origin: Origin) -> DataError:
    return DataError(
        f"{origin.name}: {path} ({what}) is damaged, its md5 is not the one in data.dvc; remove that file "
        "and run again: it is then fetched from the remote"
    )


def _fetch(repo: Any, wanted: Mapping[str, str], origin: Origin) -> None:
    """Fetch objects into DVC's cache. ``wanted``: md5 -> what the object is, in words."""
    from dvc.config import NoRemoteError
    from dvc.exceptions import DvcException

    cache, failed = repo.cache.local, dict[str, BaseException]()
    try:
        source = repo.cloud.get_remote_odb(origin.remote, "fetch")
        _check_there(repo, source, origin)
        cache.add(
            [source.oid_to_path(md5) for md5 in wanted],
            source.fs,
            list(wanted),
            verify=True,
            check_exists=False,
            on_error=failed.__setitem__,
        )
    except NoRemoteError:
        raise _nowhere(repo, wanted.values(), origin) from None
    except (DvcException, OSError, ImportError, ValueError) as error:
        _unreachable(repo, error, origin)
    missing = [wanted[md5] for md5, error in failed.items() if isinstance(error, FileNotFoundError)]
    other = next((error for error in failed.values() if not isinstance(error, FileNotFoundError)), None)
    if other is not None:
        _unreachable(repo, other, origin)
    if missing:
        raise _nowhere(repo, missing, origin)
    damaged = [what for md5, what in wanted.items() if not Path(cache.oid_to_path(md5)).is_file()]
    if damaged:
        raise DataError(
            f"{origin.name}: what {_remote(repo, origin)} holds of {some(damaged)} is damaged, its md5 is "
            f"not the one in data.dvc; remove it there and type `dvc push` {origin.made()}"
        )


def _check_there(repo: Any, source: Any, origin: Origin) -> None:
    """A folder as remote may be a disk that is not mounted; then nothing in it is missing for good."""
    folder = Path(source.path).parents[1]
    if source.fs.protocol == "local" and not folder.is_dir():
        _unreachable(repo, FileNotFoundError(f"there is no folder {folder}"), origin)


def _unreachable(repo: Any, error: BaseException, origin: Origin) -> NoReturn:
    raise MachineError(
        f"{origin.name}: the data are not in DVC's cache here and could not be fetched from "
        f"{_remote(repo, origin)}: {_line(error)}; run again when it can be reached, or copy .dvc/cache from "
        "a machine that has them"
    ) from None


def _nowhere(repo: Any, missing: Any, origin: Origin) -> MachineError:
    name = origin.remote or repo.config["core"].get("remote")
    lacking = f"{origin.name}: not in DVC's cache here"
    if name:
        return MachineError(
            f"{lacking} and never pushed to {_remote(repo, origin)}: {some(missing)}; type `dvc push` "
            f"{origin.made()}"
        )
    known = some(repo.config["remote"])
    cure = f"`dvc remote default NAME` ({known})" if known else "`dvc remote add --default NAME URL`"
    what = "no remote is the default one" if known else "no remote is configured"
    return MachineError(f"{lacking}: {some(missing)}; {what}: {cure}, then `dvc push` {origin.made()}")


def _remote(repo: Any, origin: Origin) -> str:
    """The remote of a data.dvc by name and address."""
    name = origin.remote or repo.config["core"].get("remote")
    url = str(repo.config["remote"].get(name, {}).get("url"))
    return f"the DVC remote {name} ({_without_password(url)})"


def _without_password(text: str) -> str:
    return re.sub(r"//[^/@\s]*@", "//", text)


def _line(error: BaseException) -> str:
    """What an error says, on one line and without colours."""
    text = _without_password(re.sub(r"\x1b\[\d*m", "", str(error)))
    return " ".join(text.split()) or type(error).__name__
