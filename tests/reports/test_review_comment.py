"""The comment of a review: what is said first, what is folded, that it fits and that it stays text."""

import copy
import re

import pytest
import reviews
from markdown_it import MarkdownIt
from reviews import ATTACK, review

from doubleroute.reports.review_comment import MOST, code, marker, review_comment, safe


def parsed(text):
    return MarkdownIt("gfm-like", {"linkify": False}).parse(text)


def inline(text):
    return [child for token in parsed(text) if token.type == "inline" for child in token.children]


def test_the_first_line_finds_the_comment_again_and_the_verdict_is_the_first_that_is_read():
    lines = review_comment(review()).split("\n")
    assert lines[0] == marker("bank") == "<!-- doubleroute review: bank -->"
    assert lines[1] == "## ⛔ Block: the change of the data must not be merged as it is"
    assert "- leak: 40 test rows stand in train" in lines


@pytest.mark.parametrize(("verdict", "word"), [("approve", "Approve"), ("look", "Look"), ("block", "Block")])
def test_every_verdict_is_a_word(verdict, word):
    document = review(verdict={"verdict": verdict, "reasons": [], "exit_code": 0})
    assert f"{word}: " in review_comment(document).split("\n")[1]


def test_each_task_has_its_row_with_counts_and_the_predicted_change():
    text = review_comment(review())
    assert (
        "| intent | 14,083 → 14,284 | **205** | **5** | **1** | **30** | **31** | **1** "
        "| accuracy -0.031 [-0.043, -0.019], worse |"
    ) in text
    assert "| 0 | **1** | 0 | cannot tell: only 12 held-out rows have a tag |" in text


def test_findings_are_told_worst_first_with_three_examples_and_the_fix():
    text = review_comment(review(), page="review.html")
    worst, other = (
        text.index(f"**{said}**")
        for said in ("block: 40 test rows stand in train", "look: 25 train rows are nearly test rows")
    )
    assert worst < other
    assert "Fix: remove these rows from data/intent/train.jsonl" in text
    assert text.count("how do I top up my account") == 3
    assert "- `data/intent/train.jsonl row 1042 (train)` `top_up` against" in text
    assert "Left out here: 2 more examples; see `review.html`." in text


def test_notes_numbers_and_what_was_acknowledged_are_folded():
    text = review_comment(review())
    open_, _, folded = text.partition("<details>")
    assert "longer than the old ones" not in open_
    assert "<summary>Acknowledged: 1</summary>" in folded
    assert "Acknowledged: numbers of a made-up bank (until 2027-01-31)" in folded
    assert text.count("<details>") == text.count("</details>") == 5
    assert "label: lost_card | harms | +0.071 [0.051, 0.091] | 30 |" in folded


def test_training_for_real_has_a_column_of_its_own():
    full = {"intent": reviews.impact("better", 0.02)}
    text = review_comment(review(full=full))
    assert "| predicted change | trained for real |" in text
    assert "accuracy -0.031 [-0.043, -0.019], worse | accuracy +0.020 [0.008, 0.032], better |" in text


def test_a_change_of_nothing_is_told_in_a_few_lines():
    text = review_comment(reviews.nothing_changed())
    assert "✅ Approve" in text
    assert "No finding blocks this or asks for a look." in text
    assert "0 changed rows" in text
    assert text.count("\n") < 25


def test_the_address_of_the_page_becomes_a_link_when_it_is_one():
    assert "<https://example.invalid/review.html>" in review_comment(
        review(), "https://example.invalid/review.html"
    )
    assert "`https://a b>`" in review_comment(review(), "https://a b>")


def test_hostile_texts_are_only_texts():
    text = review_comment(reviews.hostile())
    assert {child.type for child in inline(text)} <= {
        "text", "text_special", "softbreak", "html_inline", "code_inline", "strong_open", "strong_close"
    }  # fmt: skip
    ours = {child.content for child in inline(text) if child.type == "html_inline"}
    assert ours == {"<br>", "<sub>", "</sub>"}
    blocks = "".join(token.content for token in parsed(text) if token.type == "html_block")
    assert set(re.findall(r"</?(\w+)", blocks)) == {"details", "summary"}
    for hidden in ("\u202e", "\x00", "\x1b", "\ufffe", "\u2028", "\ud800"):
        assert hidden not in text
    assert text.startswith("<!-- doubleroute review: ")


def test_nobody_is_called_and_nothing_is_linked():
    said = "".join(child.content for child in inline(safe(ATTACK)) if child.type != "html_inline")
    for live in ("@someone", "#123", "!45", "a@example", ":white_check_mark:"):
        assert live not in said
    assert "GH-12" not in safe("see GH-12")
    assert "0f3c2d9" not in safe("0f3c2d9a7b6e5f4d")


@pytest.mark.parametrize("text", ["a", "`", "``", "a`b``c", " a ", "|", ""])
def test_a_code_span_holds_its_text(text):
    (only,) = [child for child in inline(code(text)) if child.type != "softbreak"]
    assert only.type == "code_inline"
    assert only.content == (text or "–")


def many(document, findings=0, tasks=0):
    """The same review with so many more findings and tasks."""
    document = copy.deepcopy(document)
    document["findings"] = [document["findings"][n % 4] for n in range(findings)] or document["findings"]
    document["tasks"] |= {f"task_{n}": document["tasks"]["intent"] for n in range(tasks)}
    document["impact"] |= {f"task_{n}": document["impact"]["intent"] for n in range(tasks)}
    document["blame"] |= {f"task_{n}": document["blame"]["intent"] for n in range(tasks)}
    return document


@pytest.mark.parametrize("document", [review(), reviews.hostile()], ids=["plain", "hostile"])
@pytest.mark.parametrize(("findings", "tasks"), [(100, 5), (2000, 5), (2000, 300)])
def test_the_comment_never_has_more_than_60_000_characters(document, findings, tasks):
    text = review_comment(many(document, findings, tasks), page="review.html")
    assert len(text) <= MOST
    assert "see `review.html`." in text
    assert text.count("<details>") == text.count("</details>")
    assert text.rstrip().endswith("</sub>")


def test_examples_are_cut_before_findings():
    text = review_comment(many(review(), 150))
    assert len(text) <= MOST
    assert text.count("**block: 40 test rows stand in train**") == 38
    assert re.search(r"Left out here: [\d,]+ more examples", text)
    assert "more findings" not in text
