"""What was asked a moment ago is not computed again: the last answers are kept."""

from collections.abc import Callable, Sequence
from typing import Any

from doubleroute.errors import RowError
from doubleroute.serving.together import Answers, Rows

#: Longer texts are not kept: they seldom come again, and would fill the memory.
LONGEST = 2000
#: Values of all answers that are kept, a probability being one: about 60 bytes each, so 30 MB.
VALUES = 500_000
_NESTED = (dict, list)


class Recent:
    """Answers as ``answer`` does, and the latest rows from memory: at most ``most``, whose answers have at
    most ``values`` values together. One thread at a time."""

    def __init__(
        self,
        answer: Callable[[Rows, Sequence[str] | None], Answers],
        most: int = 2048,
        values: int = VALUES,
    ) -> None:
        self._answer, self._most, self._values = answer, most, values
        #: Each with how many values it has; the latest last.
        self._kept: dict[Any, tuple[dict[str, dict[str, Any]], int]] = {}
        self._held = 0

    def answer(self, rows: Rows, tasks: Sequence[str] | None = None) -> Answers:
        """Answer n rows, ``{"text", "text_pair"?}``; each answer is the caller's own. Raises what ``answer``
        raises."""
        chosen = None if tasks is None else tuple(tasks)
        keys = [(row.get("text"), row.get("text_pair"), chosen) for row in rows]
        found = {key: self._kept[key] for key in keys if key in self._kept}
        new = {key: row for key, row in zip(keys, rows, strict=True) if key not in found}
        if new:
            try:
                answers = self._answer(list(new.values()), tasks)
            except RowError as error:  # of the new rows: its place among all of them
                raise RowError(keys.index(list(new)[error.row]), error.reason) from None
            found |= {key: (each, _count(each)) for key, each in zip(new, answers, strict=True)}
        for key, each in found.items():
            self._keep(key, each)
        return [_copy(found[key][0]) for key in keys]

    def _keep(self, key: Any, each: tuple[dict[str, dict[str, Any]], int]) -> None:
        """Keep an answer as the latest; the oldest go until there is room."""
        if key in self._kept:
            self._held -= self._kept.pop(key)[1]
        if sum(len(text or "") for text in key[:2]) > LONGEST or each[1] > self._values:
            return
        self._kept[key] = each
        self._held += each[1]
        while len(self._kept) > self._most or self._held > self._values:
            self._held -= self._kept.pop(next(iter(self._kept)))[1]


def _copy(value: Any) -> Any:
    """A copy of plain JSON, an object or a list; deepcopy takes seven times as long for many labels."""
    found = value.copy()
    for place, each in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(each, _NESTED):
            found[place] = _copy(each)
    return found


def _count(value: Any) -> int:
    """How many values an object or a list has, and those in them."""
    each = value.values() if isinstance(value, dict) else value
    return len(value) + sum(_count(one) for one in each if isinstance(one, _NESTED))
