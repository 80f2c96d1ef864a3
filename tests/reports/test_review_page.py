"""review.html and review.json as files, and the rows that the page's table is given."""

import base64
import copy
import hashlib
import json
import re

import pytest
import reviews
from reviews import ATTACK, review
from test_report_files import Page

from doubleroute.reports.review import review_lines, review_page, write_review
from doubleroute.reports.review_figures import TOLD, changes_figure, labels_figure
from doubleroute.reports.review_findings import KINDS
from doubleroute.reports.review_rows import embedded, label_words, table_data
from doubleroute.review import rows as shared
from doubleroute.review import summary


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The page of a review with everything in it, drawn once."""
    folder = tmp_path_factory.mktemp("review")
    write_review(folder, review())
    return folder


@pytest.fixture(scope="module")
def html(written):
    return (written / "review.html").read_text(encoding="utf-8")


def undrawn():
    """A review with changed rows and without figures, which take the time."""
    return reviews.nothing_changed() | {"changes": review()["changes"]}


def first(html):
    return Page(html.partition("<nav")[0].partition("<main>")[2]).text


def test_the_kinds_are_those_of_the_review():
    assert KINDS == shared.KINDS


def test_three_files_are_written_and_the_json_is_the_document(written):
    assert sorted(path.name for path in written.iterdir()) == ["review.html", "review.json", "review.md"]
    assert json.loads((written / "review.json").read_text(encoding="utf-8")) == review()


def test_the_verdict_with_its_reasons_stands_first(html):
    said = first(html)
    assert "Block\nThe change of the data must not be merged as it is." in said
    assert "leak: 40 test rows stand in train" in said
    assert "main (0f3c2d9a7b) → more-questions (staged)" in said


def test_sections_stand_in_the_order_of_reading(html):
    titles = ["What changed", "Impact", "Findings", "Changed rows", "Before and after", "What went in"]
    assert re.findall(r"<h2 [^>]*>([^<]+) <a", html) == titles


def test_the_page_is_one_file_with_one_script_that_its_policy_names(html):
    page = Page(html)
    assert {name for name, _ in page.elements}.isdisjoint({"img", "iframe", "object", "image"})
    assert all("src" not in attrs for _, attrs in page.elements)
    assert "http://" not in html
    assert "https://" not in html
    policy = next(a["content"] for a in page.of("meta") if a.get("http-equiv") == "Content-Security-Policy")
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert len(scripts) == 1
    assert policy.startswith(f"default-src 'none'; script-src 'sha256-{digest}'; style-src")
    assert len(page.of("script")) == 2
    assert "innerHTML" not in html
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [attrs["href"] for tag in ("a", "use") for attrs in page.of(tag)]
    assert {link for link in links if not link.startswith("#")} == {"changes.jsonl"}


def test_figures_show_impact_blame_labels_and_lengths(html):
    assert re.findall(r"<figcaption>([^<]+)<", html) == [
        "Predicted: change of the metric",
        "Predicted: intent by label",
        "intent: which changed rows are responsible",
        "intent, train: rows of each label",
        "intent, train: lengths",
        "entities, train: words of each tag",
        "entities, train: lengths",
    ]
    assert "Lines: 95% intervals. 1 of 2 lie clear of zero; what cannot be told is grey, hollow" in html
    together = html.count("Lines: intervals that are 95% together (Holm).")
    assert together == 2 * html.count("Lines: 95% intervals.")  # those of labels and of blame
    assert "cannot tell" in re.findall(r"<svg.*?</svg>", html, re.DOTALL)[0]


def test_findings_have_severity_count_examples_and_fix_and_excused_ones_are_folded(html):
    section = html.partition('id="findings"')[2].partition("</section>")[0]
    titles = re.findall(r'<span class="badge">(\w+)</span> ([^<]+)</h3>', section)
    assert titles[0] == ("block", "40 test rows stand in train")
    assert [severity for severity, _ in titles] == ["block", "look", "look", "note", "look"]
    assert "leak · count 40 · intent, train" in section
    assert "<strong>Fix:</strong> remove these rows" in section
    assert "my account <del>with a</del><ins>by</ins> card today?" in section
    excused = section.partition("<summary>Acknowledged (1)")[2]
    assert "numbers of a made-up bank (until 2027-01-31)" in excused


def test_a_sample_says_how_many_there_are_and_where():
    document = undrawn()
    document["changes"] |= {"total": 1_000_000, "shown": 2000}
    text = Page(review_page(document)).text
    assert "2,000 of 1,000,000 shown; all are in changes.jsonl" in text


@pytest.mark.parametrize("file", ["javascript:alert(1)", "//example.invalid/x", "../../x y.jsonl"])
def test_the_link_to_all_rows_stays_in_the_folder(file):
    document = undrawn()
    document["changes"]["file"] = file
    links = {a["href"] for a in Page(review_page(document)).of("a")}
    (link,) = [link for link in links if not link.startswith("#")]
    assert re.fullmatch(r"[\w.%-]+", link)


def test_hostile_texts_are_only_texts(tmp_path):
    write_review(tmp_path, reviews.hostile())
    html = (tmp_path / "review.html").read_text(encoding="utf-8")
    page = Page(html)
    assert len(page.of("script")) == 2
    assert {name for name, _ in page.elements}.isdisjoint({"img", "iframe"})
    for hidden in ("\u202e", "\x00", "\x1b", "\ufffe", "\u2028"):
        assert hidden not in html
    assert "(cut; 1,048,576 characters)" in html
    assert "420 of 1,000,000 shown" in page.text
    assert len(html) < 500_000
    assert json.loads((tmp_path / "review.json").read_text(encoding="utf-8")) == reviews.hostile()


def test_what_is_embedded_can_end_no_script_and_open_no_comment():
    held = embedded({"</script>": "<!-- <script> & \u2028\u2029"})
    assert not re.search("[<>&\u2028\u2029]", held)
    assert json.loads(held) == {"</script>": "<!-- <script> & \u2028\u2029"}


def test_a_change_of_nothing_says_so(tmp_path):
    write_review(tmp_path, reviews.nothing_changed())
    html = (tmp_path / "review.html").read_text(encoding="utf-8")
    page = Page(html)
    for said in (
        "Approve",
        "Nothing was found.",
        "No row changed.",
        "The impact on the tasks' scores was not measured.",
    ):
        assert said in page.text
    assert "<figure>" not in html
    assert "Before and after" not in html


@pytest.mark.parametrize(
    "impact", [None, {}, {"intent": {"verdict": "cannot tell", "why": "no held-out row"}}]
)
def test_an_impact_that_is_not_known_is_said_to_be_so(impact):
    text = Page(review_page(review(impact=impact, blame={}))).text
    assert ("was not measured" in text) != bool(impact)
    assert ("intent, predicted: cannot tell; no held-out row." in text) == bool(impact)


def test_training_for_real_stands_before_what_was_predicted():
    html = review_page(review(full={"intent": reviews.impact("no change", 0.0)}))
    captions = re.findall(r"<figcaption>([^<]+)<", html)
    assert captions[:2] == ["Trained for real: change of the metric", "Trained for real: intent by label"]
    assert "Predicted: change of the metric" in captions


def test_metrics_of_which_less_is_better_have_a_figure_of_their_own():
    stars = reviews.task("regression", [], {"train": [10, 12]}) | {"label_counts": {}}
    document = review()
    document["tasks"]["stars"] = stars
    document["impact"]["stars"] = reviews.impact(metric="mae") | {"labels": []}
    html = review_page(document)
    assert "Predicted: change of the metric (lower scores are better)" in html
    assert "mae ↓" in html


def test_many_tasks_are_drawn_up_to_a_number_and_told_in_tables():
    document = undrawn()
    stars = reviews.task("tagging", ["B-place"], {"train": [10, 12]}) | {"lengths": {}}
    document["tasks"] = {f"task_{n}": stars for n in range(30)}
    html = review_page(document)
    assert html.count("<figure>") == 24
    assert html.count(": words of each tag (1 rows)</summary>") == 30


def test_a_figure_says_no_change_where_nothing_changed():
    figure = changes_figure([("intent", {"verdict": "no change"})], "change", "right: better")
    assert "no change" in figure.svg
    assert "cannot tell" not in figure.svg


def test_a_figure_of_labels_says_that_a_document_holds_those_that_changed_most():
    assert TOLD == summary.LABELS
    some = {f"label {n}": [n, n + (n < 5)] for n in range(TOLD)}
    assert (
        "5 of the 200 labels that changed most have another" in labels_figure(some, "a", "rows").description
    )
    fewer = dict(list(some.items())[:50])
    assert "5 of 50 labels have another number of rows." in labels_figure(fewer, "b", "rows").description


def test_every_row_of_the_table_says_what_changed():
    data = table_data(review())
    edited, relabelled, moved, removed, duplicated, tagged, several = data["rows"][:7]
    assert edited["near"] == "0.930"
    assert ("-", "do") in edited["texts"][0]
    assert relabelled["label"] == [("-", "lost_card"), ("=", " → "), ("+", "top_up")]
    assert moved["splits"] == ["train", "validation"]
    assert removed["texts"] == [[("=", "please delete this row")]]
    assert duplicated["places"] == ["data/intent/train.jsonl row 1044"]
    assert ("+", "Emma: B-person, Thompson: I-person, London: B-place") in tagged["label"]
    assert tagged["labels"] == ["B-person", "I-person", "B-place"]
    assert several["kinds"] == ["edited", "relabelled", "moved"]
    assert data["kinds"] == ["edited", "relabelled", "moved", "removed", "duplicated", "added"]
    assert data["splits"] == ["train", "validation", "test"]


def test_a_second_text_and_a_key_are_shown():
    document = review()
    change = document["changes"]["rows"][0]
    change["base"] |= {"pair": "one answer", "key": "a7"}
    change["head"] |= {"pair": "another answer", "key": "a7"}
    row = table_data(document)["rows"][0]
    assert row["texts"][1] == [("-", "one"), ("+", "another"), ("=", " answer")]
    assert row["places"] == ["data/intent/train.jsonl row 3, key a7"]


@pytest.mark.parametrize(
    ("kind", "label", "words"),
    [
        ("regression", 0.25, "0.250"),
        ("multilabel", ["joy", "anger"], "joy, anger"),
        ("multilabel", [], "–"),
        ("classification", None, "–"),
        ("tagging", ["O", "O"], "no tag"),
        ("tagging", ["O"], "O"),
    ],
)
def test_labels_are_told_by_the_kind_of_the_task(kind, label, words):
    assert label_words(kind, {"text": "two tokens", "label": label}) == words


def test_the_filter_offers_three_hundred_labels_at_most():
    rows = [
        reviews.change("intent", ["added"], None, reviews.row("a", f"label {n % 400:03}"))
        for n in range(2000)
    ]
    document = review()
    document["changes"] |= {"rows": rows, "total": 10**6, "shown": 2000}
    assert len(table_data(document)["labels"]) == 300


def test_two_thousand_long_rows_make_a_page_of_a_few_megabytes():
    document = review(findings=[])
    text = "so many words in each of these rows " * 100
    rows = [
        reviews.change(
            "intent", ["edited"], reviews.row(f"{n} {text}", "a"), reviews.row(f"{text} {n}", "a"), 0.95
        )
        for n in range(2000)
    ]
    document["changes"] |= {"rows": rows, "total": 10**6, "shown": 2000}
    assert len(embedded(table_data(document))) < 5_000_000


def test_the_same_document_gives_the_same_bytes(tmp_path, html):
    write_review(tmp_path, copy.deepcopy(review()))
    assert (tmp_path / "review.html").read_text(encoding="utf-8") == html


def test_the_lines_for_a_terminal_are_safe_and_few():
    lines = review_lines(review())
    assert lines[0] == "Block: the change of the data must not be merged as it is"
    assert (
        "intent: 14,083 → 14,284 rows; 205 added, 5 removed, 1 duplicated, 30 edited, 31 relabelled, 1 moved"
        in lines
    )
    assert "entities: predicted: cannot tell: only 12 held-out rows have a tag" in lines
    assert any(line.startswith("acknowledged: personal-data in ") for line in lines)
    assert not re.search("[\x00-\x1f\u202e]", "".join(review_lines(reviews.hostile())))
    assert ATTACK not in lines
