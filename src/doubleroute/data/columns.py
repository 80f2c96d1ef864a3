"""The values of one column of a table, and what they look like, for `doubleroute init`."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

from doubleroute.data.label_cells import read_list
from doubleroute.data.rows import as_label, is_blank, is_null


@dataclass
class Column:
    """The values of one column, over all files, and what they look like."""

    name: str
    values: list[Any]

    @cached_property
    def given(self) -> list[Any]:
        """The values that are not missing: neither null, nor blank, nor an empty list."""
        return [each for each in self.values if not is_null(each) and not is_blank(each) and each != []]

    @cached_property
    def is_text(self) -> bool:
        return bool(self.given) and all(isinstance(value, str) for value in self.given)

    @cached_property
    def is_lists(self) -> bool:
        return bool(self.given) and all(
            isinstance(value, list) and all(isinstance(item, str) for item in value) for value in self.given
        )

    @cached_property
    def sets(self) -> list[list[Any]] | None:
        """Every given value as a list of labels, texts or whole numbers; None where one is something else. A
        text cell may hold a list too. A list with a number twice is a sequence, such as the ids of tokens."""
        if not all(isinstance(value, list | str) for value in self.given):
            return None
        try:
            lists = [value if isinstance(value, list) else read_list(value) for value in self.given]
        except ValueError:
            return None
        items = list(chain.from_iterable(lists))
        texts = all(isinstance(item, str) for item in items)
        numbers = all(type(item) is int for item in items)
        sets = texts or (numbers and all(len(set(each)) == len(each) for each in lists))
        return lists if items and sets else None

    @cached_property
    def numbers(self) -> list[float] | None:
        """Every given value as a number, "4,5" as 4.5; None when one is not."""
        try:
            return [
                float(value.replace(",", ".") if has_comma(value) else value)
                for value in self.given
                if not isinstance(value, bool | list | dict)
            ]
        except (TypeError, ValueError):
            return None

    @cached_property
    def counts(self) -> Counter[str]:
        """How often each value occurs; items of lists that are not blank count on their own."""
        if self.sets is not None:
            return Counter(as_label(item) for item in chain.from_iterable(self.sets) if not is_blank(item))
        return Counter(as_label(value) for value in self.given if not isinstance(value, list | dict))

    @cached_property
    def length(self) -> float:
        """Mean characters of a given text."""
        return sum(map(len, self.given)) / len(self.given) if self.is_text else 0.0

    @property
    def repeats(self) -> bool:
        """Whether values come back, as labels do and texts do not."""
        return len(self.counts) <= max(2, len(self.given) // 2)


def has_comma(value: Any) -> bool:
    """Whether a value is text with one comma, as numbers are written where it is the decimal mark."""
    return isinstance(value, str) and value.count(",") == 1
