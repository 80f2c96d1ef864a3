"""How numbers and other people's texts are written in a report: one wording for every medium."""

import json
import math
import re
from typing import Any

#: What stands where a number or text is missing.
NOTHING = "–"

_BREAKS = re.compile("[ \t]*[\r\n\v\f\x85\u2028\u2029]+[ \t]*")
# Control characters, marks that turn or hide text, halves of surrogate pairs, and what XML forbids.
# The joiners U+200C and U+200D stay: Persian and many emoji need them, and they do no harm.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0e\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e0fff]"
)
# What could become markup. Brackets of an interval stay readable: they cannot begin or end a link.
_MARKDOWN = re.compile(
    r"([\\`*|~$]|\[(?![-+]?\d)|\](?=[(\[:])|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=mailto):|(?<=xmpp):|(?<=www)\.|^[#+=-])",
    re.IGNORECASE,
)


def count(value: Any) -> str:
    """A whole number with thousands separators: 12345 -> '12,345'."""
    return f"{int(value):,}" if is_number(value) else NOTHING


def number(value: Any, signed: bool = False) -> str:
    """Three decimals and thousands separators; ``signed`` writes the plus. Never '-0.000'."""
    if not is_number(value):
        return NOTHING
    text = f"{value:+,.3f}" if signed else f"{value:,.3f}"
    return text.replace("-", "+" if signed else "") if float(text.replace(",", "")) == 0 else text


def interval(score: Any, signed: bool = False) -> str:
    """'0.829 [0.803, 0.854]' of a mapping with value, low and high; without bounds the value alone."""
    text = number(score.get("value"), signed) if score else NOTHING
    bounds = bounds_of(score)
    return f"{text} {bounds}" if text != NOTHING and bounds != NOTHING else text


def bounds_of(score: Any) -> str:
    """'[0.803, 0.854]' of a mapping with low and high."""
    if not score or not (is_number(score.get("low")) and is_number(score.get("high"))):
        return NOTHING
    return f"[{number(score['low'])}, {number(score['high'])}]"


def is_number(value: Any) -> bool:
    """A finite number; null, NaN and infinity (which JSON cannot hold) are not, nor are booleans."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def shown(value: Any, limit: int = 200) -> str:
    """One line that is safe to look at, of any value: cut at ``limit`` characters with a note, line
    breaks as an arrow, and characters that hide or turn text written out, as in '‹U+202E›'."""
    text = _plain(value)
    kept = _visible(_BREAKS.sub(" ↵ ", text[:limit]).replace("\t", " ").strip())
    return kept if len(text) <= limit else f"{kept}… (cut; {len(text):,} characters)"


def shown_lines(value: str, limit: int = 50_000) -> str:
    """As ``shown``, for a text whose line breaks matter, such as a project file."""
    lines = (line.expandtabs(4).rstrip() for line in value[:limit].splitlines())
    text = "\n".join(_visible(line) for line in lines).rstrip()
    return text if len(value) <= limit else f"{text}\n… (cut; {len(value):,} characters)"


def markdown(text: str) -> str:
    """Escape a shown text for a Markdown cell or sentence: no markup, link, HTML or table border."""
    escaped = _MARKDOWN.sub(r"\\\1", text)
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def fenced(text: str) -> str:
    """A Markdown code block whose fence is longer than any run of backticks in the text."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def anchor(*words: str) -> str:
    """An id for a heading: lower-case letters, digits and hyphens of these words."""
    return re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower()).strip("-") or "section"


def _visible(text: str) -> str:
    return _HIDDEN.sub(lambda match: f"‹U+{ord(match.group()):04X}›", text)


def _plain(value: Any) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value)
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value) or NOTHING
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
