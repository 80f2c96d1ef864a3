"""What is blotted out of texts before they are written down.

| word | what goes |
|---|---|
| mail | addresses, as in ann@example.org -> [mail] |
| card | 13 to 19 digits, whole or in groups of three or more, with a right check digit (Luhn) -> [card] |
| phone | numbers that begin with +, 00 or 0, and those of the form 555-123-4567 -> [phone] |
| re:PATTERN | every match of a regular expression -> [redacted] |
| python:MODULE:FUNCTION | what your function, text -> text, leaves out; the module lies in the project |

The built-in ones read a text in time that grows with its length alone. They find the usual forms, not all:
a name, a street or a number in words stays.
"""

import importlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from doubleroute.errors import InputError

#: text -> text.
Redactor = Callable[[str], str]
#: What is used where nothing is said.
DEFAULT = ("mail", "card", "phone")

# Possessive and bounded: no text makes them slow.
_MAIL = re.compile(r"(?<![\w.!#$%&*+/=?^`{|}~-])[\w.!#$%&*+/=?^`{|}~-]++@[\w-]++(?:\.[\w-]++)++")
_GROUPS = re.compile(r"(?<![0-9])[0-9]{3,}+(?:[ \u00a0.-][0-9]{3,}+)*+")
#: The byte of a digit -> the sum of the digits of its double.
_DOUBLED = bytes(sum(divmod(2 * (byte - 48), 10)) if 48 <= byte < 58 else 0 for byte in range(256))
_PHONE = re.compile(
    r"(?<![\w+])(?:"
    r"(?:\+|00) ?\(?\d(?:[ \u00a0()./-]{0,2}\d){6,14}"
    r"|\(?0\d(?:[ \u00a0()./-]{0,2}\d){7,11}"
    r"|\(?\d{3}\)?[ \u00a0.-]?\d{3}[ \u00a0.-]\d{4}"
    r")(?!\d)"
)


class NotRedactedError(Exception):
    """A redactor failed on a text, which therefore must not be written."""


def redactor(words: Sequence[str], home: Path | None = None) -> Redactor:
    """One function that applies these redactors in their order.

    ``home``: the folder that modules of python:MODULE:FUNCTION are looked for in first, the current one
    by default. Raises InputError for a word that is none of the table, a pattern that cannot be read, a
    module that cannot be imported, or a function that is not in it. What is given back raises
    NotRedactedError when a function of the user's raises or does not give text.
    """
    steps = [_step(word, home or Path.cwd()) for word in words]

    def redact(text: str) -> str:
        for step in steps:
            text = step(text)
        return text

    return redact


def redact_values(value: Any, redact: Redactor) -> Any:
    """A value of JSON with every text in it redacted, keys too; a number in which something is redacted
    becomes text. Raises NotRedactedError as ``redact`` does, and for a value that is nested too deep."""
    try:
        return _redacted(value, redact)
    except RecursionError as error:
        raise NotRedactedError("a value is nested too deep") from error


def _redacted(value: Any, redact: Redactor) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list | tuple):
        return [_redacted(each, redact) for each in value]
    if isinstance(value, dict):
        return {redact(str(key)): _redacted(each, redact) for key, each in value.items()}
    if value is None or isinstance(value, bool):
        return value
    said = redact(str(value))
    return value if said == str(value) else said


def _step(word: str, home: Path) -> Redactor:
    built_in = {"mail": _mail, "card": _card, "phone": _phone}
    if word in built_in:
        return built_in[word]
    kind, _, rest = word.partition(":")
    if kind == "re" and rest:
        try:
            pattern = re.compile(rest)
        except re.error as error:
            raise InputError(f"serving.redact: '{word}' is no regular expression: {error}") from None
        return lambda text: pattern.sub("[redacted]", text)
    module, _, name = rest.partition(":")
    if kind == "python" and module and name:
        return _guarded(word, _function(word, module, name, home))
    raise InputError(
        f"serving.redact: '{word}' is none of mail, card, phone, re:PATTERN, python:MODULE:FUNCTION"
    )


def _function(word: str, module: str, name: str, home: Path) -> Any:
    """The user's function. Raises InputError when it is not there."""
    sys.path.insert(0, str(home))
    try:
        found = getattr(importlib.import_module(module), name, None)
    except Exception as error:  # the user's module may raise anything
        said = f"{type(error).__name__}: {error}"
        raise InputError(f"serving.redact: '{word}' cannot be imported from {home}: {said}") from error
    finally:
        sys.path.remove(str(home))
    if not callable(found):
        raise InputError(f"serving.redact: '{word}': the module has no function '{name}'")
    return found


def _guarded(word: str, function: Any) -> Redactor:
    def redact(text: str) -> str:
        try:
            found = function(text)
        except Exception as error:  # the user's function may raise anything
            # Not the message: it may quote the text.
            raise NotRedactedError(f"{word} raised {type(error).__name__}") from error
        if not isinstance(found, str):
            raise NotRedactedError(f"{word} gave {type(found).__name__}, not str")
        return found

    return redact


def _mail(text: str) -> str:
    return _MAIL.sub("[mail]", text)


def _phone(text: str) -> str:
    return _PHONE.sub("[phone]", text)


def _card(text: str) -> str:
    return _GROUPS.sub(lambda run: _without_cards(run[0]), text)


def _without_cards(run: str) -> str:
    """A run of groups of digits without those neighbouring groups that make a card number."""
    groups = [(each.start(), each.end()) for each in re.finditer("[0-9]+", run)]
    kept, place = [], 0
    for first, end in _cards(run, groups):
        kept += [run[place:first], "[card]"]
        place = end
    return "".join([*kept, run[place:]])


def _cards(run: str, groups: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Start and end of every card number, the longest from each group on."""
    index = 0
    while index < len(groups):
        begin, digits, length, after = groups[index][0], "", 0, index
        for number in range(index, len(groups)):
            start, end = groups[number]
            if len(digits) + end - start > 19:
                break
            digits += run[start:end]
            if len(digits) >= 13 and _luhn(digits):
                length, after = end, number + 1
        if length:
            yield begin, length
        index = max(after, index + 1)


def _luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of those before it (ISO/IEC 7812-1, annex B)."""
    values = digits.encode()
    return (sum(values[::-2]) - 48 * len(values[::-2]) + sum(values[-2::-2].translate(_DOUBLED))) % 10 == 0
