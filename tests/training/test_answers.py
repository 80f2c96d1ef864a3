"""A registered model's answers are kept, and tasks ask for them together."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from doubleroute.errors import ModelError
from doubleroute.modeling.inference import Answerer
from doubleroute.training.answers import answers_to
from doubleroute.workspace import Workspace

TEXTS = ["a good film", "the bad model", "words of this line"]


def frame(*texts: str) -> pd.DataFrame:
    return pd.DataFrame({"text": texts})


def test_tasks_that_ask_together_get_what_each_gets_alone_in_shared_passes(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    answer = Answerer.answer

    def noted(self: Answerer, rows: Any, tasks: Any = None, *more: Any) -> Any:
        asked.append(list(tasks))
        return answer(self, rows, tasks, *more)

    monkeypatch.setattr(Answerer, "answer", noted)
    frames = {"sentiment": frame(*TEXTS), "topics": frame(*TEXTS), "stars": frame(TEXTS[1], TEXTS[1])}
    together = answers_to(Workspace(tmp_path / "one"), tiny_model, "0123", frames)
    assert asked == [["sentiment", "topics"], ["stars"]]
    apart = Workspace(tmp_path / "other")
    for task, each in frames.items():
        assert answers_to(apart, tiny_model, "0123", {task: each})[task] == together[task]
    assert together["stars"][0] == together["stars"][1]
    assert {each["label"] for each in together["sentiment"]} <= {"neg", "pos"}


def test_a_model_is_needed_for_rows_alone_that_it_has_not_answered(tiny_model: Path, tmp_path: Path) -> None:
    workspace, model = Workspace(tmp_path), tmp_path / "model"
    shutil.copytree(tiny_model, model)
    first = answers_to(workspace, model, "0123", {"sentiment": frame(*TEXTS[:2]), "topics": frame(TEXTS[2])})
    shutil.rmtree(model)
    again = answers_to(workspace, model, "0123", {"sentiment": frame(TEXTS[1])})
    assert again == {"sentiment": first["sentiment"][1:]}
    with pytest.raises(ModelError):
        answers_to(workspace, model, "0123", {"sentiment": frame(TEXTS[2])})
