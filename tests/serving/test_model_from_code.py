"""What MLflow runs, called as MLflow calls it."""

from pathlib import Path

import pandas as pd
import pytest


@pytest.mark.filterwarnings("ignore:.*[Tt]ype hint")  # of MLflow's own code, and its advice about ours
def test_half_a_pair_is_refused_where_all_that_is_asked_reads_pairs(tiny_model: Path) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.pyfunc import PythonModelContext

    from doubleroute.serving.model_from_code import RoutedModel

    served = RoutedModel()
    served.load_context(PythonModelContext(artifacts={"model": str(tiny_model)}, model_config=None))
    served.tasks["stars"]["pair"], served.tasks["topics"]["pair"] = True, False
    rows = pd.DataFrame([{"text": "a", "text_pair": "a film"}, {"text": "a", "text_pair": None}])
    with pytest.raises(MlflowException, match="row 2: task 'stars' reads pairs: a second text is needed"):
        served.predict(None, rows, {"tasks": "stars"})
    with pytest.raises(MlflowException, match="row 1: 'text_pair' is not text"):
        served.predict(None, pd.DataFrame([{"text": "a", "text_pair": 5}]), {"tasks": "topics"})
    pair, half = served.predict(None, rows, {"tasks": "stars,topics"})
    assert pair["topics"] == half["topics"]
    assert pair["stars"] != half["stars"]
