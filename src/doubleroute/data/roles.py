"""What the columns of a table are: its text, pair, label, tokens, tags, dates, slices.

A guess from names and values, for `doubleroute init`; whatever could be read in two ways is a doubt.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import chain
from typing import Any

from doubleroute.data.columns import Column
from doubleroute.data.formats_text import BIO
from doubleroute.data.label_kinds import NUMBER_NAMES, kind_of_labels
from doubleroute.data.rows import is_null
from doubleroute.data.spans import misplaced, read_answers

TEXT_NAMES = """
text sentence review tweet utterance content body message comment document question query title subject
description narrative summary headline input
"""
LABEL_NAMES = """
label labels class category categories target intent sentiment emotion topic topics score similarity rating
stars stance polarity genre type kind tag y
"""
ANSWER_NAMES = "answer response reply"
PAIRS = (
    "premise hypothesis|question sentence|question answer|question context|query document|query passage|"
    "text text_pair|context question|claim evidence"
)
YEAR_LAST = re.compile(r"(\d{1,2})[./](\d{1,2})[./](\d{2,4})")
DATE = re.compile(rf"\d{{4}}-\d{{2}}(-\d{{2}})?([T ]\d{{2}}:\d{{2}}.*)?|{YEAR_LAST.pattern}")
FILE = re.compile(r"\S+\.[A-Za-z0-9]{2,4}")
MOST_SLICE_VALUES = 12
#: Rows in which answers are looked for in a context, and in a column tags, or more than single words.
_SAMPLE = 1000


@dataclass
class Roles:
    """Which column plays which part; None where nothing does."""

    text: str | None = None
    text_pair: str | None = None
    label: str | None = None
    kind: str | None = None
    separator: str | None = None
    tokens: str | None = None
    tags: str | None = None
    slices: list[str] = field(default_factory=list)
    dates: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)


def find_roles(values: Mapping[str, Sequence[Any]]) -> Roles:
    """Guess the part that each column plays. No label and no tags found: ``kind`` and ``tags`` are None.

    A column without a name plays none, as of the row numbers that pandas writes: project.yaml cannot name it.
    """
    found = {name: Column(name, list(each)) for name, each in values.items()}
    columns = {name: column for name, column in found.items() if column.given and name.strip()}
    roles = Roles()
    _tagging(columns, roles)
    taken = {roles.tags, roles.tokens if roles.tokens and columns[roles.tokens].is_lists else None}
    free = {name: column for name, column in columns.items() if name not in taken}
    roles.dates = [name for name, column in free.items() if _is_date(column)]
    free = {name: column for name, column in free.items() if name not in roles.dates}
    _span(free, roles)
    if roles.kind is None:
        _retrieval(free, roles)
    if roles.kind is None:
        _texts(free, roles)
    free = {name: column for name, column in free.items() if name not in (roles.text, roles.text_pair)}
    if roles.text is not None and roles.kind is None:
        _label(free, roles)
    free.pop(roles.label or "", None)
    roles.slices = [name for name, column in free.items() if _is_slice(column)]
    nameless = [name for name, column in found.items() if column.given and not name.strip()]
    roles.unused = [*(name for name in free if name not in roles.slices), *nameless]
    return roles


def words(text: str) -> int:
    """Words of a text; a CJK character counts as one."""
    return len(re.findall(r"[぀-ヿ㐀-鿿가-힯]|[^\s぀-ヿ㐀-鿿가-힯]+", text))


def _tagging(columns: Mapping[str, Column], roles: Roles) -> None:
    for tags in columns.values():
        sample = list(chain.from_iterable(_parts(tags, _SAMPLE)))
        if not sample or sum(bool(BIO.fullmatch(tag)) for tag in sample) < 0.99 * len(sample):
            continue
        parts = _parts(tags)
        if not any(tag != "O" for tag in chain.from_iterable(parts)):
            continue
        for tokens in sorted(columns.values(), key=lambda column: column.is_text):
            if tokens is not tags and _same_lengths(tokens, tags):
                roles.tokens, roles.tags = tokens.name, tags.name
                if any(tag[:2] in ("E-", "S-") for tag in chain.from_iterable(parts)):
                    roles.doubts.append(f"'{tags.name}' holds E- and S- tags; write them as I- and B-")
                return


def _parts(column: Column, most: int | None = None) -> list[list[str]]:
    """The words of each given value, or of the first ``most``; none where the column holds no words."""
    given = column.given[:most]
    if column.is_lists:
        return given
    return [value.split() for value in given] if column.is_text else []


def _same_lengths(tokens: Column, tags: Column) -> bool:
    if len(tokens.given) != len(tags.given):
        return False
    pairs = list(zip(_parts(tokens), _parts(tags), strict=False))
    return bool(pairs) and sum(len(a) == len(b) for a, b in pairs) >= 0.95 * len(tags.given)


def _span(columns: Mapping[str, Column], roles: Roles) -> None:
    """Answers that stand in one text column at the characters that they name; the question is another one."""
    for column in columns.values():
        labels = _answer_lists(column)
        if not any(labels):
            continue
        texts = [name for name, other in columns.items() if other.is_text and other is not column]
        context = next((name for name in texts if _hold(columns[name], labels)), None)
        rest = {name: columns[name] for name in texts if name != context}
        longest = sorted(rest, key=lambda name: -rest[name].length)
        question = next(iter(_by_name(rest, "question query") or longest), None)
        if context is not None and question is not None:
            roles.text, roles.text_pair, roles.label, roles.kind = question, context, column.name, "span"
            return


def _answer_lists(column: Column) -> list[list[str]]:
    """The answers of the first rows; none where a value is no list of answers."""
    try:
        return [read_answers(value) or [] for value in column.values[:_SAMPLE]]
    except ValueError:
        return []


def _hold(column: Column, labels: Sequence[Sequence[str]]) -> bool:
    """Whether the texts of a column hold nearly all of these answers where they say."""
    texts = [value if isinstance(value, str) else "" for value in column.values]
    right = sum(misplaced(text, label) is None for text, label in zip(texts, labels, strict=False))
    return right >= 0.95 * len(labels)


def _retrieval(columns: Mapping[str, Column], roles: Roles) -> None:
    """A question, its answer in words, and neither a context that holds it nor a label of the two."""
    texts = {name: column for name, column in columns.items() if column.is_text}
    question = next(iter(_by_name(texts, "question query")), None)
    answers = [name for name in _by_name(texts, ANSWER_NAMES) if texts[name].length > 20]
    if question is None or not answers or len(texts[answers[0]].counts) < 2:
        return
    if len(texts[answers[0]].given) < len(texts[answers[0]].values):
        return  # a row without its answer cannot be in the table of answers
    if _by_name(texts, "context passage document"):
        return
    if any(_can_be_label(columns[name]) for name in _by_name(columns, LABEL_NAMES)):
        return
    roles.text, roles.label, roles.kind = question, answers[0], "retrieval"
    hint = "as one of the file's answers, which is found for a question; as classes they are classification"
    roles.doubts.append(f"'{answers[0]}' is taken {hint}")


def _texts(columns: Mapping[str, Column], roles: Roles) -> None:
    candidates = {name: column for name, column in columns.items() if column.is_text}
    pair = _pair(candidates)
    if pair:
        roles.text, roles.text_pair = pair
        return
    all_named = _by_name(candidates, TEXT_NAMES)
    named = [name for name in all_named if not _looks_like_label(candidates[name])]
    long = sorted(candidates, key=lambda name: -candidates[name].length)
    others = [name for name in long if not _looks_like_label(candidates[name])]
    # Texts that come back look like labels, and then the ids of rows must not be taken for the text.
    wordy = [name for name in others if max(map(words, candidates[name].given[:_SAMPLE])) > 1]
    best = next(iter(named or wordy or all_named or others), None)
    roles.text = best
    if best is None:
        return
    rivals = [name for name in others if name != best and candidates[name].length > 20]
    if rivals:
        roles.doubts.append(f"the text could also be {_or(rivals)}; edit columns.text")
    if sum(bool(FILE.fullmatch(value)) for value in candidates[best].given) > 0.9 * len(
        candidates[best].given
    ):
        roles.doubts.append(f"'{best}' looks like names of files, not like text; edit columns.text")


def _pair(columns: Mapping[str, Column]) -> tuple[str, str] | None:
    lower = {name.lower(): name for name in columns}
    for known in PAIRS.split("|"):
        first, second = known.split()
        if first in lower and second in lower and not columns[lower[second]].repeats:
            return lower[first], lower[second]
    for name in columns:
        for one, two in (("1", "2"), ("a", "b"), ("A", "B"), ("first", "second"), ("left", "right")):
            other = name.removesuffix(one) + two
            both = name.endswith(one) and other in columns and len(name) > len(one)
            if both and not any(_looks_like_label(columns[each]) for each in (name, other)):
                return name, other
    return None


def _label(columns: Mapping[str, Column], roles: Roles) -> None:
    candidates = {name: column for name, column in columns.items() if _can_be_label(column)}
    named = _by_name(candidates, LABEL_NAMES)
    few = sorted(candidates, key=lambda name: len(candidates[name].counts))
    best = next(iter(named or few), None)
    if best is None:
        return
    roles.label = best
    if not named and len(few) > 1:
        roles.doubts.append(f"the label could also be {_or(few[1:])}; edit columns.label")
    elif len(named) > 1:
        roles.doubts.append(f"the label could also be {_or(named[1:])}; edit columns.label, or add a task")
    column = candidates[best]
    doubts: list[str] = []
    roles.kind, roles.separator = kind_of_labels(column, doubts)
    missing = len(column.values) - len(column.given)
    if roles.kind == "multilabel":  # an empty list, and a blank cell, are none of the labels
        missing = sum(map(is_null, column.values))
    if missing:
        roles.doubts.append(f"{missing} rows have no '{best}'")
    roles.doubts += doubts


def _can_be_label(column: Column) -> bool:
    if column.sets is not None:
        return len(column.counts) > 1 and len(column.counts) < sum(column.counts.values())
    if any(isinstance(value, list | dict) for value in column.given) or len(column.counts) < 2:
        return False
    return column.repeats or (column.numbers is not None and column.name.lower() in NUMBER_NAMES)


def _looks_like_label(column: Column) -> bool:
    short_or_set = column.length < 30 or column.sets is not None
    return column.name.lower() in LABEL_NAMES.split() or (column.repeats and short_or_set)


def _is_date(column: Column) -> bool:
    if all(isinstance(value, date) for value in column.given):
        return True
    sample = column.given[:200]
    return column.is_text and sum(bool(DATE.fullmatch(value.strip())) for value in sample) > 0.95 * len(
        sample
    )


def _is_slice(column: Column) -> bool:
    few = 2 <= len(column.counts) <= MOST_SLICE_VALUES
    return column.is_text and column.sets is None and few and len(column.given) == len(column.values)


def _by_name(columns: Iterable[str], names: str) -> list[str]:
    """The columns whose name is one of these, in the order of ``names``."""
    there = {name.lower(): name for name in columns}
    return [there[name] for name in names.split() if name in there]


def _or(names: Sequence[str]) -> str:
    return " or ".join(f"'{name}'" for name in names[:4])
