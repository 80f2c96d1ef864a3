"""One task in two versions of the data, with what all finders ask about it, computed once.

What stood in base already is not the change's doing: finders count what is in head beyond it.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from doubleroute.review.renaming import renamed_label
from doubleroute.review.rows import Changes, VersionRows
from doubleroute.review.sampling import Places


@dataclass(frozen=True)
class Versions:
    """The n rows of head and those of base, and how they belong together.

    ``refused``: file and row of the rows of head that validation refuses for what they hold; what their
    labels say is not counted. ``quarantined``: those of base and of head that it takes out for any reason, as
    copies, and that no training learns from.
    """

    task: str
    base: VersionRows
    head: VersionRows
    changes: Changes
    refused: Places = field(default=frozenset())
    quarantined: tuple[Places, Places] = (frozenset(), frozenset())

    @cached_property
    def base_keys(self) -> list[str | None]:
        """What copies of a text share; None for an empty text, which is nobody's copy."""
        return _keys(self.base)

    @cached_property
    def head_keys(self) -> list[str | None]:
        """As ``base_keys``: [n]."""
        return _keys(self.head)

    @cached_property
    def base_labels(self) -> list[Any]:
        """Labels of base that can be compared and counted, called as head calls them."""
        names, labels = self.changes.renamed, self.base.comparable()
        return [renamed_label(self.base.kind, label, names) for label in labels] if names else labels

    @cached_property
    def head_labels(self) -> list[Any]:
        """Labels of head that can be compared and counted: [n]."""
        return self.head.comparable()

    @cached_property
    def usable_labels(self) -> list[Any]:
        """``head_labels``, None where validation refuses the row: [n]."""
        if not self.refused:
            return self.head_labels
        places = zip(self.head.files, self.head.numbers, strict=True)
        return [
            None if place in self.refused else label
            for place, label in zip(places, self.head_labels, strict=True)
        ]

    @cached_property
    def renamed(self) -> dict[str, str]:
        """Labels of base that are called otherwise in head; of tagging the types of entities."""
        names = self.changes.renamed
        if self.base.kind != "tagging":
            return names
        return {old[2:]: new[2:] for old, new in sorted(names.items())}

    @cached_property
    def before(self) -> np.ndarray:
        """The row of base that each row of head was: int64 [n], -1 for none."""
        found = np.full(len(self.head), -1, np.int64)
        pairs = self.changes.pairs[self.changes.pairs[:, 1] >= 0]
        found[pairs[:, 1]] = pairs[:, 0]
        return found

    @cached_property
    def kinds(self) -> list[tuple[str, ...]]:
        """What happened to each row of head: [n]."""
        found: list[tuple[str, ...]] = [()] * len(self.head)
        for row, kinds in zip(self.changes.pairs[:, 1].tolist(), self.changes.kinds, strict=True):
            if row >= 0:
                found[row] = kinds
        return found

    @cached_property
    def new_texts(self) -> list[int]:
        """The rows of head, ascending, whose text no row of their split of base had. Not the empty ones."""
        known = set(zip(self.base.splits, self.base_keys, strict=True))
        found = []
        for row in np.flatnonzero([bool(kinds) for kinds in self.kinds]).tolist():
            key = self.head_keys[row]
            if key is not None and (self.head.splits[row], key) not in known:
                found.append(row)
        return found

    def brought(
        self, rows: Sequence[int], identities: Sequence[Hashable], already: Mapping[Any, int]
    ) -> list[int]:
        """Those of k rows of head that the change brought, ascending.

        ``identities`` [k] say which rows count as the same; of each as many are taken off as there were
        ``already``, rows that nothing happened to first.
        """
        left = Counter(already)
        untouched = [index for index, row in enumerate(rows) if not self.kinds[row]]
        touched = [index for index, row in enumerate(rows) if self.kinds[row]]
        found = []
        for index in (*untouched, *touched):
            identity = identities[index]
            if left[identity] > 0:
                left[identity] -= 1
            else:
                found.append(rows[index])
        return sorted(found)

    def first_rows(self, rows: Sequence[int]) -> dict[str, int]:
        """Of these rows of head the first of each text, where there is one, the first that nothing happened
        to. Not those without a text."""
        found: dict[str, int] = {}
        for row in sorted(rows, key=lambda each: bool(self.kinds[each])):
            key = self.head_keys[row]
            if key is not None:
                found.setdefault(key, row)
        return found

    def of_split(self, split: str) -> list[int]:
        """The rows of head in one split, ascending."""
        return [row for row, each in enumerate(self.head.splits) if each == split]


def _keys(side: VersionRows) -> list[str | None]:
    return [key if key.strip("\0") else None for key in side.alike()]
