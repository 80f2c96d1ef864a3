"""Decision records: one JSON file a decision, in the project's folder ``decisions``.

A record holds the facts and the policy that were decided on, so that the decision can be made again:
{"id", "time", "project", "data_version", "facts", "policy", "verdict", "reasons", "numbers", "report",
"outcome"}. The id is <YYYYMMDDTHHMMSS>-<8 hex digits of the digest of facts and policy>.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from doubleroute.config import Retraining
from doubleroute.digests import digest_of
from doubleroute.drift.policy import AHEAD, Decision, decide, heads_alone, moment
from doubleroute.errors import DataError, InputError
from doubleroute.workspace import Workspace, write_json

FOLDER = "decisions"
Record = dict[str, Any]
_DATA = ("digest", "dvc_md5")
_KEYS = {"id", "time", "project", "facts", "policy", "verdict", "reasons", "numbers", "outcome"}


@dataclass(frozen=True)
class Reproduction:
    """A decision made again from its record: ``same`` when verdict, reasons and numbers are identical;
    else ``differences`` says what is not."""

    same: bool
    decision: Decision
    differences: tuple[str, ...]


def make(
    project: str,
    facts: Mapping[str, Any],
    policy: Retraining,
    data_version: Mapping[str, Any] | None = None,
    report: str | None = None,
) -> Record:
    """Decide, and give the record of it; nothing is written. ``facts["now"]`` is the record's time."""
    decision = decide(facts, policy)
    dumped = policy.model_dump(mode="json")
    return {
        "id": f"{moment(facts['now']):%Y%m%dT%H%M%S}-{digest_of({'facts': facts, 'policy': dumped})[:8]}",
        "time": facts["now"],
        "project": project,
        "data_version": None if data_version is None else dict(data_version),
        "facts": dict(facts),
        "policy": dumped,
        **decision.as_dict(),
        "report": report,
        "outcome": None,
    }


def write(root: Path, record: Mapping[str, Any]) -> Path:
    """Write a new record; give its file. The same decision written twice stays as it was first written,
    with its outcome. Raises DataError when another decision has the id, MachineError for the disk."""
    path = _path(root, record["id"])
    with Workspace(root).lock(FOLDER):
        if path.exists():
            there = _load(path)
            if (there["facts"], there["policy"]) != (record["facts"], record["policy"]):
                raise DataError(f"{path} holds another decision; move it aside")
            return path
        path.parent.mkdir(exist_ok=True)
        write_json(path, dict(record))
    return path


def read(root: Path, name: str) -> Record:
    """One record by its id, or by the beginning of it if only one begins so.

    Raises InputError when there is none, naming the newest that there are; DataError for a damaged file.
    """
    ids = sorted((path.stem for path in (root / FOLDER).glob("*.json")), reverse=True)
    found = [each for each in ids if each == name] or [each for each in ids if name and each.startswith(name)]
    if len(found) == 1:
        return _load(_path(root, found[0]))
    shown = ", ".join(found[:5] or ids[:5]) or "none yet"
    if found:
        raise InputError(f"'{name}' begins {len(found)} decisions: {shown}; give more of the id")
    raise InputError(f"there is no decision '{name}' in {root / FOLDER}; the newest are: {shown}")


def read_all(root: Path) -> tuple[list[Record], list[str]]:
    """All records, newest first, and for each file that is no record a sentence that names it."""
    records, damaged = [], []
    for path in sorted((root / FOLDER).glob("*.json"), reverse=True):
        try:
            records.append(_load(path))
        except DataError as error:
            damaged.append(str(error))
    return sorted(records, key=lambda record: record["id"], reverse=True), damaged


def begin(root: Path, name: str, forced: bool = False) -> Record:
    """Note in a record that it is carried out from now on, which is when it began also where an earlier
    attempt did not end well; ``forced``: by hand, against what was decided. Gives the record. Raises as
    ``read`` does."""
    began = {"began": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}"}
    return set_outcome(root, name, began | ({"forced": True} if forced else {}))


def set_outcome(root: Path, name: str, outcome: Mapping[str, Any]) -> Record:
    """Note in a record what became of it: {"began", "version", "verdict", "reasons", "seconds", "error",
    "forced"}, those that are known. When it began, and whether by force, stays where ``outcome`` does not
    say; ``attempts`` counts how often it began since the last error, ``failed`` says whether an earlier
    attempt ended in one. Gives the record. Raises as ``read`` does."""
    with Workspace(root).lock(FOLDER):
        record = read(root, name)
        before = record["outcome"] or {}
        empty: Record = {"began": before.get("began"), "version": None, "verdict": None, "reasons": []}
        empty |= {"seconds": None, "error": None, "forced": bool(before.get("forced"))}
        unknown = sorted(set(outcome) - set(empty))
        if unknown:
            raise InputError(f"an outcome has no '{unknown[0]}'; it has: {', '.join(empty)}")
        failed = bool(before.get("failed") or before.get("error"))
        attempts = 0 if before.get("error") else before.get("attempts", 0)
        attempts += "began" in outcome
        record["outcome"] = {**empty, **outcome, "attempts": attempts, "failed": failed}
        write_json(_path(root, record["id"]), record)
    return record


def retrainings(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """When retrainings began, newest first, for cooldown and the weekly maximum: of the decisions that were
    carried out, those under way included. Of attempts in a row that ended in an error the first does not
    count: one more is made at the next look, and no more than the policy allows after that."""
    carried_out = [each for each in records if each["outcome"] is not None]
    # One that was given up before it began is none; an older record does not say when it began.
    carried_out = [each for each in carried_out if each["outcome"].get("began", each["time"]) is not None]
    tried = [  # an older record says neither when it began nor whether it had failed before
        (outcome.get("began") or time, bool(outcome.get("error")), bool(outcome.get("failed")))
        for time, outcome in ((each["time"], each["outcome"]) for each in carried_out)
    ]
    counted, failed = list[str](), False
    for began, error, again in sorted(tried, key=lambda attempt: moment(attempt[0])):
        if failed or again or not error:
            counted.append(began)
        failed = error
    return counted[::-1]


def unfinished(
    root: Path, data_version: Mapping[str, Any], champion: str | None, policy: Retraining
) -> Record | None:
    """The newest decision if it is to retrain this champion (its version) on these data by this policy and
    nothing came of it yet: nobody began, or a kill cut the retraining short. Else None. Of ``data_version``
    the data count, not the commit: an edit of a file or a commit changes no row."""
    now = datetime.now(UTC)
    records = [each for each in read_all(root)[0] if moment(each["time"]) < now + AHEAD]
    if not records or records[0]["verdict"] != "retrain":
        return None
    outcome = records[0]["outcome"] or {}
    if outcome.get("version") or outcome.get("error"):
        return None
    return records[0] if _is_about(records[0], data_version, champion, policy) else None


def most_attempts(
    root: Path, data_version: Mapping[str, Any], champion: str | None, policy: Retraining
) -> int:
    """How often a retraining of this champion (its version) on these data by this policy began and did not
    end since one of them made a version: the most of any decision about it, 0 where none was begun."""
    found = 0
    for record in read_all(root)[0]:
        outcome = record["outcome"] or {}
        if _is_about(record, data_version, champion, policy):
            if outcome.get("version"):
                break
            found = max(found, outcome.get("attempts", 0))
    return found


def tried(
    records: Iterable[Mapping[str, Any]],
    data_version: Mapping[str, Any],
    facts: Mapping[str, Any],
    policy: Retraining,
) -> Record | None:
    """What came of the newest of these decisions, newest first, that made a version from the champion of
    these facts, of these data, by this policy and with the same tasks, those that the champion lacks and
    those whose heads alone learn: {"decision", "version", "verdict"}; None when none did. Trained again it
    would be the same version, whatever the promotion gate said about it."""
    champion = facts["champion"] and facts["champion"]["version"]
    tasks = _tasks(facts, policy, decide(facts, policy).numbers["tasks"] or ())
    for record in records:
        outcome = record["outcome"] or {}
        if not outcome.get("version") or not _is_about(record, data_version, champion, policy):
            continue
        if _tasks(record["facts"], policy, speaking(record)) == tasks:
            return {"decision": record["id"], "version": outcome["version"], "verdict": outcome["verdict"]}
    return None


def _is_about(
    record: Mapping[str, Any], data_version: Mapping[str, Any], champion: str | None, policy: Retraining
) -> bool:
    """Whether it was decided about this champion, on these data and by this policy."""
    before = record.get("data_version") or {}
    if is_overtaken(record, champion) or any(before.get(key) != data_version[key] for key in _DATA):
        return False
    try:  # an older record lacks what its policy could not say yet
        return _policy(record).model_dump(mode="json") == policy.model_dump(mode="json")
    except ValidationError:
        return False


def _tasks(
    facts: Mapping[str, Any], policy: Retraining, speaking: Sequence[str]
) -> tuple[set[str], set[str] | None]:
    """The tasks that the champion lacks, and those whose heads alone learn; None: everything does."""
    heads = heads_alone(facts, policy, speaking)
    return set(facts.get("new_tasks") or ()), None if heads is None else set(heads)


def is_overtaken(record: Mapping[str, Any], champion: str | None) -> bool:
    """Whether another version than the one that was decided about is champion now."""
    about = record["facts"]["champion"]
    return (about and about["version"]) != champion


def is_under_way(record: Mapping[str, Any]) -> bool:
    """Whether a retraining began of which nothing came yet: it is at work, or a kill cut it short."""
    outcome = record["outcome"]
    return outcome is not None and not (outcome["version"] or outcome["error"])


def speaking(record: Mapping[str, Any]) -> tuple[str, ...]:
    """The tasks that spoke for a decision; none where a reason was of no task, or nothing spoke. In an older
    record those that moved."""
    if "tasks" in record["numbers"]:
        return tuple(record["numbers"]["tasks"] or ())
    moved = tuple((record["facts"]["drift"] or {}).get("moved") or ())
    return () if "inputs" in moved else moved


def reproduce(record: Mapping[str, Any]) -> Reproduction:
    """Decide again from a record's facts and policy. Of the numbers those count that the record has: an older
    one has fewer.

    Raises InputError when its policy does not fit this version of doubleroute.
    """
    try:
        policy = _policy(record)
    except ValidationError as error:
        wrong = ", ".join(".".join(map(str, each["loc"])) for each in error.errors())
        raise InputError(
            f"decision {record['id']}: its policy is that of another version of doubleroute ({wrong})"
        ) from None
    decision = decide(record["facts"], policy)
    again = json.loads(json.dumps(decision.as_dict()))
    again["numbers"] = _alike(again["numbers"], record["numbers"])
    differences = tuple(
        f"{key}: recorded {json.dumps(record[key])}, decided again {json.dumps(again[key])}"
        for key in ("verdict", "reasons", "numbers")
        if record[key] != again[key]
    )
    return Reproduction(not differences, decision, differences)


def _policy(record: Mapping[str, Any]) -> Retraining:
    """Raises ValidationError for one of another version that does not fit."""
    return Retraining.model_validate_json(json.dumps(record["policy"]))


def _alike(numbers: Mapping[str, Any], recorded: Mapping[str, Any]) -> Record:
    """The numbers that are recorded too, those of ``policy`` likewise."""
    found = {key: value for key, value in numbers.items() if key in recorded}
    if "policy" in found:
        found["policy"] = {key: found["policy"][key] for key in found["policy"] if key in recorded["policy"]}
    return found


def _path(root: Path, name: str) -> Path:
    if not re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z-]*", name):
        raise InputError(f"'{name}' is no id of a decision; one looks like 20261123T083000-1a2b3c4d")
    return root / FOLDER / f"{name}.json"


def _load(path: Path) -> Record:
    try:
        record: Any = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise DataError(f"{path} is damaged: {error}") from None
    missing = _KEYS - set(record) if isinstance(record, dict) else _KEYS
    if missing:
        raise DataError(f"{path} is no decision record: it lacks {', '.join(sorted(missing))}")
    found: Record = record
    return found
