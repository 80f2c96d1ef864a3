"""What a change does to the labels of a task: new, gone, renamed, and out of balance.

Labels of tagging are the types of its entities; regression and span have none.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from doubleroute.config import NAMELESS, Review
from doubleroute.data.checks import classes, label_counts
from doubleroute.data.raw import near, short
from doubleroute.review.findings import (
    NAMED,
    Finding,
    counted,
    digests,
    named,
    quoted,
    severity_of,
    where,
)
from doubleroute.review.rows import VersionRows
from doubleroute.review.versions import Versions

#: So many times less of the rarest label for the commonest is a finding.
WORSE = 2.0


def label_findings(versions: Versions, min_rows: int, review: Review) -> list[Finding]:
    """The findings ``new-label``, ``vanished-label``, ``renamed-label`` and ``imbalance`` of a task.

    A renaming is no new label and no vanished one. ``min_rows``: validation.min_rows_per_class. The count is
    of labels; those of rows that validation refuses are not counted.
    """
    if versions.head.kind in NAMELESS:
        return []
    renamed = versions.renamed
    base, there = _rows_of(versions.base), _rows_of(versions.head)
    head = _rows_of(versions.head, versions.refused) if versions.refused else there
    new = {label: rows for label, rows in head.items() if label not in base}
    new = {label: rows for label, rows in new.items() if label not in renamed.values()}
    # A label that only refused rows have is not gone: they are to be mended.
    gone = {label: rows for label, rows in base.items() if label not in there and label not in renamed}
    found = [_new(versions, new, sorted(base), review)] if new else []
    found += [_gone(versions, gone, review)] if gone else []
    found += (
        [_renamed(versions, {old: head.get(now, []) for old, now in renamed.items()}, review)]
        if renamed
        else []
    )
    return found + _imbalance(versions, gone, min_rows, review)


def _rows_of(side: VersionRows, without: frozenset[tuple[str, int]] = frozenset()) -> dict[str, list[int]]:
    """The rows that have each label, those ``without`` aside."""
    found: dict[str, list[int]] = {}
    for row, label in enumerate(side.labels):
        if label is not None and (not without or (side.files[row], side.numbers[row]) not in without):
            for name in classes(label, side.kind):
                found.setdefault(name, []).append(row)
    return found


def _new(versions: Versions, new: Mapping[str, list[int]], known: list[str], review: Review) -> Finding:
    head, labels = versions.head, sorted(new, key=lambda label: (-len(new[label]), label))
    rows = list(dict.fromkeys(row for label in labels for row in new[label]))
    # Finding the label that was meant takes long among thousands: only for those that the title names.
    hints = [f"'{short(label)}'{hint}" for label in labels[:NAMED] if (hint := near(label, known))]
    return Finding(
        "new-label",
        severity_of("new-label", review),
        versions.task,
        None,
        len(labels),
        f"{counted(len(labels), 'new label')}: "
        + named(labels, {label: counted(len(each), "row") for label, each in new.items()}),
        f"if it is meant, see that train and test both have rows of it; if not, correct it in "
        f"{where(head.files[row] for row in rows)}",
        "\n".join(hints),
        examples=[quoted(head, new[label][0]) for label in labels[: review.examples]],
        numbers={"labels": {label: len(new[label]) for label in labels}},
        rows=digests(versions.task, head, rows),
    )


def _gone(versions: Versions, gone: Mapping[str, list[int]], review: Review) -> Finding:
    base, labels = versions.base, sorted(gone, key=lambda label: (-len(gone[label]), label))
    rows = list(dict.fromkeys(row for label in labels for row in gone[label]))
    said = {label: f"{counted(len(each), 'row')} before" for label, each in gone.items()}
    return Finding(
        "vanished-label",
        severity_of("vanished-label", review),
        versions.task,
        None,
        len(labels),
        f"{counted(len(labels), 'label')} gone: {named(labels, said)}",
        "the next model cannot answer it: tell those who use it, or bring its rows back into "
        f"{where(base.files[row] for row in rows)}",
        examples=[
            quoted(base, gone[label][0], note="in the old version") for label in labels[: review.examples]
        ],
        numbers={"labels": {label: len(gone[label]) for label in labels}},
        rows=digests(versions.task, base, rows),
    )


def _renamed(versions: Versions, renamed: Mapping[str, list[int]], review: Review) -> Finding:
    """renamed: the rows of head that have the new name, by the old one."""
    head, names = versions.head, versions.renamed
    labels = sorted(renamed, key=lambda label: (-len(renamed[label]), label))
    rows = list(dict.fromkeys(row for label in labels for row in renamed[label]))
    said = {label: f"now '{short(names[label])}', {counted(len(renamed[label]), 'row')}" for label in labels}
    quotes = [(label, renamed[label][0]) for label in labels[: review.examples] if renamed[label]]
    return Finding(
        "renamed-label",
        severity_of("renamed-label", review),
        versions.task,
        None,
        len(labels),
        f"{counted(len(labels), 'label')} renamed: {named(labels, said)}",
        f"see that tasks.{versions.task}.labels in project.yaml and whoever reads the answers know it",
        examples=[quoted(head, row, note=f"was '{short(label)}'") for label, row in quotes],
        numbers={"labels": {label: names[label] for label in labels}},
        rows=digests(versions.task, head, rows),
    )


def _imbalance(versions: Versions, gone: Collection[str], min_rows: int, review: Review) -> list[Finding]:
    """Labels of base's training rows that fell below ``min_rows``, to none be it, and the rarest one where
    there are WORSE times fewer rows of it for each of the commonest than there were; not those that are
    ``gone`` from all splits."""
    before, now = _train(versions.base, versions.renamed), Counter(_train(versions.head, {}))
    both = sorted(before.keys() - gone)
    if not any(now[label] for label in both):
        return []
    fell = [label for label in both if now[label] < min_rows <= before[label] or not now[label]]
    rarest, commonest = min(both, key=now.__getitem__), max(both, key=now.__getitem__)
    ratio = now[rarest] / now[commonest]
    ratio_before = min(before[each] for each in both) / max(before[each] for each in both)
    worse = ratio * WORSE < ratio_before
    labels = list(dict.fromkeys([*fell, *([rarest] if worse else [])]))
    if not labels:
        return []
    said = {label: f"{counted(now[label], 'row')}, {before[label]:,} before" for label in labels}
    balance = f"'{short(commonest)}' has {now[commonest]:,}"
    rare = set(labels)
    rows = [
        row
        for row in versions.of_split("train")
        if not rare.isdisjoint(classes(versions.head.labels[row], versions.head.kind))
    ]
    files = where(versions.head.files[row] for row in rows or versions.of_split("train"))
    return [
        Finding(
            "imbalance",
            severity_of("imbalance", review),
            versions.task,
            "train",
            len(labels),
            f"{counted(len(labels), 'training label')} became rare: {named(labels, said)}; {balance}",
            f"add rows of it to {files}, or see why they went",
            examples=[quoted(versions.head, row) for row in rows[: review.examples]],
            numbers={
                "labels": {label: [before[label], now[label]] for label in labels},
                "ratio": [ratio_before, ratio],
                "min_rows_per_class": min_rows,
            },
        )
    ]


def _train(side: VersionRows, renamed: Mapping[str, str]) -> dict[str, int]:
    """How many training rows have each label, by the new names."""
    labels: list[Any] = [
        label for label, split in zip(side.labels, side.splits, strict=True) if split == "train"
    ]
    found: dict[str, int] = {}
    for label, count in label_counts(labels, side.kind).items():
        now = renamed.get(label, label)
        found[now] = found.get(now, 0) + count
    return found
