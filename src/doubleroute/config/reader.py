"""project.yaml -> Project. Every mistake in one error, each with key path, line and a suggestion."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from doubleroute.config.explain import explain
from doubleroute.config.models import Project
from doubleroute.config.yaml_file import KeyPath, Mistake, Notes, Unreadable, dotted, parse
from doubleroute.errors import ConfigError


def load_project(
    root: Path, overrides: Sequence[str] = (), file: str = "project.yaml", option: str = "--set"
) -> Project:
    """Read ``root/project.yaml`` as YAML 1.2, apply ``key.path=value`` overrides, and check everything.

    ``option``: what brought the overrides, for errors. Raises ConfigError with every mistake that was found.
    """
    path = root / file
    notes = Notes()
    try:
        data = parse(_text(path, root), notes)
    except Unreadable as error:
        raise ConfigError(f"{path}: {error}") from None
    if not isinstance(data, dict):
        what = "is empty" if data is None else "is not a set of keys"
        raise ConfigError(f"{path} {what}; it must hold the keys name, backbone and tasks")
    for override in overrides:
        _override(data, override, notes)
    return _check(data, notes, path, root, option)


def check_folder(root: Path) -> None:
    """Raises ConfigError when the folder of a project is missing or is a file."""
    if not root.exists():
        raise ConfigError(f"the project folder {root} does not exist")
    if not root.is_dir():
        raise ConfigError(f"--project {root} is a file; name the folder that holds project.yaml")


def _text(path: Path, root: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        check_folder(root)
        if path.is_symlink():
            raise ConfigError(f"{path} is a link to a file that does not exist; point it elsewhere") from None
        raise ConfigError(
            f"{path} does not exist; `doubleroute init DATA_FILE` writes one, --project names another folder"
        ) from None
    except UnicodeDecodeError as error:
        if error.object.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise ConfigError(f"{path} is UTF-16, not UTF-8; save the file as UTF-8") from None
        line = error.object.count(b"\n", 0, error.start) + 1
        byte = f"byte 0x{error.object[error.start]:02x} is not UTF-8"
        raise ConfigError(f"{path}: line {line}: {byte}; save the file as UTF-8") from None
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder; it must be a file: move the folder aside") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None


def _override(data: dict[str, Any], override: str, notes: Notes) -> None:
    """Put the value of KEY.PATH=VALUE into ``data``; what is wrong with it goes into ``notes``."""
    name, equals, text = override.partition("=")
    if not equals or not all(name.split(".")):
        message = f"'{override}' is not KEY.PATH=VALUE, as in training.epochs=1"
        notes.mistakes.append(Mistake(None, "", message))
        return
    key: KeyPath = tuple(name.split("."))
    for known in [each for each in notes.lines if each[: len(key)] == key]:
        notes.lines.pop(known)
        notes.written.pop(known, None)
        notes.numbers.pop(known, None)
    notes.mistakes = [each for each in notes.mistakes if each.key != name]
    try:
        value = parse(text, notes, at=key, in_file=False)
    except Unreadable as error:
        notes.mistakes.append(Mistake(None, name, f"'{text}' is {error}"))
        return
    notes.lines.setdefault(key, None)
    place: Any = data
    for depth, parent in enumerate(key[:-1], start=1):
        if isinstance(place, dict) and parent not in place:
            place[parent] = {}
            notes.lines[key[:depth]] = None
        place = place.get(parent) if isinstance(place, dict) else None
    if not isinstance(place, dict):
        message = f"'{dotted(key[:-1])}' is not a section of project.yaml"
        notes.mistakes.append(Mistake(None, name, message))
        return
    place[str(key[-1])] = value


def _check(data: dict[str, Any], notes: Notes, path: Path, root: Path, option: str) -> Project:
    project: Project | None = None
    mistakes = list(notes.mistakes)
    try:
        project = Project.model_validate(data)
    except ValidationError as error:
        mistakes += explain(error, notes)
    explained = {mistake.key for mistake in mistakes}
    mistakes += [each for each in notes.numbers.values() if each.key not in explained]
    if mistakes or project is None:
        unique = sorted(set(mistakes), key=lambda mistake: (mistake.line or 0, mistake.key))
        count = "1 mistake" if len(unique) == 1 else f"{len(unique)} mistakes"
        raise ConfigError("\n".join([f"{path} has {count}:", *(f"  {each.said(option)}" for each in unique)]))
    project._root = root.resolve()
    return project
