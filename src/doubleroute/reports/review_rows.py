"""The changed rows of a review as the page's table takes them: safe, cut, and with differences marked."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from doubleroute.reports.review_diff import Piece, cut, shown_difference
from doubleroute.reports.wording import NOTHING, number, shown

_MOST_TEXT = 1000
_MOST_LABEL = 300
_MOST_LABELS = 300
#: Tags that say that a token belongs to nothing.
_OUTSIDE = {"O", None, ""}


def table_data(document: Mapping[str, Any]) -> dict[str, Any]:
    """{"tasks", "splits", "kinds", "labels": what occurs, for the filters; "rows"}.

    A row: {"task", "splits", "kinds", "near" (the similarity, or ""), "texts": pieces of each text,
    "label": pieces, "labels": those that it is found by, "places": where it stands in base and head}.
    At most 300 labels, the commonest, can be filtered by.
    """
    kinds = {task: entry["kind"] for task, entry in document["tasks"].items()}
    rows = [_row(change, kinds.get(change["task"], "")) for change in document["changes"]["rows"]]
    common = Counter(label for row in rows for label in row["labels"])
    return {
        "tasks": _occurring(row["task"] for row in rows),
        "splits": _occurring(split for row in rows for split in row["splits"]),
        "kinds": _occurring(kind for row in rows for kind in row["kinds"]),
        "labels": sorted(label for label, _ in common.most_common(_MOST_LABELS)),
        "rows": rows,
    }


def embedded(value: Any) -> str:
    """JSON that is safe inside an element ``script``: nothing in it can end it or open a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def label_words(kind: str, row: Mapping[str, Any]) -> str:
    """A row's label in words; of a tagged text the tokens that have a tag, 'London: B-place'."""
    label = row["label"]
    if kind == "tagging" and isinstance(label, list):
        tokens = str(row.get("text") or "").split(" ")
        if len(tokens) == len(label):
            named = [
                f"{token}: {tag}" for token, tag in zip(tokens, label, strict=True) if tag not in _OUTSIDE
            ]
            return ", ".join(named) or "no tag"
    return NOTHING if label is None else _plain(label)


def place_words(row: Mapping[str, Any]) -> str:
    """'data/train.jsonl row 12, key a7'."""
    key = f", key {shown(row['key'], 60)}" if row.get("key") is not None else ""
    return f"{shown(row['file'], 200)} row {row['row']}{key}"


def difference(before: Any, after: Any, most: int = _MOST_TEXT) -> list[Piece]:
    """The pieces of two texts, or of the one that is there."""
    if before is None or after is None or before == after:
        text = after if before is None else before
        return [("=", cut("" if text is None else str(text), most))]
    return shown_difference(str(before), str(after))


def _row(change: Mapping[str, Any], kind: str) -> dict[str, Any]:
    sides = [change[side] for side in ("base", "head") if change[side]]
    base, head = change["base"], change["head"]
    texts = [
        difference(base and base["text"], head and head["text"]),
        *(
            [difference(base and base["pair"], head and head["pair"])]
            if any(side.get("pair") for side in sides)
            else []
        ),
    ]
    old, new = (label_words(kind, side) if side else None for side in (base, head))
    near = change.get("similarity")
    return {
        "task": change["task"],
        "splits": _occurring(side["split"] for side in sides),
        "kinds": list(change["kinds"]),
        "near": number(near) if near is not None and near < 1 else "",
        "texts": texts,
        "label": _label_pieces(old, new, whole=kind != "tagging"),
        "labels": _occurring(label for side in sides for label in _labels(side["label"])),
        "places": _occurring(place_words(side) for side in sides),
    }


def _label_pieces(before: str | None, after: str | None, whole: bool) -> list[Piece]:
    """Two labels: one instead of the other; lists of tags word by word."""
    if before is None or after is None or before == after or not whole:
        return difference(before, after, _MOST_LABEL)
    return [("-", shown(before, _MOST_LABEL)), ("=", " → "), ("+", shown(after, _MOST_LABEL))]


def _labels(label: Any) -> list[str]:
    """What a row is found by: words, and no numbers."""
    if isinstance(label, str):
        return [shown(label, _MOST_LABEL)]
    if isinstance(label, list):
        return [shown(each, _MOST_LABEL) for each in label if isinstance(each, str) and each not in _OUTSIDE]
    return []


def _plain(label: Any) -> str:
    return label if isinstance(label, str) else shown(label, 20_000)


def _occurring(values: Iterable[str]) -> list[str]:
    """Each once, in the order of their first coming."""
    return list(dict.fromkeys(values))
