"""A task that is added to a trained project: only its head learns, and no old answer changes by a bit."""

import gc
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import write_tiny_project
from safetensors.torch import load_file
from typer.testing import CliRunner

from doubleroute.cli import app
from doubleroute.config import load_project
from doubleroute.flows.retrain import run as retrain
from doubleroute.flows.server import prefect_api
from doubleroute.flows.train import run as train
from doubleroute.integrations.registry import CHAMPION, Registry
from doubleroute.workspace import Workspace

pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed <socket:ResourceWarning",
    "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning",
)
CHANGES = ["evaluation.baselines=[majority]", "promotion.max_latency_ratio=100"]
ONLY_NEW = [*CHANGES, "retraining.only_new_tasks=true", "retraining.effort=1"]
NEW = """\
  channel:
    kind: classification
    files: {train: data/sentiment.csv}
    columns: {label: source}
    split: {validation: 0.2, test: 0.2}
"""


@pytest.fixture(scope="module", autouse=True)
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with prefect_api(Workspace(tmp_path_factory.mktemp("server")), lambda: None):
        yield
    with warnings.catch_warnings():  # Prefect's clients leave their sockets to the garbage collector
        warnings.simplefilter("ignore")
        gc.collect()


def answers(root: Path, version: str, *tasks: str) -> list[dict[str, Any]]:
    only = [word for task in tasks for word in ("--task", task)]
    words = ["predict", "--project", str(root), "--input", str(root / "data" / "sentiment.csv"), "--json"]
    result = CliRunner().invoke(app, [*words, "--model-version", version, *only])
    assert result.exit_code == 0, result.stderr
    found: list[dict[str, Any]] = [each["answers"] for each in json.loads(result.stdout)["answers"]]
    return found


@pytest.mark.costly
def test_only_the_new_head_learns_and_the_old_answers_stay_as_they_were_bit_by_bit(
    tiny_backbone: Path, tmp_path: Path
) -> None:
    root = write_tiny_project(tmp_path / "project", tiny_backbone)
    train(load_project(root, CHANGES), CHANGES)
    text = (root / "project.yaml").read_text(encoding="utf-8")
    more = text.replace("training: {", f"{NEW}training: {{")
    (root / "project.yaml").write_text(more, encoding="utf-8")
    result = retrain(load_project(root, ONLY_NEW), ONLY_NEW, force=True)
    assert result["trained"]["decision"]["verdict"] == "promote", "\n".join(
        result["trained"]["decision"]["reasons"]
    )
    registry = Registry(root, "tiny")
    old, new = registry.version("1"), registry.version("2")
    assert CHAMPION in new.aliases
    before, after = (load_file(registry.model_folder(each) / "model.safetensors") for each in (old, new))
    for name, value in before.items():
        kept = (
            after[name] if after[name].shape == value.shape else after[name][: len(value)]
        )  # one row a task
        assert kept.equal(value), name
    assert {name for name in after if name not in before} == {
        "heads.channel.out.weight",
        "heads.channel.out.bias",
    }
    first, second = answers(root, "1"), answers(root, "2", "sentiment", "entities")
    assert first == second
    everything = answers(root, "2")
    assert all(each["channel"]["label"] in ("mail", "chat") for each in everything)
    assert [{task: each[task] for task in ("sentiment", "entities")} for each in everything] == first
