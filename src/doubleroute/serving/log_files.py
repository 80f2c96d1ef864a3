"""The files of a log: one for each writing process, of bounded size and number, appended to by whole lines.

A process holds the lock of its file, which the system frees when it ends, however it ends. A file that
nobody holds is gone on with while it has room, and removed when there are too many.
"""

import errno
import fcntl
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

PATTERN = "requests-*.jsonl"


class LogFile(NamedTuple):
    """A file of a log, as it was found. ``written``: when it was last written to, seconds since 1970."""

    written: float
    path: Path
    size: int


def files_of(folder: Path) -> list[LogFile]:
    """The files of a log, the one that was written to last first. Raises OSError; no folder is no file."""
    found = []
    for path in folder.glob(PATTERN):
        try:
            about = path.stat()
        except FileNotFoundError:  # another process removed it
            continue
        found.append(LogFile(about.st_mtime, path, about.st_size))
    return sorted(found, reverse=True)


class Appender:
    """Appends lines to this process's file in ``folder``, which is made with the first of them.

    A file holds at most ``max_bytes``, or one line. Of ``files`` files the one that was written to
    longest ago goes first, but never one that a living process holds. Not for several threads at once.
    """

    def __init__(self, folder: Path, max_bytes: int, files: int) -> None:
        self.folder, self.max_bytes, self.files = folder, max_bytes, files
        self._file: int | None = None
        self._owner = 0

    def append(self, lines: list[bytes]) -> None:
        """Append lines, each with its end. Raises OSError; whole lines were written then, or none."""
        try:
            while lines:
                file, size = self._open(len(lines[0]))
                count, room = 1, self.max_bytes - size - len(lines[0])
                while count < len(lines) and len(lines[count]) <= room:
                    room -= len(lines[count])
                    count += 1
                data = b"".join(lines[:count])
                if os.write(file, data) < len(data):
                    os.ftruncate(file, size)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder))
                lines = lines[count:]
        except OSError:
            self.close()  # the next one looks at its end
            raise

    def close(self) -> None:
        """Let go of the file; the next line opens one again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self, room: int) -> tuple[int, int]:
        """This process's file with room for so many bytes, and its size."""
        if self._file is not None:
            about = os.fstat(self._file)
            fits = about.st_size == 0 or about.st_size + room <= self.max_bytes
            # After a fork it is the parent's; without a link, somebody removed it.
            if fits and self._owner == os.getpid() and about.st_nlink:
                return self._file, about.st_size
            self.close()
        self.folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        _keep_out_of_git(self.folder)
        self._owner = os.getpid()
        there = files_of(self.folder)
        for each in there:
            if each.size + room < self.max_bytes and (held := _held(each.path)) is not None:
                self._file = held
                return held, _end_last_line(held)
        for each in there[self.files - 1 :]:
            if (held := _held(each.path)) is not None:
                each.path.unlink(missing_ok=True)
                os.close(held)
        self._file = None
        while self._file is None:  # another process may take the new file before we hold it
            moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
            new = self.folder / f"requests-{moment}-{os.getpid()}.jsonl"
            # Readable by the group, never by all: these are the texts of people.
            os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640))
            self._file = _held(new)
        return self._file, 0


def _keep_out_of_git(folder: Path) -> None:
    """Let git ignore the log alone: somebody else's files may lie in the folder, with a .gitignore too."""
    ignored = folder / ".gitignore"
    if not ignored.exists():
        ignored.write_text(f"{PATTERN}\n.gitignore\n", encoding="utf-8")
        return
    there = ignored.read_bytes()
    if not {b"*", PATTERN.encode()}.intersection(line.strip() for line in there.splitlines()):
        with ignored.open("ab") as file:
            file.write((b"" if there.endswith(b"\n") or not there else b"\n") + f"{PATTERN}\n".encode())


def _held(path: Path) -> int | None:
    """The file, open and locked; None when another process holds it or it cannot be opened."""
    try:
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    if not os.fstat(file).st_nlink:  # removed between the two
        os.close(file)
        return None
    return file


def _end_last_line(file: int) -> int:
    """End the line that a kill cut; the size then."""
    size = os.fstat(file).st_size
    if size and os.pread(file, 1, size - 1) != b"\n":
        size += os.write(file, b"\n")
    return size
