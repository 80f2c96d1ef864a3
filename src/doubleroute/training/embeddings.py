"""Embeddings of texts by the pretrained backbone: mean-pooled last states (Reimers & Gurevych 2019).

Kept row by row under a digest of what the row says and of what computed it: a later call computes only the
rows that are new. The rows of one call are one stage, ``embeddings``; when many have gathered they are
made into one.
"""

import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from doubleroute.config import Project
from doubleroute.modeling.backbone import Source, locate, source_digest
from doubleroute.workspace import Stage, Workspace, code_digest, digest_of, versions_of

#: Tokens a pass, padding included.
TOKENS_A_PASS = 4096
#: Stages of the same backbone beyond which they are made into one.
MOST_STAGES = 8
_ARRAYS = ("vectors", "tokens", "unknown")
_KEY = 16
#: Told the name of what goes on and {"step", "total"} in tokens.
Progress = Callable[[str, dict[str, Any]], None]
Arrays = dict[str, np.ndarray]


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
    keys = [_key(text, pair) for text, pair in zip(texts, pairs, strict=True)]
    with workspace.lock("embeddings"):
        stages = [each for each in workspace.all("embeddings") if _made_by(each) == made_by]
        known = {key: place for stage in stages for place, key in _places(stage)}
        new = {key: row for row, key in enumerate(keys) if key not in known}
        if new or not stages:
            rows = list(new.values())
            some_texts, some_pairs = [texts[row] for row in rows], [pairs[row] for row in rows]

            def make(folder: Path) -> None:
                computed = _compute(source, made_by, some_texts, some_pairs, progress)
                _save(folder, b"".join(new), computed)

            stages.append(workspace.build("embeddings", _inputs(made_by, new), make))
        if len(stages) > MOST_STAGES:
            stages = [_merged(workspace, stages, made_by)]
        return _gathered(stages, keys)


def _key(text: str, pair: str | None) -> bytes:
    import xxhash

    said = text if pair is None else f"{text}\0{pair}"
    return xxhash.xxh3_128_digest(said.encode("utf-8", "surrogatepass"), seed=0 if pair is None else 1)


def _inputs(made_by: dict[str, Any], keys: Iterable[bytes]) -> dict[str, Any]:
    return {"made_by": made_by, "rows": digest_of([key.hex() for key in keys])}


def _made_by(stage: Stage) -> Any:
    return stage.manifest["inputs"].get("made_by")


def _places(stage: Stage) -> list[tuple[tuple[Path, int], bytes]]:
    """Where each row of a stage is, and its key."""
    keys = (stage.path / "keys.bin").read_bytes()
    parts = range(0, len(keys), _KEY)
    return [((stage.path, at // _KEY), keys[at : at + _KEY]) for at in parts]


def _save(folder: Path, keys: bytes, arrays: Arrays) -> None:
    (folder / "keys.bin").write_bytes(keys)
    for name in _ARRAYS:
        np.save(folder / f"{name}.npy", arrays[name], allow_pickle=False)


def _load(folder: Path) -> Arrays:
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}


def _merged(workspace: Workspace, stages: Sequence[Stage], made_by: dict[str, Any]) -> Stage:
    """One stage with the rows of all; the others are removed."""
    keys = list(dict.fromkeys(key for stage in stages for _, key in _places(stage)))

    def make(folder: Path) -> None:
        vectors, tokens, unknown = _gathered(stages, keys)
        _save(folder, b"".join(keys), {"vectors": vectors, "tokens": tokens, "unknown": unknown})

    merged = workspace.build("embeddings", _inputs(made_by, keys), make)
    for stage in stages:
        if stage.path != merged.path:
            shutil.rmtree(stage.path, ignore_errors=True)
    return merged


def _gathered(stages: Sequence[Stage], keys: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The arrays of these rows, each in the order of ``keys``."""
    number = {stage.path: place for place, stage in enumerate(stages)}
    known = {key: (number[path], row) for stage in stages for (path, row), key in _places(stage)}
    where = np.array([known[key] for key in keys], np.int64).reshape(-1, 2)
    loaded = [_load(stage.path) for stage in stages]
    found = []
    for name in _ARRAYS:
        first = loaded[0][name]
        values = np.empty((len(keys), *first.shape[1:]), first.dtype)
        for place, arrays in enumerate(loaded):
            here = where[:, 0] == place
            values[here] = arrays[name][where[here, 1]]
        found.append(values)
    return found[0], found[1], found[2]


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
