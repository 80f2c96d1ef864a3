"""Requests in, answers out, a batch at a time: what `doubleroute predict` does. Memory stays constant.

| format | a request | suffix |
|---|---|---|
| jsonl | an object with ``text`` (and ``text_pair``) or ``tokens``; an ``id`` comes back | .jsonl .ndjson |
| csv, tsv | a row under a header with ``text`` (and ``text_pair``, ``id``) | .csv .tsv |
| text | a line | .txt |

All of them are UTF-8. Blank lines are passed over. A bad request stops with its line number.
"""

import csv
import itertools
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Literal

from doubleroute.errors import InputError, MachineError

if TYPE_CHECKING:
    from doubleroute.modeling.inference import Answerer

InputFormat = Literal["jsonl", "csv", "tsv", "text"]
OutputFormat = Literal["jsonl", "csv"]
FORMATS: dict[str, InputFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "text",
}
#: A longer line is no text to classify: it is refused before it fills the memory.
MAX_LINE_BYTES = 10_000_000


@dataclass(frozen=True)
class Request:
    """One thing to answer. ``row``: the 1-based data row of a CSV file, the line of any other."""

    row: int
    values: Mapping[str, Any]
    id: Any = None


@dataclass(frozen=True)
class Answer:
    """The answers to one request, {task: answer}."""

    request: Request
    tasks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def read_requests(
    source: Path | BinaryIO,
    form: InputFormat | None = None,
    text: str = "text",
    text_pair: str = "text_pair",
) -> Iterator[Request]:
    """Read requests one by one from a file or a binary stream such as ``sys.stdin.buffer``.

    The format of a file follows from its suffix; of a stream, from its first line: a JSON object means
    jsonl, all else text. ``text`` and ``text_pair`` name the columns or keys. Raises InputError with the
    file and line of whatever cannot be read.
    """
    if not isinstance(source, Path):
        yield from _requests(source, "standard input", form, (text, text_pair))
        return
    if form is None and source.suffix.lower() not in FORMATS:
        raise InputError(
            f"{source}: the suffix '{source.suffix}' names no format of requests; name one of jsonl, csv, "
            f"tsv, text, or use a file that ends in {', '.join(FORMATS)}"
        )
    try:
        file = source.open("rb")
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error.strerror}") from error
    with file:
        yield from _requests(file, str(source), form or FORMATS[source.suffix.lower()], (text, text_pair))


def predict(
    answerer: "Answerer",
    requests: Iterable[Request],
    tasks: Sequence[str] | None = None,
    batch: int = 256,
) -> Iterator[Answer]:
    """Answer requests in their order, ``batch`` at a time, for all tasks or some.

    Raises InputError for an unknown task before the first request is read.
    """
    unknown = sorted(set(tasks or ()) - set(answerer.tasks))
    if unknown:
        raise InputError(f"the model has no task '{unknown[0]}'; it has: {', '.join(answerer.tasks)}")
    return _answers(answerer, iter(requests), tasks, batch)


def write(
    answers: Iterable[Answer],
    about: Mapping[str, Mapping[str, Any]],
    target: Path | IO[str],
    form: OutputFormat | None = None,
) -> int:
    """Write answers as JSONL or CSV to a text stream or file; how many there were.

    ``about``: {task: {"kind", ...}} of the tasks that are answered, in the order of the columns. The
    format of a file follows from its suffix (.csv), JSONL otherwise. A file is written beside its place
    and renamed when it is whole. Raises MachineError when it cannot be written.
    """
    if not isinstance(target, Path):
        return _write(answers, about, target, form or "jsonl")
    form = form or ("csv" if target.suffix.lower() == ".csv" else "jsonl")
    try:
        handle, beside = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    except OSError as error:
        raise MachineError(f"cannot write {target}: {error.strerror}") from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            count = _write(answers, about, file, form)
        umask = os.umask(0)
        os.umask(umask)
        Path(beside).chmod(0o666 & ~umask)
        Path(beside).replace(target)
    except OSError as error:
        raise MachineError(f"cannot write {target}: {error.strerror}") from error
    finally:
        Path(beside).unlink(missing_ok=True)
    return count


def _answers(
    answerer: "Answerer", requests: Iterator[Request], tasks: Sequence[str] | None, batch: int
) -> Iterator[Answer]:
    while chunk := list(itertools.islice(requests, batch)):
        found = answerer.answer([request.values for request in chunk], tasks)
        yield from (Answer(request, each) for request, each in zip(chunk, found, strict=True))


def _requests(
    stream: BinaryIO, name: str, form: InputFormat | None, columns: tuple[str, str]
) -> Iterator[Request]:
    """Requests of an open stream; ``columns`` are those of text and text_pair."""
    lines = _lines(stream, name)
    if form is None:
        first = list(itertools.islice(((n, line) for n, line in lines if line.strip()), 1))
        lines = itertools.chain(first, lines)
        form = "jsonl" if first and _is_object(first[0][1]) else "text"
    if form in ("csv", "tsv"):
        yield from _table(lines, name, "," if form == "csv" else "\t", columns)
        return
    for number, line in lines:
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        if form == "text":
            yield Request(number, {"text": line.rstrip("\r\n")})
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            raise InputError(f"{where}: not a JSON object in one line: {line.strip()[:60]!r}") from None
        if not isinstance(record, dict):
            raise InputError(f'{where}: a JSON object such as {{"text": "..."}} is needed')
        yield Request(number, _values(record, where, columns), record.get("id"))


def _lines(stream: BinaryIO, name: str) -> Iterator[tuple[int, str]]:
    """Numbered lines of UTF-8 with their ends, none longer than MAX_LINE_BYTES."""
    for number in itertools.count(1):
        line = stream.readline(MAX_LINE_BYTES + 1)
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
    lines: Iterator[tuple[int, str]], name: str, delimiter: str, columns: tuple[str, str]
) -> Iterator[Request]:
    """Requests of a CSV or TSV file; text stays text."""
    reader = csv.reader((line for _, line in lines), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    row, start = 0, 1
    try:
        for cells in reader:
            where, start = f"{name}, line {start}", reader.line_num + 1
            if not cells:
                continue
            if header is None:
                header = _header(cells, where, columns)
                continue
            row += 1
            if len(cells) != len(header):
                raise InputError(f"{where}: {len(cells)} fields, and the header has {len(header)}")
            record = dict(zip(header, cells, strict=True))
            yield Request(row, _values(record, where, columns), record.get("id"))
    except csv.Error as error:
        hint = "; is a quote not closed?" if "end of data" in str(error) else ""
        raise InputError(f"{name}, line {start}: {error}{hint}") from None
    if header is None:
        raise InputError(f"{name} is empty; a header with the column '{columns[0]}' is needed")


def _header(cells: list[str], where: str, columns: tuple[str, str]) -> list[str]:
    if columns[0] not in cells:
        raise InputError(f"{where}: no column '{columns[0]}' in the header; it has: {', '.join(cells)}")
    twice = sorted({cell for cell in cells if cells.count(cell) > 1})
    if twice:
        raise InputError(f"{where}: column '{twice[0]}' stands twice in the header")
    return cells


def _values(record: Mapping[str, Any], where: str, columns: tuple[str, str]) -> dict[str, Any]:
    """What the model reads of a record: text and text_pair, or tokens."""
    text, pair = (record.get(column) for column in columns)
    tokens = record.get("tokens")
    if text is None and isinstance(tokens, list):
        if not tokens or not all(isinstance(token, str) and token for token in tokens):
            raise InputError(f"{where}: 'tokens' must be a list of one or more texts, none empty")
        return {"tokens": tokens}
    if not isinstance(text, str) or not text.strip():
        state = "missing" if text is None else "empty" if isinstance(text, str) else "not text"
        raise InputError(f"{where}: '{columns[0]}' is {state}")
    if pair is None or pair == "":
        return {"text": text}
    if not isinstance(pair, str):
        raise InputError(f"{where}: '{columns[1]}' is not text")
    return {"text": text, "text_pair": pair}


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _write(
    answers: Iterable[Answer], about: Mapping[str, Mapping[str, Any]], file: IO[str], form: OutputFormat
) -> int:
    count = 0
    if form == "jsonl":
        for answer in answers:
            count += 1
            given = {} if answer.request.id is None else {"id": answer.request.id}
            record = {"row": answer.request.row, **given, "answers": answer.tasks}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
        return count
    columns = ["row", "id", *(column for task, each in about.items() for column in _columns(task, each))]
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise InputError(f"CSV cannot hold these tasks: two columns would be named '{twice[0]}'; use JSONL")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    for answer in answers:
        count += 1
        cells = [cell for task in about for cell in _cells(answer.tasks[task])]
        writer.writerow([answer.request.row, "" if answer.request.id is None else answer.request.id, *cells])
    return count


def _columns(task: str, about: Mapping[str, Any]) -> list[str]:
    """The CSV columns of a task."""
    second = {"classification": ["_probability"], "multilabel": ["_probabilities"]}
    return [task, *(task + suffix for suffix in second.get(about["kind"], []))]


def _cells(answer: Mapping[str, Any]) -> list[Any]:
    """The cells of one answer; lists and mappings as JSON."""
    if "label" in answer:
        return [answer["label"], answer["probabilities"][answer["label"]]]
    if "labels" in answer:
        return [_json(answer["labels"]), _json(answer["probabilities"])]
    return [answer["value"]] if "value" in answer else [_json(answer["entities"])]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
