"""Readers of text formats: CSV, TSV, JSONL and CoNLL columns. Every value stays as it is written."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Any

from doubleroute.data.raw import MAX_ROWS, Problem, Raw, Table, short, shown
from doubleroute.errors import DataError

#: A tag of tagging, in any of the usual schemes.
BIO = re.compile(r"O|[BIES]-\S+")
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


def read_delimited(raw: Raw, delimiter: str, wanted: Collection[str] | None) -> Table:
    """CSV or TSV with a header line. Lines without a value, such as ",,", are skipped; a row with a field too
    many or too few is a problem, and one of TSV that may be two by a stray quote. Raises DataError for an
    unclosed quote, one of TSV that closes rows below, a wrong delimiter, a header without rows."""
    text = raw.text()
    name = shown(raw.path)
    records = _records(text, delimiter, name)
    header = next((fields for _, fields in records), [])
    if not header:
        raise DataError(f"{name} is empty; it must hold a header and at least one row")
    check_header(header, delimiter, wanted, f"{name} line 1")
    rows: list[list[str]] = []
    numbers: list[int] = []
    problems: list[Problem] = []
    width = len(header)
    number = 0
    for number, (line, fields) in enumerate(records, start=1):
        swallowed = _swallowed(fields, width) if delimiter == "\t" else 0
        if swallowed > 1:
            raise DataError(
                f"{name} line {line}: the quote that opens here closes in line {line + swallowed}, in the "
                'same column of another row; write a quote that begins a text as """, and one after the text'
            )
        if swallowed:
            reason = (
                f"line {line}: the quotes of a field may hold the end of one row and the beginning of the "
                'next; write a quote that begins a text as """ and one after it, or, of one text, JSON lines'
            )
            problems.append(Problem(number, "", reason, short(delimiter.join(fields))))
        elif len(fields) == width:
            rows.append(fields)
            numbers.append(number)
        else:
            count = f"{len(fields)} field{'s' if len(fields) != 1 else ''}"
            reason = (
                f"line {line}: {count} where the header has {width}; quote a field that holds a delimiter"
            )
            problems.append(Problem(number, "", reason, short(delimiter.join(fields))))
    if not number:
        raise DataError(f"{name} has a header but no rows")
    _check_count(number, name)
    values = list(zip(*rows, strict=True)) if rows else [()] * width
    columns = {
        column: list(each)
        for column, each in zip(header, values, strict=True)
        if wanted is None or column in wanted
    }
    return Table(raw.path, "csv", tuple(header), columns, numbers, problems, raw.digest)


def _swallowed(fields: Sequence[str], width: int) -> int:
    """Over how many ends of lines a field of TSV holds whole rows: quotes that are none make one row of
    several, with the tabs that a row has on either side of this column. 0 where none does."""
    for column, field in enumerate(fields):
        if "\t" in field and "\n" in field:
            first, *whole, last = (line.count("\t") for line in field.split("\n"))
            if (first, last, {*whole} - {width - 1}) == (width - 1 - column, column, set()):
                return len(whole) + 1
    return 0


def _records(text: str, delimiter: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """The line that each record begins in and its fields."""
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for fields in reader:
            if any(field.strip() for field in fields):
                yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        opened = _open_quote(text, line, delimiter)
        if opened is None:
            raise DataError(f"{name} line {line}: {error}") from None
        noticed = f" (noticed in line {reader.line_num})" if reader.line_num != opened else ""
        raise DataError(
            f"{name} line {opened}: the quote that opens here is not closed before a delimiter or the end of "
            f'the line{noticed}; close it, and write a quote inside a quoted field twice ("")'
        ) from None


def _open_quote(text: str, line: int, delimiter: str) -> int | None:
    """The line of the last quote that opens a field in the record that begins in ``line``, up to where
    the quoting goes wrong."""
    start = at = sum(len(each) for each in islice(io.StringIO(text, newline=""), line - 1))
    begins = True
    while at < len(text):
        if begins and text[at] == '"':
            opened = line + max(text.count("\n", start, at), text.count("\r", start, at))
            close = text.find('"', at + 1)
            while close >= 0 and text[close : close + 2] == '""':
                close = text.find('"', close + 2)
            if close < 0 or text[close + 1 : close + 2] not in (delimiter, "\n", "\r", ""):
                return opened
            at = close + 1
        else:
            begins = text[at] in (delimiter, "\n", "\r")
            at += 1
    return None


def check_header(header: list[str], delimiter: str, wanted: Collection[str] | None, where: str) -> None:
    """Raise DataError for a header that is none: Excel's ``sep=``, one column that another delimiter parts
    (unless ``wanted`` has it), columns with the same name or none. ``where``: its file and line."""
    line = delimiter.join(header)
    if re.fullmatch("sep=.", line, re.IGNORECASE | re.DOTALL):
        said = f"{line!r} tells Excel what separates the columns and is no header"
        raise DataError(f"{where}: {said}; delete the line")
    others = [other for other in _DELIMITERS if other != delimiter and other in header[0]]
    if len(header) == 1 and others and header[0] not in (wanted or ()):
        found = max(others, key=header[0].count)
        fix = {
            "\t": "name it .tsv",
            ",": "name it .csv",
        }.get(found, f"write it with {_DELIMITERS[delimiter]}, or as JSONL")
        raise DataError(
            f"{where}: the header {short(header[0])!r} is one column; the file seems to be separated "
            f"by {_DELIMITERS[found]}, not {_DELIMITERS[delimiter]}: {fix}"
        )
    counts = Counter(header)
    twice = next((column for column in header if counts[column] > 1), None)
    if twice == "":
        raise DataError(
            f"{where}: {counts['']} columns of the header have no name; name them, or remove them"
        )
    if twice is not None:
        raise DataError(f"{where}: the header has column '{short(twice)}' twice; rename one of them")


def _check_count(count: int, name: str) -> None:
    if count > MAX_ROWS:
        raise DataError(f"{name} has {count:,} rows; split it into files of at most {MAX_ROWS:,}")


def read_jsonl(raw: Raw, wanted: Collection[str] | None) -> Table:
    """One JSON object a line. Blank lines are skipped; a line that is cut, invalid or no object is a
    problem. A key that a line lacks is null there."""
    name = shown(raw.path)
    text = raw.text()
    if text.lstrip().startswith("["):
        raise DataError(
            f"{name} is one JSON array; JSON Lines has one object a line: `jq -c '.[]' FILE > NEW`"
        )
    records: list[dict[str, Any]] = []
    numbers: list[int] = []
    problems: list[Problem] = []
    names: dict[str, None] = {}
    parse = json.JSONDecoder(object_pairs_hook=_object).decode
    for number, line in enumerate(text.split("\n"), start=1):
        if not line or line.isspace():
            continue
        try:
            record = parse(line)
        except (ValueError, RecursionError) as error:
            problems.append(Problem(number, "", _bad_json(error, line), short(line)))
            continue
        if not isinstance(record, dict):
            reason = f"the line holds {_json_type(record)}, not an object with columns"
            problems.append(Problem(number, "", reason, short(line)))
            continue
        names.update(dict.fromkeys(record))
        records.append(record)
        numbers.append(number)
    if not records and not problems:  # a byte order mark alone, or blanks that bytes do not know as such
        raise DataError(f"{name} is empty; it must hold at least one row")
    if not records:
        raise DataError(f"{name} line {problems[0].row}: no line is a JSON object; {problems[0].reason}")
    _check_count(len(records), name)
    columns = {
        column: [record.get(column) for record in records]
        for column in names
        if wanted is None or column in wanted
    }
    return Table(raw.path, "jsonl", tuple(names), columns, numbers, problems, raw.digest)


class _Twice(ValueError):
    """A key stands twice in an object: one of the values would silently win."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise _Twice(next(key for key, count in counts.items() if count > 1))
    return made


def _bad_json(error: Exception, line: str) -> str:
    if isinstance(error, json.JSONDecodeError):
        if error.pos >= len(line.rstrip()) or error.msg.startswith("Unterminated"):
            return f"the line is cut: it is not a whole JSON object ({error.msg}, column {error.pos + 1})"
        return f"not valid JSON: {error.msg}, column {error.pos + 1}"
    if isinstance(error, _Twice):
        return f"the key '{short(str(error))}' stands twice; keep one"
    if isinstance(error, RecursionError):
        return "not valid JSON: nested too deep"
    return "not valid JSON: a number has thousands of digits; write it as text, in quotes"


def _json_type(value: Any) -> str:
    names = {list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def read_conll(raw: Raw) -> Table:
    """Token in the first column, tag in the last, separated by tabs or spaces; blank or whitespace-only
    lines end a sentence; -DOCSTART- and comments before a sentence ("# ...") are skipped. A sentence with a
    line that lacks its tag is a problem. Other white space inside of a token belongs to it where tabs or
    spaces separate columns."""
    name = shown(raw.path)
    tokens: list[list[str]] = []
    tags: list[list[str]] = []
    numbers: list[int] = []
    problems: list[Problem] = []
    number = lines = 0
    for number, sentence in enumerate(_sentences(raw.text()), start=1):
        lines += len(sentence)
        bad = next(((line, fields) for line, fields in sentence if len(fields) < 2), None)
        if bad:
            reason = f"line {bad[0]}: one column where a token and its tag must stand"
            problems.append(Problem(number, "tags", reason, short(" ".join(bad[1]))))
            continue
        tokens.append([fields[0] for _, fields in sentence])
        tags.append([fields[-1] for _, fields in sentence])
        numbers.append(number)
    if not tokens:
        if not number:
            raise DataError(f"{name} holds no sentence, only blank lines, comments or -DOCSTART- lines")
        raise DataError(
            f"{name}: no sentence has a token and a tag in every line, separated by a tab or spaces"
            f"; {problems[0].reason}. Endings .conll, .bio and .txt are read as CoNLL columns"
        )
    _check_count(lines, name)
    columns: dict[str, list[Any]] = {"tokens": tokens, "tags": tags}
    return Table(raw.path, "conll", ("tokens", "tags"), columns, numbers, problems, raw.digest)


def _sentences(text: str) -> Iterator[list[tuple[int, list[str]]]]:
    """Each sentence as its lines: number and columns."""
    sentence: list[tuple[int, list[str]]] = []
    #: Comments, or tokens that are # themselves: what follows says which.
    marked: list[tuple[int, list[str]]] = []
    columns = 2  # of the last line that was a token
    for number, line in enumerate(text.split("\n"), start=1):
        if not line or line.isspace():
            if sentence or marked:
                yield from _not_empty([*_tokens(marked, columns), *sentence])
            sentence, marked = [], []
        elif not line.startswith("-DOCSTART-"):
            parts = line.split("\t") if "\t" in line else line.strip().split(" ")
            fields = [field for each in parts if (field := each.strip())]
            if len(fields) == 1 and BIO.fullmatch(line.split()[-1]):  # by other white space
                fields = line.split()
            if not sentence and line.startswith("# "):
                marked.append((number, fields))
                continue
            columns = len(fields)
            sentence += [*_tokens(marked, columns), (number, fields)]
            marked = []
    yield from _not_empty([*_tokens(marked, columns), *sentence])


def _tokens(marked: Sequence[tuple[int, list[str]]], columns: int) -> list[tuple[int, list[str]]]:
    """The lines that begin with "# " and are no comments: a tag ends them, and they have as many columns as
    the lines of their sentence."""
    return [each for each in marked if len(each[1]) == columns and BIO.fullmatch(each[1][-1])]


def _not_empty(sentence: list[tuple[int, list[str]]]) -> Iterator[list[tuple[int, list[str]]]]:
    if sentence:
        yield sentence
