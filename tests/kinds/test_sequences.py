"""Chains of tags against brute force: every sequence counted."""

from itertools import pairwise, product

import numpy as np
import pytest
import torch

from doubleroute.data.tags import legal
from doubleroute.kinds import IGNORE
from doubleroute.kinds.losses import crf_loss
from doubleroute.kinds.sequences import Chain, legal_chain, marginals, viterbi
from doubleroute.kinds.tagging import TaggingKind

LABELS = ["O", "B-per", "B-loc", "I-per", "I-loc"]
SIZE = len(LABELS)


def drawn(words: int, seed: int) -> tuple[np.ndarray, Chain]:
    """Random emissions [words, tags] and a random chain without a forbidden step."""
    generator = np.random.default_rng(seed)
    shapes = ((words, SIZE), SIZE, (SIZE, SIZE), SIZE)
    emissions, *chain = (generator.normal(size=shape) for shape in shapes)
    return emissions, Chain(*chain)


def total(emissions: np.ndarray, chain: Chain, path: tuple[int, ...]) -> float:
    """The score of one sequence of tags."""
    steps = sum(chain.transitions[pair] for pair in pairwise(path))
    emitted = sum(emissions[place, tag] for place, tag in enumerate(path))
    return float(chain.start[path[0]] + emitted + steps + chain.end[path[-1]])


def every(words: int) -> list[tuple[int, ...]]:
    return list(product(range(SIZE), repeat=words))


@pytest.mark.parametrize("words", [1, 2, 4])
def test_viterbi_finds_the_best_of_all_sequences(words: int) -> None:
    emissions, chain = drawn(words, words)
    best = max(every(words), key=lambda path: total(emissions, chain, path))
    assert viterbi(emissions, chain).tolist() == list(best)


@pytest.mark.parametrize("words", [1, 2, 4])
def test_of_the_legal_sequences_the_one_with_the_largest_logits_is_answered(words: int) -> None:
    for seed in range(20):
        emissions, _ = drawn(words, seed)
        named = [[LABELS[tag] for tag in path] for path in every(words)]
        allowed = [path for path, tags in zip(every(words), named, strict=True) if legal(tags) == tags]
        best = max(allowed, key=lambda path: sum(emissions[place, tag] for place, tag in enumerate(path)))
        (answer,) = TaggingKind().decode([emissions.astype(np.float32)], LABELS)
        assert answer["tags"] == [LABELS[tag] for tag in best]


@pytest.mark.parametrize("cut", [[3, 4], [1], [0, 1, 2, 3, 4]])
def test_words_that_were_not_read_are_outside_and_change_no_others_tags(cut: list[int]) -> None:
    emissions, learned = drawn(5, 3)
    kept = learned._asdict()
    kept["transitions"][0] -= 9  # after an O nothing is likely
    rest = np.delete(emissions, cut, axis=0).astype(np.float32)
    marked = emissions.astype(np.float32)
    marked[cut] = np.eye(1, SIZE)
    (some,), (all_of_them,) = (TaggingKind().decode([each], LABELS, kept) for each in (rest, marked))
    assert [all_of_them["tags"][place] for place in cut] == ["O"] * len(cut)
    assert np.delete(np.array(all_of_them["tags"]), cut).tolist() == some["tags"]
    np.testing.assert_allclose(np.delete(all_of_them["confidences"], cut), some["confidences"])


@pytest.mark.parametrize("words", [1, 3])
def test_marginals_are_the_shares_of_all_sequences(words: int) -> None:
    emissions, learned = drawn(words, words)
    chain = Chain(*(a + b for a, b in zip(learned, legal_chain(LABELS), strict=True)))
    expected = np.zeros((words, SIZE))
    for path in every(words):
        for place, tag in enumerate(path):
            expected[place, tag] += np.exp(total(emissions, chain, path))
    expected /= expected.sum(1, keepdims=True)
    np.testing.assert_allclose(marginals(emissions, chain), expected, atol=1e-12)


def test_the_loss_is_minus_the_log_share_of_the_truth_over_first_sub_words_alone() -> None:
    truths, places = [(1, 3, 0), (0,), (2, 4)], [[0, 2, 3], [1], [0, 4]]
    logits, targets = torch.randn(3, 5, SIZE, dtype=torch.float64), torch.full((3, 5), IGNORE)
    _, chain = drawn(1, 7)
    nats = 0.0
    for row, (truth, where) in enumerate(zip(truths, places, strict=True)):
        targets[row, where] = torch.tensor(truth)
        emissions = logits[row, where].float().numpy().astype(np.float64)
        scores = [total(emissions, chain, path) for path in every(len(truth))]
        nats += np.logaddexp.reduce(scores) - total(emissions, chain, truth)
    kept = {name: torch.from_numpy(each) for name, each in chain._asdict().items()}
    assert crf_loss(logits, targets, **kept).item() == pytest.approx(nats / 6, rel=1e-5)
    assert TaggingKind().loss(logits, targets, 0.0, kept).item() == pytest.approx(nats / 6, rel=1e-5)


@pytest.mark.parametrize("rows", [0, 2])
def test_rows_without_a_word_give_an_exact_zero_with_a_graph(rows: int) -> None:
    logits = torch.randn(rows, 3, SIZE, requires_grad=True)
    kept = {name: torch.from_numpy(each) for name, each in drawn(1, 1)[1]._asdict().items()}
    loss = crf_loss(logits, torch.full((rows, 3), IGNORE), **kept)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros_like(logits))
