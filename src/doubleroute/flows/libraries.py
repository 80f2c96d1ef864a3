"""The libraries that a run imports once, for itself and for the processes that it forks."""

from doubleroute import forks
from doubleroute.workspace import Workspace

#: What a fit and a registered model need.
_ALWAYS = ("torch", "mlflow.pyfunc")
#: Takes a second and a half, and is not needed when nothing is to be trained.
_TO_TRAIN = (
    "transformers.modeling_utils",
    "transformers.models.auto",
    "transformers.models.bert.modeling_bert",
)


def keep(workspace: Workspace) -> None:
    """Import them and keep a fork server (``forks``). Of a workspace that has fits it is taken that they are
    found again: where they are not, every new process imports transformers for itself."""
    fitted = any((workspace.root / "stages").glob("fit-*"))
    forks.keep(_ALWAYS if fitted else _ALWAYS + _TO_TRAIN)
