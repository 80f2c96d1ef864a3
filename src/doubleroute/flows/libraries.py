"""The libraries that a run imports once, for itself and for the processes that it forks."""

from doubleroute import forks
from doubleroute.hardware import may_have_gpu
from doubleroute.processes import FOR_MODELS
from doubleroute.workspace import Workspace

#: What every run needs, the server of Prefect among its processes much of it.
_ALWAYS = ("mlflow.pyfunc",)


def import_steps() -> None:
    """PyTorch, MLflow's store and the rest take seconds to import: as long as the server takes to start."""
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

    import doubleroute.flows.steps  # noqa: F401


def keep(workspace: Workspace) -> None:
    """Import them and keep a fork server (``forks``). Of a workspace that has fits it is taken that they are
    found again, and no model is opened: where it is all the same, the fork server imports what that needs,
    but not where PyTorch may compute on a GPU, which has to be asked before."""
    fitted = any((workspace.root / "stages").glob("fit-*"))
    forks.keep(_ALWAYS if fitted and not may_have_gpu() else ("torch", *_ALWAYS, *FOR_MODELS))
