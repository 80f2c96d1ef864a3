"""The language of texts, as shares of classes of characters: scripts, case, digits, punctuation."""

import unicodedata
from collections.abc import Sequence

import numpy as np

#: Characters of a text that its language is judged by, and texts looked at in one go.
CHARACTERS, TEXTS = 1000, 2000
#: Classes of characters that are counted apart; the rarer ones are "other".
CLASSES = 12
#: Classes of what is no letter, by the first letter of the Unicode category.
_KINDS = {"N": "digits", "P": "punctuation", "S": "symbols", "Z": "spaces", "C": "control", "M": "marks"}


def character_shares(groups: Sequence[Sequence[str]]) -> tuple[list[str], list[np.ndarray]]:
    """Shares of classes of characters in groups of texts: the classes' names [k] and [texts, k] each.

    Letters are told apart by script and case ("latin", "latin capitals", "cyrillic", "cjk", ...), all
    else by its Unicode category; Latin letters beyond ASCII are "latin accented". The CLASSES most common
    ones are kept, the rest is "other". The first CHARACTERS characters of a text count; an empty text has
    0 everywhere.
    """
    table = np.zeros(0x110000, np.int16)  # class of a code point + 1; 0: not looked up yet
    index: dict[str, int] = {}
    counted = []
    for texts in groups:
        rows: list[np.ndarray] = [np.zeros((0, 0))]
        for first in range(0, len(texts), TEXTS):
            cut = [text[:CHARACTERS] for text in texts[first : first + TEXTS]]
            codes = np.frombuffer("".join(cut).encode("utf-32-le", "surrogatepass"), np.uint32)
            for code in np.flatnonzero(np.bincount(codes, minlength=len(table)) * (table == 0)).tolist():
                table[code] = index.setdefault(_class_of(chr(code)), len(index)) + 1
            owner = np.repeat(np.arange(len(cut)), [len(text) for text in cut])
            flat = np.bincount(owner * len(index) + table[codes] - 1, minlength=len(cut) * len(index))
            rows.append(flat.reshape(len(cut), len(index)))
        counted.append(rows)
    whole = [
        np.concatenate([np.pad(part, ((0, 0), (0, len(index) - part.shape[1]))) for part in rows])
        for rows in counted
    ]
    return _most_common(list(index), whole)


def _most_common(names: list[str], counts: list[np.ndarray]) -> tuple[list[str], list[np.ndarray]]:
    """Counts [texts, classes] -> shares of the CLASSES most common ones and of the others."""
    order = np.argsort(-sum(part.sum(0) for part in counts), kind="stable")
    kept, others = order[:CLASSES], order[CLASSES:]
    found = []
    for part in counts:
        columns = [part[:, kept]] + ([part[:, others].sum(1, keepdims=True)] if len(others) else [])
        found.append(np.concatenate(columns, 1) / np.maximum(part.sum(1, keepdims=True), 1))
    return [names[place] for place in kept] + ["other"] * bool(len(others)), found


def _class_of(character: str) -> str:
    """The class of one character."""
    category = unicodedata.category(character)
    if category[0] != "L":
        return _KINDS.get(category[0], "other")
    script = unicodedata.name(character, "OTHER").split()[0].lower()
    if script == "latin" and not character.isascii():
        return "latin accented"
    return f"{script} capitals" if category == "Lu" else script
