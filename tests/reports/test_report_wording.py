"""Numbers, and the texts of others, as every report writes them."""

import math

import pytest
from evaluations import HOSTILE
from markdown_it import MarkdownIt

from doubleroute.reports.wording import (
    NOTHING,
    anchor,
    bounds_of,
    count,
    fenced,
    interval,
    markdown,
    number,
    shown,
    shown_lines,
)


def test_numbers_have_three_decimals_and_thousands_separators():
    assert number(1234.56789) == "1,234.568"
    assert number(-0.5) == "-0.500"
    assert number(0.004, signed=True) == "+0.004"
    assert count(1234567) == "1,234,567"


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, "0.5", True])
def test_what_is_no_finite_number_is_a_dash(value):
    assert number(value) == count(value) == NOTHING


def test_zero_has_no_minus():
    assert number(-0.0001) == number(-0.0) == "0.000"
    assert number(-0.0001, signed=True) == "+0.000"


def test_an_interval_without_bounds_is_its_value():
    assert interval({"value": 0.829, "low": 0.803, "high": 0.854}) == "0.829 [0.803, 0.854]"
    assert interval({"value": 0.829, "low": None, "high": math.nan}) == "0.829"
    assert interval({"value": None, "low": 0.1, "high": 0.2}) == NOTHING
    assert interval(None) == bounds_of({}) == NOTHING


def test_a_long_text_is_cut_with_a_note():
    assert shown("x" * 1_000_000, 5) == "xxxxx… (cut; 1,000,000 characters)"
    assert shown("x" * 5, 5) == "xxxxx"
    assert shown_lines("ab\ncd", 3) == "ab\n… (cut; 5 characters)"


def test_characters_that_hide_or_turn_text_are_written_out():
    assert shown("a\u202eb\x00c\x1b[0m\u200bd\ud800e\uffff") == (
        "a‹U+202E›b‹U+0000›c‹U+001B›[0m‹U+200B›d‹U+D800›e‹U+FFFF›"
    )
    shown(HOSTILE).encode("utf-8")


def test_letters_of_every_script_and_joined_emoji_stay_as_they_are():
    for text in ("שלום עולם", "می‌خواهم", "日本語", "👩‍🔬", "é ñ ü"):
        assert shown(text) == text


def test_line_breaks_become_arrows_and_stay_in_a_source():
    assert shown("a\r\nb\n\n c\u2028d") == "a ↵ b ↵ c ↵ d"
    assert shown_lines("a:\n  b: 1\n\tc: 2\n") == "a:\n  b: 1\n    c: 2"


def test_values_of_other_types_are_shown_readably():
    assert shown(["joy", "calm"]) == "joy, calm"
    assert shown([]) == shown(None) == NOTHING
    assert shown(True) == "yes"
    assert shown(0.25) == "0.250"
    assert shown({"b": 1, "a": [2]}) == '{"a": [2], "b": 1}'


@pytest.mark.parametrize(
    "text",
    [
        HOSTILE,
        "![0](http://example.invalid/i.png)",
        "[0.1, 0.2](javascript:alert(1))",
        "[a]: http://example.invalid",
        "<img src=x onerror=alert(1)>",
        "<http://example.invalid>",
        "http://example.invalid and https://example.invalid",
        "*a* **b** _c_ __d__ ~~e~~ `f`",
        "# heading",
        "- item",
        "\\<b\\>",
        "a | b | c",
        "&lt;b&gt; &#60;",
    ],
)
def test_markdown_shows_a_hostile_cell_as_it_is_written(text):
    page = MarkdownIt("commonmark").enable("table").enable("strikethrough")
    tokens = page.parse(f"| head | n |\n| --- | ---: |\n| {markdown(shown(text, 500))} | 1 |\n")
    cells = [token for token in tokens if token.type == "inline"]
    assert len(cells) == 4
    assert {child.type for cell in cells for child in cell.children} <= {"text", "text_special"}
    assert "".join(child.content for child in cells[2].children) == shown(text, 500)


def test_an_interval_stays_readable_in_raw_markdown():
    assert markdown("macro_f1 0.829 [0.803, -0.854]") == "macro_f1 0.829 [0.803, -0.854]"


def test_a_fence_is_longer_than_every_run_of_backticks_inside():
    (block,) = MarkdownIt("commonmark").parse(fenced("a\n````\n<b>\n```"))
    assert (block.type, block.content) == ("fence", "a\n````\n<b>\n```\n")


def test_an_anchor_is_letters_digits_and_hyphens():
    assert anchor("Learning curves") == "learning-curves"
    assert anchor("<é>") == "section"
