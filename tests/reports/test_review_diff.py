"""Which words of two texts are marked, and that marking loses none of them."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubleroute.reports.review_diff import cut, marked, shown_difference


def sides(pieces):
    return tuple("".join(text for mark, text in pieces if mark in ("=", side)) for side in "-+")


@given(st.text("ab .,é日\n", max_size=60), st.text("ab .,é日\n", max_size=60))
def test_the_pieces_are_both_texts_and_nothing_else(before, after):
    pieces = marked(before, after)
    assert sides(pieces) == (before, after)
    assert all(text for _, text in pieces)


def test_equal_texts_have_one_piece():
    assert marked("the same text", "the same text") == [("=", "the same text")]


def test_words_are_marked_and_not_letters():
    assert marked("How do I change my PIN?", "How can I change my PIN?") == [
        ("=", "How "),
        ("-", "do"),
        ("+", "can"),
        ("=", " I change my PIN?"),
    ]


def test_neighbouring_changed_words_are_one_change():
    assert marked("by the old card", "by a new card") == [
        ("=", "by "),
        ("-", "the old"),
        ("+", "a new"),
        ("=", " card"),
    ]


def test_signs_of_a_script_without_spaces_are_words():
    assert marked("我的卡丢了", "我的卡坏了") == [("=", "我的卡"), ("-", "丢"), ("+", "坏"), ("=", "了")]


def test_long_texts_show_what_changed_and_the_ends_of_what_did_not():
    before = "word " * 900 + "old " + "word " * 200
    pieces = shown_difference(before, before.replace("old", "new"))
    assert [mark for mark, _ in pieces] == ["=", "=", "-", "+", "="]
    assert pieces[0] == ("=", "… ")
    assert ("-", "old") in pieces
    assert " … " in pieces[-1][1]
    assert sum(len(text) for _, text in pieces) < 700


def test_signs_that_hide_or_turn_are_written_out():
    assert shown_difference("pay now", "pay \u202enow") == [
        ("=", "pay "),
        ("+", "‹U+202E›"),
        ("=", "now"),
    ]


def test_a_difference_at_the_end_of_a_megabyte_is_shown():
    text = "word " * 2**18
    pieces = shown_difference(f"{text}old", f"{text}new")
    assert pieces[-2:] == [("-", "old"), ("+", "new")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x" * 20, "xxxxx… (cut; 20 characters)"),
        ("x" * 20 + "… (cut; 1,048,576 characters)", "xxxxx… (cut; 1,048,576 characters)"),
        ("x" * 20 + "…", "xxxxx…"),
        ("xxx…", "xxx…"),
    ],
)
def test_a_text_that_was_cut_before_keeps_the_length_that_it_had(text, said):
    assert cut(text, 5) == said


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x" * 2**20, "y" * 2**20),
        ("a b " * 2**18, "b a " * 2**18),
        (" ".join(map(str, range(10**5))), " ".join(map(str, range(10**5, 0, -1)))),
    ],
)
def test_a_megabyte_is_marked_in_a_moment(before, after):
    started = time.perf_counter()
    pieces = shown_difference(before, after)
    assert time.perf_counter() - started < 1
    assert sum(len(text) for _, text in pieces) < 3000
