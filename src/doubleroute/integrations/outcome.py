"""What follows from the results of validation: quarantine, warnings, counts, or a refusal."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from doubleroute.config import Project
from doubleroute.data import checks
from doubleroute.data.raw import near, short, shown
from doubleroute.data.rows import Rows, chosen
from doubleroute.errors import DataError, GateError, InputError, MachineError
from doubleroute.integrations.expectations import Batch, Result
from doubleroute.integrations.suites import ACROSS_SPLITS, ALONE, WITHIN_SPLITS, Rule
from doubleroute.workspace import write_text

#: Bad rows of a task and split that the summary quotes; quarantine.jsonl has all.
_SHOWN = 2
#: Rare labels of a task that are warned of one by one.
_RARE_SHOWN = 5


@dataclass(frozen=True)
class Bad:
    """One quarantined row; ``rule``: what it goes against, in a word."""

    task: str
    split: str
    file: str
    row: int
    column: str
    reason: str
    value: str
    rule: Rule = "value"

    def __str__(self) -> str:
        column = f", column {self.column}" if self.column else ""
        return f"{self.file} row {self.row}{column}: {self.reason}"


@dataclass(frozen=True)
class Outcome:
    """The rows that go on, and what is said about the rest."""

    rows: dict[str, dict[str, Rows]]
    quarantine_text: str
    summary: dict[str, Any]


def settle(
    project: Project,
    rows: Mapping[str, Mapping[str, Rows]],
    unreadable: Sequence[Bad],
    batches: Sequence[Batch],
    results: Sequence[Result],
    labels: Mapping[str, Sequence[str]],
    quarantine: Path | None,
) -> Outcome:
    """Take the failing rows out, count, and check that enough is left.

    rows: task -> split -> rows; unreadable: bad rows that are not among them. Raises GateError when a
    task has more bad rows than ``validation.max_invalid`` allows (they are kept in the folder
    ``quarantine``, nowhere where it is None) or a check of a whole table failed; DataError for one class or
    an empty split.
    """
    _refuse_failed_tables(results)
    for name, splits in rows.items():
        taken = not (project.paths(name, "validation") and project.paths(name, "test"))
        if taken and not splits["train"]["row"] and any(each["row"] for each in splits.values()):
            _check_enough(project, name, splits)  # every label would seem unknown below
    kinds = {name: project.tasks[name].kind for name in rows}
    kept, failing = _sift(kinds, rows, batches, results)
    bad = [*unreadable, *failing]
    counts = _counts(kept, bad)
    text = "".join(json.dumps(asdict(each), ensure_ascii=False) + "\n" for each in bad)
    _refuse_too_many(project, counts, bad, text, quarantine)
    for name in kept:
        _check_enough(project, name, kept[name])
    class_counts = {
        name: {
            split: checks.label_counts(each["label"], project.tasks[name].kind)
            for split, each in splits.items()
        }
        for name, splits in kept.items()
    }
    warnings = [warning for result in results for warning in _warning(result, batches, rows)]
    for name, known in labels.items():
        warnings += _alike(name, known)
        if (
            project.tasks[name].kind != "retrieval"
        ):  # an answer that nobody has asked for yet may be found too
            warnings += _rare(project, name, known, class_counts[name]["train"])
        if project.tasks[name].kind == "span":
            warnings += checks.shared_contexts(name, kept[name])
    warnings += checks.learned_elsewhere(kept)
    summary = {
        "tasks": counts,
        "quarantined": _first_bad(bad),
        "class_counts": class_counts,
        "warnings": warnings,
        "expectations": [result.as_dict() for result in results],
    }
    return Outcome(kept, text, summary)


def _first_bad(bad: Sequence[Bad]) -> dict[str, dict[str, list[str]]]:
    """A few bad rows of each task and split, with their reasons."""
    found: dict[str, dict[str, list[str]]] = {}
    for each in bad:
        rows = found.setdefault(each.task, {}).setdefault(each.split, [])
        if len(rows) < _SHOWN:
            rows.append(str(each))
    return found


def _sift(
    kinds: Mapping[str, str],
    rows: Mapping[str, Mapping[str, Rows]],
    batches: Sequence[Batch],
    results: Sequence[Result],
) -> tuple[dict[str, dict[str, Rows]], list[Bad]]:
    """The rows that fail no check, and the others with why. ``kinds``: of the tasks.

    What is wrong with a row by itself comes first, then copies within a split, then across splits: a row is
    no copy of one that goes anyway, or none of them would be left.
    """
    mine: dict[tuple[str, str], list[Result]] = {(batch.task, batch.split): [] for batch in batches}
    for result in results:
        if result.check.severity == "error":
            mine[result.task, result.split].append(result)
    found: dict[str, dict[str, dict[int, Bad]]] = {name: {} for name in rows}
    for batch in batches:
        found[batch.task][batch.split] = {}
    for rules in (ALONE, WITHIN_SPLITS, ACROSS_SPLITS):
        of_rules = {place: [each for each in of if each.check.rule in rules] for place, of in mine.items()}
        failed = {name for (name, _), of in of_rules.items() if any(each.rows for each in of)}
        left = {name: _left(kinds[name], rows[name], found[name]) for name in failed}
        for batch in batches:
            whole, failing = rows[batch.task][batch.split], found[batch.task][batch.split]
            facts = left.get(batch.task)
            given = (batch, of_rules[batch.task, batch.split], whole, facts[batch.split] if facts else None)
            for index, why in _failing_rows(*given).items():
                failing.setdefault(index, why)
    kept: dict[str, dict[str, Rows]] = {name: {} for name in rows}
    bad: list[Bad] = []
    for batch in batches:
        whole, failing = rows[batch.task][batch.split], found[batch.task][batch.split]
        bad += failing.values()
        good = [index for index in range(len(whole["row"])) if index not in failing]
        kept[batch.task][batch.split] = chosen(whole, good)
    return kept, bad


class _Left(NamedTuple):
    """The facts of the rows of a split that are left: where a row's are, by its position."""

    places: Mapping[int, int]
    facts: Rows

    def of(self, index: int, fact: str) -> Any:
        """A fact of the row at this position; None where it is not left."""
        at = self.places.get(index)
        return None if at is None else self.facts[fact][at]


def _left(
    kind: str, rows: Mapping[str, Rows], failing: Mapping[str, Mapping[int, Bad]]
) -> dict[str, _Left] | None:
    """By split, the facts of the rows of a task that are left without the failing ones; None where none
    fails, as the facts of all rows are those then."""
    if not any(failing.values()):
        return None
    places = {
        split: [index for index in range(len(each["row"])) if index not in failing[split]]
        for split, each in rows.items()
    }
    facts = checks.facts({split: chosen(rows[split], kept) for split, kept in places.items()}, kind)
    return {
        split: _Left({index: at for at, index in enumerate(kept)}, facts[split])
        for split, kept in places.items()
    }


def _refuse_failed_tables(results: Sequence[Result]) -> None:
    """Stop at what is wrong with a whole table, and at what could not be checked."""
    for each in results:
        if each.could_not_check and each.check.severity == "error":
            what = f"{each.check.type} could not be checked on {each.task} {each.split}"
            if each.check.origin:
                raise InputError(f"{each.check.origin}: {what}: {each.could_not_check}")
            raise GateError(f"{what}: {each.could_not_check}")
    failed = [
        f"  {each.check.origin or 'project'} ({each.task} {each.split}): {each.check.type} "
        f"{json.dumps(dict(each.check.kwargs), ensure_ascii=False)}, observed {short(each.observed)}"
        for each in results
        if not each.success and not each.rows and each.check.severity == "error" and not each.could_not_check
    ]
    if failed:
        listed = "\n".join(failed)
        raise GateError(
            f"the data do not meet what is expected of them:\n{listed}\nmend the data, or give the "
            'expectation "meta": {"severity": "warning"}'
        )


def _row(batch: Batch, index: int) -> dict[str, Any]:
    return {str(column): batch.frame[column].iloc[index] for column in batch.frame.columns}


def _failing_rows(
    batch: Batch, results: Sequence[Result], rows: Rows, left: _Left | None = None
) -> dict[int, Bad]:
    """Position -> why, by the first check that the row fails. ``left``: what is said of copies among the rows
    that are left, where others failed before."""
    found: dict[int, Bad] = {}
    for result in results:
        fact = result.check.value_column
        for index in result.rows:
            if index in found:
                continue
            said = None if left is None else left.of(index, fact)
            if left is None or said is not None:
                found[index] = _bad(batch, result, rows, index, {} if left is None else {fact: said})
    return found


def _bad(batch: Batch, result: Result, rows: Rows, index: int, facts: Mapping[str, Any]) -> Bad:
    row = {**_row(batch, index), **facts}
    column = result.check.column
    value = row.get(column, row.get(result.check.value_column, ""))
    shown_value = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    reason = result.check.explain(row)
    file, number, rule = rows["file"][index], rows["row"][index], result.check.rule
    return Bad(batch.task, batch.split, file, number, column, reason, short(shown_value), rule)


def _counts(
    kept: Mapping[str, Mapping[str, Rows]], bad: Sequence[Bad]
) -> dict[str, dict[str, dict[str, int]]]:
    quarantined = Counter((each.task, each.split) for each in bad)
    return {
        name: {
            split: {
                "rows_in": len(rows["row"]) + quarantined[name, split],
                "rows_out": len(rows["row"]),
                "quarantined": quarantined[name, split],
                "unlabelled": sum(label is None for label in rows["label"]),
            }
            for split, rows in splits.items()
        }
        for name, splits in kept.items()
    }


def _refuse_too_many(
    project: Project,
    counts: Mapping[str, Mapping[str, Mapping[str, int]]],
    bad: Sequence[Bad],
    text: str,
    folder: Path | None,
) -> None:
    """More bad rows than allowed stop the run and stay where the user can look, until there are none."""
    most = project.validation.max_invalid
    said = []
    for name, splits in counts.items():
        total = sum(each["rows_in"] for each in splits.values())
        wrong = sum(each["quarantined"] for each in splits.values())
        if wrong > most * total:
            mine = [each for each in bad if each.task == name]
            first = "\n".join(f"  {each}" for each in mine[:5])
            more = f"\n  and {wrong - 5:,} more" if wrong > 5 else ""
            said.append(
                f"tasks.{name}: {wrong:,} of {total:,} rows ({wrong / total:.1%}) are invalid; "
                f"validation.max_invalid allows {most:.1%}:\n{first}{more}"
            )
    if folder is None:
        if said:
            raise GateError("\n".join([*said, "mend the rows, or raise max_invalid"]))
        return
    path = folder / "rows.jsonl"
    if not said:
        path.unlink(missing_ok=True)
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MachineError(f"cannot write {folder}: {error.strerror}") from error
    write_text(path, text)
    raise GateError(
        "\n".join([*said, f"all of them are in {shown(path)}; mend the rows, or raise max_invalid"])
    )


def _check_enough(project: Project, name: str, splits: Mapping[str, Rows]) -> None:
    """Every split has labelled rows, and there is something to tell apart."""
    task = project.tasks[name]
    for split, rows in splits.items():
        if all(label is None for label in rows["label"]):
            taken = not project.paths(name, split)
            fix = (
                f"name a file at tasks.{name}.files.{split}, give more rows, or raise "
                f"tasks.{name}.split.{split}"
                if taken
                else f"give tasks.{name}.files.{split} rows with a label"
            )
            raise DataError(f"tasks.{name}: no labelled row is left for {split}; {fix}")
    found = list(checks.label_counts(splits["train"]["label"], task.kind))
    if task.kind == "tagging" and not found:
        raise DataError(
            f"tasks.{name}: every tag of the training rows is O; tagging needs B-type and I-type tags"
        )
    if task.labelled_as == "classification" and len(found) < 2:
        raise DataError(
            f"tasks.{name}: every training row has the label '{short(found[0])}'; {task.kind} needs "
            "two or more labels"
        )
    if task.kind == "multilabel" and not found:
        raise DataError(f"tasks.{name}: no training row has a label; multilabel needs at least one")


def _warning(result: Result, batches: Sequence[Batch], rows: Mapping[str, Mapping[str, Rows]]) -> list[str]:
    """What a check that only warns says: how many rows, and two of them."""
    check = result.check
    if check.severity != "warning" or (result.success and not result.could_not_check):
        return []
    where = f"{result.task} {result.split}"
    if result.could_not_check:
        return [f"{where}: {check.origin}: {check.type} could not be checked: {result.could_not_check}"]
    if not result.rows:
        return [f"{where}: {check.origin}: {check.type} does not hold, observed {short(result.observed)}"]
    batch = next(each for each in batches if (each.task, each.split) == (result.task, result.split))
    mine = rows[result.task][result.split]
    examples = "; ".join(str(_bad(batch, result, mine, index, {})) for index in result.rows[:2])
    count = len(result.rows)
    said = check.description or f"{check.type} ({check.origin})"
    return [f'{where}: {count:,} row{"s" if count != 1 else ""} against "{said}": {examples}']


def _alike(name: str, known: Sequence[str]) -> list[str]:
    """Labels that a person would read as one."""
    groups: dict[str, list[str]] = {}
    for label in known:
        groups.setdefault(" ".join(label.casefold().split()), []).append(label)
    return [
        f"{name}: the labels {', '.join(repr(short(label)) for label in group)} differ in case or blanks "
        "alone and are learned as different ones; write them alike"
        for group in groups.values()
        if len(group) > 1
    ]


def _rare(project: Project, name: str, known: Sequence[str], counts: Mapping[str, int]) -> list[str]:
    """Labels with fewer training rows than validation.min_rows_per_class."""
    least = project.validation.min_rows_per_class
    tagging = project.tasks[name].kind == "tagging"
    names = list(dict.fromkeys(tag[2:] for tag in known if tag != "O")) if tagging else list(known)
    rare = [label for label in names if counts.get(label, 0) < least]
    others = [label for label in names if counts.get(label, 0) >= least]
    found = []
    for label in rare[:_RARE_SHOWN]:
        count = counts.get(label, 0)
        found.append(
            f"{name} train: label '{short(label)}' has {count} row{'s' if count != 1 else ''}; "
            f"validation.min_rows_per_class asks for {least}{near(label, others)}"
        )
    rest = len(rare) - len(found)
    if rest:
        found.append(
            f"{name} train: {rest:,} more label{'s have' if rest != 1 else ' has'} fewer rows than that"
        )
    return found
