"""Requests in, answers out, a batch at a time: what `doubleroute predict` does. Memory stays constant."""

import csv
import itertools
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from doubleroute.data.raw import near
from doubleroute.errors import InputError, MachineError, RowError
from doubleroute.serving.log import RequestLog
from doubleroute.serving.requests import Request, refuse_halves

if TYPE_CHECKING:
    from doubleroute.modeling.answering import Answering

OutputFormat = Literal["jsonl", "csv"]


@dataclass(frozen=True)
class Answer:
    """The answers to one request, {task: answer}, and, where that was asked, its way through the router
    (``modeling.explain``)."""

    request: Request
    tasks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    explanation: Mapping[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON: row, id where there is one, answers, explanation where there is one."""
        found: dict[str, Any] = {"row": self.request.row}
        if self.request.id is not None:
            found["id"] = self.request.id
        found["answers"] = self.tasks
        if self.explanation is not None:
            found["explanation"] = self.explanation
        return found


def predict(
    answerer: "Answering",
    requests: Iterable[Request],
    tasks: Sequence[str] | None = None,
    batch: int = 256,
    log: RequestLog | None = None,
    explained: bool = False,
) -> Iterator[Answer]:
    """Answer requests in their order, ``batch`` at a time, for all tasks or some; ``log`` keeps them.
    ``explained``: each with its way through the router.

    Raises InputError before the first request is read: for an unknown task, and when there is nothing to
    explain: a router without gate and mixture, or an exported graph.
    """
    unknown = sorted(set(tasks or ()) - set(answerer.tasks))
    if unknown:
        has = f"it has: {', '.join(answerer.tasks)}{near(unknown[0], answerer.tasks)}"
        raise InputError(f"the model has no task '{unknown[0]}'; {has}")
    if explained:
        _refuse_unexplained(answerer)
    return _answers(answerer, iter(requests), tasks, batch, log, explained)


def write(
    answers: Iterable[Answer],
    about: Mapping[str, Mapping[str, Any]],
    target: Path | IO[str],
    form: OutputFormat | None = None,
) -> int:
    """Write answers as JSONL or CSV to a text stream or file; how many there were.

    ``about``: {task: {"kind", ...}} of the tasks that are answered, in the order of the columns. The
    format of a file follows from its suffix (.csv), JSONL otherwise. A file is written beside its place
    and renamed when it is whole; a pipe or device is written to. Raises InputError for a folder that is
    not there, MachineError when the target cannot be written.
    """
    if not isinstance(target, Path):
        return _write(answers, about, target, form or "jsonl")
    form = form or ("csv" if target.suffix.lower() == ".csv" else "jsonl")
    whole = place(target)
    if is_stream(target):
        try:
            with target.open("a", encoding="utf-8", newline="") as file:
                return _write(answers, about, file, form)
        except OSError as error:
            raise MachineError(f"cannot write {target}: {error.strerror}") from error
    target = whole
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


def place(target: Path) -> Path:
    """The file that is written: behind links, in a folder that is there. Raises InputError without one."""
    if target.is_dir():
        raise InputError(f"cannot write {target}: it is a folder; name a file in it")
    if not target.parent.is_dir():
        raise InputError(f"cannot write {target}: there is no folder {target.parent}; make it first")
    try:
        return target.resolve()
    except (OSError, RuntimeError) as error:
        raise InputError(f"cannot write {target}: it is a link that never ends") from error


def is_stream(target: Path) -> bool:
    """A pipe or device, also /dev/stdout where that is a file: it is written to, never replaced."""
    names = target.absolute().as_posix()
    ours = names.startswith(("/dev/std", "/dev/fd/")) or re.match(r"/proc/[^/]+/fd/", names)
    return target.exists() and (not target.is_file() or bool(ours))


def _answers(
    answerer: "Answering",
    requests: Iterator[Request],
    tasks: Sequence[str] | None,
    batch: int,
    log: RequestLog | None,
    explained: bool,
) -> Iterator[Answer]:
    while chunk := list(itertools.islice(requests, batch)):
        rows = [request.values for request in chunk]
        try:
            refuse_halves(rows, {task: answerer.tasks[task] for task in tasks or answerer.tasks})
            found = answerer.answer(rows, tasks)
        except RowError as error:
            raise InputError(f"{chunk[error.row].where}: {error.reason}") from None
        if log is not None:
            log.write(rows, found, [request.id for request in chunk])
        told: Sequence[Mapping[str, Any] | None] = [None] * len(chunk)
        if explained:
            told = _explained(answerer, rows, tasks)
        yield from (Answer(*each) for each in zip(chunk, found, told, strict=True))


def _refuse_unexplained(answerer: "Answering") -> None:
    from doubleroute.modeling.explain import refuse_without_a_way
    from doubleroute.modeling.inference import Answerer

    if not isinstance(answerer, Answerer):
        raise InputError(
            f"an exported graph ({answerer.precision}) does not show its gate; write --precision torch, or "
            "leave it out"
        )
    refuse_without_a_way(answerer.model)


def _explained(
    answerer: "Answering", rows: Sequence[Mapping[str, Any]], tasks: Sequence[str] | None
) -> list[dict[str, Any]]:
    from doubleroute.modeling.explain import explain
    from doubleroute.modeling.inference import Answerer

    assert isinstance(answerer, Answerer)
    return explain(answerer, rows, tasks)


def _write(
    answers: Iterable[Answer], about: Mapping[str, Mapping[str, Any]], file: IO[str], form: OutputFormat
) -> int:
    count = 0
    if form == "jsonl":
        for answer in answers:
            count += 1
            file.write(json.dumps(answer.as_dict(), ensure_ascii=False) + "\n")
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
    second = {
        "classification": ["_probability"],
        "ordinal": ["_probability"],
        "multilabel": ["_probabilities"],
        "retrieval": ["_score"],
        "span": ["_confidence"],
    }
    return [task, *(task + suffix for suffix in second.get(about["kind"], []))]


def _cells(answer: Mapping[str, Any]) -> list[Any]:
    """The cells of one answer; lists and mappings as JSON."""
    if "answer" in answer:
        return [answer["answer"] or "", answer["confidence"]]
    if "answers" in answer:
        return [answer["label"], answer["score"]]
    if "label" in answer:
        return [answer["label"], answer["probabilities"][answer["label"]]]
    if "labels" in answer:
        return [_json(answer["labels"]), _json(answer["probabilities"])]
    return [answer["value"]] if "value" in answer else [_json(answer["entities"])]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
