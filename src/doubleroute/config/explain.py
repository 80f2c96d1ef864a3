"""pydantic's errors -> mistakes that name the key, say what is wrong, and what would be right."""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError

from doubleroute.config.models import AcrossSections, Project
from doubleroute.config.words import describe, either, is_union, listed, unwrap
from doubleroute.config.yaml_file import KeyPath, Mistake, Notes, dotted

#: What YAML 1.1 took for booleans and YAML 1.2 takes for text.
OLD_BOOLEANS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


@dataclass(frozen=True)
class Place:
    """Where an error is: its key, the type that belongs there, and the section around it."""

    key: KeyPath
    annotation: Any
    metadata: list[Any]
    section: type[BaseModel]

    @property
    def expected(self) -> str:
        return describe(self.annotation, self.metadata)


def explain(error: ValidationError, notes: Notes) -> list[Mistake]:
    """All mistakes behind a validation error, one for each key."""
    found: dict[KeyPath, str] = {}
    general: set[KeyPath] = set()
    for item in error.errors(include_url=False):
        across = item.get("ctx", {}).get("error")
        if isinstance(across, AcrossSections):
            found |= dict(across.mistakes)
            continue
        place = locate(tuple(item["loc"]))
        key, message = place.key, _special(dict(item), place)
        if message is None:
            message = _must_be(item["input"], place, notes)
            general.add(key)
        elif item["type"].startswith("union_tag"):
            key = (*key, "kind")
        found.setdefault(key, message)
    # A list is not wrong for being short when its items are wrong, nor a union's other branch.
    hidden = {
        key for key in general if any(len(key) < len(other) and other[: len(key)] == key for other in found)
    }
    return [Mistake(notes.line(key), dotted(key), found[key]) for key in found if key not in hidden]


def locate(location: KeyPath) -> Place:
    """Follow a pydantic location through the models, leaving out the parts that name union branches."""
    key: list[str | int] = []
    annotation, metadata, section = (*unwrap(Project), Project)
    for part in location:
        if part == "[key]":
            annotation, metadata = unwrap(_KEY_TYPE)
            break
        branches = get_args(annotation) if is_union(annotation) else (annotation,)
        step = _step(part, branches)
        if step is None:
            continue
        if isinstance(step, type):  # a branch of a discriminated union
            annotation, metadata = step, []
            continue
        (annotation, metadata), section = step[0], step[1] or section
        key.append(part)
    return Place(tuple(key), annotation, metadata, section)


_KEY_TYPE = get_args(Project.model_fields["tasks"].annotation)[0]


def _step(part: str | int, branches: Iterable[Any]) -> Any:
    """One part of a location: (type and metadata, section), a chosen branch, or None for no step."""
    models: list[type[BaseModel]] = []
    for branch in branches:
        bare, _ = unwrap(branch)
        if get_origin(bare) is tuple and isinstance(part, int):
            return unwrap(get_args(bare)[0]), None
        if get_origin(bare) is dict and not str(part).startswith(("dict[", "literal[")):
            return unwrap(get_args(bare)[1]), None  # and not a branch of a union beside the section
        if isinstance(bare, type) and issubclass(bare, BaseModel):
            models.append(bare)
    if len(models) > 1:
        return next((model for model in models if part in _tags(model)), None)
    if models:
        field = models[0].model_fields.get(str(part))
        return (unwrap(field.annotation, field.metadata) if field else (None, [])), models[0]
    return None


def _special(item: dict[str, Any], place: Place) -> str | None:
    """The message for an error that is about more than a value's type or range."""
    kind, value = item["type"], item.get("input")
    if kind == "extra_forbidden":
        return _unknown_key(place)
    if kind == "missing":
        return f"is missing; it must be {place.expected}"
    if kind == "value_error":
        return str(item["ctx"]["error"])
    if "[key]" in item["loc"]:
        return f"a task's name must be {place.expected}{_would_do(str(value), '_')}"
    if kind == "model_attributes_type":
        names = [tag for model in get_args(place.annotation) for tag in _tags(model)]
        what = f"must be a section with 'kind': {either(map(repr, names))}"
        return f"{what}; write {{kind: {value}}}" if value in names else f"{what}{_close(value, names)}"
    if kind.startswith("union_tag"):
        names = [tag for model in get_args(place.annotation) for tag in _tags(model)]
        given = value.get("kind") if isinstance(value, dict) else None
        if kind == "union_tag_not_found":
            return f"is missing; it must be {either(map(repr, names))}"
        return f"must be {either(map(repr, names))}, not {given!r}{_close(given, names)}"
    return None


def _must_be(value: Any, place: Place, notes: Notes) -> str:
    """ "must be X, not Y", with what to write where that can be guessed."""
    bare, expected = place.annotation, place.expected
    written = notes.written.get(place.key)
    if value is None:
        return f"must be {expected}, but nothing is given"
    if isinstance(value, dict | tuple):
        wrong = "a section" if isinstance(value, dict) else "a list"
        counted = f"{wrong} of {len(value)}" if _takes_list(bare) else wrong
        return f"must be {expected}, not {counted if value else wrong.replace('a ', 'an empty ')}"
    if not isinstance(value, str):
        text = _takes_text(bare)
        shown = written if written is not None else str(value)
        return f"must be {expected}, not {shown}" + (
            f'; text is written in quotes: "{shown}"' if text else ""
        )
    if bare is bool and value.lower() in OLD_BOOLEANS:
        return f"must be true or false, not {value!r}; write {OLD_BOOLEANS[value.lower()]}"
    if written is None and bare in (int, float) and re.fullmatch(r"[-+.\deE]+", value):
        return f"must be {expected}, not the text {value!r}; leave the quotes away"
    if bare is str and value:
        return f"must be {expected}, not {value!r}{_would_do(value, '-')}"
    return f"must be {expected}, not {value!r}{_close(value, _literals(bare))}"


def _unknown_key(place: Place) -> str:
    """Which known key was meant, or which section knows this one."""
    name, known = str(place.key[-1]), list(place.section.model_fields)
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"unknown key; did you mean '{close[0]}'?"
    homes = [path for path, model in _sections(Project, "") if name in model.model_fields]
    elsewhere = f"; '{name}' belongs into {either(homes)}" if homes else ""
    return f"unknown key; known here: {listed(known)}{elsewhere}"


def _sections(model: type[BaseModel], path: str) -> Iterable[tuple[str, type[BaseModel]]]:
    """Every section below a model, with the way to it in words."""
    if path:
        yield path, model
    for name, field in model.model_fields.items():
        bare, _ = unwrap(field.annotation)
        inner = get_args(bare)[1] if get_origin(bare) is dict else bare
        step = f"{name}.NAME" if get_origin(bare) is dict else name
        for branch in get_args(inner) if is_union(inner) else (inner,):
            if isinstance(branch, type) and issubclass(branch, BaseModel):
                tags = _tags(branch) if is_union(inner) else ()
                kind = f" of kind {tags[0]}" if tags else ""
                yield from _sections(branch, (f"{path}.{step}" if path else step) + kind)


def _tags(model: type[BaseModel]) -> tuple[str, ...]:
    kind = model.model_fields.get("kind")
    return tuple(str(value) for value in get_args(kind.annotation)) if kind else ()


def _takes_list(annotation: Any) -> bool:
    branches = get_args(annotation) if is_union(annotation) else (annotation,)
    return any(get_origin(unwrap(branch)[0]) is tuple for branch in branches)


def _takes_text(annotation: Any) -> bool:
    branches = get_args(annotation) if is_union(annotation) else (annotation,)
    return any(unwrap(branch)[0] is str for branch in branches)


def _literals(annotation: Any) -> list[str]:
    branches = get_args(annotation) if is_union(annotation) else (annotation,)
    return [str(value) for branch in branches if get_origin(branch) is Literal for value in get_args(branch)]


def _close(value: Any, options: list[str]) -> str:
    close = difflib.get_close_matches(str(value), options, n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _would_do(value: str, joiner: str) -> str:
    """A name like this one that keeps the rules of names, as a suggestion; for one that keeps them, and is
    wrong for another reason, none."""
    name = (
        re.sub(r"[^a-z0-9]+", joiner, value.lower())
        .strip(joiner)[:63]
        .lstrip("0123456789" if joiner == "_" else "")
    ).strip(joiner)
    return f"; '{name}' would do" if name not in ("", value) else ""
