"""The libraries that a run imports once, for itself and for the processes that it forks."""

from doubleroute import forks
from doubleroute.processes import FOR_MODELS
from doubleroute.workspace import Workspace

#: What every run needs.
_ALWAYS = ("torch", "mlflow.pyfunc")


def import_steps() -> None:
    """Great Expectations and the rest take seconds to import: as long as the server takes to start."""
    import doubleroute.flows.steps  # noqa: F401


def keep(workspace: Workspace) -> None:
    """Import them and keep a fork server (``forks``). Of a workspace that has fits it is taken that they are
    found again, and no model is opened: where it is all the same, the fork server imports what that needs."""
    fitted = any((workspace.root / "stages").glob("fit-*"))
    forks.keep(_ALWAYS if fitted else _ALWAYS + FOR_MODELS)
