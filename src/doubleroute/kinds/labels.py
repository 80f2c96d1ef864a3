"""Label names <-> indices, for every kind whose labels have names."""

import difflib
from collections.abc import Iterable, Sequence

import numpy as np

from doubleroute.errors import InputError

_SHOWN = 10


def index_of(labels: Sequence[str]) -> dict[str, int]:
    """The place of each label in its task's order."""
    return {label: index for index, label in enumerate(labels)}


def indices(values: Sequence[str], index: dict[str, int]) -> np.ndarray:
    """Labels -> int64 [n]. Raises InputError that names a label outside the task's labels."""
    try:
        return np.fromiter((index[value] for value in values), np.int64, len(values))
    except (KeyError, TypeError):
        value = next(value for value in values if not isinstance(value, str) or value not in index)
        raise _unknown(value, list(index)) from None


def _unknown(value: object, labels: Sequence[str]) -> InputError:
    """The error for a ``value`` that is not one of ``labels``."""
    close = difflib.get_close_matches(str(value), labels, n=1)
    more = f" and {len(labels) - _SHOWN} more" if len(labels) > _SHOWN else ""
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return InputError(
        f"label {value!r} is not one of the task's labels: {', '.join(labels[:_SHOWN])}{more}{hint}"
    )


def extended(labels: Sequence[str], answered: Iterable[str]) -> list[str]:
    """``labels`` and then those that were answered without being among them.

    An older model may know labels that the project has dropped: its answers count as wrong.
    """
    return [*labels, *sorted(set(answered) - set(labels))]
