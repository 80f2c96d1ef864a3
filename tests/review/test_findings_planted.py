"""Faults planted into a copy of banking77: each is found and counted, and the good rows raise nothing.

What the data had before (its own copies and near copies) is no finding.
"""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from doubleroute.config import Review
from doubleroute.review.alike import near_copies
from doubleroute.review.changes import compare
from doubleroute.review.finders import row_findings
from doubleroute.review.findings import Finding
from doubleroute.review.rows import VersionRows, version_rows
from doubleroute.review.versions import Versions

BANKING = Path(__file__).parents[2].parent / "shared" / "data" / "banking77"
REVIEW = Review()
Rows = list[tuple[str, str]]

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not BANKING.is_dir(), reason="needs ../shared/data/banking77"),
]


def read(split: str) -> Rows:
    lines = (BANKING / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [(row["text"], row["label"]) for row in map(json.loads, lines)]


def version(train: Rows, test: Rows) -> VersionRows:
    def rows(found: Rows, split: str) -> dict[str, Any]:
        return {
            "file": [f"data/{split}.jsonl"] * len(found),
            "row": list(range(1, len(found) + 1)),
            "text": [text for text, _ in found],
            "label": [label for _, label in found],
        }

    return version_rows("classification", {"train": rows(train, "train"), "test": rows(test, "test")})


def found(base: VersionRows, head: VersionRows) -> dict[tuple[str, str | None], Finding]:
    versions = Versions("intent", base, head, compare(base, head, REVIEW.near))
    return {(each.name, each.split): each for each in row_findings([versions], {}, 2, REVIEW)}


def lonely(rows: Rows) -> list[int]:
    """Rows without a copy or a near copy in the list."""
    texts = [" ".join(text.casefold().split()) for text, _ in rows]
    times = Counter(texts)
    pairs = near_copies(texts, REVIEW.near)
    near = {*pairs.texts.tolist(), *pairs.others.tolist()}
    return [row for row, text in enumerate(texts) if times[text] == 1 and row not in near]


def test_planted_faults_are_counted_and_good_rows_raise_nothing() -> None:
    rng = random.Random(5)
    train, test = read("train"), read("test")
    rng.shuffle(train)
    single = lonely(train + test)
    fresh = set(rng.sample([row for row in single if row < len(train)], 200))
    good = [train[row] for row in sorted(fresh)]
    picked = [train[row] for row in single if row < len(train) and row not in fresh]
    picked = rng.sample([row for row in picked if len(row[0]) > 40], 76)
    leaked = rng.sample([test[row - len(train)] for row in single if row >= len(train)], 40)
    train = [each for row, each in enumerate(train) if row not in fresh]
    base = version(train, test)
    assert set(found(base, version(train[::-1], test))) == set()
    assert set(found(base, version(good + train, test))) == set()

    labels = sorted({label for _, label in train})
    flipped, moved = set(picked[45:75]), picked[75]

    def other(label: str) -> str:
        return rng.choice([each for each in labels if each not in (label, "card_arrival")])

    def renamed(rows: Rows) -> Rows:
        return [(text, "card_is_late" if label == "card_arrival" else label) for text, label in rows]

    head = [(row[0], other(row[1])) if row in flipped else row for row in train if row != moved]
    head += good + leaked
    head += [(f"{text} please", label) for text, label in picked[:25]]
    head += [(text.upper(), other(label)) for text, label in picked[25:45]]
    findings = found(base, version(renamed(head), renamed([*test, moved])))
    assert {place: each.count for place, each in findings.items()} == {
        ("leak", "train"): 40,
        ("near-duplicate", "train"): 25,
        ("conflict", "train"): 20,
        ("renamed-label", None): 1,
        ("held-out", "test"): 1,
    }
    assert findings["held-out", "test"].numbers == {"moved in": 1}
