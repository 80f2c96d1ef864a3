"""A commented project.yaml for data files that somebody has: what `doubleroute init` writes."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from doubleroute.config import SPLITS
from doubleroute.config.values import NAME_PATTERN, OF_MODULES
from doubleroute.data.raw import columns_listed, short
from doubleroute.data.roles import YEAR_LAST, Roles, find_roles
from doubleroute.data.starter_files import SHARD, SPLIT_WORDS, data_sets
from doubleroute.data.starter_yaml import LABELLED, DataSet, document, label_values
from doubleroute.errors import DataError, InputError
from doubleroute.workspace import write_text

GENERIC = {"label", "labels", "class", "category", "target", "y", "tag", "type", "kind"}


@dataclass
class Starter:
    """The text of a project.yaml, what was inferred for it, and what could be otherwise."""

    text: str
    mapping: list[str]
    doubts: list[str]
    tasks: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON: the kind of each task, the mapping and the doubts."""
        return {"tasks": self.tasks, "mapping": self.mapping, "doubts": self.doubts}


def look(files: Sequence[Path], project: Path, name: str | None = None) -> Starter:
    """Read the files and infer tasks. ``project`` is the folder that the paths are relative to.

    Raises DataError when a file cannot be read or holds nothing to learn.
    """
    doubts: list[str] = []
    files = list({file.resolve(): file for file in files}.values())
    found = data_sets(files, project, doubts)
    tasks: dict[str, tuple[DataSet, Roles, str]] = {}
    mapping: list[str] = []
    for data_set in found:
        roles = find_roles(data_set.all_values())
        unlabelled = data_set.unlabelled(roles)
        for split, column in unlabelled.items():
            doubts.append(f"{', '.join(data_set.drop(split))}: no row has a '{column}'; not used for {split}")
        if unlabelled:
            roles = find_roles(data_set.all_values())
        place = ", ".join(data_set.names)
        prefix = f"{place}: " if len(found) > 1 else ""
        if roles.kind is None and roles.tags is None:
            raise DataError(_nothing_to_learn(place, data_set, roles))
        doubts += [prefix + doubt for doubt in roles.doubts]
        if roles.kind:
            tasks[_free(_label_task(roles, data_set), tasks)] = (data_set, roles, roles.kind)
        if roles.tags:
            tasks[_free("entities", tasks)] = (data_set, roles, "tagging")
        mapping += [prefix + line for line in _mapping(data_set, roles)]
    for task, (data_set, roles, kind) in tasks.items():
        doubts += [f"{task}: {doubt}" for doubt in _label_doubts(data_set, roles, kind)]
    kinds = {task: kind for task, (_, _, kind) in tasks.items()}
    mapping = [f"task {task}: {kind}" for task, kind in kinds.items()] + mapping
    text = document(
        _project_name(name, project),
        tasks,
        [Path(os.path.relpath(file, project)).as_posix() for file in files],
    )
    return Starter(text, mapping, doubts, kinds)


def write(starter: Starter, project: Path, force: bool = False) -> Path:
    """Write project.yaml into the folder. Raises InputError when one is there and ``force`` is not set."""
    path = project / "project.yaml"
    if project.exists() and not project.is_dir():
        raise InputError(f"--project {project} is a file; name a folder")
    if path.exists() and not force:
        raise InputError(f"{path} is there already; --force replaces it, --project names another folder")
    project.mkdir(parents=True, exist_ok=True)
    write_text(path, starter.text)
    return path


def _nothing_to_learn(place: str, data_set: DataSet, roles: Roles) -> str:
    has = columns_listed(data_set.columns)
    if not all(name.strip() for name in data_set.columns):
        has += " (one without a name plays no part: give it one)"
    if roles.text is None:
        return f"{place}: no column holds text; it has: {has}"
    found = (
        f"{place}: '{roles.text}' is the text, but no column holds labels, numbers to predict, or tags; "
        f"it has: {has}. A label column holds few values that come back"
    )
    for name in data_set.columns:
        values = {str(value) for split in data_set.values.values() for value in split.get(name, ())}
        if name != roles.text and len(values) == 1:
            return f"{found}, at least two; '{name}' holds one alone: {short(values.pop())}"
    return found


def _label_task(roles: Roles, data_set: DataSet) -> str:
    """A name for the task of the label column: the column's, the file's or the folder's."""
    candidates = [] if (roles.label or "").lower() in GENERIC else [roles.label or ""]
    first = data_set.files["train"][0]
    stem = Path(first).stem.lower() if Path(first).suffix else Path(first).name.lower()
    words = re.split(r"[^a-z0-9]+", SHARD.sub("", stem))
    candidates.append("_".join(part for part in words if part not in SPLIT_WORDS))
    folder = Path(first).parent.name.lower()
    candidates += [folder if folder not in ("data", "..", ".") else "", roles.kind or ""]
    names = (re.sub(r"[^a-z0-9]+", "_", each.lower()).strip("_").lstrip("_0123456789") for each in candidates)
    return next(each[:40] for each in names if each and each not in ("all", "data"))


def _free(name: str, taken: dict[str, Any]) -> str:
    if name in OF_MODULES:
        name = f"{name}_task"
    numbered = (f"{name}_{number}" for number in range(2, len(taken) + 3))
    return name if name not in taken else next(each for each in numbered if each not in taken)


def _project_name(name: str | None, project: Path) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", (name or project.resolve().name).lower()).strip("-")[:63].strip("-")
    if name is not None and not re.match(NAME_PATTERN, name):
        hint = f"; '{slug}' would do" if slug else ""
        raise InputError(f"--name '{name}' must be lower-case letters, digits and hyphens, 63 at most{hint}")
    return name or slug or "my-project"


def _label_doubts(data_set: DataSet, roles: Roles, kind: str) -> list[str]:
    known = set(label_values(data_set, roles, "train"))
    unseen = sorted(set(label_values(data_set, roles)) - known)
    if kind == "retrieval" and (unseen or len(data_set.files["train"]) > 1):
        where = f"answers.file is {data_set.files['train'][0]} alone, and other files have answers too"
        return [f"{where}; write all answers into one table and name that"]
    if kind not in LABELLED:
        return []
    return [f"labels that no training row has: {', '.join(unseen[:10])}"] if unseen else []


def _mapping(data_set: DataSet, roles: Roles) -> list[str]:
    lines = [f"{split} {_count(data_set.values[split])} rows" for split in SPLITS if split in data_set.files]
    for split in SPLITS:
        if split not in data_set.files:
            lines.append(f"{split} is split off from train, a tenth of the rows")
    parts = {
        "text": roles.text,
        "pair": roles.text_pair,
        "label": roles.label,
        "tokens": roles.tokens,
        "tags": roles.tags,
    }
    lines += [f"{part} = column '{column}'" for part, column in parts.items() if column]
    if roles.kind in LABELLED:
        lines.append(f"{len(label_values(data_set, roles))} labels")
    lines += [f"scores by '{column}'" for column in roles.slices]
    for column in roles.dates:
        values = _in_order([str(value) for value in data_set.all_values()[column] if value])
        lines.append(f"'{column}' is a date, {values[0]} to {values[-1]}; not used")
    return lines + [f"'{column}' is not used" for column in roles.unused]


def _in_order(dates: list[str]) -> list[str]:
    """Dates from the first to the last: of 31.1.2026 and 31/1/2026 the day comes first, unless a second
    part above 12 in some row says that the month does."""
    found = {value: match.groups() for value in dates if (match := YEAR_LAST.fullmatch(value.strip()))}
    month_first = any(int(second) > 12 for _, second, _ in found.values())

    def as_iso(value: str) -> str:
        if value not in found:
            return value
        first, second, year = map(int, found[value])
        month, day = (first, second) if month_first else (second, first)
        full = year if year > 99 else year + (1900 if year > 68 else 2000)  # as POSIX reads two digits
        return f"{full:04}-{month:02}-{day:02}"

    return sorted(dates, key=as_iso)


def _count(columns: dict[str, list[Any]]) -> int:
    return max((len(values) for values in columns.values()), default=0)
