"""Frozen features of words: states of the pretrained backbone at each word's first sub-word.

Kept row by row (``kept_rows``), in float16. Of the layer two thirds of the way up: the last one of a sentence
encoder has forgotten much about words. Of MiniLM's six layers a linear model gets from the 4th an entity F1
of 0.49 on WNUT-17's dev rows (0.40 on its test rows), from the 3rd 0.48, the 5th 0.47, the last 0.36; the 3rd
to 5th side by side give 0.50 (0.40) for three times the work.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from doubleroute.config import Project
from doubleroute.data.tokens import Packed, encode_texts, join_tokens, word_spans
from doubleroute.digests import code_digest, versions_of
from doubleroute.errors import ModelError
from doubleroute.modeling.source import Source, locate, source_digest
from doubleroute.training.embeddings import Progress
from doubleroute.training.kept_rows import Arrays, kept_rows
from doubleroute.training.known_tokens import row_keys
from doubleroute.workspace import Workspace

#: How far up the layer is that is taken.
HEIGHT = 2 / 3


def word_states(
    project: Project, workspace: Workspace, rows: Sequence[Sequence[str]], progress: Progress
) -> tuple[np.ndarray, np.ndarray]:
    """The states of the words of n rows, each given as its words, cut to ``backbone.max_tokens`` sub-words.

    Gives values float32 [words, hidden] and starts int64 [n + 1]: row i has the words from starts[i] to
    starts[i + 1]. A word that is cut off, or that the tokenizer makes nothing of, has zeros. Raises
    ModelError or MachineError for the backbone, ConfigError for more ``max_tokens`` than it has positions.
    """
    from doubleroute.training.machine import resolve_precision

    source = locate(project.backbone.source, project.root)
    precision = resolve_precision(project.training.precision)
    made_by = {
        "backbone": source_digest(source),
        "max_tokens": project.backbone.max_tokens,
        "precision": precision,
        "code": code_digest(
            "training/word_states",
            "training/kept_rows",
            "modeling/backbone",
            "modeling/source",
            "modeling/trunk",
            "data/tokens",
            "data/batches",
        ),
        "versions": versions_of("torch", "transformers", "tokenizers"),
    }

    def compute(pieces: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, Arrays]]:
        some = [[rows[place] for place in piece] for piece in pieces]
        return _compute(source, project.backbone.max_tokens, precision, some, progress)

    starts, found = kept_rows(workspace, "word_states", made_by, row_keys([], None, rows), compute)
    return found["states"].astype(np.float32), starts


def _compute(
    source: Source,
    max_tokens: int,
    precision: str,
    pieces: Sequence[Sequence[Sequence[str]]],
    progress: Progress,
) -> Iterator[tuple[np.ndarray, Arrays]]:
    """Run the backbone over the rows of each piece: the words of each row, and their states float16 [words,
    hidden]."""
    import torch

    from doubleroute.data.batches import by_tokens, inputs_of, parts_of
    from doubleroute.modeling.backbone import load_backbone, load_tokenizer, refuse_long_texts
    from doubleroute.training.machine import autocast, compute_device, give_back_memory, tokens_a_pass

    backbone, tokenizer = load_backbone(source).to(compute_device()).eval(), load_tokenizer(source)
    refuse_long_texts(backbone, max_tokens)
    layer = max(1, round(HEIGHT * int(backbone.config.num_hidden_layers)))
    stops = _can_stop(backbone, layer)
    packs = [_packed(tokenizer, rows, max_tokens) for rows in pieces]
    done, total = 0, sum(len(packed.ids) for packed in packs)
    for rows, packed in zip(pieces, packs, strict=True):
        assert packed.words is not None
        sizes = np.array([len(words) for words in rows], np.int64)
        first = np.cumsum(sizes) - sizes
        states = np.zeros((int(sizes.sum()), int(backbone.config.hidden_size)), np.float16)
        longest = int(packed.lengths.max(initial=0))
        for chosen in by_tokens(packed.lengths, tokens_a_pass(longest)):
            with torch.inference_mode(), autocast(precision):
                inputs = inputs_of(parts_of(packed, chosen), tokenizer.pad_token_id or 0).to(compute_device())
                given = _states(backbone, inputs, layer, stops)
            for row, each in zip(chosen, given, strict=True):
                words = packed.words[packed.starts[row] : packed.starts[row + 1]]
                places = np.flatnonzero(words >= 0)
                states[first[row] + words[places]] = each[places]
            done += int(packed.lengths[chosen].sum())
            progress("word states", {"step": done, "total": total, "unit": "tokens"})
        yield sizes, {"states": states}
    del backbone
    give_back_memory()


def _packed(tokenizer: Any, rows: Sequence[Sequence[str]], max_tokens: int) -> Packed:
    texts = [join_tokens(words) for words in rows]
    spans = [word_spans(text, words) for text, words in zip(texts, rows, strict=True)]
    return encode_texts(tokenizer, texts, max_tokens, spans=spans)


def _can_stop(backbone: Any, layer: int) -> bool:
    """Whether a pass can end with a layer: not with those of ALBERT, say, which share their weights."""
    from doubleroute.modeling.trunk import refuse_other_layers

    try:
        refuse_other_layers(backbone, [layer])
    except ModelError:
        return False
    return True


def _states(backbone: Any, inputs: Any, layer: int, stops: bool) -> np.ndarray:
    """The states after a layer (1 is the lowest): float16 [rows, seq, hidden]. ``stops``: the pass ends with
    it."""
    from doubleroute.modeling.trunk import caught_layers, stopping_after

    given = {"input_ids": inputs.ids, "attention_mask": inputs.mask}
    if stops:
        with caught_layers(backbone, [layer]) as caught, stopping_after(backbone, layer):
            backbone(**given)
        states = caught[layer]
    else:
        states = backbone(**given, output_hidden_states=True).hidden_states[layer]
    # Beyond what float16 holds a state says nothing more.
    found: np.ndarray = states.float().clamp(-65504, 65504).half().cpu().numpy()
    return found
