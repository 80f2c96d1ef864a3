"""A data file before anything in it is understood: its bytes, its text, and what a reader makes of it."""

import difflib
import hashlib
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from doubleroute.data.encoding import decode
from doubleroute.errors import DataError

#: A larger file must be split: all of it is held in memory.
MAX_FILE_BYTES = 4 * 2**30
#: A file with more rows, or columns that decode to more bytes, is refused before it fills the memory.
MAX_ROWS = 10_000_000
MAX_DECODED_BYTES = 4 * 2**30
#: What float32, in which models learn, can hold.
LARGEST = float.fromhex("0x1.fffffep+127")
#: How much of a bad value is shown.
SHOWN = 120


@dataclass(frozen=True)
class Problem:
    """One row that is wrong. ``row`` is 1-based as in ``Table``; ``column`` is "" for the whole row."""

    row: int
    column: str
    reason: str
    value: str


@dataclass(frozen=True)
class Table:
    """What one file holds: values as written, and the rows that could not be read.

    names: every column of the file; columns: name -> one value a row, for the columns that were asked
    for and are there; rows: the number of each row in its file, 1-based (CSV, TSV, Parquet, datasets:
    the data row; JSONL: the line; CoNLL: the sentence); digest: sha256 of the bytes that were read.
    """

    path: Path
    format: str
    names: tuple[str, ...]
    columns: dict[str, list[Any]]
    rows: list[int]
    problems: list[Problem]
    digest: str

    def require(self, column: str, key: str) -> list[Any]:
        """The values of a column. Raises DataError, naming the ``key`` of project.yaml that asks for it."""
        if column not in self.names:
            has = columns_listed(self.names) or "no columns"
            hint = near(short(column), [short(name) for name in self.names])
            if not hint and self.format == "csv":
                hint = "; line 1 is read as the header: is it missing?"
            raise DataError(f"{key}: column '{column}' is not in {shown(self.path)}; it has: {has}{hint}")
        return self.columns[column]


@dataclass(frozen=True)
class Raw:
    """The bytes of one file, read once."""

    path: Path
    data: bytes
    digest: str

    def text(self) -> str:
        """The file as text, a byte order mark removed. Raises DataError when it is not UTF-8 text."""
        return decode(self.data, shown(self.path))


def read_raw(path: Path) -> Raw:
    """Read a file once. Raises DataError when it is missing, empty, too large, unreadable, or changes
    while it is read."""
    name = shown(path)
    try:
        before = path.stat()
        if before.st_size > MAX_FILE_BYTES:
            gib = MAX_FILE_BYTES // 2**30
            raise DataError(
                f"{name} has {before.st_size / 2**30:.1f} GiB; split it into files below {gib} GiB"
            )
        data = path.read_bytes()
        after = path.stat()
    except FileNotFoundError:
        raise missing(path) from None
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror or error}") from error
    changed = (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size)
    if changed or len(data) != after.st_size:
        raise DataError(f"{name} changed while it was read; run again when nothing writes to it")
    if not data.strip():
        raise DataError(f"{name} is empty; it must hold at least one row")
    return Raw(path, data, hashlib.sha256(data).hexdigest())


def missing(path: Path) -> DataError:
    """The error for a path that is not there, with what has a similar name."""
    folder = path.parent
    if not folder.is_dir():
        while not folder.is_dir():
            folder, last = folder.parent, folder
        if last.is_symlink():
            return DataError(f"{shown(path)} does not exist: {shown(last)} is a link to nothing")
        close = near(last.name, [entry.name for entry in folder.iterdir()])
        return DataError(f"{shown(path)} does not exist: there is no folder {shown(last)}{close}")
    if path.is_symlink():
        return DataError(f"{shown(path)} is a link to a file that does not exist; point it elsewhere")
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    there = f"; {shown(folder)} holds: {listed(names)}" if names else f"; {shown(folder)} is empty"
    return DataError(f"{shown(path)} does not exist{near(path.name, names) or there}")


def near(name: str, names: Iterable[str]) -> str:
    """ "; did you mean 'x'?" for the closest of ``names``, or nothing when none is close."""
    options = list(names)
    folded = {option.casefold().strip(): option for option in options}
    close = difflib.get_close_matches(name.casefold().strip(), folded, n=1)
    return f"; did you mean '{folded[close[0]]}'?" if close else ""


def listed(names: Collection[str], most: int = 12) -> str:
    """a, b, c and 4 more"""
    rest = len(names) - most
    return ", ".join(list(names)[:most]) + (f" and {rest} more" if rest > 0 else "")


def columns_listed(names: Collection[str]) -> str:
    """Names of columns for a message; quoted where blanks at an end would not be seen."""
    return listed([short(name) if name == name.strip() != "" else repr(short(name)) for name in names])


def shown(path: Path) -> str:
    """A path as a person would type it from here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def short(value: Any) -> str:
    """A value on one line, cut to what fits into a message; never a lone surrogate."""
    text = value if isinstance(value, str) else repr(value)
    text = text.encode("utf-8", "backslashreplace").decode() if not text.isascii() else text
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"
