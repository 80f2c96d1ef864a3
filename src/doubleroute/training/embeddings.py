"""Embeddings of texts by the pretrained backbone: mean-pooled last states (Reimers & Gurevych 2019)."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from doubleroute.config import Project
from doubleroute.data.tokens import Packed, encode_texts
from doubleroute.modeling.backbone import load_tokenizer
from doubleroute.modeling.source import locate
from doubleroute.training.encoders import pretrained
from doubleroute.training.known_tokens import row_keys
from doubleroute.training.pooled import pooled_states
from doubleroute.workspace import Workspace

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
    encoder, source = pretrained(project), locate(project.backbone.source, project.root)
    found: dict[str, np.ndarray] = {}

    def tell(done: int, total: int) -> None:
        progress("embeddings", {"step": done, "total": total, "unit": "tokens"})

    # Those with a second text are another kind of row to the tokenizer.
    for paired in (False, True):
        rows = np.array([row for row, pair in enumerate(pairs) if (pair is not None) == paired], np.int64)
        if paired and not len(rows):
            continue
        some = [texts[row] for row in rows]
        seconds = [str(pairs[row]) for row in rows] if paired else None

        def pack(
            places: list[int], some: list[str] = some, seconds: list[str] | None = seconds
        ) -> tuple[Packed, np.ndarray]:
            wanted = [some[place] for place in places]
            others = None if seconds is None else [seconds[place] for place in places]
            packed = encode_texts(load_tokenizer(source), wanted, project.backbone.max_tokens, others)
            return packed, np.arange(len(packed))

        states = pooled_states(workspace, encoder, row_keys(some, seconds, None), pack, "mean", tell)
        vectors = states.last.astype(np.float32)
        for name, values in (("last", vectors), ("tokens", states.tokens), ("unknown", states.unknown)):
            every = found.setdefault(name, np.zeros((len(texts), *values.shape[1:]), values.dtype))
            every[rows] = values
    return found["last"], found["tokens"], found["unknown"]
