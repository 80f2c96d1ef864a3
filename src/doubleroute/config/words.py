"""A type annotation in words: for what an error says would be right, and for the reference."""

import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo


@dataclass(frozen=True)
class Words:
    """Put into an annotation, it says in words what a value must be, and what many of them are."""

    text: str
    plural: str = ""


def describe(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """What a value of this type looks like, to go after "must be"."""
    annotation, metadata = unwrap(annotation, metadata)
    said = [item.text for item in metadata if isinstance(item, Words)]
    if said:
        return said[-1]
    if is_union(annotation):
        options = sorted(get_args(annotation), key=lambda option: option is type(None))
        return either(dict.fromkeys(word for option in options for word in _options(option, metadata)))
    if get_origin(annotation) is Literal:
        return either(_options(annotation, metadata))
    if get_origin(annotation) is tuple:
        least = _bound(metadata, "min_length")
        return f"a list of {f'at least {least} ' if least else ''}{_plural(get_args(annotation)[0])}"
    if get_origin(annotation) is dict:
        return "a section"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"a section with the keys {listed(annotation.model_fields)}"
    if annotation is type(None):
        return "null"
    if annotation is bool:
        return "true or false"
    if annotation in (int, float):
        return _number("a whole number" if annotation is int else "a number", metadata)
    return "text"


def unwrap(annotation: Any, metadata: Sequence[Any] = ()) -> tuple[Any, list[Any]]:
    """Take Annotated[...] off a type: the bare type and all that was annotated, constraints unpacked."""
    collected = list(metadata)
    while get_origin(annotation) is Annotated:
        annotation, *extra = get_args(annotation)
        collected = [*extra, *collected]
    unpacked: list[Any] = []
    for item in collected:
        unpacked += item.metadata if isinstance(item, FieldInfo) else [item]
    return annotation, unpacked


def is_union(annotation: Any) -> bool:
    """Whether this is A | B."""
    return get_origin(annotation) in (Union, types.UnionType)


def either(options: Iterable[str]) -> str:
    """a, b or c"""
    *first, last = options
    return f"{', '.join(first)} or {last}" if first else last


def listed(names: Iterable[str]) -> str:
    """a, b, c"""
    return ", ".join(names)


def _options(branch: Any, metadata: Sequence[Any]) -> list[str]:
    """What one branch of a union allows; constraints on the union hold for the branch."""
    if get_origin(branch) is Literal:
        return [repr(value) for value in get_args(branch)]
    return [describe(branch, () if branch is type(None) else metadata)]


def _plural(item: Any) -> str:
    bare, metadata = unwrap(item)
    said = [each.plural for each in metadata if isinstance(each, Words)]
    return said[-1] if said else f"these: {describe(bare, metadata).replace(' or ', ', ')}"


def _number(noun: str, metadata: Sequence[Any]) -> str:
    ge, le, gt, lt = (_bound(metadata, name) for name in ("ge", "le", "gt", "lt"))
    if ge is not None and le is not None:
        return f"{noun} from {ge} to {le}"
    low = f"of at least {ge}" if ge is not None else f"above {gt}" if gt is not None else ""
    high = f"of at most {le}" if le is not None else f"below {lt}" if lt is not None else ""
    return " ".join(filter(None, [noun, " and ".join(filter(None, [low, high]))]))


def _bound(metadata: Sequence[Any], name: str) -> Any:
    found = [getattr(item, name) for item in metadata if getattr(item, name, None) is not None]
    return f"{found[0]:g}" if found and isinstance(found[0], float) else found[0] if found else None
