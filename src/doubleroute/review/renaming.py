"""The names in labels, and which of them a new version calls otherwise."""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain, product
from typing import Any

from doubleroute.config import NAMELESS
from doubleroute.review.rows import VersionRows

#: So large a share of the rows that are still there must have gone along, and so many at least.
SHARE, LEAST_ROWS = 0.9, 2


def names_of(kind: str, labels: Iterable[Any]) -> Counter[str]:
    """How often labels name what: a class once a row, each label of a set, each tag but O. Numbers,
    answers in a context and rows without a label name nothing."""
    there = (label for label in labels if label is not None)
    if kind in NAMELESS:
        return Counter()
    if kind == "classification":
        return Counter(there)
    found = Counter(chain.from_iterable(there))
    if kind == "tagging":
        found.pop("O", None)
    return found


def renamings(base: VersionRows, head: VersionRows, pairs: Iterable[tuple[int, int]]) -> dict[str, str]:
    """Which labels of base have another name in head, by the (base, head) rows that belong together.

    X is called Y where base has no Y or head no X, and of these rows at least LEAST_ROWS, and SHARE both of
    those that had X and of those that have Y, went from X to Y. Labels that were merged, divided or swapped
    are not renamed; one is although some rows, new ones above all, still use its old name. Of tags the types
    of the entities are compared, and all tags of a type are named.
    """
    kind = base.kind
    before, after = names_of(kind, base.labels), names_of(kind, head.labels)
    old, new = {_type(kind, name) for name in before}, {_type(kind, name) for name in after}
    if old == new:
        return {}
    votes: Counter[tuple[str, str]] = Counter()
    had: Counter[str] = Counter()
    has: Counter[str] = Counter()
    for row, partner in pairs:
        one, other = base.labels[row], head.labels[partner]
        had.update(_names(kind, one))
        has.update(_names(kind, other))
        if one != other:
            votes.update(_became(kind, one, other))
    sure = [
        (one, other)
        for (one, other), count in votes.items()
        if (one not in new or other not in old)
        and count >= LEAST_ROWS
        and count >= SHARE * max(had[one], has[other])
    ]
    # Labels of a set that always stand together cannot be told apart.
    olds, news = Counter(one for one, _ in sure), Counter(other for _, other in sure)
    types = {one: other for one, other in sorted(sure) if olds[one] == news[other] == 1}
    if kind != "tagging":
        return types
    return {
        tag: tag.removesuffix(_type(kind, tag)) + types[_type(kind, tag)]
        for tag in sorted(before)
        if _type(kind, tag) in types
    }


def renamed_label(kind: str, label: Any, renamed: Mapping[str, str]) -> Any:
    """A label as ``VersionRows.comparable`` gives it, by its new names."""
    if label is None or kind in NAMELESS:
        return label
    if kind == "classification":
        return renamed.get(label, label)
    names = tuple(renamed.get(name, name) for name in label)
    return tuple(sorted(names)) if kind == "multilabel" else names


def _type(kind: str, name: str) -> str:
    """The entity type of a tag, B-x or I-x; other tags and labels as they are."""
    return name[2:] if kind == "tagging" and name[:2] in ("B-", "I-") else name


def _names(kind: str, label: Any) -> set[str]:
    if label is None:
        return set()
    return {label} if kind == "classification" else {_type(kind, name) for name in label}


def _became(kind: str, before: Any, after: Any) -> set[tuple[str, str]]:
    """Which names of a row's label stand where others stood; in sets, beside all that they may have been."""
    if before is None or after is None:
        return set()
    if kind == "classification":
        return {(before, after)} if before != after else set()
    if kind == "multilabel":
        return set(product(set(before) - set(after), set(after) - set(before)))
    if len(before) != len(after):
        return set()
    return {
        (_type(kind, one), _type(kind, other))
        for one, other in zip(before, after, strict=True)
        if one != other
    }
