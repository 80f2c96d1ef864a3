"""What a report says about a router's gate: what it did, and what is left without it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from doubleroute.reports.tables import Table, model_title, models_of
from doubleroute.reports.wording import interval, is_number, number, shown

#: What stood in the place of the gate.
GATES = {
    "uniform": "equal weights for all experts",
    "shuffled": "the weights of another row of the task",
    "task": "the task's part alone",
    "token": "the token's part alone",
}

#: Colours that a page has for experts; more of them share colours and keep their numbers.
COLOURS = 8


@dataclass(frozen=True)
class Token:
    """A token, the name of the expert that it is given to most, that expert's colour and its weight."""

    text: str
    expert: str
    colour: int
    weight: str


@dataclass(frozen=True)
class Way:
    """The tokens of one row and where it is."""

    tokens: list[Token]
    place: str


@dataclass(frozen=True)
class Ways:
    """Rows whose tokens are shown by expert."""

    title: str
    items: list[Way]
    note: str
    kind: str = "ways"


def ways_of(evaluation: Mapping[str, Any]) -> list[Ways]:
    """For each task its example rows, each token with the expert that it is given to most."""
    note = (
        "The first short test rows. Behind each token stands the expert that carries most of it, the darker "
        "the larger its weight (the full weights: doubleroute predict --explain)."
    )
    return [
        Ways(f"{shown(task, 70)}: tokens by expert", [_way(row) for row in rows], note)
        for task, rows in sorted((evaluation.get("ways") or {}).items())
        if rows
    ]


def _way(row: Mapping[str, Any]) -> Way:
    tokens = []
    for text, weights in zip(row["tokens"], row["weights"], strict=True):
        most = max(range(len(weights)), key=weights.__getitem__)
        name = shown(row["experts"][most], 40)
        tokens.append(Token(shown(text, 40), name, most % COLOURS, f"{weights[most]:.2f}"))
    return Way(tokens, f"{shown(row['file'], 120)}, row {row['row']}")


def layer_tables(evaluation: Mapping[str, Any]) -> list[Table]:
    """For each model whose router mixes layers: the weights of the layers by task."""
    found = []
    for name in models_of(evaluation["models"]):
        mixture = evaluation["models"][name].get("layers")
        if not mixture:
            continue
        rows = [
            (
                shown(task, 70),
                number(each["strength"]),
                number(each["entropy"]),
                *map(number, each["weights"]),
            )
            for task, each in sorted(mixture["tasks"].items())
        ]
        header = ("task", "strength", "entropy", *(shown(layer, 20) for layer in mixture["layers"]))
        note = (
            "Learned weight of each layer, the same for all tokens of a task; strength: what the mixture is "
            "multiplied with before it is added, near 0 the weights say nothing; entropy 1: all weigh "
            "alike."
        )
        if mixture["information"] is not None:
            bits = number(mixture["information"])
            note += f" A layer says {bits} bits about its task (mutual information)."
        found.append(
            Table(f"The mixture of layers, {model_title(name, evaluation)}", header, rows, note=note)
        )
    return found


def gate_tables(evaluation: Mapping[str, Any]) -> list[Table]:
    """For each model whose router has a gate: how much of each task its experts carry."""
    found = []
    for name in models_of(evaluation["models"]):
        gate = evaluation["models"][name].get("gate")
        if not gate:
            continue
        names = gate.get("names") or [str(expert + 1) for expert in range(gate["experts"])]
        rows = [
            (shown(task, 70), number(each["entropy"]), *(number(load) for load in each["load"]))
            for task, each in sorted(gate["tasks"].items())
        ]
        header = ("task", "entropy", *(f"expert {shown(each, 80)}" for each in names))
        dead = ", ".join(shown(names[expert], 80) for expert in gate["dead"]) or "none"
        note = (
            "Mean weight of each expert over the tokens of the test rows; entropy 1: all weigh alike, 0: one "
            f"alone. Dead experts, to which no task gives a tenth of an even share: {dead}."
        )
        found.append(Table(f"The router's gate, {model_title(name, evaluation)}", header, rows, note=note))
        found += _alike(gate, model_title(name, evaluation))
    return found


def _alike(gate: Mapping[str, Any], title: str) -> Iterable[Table]:
    """How alike the tasks' gates are; nothing for one task."""
    similarity = gate.get("similarity") or {}
    if len(similarity) < 2:
        return
    names = sorted(similarity)
    rows = [(shown(task, 70), *(number(similarity[task][other]) for other in names)) for task in names]
    note = (
        "Cosine of the mean weights; 1: the tasks use the experts alike. The expert that a token is given to "
        f"says {number(gate['information'])} bits about its task (mutual information, each task as likely as "
        "the other; 0: nothing). Each task is looked at on its own rows: other texts make other gates too."
    )
    header = ("task", *(shown(task, 70) for task in names))
    yield Table(f"How alike the tasks' gates are, {title}", header, rows, note=note)


def replaced_tables(evaluation: Mapping[str, Any]) -> list[Table]:
    """The scores of the routed model with something else in the place of its gate; none without a gate."""
    rows = [
        (
            shown(task, 70),
            GATES.get(each["gate"], shown(each["gate"], 40)),
            shown(each["metric"], 40),
            shown(each["verdict"], 40),
            number(each.get("score")),
            interval(each, signed=True),
        )
        for task, entries in sorted((evaluation.get("router") or {}).items())
        for each in entries
    ]
    if not rows:
        return []
    header = ("task", "in place of the gate", "metric", "the learned gate is", "score", "learned gate's gain")
    note = (
        "The same model on the same test rows, its gate replaced, nothing trained again; paired, "
        "one 95% interval each. Positive: the learned gate is better, also where lower scores are."
    )
    return [Table("Without the gate", header, rows, words=4, note=note)]


def statement(evaluation: Mapping[str, Any]) -> str:
    """Whether the gate is worth anything on these rows, in plain words; empty without a gate."""
    told: dict[str, list[str]] = {"better": [], "worse": [], "cannot tell": []}
    equal = True
    for task, entries in sorted((evaluation.get("router") or {}).items()):
        for each in entries:
            if each["gate"] == "uniform":
                told.setdefault(each["verdict"], []).append(shown(task, 70))
                equal = equal and is_number(each["value"]) and each["value"] == 0
    if not any(told.values()):
        return ""
    if not told["better"] and not told["worse"]:
        if equal:
            return "The gate does nothing here: with equal weights for all experts every score is the same."
        return (
            "Nothing here shows that the gate does anything: with equal weights for all experts no task's "
            "score differs for certain."
        )
    parts = []
    if told["better"]:
        parts.append(f"the gate helps {', '.join(told['better'])}: equal weights score worse")
    if told["worse"]:
        parts.append(f"the gate harms {', '.join(told['worse'])}: equal weights score better")
    if told["cannot tell"]:
        parts.append(
            f"for {', '.join(told['cannot tell'])} equal weights score the same, as far as can be told"
        )
    said = "; ".join(parts)
    return f"{said[0].upper()}{said[1:]}."
