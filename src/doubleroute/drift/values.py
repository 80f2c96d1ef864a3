"""What of each row the tests compare: embeddings, lengths, characters, labels, answers, as numbers."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Literal, NamedTuple

import numpy as np

from doubleroute.data.spans import spans
from doubleroute.drift.characters import character_shares
from doubleroute.drift.sample import Sample, TaskRows

Method = Literal["mmd", "ks", "categories", "flags"]

INPUTS = "inputs"
#: Embeddings are compared dimension by dimension on a grid of this share of their standard deviation.
GRID = 1e-4
#: Rows of the same tasks that are a smaller share of their side say nothing about its proportions.
RARE = 0.05
#: So many rows are enough to compare with.
FEW = 100


class Side(NamedTuple):
    """The rows [k] of one sample that have a value, as indices in the sample, and their values:
    [k, d] numbers; [k] codes of names for categories; [k, d] of 0 and 1 for flags."""

    rows: np.ndarray
    values: np.ndarray


class Apart(NamedTuple):
    """A past ``window`` of the reference and the ``rest`` that it is compared with: row numbers [k], [n]."""

    window: np.ndarray
    rest: np.ndarray


@dataclass(frozen=True)
class Comparison:
    """One test to be made: ``names`` of the d columns or of the codes, a side for each sample.
    ``damaged``: rows of the first two samples that are left out because their value is not finite."""

    scope: str
    what: str
    method: Method
    names: list[str]
    sides: list[Side]
    damaged: tuple[int, int] = (0, 0)


def comparisons(samples: Sequence[Sample], seed: int) -> list[Comparison]:
    """All that can be compared of samples of one project: the inputs, then task by task labels,
    predictions and confidence. A side has no rows where its sample says nothing."""
    everything = [np.arange(len(sample)) for sample in samples]
    everything[:2] = matched(samples[0], samples[1], seed)
    finite = [
        rows[np.isfinite(sample.embeddings[rows]).all(1)]
        for rows, sample in zip(everything, samples, strict=True)
    ]
    before, now = (len(rows) - len(kept) for rows, kept in zip(everything[:2], finite[:2], strict=True))
    places = [Side(rows, sample.embeddings[rows]) for rows, sample in zip(finite, samples, strict=True)]
    grid = GRID * max(float(places[0].values.std()) if places[0].values.size else 0.0, GRID)
    dimensions = [f"dimension {number}" for number in range(samples[0].embeddings.shape[1])]
    texts = [[sample.texts[row] for row in rows] for rows, sample in zip(everything, samples, strict=True)]
    classes, shares = character_shares(texts)
    tokens, unknown = (
        [
            _numbers(getattr(sample, name)[rows], rows)
            for rows, sample in zip(everything, samples, strict=True)
        ]
        for name in ("tokens", "unknown")
    )
    made = [
        Comparison(INPUTS, "embeddings", "mmd", [], places, (before, now)),
        Comparison(
            INPUTS, "dimensions", "ks", dimensions, [_rounded(side, grid) for side in places], (before, now)
        ),
        Comparison(INPUTS, "length", "ks", ["tokens"], tokens),
        Comparison(INPUTS, "unknown tokens", "ks", ["unknown share"], unknown),
        Comparison(
            INPUTS, "language", "ks", classes, [Side(*side) for side in zip(everything, shares, strict=True)]
        ),
    ]
    for task in dict.fromkeys(name for sample in samples for name in sample.tasks):
        made += _of_task(task, [sample.tasks.get(task) for sample in samples])
    return made


def matched(reference: Sample, current: Sample, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the reference that hold the tasks in the current rows' proportions, and the current rows that
    they are compared with: sorted row numbers.

    A row belongs to the tasks that have it. More rows for one task than for another are no change of the
    inputs: without this, new rows for one task of two would always count as moved. Tasks that either side has
    hardly any rows of are left out of both (see ``_in_proportion``); all rows of both where no task is left,
    or current texts are of several tasks that hardly any text of the reference is of together.
    """
    tasks = sorted({*reference.tasks, *current.tasks})
    before, now = (
        _Grouped(np.arange(len(sample)), _groups(sample, tasks)) for sample in (reference, current)
    )
    found = _in_proportion(before, now, [seed, len(reference)])
    return (before.rows, now.rows) if found is None else found


def apart(sample: Sample, windows: Sequence[np.ndarray], seed: int) -> list[Apart]:
    """Each of these ``windows`` (row numbers) with the rows outside it that hold the tasks in its own
    proportions, as ``matched`` has it: where one task alone is dated, a window is rows of that task, and
    the others would make any window look unlike the rest. A window without such rows is left out."""
    groups = _groups(sample, sorted(sample.tasks))
    found = []
    for number, window in enumerate(windows):
        outside = np.setdiff1d(np.arange(len(sample)), window)
        around, inside = (_Grouped(rows, [groups[row] for row in rows]) for rows in (outside, window))
        pair = _in_proportion(around, inside, [seed, len(sample), number])
        if pair is not None:
            found.append(Apart(pair[1], pair[0]))
    return found


class _Grouped(NamedTuple):
    """Row numbers [n] and, for each, which tasks have it: ``groups`` [n]."""

    rows: np.ndarray
    groups: Sequence[bytes]


def _in_proportion(
    given: _Grouped, wanted: _Grouped, seed: list[int]
) -> tuple[np.ndarray, np.ndarray] | None:
    """As many of the given rows as hold the groups in the proportions of the wanted ones, and the wanted
    rows of these groups, sorted; None where no group is left.

    The group of which the fewest are given for each wanted one decides how many remain. Where that were too
    few (``_is_enough``), it leaves both sides if it is RARE among the wanted rows or has fewer than FEW given
    ones: what is rare does not decide about all; but the last group that is there stays. Texts of several
    tasks that are RARE among the given rows leave both too, or, where most wanted ones are such, there is
    None: a few texts which two tasks happen to share do not stand for all that a served model was asked."""
    members, asked = _members(given), _members(wanted)
    rare = {group for group, rows in asked.items() if len(rows) < RARE * len(wanted.rows)}
    there = {group: len(members.get(group, ())) for group in asked}
    of_several = {group for group in asked if sum(group) > 1 and there[group] < RARE * len(given.rows)}
    if sum(len(asked[group]) for group in of_several) > len(wanted.rows) / 2:
        return None
    counts = {group: len(asked[group]) for group in sorted(asked) if group not in of_several}
    scale = 0.0
    while counts:
        worst = min(counts, key=lambda group: there[group] / counts[group])
        scale = there[worst] / counts[worst]
        few = worst in rare or there[worst] < FEW
        if _is_enough(scale, sum(counts.values())) or not few or (len(counts) == 1 and there[worst]):
            break
        del counts[worst]
    if not counts:
        return None
    generator = np.random.default_rng(seed)
    kept = [
        generator.choice(members[group], round(scale * count), replace=False)
        for group, count in sorted(counts.items())
    ]
    return np.sort(np.concatenate(kept)), np.sort(np.concatenate([asked[group] for group in sorted(counts)]))


def _is_enough(scale: float, wanted: int) -> bool:
    """Whether ``scale`` given rows for each of the wanted ones are enough to compare those with."""
    return scale >= 1 or (scale >= 0.5 and scale * wanted >= FEW)


def _members(side: _Grouped) -> dict[bytes, list[int]]:
    """The rows of each group."""
    found: dict[bytes, list[int]] = {}
    for row, group in zip(side.rows.tolist(), side.groups, strict=True):
        found.setdefault(group, []).append(row)
    return found


def _groups(sample: Sample, tasks: Sequence[str]) -> list[bytes]:
    """For each row which of the tasks have it."""
    member = np.zeros((len(sample), len(tasks)), bool)
    for column, task in enumerate(tasks):
        if task in sample.tasks:
            member[sample.tasks[task].rows, column] = True
    return [row.tobytes() for row in member]


def _rounded(side: Side, grid: float) -> Side:
    """Values in whole steps of ``grid``: a dead dimension holds rounding errors alone, which depend on
    the length of a row's batch, and ranks would see them as well as anything."""
    return Side(side.rows, np.round(side.values / np.float32(grid)) * np.float32(grid))


def _of_task(task: str, parts: Sequence[TaskRows | None]) -> list[Comparison]:
    """Labels, predictions and, where the kind has it, confidence of one task."""
    kind = next(part.kind for part in parts if part is not None)
    names = list(dict.fromkeys(name for part in parts if part is not None for name in part.names))
    form = _FORMS[kind]
    labels = [_known(part.rows, part.labels) if part else ([], []) for part in parts]
    answers = [_known(part.rows, part.answers) if part else ([], []) for part in parts]
    given = [(rows, [form.said(answer) for answer in each]) for rows, each in answers]
    made = [form.sides(task, "labels", names, labels), form.sides(task, "predictions", names, given)]
    if form.confidence is not None:
        sure = [(rows, [form.confidence(answer) for answer in each]) for rows, each in answers]
        made.append(_as_numbers(task, "confidence", ["confidence"], sure))
    return made


def _known(rows: np.ndarray, values: Sequence[Any]) -> tuple[list[int], list[Any]]:
    """The rows that have a value, and the values; an empty answer is none, an empty list of labels one."""
    pairs = zip(rows.tolist(), values, strict=False)  # no answers at all are an empty list
    kept = [(row, value) for row, value in pairs if value is not None and not _unanswered(value)]
    return [row for row, _ in kept], [value for _, value in kept]


def _unanswered(value: Any) -> bool:
    return isinstance(value, dict) and not value


_Known = Sequence[tuple[list[int], list[Any]]]


def _as_categories(task: str, what: str, names: list[str], known: _Known) -> Comparison:
    """One label a row."""
    names = _extended(names, (value for _, values in known for value in values))
    index = {name: code for code, name in enumerate(names)}
    sides = [Side(np.array(rows, np.int64), np.array([index[v] for v in vs], np.int64)) for rows, vs in known]
    return Comparison(task, what, "categories", names, sides)


def _as_flags(task: str, what: str, names: list[str], known: _Known) -> Comparison:
    """Any number of labels a row."""
    names = _extended(names, (label for _, values in known for value in values for label in value))
    index = {name: code for code, name in enumerate(names)}
    sides = []
    for rows, values in known:
        flags = np.zeros((len(rows), len(names)), np.int64)
        for place, value in enumerate(values):
            flags[place, [index[label] for label in value]] = 1
        sides.append(Side(np.array(rows, np.int64), flags))
    return Comparison(task, what, "flags", names, sides)


def _as_numbers(task: str, what: str, names: list[str], known: _Known) -> Comparison:
    """One number a row; rows whose number is not finite are left out."""
    del names  # of a regression there are none
    return Comparison(
        task, what, "ks", [what], [_numbers(np.array(values, np.float64), rows) for rows, values in known]
    )


def _as_tag_shares(task: str, what: str, names: list[str], known: _Known) -> Comparison:
    """The share of a row's words with each tag, B- and I- taken together: words of a row depend on each
    other, rows do not. Rows without words are left out."""
    names = _extended(map(_bare, names), (_bare(tag) for _, vs in known for value in vs for tag in value))
    index = {name: code for code, name in enumerate(names)}
    sides = []
    for rows, values in known:
        full = [(row, value) for row, value in zip(rows, values, strict=True) if len(value)]
        shares = np.zeros((len(full), len(names)))
        for place, (_, tags) in enumerate(full):
            for tag in tags:
                shares[place, index[_bare(tag)]] += 1 / len(tags)
        # Sums of fractions of one row must not differ in the last bit from those of another.
        sides.append(Side(np.array([row for row, _ in full], np.int64), shares.round(9)))
    return Comparison(task, what, "ks", names, sides)


def _as_lengths(task: str, what: str, names: list[str], known: _Known) -> Comparison:
    """Whether a row has no answer in its context, and the characters of the first one that it has, else 0."""
    del names  # answers have none
    sides = []
    for rows, values in known:
        sizes = np.array([_length(value) for value in values], np.float64).reshape(-1, 1)
        sides.append(Side(np.array(rows, np.int64), np.concatenate([sizes == 0, sizes], axis=1)))
    return Comparison(task, what, "ks", ["no answer", "characters"], sides)


def _length(answers: Sequence[str] | int) -> int:
    """Characters of an answer: of a label the first one's, of a model's answer as ``_answered`` gives it."""
    if isinstance(answers, int):
        return answers
    return next((each.end - each.start for each in spans(answers)), 0)


def _answered(answer: dict[str, Any]) -> int:
    return 0 if answer["start"] is None else int(answer["end"] - answer["start"])


def _bare(tag: str) -> str:
    return tag[2:] if tag[:2] in ("B-", "I-") else tag


def _extended(names: Iterable[str], seen: Iterable[str]) -> list[str]:
    """The names and, behind them, what was seen besides."""
    known = list(dict.fromkeys(names))
    return known + sorted(set(seen).difference(known))


def _numbers(values: np.ndarray, rows: Sequence[int] | np.ndarray | None = None) -> Side:
    """Finite numbers [k] as one column."""
    numbers = np.asarray(values, np.float64)
    kept = np.flatnonzero(np.isfinite(numbers))
    return Side(kept if rows is None else np.array(rows, np.int64)[kept], numbers[kept, None])


def _most_probable(answer: dict[str, Any]) -> float:
    return float(answer["probabilities"][answer["label"]])


def _mean_certainty(answer: dict[str, Any]) -> float:
    """How sure each label is to be there or not, in [1/2, 1], over all labels; NaN without labels."""
    sure = [max(value, 1 - value) for value in answer["probabilities"].values()]
    return sum(sure) / len(sure) if sure else float("nan")


class _Form(NamedTuple):
    """How labels of a kind become numbers; ``said``: what an answer has that a label has."""

    said: Callable[[dict[str, Any]], Any]
    sides: Callable[[str, str, list[str], _Known], Comparison]
    confidence: Callable[[dict[str, Any]], float] | None = None


#: By kind (see ``kinds`` for the plain form of labels and answers).
_FORMS = {
    "classification": _Form(itemgetter("label"), _as_categories, _most_probable),
    "ordinal": _Form(itemgetter("label"), _as_categories, _most_probable),
    "multilabel": _Form(itemgetter("labels"), _as_flags, _mean_certainty),
    "regression": _Form(itemgetter("value"), _as_numbers),
    "retrieval": _Form(itemgetter("label"), _as_categories, itemgetter("score")),
    "span": _Form(_answered, _as_lengths, itemgetter("confidence")),
    "tagging": _Form(itemgetter("tags"), _as_tag_shares),
}
