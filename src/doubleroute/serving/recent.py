"""What was asked a moment ago is not computed again: the last answers are kept."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

from doubleroute.errors import RowError
from doubleroute.serving.together import Answers, Rows

#: Longer texts are not kept: they seldom come again, and would fill the memory.
LONGEST = 2000


class Recent:
    """Answers as ``answer`` does, and the ``most`` latest rows from memory; one thread at a time."""

    def __init__(self, answer: Callable[[Rows, Sequence[str] | None], Answers], most: int = 2048) -> None:
        self._answer, self._most = answer, most
        self._kept: dict[Any, dict[str, dict[str, Any]]] = {}  # the latest last

    def answer(self, rows: Rows, tasks: Sequence[str] | None = None) -> Answers:
        """Answer n rows, ``{"text", "text_pair"?}``; each answer is the caller's own. Raises what ``answer``
        raises."""
        chosen = None if tasks is None else tuple(tasks)
        keys = [(row.get("text"), row.get("text_pair"), chosen) for row in rows]
        found = {key: self._kept[key] for key in keys if key in self._kept}
        new = {key: row for key, row in zip(keys, rows, strict=True) if key not in found}
        if new:
            try:
                found |= zip(new, self._answer(list(new.values()), tasks), strict=True)
            except RowError as error:  # of the new rows: its place among all of them
                raise RowError(keys.index(list(new)[error.row]), error.reason) from None
        for key, answer in found.items():
            self._kept.pop(key, None)
            if sum(len(text or "") for text in key[:2]) <= LONGEST:
                self._kept[key] = answer
        for key in list(self._kept)[: max(0, len(self._kept) - self._most)]:
            del self._kept[key]
        return [deepcopy(found[key]) for key in keys]
