"""report.html and report.md as files: whole, alone, harmless, and the same every time."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from evaluations import (
    COUNTS,
    HOSTILE,
    PROVENANCE,
    classification,
    evaluation,
    history,
    multilabel,
    regression,
    score,
    tagging,
)
from markdown_it import MarkdownIt

from doubleroute.reports.evaluation import write_report

METRICS = {"sentiment": "accuracy", "entities": "entity_f1", "stars": "mae", "moods": "micro_f1"}
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Elements and texts of a page; refuses one whose elements do not close in order."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return "".join(self.texts)

    def of(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def histories():
    return {
        "plain": history(METRICS, 0.02),
        "routed": history(METRICS),
        "frozen": {"steps": [], "epochs": []},
    }


def everything():
    return evaluation(sentiment=classification(), entities=tagging(), stars=regression(), moods=multilabel())


def report(folder, found, curves=None, provenance=None):
    write_report(folder, found, histories() if curves is None else curves, provenance or PROVENANCE, COUNTS)
    return (
        (folder / "report.html").read_text(encoding="utf-8"),
        (folder / "report.md").read_text(encoding="utf-8"),
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """report.html and report.md of four tasks, drawn once."""
    return report(tmp_path_factory.mktemp("report"), everything())


def test_the_report_has_its_sections_in_the_order_of_reading(written):
    html, text = written
    titles = ["Scores", "Slices", "Confusion", "Reliability", "Learning curves", "Labels", "Regression"]
    titles += ["Worst errors", "What went in"]
    assert re.findall(r"<h2 [^>]*>([^<]+) <a", html) == titles
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == titles
    assert "reviews-and-tweets: evaluation on the test split" in Page(html).text
    assert "0.829 [0.804, 0.854]" in text
    assert "0f3c2d9a7b6e5f4d3c2b1a09f8e7d6c5b4a39281" in html


def test_the_page_is_one_file_that_asks_for_nothing(written):
    html, _ = written
    page = Page(html)
    assert {name for name, _ in page.elements}.isdisjoint({"script", "img", "iframe", "object", "image"})
    assert [attrs["href"] for attrs in page.of("link")] == ["data:,"]
    links = [attrs["href"] for tag in ("a", "use") for attrs in page.of(tag)]
    assert links
    assert all(link.startswith("#") for link in links)
    assert "http://" not in html
    assert "https://" not in html
    assert "@import" not in html
    policy = next(a["content"] for a in page.of("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy


def test_ids_are_unique_and_every_link_has_its_target(written):
    html, _ = written
    page = Page(html)
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = {attrs["href"][1:] for tag in ("a", "use") for attrs in page.of(tag)}
    targets |= set(re.findall(r"url\(#([^)]+)\)", html))
    assert targets <= set(ids)


def test_every_figure_has_a_title_and_a_description(written):
    page = Page(written[0])
    figures = page.of("svg")
    assert len(figures) == 2 + 2 + 5 + 2  # confusions, reliability, curves, regression
    assert len(page.of("title")) == len(figures) + 1
    assert len(page.of("desc")) == len(figures)
    ids = {attrs.get("id") for tag in ("title", "desc") for attrs in page.of(tag)}
    assert all(set(attrs["aria-labelledby"].split()) <= ids for attrs in figures)
    assert all(attrs["role"] == "img" for attrs in figures)


def test_figures_take_their_colours_from_the_page(written):
    html, _ = written
    drawings = "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    used = set(re.findall(r"var\((--\w+)\)", drawings))
    assert {"--ink", "--plain", "--routed"} <= used
    assert all(f"{name}:" in html for name in used)
    assert "#0" not in "".join(re.findall(r'style="([^"]*)"', drawings))


@pytest.mark.costly
def test_the_same_evaluation_gives_the_same_bytes_in_another_process(tmp_path):
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); "
        "import test_report_files as t; "
        "t.report(Path(sys.argv[2]), t.evaluation(sentiment=t.classification())); "
        "assert 'matplotlib.pyplot' not in sys.modules, 'a report must not touch pyplot'"
    )
    other = tmp_path / "other"
    other.mkdir()
    here = str(Path(__file__).parent)
    subprocess.run([sys.executable, "-c", code, here, str(other)], check=True, timeout=120)
    report(tmp_path, evaluation(sentiment=classification()))
    for name in ("report.html", "report.md"):
        assert (tmp_path / name).read_bytes() == (other / name).read_bytes()


def test_drawing_heeds_no_settings_of_matplotlib_and_leaves_them_as_they_were(tmp_path):
    import matplotlib

    first = report(tmp_path, evaluation(sentiment=classification()))
    with matplotlib.rc_context({"font.size": 31, "axes.grid": False, "svg.fonttype": "path"}):
        before = matplotlib.rcParams.copy()
        assert report(tmp_path, evaluation(sentiment=classification())) == first
        assert matplotlib.rcParams.copy() == before


def test_hostile_texts_are_only_texts(tmp_path):
    task = classification(["a|b", HOSTILE])
    task["errors"][0] |= {"text": HOSTILE, "file": HOSTILE}
    task["errors"][1]["text"] = "</style><b>" * 100_000
    task["models"]["routed"]["slices"] = {HOSTILE: {HOSTILE: {"rows": 3, **score(0.5)}}}
    provenance = PROVENANCE | {"project": HOSTILE, HOSTILE: HOSTILE, "file": f"{HOSTILE}\n```\n{HOSTILE}"}
    html, text = report(tmp_path, evaluation(**{"sentiment": task, HOSTILE: task}), provenance=provenance)
    page = Page(html)
    allowed = (
        "html head meta link title style body main h1 h2 h3 ul li ol strong nav a section div table thead "
    )
    allowed += "tbody tr th td span p figure figcaption svg desc g path text use defs clippath rect details "
    allowed += "summary dl dt dd pre"
    assert {name for name, _ in page.elements} <= set(allowed.split())
    assert "<script>document.title='owned'</script>" in page.text
    assert "{{ 7*7 }}" in page.text
    assert "(cut; 1,100,000 characters)" in page.text
    assert len(html) < 300_000
    for hidden in ("\u202e", "\x00", "\x1b", "\ufffe"):
        assert hidden not in html
        assert hidden not in text
    _check_markdown(text)


def _check_markdown(text):
    tokens = MarkdownIt("commonmark").enable("table").enable("strikethrough").parse(text)
    raw = {token.content.strip().split("\n")[0][:18] for token in tokens if token.type == "html_block"}
    assert raw == {"<details><summary>", "</details>"}
    summaries = "".join(token.content for token in tokens if token.type == "html_block")
    assert set(re.findall(r"</?(\w+)", summaries)) == {"details", "summary"}
    inline = [child for token in tokens if token.type == "inline" for child in token.children]
    assert {child.type for child in inline} <= {"text", "text_special", "softbreak"}
    assert sum(token.type == "table_open" for token in tokens) == text.count("\n| ---")


def test_markdown_folds_the_errors_and_the_project_file(tmp_path):
    _, text = report(tmp_path, evaluation(sentiment=classification()))
    assert (
        "<details><summary>sentiment: worst errors of routed (2)</summary>\n\n```text\na masterpiece" in text
    )
    assert "<details><summary>project file</summary>" in text
    _check_markdown(text)


def test_one_model_alone_makes_a_report(tmp_path):
    html, text = report(tmp_path, evaluation(sentiment=classification(models=("majority",))), curves={})
    assert "nothing routed was compared" in text
    assert "Learning curves" not in html


def test_an_evaluation_without_numbers_makes_a_report(tmp_path):
    task = classification()
    for model in task["models"].values():
        model["scores"] = {"accuracy": score(None)}
        model["details"] = {"confusion": [[0, 0], [0, 0]], "reliability": {"bins": [], "ece": None}}
        model["slices"] = {}
    task |= {"errors": [], "differences": []}
    empty = {"steps": [{"step": 1, "loss": float("nan")}], "epochs": [{"step": 1, "validation": {}}]}
    html, text = report(tmp_path, evaluation(sentiment=task), curves={"routed": empty})
    assert "sentiment: accuracy – on 853 test rows" in text
    assert "nan" not in re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL).lower().split()


def test_a_hundred_and_fifty_labels_are_told_as_their_most_confused_pairs(tmp_path):
    labels = [f"intent_{i}" for i in range(150)]
    html, text = report(tmp_path, evaluation(sentiment=classification(labels)))
    assert "The 20 most confused pairs of 150 labels" in html
    assert "<details><summary>sentiment by label, routed (150 rows)</summary>" in html
    assert "<details><summary>sentiment by label, routed</summary>" in text
    assert len(html) < 300_000


def test_thirty_labels_are_still_drawn(tmp_path):
    labels = [f"intent_{i}" for i in range(30)]
    html, _ = report(tmp_path, evaluation(sentiment=classification(labels)))
    assert "sentiment: confusion of routed" in html
    assert "most confused pairs" not in html
    assert len(html) < 400_000


@pytest.mark.parametrize(
    ("label", "drawn"),
    [
        ("$x_1$", "$x_1$"),
        ("日本語", "日本語"),
        ("שלום", "שלום"),
        ("a" * 5000, "a" * 23 + "…"),
        ("", "other"),  # of a blank label nothing can be seen, but the figure is there
        (" ", "other"),
        ("\\frac{1}", "\\frac{1}"),
    ],
)
def test_every_label_can_be_drawn(tmp_path, label, drawn):
    html, _ = report(tmp_path, evaluation(sentiment=classification(["other", label])))
    Page(html)
    figure = html[html.index("sentiment: confusion of routed") :]
    assert f">{drawn}</text>" in figure[: figure.index("</svg>")]
