"""A table's values -> the canonical rows of one task; a value that does not fit makes its row a problem."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from doubleroute.config import Task
from doubleroute.data.label_cells import read_labels
from doubleroute.data.raw import LARGEST, Problem, Table, short
from doubleroute.data.spans import read_answers

#: Canonical rows of one task and split: name -> one value a row. ``file``, ``row``, ``text`` and
#: ``text_pair`` or ``tokens``, ``label``, ``time`` (UTC, to the second), ``key``, ``slice_<column>``,
#: and columns for the user's expectations under ``extra_<column>``.
Rows = dict[str, list[Any]]


class _WrongValue(ValueError):
    """Why one value does not fit; caught for each row."""


def canonical_rows(
    table: Table,
    task: Task,
    key: str,
    file: str,
    unlabelled: bool,
    extras: Mapping[str, bool] | None = None,
) -> tuple[Rows, list[Problem]]:
    """The rows of ``table`` as ``task`` reads them, and the problems of the rest, the table's own included.

    ``key`` is the task's place in project.yaml, for errors; ``file`` the name that rows carry;
    ``unlabelled`` allows rows without a label; ``extras``: more columns, and whether one of CSV or TSV whose
    cells are all numbers or blank is given as numbers. Raises DataError for a column that is not there.
    """
    parsers = _parsers(table, task, unlabelled)
    sources = {name: table.require(column, f"{key}.{where}") for name, (where, column, _) in parsers.items()}
    rows: Rows = {"file": [], "row": [], **{name: [] for name in parsers}}
    problems = list(table.problems)
    parse = [(name, column, function, sources[name]) for name, (_, column, function) in parsers.items()]
    kept: list[int] = []
    for index, number in enumerate(table.rows):
        values = []
        for _, column, function, source in parse:
            try:
                values.append(function(source[index]))
            except _WrongValue as wrong:
                problems.append(Problem(number, column, str(wrong), short(source[index])))
                break
        else:
            kept.append(index)
            for (name, *_), value in zip(parse, values, strict=True):
                rows[name].append(value)
    rows["row"] = [table.rows[index] for index in kept]
    rows["file"] = [file] * len(kept)
    for column, as_numbers in (extras or {}).items():
        if column in table.names:
            source = table.columns[column]
            if as_numbers and table.format == "csv":
                source = _numbers(source)
            rows[f"extra_{column}"] = [source[index] for index in kept]
    return rows, problems


_Parser = tuple[str, str, Callable[[Any], Any]]


def _parsers(table: Table, task: Task, unlabelled: bool) -> dict[str, _Parser]:
    """canonical name -> (key in the task, column in the file, what reads a value)."""
    columns = task.columns
    found: dict[str, _Parser] = {}
    if task.kind == "tagging":
        conll = table.format == "conll"
        found["tokens"] = ("columns.tokens", "tokens" if conll else columns.tokens, _tokens)
        label = ("columns.tags", "tags" if conll else columns.tags)
    else:
        found["text"] = ("columns.text", columns.text, _text)
        if columns.text_pair is not None:
            found["text_pair"] = ("columns.text_pair", columns.text_pair, _text)
        label = ("columns.label", columns.label)
    found["label"] = (*label, _label_parser(task, unlabelled))
    if columns.time is not None:
        found["time"] = ("columns.time", columns.time, _time)
    if columns.key is not None:
        found["key"] = ("columns.key", columns.key, _slice)
    for column in task.slices:
        found[f"slice_{column}"] = ("slices", column, _slice)
    return found


def _text(value: Any) -> str:
    if type(value) is not str:
        raise _WrongValue("is null where a text must be" if value is None else f"{_type(value)}, not text")
    return _encodable(value)


def _encodable(value: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            character = ord(value[error.start])
            raise _WrongValue(
                f"character {error.start + 1} is half of a surrogate pair (U+{character:04X})"
            ) from None
    return value


def _tokens(value: Any) -> list[str]:
    tokens = _texts(value, "token")
    if not tokens:
        raise _WrongValue("holds no token")
    return tokens


def _texts(value: Any, noun: str) -> list[str]:
    """A list of texts, or a text whose items are separated by spaces."""
    if isinstance(value, str):
        return _encodable(value).split()
    if not isinstance(value, list):
        what = "is null" if value is None else _type(value)
        raise _WrongValue(f"{what} where a list of {noun}s must be")
    for position, item in enumerate(value, start=1):
        if type(item) is not str:
            raise _WrongValue(f"{noun} {position} {'is null' if item is None else _type(item)}, not text")
        if not item or item.isspace():
            raise _WrongValue(f"{noun} {position} is empty")
        _encodable(item)
    return value


def _label_parser(task: Task, unlabelled: bool) -> Callable[[Any], Any]:
    """What reads a label of this task: None where the row has none, if that is allowed."""

    def name(value: Any) -> str | None:
        return None if value is None or is_blank(value) else _class_name(value)

    def names(value: Any) -> list[str] | None:
        if value is None or (unlabelled and is_blank(value)):
            return None
        if isinstance(value, str):
            try:
                value = read_labels(value, task.separator)
            except ValueError as error:
                raise _WrongValue(str(error)) from None
        if not isinstance(value, list):
            raise _WrongValue(f"{_type(value)}, not a list of labels")
        return sorted({_class_name(item) for item in value if not is_blank(item)})

    def number(value: Any) -> float | None:
        return None if value is None or value == "" else _number(value)

    def tags(value: Any) -> list[str] | None:
        return None if value is None or value == "" else _texts(value, "tag")

    def answers(value: Any) -> list[str] | None:
        try:
            found = read_answers(value)
        except ValueError as error:
            raise _WrongValue(str(error)) from None
        if found is None:
            return None if unlabelled else []
        return [_encodable(answer) for answer in found]

    parse = {
        "classification": name,
        "multilabel": names,
        "regression": number,
        "span": answers,
        "tagging": tags,
    }[task.labelled_as]
    noun = "tags" if task.kind == "tagging" else "label"

    def label_of(value: Any) -> Any:
        label = parse(None if is_null(value) else value)
        if label is None and not unlabelled:
            raise _WrongValue(f"has no {noun}; only a file that another task uses too may lack one")
        return label

    return label_of


def is_null(value: Any) -> bool:
    """Whether a value is None, or the NaN that Python writes into JSON for it."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def is_blank(value: Any) -> bool:
    """Whether a value is text of white space alone, or of nothing."""
    return isinstance(value, str) and not value.strip()


def _class_name(value: Any) -> str:
    if isinstance(value, str):
        return _encodable(value)
    if isinstance(value, bool | int) or _is_whole(value):
        return as_label(value)
    raise _WrongValue(f"{'is null' if value is None else _type(value)}; a label is text or a whole number")


def as_label(value: Any) -> str:
    """A value as the name of a class: 1 and 1.0 are "1", True is "true"."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value) if _is_whole(value) else value)


def _is_whole(value: Any) -> bool:
    if isinstance(value, Decimal):  # of any number of digits, which its % is not
        return value.is_finite() and value == value.to_integral_value()
    return isinstance(value, float) and value.is_integer()


def _number(value: Any) -> float:
    number = math.nan
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
    elif isinstance(value, str):
        try:
            number = float(value) if value.isascii() and "_" not in value else math.nan
        except ValueError:
            comma = f"; write {value.replace(',', '.')}" if value.count(",") == 1 else ""
            raise _WrongValue(f"is not a number{comma}") from None
    else:
        raise _WrongValue(f"{_type(value)}, not a number")
    if not math.isfinite(number):
        raise _WrongValue("is not a finite number")
    if abs(number) > LARGEST:
        raise _WrongValue(f"is a number beyond {LARGEST:.2g}, which float32 and so training cannot hold")
    return number


def _numbers(cells: list[str]) -> list[Any]:
    """Text cells as numbers, blank ones as None; the cells themselves where one is neither."""
    try:
        return [None if is_blank(cell) else _number_as_written(cell) for cell in cells]
    except _WrongValue:
        return cells


def _number_as_written(cell: str) -> int | float:
    """5 stays whole, 5.0 does not become so."""
    number = _number(cell)
    return int(cell) if cell.strip().lstrip("+-").isdigit() else number


def _time(value: Any) -> str:
    """An ISO 8601 date or time -> UTC to the second, so that texts sort as times do."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            raise _WrongValue(
                "is not an ISO 8601 date or time, as in 2026-01-31 or 2026-01-31T08:30:00Z"
            ) from None
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        raise _WrongValue("is null where a time must be" if value is None else f"{_type(value)}, not a time")
    try:
        moment = value if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        raise _WrongValue("is a time that in UTC lies outside of the years 1 to 9999") from None
    # strftime would write the year 800 without its zero, and texts would no longer sort as times do.
    return moment.replace(tzinfo=None).isoformat(timespec="seconds")


def is_time(value: Any) -> bool:
    """Whether ``columns.time`` takes a value."""
    try:
        _time(value)
    except _WrongValue:
        return False
    return True


def _slice(value: Any) -> str | None:
    return None if is_null(value) else _encodable(value) if isinstance(value, str) else str(value)


def _type(value: Any) -> str:
    names: dict[type, str] = {
        bool: "is true or false",
        list: "is a list",
        dict: "is an object",
        bytes: "is bytes",
    }
    return names.get(
        type(value),
        "is a number" if isinstance(value, int | float | Decimal) else f"is a {type(value).__name__}",
    )


def joined(parts: Sequence[Rows]) -> Rows:
    """The rows of several files one after the other; an extra column that a file lacks is left out."""
    names = [name for name in parts[0] if all(name in part for part in parts)]
    return {name: [value for part in parts for value in part[name]] for name in names}


def chosen(rows: Rows, indices: Sequence[int]) -> Rows:
    """These rows alone, in this order."""
    return {name: [values[index] for index in indices] for name, values in rows.items()}
