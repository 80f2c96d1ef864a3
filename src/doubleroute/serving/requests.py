"""Requests of `doubleroute predict`, read one by one from a file or standard input.

| format | a request | suffix |
|---|---|---|
| jsonl | an object with ``text`` (and ``text_pair``) or ``tokens``; an ``id`` comes back | .jsonl .ndjson |
| csv, tsv | a row under a header with ``text`` (and ``text_pair``, ``id``) | .csv .tsv |
| text | a line | .txt |

All of them are UTF-8. Blank lines, and rows of a table whose cells are all blank, are passed over. A bad
request stops with its line number.
"""

import csv
import errno
import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from doubleroute.data.formats_text import check_header
from doubleroute.data.raw import columns_listed, near, short
from doubleroute.errors import InputError, RowError

InputFormat = Literal["jsonl", "csv", "tsv", "text"]
FORMATS: dict[str, InputFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "text",
}
#: A longer line is no text to classify: it is refused before it fills the memory.
MAX_LINE_BYTES = 10_000_000
_NAMED_BY = "--text-column NAME reads another, --task NAME that of one task"
_PAIR_NAMED_BY = "--pair-column NAME reads another, --task NAME asks other tasks alone"


@dataclass(frozen=True)
class Request:
    """One thing to answer. ``row``: the 1-based data row of a CSV file, the line of any other; ``where``: the
    file and line, as errors name them."""

    row: int
    values: Mapping[str, Any]
    id: Any = None
    where: str = field(default="the request", compare=False)


@dataclass(frozen=True)
class Columns:
    """What the columns or keys of a request are called. ``paired``: a table must have that of the second
    text."""

    text: str = "text"
    text_pair: str = "text_pair"
    tokens: str | None = None
    paired: bool = False


def read_requests(
    source: Path | BinaryIO,
    form: InputFormat | None = None,
    text: str = "text",
    text_pair: str = "text_pair",
    tokens: str | None = None,
    paired: bool = False,
) -> Iterator[Request]:
    """Read requests one by one from a file or a binary stream such as ``sys.stdin.buffer``.

    The format of a file follows from its suffix; of a stream, from its first line: a JSON object means
    jsonl, all else text, but for the header of a table, which is refused. ``text`` and ``text_pair`` name
    the columns or keys; ``tokens`` that of the word lists of a project that tags words: a list there is
    read even where a text stands beside it, so that every word of it gets its tag. ``paired``: a task that is
    asked reads pairs, so a table without a column of the second text is refused. Raises InputError with the
    file and line of whatever cannot be read; for a file that is not there before the first is asked for.
    """
    columns = Columns(text, text_pair, tokens, paired)
    if not isinstance(source, Path):
        return _requests(source, "standard input", form, columns)
    return _requests_of_file(source, form_of(source, form), columns)


def form_of(source: Path, form: InputFormat | None = None) -> InputFormat:
    """The format of a file of requests, ``form`` where that is given. Raises InputError for one that is not
    there, not ours to read, or of no known format. It is not opened: what is written into a pipe before it is
    opened again would be lost."""
    if source.is_dir():
        raise InputError(f"{source} is a folder; name a file of requests in it")
    if form is None and source.suffix.lower() not in FORMATS:
        raise InputError(
            f"{source}: the suffix '{source.suffix}' names no format of requests; write --input-format "
            f"jsonl, csv, tsv or text, or use a file that ends in {', '.join(FORMATS)}"
        )
    try:
        source.stat()
    except OSError as error:
        raise _cannot_read(str(source), error) from error
    if not os.access(source, os.R_OK):
        raise InputError(f"{source} cannot be read: {os.strerror(errno.EACCES)}")
    return form or FORMATS[source.suffix.lower()]


def _requests_of_file(source: Path, form: InputFormat, columns: Columns) -> Iterator[Request]:
    try:
        file = source.open("rb")
    except OSError as error:
        raise _cannot_read(str(source), error) from error
    with file:
        yield from _requests(file, str(source), form, columns)


def _cannot_read(name: str, error: OSError) -> InputError:
    return InputError(f"{name} cannot be read: {error.strerror or error}")


def one_request(text: str, pair: str | None = None) -> Request:
    """The request of one text, or a pair, on the command line. Raises InputError when it is empty or not
    UTF-8."""
    record = {"text": text} if pair is None else {"text": text, "text_pair": pair}
    return Request(1, _values(record, "--text", Columns()), where="--text")


def _requests(stream: BinaryIO, name: str, form: InputFormat | None, columns: Columns) -> Iterator[Request]:
    """Requests of an open stream; as ``read_requests``."""
    lines = _lines(stream, name)
    if form is None:
        first = list(itertools.islice(((n, line) for n, line in lines if line.strip()), 1))
        lines = itertools.chain(first, lines)
        form = "jsonl" if first and _is_object(first[0][1]) else "text"
        if first and form == "text":
            _refuse_a_header(first[0][1], f"{name}, line {first[0][0]}", columns)
    if form in ("csv", "tsv"):
        found = _table(lines, name, "," if form == "csv" else "\t", columns)
    else:
        found = _each_line(lines, name, form, columns)
    request = next(found, None)
    if request is None:
        raise InputError(f"{name} is empty; it must hold at least one text to answer")
    yield request
    yield from found


def _refuse_a_header(line: str, where: str, columns: Columns) -> None:
    """Raise InputError for a first line that is a table's header: as texts its lines would be answered
    whole, the header too."""
    for form, delimiter in (("csv", ","), ("tsv", "\t")):
        cells = [cell.strip().strip('"') for cell in line.split(delimiter)]
        if {columns.text, columns.tokens} & set(cells):
            raise InputError(
                f"{where}: this is the header of a table; write --input-format {form}, or text if every line "
                "is a text to answer"
            )


def _each_line(
    lines: Iterator[tuple[int, str]], name: str, form: InputFormat, columns: Columns
) -> Iterator[Request]:
    """Requests of JSONL or plain text."""
    for number, line in lines:
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        if form == "text":
            yield Request(number, {"text": line.rstrip("\r\n")}, where=where)
            continue
        try:
            record = json.loads(line, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise InputError(f"{where}: not a JSON object in one line: {line.strip()[:60]!r}") from None
        if not isinstance(record, dict):
            raise InputError(f'{where}: a JSON object such as {{"text": "..."}} is needed')
        values = _values(record, where, columns)
        yield Request(number, values, _encodable(record.get("id"), where, "id"), where)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _lines(stream: BinaryIO, name: str) -> Iterator[tuple[int, str]]:
    """Numbered lines of UTF-8 with their ends, none longer than MAX_LINE_BYTES."""
    for number in itertools.count(1):
        try:
            line = stream.readline(MAX_LINE_BYTES + 1)
        except OSError as error:
            raise _cannot_read(name, error) from error
        if not line:
            return
        where = f"{name}, line {number}"
        if len(line) > MAX_LINE_BYTES:
            raise InputError(f"{where}: longer than {MAX_LINE_BYTES:,} bytes; one request a line is needed")
        if number == 1:
            if line.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise InputError(f"{name} is UTF-16; save it as UTF-8")
            line = line.removeprefix(b"\xef\xbb\xbf")
        if b"\0" in line:
            raise InputError(f"{where}: holds a NUL byte; a UTF-8 text file is needed")
        try:
            yield number, line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{where}: byte {error.start + 1} is not UTF-8; save the file as UTF-8"
            ) from None


def _table(
    lines: Iterator[tuple[int, str]], name: str, delimiter: str, columns: Columns
) -> Iterator[Request]:
    """Requests of a CSV or TSV file; text stays text."""
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
    reader = csv.reader((line for _, line in lines), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    row, start = 0, 1
    try:
        for cells in reader:
            where, start = f"{name}, line {start}", reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = _header(cells, where, delimiter, columns)
                continue
            row += 1
            if len(cells) != len(header):
                raise InputError(f"{where}: {len(cells)} fields, and the header has {len(header)}")
            record = dict(zip(header, cells, strict=True))
            yield Request(row, _values(record, where, columns), record.get("id"), where)
    except csv.Error as error:
        unclosed = "end of data" in str(error) or "field larger" in str(error)
        raise InputError(f"{name}, line {start}: {error}{'; is a quote not closed?' * unclosed}") from None
    if header is None:
        raise InputError(f"{name} is empty; a header with the column '{columns.text}' is needed")


def _header(cells: list[str], where: str, delimiter: str, columns: Columns) -> list[str]:
    check_header(cells, delimiter, {columns.text, columns.tokens or ""}, where)
    if columns.text not in cells and columns.tokens not in cells:
        raise _no_column(columns.text, cells, where, _NAMED_BY)
    if columns.paired and columns.text_pair not in cells:
        raise _no_column(columns.text_pair, cells, where, _PAIR_NAMED_BY)
    return cells


def _no_column(wanted: str, cells: list[str], where: str, named_by: str) -> InputError:
    hint = near(wanted, [short(cell) for cell in cells])
    has = columns_listed(cells)
    return InputError(f"{where}: no column '{wanted}' in the header; it has: {has}{hint}; {named_by}")


def refuse_halves(rows: Sequence[Mapping[str, Any]], tasks: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise RowError for a row without a second text where all of these tasks, {task: {"kind", "pair"?}},
    read pairs: of a half they have learned nothing. Where all are spans the model refuses it itself."""
    about = tasks.values()
    if all(each.get("pair") for each in about) and any(each["kind"] != "span" for each in about):
        for number, row in enumerate(rows):
            if row.get("text_pair") is None:
                what = f"task '{next(iter(tasks))}' reads pairs"
                raise RowError(number, f"{what}: a second text is needed, called 'text_pair' by default")


def _values(record: Mapping[str, Any], where: str, columns: Columns) -> dict[str, Any]:
    """What the model reads of a record: text and text_pair, or tokens."""
    text, pair = record.get(columns.text), record.get(columns.text_pair)
    key = columns.tokens or "tokens"
    tokens = record.get(key)
    if text is None and isinstance(tokens, str):
        text = tokens
    if isinstance(tokens, list) and (text is None or (columns.tokens and not pair)):
        if not tokens or not all(isinstance(token, str) and token for token in tokens):
            raise InputError(f"{where}: '{key}' must be a list of one or more texts, none empty")
        return {"tokens": _encodable(tokens, where, key)}
    if not isinstance(text, str) or not text.strip():
        missing = f"missing; {_NAMED_BY}"
        state = missing if text is None else "empty" if isinstance(text, str) else "not text"
        raise InputError(f"{where}: '{columns.text}' is {state}")
    _encodable(text, where, columns.text)
    if pair is None or pair == "":
        return {"text": text}
    if not isinstance(pair, str):
        raise InputError(f"{where}: '{columns.text_pair}' is not text")
    return {"text": text, "text_pair": _encodable(pair, where, columns.text_pair)}


def _encodable(value: Any, where: str, key: str) -> Any:
    """The value. Raises InputError when a text in it cannot be written as UTF-8."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"U+{ord(text[error.start]):04X}"
        raise InputError(f"{where}: '{key}' holds {half}, which is half a character; mend the text") from None
    return value


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
