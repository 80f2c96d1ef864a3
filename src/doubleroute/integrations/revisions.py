"""The project as it is in a git revision, or in the index, with its data, in a folder of its own.

Git is asked for objects and DVC's cache for data; the working tree, the index and the refs stay as they
are. The folder is made of two stages: the data, kept by the md5 in data.dvc, so that revisions with the
same data share them, and the small files of the revision, to which the data are linked.
"""

import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from doubleroute.errors import DataError, InputError
from doubleroute.integrations.data_files import is_there, some
from doubleroute.integrations.data_objects import LISTING, Origin, data_stage, is_inside, listing_on_disk
from doubleroute.integrations.data_record import folder_md5
from doubleroute.integrations.git import ask, failed, is_in_none
from doubleroute.integrations.versions import pointer_in, read_pointer, remote_in
from doubleroute.workspace import Stage, Workspace

#: What of the project is read from git; the data come from DVC.
NAMES = ("data.dvc", "project.yaml", "acknowledged.yaml", "expectations")


@dataclass(frozen=True)
class Revision:
    """A project as it is in one revision.

    ``name`` is what it was asked for by, ``commit`` its 40 or 64 hex digits, None for the index;
    ``dvc_md5`` the md5 in its data.dvc. ``root`` is a folder with its project.yaml, expectations/,
    acknowledged.yaml if there is one, and data/, to be read only. ``files``: the md5 of each file of
    data/ by its path below it.
    """

    name: str
    commit: str | None
    dvc_md5: str
    root: Path
    files: Mapping[str, str]


def revision(root: Path, workspace: Workspace, name: str) -> Revision:
    """The project in ``root`` as it is in the revision ``name``: a branch, a tag, a hash, HEAD~1, ...

    Raises InputError when there is no such revision or its data.dvc or project.yaml is missing or wrong,
    DataError when its data are damaged, and MachineError when they can be had nowhere.
    """
    root = root.resolve()
    commit = resolve(root, name)
    origin = Origin(_shown(name, commit), lambda: _made_by(root, commit))
    files = _files_of_commit(root, commit)
    return _revision(root, workspace, name, commit, files, origin)


def staged(root: Path, workspace: Workspace) -> Revision:
    """The project in ``root`` as the next commit would have it: what is in the index of git.

    Raises as ``revision``, and DataError when data/ differs from a data.dvc that nobody staged: the
    change would go unseen.
    """
    root = root.resolve()
    _check_repository(root)
    files = _files_of_index(root)
    origin = Origin("the index", lambda: "on the machine where `dvc add data` was typed")
    if "data.dvc" in files:
        _check_staged(root, files["data.dvc"])
    return _revision(root, workspace, "staged", None, files, origin)


def fork_point(root: Path, base: str, head: str) -> str:
    """The commit at which ``head`` left ``base``: what a pull request changes is ``head`` against it.

    Raises InputError when one of the two is no revision, or when they have no common ancestor here.
    """
    root = root.resolve()
    done = ask(root, "merge-base", resolve(root, base), resolve(root, head))
    commit = done.stdout.decode().strip()
    if done.returncode == 0:
        return commit
    if done.returncode != 1:
        raise failed(root, done.stderr)
    cure = _if_shallow(root) or "; name two revisions of one history"
    raise InputError(f"'{base}' and '{head}' have no common ancestor in {root}{cure}")


def check_versioned(root: Path, paths: Iterable[Path]) -> None:
    """Raise InputError when a data file of the project in ``root`` lies outside data/: DVC has no versions
    of it that a revision could give."""
    outside = [
        os.path.relpath(path, root) for path in paths if not path.absolute().is_relative_to(root / "data")
    ]
    if outside:
        raise InputError(
            f"tasks.*.files: outside data/, and so in no version of the data: {some(outside)}; move them "
            "into data/, name them so in project.yaml, and `dvc add data`"
        )


def resolve(root: Path, name: str) -> str:
    """The hash of the commit that ``name`` means in the repository of ``root``.

    Raises InputError when it means none or more than one, or when ``root`` is in no repository.
    """
    _check_repository(root)
    if not name or name[0] in "-^" or "\0" in name:
        raise _unknown(root, name)
    done = ask(root, "rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}")
    commit = done.stdout.decode(errors="replace").strip()
    if b"ambiguous" in done.stderr:
        raise InputError(
            f"'{name}' means more than one thing in {root}; write heads/{name} for the branch, tags/{name} "
            "for the tag, or more digits of the hash"
        )
    if done.returncode or not re.fullmatch("[0-9a-f]{40,64}", commit):
        raise _unknown(root, name)
    return commit


def _check_repository(root: Path) -> None:
    done = ask(root, "rev-parse", "--git-dir")
    if is_in_none(done):
        raise InputError(
            f"{root} is in no git repository, and a revision of it was asked for; `git init` makes one"
        )
    if done.returncode:
        raise failed(root, done.stderr)


def _unknown(root: Path, name: str) -> InputError:
    done = ask(root, "for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/remotes", "refs/tags")
    known = done.stdout.decode(errors="replace").split()
    near = [each for each in known if name and each.partition("/")[2] == name]
    near += [each for each in get_close_matches(name, known, n=4) if each not in near]
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    elif known:
        hint = f"it has: {some(known)}"
    else:
        hint = "it has no branch and no tag yet"
    return InputError(f"{name!r} is no commit, branch or tag of {root}; {hint}{_if_shallow(root)}")


def _if_shallow(root: Path) -> str:
    """What to say after an error that a shallow clone can be the reason of."""
    done = ask(root, "rev-parse", "--is-shallow-repository")
    if done.stdout.strip() != b"true":
        return ""
    return "; this clone is shallow and lacks older commits: `git fetch --unshallow` brings them"


def _shown(name: str, commit: str) -> str:
    return commit[:10] if name == commit else f"{name} ({commit[:10]})"


def _made_by(root: Path, commit: str) -> str:
    """Where the data of a commit were added, as far as git knows."""
    if not _if_shallow(root):
        form = "--format=%h of %as by %an"
        done = ask(root, "log", "-1", "--no-show-signature", form, commit, "--", "data.dvc")
        found = done.stdout.decode(errors="replace").strip()
        if done.returncode == 0 and found:
            return f"on the machine where its data.dvc was committed (commit {found})"
    return "on the machine where its data.dvc was committed"


def _files_of_commit(root: Path, commit: str) -> dict[str, str]:
    """The git objects of the project's own files in a commit, by their paths in the project."""
    done = ask(root, "ls-tree", "-r", "-z", commit, "--", *NAMES)
    if done.returncode:
        raise failed(root, done.stderr)
    files = {}
    for entry in done.stdout.decode(errors="surrogateescape").split("\0")[:-1]:
        facts, _, name = entry.partition("\t")
        mode, _, sha = facts.split(" ")
        _check_file(name, mode)
        files[name] = sha
    return files


def _files_of_index(root: Path) -> dict[str, str]:
    """The git objects of the project's own files in the index, by their paths in the project."""
    done = ask(root, "ls-files", "--stage", "-z", "--", *NAMES, index=_index_of_commit(root))
    if done.returncode:
        raise failed(root, done.stderr)
    files = {}
    for entry in done.stdout.decode(errors="surrogateescape").split("\0")[:-1]:
        facts, _, name = entry.partition("\t")
        mode, sha, side = facts.split(" ")
        if side != "0":
            raise InputError(
                f"the index: a merge conflict in {name} is not resolved; resolve it, then `git add {name}`"
            )
        _check_file(name, mode)
        files[name] = sha
    return files


def _index_of_commit(root: Path) -> Path | None:
    """The index that git gave to a hook for the commit it makes, as of `git commit --all`, if it is one of
    this repository."""
    given = os.environ.get("GIT_INDEX_FILE")
    folder = Path(ask(root, "rev-parse", "--absolute-git-dir").stdout.decode().rstrip("\n"))
    if given and Path(given).is_file() and Path(given).resolve().is_relative_to(folder.resolve()):
        return Path(given).resolve()
    return None


def _check_file(name: str, mode: str) -> None:
    if not mode.startswith("100") or not is_inside(name):
        raise InputError(
            f"{name} is no plain file in that revision; commit the file itself, not a link to it"
        )


def _check_staged(root: Path, staged_object: str) -> None:
    """Nothing may have changed that `git add data.dvc` would have to tell."""
    head = ask(root, "rev-parse", "--verify", "--quiet", "HEAD:./data.dvc").stdout.decode().strip()
    if head != staged_object:
        return
    pointer = pointer_in(_contents(root, [staged_object])[staged_object], "the index: data.dvc")
    now = folder_md5(listing_on_disk(root)) if is_there(root) else pointer
    told = read_pointer(root) or pointer
    if now not in (pointer, told):
        raise DataError(
            f"{root / 'data'} is not what data.dvc says, and no change of data.dvc is staged; "
            "`dvc add data`, then `git add data.dvc`"
        )
    if told != pointer:
        raise DataError(f"{root / 'data.dvc'} changed and is not staged; `git add data.dvc`")


def _contents(root: Path, objects: Iterable[str]) -> dict[str, bytes]:
    """The contents of git objects."""
    objects = sorted(set(objects))
    done = ask(root, "cat-file", "--batch", stdin="".join(f"{each}\n" for each in objects).encode())
    found, rest = {}, done.stdout
    for each in objects:
        head, _, rest = rest.partition(b"\n")
        facts = head.split(b" ")
        if len(facts) != 3 or facts[1] != b"blob":
            raise failed(root, done.stderr or head)
        size = int(facts[2])
        found[each], rest = rest[:size], rest[size + 1 :]
    return found


def _revision(
    root: Path,
    workspace: Workspace,
    name: str,
    commit: str | None,
    files: Mapping[str, str],
    origin: Origin,
) -> Revision:
    for needed, cure in (("project.yaml", "git add project.yaml"), ("data.dvc", "dvc add data")):
        if needed not in files:
            raise InputError(
                f"{origin.name}: {root.name}/{needed} is not there; a review compares revisions that have "
                f"both project.yaml and data.dvc (`{cure}`, then commit)"
            )
    contents = _contents(root, files.values())
    pointer = pointer_in(contents[files["data.dvc"]], f"{origin.name}: data.dvc")
    origin = replace(origin, remote=remote_in(contents[files["data.dvc"]]))
    data = data_stage(root, workspace, pointer, origin)
    own = {each: sha for each, sha in files.items() if each != "data.dvc"}

    def make(folder: Path) -> None:
        for each, sha in own.items():
            (folder / each).parent.mkdir(parents=True, exist_ok=True)
            (folder / each).write_bytes(contents[sha])
        _link(data, folder)

    stage = workspace.build("revision", {"dvc_md5": pointer, "files": own}, make, linked=data)
    listing = json.loads((data.path / LISTING).read_text(encoding="utf-8"))
    return Revision(name, commit, pointer, stage.path, listing)


def _link(data: Stage, folder: Path) -> None:
    """Give the folder the files of the data, as links to the same bytes where the disk has such links."""

    def link(source: str, target: str) -> None:
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)

    shutil.copytree(data.path / "data", folder / "data", copy_function=link)
