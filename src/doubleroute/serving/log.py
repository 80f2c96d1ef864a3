"""The log of what a model was asked: JSON lines, one a row, in a folder of files of bounded size and number.

    {"time": "2026-01-31T08:30:00", "text": "...", "text_pair"?: "...", "id"?: ...,
     "answers": {task: answer}, "model": {"version": "3" | null, "digest": "..." | null}}

Times are UTC. Texts are redacted before they are written. Every process writes to a file of its own
(``log_files``). Writing never fails an answer: what keeps it from writing is told once on stderr.
"""

import heapq
import json
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from doubleroute.data.tokens import join_tokens
from doubleroute.errors import InputError, MachineError
from doubleroute.serving.log_files import Appender, files_of
from doubleroute.serving.redaction import DEFAULT, NotRedactedError, redact_values, redactor

#: The folder of the log, which switches it on where no project.yaml is known: in a served model.
FOLDER = "DOUBLEROUTE_REQUEST_LOG"
#: A longer line is neither written nor read.
MAX_LINE_BYTES = 10_000_000
#: Of an answer with more labels only the probabilities of what was answered are kept.
MOST_LABELS = 50
_BLOCK = 1_000_000
_TIME = "%Y-%m-%dT%H:%M:%S"
_A_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


class RequestLog:
    """Writes rows and their answers; several threads may use it, and processes after a fork.

    ``folder`` is made with the first row. A file holds at most ``max_mb`` megabytes (10**6 bytes), or
    one row; of more than ``files`` files the oldest goes. ``redact`` and ``home``, the folder of the
    user's own redactors, are those of ``redaction.redactor``, whose InputError is raised here.
    ``model``: {"version", "digest"} of what answers.
    """

    def __init__(
        self,
        folder: Path,
        max_mb: float = 64.0,
        files: int = 10,
        redact: Sequence[str] = DEFAULT,
        model: Mapping[str, str | None] | None = None,
        home: Path | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self.model = {"version": None, "digest": None, **(model or {})}
        self._redact = redactor(redact, home)
        self._files = Appender(self.folder, int(max_mb * 1e6), files)
        self._lock = threading.Lock()
        self._told: set[str] = set()

    def write(
        self,
        rows: Sequence[Mapping[str, Any]],
        answers: Sequence[Mapping[str, Mapping[str, Any]]],
        ids: Sequence[Any] | None = None,
    ) -> None:
        """Write n rows, ``{"text", "text_pair"?}`` or ``{"tokens"}``, with {task: answer} of each.

        ``ids``: n values that the asker knows the rows by, or None, as JSON has them; they are redacted too.
        Raises nothing for what goes wrong here; a row that cannot be redacted is not written.
        """
        time = datetime.now(UTC).strftime(_TIME)
        block: list[bytes] = []
        size = 0
        for row, answer, known in zip(rows, answers, ids or [None] * len(rows), strict=True):
            line = self._line(time, row, answer, known)
            block.append(line)
            size += len(line)
            if size > _BLOCK:
                self._append(block)
                block, size = [], 0
        self._append(block)

    def close(self) -> None:
        """Let go of the file; the next row opens one again."""
        with self._lock:
            self._files.close()

    def _line(self, time: str, row: Mapping[str, Any], answer: Mapping[str, Any], known: Any) -> bytes:
        """One row as a line with its end; empty when it must not be written."""
        try:
            record: dict[str, Any] = {"time": time, "text": self._redact(_text(row))}
            if row.get("text_pair") is not None:
                record["text_pair"] = self._redact(str(row["text_pair"]))
            if known is not None:
                record["id"] = redact_values(known, self._redact)
        except NotRedactedError as error:
            self._tell("redact", f"rows that cannot be redacted are left out: {error}")
            return b""
        record["answers"] = {task: short_answer(each) for task, each in answer.items()}
        record["model"] = self.model
        # Half characters, which UTF-8 does not know, become question marks.
        line = json.dumps(record, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        if len(line) > MAX_LINE_BYTES:
            self._tell("long", f"rows of more than {MAX_LINE_BYTES:,} bytes are left out")
            return b""
        return line

    def _append(self, lines: list[bytes]) -> None:
        with self._lock:
            try:
                self._files.append([line for line in lines if line])
            except OSError as error:
                where = f" ({error.filename})" if error.filename else ""
                self._tell("disk", f"cannot be written: {error.strerror or error}{where}; answering goes on")

    def _tell(self, kind: str, message: str) -> None:
        """Say it on stderr, the first time."""
        if kind not in self._told:
            self._told.add(kind)
            with suppress(OSError, ValueError):  # stderr may be full or closed
                print(f"warning: the log of requests {self.folder}: {message}", file=sys.stderr, flush=True)


def from_environment(model: Mapping[str, str | None]) -> RequestLog | None:
    """The log that the environment asks for; None without DOUBLEROUTE_REQUEST_LOG, the folder.

    DOUBLEROUTE_REQUEST_LOG_MAX_MB, _FILES and _REDACT are max_mb, files and redact, the last as words
    with commas between them or as a JSON list; python:MODULE:FUNCTION is looked for in the current
    folder. Raises InputError for what cannot be read.
    """
    folder = os.environ.get(FOLDER, "").strip()
    if not folder:
        return None
    max_mb, files, redact = (os.environ.get(f"{FOLDER}_{name}") for name in ("MAX_MB", "FILES", "REDACT"))
    try:
        size, count = float(max_mb or 64), int(files or 10)
        if not (0 < size < float("inf")) or count < 1:
            raise ValueError
    except ValueError:
        raise InputError(
            f"{FOLDER}_MAX_MB must be a number above 0 and {FOLDER}_FILES a whole number of at least 1; "
            f"they are {max_mb!r} and {files!r}"
        ) from None
    return RequestLog(Path(folder), size, count, _words(redact), model)


def _words(text: str | None) -> Sequence[str]:
    """The redactors of DOUBLEROUTE_REQUEST_LOG_REDACT; empty text means none."""
    if text is None:
        return DEFAULT
    if not text.lstrip().startswith("["):
        return [word.strip() for word in text.split(",") if word.strip()]
    try:
        words = json.loads(text)
    except ValueError:
        words = None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise InputError(f"{FOLDER}_REDACT begins with [ but is no JSON list of texts: {text[:100]!r}")
    return words


def short_answer(answer: Mapping[str, Any]) -> dict[str, Any]:
    """An answer as it is written down, in the form of its kind: probabilities and confidences to six
    digits, with more than MOST_LABELS labels only those of what was answered; ``confidence``, the
    probability of the one label; entities without their text, which nothing redacts, and so answers and
    spans."""
    short = dict(answer)
    if "probabilities" in short:
        chances = short["probabilities"]
        if len(chances) > MOST_LABELS:
            answered = short["labels"] if "labels" in short else [short["label"]]
            chances = {label: chances[label] for label in answered}
        short["probabilities"] = {label: round(chance, 6) for label, chance in chances.items()}
    short.pop("answer", None)
    if "answers" in short:
        short["answers"] = [
            {key: value for key, value in each.items() if key != "text"} for each in short["answers"]
        ]
    elif "label" in short:
        short["confidence"] = short["probabilities"][short["label"]]
    if "confidences" in short:
        short["confidences"] = [round(each, 6) for each in short["confidences"]]
    if "entities" in short:
        short["entities"] = [
            {key: value for key, value in entity.items() if key != "text"} for entity in short["entities"]
        ]
    return short


def _text(row: Mapping[str, Any]) -> str:
    return join_tokens(row["tokens"]) if row.get("tokens") is not None else str(row["text"])


@dataclass(frozen=True)
class Asked:
    """n logged rows in the order of their times, all lists [n].

    ``times``: UTC as 2026-01-31T08:30:00; ``pairs``: the second text or None; ``answers``: {task:
    answer} as ``short_answer`` keeps it; ``digests``, ``versions``: of the model that answered, or None;
    ``places``: "file:line". ``read``: rows of the time asked for in the files that were read, n or more;
    ``skipped``: lines there that are cut, too long or none of ours.
    """

    texts: list[str]
    pairs: list[str | None]
    answers: list[dict[str, Any]]
    times: list[str]
    digests: list[str | None]
    versions: list[str | None]
    places: list[str]
    read: int
    skipped: int

    def __len__(self) -> int:
        return len(self.texts)


def read_log(folder: Path, since: str | None = None, limit: int = 5000) -> Asked:
    """The newest ``limit`` rows of a log, asked at ``since`` or later (ISO 8601, UTC unless it says
    otherwise); without a folder, none.

    Not more than ``limit`` rows are in memory at once, and files that were last written to before the
    oldest of them are not opened. Raises InputError for a ``since`` that is no time, MachineError when
    a file cannot be read.
    """
    after = _moment(since) if since is not None else ""
    newest: list[tuple[str, str, int, dict[str, Any]]] = []
    read = skipped = 0
    try:
        for each in files_of(folder):
            written = datetime.fromtimestamp(each.written, UTC).strftime(_TIME)
            if written < after or (len(newest) >= limit and newest and written < newest[0][0]):
                break  # the others were written to earlier still
            for number, record in _records(each.path):
                if record is None:
                    skipped += 1
                elif record["time"] >= after:
                    read += 1
                    # No two places are the same: records are never compared.
                    heapq.heappush(newest, (record["time"], each.path.name, number, record))
                    if len(newest) > limit:
                        heapq.heappop(newest)
    except OSError as error:
        raise MachineError(f"the log of requests {folder} cannot be read: {error}") from error
    newest.sort(key=lambda row: row[:3])
    records = [row[3] for row in newest]
    models = [record["model"] for record in records]
    return Asked(
        texts=[record["text"] for record in records],
        pairs=[record.get("text_pair") for record in records],
        answers=[record["answers"] for record in records],
        times=[record["time"] for record in records],
        digests=[model.get("digest") for model in models],
        versions=[model.get("version") for model in models],
        places=[f"{name}:{number}" for _, name, number, _ in newest],
        read=read,
        skipped=skipped,
    )


def _moment(since: str) -> str:
    try:
        moment = datetime.fromisoformat(since.strip())
    except ValueError:
        raise InputError(
            f"'{since}' is not an ISO 8601 date or time, as in 2026-01-31 or 2026-01-31T08:30:00Z"
        ) from None
    return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)).strftime(_TIME)


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Number and record of every line of a file; None for one that is not whole or none of ours. Nothing of
    a file that is gone: whoever writes the log removes the oldest."""
    try:
        opened = path.open("rb")
    except FileNotFoundError:
        return
    with opened as file:
        number, within = 0, False
        while line := file.readline(MAX_LINE_BYTES):
            ends = line.endswith(b"\n")
            if not within:
                number += 1
                yield number, _record(line) if ends else None
            within = not ends  # the rest of a line that is too long belongs to it


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
        texts = [record["text"], record["time"], *([record["text_pair"]] if "text_pair" in record else [])]
        parts = [record["answers"], record["model"], *record["answers"].values()]
        "".join(texts).encode()  # raises for what is no text and for half characters
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None
    whole = all(isinstance(part, dict) for part in parts)
    return record if whole and _A_TIME.fullmatch(record["time"]) else None
