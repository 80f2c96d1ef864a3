"""What the attribution of a drift says, as blocks of a report: words, lengths, segments, groups and rows."""

from collections.abc import Iterator, Mapping
from typing import Any

from doubleroute.reports import drift_figures as figures
from doubleroute.reports.evaluation import Block, Item, Items, Note
from doubleroute.reports.tables import Table
from doubleroute.reports.wording import NOTHING, count, interval, is_number, number, shown

_MOST_TEXT = 600
#: In the summary.
_MOST_VALUES = 3
_MOST_WORDS = 6


def summary(found: Mapping[str, Any]) -> list[str]:
    """What held on the other half, a short sentence each: lengths, segments, words; none where none did."""
    said = []
    lengths = found["lengths"]
    if lengths["holds"]:
        before, now = (lengths[side]["quantiles"]["50"] for side in ("reference", "current"))
        way = "longer" if lengths["longer"] > 0.5 else "shorter"
        said.append(f"texts are {way}: median {before:g} → {now:g} sub-words")
    for name, entries in found["segments"].items():
        changed = [e for e in entries if e["holds"]][:_MOST_VALUES]
        shares = (f"{shown(e['value'], 40)} {e['reference']:.1%} → {e['current']:.1%}" for e in changed)
        said += [f"{shown(name, 40)}: {', '.join(shares)}"] if changed else []
    for way, word in (("more", "came"), ("less", "went")):
        words = [shown(entry["word"], 30) for entry in found["words"][way][:_MOST_WORDS]]
        said += [f"words that {word}: {', '.join(words)}"] if words else []
    return said


def moved_blocks(found: Mapping[str, Any]) -> Iterator[Block]:
    """What could be verified on the half held out, the sentence that says how well first."""
    check = found["held_out"]
    yield Note(shown(check["said"], 1000))
    if found["projection"]["reference"] and found["projection"]["current"]:
        yield figures.projection_figure(found["projection"])
    if found["lengths"]["reference"]["mean"] is not None and found["lengths"]["current"]["mean"] is not None:
        yield figures.lengths_figure(found["lengths"])
    yield from _words(found["words"], check["auc"] is not None)
    yield from _shares(found)


def _words(words: Mapping[str, Any], checked: bool) -> Iterator[Block]:
    chosen = [*words["more"], *words["less"]]
    if not chosen:
        yield Note(
            f"No word is named: none of {count(words['candidates'])} candidates holds on the other half."
            if checked
            else "No word is named: there are too few texts to check one on."
        )
        return
    yield figures.words_figure(words)
    rows = [
        (
            shown(entry["word"], 60),
            "more" if entry["times"] > 1 else "less",
            interval({**entry, "value": entry["times"]}),
            number(entry["reference"]),
            number(entry["current"]),
            " / ".join(map(count, entry["rows"])),
            number(entry["fitted_times"]),
        )
        for entry in chosen
    ]
    header = (
        "word",
        "used",
        "times as often",
        "reference, per 1,000",
        "current",
        "rows, both",
        "where found",
    )
    note = (
        f"{count(words['candidates'])} candidates were found in one half of the texts; these hold in the "
        "other, Holm-corrected. Figures are of that other half, but for the last column."
    )
    yield Table("Words that moved", header, rows, words=2, note=note, folded=len(rows) > 12)


def _shares(found: Mapping[str, Any]) -> Iterator[Block]:
    columns = {f"By {shown(name, 60)}": entries for name, entries in found["segments"].items()}
    for title, entries in {**columns, "By file": found["files"]}.items():
        rows = [
            (
                shown(entry["value"], 80),
                "moved" if entry["holds"] else "not seen" if is_number(entry["low"]) else "cannot tell",
                *(f"{entry[s]:.1%}" if is_number(entry[s]) else NOTHING for s in ("reference", "current")),
                f"{_points(entry['low'])} to {_points(entry['high'])}"
                if is_number(entry["low"])
                else NOTHING,
                " / ".join(map(count, entry["rows"])),
            )
            for entry in entries
        ]
        header = (title[3:], "verdict", "reference", "current", "change, points", "rows, both")
        note = "Shares of all rows; the change with its simultaneous 95% interval on the half held out."
        yield Table(title, header, rows, words=2, note=note, folded=title == "By file")


def _points(change: float) -> str:
    return f"{100 * change:+.1f}"


def rows_blocks(found: Mapping[str, Any]) -> Iterator[Block]:
    """The rows most responsible, and groups of like texts whose share changed."""
    if found["responsible"]:
        items = [
            Item(
                shown(row["text"], _MOST_TEXT),
                (
                    ("score", number(row["score"])),
                    ("reference rows above", count(row["reference_above"])),
                    *([("copies", count(row["copies"]))] if row["copies"] > 1 else []),
                    ("where", shown(row["place"], 200)),
                ),
            )
            for row in found["responsible"]
        ]
        note = (
            "The current rows that look least like the reference, scored by what the other half taught: "
            "standard deviations above the mean reference row."
        )
        yield Items("The rows most responsible", items, note=note)
    for place, group in enumerate(found["clusters"], 1):
        change = f"{group['reference']:.1%} of the reference, {group['current']:.1%} of the current rows"
        bounds = f"change {_points(group['low'])} to {_points(group['high'])} points"
        items = [Item(shown(text, _MOST_TEXT), ()) for text in group["texts"]]
        yield Items(f"Group {place}: {change}", items, note=f"Like texts; {bounds}. Nearest to its centre:")
