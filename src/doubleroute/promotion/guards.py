"""Parts 5 to 8 of the rule: what a challenger may not do, however much it gains elsewhere."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from doubleroute.config import Promotion
from doubleroute.corrections import holm
from doubleroute.promotion.findings import Finding, finite

#: The chance to refuse a challenger that is worse on no slice and in no calibration error.
ALPHA = 0.05
#: Slices without a comparison that a reason names; ``numbers`` hold all.
_NAMED = 6


def guard_findings(
    evaluation: Mapping[str, Any], promotion: Promotion, numbers: dict[str, Any]
) -> list[Finding]:
    """Part 5: slices and calibration errors, corrected together; notes each in ``numbers``."""
    entries = list(_entries(evaluation, promotion, numbers["tasks"]))
    compared = [entry for entry in entries if entry["compared"]]
    for entry, chance in zip(compared, holm([entry["p"] for entry in compared]), strict=True):
        entry["p_adjusted"] = chance
        entry["refused"] = chance <= ALPHA and entry["difference"] < -entry["margin"]
    calibration = [entry for entry in entries if entry["column"] is None]
    slices = [entry for entry in entries if entry["column"] is not None]
    numbers["slices"] = [_without(entry, "metric") for entry in slices]
    numbers["calibration"] = {
        entry["task"]: _without(entry, "task", "column", "value") for entry in calibration
    }
    findings = [Finding("refuse", _refusal(entry)) for entry in compared if entry["refused"]]
    findings += _told(slices, "slices", f"slice_margin {promotion.slice_margin:g}")
    findings += _told(
        calibration, "calibration errors", f"max_calibration_loss {promotion.max_calibration_loss:g}"
    )
    small = [entry for entry in slices if not entry["compared"]]
    if small:
        findings.append(Finding(None, _not_compared(small, promotion.slice_rows)))
    return findings


def _entries(
    evaluation: Mapping[str, Any], promotion: Promotion, tasks: Mapping[str, Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Every slice and calibration error with its margin, and whether it is compared.

    What a task's metric certainly gained widens the margin of its calibration error: a model that guesses
    and knows it is well calibrated, and nobody wants it back.
    """
    for name, task in evaluation["tasks"].items():
        against = task.get("against_champion") or {}
        for each in against.get("slices", ()):
            entry = _entry(name, each, promotion.slice_margin) | {"metric": task["metric"]}
            entry["compared"] &= entry["rows"] >= promotion.slice_rows
            yield entry
        if against.get("calibration"):
            gained = max(0.0, tasks.get(name, {}).get("low") or 0.0)
            yield _entry(name, against["calibration"], promotion.max_calibration_loss + gained)


def _entry(task: str, found: Mapping[str, Any], margin: float) -> dict[str, Any]:
    values = {key: finite(found[key]) for key in ("challenger", "champion", "difference", "low", "high", "p")}
    return {
        "task": task,
        "column": found.get("column"),
        "value": found.get("value"),
        "metric": found.get("metric"),
        "rows": found["rows"],
        "margin": margin,
        **values,
        "p_adjusted": None,
        "compared": None not in (values["difference"], values["p"]),
        "refused": False,
    }


def _without(entry: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in keys}


def _name(entry: Mapping[str, Any]) -> str:
    return (
        entry["task"] if entry["column"] is None else f"{entry['task']}, {entry['column']}={entry['value']}"
    )


def _shown(entry: Mapping[str, Any]) -> str:
    """A slice or calibration error with its numbers."""
    interval = (
        "without an interval"
        if None in (entry["low"], entry["high"])
        else f"95% interval {entry['low']:+.4f} to {entry['high']:+.4f}"
    )
    return (
        f"{_name(entry)}: {entry['metric']} {entry['challenger']:.4f} against {entry['champion']:.4f} of the "
        f"champion, difference {entry['difference']:+.4f} ({interval}, {entry['rows']} rows, "
        f"adjusted p {entry['p_adjusted']:.4g})"
    )


def _refusal(entry: Mapping[str, Any]) -> str:
    if entry["column"] is None:
        return (
            f"{_shown(entry)}: the calibration error grew, by more than {entry['margin']:.3g}, "
            "max_calibration_loss and what the metric certainly gained (a positive difference is a smaller "
            "error)"
        )
    return f"{_shown(entry)}: this slice is worse, by more than slice_margin {entry['margin']:g}"


def _told(entries: Sequence[Mapping[str, Any]], what: str, margin: str) -> list[Finding]:
    """What the comparisons that refuse nothing say: how many, and the largest loss among them."""
    passed = [entry for entry in entries if entry["compared"] and not entry["refused"]]
    if not passed:
        return []
    worst = min(passed, key=lambda entry: entry["difference"])
    text = f"{len(passed)} {what} compared: none is certainly worse by more than {margin}"
    if worst["difference"] < -worst["margin"]:
        text += f"; the largest loss, not certain: {_shown(worst)}"
    elif worst["difference"] <= -0.00005:
        text += f"; the largest loss: {_shown(worst)}"
    return [Finding(None, text)]


def _not_compared(entries: Sequence[Mapping[str, Any]], least: int) -> str:
    named = ", ".join(f"{_name(entry)} ({entry['rows']} rows)" for entry in entries[:_NAMED])
    more = f" and {len(entries) - _NAMED} more" if len(entries) > _NAMED else ""
    return f"not compared, with fewer than slice_rows {least} rows or no score: {named}{more}"


def cost_findings(
    costs: Mapping[str, Any] | None,
    promotion: Promotion,
    numbers: dict[str, Any],
    challenger: str,
    champion: str,
) -> list[Finding]:
    """Part 6: time and size; notes the ratios in ``numbers``."""
    if not costs or not {challenger, champion} <= costs["models"].keys():
        return []
    ours, theirs = costs["models"][challenger], costs["models"][champion]
    latency = ours["seconds"] / theirs["seconds"]
    fastest = min(ours["rounds"]) / min(theirs["rounds"])
    size = ours["bytes"] / theirs["bytes"]
    numbers["costs"] = {
        "texts": costs["texts"],
        "challenger": dict(ours),
        "champion": dict(theirs),
        "latency_ratio": latency,
        "latency_ratio_of_the_fastest": fastest,
        "size_ratio": size,
    }
    slow = min(latency, fastest) > promotion.max_latency_ratio
    large = size > promotion.max_size_ratio
    return [
        Finding(
            "refuse" if slow else None,
            f"{costs['texts']} texts take {ours['seconds']:.3f} s against {theirs['seconds']:.3f} s of the "
            f"champion, {latency:.2f} times as long (fastest rounds: {fastest:.2f}): "
            f"{'more than' if slow else 'within'} max_latency_ratio {promotion.max_latency_ratio:g}",
        ),
        Finding(
            "refuse" if large else None,
            f"its files have {ours['bytes'] / 2**20:.1f} MiB against {theirs['bytes'] / 2**20:.1f} MiB, "
            f"{size:.2f} times as many: {'more than' if large else 'within'} "
            f"max_size_ratio {promotion.max_size_ratio:g}",
        ),
    ]


def router_findings(
    evaluation: Mapping[str, Any],
    promotion: Promotion,
    numbers: dict[str, Any],
    challenger: str,
    champion: str,
) -> list[Finding]:
    """Part 7: experts that nothing is given to; notes them in ``numbers``. Nothing for a router without a
    gate, and where the gate was not looked at."""
    gates = {name: evaluation["models"].get(name, {}).get("gate") for name in (challenger, champion)}
    ours, theirs = gates[challenger], gates[champion]
    if not ours:
        return []
    numbers["router"] = {"challenger": ours, "champion": theirs}
    dead, experts = len(ours["dead"]), ours["experts"]
    collapsed = dead > promotion.max_dead_experts * experts
    beside = f", {len(theirs['dead'])} of {theirs['experts']} of the champion's" if theirs else ""
    return [
        Finding(
            "refuse" if collapsed else None,
            f"{dead} of the router's {experts} experts are dead{beside}: "
            f"{'more than' if collapsed else 'within'} max_dead_experts {promotion.max_dead_experts:g}",
        )
    ]


def router_check_findings(
    evaluation: Mapping[str, Any], promotion: Promotion, numbers: dict[str, Any], challenger: str
) -> list[Finding]:
    """Part 8: whether the gate is worth anything; notes each task's gain in ``numbers``. Nothing where no
    gate was studied."""
    gate = evaluation["models"].get(challenger, {}).get("gate")
    if not gate:
        return []
    return [*_gain_findings(evaluation, promotion, numbers), *_dead_findings(gate, promotion)]


def _gain_findings(
    evaluation: Mapping[str, Any], promotion: Promotion, numbers: dict[str, Any]
) -> Iterator[Finding]:
    """What the gate gains over equal weights."""
    wanted = promotion.router_checks.min_gain
    gains = {
        task: {key: finite(each[key]) for key in ("value", "low", "high")}
        for task, entries in (evaluation.get("router") or {}).items()
        for each in entries
        if each["gate"] == "uniform"
    }
    if not gains and wanted is None:
        return
    numbers["router_gain"] = gains
    told = ", ".join(
        f"{task} {each['value']:+.4f} ({each['low']:+.4f} to {each['high']:+.4f})"
        for task, each in gains.items()
        if None not in each.values()
    )
    text = f"the router's gate gains over equal weights: {told or 'nothing that could be measured'}"
    if wanted is None:
        yield Finding(None, text)
        return
    reached = any(_reaches(each["value"], each["low"], wanted) for each in gains.values())
    said = f"router_checks.min_gain {wanted:g} is {'reached' if reached else 'certainly reached in no task'}"
    yield Finding(None if reached else "refuse", f"{text}: {said}")


def _reaches(value: float | None, low: float | None, wanted: float) -> bool:
    return value is not None and low is not None and low > 0 and value >= wanted


def _dead_findings(gate: Mapping[str, Any], promotion: Promotion) -> Iterator[Finding]:
    most = promotion.router_checks.max_dead
    if most is None:
        return
    dead, experts = len(gate["dead"]), gate["experts"]
    over = dead > most * experts
    yield Finding(
        "refuse" if over else None,
        f"{dead} of the router's {experts} experts are dead: {'more than' if over else 'within'} "
        f"router_checks.max_dead {most:g}",
    )
