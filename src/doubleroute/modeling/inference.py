"""Answers of a trained model: one pass of the backbone for all tasks, rows sorted by length."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from doubleroute.data.batches import Inputs, by_tokens, inputs_of, parts_of
from doubleroute.data.tokens import Packed, encode_texts, join_tokens, word_spans
from doubleroute.errors import InputError
from doubleroute.kinds import kind
from doubleroute.modeling.backbone import Source, load_tokenizer
from doubleroute.modeling.model import DoublerouteModel, load_model

#: Tokens a pass, padding included.
TOKENS_A_PASS = 4096
#: Given the rows of a pass: their parts in the packed arrays and the padded width.
Before = Callable[[list[tuple[Packed, slice]], int], None]


@torch.inference_mode()
def logits_of(
    model: DoublerouteModel,
    packed: Packed,
    tasks: Sequence[str],
    pad_id: int,
    words: Sequence[int] | None = None,
    before: Before | None = None,
) -> dict[str, list[np.ndarray]]:
    """Logits of n packed rows for each task: n float32 arrays, [outputs] or [words, outputs].

    ``words``: the number of words of each row, needed for tasks that answer for each token; words cut
    off by the length limit get the first label (O for tagging). ``before`` is called before each pass.
    """
    device = next(model.heads.parameters()).device
    per_token = {task: kind(model.config.tasks[task]["kind"]).per_token for task in tasks}

    def ask(inputs: Inputs) -> Mapping[str, Tensor]:
        found: Mapping[str, Tensor] = model(**inputs.to(device).keywords, tasks=tasks).logits
        return found

    return gather(packed, pad_id, ask, per_token, words, before)


def gather(
    packed: Packed,
    pad_id: int,
    ask: Callable[[Inputs], Mapping[str, Tensor]],
    per_token: Mapping[str, bool],
    words: Sequence[int] | None = None,
    before: Before | None = None,
) -> dict[str, list[np.ndarray]]:
    """As ``logits_of``, of whatever ``ask`` answers a pass with: by name, logits [rows, outputs] or, where
    ``per_token`` says so, [rows, seq, outputs]."""
    found: dict[str, list[np.ndarray]] = {name: [np.empty(0)] * len(packed) for name in per_token}
    for chosen in by_tokens(packed.lengths, TOKENS_A_PASS):
        parts = parts_of(packed, chosen)
        inputs = inputs_of(parts, pad_id)
        if before is not None:
            before(parts, inputs.ids.shape[1])
        logits = ask(inputs)
        for name, of_tokens in per_token.items():
            values = logits[name].float().cpu().numpy()
            for place, row in enumerate(chosen):
                if of_tokens:
                    assert packed.words is not None
                    assert words is not None
                    found[name][row] = _by_word(values[place], packed.words[parts[place][1]], words[row])
                else:
                    found[name][row] = values[place]
    return found


def _by_word(logits: np.ndarray, words: np.ndarray, count: int) -> np.ndarray:
    """Logits [seq, outputs] of sub-words -> [count, outputs] of words."""
    by_word = np.zeros((count, logits.shape[-1]), np.float32)
    by_word[:, 0] = 1.0
    here = np.flatnonzero(words >= 0)
    by_word[words[here]] = logits[here]
    return by_word


class Answerer:
    """A saved model that answers texts.

    ``tasks``: {task: {"kind", "labels"}}. Raises ModelError when the folder does not hold a whole model.
    """

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.model = load_model(folder)
        if torch.cuda.is_available():
            self.model.cuda()
        self.tokenizer = load_tokenizer(Source(str(folder), folder))
        self.tasks: dict[str, dict[str, Any]] = {
            task: {"kind": options["kind"], "labels": options["labels"]}
            for task, options in self.model.config.tasks.items()
        }

    def answer(
        self, rows: Sequence[Mapping[str, Any]], tasks: Sequence[str] | None = None
    ) -> list[dict[str, dict[str, Any]]]:
        """Answer n rows, ``{"text", "text_pair"?}`` or ``{"tokens"}``, for all tasks or some.

        Gives for each row {task: answer of its kind}. Raises InputError for an unknown task or a row
        without text.
        """
        wanted = list(tasks or self.tasks)
        unknown = sorted(set(wanted) - set(self.tasks))
        if unknown:
            raise InputError(f"the model has no task '{unknown[0]}'; it has: {', '.join(self.tasks)}")
        texts = [_text(row, number) for number, row in enumerate(rows)]
        tokens = [row.get("tokens") for row in rows]
        spans = [word_spans(text, given) for text, given in zip(texts, tokens, strict=True)]
        logits: dict[str, list[Any]] = {task: [None] * len(rows) for task in wanted}
        for group, pairs in _by_shape(rows):
            packed = encode_texts(
                self.tokenizer,
                [texts[row] for row in group],
                self.model.config.max_tokens,
                pairs,
                [spans[row] for row in group],
            )
            words = [len(spans[row]) for row in group]
            found = logits_of(self.model, packed, wanted, self.tokenizer.pad_token_id or 0, words)
            for task, values in found.items():
                for row, value in zip(group, values, strict=True):
                    logits[task][row] = value
        answers: list[dict[str, dict[str, Any]]] = [{} for _ in rows]
        for task in wanted:
            about = self.tasks[task]
            for row, answer in enumerate(kind(about["kind"]).decode(logits[task], about["labels"])):
                for entity in answer.get("entities", ()):
                    first, last = spans[row][entity["start"]][0], spans[row][entity["end"] - 1][1]
                    entity["text"] = texts[row][first:last]
                answers[row][task] = answer
        return answers


def _text(row: Mapping[str, Any], number: int) -> str:
    text = join_tokens(row["tokens"]) if row.get("tokens") is not None else row.get("text")
    if not isinstance(text, str):
        raise InputError(
            f"row {number + 1}: a 'text' (or a list of 'tokens') is needed; it has: {', '.join(row)}"
        )
    return text


def _by_shape(rows: Sequence[Mapping[str, Any]]) -> list[tuple[list[int], list[str] | None]]:
    """Row numbers without and with a second text, and those second texts."""
    single = [number for number, row in enumerate(rows) if row.get("text_pair") is None]
    paired = [number for number, row in enumerate(rows) if row.get("text_pair") is not None]
    groups: list[tuple[list[int], list[str] | None]] = []
    if single:
        groups.append((single, None))
    if paired:
        groups.append((paired, [str(rows[number]["text_pair"]) for number in paired]))
    return groups
