"""Which of a version's exported graphs answers: found in the workspace, judged by its kept figures."""

import os
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from doubleroute.digests import code_digest, versions_of
from doubleroute.errors import GateError, InputError, ModelError
from doubleroute.hardware import has_gpu
from doubleroute.workspace import Stage, Workspace

if TYPE_CHECKING:
    from doubleroute.modeling.answering import Answering

Precision = Literal["auto", "float32", "int8", "torch"]
GraphPrecision = Literal["float32", "int8"]
#: The graphs there are, the one that ``auto`` prefers first.
GRAPHS: tuple[GraphPrecision, ...] = ("int8", "float32")
STAGE = "export"
#: Names the exported graph where no project.yaml is known: in a served model.
FOLDER = "DOUBLEROUTE_EXPORT"


def made_by() -> dict[str, Any]:
    """What an exported graph depends on beside the model: code and libraries."""
    return {
        "code": code_digest(
            "data/batches",
            "data/tags",
            "data/tokens",
            "data/windows",
            "kinds",
            "modeling",
            "serving/acceptance",
        ),
        "versions": versions_of("onnx", "onnxruntime", "tokenizers", "torch", "transformers"),
    }


def choose(
    workspace: Workspace, digest: str | None, precision: Precision, margin: float, version: str
) -> Path | None:
    """The folder of the graph that answers for the model of this digest; None: PyTorch does. ``version`` is
    its number in the registry.

    ``auto`` takes int8, then float32, if it was exported and its figures are within ``margin``. Raises
    InputError when the graph that is asked for was not exported, GateError when its figures are not, and
    ModelError when its files are damaged.
    """
    # Not above: it reads project.yaml's words, whose libraries a served model's environment does not have.
    from doubleroute.serving.acceptance import objections

    if precision == "torch" or (precision == "auto" and not _may_be_there(workspace)):
        return None
    if precision == "auto":
        for each in GRAPHS:
            try:
                found = exported(workspace, digest, each)
            except ModelError:  # damaged: the model itself is still there to answer
                continue
            if found is not None and not objections(found[1], margin):
                return found[0]
        return None
    found = exported(workspace, digest, precision)
    if found is not None:
        why = objections(found[1], margin)
        if why:
            raise GateError(f"the exported {precision} graph is refused: {'; '.join(why)}")
        return found[0]
    raise InputError(
        f"version {version} has no exported {precision} graph; "
        f"`doubleroute export --precision {precision} --model-version {version}` makes it"
    )


def exported(
    workspace: Workspace, digest: str | None, precision: GraphPrecision
) -> tuple[Path, dict[str, Any]] | None:
    """The newest export of a model and its figures, {task: figures}; None when there is none that this code
    and these libraries made. Raises ModelError when its files are damaged."""
    from doubleroute.modeling.onnx_answerer import read_about

    found = exports(workspace, digest, precision)
    if not found:
        return None
    workspace.use(found[0])
    return found[0].path, read_about(found[0].path)["acceptance"]


def exports(workspace: Workspace, digest: str | None, precision: GraphPrecision) -> list[Stage]:
    """Every export of a model that this code and these libraries made, whatever rows it was accepted on; the
    newest first."""
    try:
        wanted = {"model": digest, "precision": precision, **made_by()}
    except PackageNotFoundError:
        return []
    return [stage for stage in workspace.all(STAGE) if wanted.items() <= stage.manifest["inputs"].items()]


def served_graph(digest: str | None) -> Path | None:
    """The graph that the environment names for the model of this digest; None: it names none.

    Raises InputError when it names the folder of several graphs, and ModelError when it is the graph of
    another model or its files are damaged.
    """
    if not os.environ.get(FOLDER):
        return None
    from doubleroute.modeling.onnx_answerer import ABOUT, read_about

    place = Path(os.environ[FOLDER])
    held = [name for name in GRAPHS if (place / name / ABOUT).is_file()]
    if held and not (place / ABOUT).exists():
        raise InputError(f"{FOLDER}: {place} holds {', '.join(held)}; name one of them, as {place / held[0]}")
    if read_about(place).get("model") != digest:
        raise ModelError(
            f"{FOLDER}: {place} is the graph of another model than the one that is served; "
            "`doubleroute export --model-version N --output DIR` makes it"
        )
    return place


def open_answerer(model: Path, graph: Path | None, threads: int | None) -> "Answering":
    """What answers: the graph where there is one, else the model by PyTorch. ``threads`` are also those that
    tokenise, if none of the process has tokenised several texts at once before."""
    if threads is not None:
        os.environ.setdefault("RAYON_NUM_THREADS", str(threads))  # tokenizers reads it when it begins
    if graph is None:
        from doubleroute.modeling.inference import Answerer

        return Answerer(model, threads)
    from doubleroute.modeling.onnx_answerer import OnnxAnswerer

    return OnnxAnswerer(graph, threads)


def _may_be_there(workspace: Workspace) -> bool:
    """Without an export, or with a GPU (which runs the model faster), nothing is looked for."""
    return bool(workspace.all(STAGE)) and not has_gpu()
