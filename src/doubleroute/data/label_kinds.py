"""Which kind of task the labels of a column are for, for `doubleroute init`."""

import math
from collections import Counter
from collections.abc import Sequence

from doubleroute.data.columns import Column, has_comma
from doubleroute.data.label_cells import in_brackets
from doubleroute.data.raw import short

NUMBER_NAMES = {"score", "similarity", "rating", "stars", "relevance", "value"}
#: More whole numbers than this, as of a rating, are a quantity.
MOST_PLACES = 10


def kind_of_labels(column: Column, doubts: list[str]) -> tuple[str, str | None]:
    """The kind of task that these labels are for, and what separates several in one cell; what could be read
    in two ways is added to ``doubts``."""
    if column.sets is not None:
        return "multilabel", None
    if column.numbers is not None:
        return _kind_of_numbers(column, column.numbers, doubts), None
    texts = [value for value in column.given if isinstance(value, str)]
    if sum(map(in_brackets, texts)) > len(column.given) / 2:
        hint = 'as lists in every cell, such as ["billing", "refund"], they are kind: multilabel'
        doubts.append(f"'{column.name}' holds cells in brackets and is taken for classes; {hint}")
        return "classification", None
    for separator in ("|", ";", ","):
        parts = Counter(part.strip() for value in texts for part in value.split(separator) if part.strip())
        several = sum(separator in value for value in texts)
        if several > 0.05 * len(column.given) and len(parts) <= len(column.counts):
            hint = "if a label itself holds it, use kind: classification"
            doubts.append(f"'{column.name}' holds several labels separated by '{separator}'; {hint}")
            return "multilabel", separator
    _doubt_numbers(column, doubts)
    return "classification", None


def _doubt_numbers(column: Column, doubts: list[str]) -> None:
    """Say so where nearly all values are numbers, as beside "n/a"."""
    others = Counter({value: count for value, count in column.counts.items() if not _is_number(value)})
    numbers = len(column.counts) - len(others)
    if others and numbers > MOST_PLACES and others.total() < 0.2 * column.counts.total():
        word, count = others.most_common(1)[0]
        hint = (
            f"leave the cells of these blank for kind: regression, or they are {len(column.counts)} classes"
        )
        doubts.append(f"'{column.name}' holds numbers, but {count} times '{short(word)}'; {hint}")


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _kind_of_numbers(column: Column, numbers: Sequence[float], doubts: list[str]) -> str:
    comma = next(filter(has_comma, column.given), None)
    if comma is not None:
        hint = f"write {comma.replace(',', '.')} for {comma}; as several labels they are kind: multilabel"
        doubts.append(f"'{column.name}' holds numbers with a comma, which cannot be read; {hint}")
        return "regression"
    whole = all(number.is_integer() for number in numbers)
    counted = column.name.lower() in NUMBER_NAMES and len(column.counts) > 2
    taken = f"'{column.name}' holds whole numbers and is taken for"
    if whole and (twice := _one_number_in_two_ways(column)):
        hint = "as classes or places of an order they would be two: write them alike for that"
        doubts.append(f"{taken} a quantity, as '{twice[0]}' and '{twice[1]}' are one number; {hint}")
        return "regression"
    if whole and counted and len(column.counts) <= MOST_PLACES:
        hint = "as a quantity it is kind: regression, as classes kind: classification"
        doubts.append(f"{taken} places of an order; {hint}")
        return "ordinal"
    if not whole or counted or len(column.counts) > 100:
        if whole:
            hint = "as classes they are kind: classification, of an order kind: ordinal"
            doubts.append(f"{taken} a quantity; {hint}")
        return "regression"
    return "classification"


def _one_number_in_two_ways(column: Column) -> tuple[str, str] | None:
    """Two values that are one number, such as "1" and "1.0", which pandas writes beside a missing value."""
    seen: dict[float, str] = {}
    for value in sorted(column.counts):
        try:
            before = seen.setdefault(float(value), value)
        except ValueError:  # true or false
            continue
        if before != value:
            return before, value
    return None
