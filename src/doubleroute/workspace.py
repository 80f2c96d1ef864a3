"""Content-addressed stages: the only code that names paths of results and writes them.

A stage is one folder, ``<project>/.doubleroute/stages/<name>-<digest>``, whose digest is made of all
that went into it: digests of its inputs, its part of the project, the code and the libraries that make
it. It is built beside its place, its manifest is written last, and it is renamed into place. So what is
there is whole, what is whole is never built again, and a killed run goes on where it was. Two runs that
want the same stage wait for each other at a lock that the system frees when a process dies.
"""

import errno
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any

import filelock

from doubleroute.digests import digest_of, file_digest
from doubleroute.errors import MachineError

#: What numpy says, without a number, when a disk takes no more of an array.
_CUT = re.compile(r"\d+ requested and \d+ written")
MANIFEST = "manifest.json"
#: Seconds after its last use in which a stage or a copy of a model is never removed.
_IN_USE = 86400
#: Locks of commands that read stages for as long as they take, which may be longer than that.
_READERS = ("compare", "replay")
#: What nobody comes back for after this many days: half-written files, large states and checkpoints of other
#: settings.
_FORGOTTEN = {".*": 1, "registry/.*": 1, "partial/activations-*": 7, "partial/*": 30}


@dataclass(frozen=True)
class Stage:
    """One whole result on disk. ``reused`` says whether it was there before this run."""

    name: str
    digest: str
    path: Path
    reused: bool

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What went in (``inputs``) and the sha256 and size of every file (``files``), read once."""
        manifest: dict[str, Any] = json.loads((self.path / MANIFEST).read_text(encoding="utf-8"))
        return manifest


class Workspace:
    """The folder that holds a project's stages."""

    def __init__(self, root: Path) -> None:
        self.root = root / ".doubleroute"
        self.stages = self.root / "stages"

    def build(
        self,
        name: str,
        inputs: Mapping[str, Any],
        make: Callable[[Path], None],
        linked: Stage | None = None,
    ) -> Stage:
        """Give the stage of these inputs, calling ``make(folder)`` only if it is not there yet.

        ``make`` fills an empty folder. ``inputs`` is plain JSON. Files that are links to those of the same
        path in the stage ``linked`` are not read for their digests again. A stage whose files are not those
        of its manifest is damaged: it is deleted and built again. Raises MachineError when the disk is full
        or not writable; nothing half-written is left in either case.
        """
        digest = digest_of({"stage": name, **inputs})
        place = self.stages / f"{name}-{digest}"
        with self.lock(f"{name}-{digest}"):
            found = self.find(name, inputs)
            if found is not None:
                return found
            shutil.rmtree(place, ignore_errors=True)
            with _disk_errors(self.root):
                self.stages.mkdir(parents=True, exist_ok=True)
                self._sweep(f"{name}-{digest}")
                beside = Path(tempfile.mkdtemp(prefix=f".{name}-{digest}-", dir=self.stages))
                try:
                    make(beside)
                    manifest = {
                        "name": name,
                        "digest": digest,
                        "inputs": dict(inputs),
                        "files": _files(beside, linked),
                    }
                    write_json(beside / MANIFEST, manifest)
                    beside.chmod(0o755)
                    beside.rename(place)
                finally:
                    shutil.rmtree(beside, ignore_errors=True)
        return Stage(name, digest, place, reused=False)

    def _sweep(self, own: str) -> None:
        """Remove what killed builds left beside their places: a folder whose lock nobody holds. The
        caller holds the lock ``own``."""
        for leftover in self.stages.glob(".*-*-*"):
            place = leftover.name[1:].rpartition("-")[0]
            if place == own:
                shutil.rmtree(leftover, ignore_errors=True)
                continue
            lock = filelock.FileLock(self.root / "locks" / f"{place}.lock")
            with suppress(filelock.Timeout), lock.acquire(timeout=0):
                shutil.rmtree(leftover, ignore_errors=True)

    def find(self, name: str, inputs: Mapping[str, Any]) -> Stage | None:
        """The stage of these inputs if it is there and whole."""
        digest = digest_of({"stage": name, **inputs})
        place = self.stages / f"{name}-{digest}"
        if not _is_whole(place):
            return None
        found = Stage(name, digest, place, reused=True)
        self.use(found)
        return found

    def use(self, stage: Stage) -> None:
        """Note that a stage is used now, as ``find`` does: what is used longest ago goes first."""
        # It was trimmed or merged meanwhile, which whoever reads it will see; or who reads may not write.
        with suppress(OSError):
            os.utime(stage.path)

    def all(self, name: str) -> list[Stage]:
        """Every whole stage of this name, the one used last first. Looking is no use: see ``use``. Their
        manifests are known, also of those that another run removes meanwhile."""
        found: list[tuple[float, Stage]] = []
        for path in self.stages.glob(f"{name}-*"):
            stage = Stage(name, path.name.rpartition("-")[2], path, reused=True)
            with suppress(FileNotFoundError):
                if _is_whole(path) and stage.manifest:
                    found.append((path.stat().st_mtime, stage))
        return [stage for _, stage in sorted(found, key=itemgetter(0), reverse=True)]

    @contextmanager
    def bounded(
        self, most: float, tell: Callable[[list[str]], None], others: Sequence[str] = ()
    ) -> Iterator[None]:
        """``trim`` to ``most`` bytes when the block ends well, without what was used in it; ``tell`` the
        names of what was removed, if anything was. Copies of models go as ``_drop_copies`` says. Nothing goes
        as long as a comparison or a replay is under way, or somebody holds one of the locks ``others``."""
        since = time.time()
        yield
        if any(self.holder(name) for name in (*_READERS, *others)):
            return
        self._drop_copies()
        removed = self.trim(most, since)
        if removed:
            tell(removed)

    def _drop_copies(self) -> None:
        """Remove copies of a server's models, and of files that a run logged, that nobody used within
        _IN_USE: they are fetched again when they are wanted. A training uses the champion's and those of
        its own version."""
        for path in (self.root / "registry").glob("[!.]*"):
            with suppress(FileNotFoundError):  # damaged, and another run fetches it anew
                used = path.stat().st_mtime
                if used < time.time() - _IN_USE:
                    self._remove(path, f"registry-{path.name}", used)

    def trim(self, most: float, since: float) -> list[str]:
        """Remove whole stages, the one used longest ago first, until all together have at most ``most``
        bytes; give their folders' names.

        Stages used at the time ``since`` (seconds since 1970) or later stay, those that somebody builds, and
        whatever was used within _IN_USE: a command that reads it may still be under way.
        """
        stages = []
        for path in self.stages.glob("[!.]*-*"):
            with suppress(OSError):  # another run removes it
                size = sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
                stages.append((path.stat().st_mtime, path, size))
        left, removed = sum(size for *_, size in stages), []
        since = min(since, time.time() - _IN_USE)
        for used, path, size in sorted(stages):
            if left <= most or used >= since:
                break
            if self._remove(path, path.name, used):
                removed.append(path.name)
                left -= size
        return removed

    def _remove(self, path: Path, lock_name: str, used: float) -> bool:
        """Remove a file or folder that was used at this time last (seconds since 1970), unless somebody holds
        its lock or has found it since; whether it went."""
        lock = filelock.FileLock(self.root / "locks" / f"{lock_name}.lock")
        with suppress(filelock.Timeout, FileNotFoundError), lock.acquire(timeout=0):  # another removes it
            if path.stat().st_mtime != used:
                return False
            beside = path.with_name(f".{path.name}-trimmed")  # what is half gone has no whole one's name
            path.rename(beside)
            shutil.rmtree(beside, ignore_errors=True) if beside.is_dir() else beside.unlink()
            return True
        return False

    def partial(self, name: str, inputs: Mapping[str, Any]) -> Path:
        """A folder for the checkpoints of a stage that is being built; it outlives a kill.

        Whoever makes the stage removes it when the stage is whole.
        """
        path = self.root / "partial" / f"{name}-{digest_of({'stage': name, **inputs})}"
        with _disk_errors(self.root):
            path.mkdir(parents=True, exist_ok=True)
        return path

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Let temporary files of this process and its children lie in the workspace: what a kill leaves
        there is removed by the next run. The caller holds a lock."""
        folder = self.root / "scratch"
        shutil.rmtree(folder, ignore_errors=True)
        for pattern, days in _FORGOTTEN.items():
            for path in self.root.glob(pattern):
                with suppress(FileNotFoundError):
                    if path.name != ".gitignore" and time.time() - path.stat().st_mtime > days * 86400:
                        shutil.rmtree(path) if path.is_dir() else path.unlink()
        with _disk_errors(self.root):
            folder.mkdir(parents=True)
        before, variable = tempfile.tempdir, os.environ.get("TMPDIR")
        tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
        try:
            yield folder
        finally:
            tempfile.tempdir = before
            if variable is None:
                del os.environ["TMPDIR"]
            else:
                os.environ["TMPDIR"] = variable
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def lock(self, name: str, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold the project-wide lock ``name``; free again when the process ends, however it ends.

        ``waiting`` is called once when somebody else holds it; what it raises gives up the waiting.
        """
        with _disk_errors(self.root):
            (self.root / "locks").mkdir(parents=True, exist_ok=True)
            keep_out_of_git(self.root)
            lock = filelock.FileLock(self.root / "locks" / f"{name}.lock")
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                waiting()
                lock.acquire()
        holder = self._holder(name)
        about = {"pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())}
        try:
            write_json(holder, {**about, "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200]})
            yield
        finally:
            holder.unlink(missing_ok=True)
            lock.release()

    def holder(self, name: str) -> str | None:
        """Who holds the lock ``name`` now, in words; None when nobody does."""
        lock = filelock.FileLock(self.root / "locks" / f"{name}.lock")
        try:
            with lock.acquire(timeout=0):
                return None
        except filelock.Timeout:
            pass
        except OSError:
            return None  # there is no such folder, and so no lock
        try:
            about = json.loads(self._holder(name).read_text(encoding="utf-8"))
            return f"process {about['pid']} since {about['since']} ({about['command']})"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"

    def _holder(self, name: str) -> Path:
        return self.root / "locks" / f"{name}.json"


def write_json(path: Path, value: Any) -> None:
    """Write a JSON document whole or not at all."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def keep_out_of_git(folder: Path) -> None:
    """Let git ignore what is in a folder, so that `git add .` takes no model along. A .gitignore that is
    there stays."""
    if not (folder / ".gitignore").exists():
        write_text(folder / ".gitignore", "*\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file beside its place, flush it to the disk, and rename it."""
    with _disk_errors(path.parent):
        handle, beside = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            Path(beside).chmod(0o666 & ~umask)
            Path(beside).replace(path)
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise


def _files(folder: Path, linked: Stage | None) -> dict[str, dict[str, Any]]:
    """The manifest's entries of the files in a folder, by their paths in it."""
    known: Mapping[str, dict[str, Any]] = linked.manifest["files"] if linked else {}
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if linked and name in known and path.samefile(linked.path / name):
            found[name] = known[name]
        else:
            found[name] = {"sha256": file_digest(path), "size": path.stat().st_size}
    return found


def _is_whole(folder: Path) -> bool:
    """Every file of the manifest is there in its size. Contents are trusted: the digest was taken when
    the stage was built; a change of the same length is found by ``doubleroute doctor``."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        return bool(files) and all(
            (folder / name).stat().st_size == entry["size"] for name, entry in files.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False  # a manifest or a file that is missing, cut or not of its form


@contextmanager
def _disk_errors(place: Path) -> Iterator[None]:
    """Turn a full or read-only disk into an error that says so."""
    try:
        yield
    except OSError as error:
        reasons = {
            errno.ENOSPC: "no space is left on the disk; free some, or remove old results there",
            errno.EDQUOT: "the disk quota is used up",
            errno.EROFS: "the file system is read-only",
            errno.EACCES: "permission is denied",
            errno.EFBIG: "the file would be larger than the system allows",
            errno.EEXIST: "a file stands where a folder must be; move it aside",
            errno.ENOTDIR: "a file stands where a folder must be; move it aside",
        }
        if error.errno is None and _CUT.fullmatch(str(error)):
            error.errno = errno.ENOSPC
        if error.errno in reasons:
            raise MachineError(f"cannot write {error.filename or place}: {reasons[error.errno]}") from error
        raise
