"""What a review finds: one thing that a change of the data brought, how many rows it is, and what to do."""

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from doubleroute.config import Review
from doubleroute.config.keeping import FINDINGS, Severity
from doubleroute.data.raw import short
from doubleroute.review.rows import VersionRows

#: Labels that a title names.
NAMED = 5
#: Digests of rows that a document holds of one finding.
MOST_ROWS = 200
#: Characters of a text that a document quotes.
QUOTED = 1000
_WORST_FIRST: tuple[Severity, ...] = ("block", "look", "note")
#: Findings about the rules themselves: a change may not say how bad it is to change them.
OF_RULES = frozenset({"rules", "tasks"})


@dataclass(frozen=True)
class Finding:
    """One finding.

    ``name``: one of ``config.keeping.FINDINGS``; ``task`` and ``split``: None where it is about more than
    one; ``count``: of what ``title`` names; ``fix``: what to do; ``examples``: rows as ``quoted`` gives
    them; ``numbers``: plain JSON; ``rows``: the digests of all its rows; ``acknowledged``: the reason and
    the date until which it is accepted, and the entry of acknowledged.yaml that says so, or None.
    """

    name: str
    severity: Severity
    task: str | None
    split: str | None
    count: int
    title: str
    fix: str
    detail: str = ""
    examples: list[dict[str, Any]] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)
    rows: list[str] = field(default_factory=list)
    acknowledged: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON, with the first MOST_ROWS rows; ``write_rows`` writes all."""
        return {**asdict(self), "rows": self.rows[:MOST_ROWS]}


def write_rows(path: Path, findings: Iterable[Finding]) -> None:
    """Write the digests of all rows of each finding, one JSON object a line: {"finding", "task", "split",
    "rows"}. Those that have none are left out."""
    with path.open("w", encoding="utf-8") as file:
        for each in findings:
            if each.rows:
                line = {"finding": each.name, "task": each.task, "split": each.split, "rows": each.rows}
                file.write(json.dumps(line) + "\n")


def severity_of(name: str, review: Review, before: Review | None = None) -> Severity:
    """How bad a finding is: as the project says, else as it is by default.

    ``before``: the rules of base. By those ``rules`` and ``tasks`` are at least as bad: what a change does to
    the rules is not judged by what it makes of them alone.
    """
    sources = [review, before] if before is not None and name in OF_RULES else [review]
    return min((each.severity.get(name, FINDINGS[name]) for each in sources), key=_WORST_FIRST.index)


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """The worst first, then the most rows, then by name, task, split and title."""

    def place(each: Finding) -> tuple[Any, ...]:
        worst = _WORST_FIRST.index(each.severity)
        return worst, -each.count, each.name, each.task or "", each.split or "", each.title

    return sorted(findings, key=place)


def row_digest(task: str, text: str, pair: str | None, label: Any) -> str:
    """What names a row in acknowledged.yaml, wherever it stands: "r" and 32 bits of XXH3 of its task, texts
    and label in hexadecimal. The letter keeps YAML from reading a number."""
    import xxhash

    said = json.dumps([task, text, pair, label], ensure_ascii=True)
    return f"r{xxhash.xxh3_64_intdigest(said.encode()) & 0xFFFFFFFF:08x}"


def digests(task: str, side: VersionRows, rows: Iterable[int]) -> list[str]:
    """The digests of these rows of one version, in their order."""
    return [row_digest(task, side.texts[row], side.pairs[row], side.labels[row]) for row in rows]


def quoted(
    side: VersionRows, row: int, other: tuple[VersionRows, int] | None = None, note: str = ""
) -> dict[str, Any]:
    """A row as a finding quotes it, beside the ``other`` one that it is about: {"file", "row", "split",
    "text", "label", "other", "note"}. Both texts of a pair stand in one, " | " between them."""
    beside = None if other is None else _row(*other)
    return {**_row(side, row), "other": beside, "note": note}


def _row(side: VersionRows, row: int) -> dict[str, Any]:
    pair = side.pairs[row]
    return {
        "file": side.files[row],
        "row": side.numbers[row],
        "split": side.splits[row],
        "text": side.texts[row] if pair is None else f"{side.texts[row]} | {pair}",
        "label": side.labels[row],
    }


def publishable(finding: Finding, redact: Callable[[str], str]) -> Finding:
    """The finding with its quoted texts blotted out by ``redact`` and then cut at QUOTED characters: a
    review is read by more people than the data."""

    def clean(text: str) -> str:
        text = redact(text)
        return text if len(text) <= QUOTED else text[:QUOTED] + "…"

    def row(each: Mapping[str, Any]) -> dict[str, Any]:
        found = {**each, "text": clean(each["text"])}
        found |= {"note": clean(each["note"])} if "note" in each else {}
        return found | ({"other": row(each["other"])} if each.get("other") else {})

    return replace(finding, detail=redact(finding.detail), examples=[row(each) for each in finding.examples])


#: What of a document is no text of anybody's: places, names of ours, digests.
_OURS = frozenset(
    {"file", "split", "task", "name", "severity", "rows", "kinds", "kind", "verdict", "metric", "until"}
)
#: Whose keys are labels, and how many levels of keys of ours stand above these.
_OF_LABELS = {"labels": 0, "renamed": 0, "label_counts": 1}


def public(value: Any, redact: Callable[[str], str], labels_below: int | None = None) -> Any:
    """A part of a document with every text of the data redacted, labels and names of groups too.
    ``labels_below``: how many levels of keys of ours stand above labels that are keys; None: there are none.
    Of labels that are redacted alike each stays, numbered."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        found: dict[Any, Any] = {}
        for key, each in value.items():
            if labels_below == 0:
                found[_apart(redact(key), found)] = public(each, redact)
            elif key in _OURS:
                found[key] = each
            else:
                below = None if labels_below is None else labels_below - 1
                if key in _OF_LABELS and not (isinstance(each, dict) and each.keys() == {"base", "head"}):
                    below = _OF_LABELS[key]
                found[key] = public(each, redact, below)
        return found
    return [public(each, redact) for each in value] if isinstance(value, list | tuple) else value


def _apart(key: str, others: Mapping[Any, Any]) -> str:
    """The key, with a number where it is there already."""
    numbers = itertools.count(2)
    found = key
    while found in others:
        found = f"{key} ({next(numbers)})"
    return found


def counted(count: int, noun: str) -> str:
    """ "1 row", "2,000 rows"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def where(places: Iterable[str], most: int = 3) -> str:
    """Names of files for a sentence, each once: "a.csv, b.csv and 2 more"."""
    names = list(dict.fromkeys(places))
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def named(labels: Sequence[str], said: Mapping[str, str]) -> str:
    """Labels for a title, each with what is ``said`` of it: "'a' (2 rows), 'b' (1 row) and 3 more"."""
    shown = [f"'{short(label)}' ({said[label]})" for label in labels[:NAMED]]
    rest = len(labels) - NAMED
    return ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")
