"""A promotion that a person asks for: the promotion gate's recorded decision, or its override."""

from typing import Any

from doubleroute.errors import GateError, InputError
from doubleroute.integrations.registry import CHAMPION, Registry, Version


def promote_by_hand(
    registry: Registry, which: str | None = None, reason: str | None = None, override: bool = False
) -> dict[str, Any]:
    """Make a version (its number or alias; by default the challenger) champion: plain JSON {"version",
    "from", "changed", "by", "verdict", "reasons"}.

    Raises GateError with all that speaks against it: another verdict than promote, none, another
    champion than the one that it was compared with, a rollback from it; with ``override`` it becomes
    champion all the same, for the ``reason`` that must be given then, and the history says "by hand".
    """
    if override and not (reason or "").strip():
        raise InputError("--override needs --reason TEXT: the history is to say why")
    version = _version(registry, which)
    champion = registry.champion()
    decision = version.decision or {"verdict": None, "reasons": []}
    found = {"version": version.number, "from": champion and champion.number, "verdict": decision["verdict"]}
    if CHAMPION in version.aliases:
        return {**found, "changed": False, "by": None, "reasons": []}
    against = _objections(registry, version, champion)
    if against and not override:
        raise GateError(
            f"model '{registry.name}': version {version.number} is not promoted: {'; '.join(against)}"
            f" (`--override --reason TEXT` makes it champion all the same)"
        )
    why = [reason.strip()] if reason and reason.strip() else []
    reasons = [*why, *(against or decision["reasons"])]
    told = {**decision, "reasons": reasons}
    registry.promote(version, found["from"], told, by="by hand" if against else "promotion")
    return {**found, "changed": True, "by": "by hand" if against else "promotion", "reasons": reasons}


def _version(registry: Registry, which: str | None) -> Version:
    if which is not None:
        return registry.version(which)
    challenger = registry.challenger()
    if challenger is None:
        numbers = ", ".join(version.number for version in registry.versions()) or "none"
        raise InputError(
            f"model '{registry.name}' has no challenger; `doubleroute train` makes one, or name a version "
            f"(there are: {numbers})"
        )
    return challenger


def _objections(registry: Registry, version: Version, champion: Version | None) -> list[str]:
    """What speaks against a version becoming champion now."""
    found = []
    taken = registry.taken_back(version)
    if taken:
        found.append(f"it was taken back at {taken['time']}: {taken['reasons'][0]}")
    decision = version.decision
    if decision is None:
        return [*found, "the promotion gate has not decided about it; `doubleroute train` has it decided"]
    if decision["verdict"] != "promote":
        found.append(f"the promotion gate said {decision['verdict']}: {'; '.join(decision['reasons'])}")
    current, compared = champion and champion.number, decision.get("against")
    if current != compared:
        now = f"version {current} is champion" if current else "there is no champion"
        then = f"version {compared}" if compared else "no champion"
        found.append(f"it was compared with {then}, and now {now}")
    return found
