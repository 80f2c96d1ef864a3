"""Who was champion when, and why: every move of the alias, kept as tags of the registered model.

A move is written down before the alias moves (MOVING) and joins the history when the new champion has been
verified, so that whoever comes after a kill can end it or undo it. The history is only ever added to: each
move is a tag of its own, named by its time, and lives where the alias lives, on a server too.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from doubleroute.errors import DoublerouteError, InputError, MachineError
from doubleroute.integrations.registry_version import CHALLENGER, CHAMPION, Registered, with_alias

if TYPE_CHECKING:
    from mlflow import MlflowClient

MOVING = "doubleroute.moving"
_MOVE = "doubleroute.move."
_STAMP = "%Y%m%dT%H%M%S.%fZ"
#: Characters of the reasons in a tag: MLflow's column of a registered model's tags takes 5,000 in all.
_REASONS = 4000
By = Literal["promotion", "rollback", "by hand"]


@dataclass(frozen=True)
class Move:
    """One move of the champion's alias. ``time``: UTC, ISO 8601; None where nobody noted it. ``before``:
    the champion until then; ``verdict``: the promotion gate's about ``version``, if it had one."""

    time: str | None
    version: str
    before: str | None
    verdict: str | None
    reasons: tuple[str, ...]
    by: By

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON: time, version, from, verdict, reasons, by."""
        return {
            "time": self.time,
            "version": self.version,
            "from": self.before,
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "by": self.by,
        }

    def text(self) -> str:
        """The value of its tag; reasons that do not fit are counted."""
        kept: list[str] = []
        for place, reason in enumerate(self.reasons):
            left = _REASONS - sum(map(len, kept))
            if len(reason) > left:
                kept.append(f"and {len(self.reasons) - place} more, in the decision of the version")
                break
            kept.append(reason)
        return json.dumps({**self.as_dict(), "reasons": kept}, ensure_ascii=False)


def _read(text: str) -> Move:
    found = json.loads(text)
    reasons = tuple(found.pop("reasons"))
    return Move(before=found.pop("from"), reasons=reasons, **found)


def history_of(tags: Mapping[str, str], champion: str | None) -> list[Move]:
    """Every move, oldest first, from the tags of the registered model.

    ``champion``: the number that has the alias. A move that a kill left unverified counts when the alias
    is there; a champion of whom no move tells was made so by something else than doubleroute.
    """
    moves = [_read(tags[key]) for key in sorted(tags) if key.startswith(_MOVE)]
    last = moves[-1].version if moves else None
    pending = _read(tags[MOVING]) if MOVING in tags else None
    if champion is None or champion == last:
        return moves
    if pending is not None and pending.version == champion:
        return [*moves, pending]
    why = "the alias was moved by something else than doubleroute"
    return [*moves, Move(None, champion, last, None, (why,), "by hand")]


def settle(client: "MlflowClient", name: str, check: Callable[[str], None]) -> None:
    """End what a killed move began, and note a champion of whom nobody wrote.

    ``check(number)`` raises DoublerouteError when that version cannot be champion; the alias then goes
    back, and MachineError says so. The caller holds the lock.
    """
    tags, champion = _state(client, name)
    known = history_of(tags, champion)
    if len(known) > sum(key.startswith(_MOVE) for key in tags):
        if known[-1].time is None:
            _append(client, name, known[-1])
        else:
            _verify(client, name, known[-1], check)
    if MOVING in tags:
        client.delete_registered_model_tag(name, MOVING)


def move(client: "MlflowClient", name: str, wanted: Move, check: Callable[[str], None]) -> None:
    """Move the champion's alias, verify the new champion, and add the move to the history.

    When ``check(number)`` of the version that the alias then names raises, the alias goes back to where
    it was and MachineError says so. The caller holds the lock and has settled what was before.
    """
    client.set_registered_model_tag(name, MOVING, wanted.text())
    client.set_registered_model_alias(name, CHAMPION, wanted.version)
    _verify(client, name, wanted, check)
    client.delete_registered_model_tag(name, MOVING)


def _verify(client: "MlflowClient", name: str, wanted: Move, check: Callable[[str], None]) -> None:
    try:
        champion = with_alias(client, name, CHAMPION)
        if champion is None or champion.number != wanted.version:
            found = f"version {champion.number}" if champion else "no version"
            raise MachineError(f"the alias names {found} after it was moved")
        check(champion.number)
    except DoublerouteError as error:
        if wanted.before is None:
            client.delete_registered_model_alias(name, CHAMPION)
        else:
            client.set_registered_model_alias(name, CHAMPION, wanted.before)
        client.delete_registered_model_tag(name, MOVING)
        back = (
            f"version {wanted.before} is champion again"
            if wanted.before
            else "there is no champion, as before"
        )
        raise MachineError(
            f"model '{name}': version {wanted.version} did not stand the test as champion: {error}; {back}"
        ) from error
    challenger = with_alias(client, name, CHALLENGER)
    if challenger and challenger.number == wanted.version:
        client.delete_registered_model_alias(name, CHALLENGER)
    _append(client, name, wanted)


def _append(client: "MlflowClient", name: str, wanted: Move) -> None:
    """Add a move to the history, as the newest, whatever the clock says."""
    keys = [key for key in _state(client, name)[0] if key.startswith(_MOVE)]
    now = datetime.now(UTC)
    if keys:
        last = datetime.strptime(max(keys), _MOVE + _STAMP).replace(tzinfo=UTC)
        now = max(now, last + timedelta(microseconds=1))
    noted = replace(wanted, time=wanted.time or now.isoformat(timespec="seconds"))
    client.set_registered_model_tag(name, _MOVE + now.strftime(_STAMP), noted.text())


def read(model: Registered) -> list[Move]:
    """Every move of a registered model, oldest first."""
    champion = model.with_alias(CHAMPION)
    return history_of(model.tags, champion.number if champion else None)


def _state(client: "MlflowClient", name: str) -> tuple[dict[str, str], str | None]:
    """Tags of the registered model, and the champion's number."""
    model = client.get_registered_model(name)
    champion = model.aliases.get(CHAMPION)
    return dict(model.tags), None if champion is None else str(champion)


def now() -> str:
    """The time of a move that is made now."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def good_ones(moves: Sequence[Move], champion: str | None) -> list[str]:
    """The versions that a rollback may go to, the last champion first; ``moves`` are oldest first.

    A rollback takes the champions that came after its target out of the row: the one that was taken back
    is not what the next rollback goes to.
    """
    row: list[str] = []
    for each in moves:
        if each.by == "rollback" and each.version in row:
            last = max(place for place, number in enumerate(row) if number == each.version)
            del row[last + 1 :]
        elif not row or row[-1] != each.version:
            row.append(each.version)
    return [number for number in dict.fromkeys(reversed(row)) if number != champion]


def goals(moves: Sequence[Move], champion: str | None, to: str | None) -> list[str]:
    """The versions that a rollback tries, in order: ``to`` alone, or the good ones.

    Raises InputError when ``to`` is champion or never was.
    """
    if to is None:
        return good_ones(moves, champion)
    if to == champion:
        raise InputError(f"version {to} is champion already")
    ever = dict.fromkeys(each.version for each in moves)
    if to not in ever:
        were = f"champions were: {', '.join(ever)}" if ever else "nobody was"
        raise InputError(
            f"version {to} was never champion ({were}); `doubleroute promote {to}` is the way for a new one"
        )
    return [to]


def taken_back(moves: Iterable[Move], number: str) -> Move | None:
    """The rollback that ended this version's last time as champion, if one did."""
    found: Move | None = None
    for each in moves:
        if each.version == number:
            found = None
        elif each.by == "rollback" and each.before == number:
            found = each
    return found
