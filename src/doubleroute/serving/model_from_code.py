"""What MLflow runs to serve a registered model: this file is stored with each version, without pickle.

Input: a table with a column ``text`` and, for pairs, ``text_pair``. Output: one JSON object a row,
{task: answer}; the parameter ``tasks`` ("sentiment,entities") chooses some of the tasks. The doubleroute
code that trained the model is stored beside this file (``code/``) and comes first on the import path.
Requests that come at the same time are answered in one batch, and the latest from memory. In the environment
DOUBLEROUTE_REQUEST_LOG=FOLDER keeps a log of what is asked (``serving/log.py``), and
DOUBLEROUTE_EXPORT=FOLDER names an exported graph of this version that answers instead of PyTorch.
"""

import json
import sys
from pathlib import Path
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel, PythonModelContext


class RoutedModel(PythonModel):
    """Answers texts with the model in the artifact folder ``model``."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the weights once, when the server starts."""
        from doubleroute.errors import InputError
        from doubleroute.serving.log import from_environment
        from doubleroute.serving.precision import open_answerer, served_graph
        from doubleroute.serving.recent import Recent
        from doubleroute.serving.together import Together

        folder = Path(context.artifacts["model"])
        digest = _digest(folder)
        answerer = open_answerer(folder, served_graph(digest), None)
        self.tasks = answerer.tasks
        self.together = Together(Recent(answerer.answer).answer)
        try:
            self.log = from_environment({"digest": digest})
        except InputError as error:  # answering goes on, and nothing unredacted is written
            self.log = None
            print(f"warning: no log of requests is kept: {error}", file=sys.stderr, flush=True)

    # No type hint on model_input: it would override the signature that the model is saved with.
    def predict(  # type: ignore[no-untyped-def]
        self,
        context: PythonModelContext,  # noqa: ARG002  the signature that MLflow calls
        model_input,
        params: dict[str, Any] | None = None,
    ) -> list[dict[str, Any]]:
        """Answer every row of the table; a bad row or an unknown task is an INVALID_PARAMETER_VALUE.
        Errors count rows from 1."""
        from doubleroute.errors import InputError
        from doubleroute.serving.requests import refuse_halves

        chosen = [name.strip() for name in str((params or {}).get("tasks") or "").split(",") if name.strip()]
        rows = [_row(number, record) for number, record in enumerate(model_input.to_dict("records"))]
        try:
            refuse_halves(rows, {task: self.tasks.get(task, {}) for task in chosen or self.tasks})
            answers: list[dict[str, Any]] = self.together.answer(rows, chosen or None)
        except InputError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        if self.log is not None:
            self.log.write(rows, answers)
        return answers


def _digest(model: Path) -> str | None:
    """The model's digest as its version has it (``digests.model_digest``), from the manifest
    beside it; None without one."""
    from doubleroute.digests import digest_of

    try:
        manifest = json.loads((model.parents[1] / "manifest.json").read_text(encoding="utf-8"))
    except OSError:
        return None
    inside = "artifacts/model/"
    return digest_of(
        {name.removeprefix(inside): sha for name, sha in manifest.items() if name.startswith(inside)}
    )


def _row(number: int, record: dict[str, Any]) -> dict[str, str]:
    """The texts of one row of the table."""
    row = {}
    for column in ("text", "text_pair"):
        value = record.get(column)
        if isinstance(value, str) and value.strip():
            row[column] = value
        elif not (value is None or isinstance(value, str) or value != value):  # NaN: a table's empty cell
            raise MlflowException.invalid_parameter_value(f"row {number + 1}: '{column}' is not text")
        elif column == "text":
            raise MlflowException.invalid_parameter_value(f"row {number + 1}: 'text' is empty or missing")
    return row


mlflow.models.set_model(RoutedModel())
