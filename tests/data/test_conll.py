"""Files of CoNLL columns are read as sentences of tokens and tags."""

from pathlib import Path

import pytest
from test_tables import read, refusal


@pytest.mark.parametrize("ending", ["conll", "txt", "bio"])
def test_conll_takes_tabs_or_spaces_and_any_blank_line_between_sentences(tmp_path: Path, ending: str) -> None:
    text = "-DOCSTART- -X- O O\n\nEU NNP B-NP B-ORG\nrejects VBZ O O\n\t\nBonn\tB-LOC\r\n.\tO\n"
    table = read(tmp_path / f"a.{ending}", text)
    assert table.columns["tokens"] == [["EU", "rejects"], ["Bonn", "."]]
    assert table.columns["tags"] == [["B-ORG", "O"], ["B-LOC", "O"]]
    assert table.rows == [1, 2]


def test_comments_before_a_sentence_are_no_tokens_and_a_token_may_be_a_hash(tmp_path: Path) -> None:
    text = "# id 5239d808\tdomain=en\n# text = Bonn .\nBonn\tB-LOC\n.\tO\n\n# O\n1 O\n# O\n"
    table = read(tmp_path / "a.conll", text)
    assert table.columns["tokens"] == [["Bonn", "."], ["#", "1", "#"]]
    assert table.columns["tags"] == [["B-LOC", "O"], ["O", "O", "O"]]


def test_a_comment_that_ends_like_a_tag_is_none_where_the_sentence_has_other_columns(tmp_path: Path) -> None:
    text = "# text = He drove on I-95\nHe O\ndrove O\n\n# O\n\n# B-A\n# text O\n1 X O\n"
    table = read(tmp_path / "a.conll", text)
    assert table.columns["tokens"] == [["He", "drove"], ["#"], ["#", "1"]]


def test_a_no_break_space_belongs_to_its_token(tmp_path: Path) -> None:
    text = "10\u00a0000 B-MONEY\nEuro  I-MONEY \u00a0\n\nHe\u3000O\n\n# # B-NP O\n"
    table = read(tmp_path / "a.conll", text)
    assert table.columns["tokens"] == [["10\u00a0000", "Euro"], ["He"]]
    assert table.columns["tags"] == [["B-MONEY", "I-MONEY"], ["O"]]
    bare = read(tmp_path / "c.conll", "10\u00a0000\nEuro O\n\nHe O\n")
    assert (bare.columns["tokens"], len(bare.problems)) == ([["He"]], 1)
    four = read(tmp_path / "b.conll", "He PRP B-NP O\n\n# # B-NP O\n")
    assert four.columns["tokens"] == [["He"], ["#"]]


def test_plain_text_is_no_conll(tmp_path: Path) -> None:
    assert "CoNLL columns" in refusal(tmp_path / "a.txt", "Hello\nthere\n\nyou\n")
    assert "no sentence" in refusal(tmp_path / "b.txt", "-DOCSTART- O\n\n")


def test_a_conll_line_without_a_tag_spoils_its_sentence_alone(tmp_path: Path) -> None:
    table = read(tmp_path / "a.conll", "a O\nb\n\nc O\n")
    assert table.columns["tokens"] == [["c"]]
    assert table.rows == [2]
    assert table.problems[0].reason == "line 2: one column where a token and its tag must stand"
