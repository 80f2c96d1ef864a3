"""Pooled states: what they are, and that every user of a row's states shares them."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_tiny_project
from test_fit import Run

from doubleroute.data.tables import read_validated
from doubleroute.modeling.backbone import load_backbone
from doubleroute.modeling.source import locate
from doubleroute.training.embeddings import embeddings
from doubleroute.training.encode import load_split
from doubleroute.training.encoders import pretrained
from doubleroute.training.heads_fit import HeadsFit
from doubleroute.training.kept_rows import Arrays, Compute, kept_rows
from doubleroute.training.known_tokens import KEYS
from doubleroute.training.plan import Plan, Rung
from doubleroute.training.pooled import Pooled, Pooling, pooled_states
from doubleroute.training.variants import variant
from doubleroute.workspace import Workspace

#: Float16 keeps eleven bits.
CLOSE = {"rtol": 2**-10, "atol": 1e-3}


@pytest.fixture(scope="module")
def run(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(write_tiny_project(tmp_path_factory.mktemp("pooled") / "project", tiny_backbone))


def pooled(run: Run, task: str, pooling: Pooling) -> Pooled:
    rows = load_split(run.encoded.path, "train")[task]
    keys = np.load(run.encoded.path / task / "train" / KEYS)
    encoder = pretrained(run.project, (0, 1, 2))
    return pooled_states(
        run.workspace,
        encoder,
        keys,
        lambda places: (rows.packed, np.array(places)),
        pooling,
        lambda *_: None,
        (0, 1, 2),
    )


def states(run: Run, task: str, row: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The last states [tokens, hidden] of one row alone, and all layers, normed [depths, tokens, hidden]."""
    packed = load_split(run.encoded.path, "train")[task].packed
    ids = torch.from_numpy(packed.ids[packed.starts[row] : packed.starts[row + 1]].astype(np.int64))[None]
    backbone = load_backbone(locate(run.project.backbone.source, run.project.root)).eval()
    with torch.inference_mode():
        every = backbone(input_ids=ids, output_hidden_states=True).hidden_states
    normed = [torch.nn.functional.layer_norm(each[0], each.shape[-1:]) for each in every]
    return every[-1][0], torch.stack(normed)


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_a_row_has_the_states_of_its_tokens_pooled(run: Run, pooling: Pooling) -> None:
    found = pooled(run, "sentiment", pooling)
    for row in (0, 3):
        last, normed = states(run, "sentiment", row)
        wanted = (last.mean(0), normed.mean(1)) if pooling == "mean" else (last[0], normed[:, 0])
        np.testing.assert_allclose(found.last[row], wanted[0].numpy(), **CLOSE)
        np.testing.assert_allclose(found.below[row], wanted[1].numpy(), **CLOSE)
        np.testing.assert_array_equal(found.features()[row], [*found.last[row], *found.below[row].ravel()])


def test_a_row_of_words_has_the_states_of_their_first_sub_words(run: Run) -> None:
    found = pooled(run, "entities", "words")
    packed = load_split(run.encoded.path, "train")["entities"].packed
    assert packed.words is not None
    last, normed = states(run, "entities", 2)
    places = np.flatnonzero(packed.words[packed.starts[2] : packed.starts[3]] >= 0)
    part = slice(found.starts[2], found.starts[3])
    np.testing.assert_allclose(found.last[part], last[places].numpy(), **CLOSE)
    np.testing.assert_allclose(found.below[part], normed[:, places].transpose(0, 1).numpy(), **CLOSE)


def test_drift_finds_the_states_that_training_has_stored(run: Run, tmp_path: Path) -> None:
    project = run.project
    plan, chosen = Plan(rung=Rung("heads")), variant(project, "plain", rung="heads")
    HeadsFit(project, run.workspace, chosen, run.validated, run.encoded, "float32", plan).run(
        tmp_path, lambda _: None
    )
    texts = read_validated(run.validated.path, "sentiment", "train")["text"].tolist()
    told: list[str] = []
    embeddings(project, run.workspace, texts, [None] * len(texts), lambda name, _: told.append(name))
    assert told == []
    embeddings(project, run.workspace, ["words unheard of"], [None], lambda name, _: told.append(name))
    assert told


def test_nobody_waits_for_the_states_of_another_encoder(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    computing, enough = threading.Event(), threading.Event()

    raised: list[BaseException] = []

    def compute(pieces: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, Arrays]]:
        for piece in pieces:
            yield np.ones(len(piece), np.int64), {"last": np.zeros((len(piece), 1))}

    def slowly(pieces: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, Arrays]]:
        computing.set()
        enough.wait(60)
        yield from compute(pieces)

    def ask(weights: str, how: Compute) -> None:
        try:
            kept_rows(workspace, "pooled", {"weights": weights}, np.array([[1, 2]], np.uint64), how)
        except BaseException as error:  # noqa: BLE001 (a thread's own is not the test's)
            raised.append(error)

    def started(weights: str, how: Compute) -> threading.Thread:
        thread = threading.Thread(target=ask, args=(weights, how))
        thread.start()
        return thread

    slow = started("one", slowly)
    assert computing.wait(60)
    other = started("other", compute)
    other.join(20)
    waited = other.is_alive()
    enough.set()
    slow.join()
    other.join()
    assert raised == []
    assert not waited
