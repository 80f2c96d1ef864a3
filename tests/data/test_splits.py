"""Splits by text: same text, same split, whatever else there is."""

from hypothesis import given
from hypothesis import strategies as st

from doubleroute.data.splits import assign, position, text_key

FRACTIONS = {"test": 0.1, "validation": 0.2}
texts = st.lists(st.text(max_size=20), max_size=30)
seeds = st.integers(0, 2**31 - 1)


@given(texts, seeds)
def test_a_split_depends_on_nothing_but_text_and_seed(rows: list[str], seed: int) -> None:
    keys = [text_key(row) for row in rows]
    whole = dict(zip(keys, assign(keys, seed, FRACTIONS), strict=True))
    assert assign(keys[::-1], seed, FRACTIONS) == [whole[key] for key in keys[::-1]]
    assert assign(keys[: len(keys) // 2], seed, FRACTIONS) == [whole[key] for key in keys[: len(keys) // 2]]


@given(st.text(), seeds)
def test_case_and_white_space_do_not_move_a_text(text: str, seed: int) -> None:
    assert text_key(f"  {text} \n\t") == text_key(text)
    assert text_key("Straße  OF") == text_key("strasse of")
    assert 0 <= position(text_key(text), seed) < 1


def test_both_texts_of_a_pair_count() -> None:
    assert text_key("a", "b") != text_key("a", "c")
    assert text_key("a b", "c") != text_key("a", "b c")
    assert text_key("A", " b") == text_key("a", "B ")


def test_fractions_are_met_and_another_seed_draws_other_rows() -> None:
    keys = [f"text {n}" for n in range(20_000)]
    splits = assign(keys, 17, FRACTIONS)
    assert abs(splits.count("test") / 20_000 - 0.1) < 0.01
    assert abs(splits.count("validation") / 20_000 - 0.2) < 0.01
    other = assign(keys, 18, FRACTIONS)
    both = sum(a == b == "test" for a, b in zip(splits, other, strict=True))
    assert abs(both / 20_000 - 0.01) < 0.005


@given(texts, seeds, st.floats(0, 0.5), st.floats(0, 0.5))
def test_what_is_drawn_for_one_split_does_not_depend_on_the_other(
    rows: list[str], seed: int, less: float, more: float
) -> None:
    keys = [text_key(row) for row in rows]
    without, few, many = (assign(keys, seed, {"test": drawn, "validation": 0.2}) for drawn in (0, less, more))
    for there in (few, many):
        assert [split == "validation" for split in there] == [split == "validation" for split in without]
    only = assign(keys, seed, {"test": more})
    assert [split == "test" for split in only] == [split == "test" for split in many]


def test_a_split_never_changes_between_versions() -> None:
    assert [round(position(text_key(text), 17), 6) for text in ("a", "Good film", "")] == POSITIONS


POSITIONS = [0.098956, 0.394828, 0.704154]
