"""Answers of a trained model: one pass of the backbone for all tasks, rows sorted by length.

``Answering`` is what every way of running a model shares: reading rows, tokenising, decoding.
``modeling.inference`` runs it with PyTorch, ``modeling.onnx_answerer`` an exported graph. Nothing here
imports PyTorch or transformers: who runs a graph does not wait for them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from doubleroute.data.batches import Inputs, by_tokens, inputs_of, parts_of
from doubleroute.data.tokens import Packed, Tokenizing, encode_texts, join_tokens, word_spans
from doubleroute.data.windows import by_row, counted, windows
from doubleroute.errors import InputError, RowError
from doubleroute.kinds import kind
from doubleroute.kinds.span import with_texts

#: Tokens a pass, padding included: few enough that a layer's states stay in a processor's cache.
TOKENS_A_PASS = 512
#: Fewer are not worth a pass of their own on another core.
LEAST_A_PASS = 128
#: What answering asks of a task in the model's config.
ASKED = ("kind", "labels", "pair", "answers", "overlap")
#: Given the rows of a pass: their parts in the packed arrays and the padded width.
Before = Callable[[list[tuple[Packed, slice]], int], None]
#: One pass: a batch's inputs -> {task: float32 [batch, outputs] or [batch, seq, outputs]}.
Run = Callable[[Inputs[np.ndarray]], Mapping[str, np.ndarray]]


def in_passes(
    run: Run,
    packed: Packed,
    per_token: Mapping[str, bool],
    pad_id: int,
    words: Sequence[int] | None = None,
    before: Before | None = None,
    budget: int = TOKENS_A_PASS,
    workers: int = 1,
    least: int = 1,
) -> dict[str, list[np.ndarray]]:
    """What ``run`` gives for n packed rows in batches of similar length, by name; ``per_token``: {name:
    whether it has logits for each token, not for each row}; ``budget``: tokens a pass; ``workers``: threads
    that call ``run``, each with a pass of its own; ``least``: rows a pass. The rest as in
    ``inference.logits_of``."""
    found: dict[str, list[np.ndarray]] = {name: [np.empty(0)] * len(packed) for name in per_token}

    def one(chosen: np.ndarray) -> tuple[list[tuple[Packed, slice]], Mapping[str, np.ndarray]]:
        parts = parts_of(packed, chosen)
        inputs = inputs_of(parts, pad_id)
        if before is not None:
            before(parts, inputs.ids.shape[1])
        return parts, run(inputs)

    passes = by_tokens(packed.lengths, budget, least)
    for chosen, (parts, logits) in zip(passes, _each(one, passes, workers), strict=True):
        for name, of_tokens in per_token.items():
            values = logits[name]
            for place, row in enumerate(chosen):
                if of_tokens:
                    assert packed.words is not None
                    assert words is not None
                    of_row = packed.words[parts[place][1]]
                    first = np.flatnonzero(of_row >= 0)
                    found[name][row] = by_word(values[place][first], of_row[first], words[row])
                else:
                    found[name][row] = values[place]
    return found


def _each(work: Callable[[Any], Any], given: Sequence[Any], workers: int) -> Iterator[Any]:
    """What ``work`` makes of each, in order, by so many threads."""
    if workers < 2 or len(given) < 2:
        yield from map(work, given)
        return
    with ThreadPoolExecutor(min(workers, len(given))) as pool:
        yield from pool.map(work, given)


def by_word(logits: np.ndarray, words: np.ndarray, count: int) -> np.ndarray:
    """Logits [k, outputs] of the first sub-words of the words [k] of a row -> [count, outputs]; words that
    were cut off get the first label."""
    found = np.zeros((count, logits.shape[-1]), np.float32)
    found[:, 0] = 1.0
    found[words] = logits
    return found


class _Asked(NamedTuple):
    """One row as it is read: its text, the second text of a pair, and its words when they were given."""

    text: str
    pair: str | None
    tokens: tuple[str, ...] | None


class Answering(ABC):
    """A saved model that answers texts, whatever runs it.

    ``tasks``: {task: {"kind", "labels", "pair"}}, in the model's order, of retrieval also the texts of its
    "answers", of span the "overlap" of its windows; "pair": whether it learned from two texts a row (older
    models do not say);
    ``kept``: for each task what its head keeps for decoding; ``precision``: torch, float32 or int8, the last
    two of an exported graph.
    """

    precision: str
    tasks: dict[str, dict[str, Any]]
    kept: dict[str, dict[str, np.ndarray]]
    tokenizer: Tokenizing
    max_tokens: int

    @abstractmethod
    def _run(
        self, packed: Packed, tasks: Sequence[str], words: Sequence[int] | None
    ) -> dict[str, list[np.ndarray]]:
        """Logits of n packed rows for each task, as ``inference.logits_of`` gives them."""

    def answer(
        self, rows: Sequence[Mapping[str, Any]], tasks: Sequence[str] | None = None
    ) -> list[dict[str, dict[str, Any]]]:
        """Answer n rows, ``{"text", "text_pair"?}`` or ``{"tokens"}``, for all tasks or some.

        Gives for each row {task: answer of its kind}; a task that learned from single texts reads ``text``
        alone. Raises InputError for an unknown task, and RowError for a row without text, or without a
        context where only tasks are asked that look for answers in it; among other tasks these find none.
        """
        return self.decode(rows, self.logits(rows, tasks))

    def logits(
        self, rows: Sequence[Mapping[str, Any]], tasks: Sequence[str] | None = None
    ) -> dict[str, list[np.ndarray]]:
        """Logits of n rows for all tasks or some: n float32 arrays a task, [outputs] or [words, outputs], of
        span as ``data.windows.by_row`` has them.

        Rows that say the same are computed once. Raises InputError as ``answer`` does.
        """
        wanted = list(tasks or self.tasks)
        unknown = sorted(set(wanted) - set(self.tasks))
        if unknown:
            raise InputError(f"the model has no task '{unknown[0]}'; it has: {', '.join(self.tasks)}")
        asked = [_asked(row, number) for number, row in enumerate(rows)]
        if all(kind(self.tasks[task]["kind"]).windowed for task in wanted):
            _refuse_without_a_context(asked, wanted)
        single = [task for task in wanted if not self.reads_pairs(task)]
        of_pairs = [task for task in wanted if task not in single]
        found: dict[str, list[Any]] = {task: [None] * len(asked) for task in wanted}
        for paired, tasks, keep in ((False, wanted, True), (True, single, False), (True, of_pairs, True)):
            places = [place for place, row in enumerate(asked) if (row.pair is not None) == paired]
            read = [asked[place] if keep else asked[place]._replace(pair=None) for place in places]
            for task, values in self._once(read, tasks).items():
                for place, value in zip(places, values, strict=True):
                    found[task][place] = value
        return found

    def reads_pairs(self, task: str) -> bool:
        """Whether a task reads a second text where there is one: every task of a model that does not say."""
        return bool(self.tasks[task].get("pair", True))

    def _once(self, asked: Sequence[_Asked], tasks: Sequence[str]) -> dict[str, list[np.ndarray]]:
        """Logits of n rows, those that say the same computed once."""
        if not tasks or not asked:
            return {}
        places = {row: place for place, row in enumerate(dict.fromkeys(asked))}
        found = self._logits(list(places), tasks)
        return {task: [values[places[row]] for row in asked] for task, values in found.items()}

    def decode(
        self, rows: Sequence[Mapping[str, Any]], logits: Mapping[str, Sequence[np.ndarray]]
    ) -> list[dict[str, dict[str, Any]]]:
        """The answers that the logits of these rows mean; entities, stored answers and spans get their
        text."""
        answers: list[dict[str, dict[str, Any]]] = [{} for _ in rows]
        for task, values in logits.items():
            about = self.tasks[task]
            texts = dict(zip(about["labels"], about.get("answers", ()), strict=False))
            found = kind(about["kind"]).decode(values, about["labels"], self.kept[task])
            if kind(about["kind"]).windowed:
                found = with_texts(found, [_asked(row, number).pair for number, row in enumerate(rows)])
            for row, answer in enumerate(found):
                if answer.get("entities"):
                    asked = _asked(rows[row], row)
                    spans = word_spans(asked.text, asked.tokens)
                    for entity in answer["entities"]:
                        first, last = spans[entity["start"]][0], spans[entity["end"] - 1][1]
                        entity["text"] = asked.text[first:last]
                for each in answer.get("answers", ()):
                    each["text"] = texts[each["id"]]
                answers[row][task] = answer
        return answers

    def tokenised(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[list[int], Packed]]:
        """n rows in groups that a pass can hold: the numbers of a group's rows, and their ids. Raises
        InputError as ``answer`` does."""
        asked = [_asked(row, number) for number, row in enumerate(rows)]
        for group, packed, _ in self._packed(asked, with_words=False):
            yield group, packed

    def inputs(self, rows: Sequence[Mapping[str, Any]]) -> list[Inputs[np.ndarray]]:
        """What the model reads of n rows, a batch a pass. Raises InputError for a row without text."""
        return [
            inputs_of(parts_of(packed, chosen), self.tokenizer.pad_token_id or 0)
            for _, packed in self.tokenised(rows)
            for chosen in by_tokens(packed.lengths, TOKENS_A_PASS)
        ]

    def _logits(self, asked: Sequence[_Asked], tasks: Sequence[str]) -> dict[str, list[np.ndarray]]:
        logits: dict[str, list[Any]] = {task: [None] * len(asked) for task in tasks}
        for task in tasks:  # whose rows are read otherwise than those of the others
            if kind(self.tasks[task]["kind"]).windowed:
                logits[task] = self._of_contexts(asked, task)
        tasks = [task for task in tasks if not kind(self.tasks[task]["kind"]).windowed]
        if not tasks:
            return logits
        with_words = any(kind(self.tasks[task]["kind"]).per_token for task in tasks)
        for group, packed, words in self._packed(asked, with_words):
            for task, values in self._run(packed, tasks, words).items():
                for row, value in zip(group, values, strict=True):
                    logits[task][row] = value
        return logits

    def _of_contexts(self, asked: Sequence[_Asked], task: str) -> list[np.ndarray]:
        """Logits of the windows of each row, none where it has no context."""
        there = [each for each in asked if each.pair is not None]
        questions, contexts = [each.text for each in there], [each.pair or "" for each in there]
        packed = windows(self.tokenizer, questions, contexts, self.max_tokens, self.tasks[task]["overlap"])
        values = self._run(packed, [task], counted(packed))[task] if there else []
        found = iter(by_row(values, packed, len(there)))
        nothing = np.zeros((0, 4), np.float32)
        return [nothing if each.pair is None else next(found) for each in asked]

    def _packed(
        self, asked: Sequence[_Asked], with_words: bool
    ) -> Iterator[tuple[list[int], Packed, list[int] | None]]:
        """Which rows, their tokens, and how many words each has, where that is asked; single texts and pairs
        apart."""
        for paired in (False, True):
            group = [row for row, each in enumerate(asked) if (each.pair is not None) == paired]
            if not group:
                continue
            texts = [asked[row].text for row in group]
            pairs = [asked[row].pair or "" for row in group] if paired else None
            spans = [word_spans(asked[row].text, asked[row].tokens) for row in group] if with_words else None
            packed = encode_texts(self.tokenizer, texts, self.max_tokens, pairs, spans)
            yield group, packed, None if spans is None else [len(each) for each in spans]


def _asked(row: Mapping[str, Any], number: int) -> _Asked:
    tokens = row.get("tokens")
    text = join_tokens(tokens) if tokens is not None else row.get("text")
    if not isinstance(text, str):
        raise RowError(number, f"a 'text' (or a list of 'tokens') is needed; it has: {', '.join(row)}")
    pair = row.get("text_pair")
    return _Asked(text, None if pair is None else str(pair), None if tokens is None else tuple(tokens))


def _refuse_without_a_context(asked: Sequence[_Asked], tasks: Sequence[str]) -> None:
    for number, row in enumerate(asked):
        if row.pair is None:
            what = f"task '{tasks[0]}' looks for the answer in a context"
            raise RowError(number, f"{what}: give it as 'text_pair', the question as 'text'")
