"""The validation of one version of a review, and how it is made beside the other one's.

``python -m doubleroute.flows.validating FOLDER PROJECT CHANGES`` validates the version in FOLDER into the
workspace of PROJECT; CHANGES is a JSON list of overrides. Whoever asks for it afterwards finds the stage.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from doubleroute.config import Project, load_project
from doubleroute.errors import GateError, InputError
from doubleroute.forks import end_with_parent
from doubleroute.integrations.reading import Read
from doubleroute.integrations.validation import find_validated, validate
from doubleroute.processes import Child, start
from doubleroute.workspace import Stage, Workspace


def validated(
    project: Project, workspace: Workspace, read: Read | None = None
) -> tuple[Stage | None, Exception | None]:
    """The validation of a version with however many bad rows: they are counted and do not stop a review.

    ``read`` as ``validate`` takes it. Without a stage comes the error that stood in its way: a DataError, the
    InputError of an expectation that cannot be checked, or a GateError.
    """
    try:
        return validate(project, workspace, read), None
    except InputError as error:
        return None, error
    except GateError:
        rules = project.validation.model_copy(update={"max_invalid": 1.0})
        patient = project.model_copy(update={"validation": rules}).at(project.root)
    try:
        return validate(patient, workspace, read), None
    except (GateError, InputError) as error:
        return None, error


@contextmanager
def beside(version: Path, root: Path, changes: Sequence[str]) -> Iterator[Callable[[], None]]:
    """Validate the version, unless it was before, in a process of its own as long as this lasts; gives what
    waits for its end. What it says is not asked: who needs the stage and does not find it makes it, and
    meets the same error."""
    try:
        known = find_validated(load_project(version, changes), Workspace(root))
    except InputError:
        known = None
    if known is not None:
        yield lambda: None
        return
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    arguments = (str(version), str(root), json.dumps(list(changes)))
    child = start("doubleroute.flows.validating", *arguments, **quiet)
    try:
        yield lambda: _ended(child)
    finally:
        child.kill()
        child.wait()


def _ended(child: Child) -> None:
    child.wait()


if __name__ == "__main__":
    end_with_parent()
    folder, place, overrides = sys.argv[1:]
    validated(load_project(Path(folder), json.loads(overrides)), Workspace(Path(place)))
