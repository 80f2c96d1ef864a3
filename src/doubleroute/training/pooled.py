"""Pooled states of a frozen model, row by row: what a linear head sees of a text, computed once.

Kept in float16 under a digest of what a row says and of what computed it (``kept_rows``): so new data cost
what is new, and training and drift share the rows that both look at. Float16 rounds finer than the bfloat16
in which the products are made; pooled states are far from its bounds, and what is not is cut there.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from doubleroute.data.batches import Inputs, by_tokens, inputs_of, parts_of
from doubleroute.data.tokens import Packed
from doubleroute.digests import code_digest, versions_of
from doubleroute.training.encoders import Encoder, Loaded
from doubleroute.training.kept_rows import Arrays, kept_rows
from doubleroute.training.machine import autocast, compute_device, give_back_memory, tokens_a_pass
from doubleroute.workspace import Workspace

_LARGEST = 65504.0
#: The packed rows behind some places of the keys, and their numbers among them.
Pack = Callable[[list[int]], tuple[Packed, np.ndarray]]
Pooling = Literal["mean", "first", "words"]


@dataclass(frozen=True)
class Pooled:
    """``starts`` int64 [n + 1]: row i has the items from starts[i] to starts[i + 1], one, or one a word;
    ``last`` float16 [items, hidden]; ``below`` float16 [items, depths, hidden], normed. Of each item's row
    ``tokens`` int64 [items], without special ones, and ``unknown`` float64 [items], the share of them that
    the tokenizer does not know, 0 for a row without any."""

    starts: np.ndarray
    last: np.ndarray
    below: np.ndarray
    tokens: np.ndarray
    unknown: np.ndarray

    def features(self, items: slice | np.ndarray = slice(None)) -> np.ndarray:
        """All states of k items side by side: float16 [k, (1 + depths) * hidden], the last ones first. No
        copy of all items without depths."""
        last, below = self.last[items], self.below[items]
        return np.hstack([last, *below.swapaxes(0, 1)]) if below.shape[1] else last


def pooled_states(
    workspace: Workspace,
    encoder: Encoder,
    keys: np.ndarray,
    pack: Pack,
    pooling: Pooling,
    progress: Callable[[int, int], None],
    depths: Sequence[int] = (),
) -> Pooled:
    """The states of n rows that ``keys`` uint64 [n, 2] name, of ``known_tokens.row_keys``.

    mean: over the tokens of a row; first: of its first token; words: of the first sub-word of each word that
    the row's packed tokens hold. ``depths``: further layers (0: the embeddings), each token's states brought
    to mean zero and variance one before the pooling. ``progress(done, total)`` counts computed tokens.
    """
    made_by = {
        "weights": encoder.weights,
        "max_tokens": encoder.max_tokens,
        "precision": encoder.precision,
        "pooling": pooling,
        "depths": list(depths),
        "code": code_digest(
            "training/pooled",
            "training/encoders",
            "training/kept_rows",
            "modeling",
            "data/tokens",
            "data/batches",
        ),
        "versions": versions_of("torch", "transformers", "tokenizers"),
    }

    def compute(pieces: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, Arrays]]:
        packed, rows = pack(np.concatenate(pieces).tolist())
        ends = np.cumsum([len(each) for each in pieces])
        return _compute(encoder, packed, np.split(rows, ends[:-1]), pooling, depths, progress)

    starts, found = kept_rows(workspace, "pooled", made_by, keys, compute)
    return Pooled(starts, **found)


def _compute(
    encoder: Encoder,
    packed: Packed,
    pieces: Sequence[np.ndarray],
    pooling: Pooling,
    depths: Sequence[int],
    progress: Callable[[int, int], None],
) -> Iterator[tuple[np.ndarray, Arrays]]:
    """For the packed rows of each piece the items of each row, and the arrays of ``Pooled``."""
    model = encoder.load()
    tokens, unknown = _counted(model, packed)
    done, total = 0, sum(int(packed.lengths[rows].sum()) for rows in pieces)
    for rows in pieces:
        lengths = packed.lengths[rows]
        found: list[np.ndarray] = [np.empty(0)] * len(rows)
        for chosen in by_tokens(lengths, tokens_a_pass(int(lengths.max(initial=0)))):
            parts = parts_of(packed, rows[chosen])
            inputs = inputs_of(parts, model.pad_id).to(compute_device())
            with torch.inference_mode(), autocast(encoder.precision):
                last, layers = model.run(inputs)
            below = [functional.layer_norm(layers[depth].float(), last.shape[-1:]) for depth in depths]
            stacked = torch.stack([last.float(), *below], dim=2)
            for place, states in zip(chosen, _pool(stacked, inputs, parts, pooling), strict=True):
                found[place] = states
            done += int(lengths[chosen].sum())
            progress(done, total)
        sizes = np.array([len(each) for each in found], np.int64)
        states = np.concatenate([np.empty((0, 1 + len(depths), model.hidden), np.float16), *found])
        of_items = {"tokens": np.repeat(tokens[rows], sizes), "unknown": np.repeat(unknown[rows], sizes)}
        yield sizes, {"last": states[:, 0], "below": states[:, 1:], **of_items}
    give_back_memory()


def _counted(model: Loaded, packed: Packed) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of the rows, and the share of unknown ones."""
    tokens = packed.lengths - model.special[packed.types is not None]
    strange = np.zeros(len(packed.ids), bool) if model.unknown_id is None else packed.ids == model.unknown_id
    counted = np.diff(np.append(0, np.cumsum(strange))[packed.starts])
    return tokens, counted / np.maximum(tokens, 1)


def _pool(
    states: Tensor, inputs: Inputs[Tensor], parts: Sequence[tuple[Packed, slice]], pooling: Pooling
) -> list[np.ndarray]:
    """States [batch, seq, depths, hidden] -> for each row float16 [items, depths, hidden]."""
    if pooling == "words":
        flat = _half(states)
        chosen = []
        for row, (packed, part) in enumerate(parts):
            assert packed.words is not None
            chosen.append(flat[row, np.flatnonzero(packed.words[part] >= 0)])
        return chosen
    if pooling == "first":
        pooled = states[:, 0]
    else:
        mask = inputs.mask[:, :, None, None]
        pooled = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
    return list(_half(pooled)[:, None])


def _half(states: Tensor) -> np.ndarray:
    found: np.ndarray = states.clamp(-_LARGEST, _LARGEST).half().cpu().numpy()
    return found
