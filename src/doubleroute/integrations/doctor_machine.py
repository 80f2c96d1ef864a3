"""The machine's part of `doubleroute doctor`: Python, packages, processor, memory, disk, clock."""

import csv
import errno
import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from doubleroute import hardware

if TYPE_CHECKING:
    from packaging.requirements import Requirement

#: Below the first it cannot work, below the second it may not.
MEMORY_GIB = (1.0, 4.0)
DISK_GIB = (1.0, 5.0)
#: Why a version that pip would take does not do, by package.
REASONS = {"fastapi": "Prefect 3.8.8 does not start with fastapi 0.160 or newer"}
REINSTALL = "install with the pins: pip install -c constraints.txt -e ."


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: what was found, and what to do when it is not ok."""

    name: str
    state: Literal["ok", "warn", "fail"]
    found: str
    advice: str = ""


def examine_machine(root: Path) -> Iterator[Check]:
    """Everything that does not depend on the project, but the disk that it is on."""
    yield python()
    yield packages()
    yield processor()
    yield memory()
    yield disk(root)
    yield clock(root)


def python() -> Check:
    """The interpreter and its text encoding."""
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.getfilesystemencoding().lower() not in ("utf-8", "utf8"):
        return Check("python", "warn", f"{found}, encoding {sys.getfilesystemencoding()}", "set PYTHONUTF8=1")
    return Check("python", "ok", found)


def packages() -> Check:
    """The installed versions of its direct dependencies against what doubleroute asks of them, and their
    files against what was installed; nothing is imported."""
    wrong, odd = list[str](), list[str]()
    required = _required("doubleroute")
    for each in required:
        version = _version(each.name)
        if version is None:
            wrong.append(f"{each.name} is missing")
            continue
        if not each.specifier.contains(version, prereleases=True):
            reason = REASONS.get(each.name, f"doubleroute needs {each.specifier}")
            wrong.append(f"{each.name} is {version}: {reason}")
        damaged = _damaged(each.name)
        if damaged:
            odd.append(f"{each.name} is not as it was installed: {damaged}")
        if each.name == "torch":
            lacking = [need.name for need in _required("torch") if _version(need.name) is None]
            odd += [f"{name}, which torch asks for, is missing" for name in lacking]
    if wrong:
        return Check("packages", "fail", "; ".join(wrong + odd), REINSTALL)
    if odd:  # of no harm where somebody took out what is not used, as tests
        return Check("packages", "warn", "; ".join(odd), REINSTALL)
    shown = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers"))
    return Check("packages", "ok", f"{len(required)} direct dependencies fit, {shown}")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _required(name: str) -> "list[Requirement]":
    """What a package asks for on this machine, without its extras."""
    from packaging.requirements import Requirement

    pins = [Requirement(pin) for pin in importlib.metadata.requires(name) or []]
    return [each for each in pins if each.marker is None or each.marker.evaluate({"extra": ""})]


def _damaged(name: str) -> str | None:
    """The first file of a package that is not there or has another size than it was installed with; None
    where all are as they were, or nobody noted it."""
    distribution = importlib.metadata.distribution(name)
    root = str(distribution.locate_file(""))
    for row in csv.reader((distribution.read_text("RECORD") or "").splitlines()):
        if len(row) != 3:
            return f"{distribution.locate_file('')} has a RECORD of {name} that is cut short"
        path, _, size = row
        place = os.path.join(root, path)  # noqa: PTH118  of 25,000 files, Path would take a second
        try:
            if size.isdecimal() and os.stat(place).st_size != int(size):  # noqa: PTH116
                return f"{place} has another size"
        except OSError:
            return f"{place} is missing"
    return None


def processor() -> Check:
    """Where the model is computed, in which precision, with how many threads."""
    try:
        if hardware.has_gpu():
            import torch

            names = {torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())}
            return Check("processor", "ok", f"{torch.cuda.device_count()} x {', '.join(sorted(names))}")
        fast, threads = hardware.processor()
    except (ImportError, OSError) as error:
        return Check("processor", "fail", f"PyTorch cannot be imported: {error}", REINSTALL)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    precision = "bfloat16" if fast else "float32 (no bfloat16 in hardware)"
    found = f"CPU, {cores} cores, {threads} threads, {precision}"
    if threads > cores:
        advice = f"more threads than cores slow it down: set OMP_NUM_THREADS={cores}"
        return Check("processor", "warn", found, advice)
    return Check("processor", "ok", found)


def memory() -> Check:
    """Memory that is free, inside a container's limit."""
    free = _available_memory()
    if free is None:
        return Check("memory", "ok", "unknown on this system")
    return _measured("memory", free, MEMORY_GIB, "use a smaller training.batch_size or backbone.max_tokens")


def disk(root: Path) -> Check:
    """Free space where the project is, and whether its workspace can be written."""
    place = root if root.is_dir() else Path()
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "free some space" if full else "make the project folder writable"
        return Check("disk", "fail", f"{place.resolve()}: {error.strerror}", advice)
    free = shutil.disk_usage(place).free
    return _measured("disk", free, DISK_GIB, "remove old stages: the folders in .doubleroute/stages")


def clock(root: Path) -> Check:
    """The clock against the project's own files: one that is behind breaks TLS and schedules."""
    now = time.time()
    files = [path for path in (root / "project.yaml", Path(__file__)) if path.exists()]
    ahead = max((path.stat().st_mtime - now for path in files), default=0.0)
    found = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if ahead > 300:
        advice = "set the clock; a file of the project is from the future"
        return Check("clock", "warn", f"{found}, {ahead / 60:.0f} minutes behind", advice)
    return Check("clock", "ok", found)


def _measured(name: str, size: float, bounds: tuple[float, float], advice: str) -> Check:
    gib = size / 2**30
    least, enough = bounds
    state: Literal["ok", "warn", "fail"] = "fail" if gib < least else "warn" if gib < enough else "ok"
    return Check(name, state, f"{gib:.1f} GiB free", "" if state == "ok" else advice)


def _available_memory() -> float | None:
    """Bytes; None where the system does not say."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        free = float(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
    left = _left_in(Path("/sys/fs/cgroup"))
    return free if left is None else min(free, left)


def _left_in(group: Path) -> float | None:
    """Bytes that a cgroup (version 2) may still take; None where it has no limit or is of another kind.

    The pages of files that it read count as used, and are given back when memory is needed.
    """
    try:
        limit, used = (float((group / name).read_text()) for name in ("memory.max", "memory.current"))
        lines = (group / "memory.stat").read_text().splitlines()
        pages = dict(line.split() for line in lines)
        return limit - used + float(pages["active_file"]) + float(pages["inactive_file"])
    except (OSError, KeyError, ValueError):
        return None
