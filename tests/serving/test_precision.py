"""Which graph a served model answers with."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from doubleroute.errors import InputError, ModelError
from doubleroute.modeling.onnx_answerer import read_about, write_about
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


def test_the_folder_of_several_graphs_is_answered_with_their_names(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path_factory.mktemp("out")
    for name in ("float32", "int8"):  # as `export --output` lays them out
        shutil.copytree(folder, out / name)
    monkeypatch.setenv(FOLDER, str(out))
    with pytest.raises(InputError, match=r" holds int8, float32; name one of them, as .*/int8$"):
        served_graph("one")


def test_the_files_of_a_graph_are_read_once_by_what_chooses_it_and_what_opens_it(folder: Path) -> None:
    opened: list[str] = []
    looking = True

    def look(event: str, given: tuple[object, ...]) -> None:
        if looking and event == "open":
            opened.append(str(given[0]))

    sys.addaudithook(look)
    served_graph("one")
    read_about(folder)
    looking = False
    assert opened.count(str(folder / "model.onnx")) == 1
    (folder / "model.onnx").write_text("another")
    with pytest.raises(ModelError, match=r"model\.onnx is damaged"):
        read_about(folder)


THREADS = """\
import os, sys
from pathlib import Path
from doubleroute.serving.precision import open_answerer

open_answerer(Path(sys.argv[1]), None, 1).tokenizer(["a good film"] * 1000)
print(len(os.listdir("/proc/self/task")))
"""


@pytest.mark.costly
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
def test_one_thread_tokenises_for_an_answerer_of_one_unless_the_environment_says_otherwise(
    tiny_model: Path,
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "RAYON_NUM_THREADS"}
    counts = []
    for given in ({}, {"RAYON_NUM_THREADS": "4"}):
        done = subprocess.run(
            [sys.executable, "-c", THREADS, str(tiny_model)],
            env={**environment, **given},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        counts.append(int(done.stdout))
    assert counts[1] - counts[0] == 3
