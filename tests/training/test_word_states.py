"""Frozen features of words, kept by row."""

from pathlib import Path

import numpy as np
import pytest
from conftest import write_tiny_project

from doubleroute.config import Project, load_project
from doubleroute.training.word_states import word_states
from doubleroute.workspace import Workspace

ROWS = [["the", "model", "reads"], ["42"], ["plain", "unheardof", "words"]]


@pytest.fixture
def project(tiny_backbone: Path, tmp_path: Path) -> Project:
    return load_project(write_tiny_project(tmp_path / "project", tiny_backbone))


def states(project: Project, rows: list[list[str]]) -> tuple[np.ndarray, np.ndarray, list[int]]:
    totals: list[int] = []
    values, starts = word_states(
        project, Workspace(project.root), rows, lambda _, point: totals.append(point["total"])
    )
    return values, starts, totals


def test_a_word_has_the_state_of_its_first_subword_after_the_layer_two_thirds_up(project: Project) -> None:
    import torch

    from doubleroute.modeling.backbone import load_backbone, load_tokenizer
    from doubleroute.modeling.source import locate

    values, starts, _ = states(project, ROWS)

    source = locate(project.backbone.source, project.root)
    backbone, tokenizer = load_backbone(source).eval(), load_tokenizer(source)
    for row, words in enumerate(ROWS):
        encoding = tokenizer(" ".join(words))
        with torch.inference_mode():
            given = backbone(input_ids=torch.tensor([encoding["input_ids"]]), output_hidden_states=True)
        first = [encoding.word_ids().index(word) for word in range(len(words))]
        expected = given.hidden_states[1][0, first].numpy()  # of two layers
        np.testing.assert_allclose(values[starts[row] : starts[row + 1]], expected, atol=2e-3)
    assert starts.tolist() == [0, 3, 4, 7]
    assert (values.shape, values.dtype) == ((7, 16), np.float32)


def test_a_row_has_the_same_states_alone_and_in_company(project: Project) -> None:
    together, starts, _ = states(project, ROWS)
    for row, words in enumerate(ROWS):
        alone, _, computed = states(project, [words])
        assert computed == []  # kept
        assert np.array_equal(alone, together[starts[row] : starts[row + 1]])


def test_only_new_rows_are_computed(project: Project) -> None:
    states(project, ROWS[:2])
    _, _, computed = states(project, ROWS)
    assert computed == [5]  # three words between two special tokens


def test_words_beyond_the_limit_have_zeros(project: Project) -> None:
    values, starts, _ = states(project, [["good"] * 40])
    assert starts.tolist() == [0, 40]
    assert (np.abs(values).sum(1) > 0).tolist() == [True] * 14 + [False] * 26
