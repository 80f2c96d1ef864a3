"""Packed tokens: words found by characters, cuts counted."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from doubleroute.data.tokens import (
    Packed,
    _beginnings,
    _reads_words_alone,
    encode_texts,
    join_tokens,
    read_tokenizer,
    word_spans,
    write_tokenizer,
)
from doubleroute.errors import ModelError
from doubleroute.modeling.backbone import load_tokenizer
from doubleroute.modeling.source import Source


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path):
    return load_tokenizer(Source("tiny", tiny_model))


def bert() -> PreTrainedTokenizerFast:
    """A tokenizer built as BERT's is."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*"aegσοδ.,[]中", *(f"##{letter}" for letter in "aegσςοδb")]
    words = {word: place for place, word in enumerate([*special, "good", "film", *pieces])}
    backend = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)]
    )
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    return PreTrainedTokenizerFast(tokenizer_object=backend, **dict(zip(names, special, strict=True)))


def test_words_are_those_of_the_tokenizer_itself(tokenizer) -> None:
    tokens = ["good", "film", ",", "42!", "unheard-of", "", "words"]
    text = join_tokens(tokens)
    packed = encode_texts(tokenizer, [text], 64, spans=[word_spans(text, tokens)])
    by_words = tokenizer([tokens], is_split_into_words=True)
    assert packed.ids.tolist() == by_words["input_ids"][0]
    expected, before = [], None
    for word in by_words.word_ids(0):
        expected.append(-1 if word is None or word == before else word)
        before = word
    assert packed.words is not None
    assert packed.words.tolist() == expected


def test_the_words_of_a_text_are_the_runs_between_white_space() -> None:
    assert word_spans(" a  bc\n d").tolist() == [[1, 2], [4, 6], [8, 9]]
    assert word_spans("").shape == (0, 2)
    assert word_spans("a bc", ["a", "bc"]).tolist() == [[0, 1], [2, 4]]


def test_long_rows_are_cut_and_marked(tokenizer) -> None:
    packed = encode_texts(tokenizer, ["good film", "good " * 50], 8)
    assert packed.lengths.tolist() == [4, 8]
    assert packed.cut.tolist() == [False, True]


def test_of_many_long_texts_the_beginnings_have_the_ids_of_the_whole(tokenizer) -> None:
    words = ["good", "film", ",", "unheard-of", "42!", "words"]
    draw = np.random.default_rng(1)
    texts = [" ".join(draw.choice(words, 80)) for _ in range(100)]
    texts += ["ok " + "x" * 500, "film" + " " * 300 + "film"]  # few tokens for their characters
    packed = encode_texts(tokenizer, texts, 8)
    usual = tokenizer(texts, truncation=True, max_length=8)["input_ids"]
    assert packed.ids.tolist() == [token for ids in usual for token in ids]
    assert packed.cut.tolist() == [True] * 100 + [False, False]
    read = _beginnings(tokenizer.backend_tokenizer, texts, 8)
    assert sum(map(len, read)) < 0.2 * sum(map(len, texts))


def test_where_the_end_of_a_text_changes_its_beginning_the_whole_is_read() -> None:
    backend = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1, "b": 2}, unk_token="[UNK]"))
    backend.normalizer = normalizers.Replace(Regex("a(?=.*Z)"), "b")
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.enable_truncation(max_length=8)
    texts = ["a " * 100 + "Z"] * 70
    assert _beginnings(backend, texts, 8) is texts


@given(
    texts=st.lists(
        st.text(st.sampled_from("aé\u0301ΣÀ ,[]\t\n\x1f\x85\u00a0\u3000中g#\U0001f600")), max_size=6
    ),
    most=st.integers(3, 9),
)
@example(texts=["a [MASK]b[SEP] film", "[MASK] good", "", " ", "good\x1ffilm", "a\u0085b"], most=9)
@example(texts=["ΟΔΟΣ ΟΔΟΣ.", "e\u0301 \u0301e", "good " * 30], most=5)
def test_words_that_are_read_alone_give_the_ids_of_the_whole_text(texts: list[str], most: int) -> None:
    tokenizer = bert()
    assert _reads_words_alone(tokenizer.backend_tokenizer, most)
    packed = encode_texts(tokenizer, texts, most)
    usual = [tokenizer(text, truncation=True, max_length=most)["input_ids"] for text in texts]
    assert [packed.ids[a:b].tolist() for a, b in pairwise(packed.starts)] == usual
    whole = [len(tokenizer(text)["input_ids"]) > most for text in texts]
    assert packed.cut.tolist() == whole


def test_a_tokenizer_with_a_token_that_holds_a_space_reads_the_whole_text() -> None:
    tokenizer = bert()
    tokenizer.add_tokens(["good film"])
    assert not _reads_words_alone(tokenizer.backend_tokenizer, 8)
    (new,) = encode_texts(tokenizer, ["good film"], 8).ids[1:-1]
    assert new == len(tokenizer) - 1


def test_pairs_carry_their_segments(tokenizer) -> None:
    packed = encode_texts(tokenizer, ["good film"], 16, pairs=["bad"])
    assert packed.types is not None
    assert packed.types.tolist() == [0, 0, 0, 0, 1, 1]


def test_the_words_of_a_pair_are_those_of_its_first_text(tokenizer) -> None:
    spans = [word_spans("good film good")]
    packed = encode_texts(tokenizer, ["good film good"], 7, pairs=["bad words and lines"], spans=spans)
    assert packed.words is not None
    assert packed.cut.tolist() == [True]
    assert packed.words.tolist() == [-1, 0, 1, -1, -1, -1, -1]


def test_packed_rows_survive_the_disk(tokenizer, tmp_path: Path) -> None:
    packed = encode_texts(tokenizer, ["good film", "bad"], 16)
    packed.save(tmp_path)
    loaded = Packed.load(tmp_path)
    assert np.array_equal(loaded.ids, packed.ids)
    assert np.array_equal(loaded.starts, packed.starts)
    assert loaded.types is None
    assert len(loaded) == 2


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="open files are counted in /dev/fd")
def test_small_arrays_keep_no_file_open(tokenizer, tmp_path: Path) -> None:
    encode_texts(tokenizer, ["good film", "bad"], 16).save(tmp_path)
    before = len(list(Path("/dev/fd").iterdir()))
    loaded = Packed.load(tmp_path)
    assert len(list(Path("/dev/fd").iterdir())) == before
    with pytest.raises(ValueError, match="read-only"):
        loaded.ids[0] = 1


def test_a_written_tokenizer_gives_the_ids_of_the_one_in_memory(tmp_path: Path) -> None:
    made, texts = bert(), ["good film [MASK]", "", "ΟΔΟΣ, a film " * 9]
    made.backend_tokenizer.enable_truncation(4)
    write_tokenizer(made, tmp_path / "tokenizer.json")
    read = read_tokenizer(tmp_path / "tokenizer.json")
    assert read.pad_token_id == made.pad_token_id
    for pairs, spans in ((None, None), (texts[::-1], None), (None, [word_spans(text) for text in texts])):
        one, other = (encode_texts(each, texts, 12, pairs, spans) for each in (made, read))
        for name in ("ids", "starts", "types", "words", "cut"):
            assert np.array_equal(getattr(one, name), getattr(other, name)), name


def test_a_tokenizer_without_what_fills_up_short_rows_is_refused(tmp_path: Path) -> None:
    bert().backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ModelError, match="does not say what fills up short rows"):
        read_tokenizer(tmp_path / "tokenizer.json")
