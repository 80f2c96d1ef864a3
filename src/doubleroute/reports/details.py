"""What stands behind the scores, as plain strings: labels, confusions, worst errors, and what went in."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from doubleroute.config import SPLITS
from doubleroute.reports.tables import Table, headline, model_title, models_of, rows_of
from doubleroute.reports.wording import NOTHING, count, is_number, number, shown, shown_lines

#: A confusion matrix of more labels than this is told as its most confused pairs.
MOST_CELLS = 30
_MOST_PAIRS = 20
_MOST_OPEN = 30
_MOST_TEXT = 600


@dataclass(frozen=True)
class Mistake:
    """One wrong answer, ready to be shown."""

    text: str
    truth: str
    answer: str
    confidence: str
    place: str


@dataclass(frozen=True)
class Source:
    """A longer text that was given, such as the project file."""

    title: str
    text: str
    kind: str = "source"


def label_tables(task: Mapping[str, Any], name: str) -> list[Table]:
    """Precision, recall, F1 and support for each label, entity type and tag, with plain's F1 beside; of
    retrieval the ranks of the right answers, of span the rows with an answer and those without."""
    model = headline(task["models"])
    details = task["models"][model].get("details") or {} if model else {}
    other = "plain" if model == "routed" and "plain" in task["models"] else None
    beside = (task["models"][other].get("details") or {}) if other else {}
    titles = {"per_label": ("label", "by label"), "entities": ("entity", "by entity type")}
    titles["tokens"] = ("tag", "by tag of each token")
    ranks, total = details.get("ranks"), rows_of(task, model) if model else 0
    if ranks and total:
        return [_ranks_table(f"{shown(name, 70)} by rank of the right answer, {model}", ranks, total)]
    if details.get("by_answer"):
        return [_answers_table(f"{shown(name, 70)} by what the rows have, {model}", details["by_answer"])]
    return [
        _label_table(f"{shown(name, 70)} {title}, {model}", word, task, details[key], beside.get(key))
        for key, (word, title) in titles.items()
        if details.get(key)
    ]


def _ranks_table(title: str, ranks: list[float], total: int) -> Table:
    """At which rank rows have their right answer; rows that share a rank between answers count in parts."""
    rows = [
        (str(place), f"{found:,.1f}", f"{sum(ranks[:place]) / total:.1%}")
        for place, found in enumerate(ranks, start=1)
    ]
    note = f"Of {total:,} rows. Answers with the same score share their ranks."
    return Table(title, ("rank", "rows", "found up to here"), rows, note=note)


def _answers_table(title: str, parts: Mapping[str, Mapping[str, Any]]) -> Table:
    """How often an answer was given, and how good it was, of rows with an answer and of those without."""
    rows = [
        (
            shown(name, 20),
            count(each["rows"]),
            count(each["answered"]),
            number(each["answer_f1"]),
            number(each["exact_match"]),
        )
        for name, each in parts.items()
        if each["rows"]
    ]
    return Table(title, ("the context holds", "rows", "answered", "F1", "exact match"), rows)


def confused_pairs(labels: list[str], confusion: list[list[int]], title: str, unit: str) -> Table:
    """The most frequent pairs of a truth and another answer, for a matrix too large to draw.

    ``unit``: what was counted, rows or words.
    """
    pairs = [
        (cell, -row, -column)
        for row, cells in enumerate(confusion)
        for column, cell in enumerate(cells)
        if cell and row != column
    ]
    rows = []
    for cell, row, column in sorted(pairs, reverse=True)[:_MOST_PAIRS]:
        truth = sum(confusion[-row])
        rows.append(
            (
                shown(labels[-row], 60),
                shown(labels[-column], 60),
                count(cell),
                f"{cell / truth:.1%}",
                count(truth),
            )
        )
    header = ("truth", "answer", unit, "share of the truth", f"truth's {unit}")
    note = f"The {len(rows)} most confused pairs of {len(labels):,} labels; {len(pairs):,} pairs occur."
    return Table(title, header, rows, words=2, note=note)


def mistakes(task: Mapping[str, Any]) -> list[Mistake]:
    """The worst errors of the task as they are shown: long texts cut, tags beside their tokens."""
    found = []
    for error in task.get("errors") or ():
        place = f"{shown(error.get('file'), 200)}, row {error.get('row')}"
        tokens = str(error.get("text") or "").split(" ") if task["kind"] == "tagging" else []
        found.append(
            Mistake(
                text=shown(error.get("text"), _MOST_TEXT),
                truth=_answer(error.get("truth"), tokens),
                answer=_answer(error.get("answer"), tokens),
                confidence=number(error.get("confidence")),
                place=place,
            )
        )
    return found


def counts_table(counts: Mapping[str, Any]) -> Table:
    """Rows in, out and quarantined for each task and split, and whether they add up."""
    rows = []
    for name, splits in counts.items():
        for split in _in_order(splits):
            entry = splits[split]
            adds_up = entry["rows_in"] == entry["rows_out"] + entry["quarantined"]
            cells = (count(entry[key]) for key in ("rows_in", "rows_out", "quarantined"))
            check = "yes" if adds_up else "NO"
            unlabelled = count(entry.get("unlabelled", 0))
            rows.append((shown(name, 70), shown(split, 20), *cells, unlabelled, check))
    header = ("task", "split", "rows in", "rows out", "quarantined", "without label", "adds up")
    note = "Rows in = rows out + quarantined. Rows without a label are rows out that another task uses."
    return Table("Rows", header, rows, words=2, note=note)


def tokens_table(tokens: Mapping[str, Any]) -> Table:
    """What the tokenizer made of each task and split: tokens, texts that were cut, unknown tokens."""
    keys = ("rows", "tokens", "truncated", "unknown")
    rows = [
        (shown(name, 70), shown(split, 20), *(count(splits[split][key]) for key in keys))
        for name, splits in tokens.items()
        for split in _in_order(splits)
    ]
    header = ("task", "split", "rows", "tokens", "cut", "unknown tokens")
    note = "Rows with a label, and stored answers. Cut: longer than backbone.max_tokens."
    return Table("Tokens", header, rows, words=2, note=note)


def models_table(evaluation: Mapping[str, Any], histories: Mapping[str, Any]) -> Table:
    """How large each model is, how long it learned, and on what."""
    rows, notes = [], []
    for name in models_of(evaluation["models"]):
        model, history = evaluation["models"][name], histories.get(name) or {}
        seconds = model.get("seconds")
        notes += [
            f"{model_title(name, evaluation)}: the head of {shown(task, 70)} was solved on a sample of its "
            f"training rows, of tagging words; {count(number)} were left out."
            for task, number in (history.get("left_out") or {}).items()
        ]
        rows.append(
            (
                model_title(name, evaluation),
                shown(model.get("router"), 40),
                shown(history.get("precision"), 20),
                count(model.get("parameters")),
                count(model.get("trained_parameters")),
                count(model.get("steps")),
                shown(history.get("best_epoch"), 20),
                f"{seconds:,.1f}" if is_number(seconds) else NOTHING,
            )
        )
    header = ("model", "router", "precision", "parameters", "trained", "steps", "best epoch", "seconds")
    return Table("Models", header, rows, words=3, note=" ".join(notes))


def provenance_blocks(provenance: Mapping[str, Any]) -> list[Table | Source]:
    """What was given about where the run comes from: short facts as a table, long texts as they are."""
    facts, blocks = [], []
    for path, value in _facts(provenance):
        if isinstance(value, str) and ("\n" in value.strip() or len(value) > 300):
            blocks.append(Source(shown(path, 100), shown_lines(value)))
        else:
            facts.append((shown(path, 100), shown(value, 300)))
    return [Table("Run", ("what", "value"), facts, words=2), *blocks]


def _in_order(splits: Mapping[str, Any]) -> list[str]:
    return sorted(splits, key=lambda split: (SPLITS.index(split) if split in SPLITS else 9, split))


def _facts(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        name = f"{path}{key}".replace("_", " ") if not path else f"{path}{key}"
        if isinstance(inner, Mapping):
            yield from _facts(inner, f"{name}: ")
        else:
            # A year, a seed or a port is no quantity: whole numbers are printed as they were given.
            whole = isinstance(inner, int) and not isinstance(inner, bool)
            yield name, str(inner) if whole else inner


def _label_table(
    title: str, word: str, task: Mapping[str, Any], table: Mapping[str, Any], beside: Mapping[str, Any] | None
) -> Table:
    order = {label: place for place, label in enumerate(task.get("labels") or ())}
    rows = []
    for label in sorted(table, key=lambda label: (order.get(label, len(order)), label)):
        entry = table[label]
        cells = [number(entry.get(key)) for key in ("precision", "recall", "f1")]
        if beside is not None:
            cells.append(number((beside.get(label) or {}).get("f1")))
        rows.append((shown(label, 60), *cells, count(entry.get("support"))))
    plain = ("F1 of plain",) if beside is not None else ()
    header = (word, "precision", "recall", "F1", *plain, "support")
    return Table(title, header, rows, folded=len(rows) > _MOST_OPEN)


def _answer(value: Any, tokens: list[str]) -> str:
    """A label, a list of labels, or tags: those that are not O, each with its token."""
    if not isinstance(value, list) or not tokens:
        return shown(value, 300)
    if len(value) == len(tokens):
        named = [f"{token} → {tag}" for token, tag in zip(tokens, value, strict=True) if tag != "O"]
    else:
        named = [f"{place}: {tag}" for place, tag in enumerate(value) if tag != "O"]
    return shown("; ".join(named) or "nothing (every token is O)", 300)
