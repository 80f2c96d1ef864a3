"""What people see of a review: one self-contained HTML page, a comment in Markdown, and the JSON.

``write_review`` takes the document that ``review.json`` holds. Every text that comes from data goes through
``wording.shown`` before it is escaped by its medium, and the page's table puts it in as text alone.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from doubleroute.reports import review_figures as figures
from doubleroute.reports.evaluation import Note, Section, page
from doubleroute.reports.review_comment import review_comment
from doubleroute.reports.review_findings import (
    KINDS,
    VERDICTS,
    Finding,
    blame_table,
    findings,
    impact_lines,
    impact_table,
    rows_words,
    seconds_words,
    totals,
    version,
)
from doubleroute.reports.review_rows import embedded, table_data
from doubleroute.reports.tables import Table
from doubleroute.reports.wording import NOTHING, anchor, count, is_number, shown
from doubleroute.workspace import write_text

#: Drawings of labels and lengths; what is beyond them stands in tables.
_MOST_DRAWN = 24
#: The intervals of labels and of groups: with 19 chances in 20 none of them is a false alarm.
_TOGETHER = "intervals that are 95% together (Holm)"


@dataclass(frozen=True)
class Part:
    """What the page shows by a part of its own template: findings, or the table of changed rows."""

    name: str
    value: Any
    kind: str = "part"


def write_review(folder: Path, document: Mapping[str, Any]) -> None:
    """Write ``review.html``, ``review.md`` and ``review.json`` into ``folder``; the same document gives the
    same bytes.

    Raises MachineError when the files cannot be written.
    """
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    # Half a surrogate pair, which a JSON file can hold, is no UTF-8: it stays escaped.
    whole = re.sub("[\ud800-\udfff]", lambda match: f"\\u{ord(match.group()):04x}", text)
    write_text(folder / "review.json", whole + "\n")
    write_text(folder / "review.html", review_page(document))
    write_text(folder / "review.md", review_comment(document, page="review.html"))


def review_page(document: Mapping[str, Any]) -> str:
    """The page. Its script is named by its digest in the page's own policy; no other runs."""
    script = (Path(__file__).parent / "review.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    word, meaning = VERDICTS[document["verdict"]["verdict"]]
    return page(
        f"{shown(document['project'], 70)}: review of a change of the data",
        [],
        sections_of(document),
        "review.html.jinja",
        word=word,
        meaning=meaning,
        tone=document["verdict"]["verdict"],
        reasons=[shown(reason, 500) for reason in document["verdict"]["reasons"]],
        about=about(document),
        script=script,
        digest=digest,
        data=embedded(table_data(document)),
    )


def review_lines(document: Mapping[str, Any]) -> list[str]:
    """The review in a few lines for a terminal: the verdict and its reasons, what changed, what was found,
    the impact."""
    word, meaning = VERDICTS[document["verdict"]["verdict"]]
    lines = [f"{word}: {meaning}", *(f"  {shown(r, 300)}" for r in document["verdict"]["reasons"])]
    for task, entry in document["tasks"].items():
        changed = [f"{count(rows)} {kind}" for kind, rows in totals(entry).items() if rows]
        said = ", ".join(changed) or "no row changed"
        lines.append(f"{shown(task, 70)}: {rows_words(entry)} rows; {said}")
    for each in findings(document):
        severity = "acknowledged" if each.acknowledged else each.severity
        of = f" in {each.scope}" if each.scope else ""
        lines.append(f"{severity}: {each.name}{of}: {each.title}")
    return [*lines, *impact_lines(document)]


def about(document: Mapping[str, Any]) -> str:
    """When, and what against what, in one line."""
    parts = [shown(document["time"], 40), f"{version(document['base'])} → {version(document['head'])}"]
    return " · ".join(parts)


def sections_of(document: Mapping[str, Any]) -> list[Section]:
    """The sections in the order of reading; those that have nothing to show are left out."""
    found = findings(document)
    sections: dict[str, list[Any]] = {
        "What changed": [_changes_table(document)] if document["tasks"] else [],
        "Impact": list(_impact(document)),
        "Findings": [Part("findings", _grouped(found))],
        "Changed rows": [Part("rows", _rows_words(document))],
        "Before and after": list(_distributions(document["tasks"])),
        "What went in": list(_went_in(document)),
    }
    return [Section(title, anchor(title), blocks) for title, blocks in sections.items() if blocks]


def _grouped(found: list[Finding]) -> dict[str, list[Finding]]:
    return {
        "open": [each for each in found if not each.acknowledged],
        "acknowledged": [each for each in found if each.acknowledged],
    }


def _rows_words(document: Mapping[str, Any]) -> dict[str, str]:
    """How many of the changed rows the page holds, and the file beside it that has all."""
    changes = document["changes"]
    file = Path(changes["file"]).name
    return {
        "shown": count(changes["shown"]),
        "total": count(changes["total"]),
        "file": shown(file, 100),
        "link": quote(file),
    }


def _changes_table(document: Mapping[str, Any]) -> Table:
    rows = []
    for task, entry in document["tasks"].items():
        for split, sizes in entry["rows"].items():
            counts = entry["counts"].get(split, {})
            sides = [count(sizes[side]) for side in ("base", "head")]
            kinds = [count(counts.get(kind, 0)) for kind in (*KINDS, "unchanged")]
            rows.append((shown(task, 70), shown(split, 20), *sides, *kinds))
    header = ("task", "split", "base", "head", *KINDS, "unchanged")
    note = "Rows. Duplicated: added, and a copy of a row that its split had already."
    renamed = [
        f"{shown(task, 70)}: {shown(old, 100)} → {shown(new, 100)}"
        for task, entry in document["tasks"].items()
        for old, new in entry["renamed"].items()
    ]
    if renamed:
        note += f" Labels that were renamed: {'; '.join(renamed[:50])}."
    return Table("Rows by kind of change", header, rows, words=2, note=note)


def _impact(document: Mapping[str, Any]) -> Iterator[Any]:
    impact, full = document.get("impact") or {}, document.get("full") or {}
    if not impact and not full:
        yield Note("The impact on the tasks' scores was not measured.")
        return
    for name, found in (("Trained for real", full), ("Predicted", impact)):
        if found:
            yield impact_table(found, f"{name}: what the change does to each task")
    for name, found in (("Trained for real", full), ("Predicted", impact)):
        yield from _impact_figures(name, found)
    for task, groups in (document.get("blame") or {}).items():
        if groups:
            yield figures.changes_figure(
                [(f"{shown(g['by'], 40)}: {shown(g['group'], 60)}", _turned(g)) for g in groups[:20]],
                f"{shown(task, 70)}: which changed rows are responsible",
                "effect on the loss; right: helps",
                lines=_TOGETHER,
            )
            yield blame_table(groups, f"{shown(task, 70)}: blame")
    for name, found in (("trained for real", full), ("predicted", impact)):
        for task, entry in found.items():
            yield Note(f"{shown(task, 70)}, {name}: {_made(entry)}.")


def _impact_figures(name: str, found: Mapping[str, Any]) -> Iterator[figures.Figure]:
    for higher, words in ((True, ""), (False, " (lower scores are better)")):
        rows = [
            (shown(task, 70), {"verdict": entry["verdict"], **(entry.get("difference") or {})})
            for task, entry in found.items()
            if entry.get("higher_is_better", True) == higher
        ]
        if rows:
            yield figures.changes_figure(rows, f"{name}: change of the metric{words}", "right: better")
    for task, entry in found.items():
        labels = [(shown(each["label"], 60), each) for each in (entry.get("labels") or [])[:20]]
        if labels:
            title = f"{name}: {shown(task, 70)} by label"
            yield figures.changes_figure(labels, title, "change of the loss; right: better", lines=_TOGETHER)


def _made(entry: Mapping[str, Any]) -> str:
    """How an impact was measured, and why it says what it says."""
    parts = [shown(entry["verdict"], 20)]
    parts += [shown(entry[key], 500) for key in ("why", "method") if entry.get(key)]
    parts += [f"{count(entry['seeds'])} seeds"] if entry.get("seeds") else []
    return "; ".join(parts)


def _turned(group: Mapping[str, Any]) -> dict[str, Any]:
    """The loss that goes away without a group, as the effect of the group: right is better, as elsewhere."""
    ends = {"value": "value", "low": "high", "high": "low"}
    turned = {to: -group[of] if is_number(group[of]) else None for to, of in ends.items()}
    return {**turned, "verdict": group["verdict"]}


def _distributions(tasks: Mapping[str, Any]) -> Iterator[Any]:
    drawn, tables = 0, []
    for task, entry in tasks.items():
        unit, name = ("words", "tag") if entry["kind"] == "tagging" else ("rows", "label")
        for split, counts in entry["label_counts"].items():
            if all(before == after for before, after in counts.values()):
                continue
            title = f"{shown(task, 70)}, {shown(split, 20)}: {unit} of each {name}"
            if drawn < _MOST_DRAWN:
                yield figures.labels_figure(counts, title, unit)
                drawn += 1
            rows = [(shown(label, 100), *map(count, sides)) for label, sides in counts.items()]
            tables.append(Table(title, (name, "base", "head"), rows, folded=True))
        for split, lengths in entry["lengths"].items():
            if lengths["base"] != lengths["head"] and len(lengths["edges"]) > 1 and drawn < _MOST_DRAWN:
                yield figures.lengths_figure(lengths, f"{shown(task, 70)}, {shown(split, 20)}: lengths")
                drawn += 1
    yield from tables


def _went_in(document: Mapping[str, Any]) -> Iterator[Any]:
    versions = [
        (side, shown(each["name"], 100), shown(each["commit"] or "staged", 60), shown(each["dvc_md5"], 60))
        for side, each in (("base", document["base"]), ("head", document["head"]))
    ]
    yield Table("Versions", ("side", "name", "commit", "md5 of the data"), versions, words=4)
    if document["files"]:
        rows = [
            (shown(f["path"], 200), shown(f["what"], 20), count(f["rows_base"]), count(f["rows_head"]))
            for f in document["files"][:1000]
        ]
        yield Table("Files", ("file", "what", "rows in base", "rows in head"), rows, words=2)
    model = shown(document.get("model") or NOTHING, 100)
    yield Note(f"Model: {model}. Seconds: {seconds_words(document['seconds']) or NOTHING}.")
