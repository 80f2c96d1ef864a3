"""Which graph a served model answers with."""

from pathlib import Path

import pytest

from doubleroute.errors import ModelError
from doubleroute.modeling.onnx_answerer import write_about
from doubleroute.serving.precision import FOLDER, served_graph


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of an export of the model "one", named by the environment."""
    for name in ("model.onnx", "config.json", "tokenizer.json"):
        (tmp_path / name).write_text(name)
    write_about(tmp_path, {"precision": "int8", "model": "one"})
    monkeypatch.setenv(FOLDER, str(tmp_path))
    return tmp_path


def test_the_environment_names_the_graph_of_a_served_model(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert served_graph("one") == folder
    monkeypatch.delenv(FOLDER)
    assert served_graph("one") is None


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("digest", ["two", None])
def test_the_graph_of_another_model_never_answers(digest: str | None) -> None:
    with pytest.raises(ModelError, match="is the graph of another model"):
        served_graph(digest)
