"""What MLflow runs to serve a registered model: this file is stored with each version, without pickle.

Input: a table with a column ``text`` and, for pairs, ``text_pair``. Output: one JSON object a row,
{task: answer}; the parameter ``tasks`` ("sentiment,entities") chooses some of the tasks. The doubleroute
code that trained the model is stored beside this file (``code/``) and comes first on the import path.
"""

from typing import Any

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel, PythonModelContext


class RoutedModel(PythonModel):
    """Answers texts with the model in the artifact folder ``model``."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the weights once, when the server starts."""
        from pathlib import Path

        from doubleroute.modeling.inference import Answerer

        self.answerer = Answerer(Path(context.artifacts["model"]))

    # No type hint on model_input: it would override the signature that the model is saved with.
    def predict(  # type: ignore[no-untyped-def]
        self,
        context: PythonModelContext,  # noqa: ARG002  the signature that MLflow calls
        model_input,
        params: dict[str, Any] | None = None,
    ) -> list[dict[str, Any]]:
        """Answer every row of the table; a bad row or an unknown task is an INVALID_PARAMETER_VALUE."""
        from doubleroute.errors import InputError

        chosen = [name.strip() for name in str((params or {}).get("tasks") or "").split(",") if name.strip()]
        rows = [_row(number, record) for number, record in enumerate(model_input.to_dict("records"))]
        try:
            answers: list[dict[str, Any]] = self.answerer.answer(rows, chosen or None)
        except InputError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        return answers


def _row(number: int, record: dict[str, Any]) -> dict[str, str]:
    """The texts of one row of the table."""
    row = {}
    for column in ("text", "text_pair"):
        value = record.get(column)
        if isinstance(value, str) and value.strip():
            row[column] = value
        elif column == "text":
            raise MlflowException.invalid_parameter_value(f"row {number}: 'text' is empty or missing")
    return row


mlflow.models.set_model(RoutedModel())
