"""Which texts are alike: what counts, what is found without comparing each with each, and hostile texts."""

import random
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Indel

from doubleroute.review.alike import candidates, near_copies, nearest, similarities

WORDS = [
    first + last
    for first in ("card", "bank", "mon", "trans", "pay", "acc")
    for last in ("s", "fer", "ount", "ed")
]


def sentences(count: int, seed: int, words: int = 8) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=words)) + f" {draw.randrange(10**6)}" for _ in range(count)]


def test_similarity_is_the_share_of_characters_in_common_order_case_and_white_space_aside() -> None:
    found = similarities(["My  Card ", "abcd", "", "abc"], ["my card", "abxd", "", ""])
    assert found.tolist() == [1.0, 0.75, 1.0, 0.0]


def test_the_most_similar_text_is_found_and_of_copies_the_first() -> None:
    others = ["where is my new card", "where is my card now", "Where is my card", "where is my card"]
    rows, similarity = nearest(["where is my card?", "what else"], others, 0.9)
    assert rows.tolist() == [2, -1]
    assert similarity == pytest.approx([2 * 16 / 33, 0])


def test_equally_similar_texts_are_taken_in_order_of_length_and_alphabet_wherever_they_stand() -> None:
    others = ["where is my card c", "where is my card a", "where is my card b"]
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):
        rows, _ = nearest(["where is my card"], [others[row] for row in order], 0.9)
        assert [order[row] for row in rows.tolist()] == [1]


@pytest.mark.parametrize("text", ["ok", "yes please", "很好", "这本书很好看", "🙂🙂", "a\0b"])
def test_texts_of_a_word_or_two_and_without_spaces_are_found(text: str) -> None:
    others = [*sentences(200, 1), "no", "书", text]
    assert nearest([text, text.upper()], others, 0.9)[0].tolist() == [202, 202]


def test_one_character_of_a_chinese_text_may_differ() -> None:
    texts = [f"这本书的内容非常{what}，孩子看了一遍又一遍" for what in "好差长短"]
    assert len(near_copies(texts, 0.9).texts) == 3
    assert nearest(["这本书的内容非常多，孩子看了一遍又一遍"], texts, 0.9)[1] == pytest.approx([1 - 1 / 19])


def test_questions_about_one_long_context_are_alike_only_where_the_questions_are() -> None:
    context = " ".join(f"word {number} of the context" for number in range(40))
    asked = [f"{each}\0{context}" for each in ("who won the game?", "when was it?", "who won the games?")]
    found = near_copies(asked, 0.9)
    assert (found.texts.tolist(), found.others.tolist()) == ([0], [2])
    assert found.similarity[0] == pytest.approx(
        similarities(["who won the game?"], ["who won the games?"])[0]
    )
    assert similarities([asked[0]], [f"{asked[0][:17]}\0another context"])[0] < 0.5


def test_near_copies_name_each_pair_once_and_leave_copies_out() -> None:
    texts = [
        "where is my card",
        "Where is  my card",
        "nothing like it",
        "where is my card?",
        "where is my card!?",
    ]
    found = near_copies(texts, 0.9)
    assert found.texts.tolist() == [0, 3]
    assert found.others.tolist() == [3, 4]
    assert found.similarity == pytest.approx([2 * 16 / 33, 2 * 17 / 35])


def test_no_texts_have_nothing_alike() -> None:
    assert nearest([], ["a"], 0.9)[0].shape == (0,)
    assert nearest(["a", ""], [], 0.9)[0].tolist() == [-1, -1]
    assert nearest([""], ["", "a"], 0.9)[0].tolist() == [-1]
    assert near_copies([], 0.9).texts.shape == (0,)


def test_planted_edits_among_thousands_of_rows_are_all_found() -> None:
    others = sentences(3000, 1)
    draw = random.Random(2)
    edited = []
    for text in others[:300]:
        place = draw.randrange(len(text))
        edited.append(text[:place] + draw.choice(["", "x", "ab"]) + text[place + 1 :])
    rows, similarity = nearest(edited, others, 0.9)
    assert rows.tolist() == list(range(300))
    assert similarity.min() > 0.9


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.text("abcd ", max_size=30), max_size=8),
    st.lists(st.text("abcd ", max_size=30), max_size=8),
    st.sampled_from([0.6, 0.8, 0.9]),
)
def test_what_is_found_is_as_similar_as_it_says(texts: list[str], others: list[str], least: float) -> None:
    found = candidates(texts, others, least)
    for row, other, similarity in zip(*(each.tolist() for each in found), strict=True):
        plain = [" ".join(text.split()) for text in (texts[row], others[other])]
        assert similarity == pytest.approx(Indel.normalized_similarity(*plain))
        assert similarity >= least
    assert np.all(np.diff(found.texts) >= 0)


def test_a_text_of_a_megabyte_is_compared_by_its_beginning_and_length() -> None:
    draw = random.Random(1)
    huge = "".join(draw.choices("abcdefgh ", k=1_000_000))
    start = time.perf_counter()
    rows, similarity = nearest(
        [huge, "word " * 200_000], [huge[:2000], huge[:-9], "word " * 199_999 + "end", "a"], 0.9
    )
    assert rows.tolist() == [1, 2]
    assert 0.99 < similarity.min() <= similarity.max() < 1
    assert time.perf_counter() - start < 10


def test_many_texts_that_differ_by_a_number_do_not_compare_each_with_each() -> None:
    texts = [f"Your order is late, its number is {number}" for number in range(5000)]
    start = time.perf_counter()
    assert len(near_copies(texts, 0.9).texts) > 2400
    assert time.perf_counter() - start < 10
