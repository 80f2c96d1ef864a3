"""The findings and the impact of a review as plain strings: the same words for every medium."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from doubleroute.reports.review_diff import Piece, cut, shown_difference
from doubleroute.reports.review_rows import label_words, place_words
from doubleroute.reports.tables import Table
from doubleroute.reports.wording import NOTHING, count, interval, is_number, shown

#: What can have happened to a row, in the order of reading.
KINDS = ("added", "removed", "duplicated", "edited", "relabelled", "moved")
#: What the verdict is called, and what it means for who merges.
VERDICTS = {
    "approve": ("Approve", "nothing that was looked for stands against merging this change of the data"),
    "look": ("Look", "a person should look at this before the change of the data is merged"),
    "block": ("Block", "the change of the data must not be merged as it is"),
}
_MOST_TEXT = 500
_SHORT = 160
#: The share of a text that the other must have too for their differences to be worth marking.
_NEAR = 0.5


@dataclass(frozen=True)
class Quote:
    """A row that a finding quotes: (where, label) of it and of the other one, if there is one; their texts
    in pieces that say what differs, and short ones, each once."""

    places: list[tuple[str, str]]
    texts: list[list[Piece]]
    short: list[str]
    note: str


@dataclass(frozen=True)
class Finding:
    """A finding in words. ``scope``: its task and split; ``acknowledged``: by whom it is excused, or ""."""

    name: str
    severity: str
    title: str
    scope: str
    count: str
    detail: str
    fix: str
    quotes: list[Quote]
    acknowledged: str


def findings(document: Mapping[str, Any]) -> list[Finding]:
    """All findings, in the order of the document."""
    kinds = {task: entry["kind"] for task, entry in document["tasks"].items()}
    return [_finding(found, kinds) for found in document["findings"]]


def _finding(found: Mapping[str, Any], kinds: Mapping[str, str]) -> Finding:
    excuse = found.get("acknowledged")
    until = f" (until {shown(excuse['until'], 40)})" if excuse and excuse.get("until") else ""
    scope = [shown(found[key], 70) for key in ("task", "split") if found.get(key)]
    return Finding(
        name=shown(found["name"], 60),
        severity=shown(found["severity"], 20),
        title=shown(found["title"], 300),
        scope=", ".join(scope),
        count=count(found["count"]),
        detail=shown(found["detail"], 1000) if found.get("detail") else "",
        fix=shown(found["fix"], 500) if found.get("fix") else "",
        quotes=[_quote(each, kinds.get(found.get("task") or "", "")) for each in found["examples"]],
        acknowledged=f"{shown(excuse.get('reason') or 'no reason given', 500)}{until}" if excuse else "",
    )


def _quote(example: Mapping[str, Any], kind: str) -> Quote:
    other = example.get("other")
    rows = [example, *([other] if other else [])]
    return Quote(
        places=[(_where(row), shown(label_words(kind, row), 200)) for row in rows],
        texts=_texts(rows),
        short=list(dict.fromkeys(cut(str(row.get("text") or ""), _SHORT) for row in rows)),
        note=shown(example["note"], 300) if example.get("note") else "",
    )


def _where(row: Mapping[str, Any]) -> str:
    split = f" ({shown(row['split'], 20)})" if row.get("split") else ""
    return f"{place_words(row)}{split}"


def _texts(rows: list[Mapping[str, Any]]) -> list[list[Piece]]:
    """The text alone where both are equal; what differs where they are near; else one after the other."""
    texts = [str(row.get("text") or "") for row in rows]
    if len(set(texts)) == 1:
        return [[("=", cut(texts[0], _MOST_TEXT))]]
    pieces = shown_difference(*texts)
    same = sum(len(text) for mark, text in pieces if mark == "=")
    if same >= _NEAR * sum(len(text) for mark, text in pieces if mark != "+"):
        return [pieces]
    return [[("=", cut(text, _MOST_TEXT))] for text in texts]


def predicted(entry: Mapping[str, Any] | None) -> str:
    """'accuracy +0.012 [0.003, 0.021], better', 'no change: why', or a dash."""
    if not entry:
        return NOTHING
    change = entry.get("difference")
    if not change or not is_number(change.get("value")):
        verdict = shown(entry.get("verdict") or "cannot tell", 20)
        return f"{verdict}: {shown(entry.get('why') or 'no reason given', 300)}"
    return f"{shown(entry['metric'], 40)} {interval(change, signed=True)}, {verdict_words(entry)}"


def verdict_words(entry: Mapping[str, Any]) -> str:
    """'worse', or 'worse by its loss' where the metric alone cannot tell."""
    alone = (entry.get("difference") or {}).get("verdict", entry["verdict"])
    return shown(entry["verdict"], 20) + ("" if alone == entry["verdict"] else " by its loss")


def impact_table(impact: Mapping[str, Any], title: str) -> Table:
    """Every task's metric with the old and the new data, their difference, and what it rests on."""
    rows = []
    for task, entry in impact.items():
        learned, loss = entry.get("learned") or {}, (entry.get("loss") or {}).get("difference")
        lower = "" if entry.get("higher_is_better", True) else " ↓"
        rows.append(
            (
                shown(task, 70),
                verdict_words(entry),
                f"{shown(entry.get('metric') or NOTHING, 40)}{lower}",
                interval(entry.get("difference"), signed=True),
                interval(loss, signed=True),
                interval(entry.get("base")),
                interval(entry.get("head")),
                count(entry.get("rows")),
                " → ".join(count(learned[side]) for side in ("base", "head")) if learned else NOTHING,
            )
        )
    header = ("task", "verdict", "metric", "change", "change in loss", "base", "head")
    note = (
        "Both versions are scored on the same held-out rows, which the change does not touch. Positive "
        "changes are better, also where lower scores or losses are. Cannot tell: zero lies in the interval."
    )
    more = ("held-out rows", "rows learned from")
    return Table(title, (*header, *more), rows, words=3, note=note)


def blame_table(blame: list[Mapping[str, Any]], title: str) -> Table:
    """Which groups of changed rows are responsible: the loss that goes away without them."""
    rows = [
        (
            f"{shown(each['by'], 40)}: {shown(each['group'], 100)}",
            shown(each["verdict"], 20),
            interval(each, signed=True),
            count(each["rows"]),
        )
        for each in blame
    ]
    note = "The loss that goes away when the group's changes are undone; positive: the group does harm."
    return Table(title, ("group", "verdict", "loss undone", "changed rows"), rows, words=2, note=note)


def totals(task: Mapping[str, Any]) -> dict[str, int]:
    """Rows of all splits by kind of change, in the order of KINDS."""
    return {kind: sum(counts.get(kind, 0) for counts in task["counts"].values()) for kind in KINDS}


def rows_words(task: Mapping[str, Any]) -> str:
    """'1,000 → 1,200' rows of all splits."""
    return " → ".join(count(sum(rows[side] for rows in task["rows"].values())) for side in ("base", "head"))


def impact_lines(document: Mapping[str, Any]) -> Iterator[str]:
    """One sentence a task on what the change will do, and on what it did when trained for real."""
    impact, full = document.get("impact") or {}, document.get("full") or {}
    for task in document["tasks"]:
        parts = [("predicted", impact.get(task)), ("trained for real", full.get(task))]
        said = [f"{name}: {predicted(entry)}" for name, entry in parts if entry]
        if said:
            yield f"{shown(task, 70)}: {'; '.join(said)}"


def seconds_words(seconds: Mapping[str, Any]) -> str:
    """'read 1.2 s, changes 0.8 s'."""
    return ", ".join(f"{shown(name, 40)} {value:,.1f} s" for name, value in seconds.items())


def version(side: Mapping[str, Any]) -> str:
    """'main (0f3c2d9a7b)', or 'topic (staged)' for what is not committed."""
    return f"{shown(side['name'], 70)} ({shown(side['commit'], 40)[:10] if side['commit'] else 'staged'})"
