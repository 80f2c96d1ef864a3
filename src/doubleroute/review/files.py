"""What is wrong with a version before rows are compared: files, columns, and rows that are refused."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from doubleroute.config import Review
from doubleroute.data.raw import columns_listed
from doubleroute.review.findings import Finding, counted, digests, row_digest, severity_of, where
from doubleroute.review.rows import Changes, VersionRows
from doubleroute.review.sampling import Places, Sides
from doubleroute.review.versions import Versions

#: Lines of quarantine.jsonl about one task, of base and of head.
Bad = tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]]
#: Rules of validation whose rows have a finding of their own.
OWN_FINDING = frozenset({"leak", "conflict", "duplicate"})
_SHIFTS = re.compile(r"^line \d+|expectation \d+|max_characters allows [\d,]+")


def unreadable(message: str, review: Review) -> Finding:
    """The finding ``unreadable``: head cannot be read or validated; ``message`` is that of the error."""
    first, *rest = message.strip().splitlines() or ["no reason was given"]
    return Finding(
        "unreadable",
        severity_of("unreadable", review),
        None,
        None,
        1,
        f"the new version cannot be read: {first}",
        "mend it, run `doubleroute validate`, then `dvc add data` and commit data.dvc",
        "\n".join(rest),
    )


def refused(quarantined: Sequence[Mapping[str, Any]]) -> Places:
    """File and row of the rows of one task that validation refuses for what they hold."""
    return places(each for each in quarantined if each["rule"] not in OWN_FINDING)


def places(quarantined: Iterable[Mapping[str, Any]]) -> Places:
    """File and row of these rows."""
    return frozenset((each["file"], each["row"]) for each in quarantined)


def taken_out(quarantined: Bad, known: tuple[bool, bool], sides: Sides, changes: Changes) -> Bad:
    """What validation takes out of base and of head. Where that is not ``known`` of a version, which cannot
    be validated, it is what is ``quarantined`` all the same, and of the rows that nothing happened to what is
    so in the other version, at their places in this one."""
    if all(known):
        return quarantined
    places = [list(zip(side.files, side.numbers, strict=True)) for side in sides]
    untouched = [place for place, kinds in enumerate(changes.kinds) if not kinds]
    same = [(places[0][base], places[1][head]) for base, head in changes.pairs[untouched].tolist()]
    found = []
    for side, bad in enumerate(quarantined):
        here = {} if known[side] else {pair[1 - side]: pair[side] for pair in same}
        told = ((here.get((each["file"], each["row"])), each) for each in quarantined[1 - side])
        found.append([*bad, *({**each, "file": at[0], "row": at[1]} for at, each in told if at)])
    return found[0], found[1]


def invalid(versions: Versions, quarantined: Bad, review: Review) -> list[Finding]:
    """The finding ``invalid`` for each split: rows that validation refuses in head, and that were not refused
    in base or not there.

    quarantined: the lines of quarantine.jsonl of the task, of base and of head. What could not be read as a
    row is told apart by what was wrong and with which value, not by its number, which shifts; leaks,
    conflicts and duplicates have their own findings.
    """
    base, mine = ([each for each in side if each["rule"] not in OWN_FINDING] for side in quarantined)
    places = [_rows_by_place(side) for side in (versions.base, versions.head)]
    old = {places[0].get((each["file"], each["row"])) for each in base}
    partner = {row: was for was, row in versions.changes.pairs.tolist() if min(was, row) >= 0}
    unread = [each for each in base if (each["file"], each["row"]) not in places[0]]
    before = Counter(_identity(each) for each in unread)
    known = {(each["file"], each["row"], _identity(each)) for each in unread}
    new: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    # Rows that stand where they stood are taken for the old ones first.
    order = sorted(
        range(len(mine)),
        key=lambda at: (mine[at]["file"], mine[at]["row"], _identity(mine[at])) not in known,
    )
    for place in order:
        identity, row = _identity(mine[place]), places[1].get((mine[place]["file"], mine[place]["row"]))
        if row is not None:
            was_refused = partner.get(row, -1) in old
        else:
            was_refused = before[identity] > 0
            before[identity] -= was_refused
        if not was_refused:
            new.setdefault(mine[place]["split"], []).append((place, mine[place]))
    return [
        _invalid(
            versions,
            places[1],
            split,
            [each for _, each in sorted(rows, key=lambda at: at[0])],
            len(mine),
            review,
        )
        for split, rows in sorted(new.items())
    ]


def _rows_by_place(side: VersionRows) -> dict[tuple[str, int], int]:
    """The rows of a version by file and number."""
    return {place: row for row, place in enumerate(zip(side.files, side.numbers, strict=True))}


def _identity(bad: Mapping[str, Any]) -> tuple[str, ...]:
    """What two lines of quarantine.jsonl share when they are about the same fault. The reason of a wrong
    label lists the right ones, which may have changed; the number of a line or an expectation and a limit
    shift."""
    reason = "" if bad["rule"] == "label" else _SHIFTS.sub("#", bad["reason"])
    return bad["split"], bad["column"], bad["rule"], reason, bad["value"]


def _invalid(
    versions: Versions,
    places: Mapping[tuple[str, int], int],
    split: str,
    rows: Sequence[Mapping[str, Any]],
    all_rows: int,
    review: Review,
) -> Finding:
    reasons = Counter(f"{each['column']}: {each['reason']}".removeprefix(": ") for each in rows)
    most = sorted(reasons.items(), key=lambda at: (-at[1], at[0]))
    examples = [
        {
            "file": each["file"],
            "row": each["row"],
            "split": split,
            "text": each["value"],
            "label": None,
            "other": None,
            "note": f"{each['column']}: {each['reason']}".removeprefix(": "),
        }
        for each in rows[: review.examples]
    ]
    return Finding(
        "invalid",
        severity_of("invalid", review),
        versions.task,
        split,
        len(rows),
        f"{counted(len(rows), 'row')} of {split} that validation refuses",
        f"mend them in {where(each['file'] for each in rows)}; `doubleroute validate` names all of them",
        "\n".join(f"{count:,} × {reason}" for reason, count in most[:10]),
        examples=examples,
        numbers={"refused_in_all": all_rows},
        rows=[_digest(versions, places, each) for each in rows],
    )


def _digest(versions: Versions, places: Mapping[tuple[str, int], int], bad: Mapping[str, Any]) -> str:
    """What names a refused row: what it says, or what was wrong with it where it could not be read."""
    row = places.get((bad["file"], bad["row"]))
    if row is None:
        return row_digest(versions.task, bad["value"], None, _identity(bad)[1:4])
    (found,) = digests(versions.task, versions.head, [row])
    return found


def columns(
    base: Mapping[str, Sequence[str]], head: Mapping[str, Sequence[str]], review: Review
) -> list[Finding]:
    """The finding ``columns``: columns that appeared in files of both versions or went from them, and files
    that came back in another format.

    base, head: the names of the columns of each file, by its path. A file that is gone and one that is new
    are the same in another format if they differ in their suffix alone. The count is of columns that came
    or went and of formats.
    """
    formats = _formats(base, head)
    lines, count = [], 0
    for path in sorted(base):
        now = formats.get(path, path)
        if now not in head:
            continue
        gone = [name for name in base[path] if name not in head[now]]
        came = [name for name in head[now] if name not in base[path]]
        said = [f"is now {now}"] if now != path else []
        said += [f"lost {columns_listed(gone)}"] if gone else []
        said += [f"has new {columns_listed(came)}"] if came else []
        if said:
            lines.append(f"{path}: {'; '.join(said)}")
            count += len(gone) + len(came) + (now != path)
    if not lines:
        return []
    more = f", and {counted(len(lines) - 1, 'more file')}" if len(lines) > 1 else ""
    return [
        Finding(
            "columns",
            severity_of("columns", review),
            None,
            None,
            count,
            f"{counted(count, 'change')} of columns or format: {lines[0]}{more}",
            "see that project.yaml (files, columns, slices) fits, and that whoever writes the files meant it",
            "\n".join(lines),
            numbers={"files": len(lines)},
        )
    ]


def _formats(base: Mapping[str, Sequence[str]], head: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Files of base that are in head under another suffix."""
    fresh = {str(PurePosixPath(path).with_suffix("")): path for path in sorted(head.keys() - base.keys())}
    stems = {path: str(PurePosixPath(path).with_suffix("")) for path in sorted(base.keys() - head.keys())}
    return {path: fresh[stem] for path, stem in stems.items() if stem in fresh}


def answers(task: str, base: Mapping[str, str], head: Mapping[str, str], review: Review) -> list[Finding]:
    """The finding ``answers`` of a task that retrieves them, {id: text} in either version. The count is of
    answers that came, went or say something else; where base has no table none did."""
    came, gone = sorted(head.keys() - base.keys()), sorted(base.keys() - head.keys())
    edited = sorted(each for each in head.keys() & base.keys() if head[each] != base[each])
    if not base or not (came or gone or edited):
        return []
    count = len(came) + len(gone) + len(edited)
    said = [
        f"{len(each):,} {what}: {columns_listed(each)}"
        for what, each in (("new", came), ("gone", gone), ("with another text", edited))
        if each
    ]
    return [
        Finding(
            "answers",
            severity_of("answers", review),
            task,
            None,
            count,
            f"{counted(count, 'answer')} that can be found changed: {len(came):,} new, {len(gone):,} gone, "
            f"{len(edited):,} with another text",
            "see that they answer the questions that name them; the next training computes their vectors",
            "\n".join(said),
            numbers={"new": len(came), "gone": len(gone), "edited": len(edited)},
        )
    ]


def reordered(files: Sequence[Mapping[str, Any]], review: Review) -> list[Finding]:
    """The finding ``reordered``: files with the same rows in another order. ``files``: as in review.json."""
    paths = sorted(each["path"] for each in files if each["what"] == "reordered")
    if not paths:
        return []
    return [
        Finding(
            "reordered",
            severity_of("reordered", review),
            None,
            None,
            len(paths),
            f"{counted(len(paths), 'file')} with the same rows in another order: {where(paths)}",
            "nothing is wrong with it; leave the order as it was where a smaller change is easier to review",
            numbers={"files": paths},
        )
    ]
