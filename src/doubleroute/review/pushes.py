"""What a push is about to change: the lines that git gives a pre-push hook, and what of them to review."""

import re
from collections.abc import Iterable

from doubleroute.errors import InputError

#: Where a push ends that a review is about: branches, and changes handed to Gerrit. Tags and notes are not.
_REVIEWED = ("refs/heads/", "refs/for/")


def pushed(lines: Iterable[str]) -> list[tuple[str | None, str]]:
    """The reviews [(base, head)] that a push asks for, as full commit ids, each once, in the order of lines.

    ``lines``: ``LOCAL_REF LOCAL_ID REMOTE_REF REMOTE_ID``, as git writes them to the stdin of a pre-push
    hook. ``base`` is what the remote has; None for a branch that is new there. It may be a commit that is
    not here, when somebody else pushed since the last fetch. A deleted branch, a tag and a branch that the
    remote has already ask for nothing. Raises InputError for a line that is none of these.
    """
    found: dict[tuple[str | None, str], None] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        parts = line.rsplit(maxsplit=3)  # a local ref may be any expression, with blanks too
        if len(parts) != 4 or not all(map(_is_id, parts[1::2])) or not parts[2].startswith("refs/"):
            raise InputError(
                f"--pre-push: line {number} of stdin is '{line.strip()[:200]}', not 'LOCAL_REF LOCAL_ID "
                "REMOTE_REF REMOTE_ID': git writes such lines to a pre-push hook, so call it from there"
            )
        _, head, ref, base = parts
        if ref.startswith(_REVIEWED) and not _is_zero(head) and head != base:
            found[None if _is_zero(base) else base, head] = None
    return list(found)


def _is_id(text: str) -> bool:
    """Whether it is a whole object id, of SHA-1 or SHA-256."""
    return bool(re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", text))


def _is_zero(commit: str) -> bool:
    """Whether it is git's id of nothing: a branch that is new, or that goes."""
    return not commit.strip("0")
