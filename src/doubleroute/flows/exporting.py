"""A registered model as ONNX graphs, each accepted on labelled rows. No Prefect: people wait for it."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doubleroute.config import NAMELESS, Project
from doubleroute.digests import digest_of, model_digest
from doubleroute.errors import DataError, GateError, MachineError, ModelError
from doubleroute.integrations.registry import Registry, Version
from doubleroute.serving.acceptance import Labelled, compare, objections
from doubleroute.serving.precision import STAGE, GraphPrecision, choose, exports, made_by
from doubleroute.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

    from doubleroute.modeling.inference import Answerer

#: Rows of a task that the acceptance looks at, and those on which int8 measures its ranges, evenly from all.
ROWS, MEASURED = 5000, 256


@dataclass(frozen=True)
class Exported:
    """One precision of a version: the figures, why it is refused (empty: it is accepted), the folder (None
    when refused), and whether it was there before."""

    precision: GraphPrecision
    figures: dict[str, Any]
    refused: tuple[str, ...]
    folder: Path | None
    reused: bool

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON for `doubleroute export --json`."""
        folder = None if self.folder is None else str(self.folder)
        return {**vars(self), "refused": list(self.refused), "folder": folder}


class Exporter:
    """Exports one version; the model is loaded, and the rows are read, when a graph is not there yet."""

    def __init__(self, project: Project, registry: Registry, version: Version, rows: Path | None) -> None:
        self.project, self.workspace = project, Workspace(project.root)
        self.number, self.model = version.number, registry.model_folder(version)
        self.digest = version.digest or model_digest(self.model)
        self._answerer: Answerer | None = None
        self.given = _given(project, self.workspace, _tasks(self.model), rows)

    @property
    def answerer(self) -> "Answerer":
        """The model itself, on the processor."""
        if self._answerer is None:
            from doubleroute.modeling.inference import Answerer

            self._answerer = Answerer(self.model, self.project.serving.threads)
            self._answerer.model.cpu()
        return self._answerer

    def export(self, precision: GraphPrecision) -> Exported:
        """Give the stage of one precision, measured and accepted; a refused graph leaves none, nor one that
        was accepted on other rows: the newest measurement decides.

        Raises ModelError when the model cannot be exported, MachineError when the extra is not installed.
        """
        margin = self.project.serving.margin
        inputs = {
            "model": self.digest,
            "precision": precision,
            "rows": digest_of({task: _plain(each) for task, each in self.given.items()}),
            **self._made_by(),
        }
        figures: dict[str, Any] = {}

        def make(folder: Path) -> None:
            figures.update(self._make(folder, precision))
            if objections(figures, margin):
                raise GateError("refused")

        self._drop_damaged(inputs)
        try:
            stage = self.workspace.build(STAGE, inputs, make)
        except GateError:
            for older in exports(self.workspace, self.digest, precision):
                shutil.rmtree(older.path)
            return Exported(precision, figures, tuple(objections(figures, margin)), None, reused=False)
        from doubleroute.modeling.onnx_answerer import read_about

        figures = read_about(stage.path)["acceptance"]
        why = tuple(objections(figures, margin))
        return Exported(precision, figures, why, None if why else stage.path, stage.reused)

    @property
    def answers(self) -> str:
        """What answers with the precision ``auto``, in words."""
        from doubleroute.modeling.onnx_answerer import read_about

        graph = choose(self.workspace, self.digest, "auto", self.project.serving.margin, self.number)
        return "PyTorch" if graph is None else f"the {read_about(graph)['precision']} graph"

    def _drop_damaged(self, inputs: Mapping[str, Any]) -> None:
        """Remove an export whose files are not what their digests say: it is made again."""
        from doubleroute.modeling.onnx_answerer import read_about

        found = self.workspace.find(STAGE, inputs)
        if found is not None:
            try:
                read_about(found.path)
            except ModelError:
                shutil.rmtree(found.path)

    def _make(self, folder: Path, precision: GraphPrecision) -> dict[str, Any]:
        """Fill the folder of an export; the figures of its acceptance."""
        from doubleroute.modeling.onnx_answerer import GRAPH, OnnxAnswerer, write_about, write_beside
        from doubleroute.modeling.onnx_graph import write_graph, write_lower_graphs
        from doubleroute.modeling.onnx_int8 import quantise

        traced = folder / (GRAPH if precision == "float32" else f".{GRAPH}")
        write_graph(self.answerer.model, traced)
        if precision == "int8":
            some = [row for each in self.given.values() for row in _evenly(each.rows, MEASURED)]
            quantise(traced, folder / GRAPH, self.answerer.inputs(some))
            traced.unlink()
        write_lower_graphs(self.answerer.model, folder / GRAPH)
        write_beside(folder, self.model, self.answerer)
        about = {"model": self.digest, "precision": precision, **self._made_by()}
        write_about(folder, about)
        graph_answerer = OnnxAnswerer(folder, self.project.serving.threads)
        figures = compare(self.answerer, graph_answerer, self.given)
        write_about(folder, {**about, "acceptance": figures})
        return figures

    @staticmethod
    def _made_by() -> dict[str, Any]:
        from importlib.metadata import PackageNotFoundError

        from doubleroute.modeling.onnx_answerer import missing

        try:
            return made_by()
        except PackageNotFoundError as error:
            raise MachineError(missing(str(error.name))) from error


def _tasks(model: Path) -> dict[str, dict[str, Any]]:
    """The tasks of a saved model, without loading it."""
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    return {task: config["tasks"][task] for task in config["task_names"]}


def _given(
    project: Project, workspace: Workspace, tasks: Mapping[str, Mapping[str, Any]], file: Path | None
) -> dict[str, Labelled]:
    """Labelled rows of every task of the model: the validation split, or the rows of ``file``.

    Raises DataError for a task of the model without any: nothing could be said about it.
    """
    labels = {task: about["labels"] for task, about in tasks.items()}
    frames = _frames(project, workspace, file, labels)
    found = {}
    for task, about in tasks.items():
        frame = frames.get(task)
        options = project.tasks.get(task)
        if frame is None or options is None or options.kind != about["kind"]:
            raise DataError(
                f"task '{task}' of the model ({about['kind']}) has no labelled rows to accept a graph on: "
                "project.yaml or --input must have the task as the model learned it"
            )
        names = None if about["kind"] in NAMELESS else set(about["labels"])
        known = [_is_known(label, names) for label in frame["label"]]
        frame = frame[known]
        if frame.empty:
            raise DataError(f"task '{task}' has no row with a label that the model knows")
        frame = _evenly(frame, ROWS)
        columns = [name for name in ("text", "text_pair", "tokens") if name in frame]
        rows: Any = frame[columns].to_dict("records")
        found[task] = Labelled(rows, frame["label"].tolist(), options.judged_by)
    return found


def _frames(
    project: Project, workspace: Workspace, file: Path | None, labels: Mapping[str, Sequence[str]]
) -> "dict[str, pd.DataFrame]":
    if file is not None:
        from doubleroute.flows.current import given

        return given(project, file, labels)
    from doubleroute.data.tables import read_validated
    from doubleroute.integrations.validation import validate
    from doubleroute.integrations.versions import pull

    pull(project.root, project.all_paths)
    validated = validate(project, workspace)
    return {task: read_validated(validated.path, task, "validation") for task in project.tasks}


def _is_known(label: Any, names: set[str] | None) -> bool:
    """Whether a row has a label, and one of these that the model could give (None: labels have no names)."""
    if label is None or label != label:  # NaN: a number that is not there
        return False
    return names is None or (label in names if isinstance(label, str) else names.issuperset(label))


def _evenly(rows: Any, most: int) -> Any:
    """At most so many of the rows (a sequence or a frame), evenly from all."""
    step = max(1, -(-len(rows) // most))
    return rows[::step]


def _plain(given: Labelled) -> list[Any]:
    rows = [
        {name: list(value) if name == "tokens" else value for name, value in row.items()}
        for row in given.rows
    ]
    truths = [list(each) if not isinstance(each, str | float | int) else each for each in given.truths]
    return [rows, truths, given.metric]
