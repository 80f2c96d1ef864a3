"""Which reviews a push asks for, once its commits are looked up."""

from collections.abc import Iterable
from pathlib import Path

from doubleroute.errors import InputError
from doubleroute.integrations.git import ask
from doubleroute.integrations.revisions import NAMES


def reviews_of_push(
    root: Path, pairs: Iterable[tuple[str | None, str]]
) -> tuple[list[tuple[str, str]], list[str]]:
    """Base and head of each pair of ``review.pushes.pushed`` that changes the project in ``root``, and what
    is to be said of those that there is nothing to compare with.

    A branch that is new on the remote, or whose remote commit is not here, is compared with the newest of
    its commits that some remote is known to have. There may be none, or one that has no project or no data
    yet. A head that took them away is to be reviewed, which ends in an error. Raises InputError where neither
    the folder nor what is pushed has a project.
    """
    found, said = [], []
    pairs = list(pairs)
    if pairs and not (root / "project.yaml").is_file():
        commits = {
            commit for pair in pairs for commit in pair if commit is not None and _is_here(root, commit)
        }
        if not any(_holds(root, commit, "project.yaml") for commit in commits):
            raise InputError(
                f"there is no project.yaml in {root}, here or in what is pushed, so that nothing would be "
                "reviewed; --project names the folder of the project"
            )
    for given, head in pairs:
        base = given if given is not None and _is_here(root, given) else _known_to_a_remote(root, head)
        if base is None:
            if _has_data(root, head):
                said.append(f"{head[:10]} is not reviewed: no remote has a commit to compare it with")
        elif _changes(root, base, head):
            if _has_data(root, base):
                found.append((base, head))
            else:
                said.append(f"{head[:10]} is not reviewed: {base[:10]} has no data to compare it with")
    return found, said


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


def _has_data(root: Path, commit: str) -> bool:
    return all(_holds(root, commit, name) for name in ("project.yaml", "data.dvc"))


def _holds(root: Path, commit: str, name: str) -> bool:
    return ask(root, "cat-file", "-e", f"{commit}:./{name}").returncode == 0


def _changes(root: Path, base: str, head: str) -> bool:
    return ask(root, "diff", "--quiet", base, head, "--", *NAMES).returncode != 0
