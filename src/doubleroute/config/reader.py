"""project.yaml -> Project. Every mistake in one error, each with key path, line and a suggestion."""

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from doubleroute.config.models import Project
from doubleroute.errors import ConfigError

KeyPath = tuple[str | int, ...]


class Mistake(NamedTuple):
    """One thing that is wrong with a project file."""

    line: int | None
    key: str
    message: str

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        return f"{where}{self.key}: {self.message}" if self.key else f"{where}{self.message}"


def load_project(root: Path, overrides: Sequence[str] = (), file: str = "project.yaml") -> Project:
    """Read ``root/project.yaml`` as YAML 1.2, apply ``key.path=value`` overrides, and check everything.

    Raises ConfigError with every mistake that was found.
    """
    path = root / file
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"{path} does not exist; `doubleroute init DATA_FILE` writes one, --project names another folder"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from None
    data, lines, mistakes = _parse(text, path)
    for override in overrides:
        mistakes += _override(data, override)
    return _check(data, lines, mistakes, path, root)


def json_schema() -> str:
    """The JSON Schema of project.yaml, for editors."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Project.model_json_schema()}
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def _parse(text: str, path: Path) -> tuple[dict[str, Any], dict[KeyPath, int], list[Mistake]]:
    yaml = YAML(typ="safe", pure=True)
    yaml.allow_duplicate_keys = True
    try:
        node = yaml.compose(StringIO(text))
        data = YAML(typ="safe", pure=True) if node is None else yaml.load(StringIO(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{path}{where}: not valid YAML: {error.problem or error.context}") from None
    except YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: the file must hold keys such as `name:`, `backbone:`, `tasks:`")
    lines: dict[KeyPath, int] = {}
    mistakes: list[Mistake] = []
    _walk(node, (), lines, mistakes)
    return _with_tuples(data), lines, mistakes


def _walk(node: Node, path: KeyPath, lines: dict[KeyPath, int], mistakes: list[Mistake]) -> None:
    """Note the line of every key and every key that stands twice in one mapping."""
    if isinstance(node, MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, ScalarNode) else str(key.value)
            line = key.start_mark.line + 1
            here = (*path, name)
            if name in seen:
                message = f"stands twice, first in line {seen[name]}; keep one"
                mistakes.append(Mistake(line, _dotted(here), message))
            seen.setdefault(name, line)
            lines[here] = line
            _walk(value, here, lines, mistakes)
    elif isinstance(node, SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*path, index)] = value.start_mark.line + 1
            _walk(value, (*path, index), lines, mistakes)


def _with_tuples(value: Any) -> Any:
    """Lists become tuples, which is what strict frozen models take."""
    if isinstance(value, dict):
        return {key: _with_tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_with_tuples(item) for item in value)
    return value


def _override(data: dict[str, Any], override: str) -> list[Mistake]:
    key, equals, text = override.partition("=")
    if not equals or not key:
        return [Mistake(None, f"--set {override}", "write KEY.PATH=VALUE, as in training.epochs=1")]
    try:
        value = _with_tuples(YAML(typ="safe", pure=True).load(StringIO(text)))
    except YAMLError:
        return [Mistake(None, f"--set {key}", f"'{text}' is not a YAML value")]
    *parents, last = key.split(".")
    place: Any = data
    for parent in parents:
        if isinstance(place, dict) and parent not in place:
            place[parent] = {}
        place = place.get(parent) if isinstance(place, dict) else None
    if not isinstance(place, dict):
        return [Mistake(None, f"--set {key}", f"'{'.'.join(parents)}' is not a section of project.yaml")]
    place[last] = value
    return []


def _check(
    data: dict[str, Any], lines: Mapping[KeyPath, int], mistakes: list[Mistake], path: Path, root: Path
) -> Project:
    project: Project | None = None
    try:
        project = Project.model_validate(data)
    except ValidationError as error:
        mistakes += [_mistake(dict(item), lines) for item in error.errors(include_url=False)]
    if mistakes or project is None:
        unique = sorted(set(mistakes), key=lambda mistake: (mistake.line or 0, mistake.key))
        listed = "\n".join(f"  {mistake}" for mistake in unique)
        count = "1 mistake" if len(unique) == 1 else f"{len(unique)} mistakes"
        raise ConfigError(f"{path} has {count}:\n{listed}")
    project._root = root.resolve()
    return project


def _mistake(item: dict[str, Any], lines: Mapping[KeyPath, int]) -> Mistake:
    location = tuple(item["loc"])
    model, key = _resolve(location)
    line = next((lines[key[:n]] for n in range(len(key), 0, -1) if key[:n] in lines), None)
    return Mistake(line, _dotted(key), _explain(item, model, key))


def _explain(item: dict[str, Any], model: type[BaseModel] | None, key: KeyPath) -> str:
    """What is wrong and what would be right, from pydantic's error ``item`` at ``key``."""
    kind, value = item["type"], item.get("input")
    if kind == "extra_forbidden":
        known = list(model.model_fields) if model else []
        close = difflib.get_close_matches(str(key[-1]), known, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else f"; known here: {', '.join(known)}"
        return f"unknown key{hint}"
    if kind == "missing":
        return "is missing"
    if kind in ("literal_error", "union_tag_invalid"):
        ctx = item["ctx"]
        expected = str(ctx.get("expected") or ctx.get("expected_tags"))
        options = [word.strip(" '") for word in expected.replace(" or ", ", ").split(",")]
        shown = value.get("kind") if isinstance(value, dict) else value
        close = difflib.get_close_matches(str(shown), options, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        return f"{shown!r} is not one of {', '.join(options)}{hint}"
    message = str(item["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    if kind == "string_type" and isinstance(value, bool | int | float):
        return (
            f'must be text; write it in quotes: "{str(value).lower() if isinstance(value, bool) else value}"'
        )
    if kind in ("bool_type", "bool_parsing"):
        return f"must be true or false, not {value!r}"
    if isinstance(value, dict | tuple) or kind == "value_error":
        return message
    return f"{message}, not {value!r}"


def _resolve(location: KeyPath) -> tuple[type[BaseModel] | None, KeyPath]:
    """The model that holds the last key of a pydantic location, and the location without the parts
    that pydantic adds for union branches and dictionary keys."""
    model: type[BaseModel] | None = Project
    key: list[str | int] = []
    candidates: list[Any] = [Project]
    for part in location:
        if part == "[key]":
            continue
        models = [each for each in candidates if isinstance(each, type) and issubclass(each, BaseModel)]
        fields = {name: info for each in models for name, info in each.model_fields.items()}
        if part in fields:
            model, candidates = models[0], list(_types(fields[str(part)].annotation))
        elif isinstance(part, str) and _is_branch(part, candidates):
            candidates = [each for each in models if part in _tags(each)] or candidates
            continue
        elif dict in candidates:
            candidates = [each for each in candidates if each is not dict]
        elif models and isinstance(part, str):
            model, candidates = models[0], []
        key.append(part)
    return model, tuple(key)


def _types(annotation: Any) -> Iterable[Any]:
    """All classes inside a type annotation."""
    arguments = get_args(annotation)
    origin = getattr(annotation, "__origin__", None)
    if origin is dict:
        yield dict
    if not arguments:
        yield annotation
    for argument in arguments:
        yield from _types(argument)


def _tags(model: type[BaseModel]) -> tuple[str, ...]:
    kind = model.model_fields.get("kind")
    return tuple(str(value) for value in get_args(kind.annotation)) if kind else ()


def _is_branch(part: str, candidates: list[Any]) -> bool:
    """Whether pydantic put ``part`` into a location to name a branch of a union."""
    models = [each for each in candidates if isinstance(each, type) and issubclass(each, BaseModel)]
    if any(part in _tags(each) for each in models) and len(models) > 1:
        return True
    return part in ("str", "int", "float", "constrained-int") or "[" in part


def _dotted(key: KeyPath) -> str:
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
