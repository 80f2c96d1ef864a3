"""A review as a comment on a pull request: Markdown, the verdict first, details folded, never too long.

Other people's texts stand in code spans or are escaped, and nothing in them becomes a mention, a reference,
a link or an image on GitHub or GitLab.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import dropwhile
from typing import Any

from doubleroute.reports.markdown import markdown_table
from doubleroute.reports.review_findings import (
    KINDS,
    VERDICTS,
    Finding,
    Quote,
    blame_table,
    findings,
    impact_table,
    predicted,
    rows_words,
    seconds_words,
    totals,
    version,
)
from doubleroute.reports.tables import Table
from doubleroute.reports.wording import NOTHING, count, markdown, shown

#: GitHub refuses comments of more than 65,536 characters.
MOST = 60_000
_SIGNS = {"approve": "✅", "look": "🔎", "block": "⛔"}
# What GitHub and GitLab would turn into a person, an issue, a merge request, a snippet, a label, a commit,
# an emoji or a mail address. Escapes do not stop them; a space of no width after the mark does.
_LIVE = re.compile(r"([@#!$%&~^])(?=[\w\"'])|(\bGH-)(?=\d)|(:)(?=[\w+-]+:)|([0-9a-f]{6})(?=[0-9a-f])", re.I)
_GAP = "\u200b"


@dataclass(frozen=True)
class _Size:
    """How much of each is told; what is left out is counted."""

    examples: int = 3
    findings: int = 200
    tasks: int = 100
    words: int = 400
    folded: bool = True


# From the whole to what always fits: examples go first.
_SIZES = [_Size(examples) for examples in (3, 2, 1, 0)]
_SIZES += [replace(_SIZES[-1], findings=60, tasks=40), replace(_SIZES[-1], findings=30, tasks=20, words=200)]
_SIZES += [_Size(0, 10, 10, 60, folded=False)]


def marker(project: str) -> str:
    """The comment's first line, by which it is found again; readers do not see it."""
    name = re.sub(r"[^\w.]+", "-", project)[:80]
    return f"<!-- doubleroute review: {name} -->"


def review_comment(document: Mapping[str, Any], page: str = "") -> str:
    """The whole comment, at most 60,000 characters; examples are cut first.

    ``page``: where the page is, a file beside the comment or an address, told where things were left out.
    """
    found = findings(document)
    for size in _SIZES:
        text = "\n".join(_lines(document, found, size, page)) + "\n"
        if len(text) <= MOST:
            return text
    return text[: MOST - 1].rpartition("\n")[0] + "\n"


def safe(text: str) -> str:
    """A shown text as a part of a Markdown sentence or cell that stays what it is."""
    gaps = _LIVE.sub(lambda match: f"{match.group()}{_GAP}", text)
    return markdown(gaps).replace(_GAP, "&#8203;")


def code(text: str) -> str:
    """A shown text as a code span, whose fence is longer than any run of backticks in it."""
    runs = {len(run) for run in re.findall("`+", text)}
    fence = "`" * next(length for length in range(1, len(runs) + 2) if length not in runs)
    room = " " if text.startswith(("`", " ")) or text.endswith(("`", " ")) else ""
    return f"{fence}{room}{text or NOTHING}{room}{fence}"


def _lines(document: Mapping[str, Any], found: list[Finding], size: _Size, page: str) -> Iterator[str]:
    verdict = document["verdict"]
    word, meaning = VERDICTS[verdict["verdict"]]
    yield marker(document["project"])
    yield f"## {_SIGNS[verdict['verdict']]} {word}: {meaning}"
    yield ""
    yield f"Data of {safe(shown(document['project'], 70))}: {_sides(document)}"
    yield ""
    yield from _some([f"- {safe(shown(reason, size.words))}" for reason in verdict["reasons"]], 10, "reasons")
    if document["tasks"]:
        yield from _tasks(document, size)
    yield from _findings(found, size, page)
    if size.folded:
        yield from _details(document, size)
    yield ""
    where = f" The page with every example and the changed rows: {_link(page)}." if page else ""
    yield f"<sub>{count(document['changes']['total'])} changed rows.{where}</sub>"


def _sides(document: Mapping[str, Any]) -> str:
    return " → ".join(code(version(document[side])) for side in ("base", "head"))


def _link(page: str) -> str:
    return f"<{page}>" if page.startswith("https://") and re.fullmatch(r"[!-;=?-~]+", page) else code(page)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def _some(lines: Sequence[str], most: int, what: str) -> Iterator[str]:
    yield from lines[:most]
    if len(lines) > most:
        yield f"- … and {count(len(lines) - most)} more {what}"


def _tasks(document: Mapping[str, Any], size: _Size) -> Iterator[str]:
    impact, full = document.get("impact") or {}, document.get("full") or {}
    header = ("task", "rows", *KINDS, "predicted change", *(["trained for real"] if full else []))
    yield ""
    yield f"| {' | '.join(header)} |"
    yield f"| --- | {'---: | ' * (1 + len(KINDS))}{'--- |' * (2 if full else 1)}"
    tasks = list(document["tasks"].items())
    for task, entry in tasks[: size.tasks]:
        changed = [f"**{count(rows)}**" if rows else "0" for rows in totals(entry).values()]
        change = [
            _cut(predicted(part.get(task)), size.words) for part in ([impact, full] if full else [impact])
        ]
        cells = [safe(shown(task, 70)), rows_words(entry), *changed, *map(safe, change)]
        yield f"| {' | '.join(cells)} |"
    if len(tasks) > size.tasks:
        yield ""
        yield f"… and {count(len(tasks) - size.tasks)} more tasks"


def _findings(found: list[Finding], size: _Size, page: str) -> Iterator[str]:
    loud = [each for each in found if not each.acknowledged and each.severity != "note"]
    quiet = [each for each in found if not each.acknowledged and each.severity == "note"]
    excused = [each for each in found if each.acknowledged]
    yield ""
    yield f"### Findings: {count(len(loud))}" if loud else "No finding blocks this or asks for a look."
    for each in loud[: size.findings]:
        yield from _finding(each, size)
    left = max(0, len(loud) - size.findings)
    for title, group in (("Notes", quiet), ("Acknowledged", excused)):
        if group and size.folded:
            yield from _folded(f"{title}: {count(len(group))}", _group(group, size))
        elif group:
            left += len(group)
        left += max(0, len(group) - size.findings) if size.folded else 0
    examples = sum(max(0, len(each.quotes) - size.examples) for each in found)
    said = [f"{count(left)} more findings"] if left else []
    said += [f"{count(examples)} more examples"] if examples else []
    if said:
        yield ""
        yield f"Left out here: {' and '.join(said)}{f'; see {_link(page)}' if page else ''}."


def _group(group: list[Finding], size: _Size) -> Iterator[str]:
    for each in group[: size.findings]:
        yield from _finding(each, size)


def _finding(each: Finding, size: _Size) -> Iterator[str]:
    scope = f", {each.scope}" if each.scope else ""
    yield ""
    facts = f"({safe(each.name)}, count {each.count}{safe(scope)})"
    # One line: GitHub breaks comments where the source does, GitLab does not.
    parts = [f"**{each.severity}: {safe(_cut(each.title, size.words))}** {facts}"]
    if size.folded:
        said = (("", each.detail), ("Fix: ", each.fix), ("Acknowledged: ", each.acknowledged))
        parts += [f"{name}{safe(_cut(text, size.words))}" for name, text in said if text]
    yield "<br>".join(parts)
    if each.quotes[: size.examples]:
        yield ""
    for quote in each.quotes[: size.examples]:
        yield from _quote(quote)


def _quote(quote: Quote) -> Iterator[str]:
    """Where the row is and its label, the text, and the same of the row that it stands against."""
    places = " against ".join(f"{code(where)} {code(label)}" for where, label in quote.places)
    note = f": {safe(quote.note)}" if quote.note else ""
    yield "<br>".join([f"- {places}{note}", *map(code, quote.short)])


def _details(document: Mapping[str, Any], size: _Size) -> Iterator[str]:
    full, impact = document.get("full") or {}, document.get("impact") or {}
    for title, found in (("Trained for real", full), ("Predicted change", impact)):
        if found:
            kept = dict(list(found.items())[: size.tasks])
            tables = [_table(impact_table(kept, "")), *_by_label(kept)]
            yield from _folded(f"{title} in numbers", iter("\n\n".join(tables).split("\n")))
    blame = [
        _table(blame_table(groups[:10], f"{shown(task, 70)}"))
        for task, groups in list((document.get("blame") or {}).items())[: size.tasks]
        if groups
    ]
    if blame:
        yield from _folded("Which changed rows are responsible", iter("\n\n".join(blame).split("\n")))
    files = [file for file in document["files"] if file["what"] != "same"][:30]
    if files:
        rows = [
            (shown(f["path"], 100), f["what"], count(f["rows_base"]), count(f["rows_head"])) for f in files
        ]
        table = Table("", ("file", "what", "base", "head"), rows, words=2)
        yield from _folded("What went in", iter([*_table(table).split("\n"), "", _seconds(document)]))


def _by_label(found: Mapping[str, Any]) -> Iterator[str]:
    """The labels whose loss certainly changed."""
    for task, entry in found.items():
        sure = [each for each in entry.get("labels") or [] if each["verdict"] in ("better", "worse")][:10]
        if sure:
            said = (f"{shown(each['label'], 60)} {each['verdict']}" for each in sure)
            yield f"{safe(shown(task, 70))}, by label: {safe('; '.join(said))}"


def _table(table: Table) -> str:
    gaps = [
        tuple(_LIVE.sub(lambda match: f"{match.group()}{_GAP}", cell) for cell in row) for row in table.rows
    ]
    text = markdown_table(replace(table, rows=gaps)).replace(_GAP, "&#8203;")
    return "\n\n".join(part for part in (safe(table.title), text, markdown(table.note)) if part)


def _seconds(document: Mapping[str, Any]) -> str:
    sides = (f"{side} {code(shown(document[side]['dvc_md5'], 60))}" for side in ("base", "head"))
    return f"{' · '.join(sides)} · seconds: {safe(seconds_words(document['seconds']))}"


def _folded(title: str, lines: Iterator[str]) -> Iterator[str]:
    yield ""
    yield f"<details><summary>{title}</summary>"
    yield ""
    yield from dropwhile(lambda line: not line, lines)
    yield ""
    yield "</details>"
