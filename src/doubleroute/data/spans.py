"""Answers that stand in a context: as data files hold them, and as one text each.

An answer is written "start:text", as in "34:308": the character of the context where it begins, counted from
0, and what stands there. The label of a row is the list of its answers; an empty one says that the context
holds none.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from doubleroute.data.raw import MAX_FILE_BYTES, short

_FORMS = 'as in [{"text": "308", "start": 34}], or {"text": ["308"], "answer_start": [34]} as SQuAD has it'
#: What the place of an answer is called in files.
_STARTS = ("start", "answer_start")


class Span(NamedTuple):
    """Characters ``start`` to ``end`` (exclusive) of a context, and what stands there."""

    start: int
    end: int
    text: str


def read_answers(value: Any) -> list[str] | None:
    """A value of a data file -> its answers, each once; None for null and for an empty cell.

    A list of objects with "text" and "start" (or "answer_start"), SQuAD's object of two lists, or either as
    JSON in a text cell. Raises ValueError that says what is wrong.
    """
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError(f"is text that is no JSON; answers are JSON, {_FORMS}") from None
    if value is None or isinstance(value, str):
        return None
    if isinstance(value, Mapping):
        value = _in_objects(value)
    if not isinstance(value, list):
        raise ValueError(f"is no list of answers; write them {_FORMS}")
    return list(dict.fromkeys(_answer(number, each) for number, each in enumerate(value, start=1)))


def _in_objects(value: Mapping[str, Any]) -> list[dict[str, Any]]:
    """SQuAD's two lists as a list of objects."""
    texts, starts = value.get("text"), next((value[key] for key in _STARTS if key in value), None)
    if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
        raise ValueError(f"has not as many texts as starts of answers; write them {_FORMS}")
    return [{"text": text, "start": start} for text, start in zip(texts, starts, strict=True)]


def _answer(number: int, value: Any) -> str:
    text = value.get("text") if isinstance(value, Mapping) else None
    start = next((value[key] for key in _STARTS if key in value), None) if text is not None else None
    if not isinstance(text, str) or not isinstance(start, int | float) or isinstance(start, bool):
        raise ValueError(f"answer {number} lacks a text, or the number where it starts; write it {_FORMS}")
    if not text.strip():
        raise ValueError(f"answer {number} is empty; an empty list says that there is none")
    whole = not isinstance(start, float) or start.is_integer()
    if not whole or not 0 <= start < MAX_FILE_BYTES:
        said = short(str(start))
        raise ValueError(f"answer {number} starts at {said}, which is no character's number from 0")
    return f"{int(start)}:{text}"


def spans(label: Sequence[str]) -> list[Span]:
    """The answers of a label, in order. Raises ValueError for what is no "start:text"."""
    found = []
    for answer in label:
        start, colon, text = answer.partition(":")
        if not colon or not text or not start.isdecimal():
            raise ValueError(f"'{short(answer)}' is no answer as in 34:308, its start and its text")
        found.append(Span(int(start), int(start) + len(text), text))
    return found


def misplaced(context: str, label: Sequence[str] | None) -> str | None:
    """What is wrong with the first answer of a row that is not where it is said to be; None: they all are."""
    for number, (start, end, text) in enumerate(spans(label or ()), start=1):
        there = context[start:end]
        if there != text:
            stands = f"where '{short(there)}' stands" if there else f"which has {len(context):,}"
            places = _places(context, text)
            near = min(places, key=lambda place: abs(place - start), default=None)
            hint = "it is nowhere in it" if near is None else f"it starts at {near}"
            said = f"answer {number} '{short(text)}' is not at character {start} of the context"
            return f"{said}, {stands}; {hint}"
    return None


def _places(context: str, text: str) -> list[int]:
    found, place = [], context.find(text)
    while place >= 0:
        found.append(place)
        place = context.find(text, place + 1)
    return found
