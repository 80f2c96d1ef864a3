"""drift.html and drift.md: what is said first, what is shown, that it is alone and harmless; the lines."""

import copy
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from drifts import ABOUT, DECISION, drift, one_test, performance
from evaluations import HOSTILE
from test_report_files import Page, _check_markdown
from test_report_in_a_browser import BROWSER, DRIVER, FLAGS, size

from doubleroute.config.keeping import Drift
from doubleroute.drift.attribution import attribute
from doubleroute.drift.detectors import measure
from doubleroute.drift.sample import Sample, TaskRows
from doubleroute.reports.drift import change_of, drift_lines, write_drift_report


def report(folder, found=None, scores=None, decision=DECISION, about=ABOUT):
    scores = performance() if scores is None else scores
    write_drift_report(folder, found or drift(), scores, decision, about)
    return tuple((folder / f"drift.{kind}").read_text(encoding="utf-8") for kind in ("html", "md"))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """drift.html and drift.md of a drift with everything in it."""
    return report(tmp_path_factory.mktemp("drift"))


def hostile(value):
    """The same document with every text that comes from data replaced."""
    found = copy.deepcopy(value)
    named = found["attribution"]
    named["words"]["more"][0]["word"] = named["segments"]["source"][0]["value"] = HOSTILE
    named["responsible"][0] |= {"text": HOSTILE, "place": HOSTILE}
    named["clusters"][0]["texts"] = [HOSTILE, "x" * 100_000]
    named["segments"][HOSTILE] = named["segments"].pop("language")
    found["label_shift"] = {
        HOSTILE: {"method": "BBSE", "why": HOSTILE}
        | {"labels": {HOSTILE: {"reference": 0.5, "current": 0.6, "low": 0.5, "high": 0.7}}}
    }
    found["tests"].append(one_test(HOSTILE, "labels", "moved", 0.01, 0.2) | {"why": HOSTILE})
    found["moved"].append(HOSTILE)
    return found


def test_verdict_and_decision_stand_first_in_words(written):
    html, text = written
    first = Page(html.partition("<nav")[0].partition("<main>")[2]).text
    assert "The data moved" in first
    assert "inputs and sentiment: 3 of 5 tests find a change" in first
    assert "1 test cannot tell" in first
    assert "Decision: retrain" in first
    assert "sentiment: 1500 new labelled training rows" in first
    for said in ("texts are longer: median 20 → 26.5", "imdb 0.0% → 30.0%", "words that came: br, i"):
        assert said in first
        assert said in text
    assert "language" not in first  # its change did not hold on the other half
    assert "champion: version 7" in text.partition("## Tests")[0]


def test_sections_stand_in_the_order_of_reading(written):
    html, text = written
    titles = ["Tests", "Performance", "What moved", "Labels", "Rows", "What was compared"]
    assert re.findall(r"<h2 [^>]*>([^<]+) <a", html) == titles
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == titles


def test_every_test_has_its_row_with_p_and_effect(written):
    _, text = written
    assert "| inputs: length | moved | <0.001 | 0.292 | 2,000 / 1,500 |" in text
    assert "| entities: labels | cannot tell | – | – | 2,000 / 1,500 |" in text


def test_figures_show_tests_embeddings_lengths_words_and_labels(written):
    page = Page(written[0])
    captions = re.findall(r"<figcaption>([^<]+)<", written[0])
    assert captions == [
        "Tests: certainty and size of the change",
        "Embeddings of both sides",
        "Lengths",
        "Words",
        "sentiment: shares of the labels (BBSE)",
    ]
    assert len(page.of("svg")) == len(page.of("desc")) == 5


def test_the_page_is_one_file_that_asks_for_nothing(written):
    html, _ = written
    page = Page(html)
    assert {name for name, _ in page.elements}.isdisjoint({"script", "img", "iframe", "object", "image"})
    assert "http://" not in html
    assert "https://" not in html
    policy = next(a["content"] for a in page.of("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {attrs["href"][1:] for tag in ("a", "use") for attrs in page.of(tag)} <= set(ids)


@pytest.mark.costly
def test_the_same_check_gives_the_same_bytes_in_another_process(tmp_path, written):
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); "
        "import test_drift_report as t; t.report(Path(sys.argv[2])); "
        "assert 'matplotlib.pyplot' not in sys.modules and 'torch' not in sys.modules"
    )
    here = str(Path(__file__).parent)
    subprocess.run([sys.executable, "-c", code, here, str(tmp_path)], check=True, timeout=120)
    assert (
        tuple((tmp_path / f"drift.{kind}").read_text(encoding="utf-8") for kind in ("html", "md")) == written
    )


def test_hostile_texts_stay_texts(tmp_path):
    html, text = report(tmp_path, hostile(drift()), about=ABOUT | {"project": HOSTILE})
    page = Page(html)
    assert {name for name, _ in page.elements}.isdisjoint({"script", "img", "iframe"})
    assert "\u202e" not in html + text
    assert "{{ 7*7 }}" in page.text
    _check_markdown(text)


def test_too_few_rows_are_told_apart_from_no_drift(tmp_path):
    tests = [one_test("inputs", what, "cannot tell", None, None) for what in ("embeddings", "length")]
    empty = {"verdict": "cannot tell", "moved": [], "label_shift": {}, "attribution": None}
    found = drift(tests=tests, rows={"reference": 2000, "current": 9}, **empty)
    html, text = report(tmp_path, found, scores={}, decision=None, about={})
    assert "Cannot tell. 9 current rows against 2,000 are too few for a test" in text
    assert "that is not the same as no drift" in html
    assert "No decision. None was asked for" in text
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Tests", "What was compared"]
    assert "no champion yet" in text


def test_no_drift_says_how_many_tests_saw_none(tmp_path):
    tests = [
        one_test("inputs", "length", "not seen", 0.7, 0.02),
        one_test("t", "labels", "cannot tell", None, None),
    ]
    _, text = report(tmp_path, drift(tests=tests, verdict="not seen", moved=[], attribution=None))
    assert "No drift seen. 0 of 1 tests find a change" in text
    assert "1 test cannot tell" in text


def test_what_is_no_better_than_chance_is_said_and_names_nothing(tmp_path):
    found = drift()["attribution"]
    said = "That is no better than chance: nothing in the embeddings says which rows moved."
    found["held_out"] |= {"better_than_chance": False, "said": said}
    found |= {"clusters": [], "responsible": [], "segments": {}}
    found["words"] = {"candidates": 12, "more": [], "less": []}
    found["lengths"] |= {"holds": False}
    html, text = report(tmp_path, drift(attribution=found))
    assert said in html.partition("<nav")[0]
    assert "No word is named: none of 12 candidates holds on the other half" in text
    assert "## Rows" not in text
    assert "texts are longer" not in text


def test_label_shares_that_nobody_can_tell_are_said_to_be_so(tmp_path):
    shift = {"method": "BBSE", "labels": {}, "why": "the answers do not tell the labels apart"}
    _, text = report(tmp_path, drift(label_shift={"sentiment": shift}))
    assert "sentiment: cannot tell the shares of the labels: the answers do not tell the labels apart" in text


def test_performance_says_worse_better_or_cannot_tell_whatever_the_metric():
    entry = performance()["sentiment"]
    assert change_of(entry) == "worse"
    assert change_of(entry | {"fall": {"value": -0.05, "low": -0.08, "high": -0.01}}) == "better"
    assert change_of(entry | {"fall": {"value": 0.01, "low": -0.01, "high": 0.03}}) == "cannot tell"
    assert change_of(entry | {"fall": None}) == "cannot tell"


def test_performance_shows_the_estimate_and_how_far_off_it_was(tmp_path):
    scores = performance()
    scores["sentiment"] |= {"fall": {"value": -0.05, "low": -0.08, "high": -0.01}}
    _, text = report(tmp_path, scores=scores)
    assert "0.802 [0.777, 0.827]" in text
    assert "+0.021 (400 rows)" in text
    assert "accuracy got better by 0.050 [0.010, 0.080]" in text
    assert "mae ↓" in text
    assert "stars: cannot tell whether mae got worse; no current row has a label" in text


def test_the_lines_name_what_moved_and_what_fell():
    lines = drift_lines(drift(), performance())
    assert lines[0].startswith("The data moved: inputs and sentiment: 3 of 5 tests find a change")
    assert lines[1] == "  inputs, by effect: length (0.292), embeddings (0.081)"
    assert "  words that came: br, i" in lines
    assert lines[-1].startswith("sentiment: accuracy got worse by 0.048 [0.011, 0.085]; 0.781 [0.756, 0.806]")
    assert not any("stars" in line for line in lines)


def test_the_lines_are_few_when_nothing_moved():
    found = drift(verdict="not seen", moved=[], tests=[one_test("inputs", "length", "not seen", 0.7, 0.02)])
    (line,) = drift_lines(found, {})
    assert line.startswith("No drift seen: 0 of 1 tests find a change")


@pytest.mark.parametrize(("reference", "current"), [(400, 300), (400, 1), (1, 0), (0, 0)])
def test_what_a_check_makes_of_real_samples_can_be_reported(tmp_path, reference, current):
    sides = [_sample(rows, side) for side, rows in enumerate((reference, current))]
    found = measure(*sides, Drift(), 17) | {"attribution": attribute(*sides, 17)}
    html, text = report(tmp_path, found, scores={}, decision=None)
    Page(html)
    _check_markdown(text)
    assert ("The data moved" in text) == (current == 300)
    assert ("- Cannot tell" in text) == (current < 300)


def _sample(rows, side):
    generator = np.random.default_rng(side)
    texts = [f"row {row} of {'old' if side == 0 else 'new'} words" for row in range(rows)]
    labels = ["neg", "pos"] * (rows // 2) + ["pos"] * (rows % 2)
    return Sample(
        embeddings=(generator.standard_normal((rows, 8)) + side).astype(np.float32),
        texts=texts,
        tokens=generator.integers(5, 20 + 5 * side, rows),
        unknown=np.zeros(rows),
        segments={"source": [None if row % 3 else f"s{side}" for row in range(rows)]},
        times=[None] * rows,
        places=[f"data/{side}.csv:{row + 2}" for row in range(rows)],
        tasks={"sentiment": TaskRows("classification", ["neg", "pos"], np.arange(rows), labels)},
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A browser that shows the page of a hostile drift."""
    if not (BROWSER and DRIVER):
        # A browser comes from the system, not with the installation; .ci/run installs one.
        pytest.skip("chromium and chromedriver are not installed: the page is not looked at")
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    folder = tmp_path_factory.mktemp("page")
    report(folder, hostile(drift()))
    options = Options()
    options.binary_location = BROWSER
    for flag in [*FLAGS.split(), f"--user-data-dir={folder / 'profile'}"]:
        options.add_argument(flag)
    service = Service(DRIVER)
    browser = webdriver.Chrome(options=options, service=service)
    try:
        browser.get((folder / "drift.html").as_uri())
        yield browser
    finally:
        browser.quit()
        service.stop()


def test_a_browser_shows_the_page_without_a_script_or_a_request(page):
    size(page, 1280)
    assert page.title == "reviews-and-tweets: drift"
    assert page.get_log("browser") == []
    assert page.execute_script("return performance.getEntriesByType('resource').length") == 0
    figures = page.find_elements("css selector", "figure svg")
    assert len(figures) == 5
    assert all(figure.size["height"] > 90 for figure in figures)


def test_verdict_and_decision_are_seen_without_scrolling(page):
    size(page, 1280)
    boxes = page.find_elements("css selector", ".first > div")
    assert [box.find_element("css selector", ".word").text for box in boxes] == [
        "The data moved",
        "Decision: retrain",
    ]
    assert boxes[0].rect["y"] == boxes[1].rect["y"] < 300


@pytest.mark.parametrize("width", [1280, 400, 320])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_never_scrolls_sideways(page, width, scheme):
    size(page, width, scheme)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
