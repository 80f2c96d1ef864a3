"""Embeddings of rows, kept: what they are, and that a known row is not computed again."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from doubleroute.config import Project, load_project
from doubleroute.training.embeddings import embeddings
from doubleroute.workspace import Workspace

TEXTS = ["the model reads", "this short line of plain words", "unheardof words"]


@pytest.fixture
def project(tiny_project: Path) -> Project:
    return load_project(tiny_project)


class Told:
    """The tokens that were computed."""

    def __init__(self) -> None:
        self.tokens = 0

    def __call__(self, name: str, point: dict[str, Any]) -> None:
        assert name == "embeddings"
        self.tokens = point["step"]
        assert point["step"] <= point["total"]


def embed(project: Project, texts: list[str], told: Told | None = None) -> tuple[np.ndarray, ...]:
    return embeddings(project, Workspace(project.root), texts, [None] * len(texts), told or Told())


def test_a_vector_is_the_mean_of_the_backbones_last_states(project: Project) -> None:
    import torch

    from doubleroute.modeling.backbone import load_backbone, load_tokenizer
    from doubleroute.modeling.source import locate

    vectors, tokens, unknown = embed(project, TEXTS)

    source = locate(project.backbone.source, project.root)
    backbone, tokenizer = load_backbone(source).eval(), load_tokenizer(source)
    for row, text in enumerate(TEXTS):
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.inference_mode():
            states = backbone(input_ids=ids).last_hidden_state[0]
        np.testing.assert_allclose(vectors[row], states.mean(0).numpy(), rtol=2**-11, atol=1e-5)  # float16
    assert vectors.dtype == np.float32
    assert tokens.tolist() == [3, 6, 2]
    assert unknown.tolist() == [0.0, 0.0, 0.5]


def test_only_rows_that_are_new_are_computed(project: Project) -> None:
    first, again, more = Told(), Told(), Told()

    before, _, _ = embed(project, TEXTS[:2], first)
    same, _, _ = embed(project, TEXTS[:2], again)
    both, tokens, _ = embed(project, [TEXTS[2], TEXTS[1], TEXTS[1], TEXTS[0]], more)

    assert [first.tokens, again.tokens, more.tokens] == [13, 0, 4]
    assert np.array_equal(before, same)
    assert np.array_equal(both[[3, 1, 2]], before[[0, 1, 1]])
    assert tokens.tolist() == [2, 6, 6, 3]


def test_a_pair_is_another_row_than_its_first_text(project: Project) -> None:
    workspace = Workspace(project.root)

    vectors, tokens, _ = embeddings(
        project, workspace, [TEXTS[0], TEXTS[0], TEXTS[0]], [None, "plain", "words"], Told()
    )

    assert tokens.tolist() == [3, 4, 4]
    assert len({vector.tobytes() for vector in vectors}) == 3


def test_no_rows_give_empty_arrays(project: Project) -> None:
    vectors, tokens, unknown = embed(project, [])

    assert (vectors.shape, tokens.shape, unknown.shape) == ((0, 16), (0,), (0,))


def test_rows_of_many_calls_end_in_one_stage_with_the_same_vectors(project: Project) -> None:
    texts = [
        f"{word} model" for word in ("the", "this", "short", "line", "of", "plain", "words", "good", "bad")
    ]
    each = np.concatenate([embed(project, [text])[0] for text in texts])
    told = Told()

    together, _, _ = embed(project, texts, told)

    assert len(Workspace(project.root).all("pooled")) == 1
    assert told.tokens == 0
    assert np.array_equal(each, together)


def test_another_length_limit_is_another_embedding(project: Project) -> None:
    changed = load_project(project.root, ["backbone.max_tokens=8"])
    long = "the model reads this short line of plain words"

    assert embed(project, [long])[1].tolist() == [9]
    assert embed(changed, [long])[1].tolist() == [6]


def test_ten_thousand_known_rows_are_there_in_well_under_a_second(project: Project) -> None:
    texts = [f"the {'good ' * (number % 7)}{number}" for number in range(10_000)]
    embed(project, texts)

    begun = time.process_time()
    embed(project, texts)

    assert time.process_time() - begun < 0.9
