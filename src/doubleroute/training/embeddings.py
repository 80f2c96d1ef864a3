"""Embeddings of texts by the pretrained backbone: mean-pooled last states (Reimers & Gurevych 2019).

Kept row by row under a digest of what the row says and of what computed it (``kept_rows``).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from doubleroute.config import Project
from doubleroute.modeling.backbone import Source, locate, source_digest
from doubleroute.training.kept_rows import Arrays, kept_rows, row_key
from doubleroute.workspace import Workspace, code_digest, versions_of

#: Tokens a pass, padding included.
TOKENS_A_PASS = 4096
#: Told the name of what goes on and {"step", "total"} in tokens.
Progress = Callable[[str, dict[str, Any]], None]


def embeddings(
    project: Project,
    workspace: Workspace,
    texts: Sequence[str],
    pairs: Sequence[str | None],
    progress: Progress,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embed n texts, or pairs of texts where ``pairs`` [n] is not None, cut to ``backbone.max_tokens``.

    Gives vectors float32 [n, hidden], the mean of the last layer's states over all tokens of the row;
    tokens int64 [n], its sub-words without special tokens; unknown float64 [n], the share of them that
    the tokenizer does not know, in [0, 1], 0 for a row without any. n may be 0. Raises ModelError or
    MachineError for the backbone, ConfigError for more ``max_tokens`` than it has positions.
    """
    from doubleroute.training.machine import resolve_precision

    source = locate(project.backbone.source, project.root)
    made_by = {
        "backbone": source_digest(source),
        "max_tokens": project.backbone.max_tokens,
        "precision": resolve_precision(project.training.precision),
        "code": code_digest("training/embeddings", "modeling/backbone", "data/tokens", "data/batches"),
        "versions": versions_of("torch", "transformers", "tokenizers"),
    }
    keys = [
        row_key(text) if pair is None else row_key(text, pair)
        for text, pair in zip(texts, pairs, strict=True)
    ]

    def compute(rows: list[int]) -> tuple[np.ndarray, Arrays]:
        some_texts, some_pairs = [texts[row] for row in rows], [pairs[row] for row in rows]
        return np.ones(len(rows), np.int64), _compute(source, made_by, some_texts, some_pairs, progress)

    _, found = kept_rows(workspace, "embeddings", made_by, keys, compute)
    return found["vectors"], found["tokens"], found["unknown"]


def _compute(
    source: Source,
    made_by: dict[str, Any],
    texts: Sequence[str],
    pairs: Sequence[str | None],
    progress: Progress,
) -> Arrays:
    """Run the backbone over all rows, those without a second text first."""
    from doubleroute.data.tokens import encode_texts
    from doubleroute.modeling.backbone import load_backbone, load_tokenizer, refuse_long_texts
    from doubleroute.training.machine import compute_device

    backbone, tokenizer = load_backbone(source).to(compute_device()).eval(), load_tokenizer(source)
    refuse_long_texts(backbone, made_by["max_tokens"])
    found: Arrays = {
        "vectors": np.zeros((len(texts), int(backbone.config.hidden_size)), np.float32),
        "tokens": np.zeros(len(texts), np.int64),
        "unknown": np.zeros(len(texts), np.float64),
    }
    for paired in (False, True):
        rows = np.array([row for row, pair in enumerate(pairs) if (pair is not None) == paired], np.int64)
        if len(rows):
            seconds = [str(pairs[row]) for row in rows] if paired else None
            packed = encode_texts(tokenizer, [texts[row] for row in rows], made_by["max_tokens"], seconds)
            special = tokenizer.num_special_tokens_to_add(pair=paired)
            found["tokens"][rows] = packed.lengths - special
            unknown = np.zeros(len(packed.ids), bool)
            if tokenizer.unk_token_id is not None:
                unknown = packed.ids == tokenizer.unk_token_id
            counted = np.diff(np.append(0, np.cumsum(unknown))[packed.starts])
            found["unknown"][rows] = counted / np.maximum(packed.lengths - special, 1)
            pad_id = tokenizer.pad_token_id or 0
            found["vectors"][rows] = _pooled(backbone, packed, pad_id, made_by["precision"], progress)
    return found


def _pooled(backbone: Any, packed: Any, pad_id: int, precision: str, progress: Progress) -> np.ndarray:
    """Mean of the last states of each packed row: float32 [n, hidden]."""
    import torch

    from doubleroute.data.batches import by_tokens, inputs_of, parts_of
    from doubleroute.modeling.backbone import states_of
    from doubleroute.training.machine import autocast, compute_device

    vectors = np.empty((len(packed), int(backbone.config.hidden_size)), np.float32)
    done, total = 0, len(packed.ids)
    for chosen in by_tokens(packed.lengths, TOKENS_A_PASS):
        with torch.inference_mode(), autocast(precision):
            inputs = inputs_of(parts_of(packed, chosen), pad_id).to(compute_device())
            states = states_of(backbone, inputs.ids, inputs.mask, inputs.types).float()
        mask = inputs.mask.unsqueeze(-1)
        vectors[chosen] = ((states * mask).sum(1) / mask.sum(1).clamp(min=1)).cpu().numpy()
        done += int(packed.lengths[chosen].sum())
        progress("embeddings", {"step": done, "total": total, "unit": "tokens"})
    return vectors
