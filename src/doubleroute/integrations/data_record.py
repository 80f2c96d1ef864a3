"""The md5 of the project's data files, kept beside the stat that each file had when it was read.

A file whose size, times and inode are the recorded ones is not read again, so that checking data/ at
every start costs one stat a file.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from doubleroute.errors import DataError, MachineError
from doubleroute.workspace import Workspace, write_json

#: A file touched this recently may change once more within the resolution of the disk's clock, unseen.
SETTLED_NS = 2_000_000_000

#: md5 of each file by its path relative to data/, with forward slashes.
Listing = dict[str, str]


def folder_md5(listing: Mapping[str, str]) -> str:
    """DVC's md5 of a folder: that of the JSON list of its files' md5 and relative paths, by path."""
    entries = [{"md5": listing[name], "relpath": name} for name in sorted(listing)]
    text = json.dumps(entries, sort_keys=True).encode()
    return hashlib.md5(text, usedforsecurity=False).hexdigest() + ".dir"


class Record:
    """The md5 of each file beside the stat that it had, kept in the workspace between runs."""

    def __init__(self, root: Path) -> None:
        self.path = Workspace(root).root / "data.json"
        self.old: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            loaded = json.loads(self.path.read_text(encoding="utf-8"))
            self.old = loaded if isinstance(loaded, dict) else {}
        known = self.old.get("files")
        self.known: dict[str, Any] = known if isinstance(known, dict) else {}
        self.files: dict[str, list[Any]] = {}
        self.last_match: Any = self.old.get("matched")

    def __enter__(self) -> "Record":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        files = {**self.known, **self.files} if kind else self.files
        new = {"files": files, "matched": self.last_match}
        if new != self.old:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            except FileExistsError:
                raise MachineError(
                    f"{self.path.parent} is a file; results are kept in a folder of that name: move it aside"
                ) from None
            except OSError as error:
                raise MachineError(f"cannot make the folder {self.path.parent}: {error.strerror}") from None
            write_json(self.path, new)

    def md5(self, path: Path) -> str:
        """The md5 of a file, read only when its stat is not the recorded one."""
        name = str(path)
        try:
            now = _stat(path)
            known = self.known.get(name)
            if isinstance(known, list) and known[:-1] == now:
                self.files[name] = known
                return str(known[-1])
            started = time.time_ns()
            with path.open("rb") as file:
                md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
            if _stat(path) != now:
                raise DataError(f"{path} changed while it was read; run again when nothing writes to it")
        except FileNotFoundError:
            raise DataError(f"{path} vanished, or is a link to nothing; remove the link") from None
        except PermissionError:
            raise MachineError(f"{path} cannot be read: permission is denied") from None
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
        if max(now[1:3]) < started - SETTLED_NS:
            self.files[name] = [*now, md5]
        return md5

    def match(self, pointer: str, listing: Listing) -> None:
        """Remember the files of a data version, to name those that change later."""
        self.last_match = {"md5": pointer, "files": listing}

    def matched(self, pointer: str) -> Listing | None:
        """The files of data version ``pointer``, if it was the last that was seen whole."""
        known = self.last_match
        return known["files"] if isinstance(known, dict) and known.get("md5") == pointer else None


def _stat(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
