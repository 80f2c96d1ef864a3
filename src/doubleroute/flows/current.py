"""The rows that the champion has not seen: in the project's data, in the log of what it was asked, or in
a file that somebody has."""

import json
import sys
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from doubleroute.config import NAMELESS, SPLITS, Project, Task
from doubleroute.data import checks
from doubleroute.data.arrivals import REFERENCE, ROWS, HeldOut, Seen, read_reference, row_keys, text_keys
from doubleroute.data.raw import short, shown
from doubleroute.data.rows import Rows, canonical_rows
from doubleroute.data.tables import Table, read_tables, read_validated
from doubleroute.errors import InputError
from doubleroute.flows.held_out import usable
from doubleroute.flows.watching import Frames, Known
from doubleroute.integrations.registry import Registry, Version
from doubleroute.serving.log import read_log
from doubleroute.serving.redaction import NotRedactedError, redactor
from doubleroute.workspace import Stage


@dataclass(frozen=True)
class Learned(Known):
    """The champion, what it remembers of its rows, and the project's tasks that it answers."""

    version: Version
    seen: Seen
    answers: frozenset[str]


def learned(registry: Registry, project: Project) -> Learned | None:
    """The champion; None when there is none. What it remembers of a task that is of another kind in the
    project is left out. Raises InputError for one that remembers no rows."""
    version = registry.champion()
    if version is None:
        return None
    files = {name: registry.artifact(version, name) for name in (ROWS, REFERENCE)}
    rows, sample = files[ROWS], files[REFERENCE]
    if rows is None or sample is None:
        raise InputError(
            f"model '{registry.name}', version {version.number}, was registered without {ROWS}, so nobody "
            "knows which rows are new to it; `doubleroute train` makes a version that remembers them"
        )
    digest, model = version.digest or version.run_key or version.source, registry.model_folder(version)
    about = json.loads((model / "config.json").read_text(encoding="utf-8"))["tasks"]
    same = frozenset(
        name for name, task in project.tasks.items() if about.get(name, {}).get("kind") == task.kind
    )
    known = {task: frame for task, frame in read_reference(sample).items() if task in same}
    return Learned(digest, model, known, version, Seen.read(rows), same)


def arrived(project: Project, validated: Stage, seen: Seen, held: HeldOut | None) -> Frames:
    """The validated rows of each task, all splits together, that the champion has not seen and a training may
    use (``held_out.usable``). A row that says what known ones say is new where there are more of them now:
    what people often say they say again, and without it new rows would seem to lack it."""
    found = {}
    for task in project.tasks:
        parts = [usable(validated, task, split, held).assign(split=split) for split in SPLITS]
        frame = pd.concat(parts, ignore_index=True)
        found[task] = frame[seen.are_more(task, row_keys(frame, text_keys(frame)))].reset_index(drop=True)
    return found


def new_labels(task: str, arrived: pd.DataFrame, seen: Seen) -> int:
    """How many labelled training rows among those that arrived the champion has not seen: one more copy of a
    row that it knows is nothing to learn from."""
    rows = arrived[(arrived["split"] == "train") & arrived["label"].notna()]
    return int((~seen.knows(task, row_keys(rows, text_keys(rows)))).sum())


def unlearned(frames: Frames, validated: Stage, seen: Seen) -> tuple[Frames, dict[str, int]]:
    """Of rows that arrived those that do not stand in the place of a row that the champion knows with a
    label, and by task how many of the others have another label than it knows.

    In the place of such a row, of whatever split, stands one of its text, unless the known row is in the data
    still: then it is another row that says the same. Where a label was corrected there may be something to
    learn, but no new text came, and the champion, which was taught, chosen or judged by the old label, would
    seem to fail. Rows without their label, and those that left the data and came back as they were, are no
    arrivals either; one more of a row that is there still is. A label that comes later for a row that had
    none taught, chose and judged nothing: that row is an arrival.
    """
    found, relabelled = {}, {}
    for task, frame in frames.items():
        texts = text_keys(frame)
        known = seen.was_taught(task, texts) | seen.knows_label(task, texts)
        rows = row_keys(frame, texts)
        same = seen.was_taught_row(task, rows)
        if known.any():
            known &= ~seen.knows(task, rows)
            known &= same | ~np.isin(texts, _standing_texts(validated, task, seen))
        relabelled[task] = int((known & ~same & frame["label"].notna().to_numpy()).sum())
        found[task] = frame[~known].reset_index(drop=True)
    return found, relabelled


def _standing_texts(validated: Stage, task: str, seen: Seen) -> np.ndarray:
    """Keys of the texts that stand in the data with the label that the champion knows: uint64 [n]."""
    standing = []
    for split in SPLITS:
        frame = read_validated(validated.path, task, split)
        texts = text_keys(frame)
        rows = row_keys(frame, texts)
        same = seen.was_taught_row(task, rows) | seen.knows(task, rows)
        standing.append(texts[same & frame["label"].notna().to_numpy()])
    return np.concatenate(standing)


def asked(project: Project, since: str | None) -> Frames:
    """The texts that the served model was asked since then (ISO time, UTC), newest last, as unlabelled rows
    of each task that answered them; of a task of pairs those that had a second text.
    """
    found = read_log(project.root / project.serving.folder, since, project.drift.max_rows)
    places = [place.rpartition(":") for place in found.places]
    columns: dict[str, Any] = {
        "text": found.texts,
        "text_pair": found.pairs,
        "time": found.times,
        "file": [file for file, _, _ in places],
        "row": [int(row) for _, _, row in places],
    }
    frame = pd.DataFrame(columns, dtype=object).assign(label=None, split="asked")
    asked_of = {}
    for task, options in project.tasks.items():
        answered = np.array([task in each for each in found.answers], bool)
        reads_pairs = options.columns.text_pair is not None
        if reads_pairs:
            answered &= frame["text_pair"].notna().to_numpy()
        own = frame[answered].reset_index(drop=True)
        asked_of[task] = own if reads_pairs else own.drop(columns="text_pair")
    return asked_of


def as_logged(project: Project, sample: Frames) -> Frames:
    """A champion's sample as the log would hold it, so that what was asked differs from it by what people
    wrote alone: redacted by ``serving.redact``, without the rows that cannot be. A label that points into a
    redacted text, tags or a span, is left out.
    """
    redact = redactor(project.serving.redact, home=project.root)
    found = {}
    for task, frame in sample.items():
        points = project.tasks[task].kind in ("tagging", "span")
        rows = []
        for row in frame.to_dict("records"):
            try:
                said: dict[Hashable, Any] = {
                    name: redact(row[name]) for name in ("text", "text_pair") if row.get(name) is not None
                }
            except NotRedactedError:
                continue
            if any(row[name] != text for name, text in said.items()):
                said |= {"tokens": said["text"].split()} if "tokens" in row else {}
                said |= {"label": None} if points else {}
            rows.append({**row, **said})
        found[task] = pd.DataFrame(rows, columns=frame.columns, dtype=object)
    return found


def given(project: Project, path: Path, labels: Mapping[str, Sequence[str]]) -> Frames:
    """The rows of a file as each task reads them whose columns it has; labels may lack.

    ``labels``: of tasks, all there are. Raises DataError for a file that cannot be read, InputError when
    no task can read it. Bad rows are left out, as validation would, which is said on stderr.
    """
    found = {}
    tables = read_tables(path)
    readers = {task: options for task, options in project.tasks.items() if _reads(options, tables)}
    labelled = [each for each in readers.values() if all(each.columns.label in t.names for t in tables)]
    for task, options in readers.items():
        label = options.columns.tags if options.kind == "tagging" else options.columns.label
        bare = {"slices": (), "columns": options.columns.model_copy(update={"time": None, "key": None})}
        parts = []
        for table in tables:
            if label not in table.names and table.format != "conll":
                table.columns[label] = [None] * len(table.rows)
                table = replace(table, names=(*table.names, label))
            elif options.kind == "multilabel" and len(labelled) == 1:  # blank: none of them, as in validation
                table.columns[label] = [
                    [] if isinstance(value, str) and not value.strip() else value
                    for value in table.columns[label]
                ]
            rows, problems = canonical_rows(
                table, options.model_copy(update=bare), f"tasks.{task}", shown(path), True
            )
            reasons = {each.row: each.reason for each in problems}
            reasons |= _wrong_labels(rows, options.kind, labels.get(task))
            if reasons:
                first = min(reasons)
                said = f"left out for {task}: {len(reasons):,} of {len(table.rows):,} rows"
                why = f"the first is row {first}: {reasons[first]}"
                print(f"{shown(path)}: {said}; {why}", file=sys.stderr, flush=True)
            frame = pd.DataFrame(rows).assign(split="given")
            parts.append(frame[~frame["row"].isin(reasons)])
        found[task] = pd.concat(parts, ignore_index=True)
    if not found:
        wanted = ", ".join(f"{task}: {each.columns.text}" for task, each in project.tasks.items())
        raise InputError(
            f"{shown(path)} has no column that a task reads ({wanted}); it has: {', '.join(tables[0].names)}"
        )
    return found


def _reads(task: Task, tables: Sequence[Table]) -> bool:
    """Whether the tables have the texts of a task."""
    if task.kind == "tagging":
        return all(task.columns.tokens in table.names or table.format == "conll" for table in tables)
    wanted = {task.columns.text, task.columns.text_pair} - {None}
    return all(wanted <= set(table.names) for table in tables)


def _wrong_labels(rows: Rows, kind: str, labels: Sequence[str] | None) -> dict[int, str]:
    """By row what is wrong with its label: not as many tags as tokens, or none that the task has."""
    if kind in NAMELESS:
        return {}
    reasons = {}
    unknown = checks.unknown_label(
        [None] * len(rows["row"]) if labels is None else rows["label"], labels or ()
    )
    for place, (row, label, wrong) in enumerate(zip(rows["row"], rows["label"], unknown, strict=True)):
        if kind == "tagging" and label is not None and len(label) != len(rows["tokens"][place]):
            reasons[row] = f"{len(label)} tags for {len(rows['tokens'][place])} tokens"
        elif wrong is not None:
            reasons[row] = f"'{short(wrong)}' is no label of the task"
    return reasons
