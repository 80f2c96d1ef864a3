"""Digests of what goes into a stage: values, files, our own code, and the libraries."""

import hashlib
import json
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from doubleroute.errors import DataError


def digest_of(value: Any) -> str:
    """The first 20 hex digits of the sha256 of a plain JSON value, keys sorted."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def file_digest(path: Path) -> str:
    """The sha256 of a file's bytes. Raises DataError when the file changes while it is read."""
    before = path.stat()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    after = path.stat()
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise DataError(f"{path} changed while it was read; run again when nothing writes to it")
    return digest


def file_digests(folder: Path) -> dict[str, str]:
    """{path relative to the folder: sha256} of every file, sorted, without compiled Python."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in files}


def model_digest(folder: Path) -> str:
    """A digest of the files of a saved model: the same for the same weights, config and tokenizer."""
    return digest_of(file_digests(folder))


@cache
def code_digest(*packages: str) -> str:
    """A digest of the source of these parts of doubleroute: changed code is not served old results."""
    here = Path(__file__).parent
    sha = hashlib.sha256()
    for package in sorted(packages):
        path = here / package
        files = [*path.rglob("*.py"), *path.rglob("*.jinja")] if path.is_dir() else [path.with_suffix(".py")]
        for file in sorted(files):
            sha.update(file.relative_to(here).as_posix().encode() + b"\0" + file.read_bytes())
    return sha.hexdigest()[:20]


@cache
def versions_of(*distributions: str) -> dict[str, str]:
    """The installed versions of these libraries."""
    return {name: version(name) for name in sorted(distributions)}
