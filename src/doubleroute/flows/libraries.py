"""The libraries that a run imports once, for itself and for the processes that it forks."""

from doubleroute import forks
from doubleroute.hardware import may_have_gpu
from doubleroute.processes import FOR_MODELS
from doubleroute.workspace import Workspace

#: What every run needs, the server of Prefect among its processes much of it.
_ALWAYS = ("mlflow.pyfunc",)


def import_steps() -> None:
    """PyTorch, MLflow's store and the rest take seconds to import: as long as the server takes to start."""
    import doubleroute.flows.steps  # noqa: F401
    from doubleroute.integrations.registry_store import import_libraries

    import_libraries()


def keep(workspace: Workspace) -> None:
    """Import them and keep a fork server (``forks``). Of a workspace that has fits it is taken that they are
    found again, and no model is opened: where it is all the same, the fork server imports what that needs.
    Where there may be a GPU, PyTorch is asked before that."""
    fitted = any((workspace.root / "stages").glob("fit-*"))
    libraries = [*_ALWAYS]
    if not fitted or may_have_gpu():
        libraries.append("torch")
    if not fitted:
        libraries += FOR_MODELS
    forks.keep(libraries)
