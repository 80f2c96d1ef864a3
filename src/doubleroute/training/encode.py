"""The tokenise stage: validated tables -> packed token ids and encoded labels."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from doubleroute.config import SPLITS, Project
from doubleroute.data.batches import Encoded
from doubleroute.data.tables import read_validated, rows_digest
from doubleroute.data.tokens import Packed, encode_texts, join_tokens, word_spans
from doubleroute.data.windows import targets, windows
from doubleroute.digests import code_digest, digest_of, versions_of
from doubleroute.errors import DataError
from doubleroute.kinds import IGNORE, Kind, kind
from doubleroute.modeling.backbone import load_tokenizer
from doubleroute.modeling.source import locate, source_digest
from doubleroute.training.known_tokens import KEYS, KnownTokens, row_keys
from doubleroute.workspace import Stage, Workspace, write_json

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedTokenizerBase

META = "meta.json"
#: Beside the splits of a retrieval task: its stored answers, as ``load_split`` takes them.
ANSWERS = "answers"


def encode(project: Project, workspace: Workspace, validated: Stage) -> Stage:
    """Give the stage with ``<task>/<split>/*.npy`` and ``meta.json`` (see ``read_meta``).

    Raises ModelError or MachineError for the backbone's tokenizer, DataError when a task has no
    labelled rows in a split.
    """
    source = locate(project.backbone.source, project.root)
    made_by = {
        "backbone": source_digest(source),
        "max_tokens": project.backbone.max_tokens,
        "code": code_digest("data/tokens", "training/known_tokens"),
        "versions": versions_of("tokenizers", "transformers"),
    }
    inputs = {
        "rows": rows_digest(validated),
        "kinds": {task: options.kind for task, options in project.tasks.items()},
        "overlap": {
            task: options.head.overlap for task, options in project.tasks.items() if options.kind == "span"
        },
        "code": code_digest(
            "data/batches", "data/spans", "data/tags", "data/windows", "kinds", "training/encode"
        ),
        "made_by": made_by,
    }

    def make(folder: Path) -> None:
        tokenizer, known = load_tokenizer(source), KnownTokens(workspace, made_by)
        labels = json.loads((validated.path / "labels.json").read_text(encoding="utf-8"))
        meta: dict[str, Any] = {"backbone": made_by["backbone"], "tasks": {}}
        for task in project.tasks:
            meta["tasks"][task] = _encode_task(
                project, tokenizer, known, validated.path, task, labels[task], folder
            )
        write_json(folder / META, meta)

    return workspace.build("tokenise", inputs, make)


def _encode_task(
    project: Project,
    tokenizer: "PreTrainedTokenizerBase",
    known: KnownTokens,
    validated: Path,
    task: str,
    labels: list[str],
    folder: Path,
) -> dict[str, Any]:
    """Write the splits of a task, and its stored answers; give what ``read_meta`` tells of it."""
    options, longest = project.tasks[task], project.backbone.max_tokens
    about: dict[str, Any] = {"kind": options.kind, "labels": labels, "splits": {}}
    for split in SPLITS:
        frame = read_validated(validated, task, split)
        place = folder / task / split
        place.mkdir(parents=True)
        if options.kind == "span":
            counts = _encode_windows(tokenizer, frame, longest, options.head.overlap, place, task, split)
        else:
            counts = _encode_split(
                tokenizer, known, frame, kind(options.kind), labels, longest, place, task, split
            )
        about["splits"][split] = counts
        if split == "validation":
            about["truths"] = _truths_digest(frame)
    if options.kind == "retrieval":
        about["answers"], about["splits"][ANSWERS] = _encode_answers(
            tokenizer, known, validated, task, longest, folder
        )
    return about


def _encode_split(
    tokenizer: "PreTrainedTokenizerBase",
    known: KnownTokens,
    frame: "pd.DataFrame",
    found: Kind,
    labels: list[str],
    max_tokens: int,
    place: Path,
    task: str,
    split: str,
) -> dict[str, int]:
    """Write one split; give its counts of rows, tokens, truncated rows and unknown tokens."""
    index, frame = _labelled(frame, task, split)
    pairs = frame["text_pair"].tolist() if "text_pair" in frame else None
    tokens = frame["tokens"].tolist() if found.per_token else None
    texts = frame["text"].tolist() if tokens is None else [join_tokens(each) for each in tokens]

    def tokenise(rows: list[int]) -> Packed:
        spans = None if tokens is None else [word_spans(texts[row], tokens[row]) for row in rows]
        some = None if pairs is None else [pairs[row] for row in rows]
        return encode_texts(tokenizer, [texts[row] for row in rows], max_tokens, some, spans)

    keys = row_keys(texts, pairs, tokens)
    packed = known.packed(keys, tokenise)
    np.save(place / KEYS, keys, allow_pickle=False)
    values = found.encode(frame["label"].tolist(), labels)
    if found.per_token:
        values = _beside_ids(packed.words, packed.starts, list(values))
    Encoded(packed, np.asarray(values), index).save(place)
    known.add(place / KEYS)  # the next task may have the same texts
    return _counts(tokenizer, packed, len(index))


def _truths_digest(frame: "pd.DataFrame") -> str:
    frame = frame[frame["label"].notna()]
    contexts = frame["text_pair"].tolist() if "text_pair" in frame else None
    return digest_of([frame["label"].tolist(), contexts])


def _labelled(frame: "pd.DataFrame", task: str, split: str) -> "tuple[np.ndarray, pd.DataFrame]":
    """The positions of the rows with a label, and the rows."""
    index = np.flatnonzero(frame["label"].notna().to_numpy())
    if not len(index):
        raise DataError(f"tasks.{task}: no row of the {split} split has a label")
    return index, frame.iloc[index]


def _counts(tokenizer: "PreTrainedTokenizerBase", packed: Packed, rows: int) -> dict[str, int]:
    unknown = tokenizer.unk_token_id
    cut = np.flatnonzero(packed.cut)
    return {
        "rows": rows,
        "tokens": len(packed.ids),
        "truncated": len(cut if packed.owners is None else np.unique(packed.owners[cut])),
        "unknown": 0 if unknown is None else int((packed.ids == unknown).sum()),
    }


def _encode_windows(
    tokenizer: "PreTrainedTokenizerBase",
    frame: "pd.DataFrame",
    max_tokens: int,
    overlap: int,
    place: Path,
    task: str,
    split: str,
) -> dict[str, int]:
    """Write one split of a span task as windows; give its counts. They are made anew each time: a row known
    from before would be several."""
    index, frame = _labelled(frame, task, split)
    packed = windows(tokenizer, frame["text"].tolist(), frame["text_pair"].tolist(), max_tokens, overlap)
    answers = kind("span").encode(frame["label"].tolist(), [])
    Encoded(packed, targets(packed, list(answers)), index).save(place)
    return _counts(tokenizer, packed, len(index))


def _encode_answers(
    tokenizer: "PreTrainedTokenizerBase",
    known: KnownTokens,
    validated: Path,
    task: str,
    max_tokens: int,
    folder: Path,
) -> tuple[list[str], dict[str, int]]:
    """Write the tokens of a task's answers as a split of their own; give their texts and counts."""
    texts: list[str] = read_validated(validated, task, ANSWERS)["text"].tolist()
    place = folder / task / ANSWERS
    place.mkdir()
    keys = row_keys(texts, None, None)
    packed = known.packed(
        keys, lambda rows: encode_texts(tokenizer, [texts[row] for row in rows], max_tokens)
    )
    np.save(place / KEYS, keys, allow_pickle=False)
    Encoded(packed, np.arange(len(texts)), np.arange(len(texts))).save(place)
    return texts, _counts(tokenizer, packed, len(texts))


def _beside_ids(words: np.ndarray | None, starts: np.ndarray, tags: list[np.ndarray]) -> np.ndarray:
    """Put each word's tag at its first sub-word, IGNORE elsewhere: int64 [tokens]."""
    assert words is not None
    flat = np.full(len(words), IGNORE, np.int64)
    for row, values in enumerate(tags):
        part = slice(starts[row], starts[row + 1])
        here = words[part]
        flat[part][here >= 0] = np.asarray(values)[here[here >= 0]]
    return flat


def read_meta(encoded: Path) -> dict[str, Any]:
    """``{"backbone": digest, "tasks": {task: {"kind", "labels", "truths", "splits": {split: counts}}}}``.

    ``truths``: a digest of the labels of the validation rows as they are written, and of the contexts in
    which answers are found: what scores are made of. Of retrieval tasks also ``"answers"``, the texts of the
    answers in the order of the labels, and their counts as a split of this name.
    """
    meta: dict[str, Any] = json.loads((encoded / META).read_text(encoding="utf-8"))
    return meta


def read_digest(encoded: Stage) -> str:
    """A digest of what the backbone reads of the same rows, whatever their labels are."""
    files = encoded.manifest["files"]
    wanted = {"ids.npy", "starts.npy", "types.npy"}
    names = [name for name in files if Path(name).name in wanted and Path(name).parent.name != "test"]
    return digest_of({name: files[name]["sha256"] for name in names})


def learned_digest(encoded: Stage) -> str:
    """A digest of the tokens and labels of the rows that are learned from or chosen by, as test rows are not,
    and of the stored answers. What ``read_meta`` tells is not in it."""
    files = encoded.manifest["files"]
    names = [name for name in files if name != META and Path(name).parent.name != "test"]
    return digest_of({name: files[name]["sha256"] for name in names})


def load_split(encoded: Path, split: str) -> dict[str, Encoded]:
    """The encoded rows of every task in one split, mapped into memory; ANSWERS of those that have them."""
    tasks = read_meta(encoded)["tasks"]
    chosen = [task for task, about in tasks.items() if split != ANSWERS or ANSWERS in about]
    return {task: Encoded.load(encoded / task / split) for task in chosen}
