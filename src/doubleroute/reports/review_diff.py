"""What differs between two texts, word by word, and how much of it is shown."""

import re
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Literal

from doubleroute.reports.wording import shown

#: Whether a piece of text is in both, in the first alone, or in the second alone.
Mark = Literal["=", "-", "+"]
Piece = tuple[Mark, str]

# White space, one letter of a script that is written without spaces, a word, any other sign.
_WORDS = re.compile(r"\s+|[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+|[^\w\s]")
_CUT = re.compile(r"…( \(cut; [\d,]+ characters\))?$")
#: Characters of a text that are looked at, from a little before the first difference, and words of the
#: differing middle that are matched.
_READ = 5_000
_MATCHED = 1500
#: Characters that are shown: of a piece that is the same (its ends), of a changed one, of all.
_SAME, _CHANGED, _ALL = 240, 600, 1600


def marked(before: str, after: str) -> list[Piece]:
    """The pieces of both texts: those marked = and - are the first, those marked = and + the second.

    Words are matched so that most of them stay; beyond 1,500 words between the first and the last
    difference, all that lies between counts as changed.
    """
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    head = _alike(old, new)
    tail = _alike(old[head:][::-1], new[head:][::-1])
    middle = _matched(old[head : len(old) - tail], new[head : len(new) - tail])
    end = "".join(old[len(old) - tail :])
    return [*_piece("=", "".join(old[:head])), *middle, *_piece("=", end)]


def shown_difference(before: str, after: str) -> list[Piece]:
    """As ``marked``, of the texts as they are shown: safe to look at, long pieces and texts cut."""
    start = max(0, _first_difference(before, after) - _SAME)
    pieces: list[Piece] = [("=", "… ")] if start else []
    left = _ALL
    for mark, text in marked(_window(before, start), _window(after, start)):
        if left <= 0:
            return [*pieces, ("=", " …")]
        kept = _ends(text) if mark == "=" else _start(text)
        pieces.append((mark, kept))
        left -= len(kept)
    return pieces


def cut(text: str, most: int) -> str:
    """As ``shown``; of a text that was cut before, which its end tells, with the length that it had then."""
    end = _CUT.search(text[-60:])
    if len(text) <= most or not end:
        return shown(text, most)
    return shown(text[:most], most) + end.group()


def _first_difference(before: str, after: str) -> int:
    """How many characters both begin with: halved until it is found, for a text may have a million."""
    low, high = 0, min(len(before), len(after))
    while low < high:
        middle = (low + high + 1) // 2
        if before.startswith(after[low:middle], low):
            low = middle
        else:
            high = middle - 1
    return low


def _window(text: str, start: int) -> str:
    if start + _READ >= len(text):
        return cut(text[start:], _READ)
    end = _CUT.search(text[-60:])
    said = end.group() if end else f"… (cut; {len(text):,} characters)"
    return shown(text[start : start + _READ], _READ) + said


def _alike(old: Sequence[str], new: Sequence[str]) -> int:
    """How many words both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))


def _matched(old: list[str], new: list[str]) -> Iterator[Piece]:
    if not old or not new or len(old) + len(new) > _MATCHED:
        yield from _piece("-", "".join(old))
        yield from _piece("+", "".join(new))
        return
    from rapidfuzz.distance import Indel

    gone = came = ""
    for step in Indel.opcodes(old, new):
        text = "".join(old[step.src_start : step.src_end])
        if step.tag == "delete":
            gone += text
        elif step.tag == "insert":
            came += "".join(new[step.dest_start : step.dest_end])
        elif gone and came and text.isspace():  # a space between two changed words parts nothing
            gone, came = gone + text, came + text
        else:
            yield from (*_piece("-", gone), *_piece("+", came), ("=", text))
            gone = came = ""
    yield from (*_piece("-", gone), *_piece("+", came))


def _piece(mark: Mark, text: str) -> list[Piece]:
    return [(mark, text)] if text else []


def _ends(text: str) -> str:
    if len(text) <= _SAME:
        return text
    return f"{text[: _SAME // 2].rstrip()} … {text[-_SAME // 2 :].lstrip()}"


def _start(text: str) -> str:
    return text if len(text) <= _CHANGED else f"{text[:_CHANGED]}… (cut; {len(text):,} characters)"
