"""Which reviews a push asks for, once its commits are looked up."""

from collections.abc import Iterable
from pathlib import Path

from doubleroute.integrations.git import ask
from doubleroute.integrations.revisions import NAMES


def reviews_of_push(root: Path, pairs: Iterable[tuple[str | None, str]]) -> list[tuple[str, str]]:
    """Base and head of each pair of ``review.pushes.pushed`` that changes the project in ``root``.

    A branch that is new on the remote, or whose remote commit is not here, is compared with the newest of
    its commits that some remote is known to have; without one there is nothing to compare it with, nor where
    one of the two has no project or no data yet.
    """
    found = []
    for given, head in pairs:
        base = given if given is not None and _is_here(root, given) else _known_to_a_remote(root, head)
        if base is not None and _has_data(root, base, head) and _changes(root, base, head):
            found.append((base, head))
    return found


def _is_here(root: Path, commit: str) -> bool:
    return ask(root, "cat-file", "-e", f"{commit}^{{commit}}").returncode == 0


def _known_to_a_remote(root: Path, head: str) -> str | None:
    """The newest commit of head's history that a remote has: where several end what it has, the one that
    contains the others, be it by a merge; ``head`` when a remote has it, None when none has any."""

    def commits(*arguments: str) -> list[str]:
        return ask(root, *arguments).stdout.decode().split()

    found = commits("rev-list", "--boundary", head, "--not", "--remotes")
    ends = [each.removeprefix("-") for each in found if each.startswith("-")]
    if len(ends) == len(found):
        return head
    if len(ends) > 1:
        ends = commits("rev-list", "--no-walk", *commits("merge-base", "--independent", *ends))
    return ends[0] if ends else None


def _has_data(root: Path, *commits: str) -> bool:
    files = [f"{commit}:./{name}" for commit in commits for name in ("project.yaml", "data.dvc")]
    return all(ask(root, "cat-file", "-e", file).returncode == 0 for file in files)


def _changes(root: Path, base: str, head: str) -> bool:
    return ask(root, "diff", "--quiet", base, head, "--", *NAMES).returncode != 0
