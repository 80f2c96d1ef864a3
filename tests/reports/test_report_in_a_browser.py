"""The report as a browser shows it: wide and narrow, light and dark, and with hostile rows."""

import shutil

import pytest
from evaluations import COUNTS, HOSTILE, PROVENANCE, classification, evaluation, history, score, tagging

from doubleroute.reports.evaluation import write_report

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)

pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="chromium and chromedriver are not installed: the page is not looked at"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A browser that shows the report of a hostile evaluation."""
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    folder = tmp_path_factory.mktemp("page")
    task = classification(["a|b", HOSTILE])
    task["errors"][0]["text"] = HOSTILE
    task["errors"][1]["text"] = "x" * 1_000_000
    task["models"]["routed"]["slices"] = {HOSTILE: {HOSTILE: {"rows": 3, **score(0.5)}}}
    found = evaluation(sentiment=task, entities=tagging())
    curves = {"plain": history({"sentiment": "accuracy"}, 0.02), "routed": history({"sentiment": "accuracy"})}
    write_report(folder, found, curves, PROVENANCE, COUNTS)
    options = Options()
    options.binary_location = BROWSER
    for flag in [*FLAGS.split(), f"--user-data-dir={folder / 'profile'}"]:
        options.add_argument(flag)
    service = Service(DRIVER)
    browser = webdriver.Chrome(options=options, service=service)
    try:
        browser.get((folder / "report.html").as_uri())
        yield browser
    finally:
        browser.quit()
        service.stop()


def size(page, width, scheme="light"):
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    feature = {"name": "prefers-color-scheme", "value": scheme}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "screen", "features": [feature]})


def test_the_page_shows_its_tables_and_figures(page):
    size(page, 1280)
    assert len(page.find_elements("css selector", "table")) >= 10
    figures = page.find_elements("css selector", "figure svg")
    assert len(figures) == 5
    assert all(figure.size["height"] > 100 for figure in figures)
    assert "0.829" in page.find_element("css selector", "tbody").text


def test_no_script_ran_and_nothing_was_reported(page):
    assert page.title == "reviews-and-tweets: evaluation on the test split"
    assert page.find_elements("css selector", "script, img, iframe") == []
    assert page.get_log("browser") == []
    assert page.execute_script("return performance.getEntriesByType('resource').length") == 0


@pytest.mark.parametrize("width", [1280, 400, 320])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_never_scrolls_sideways(page, width, scheme):
    size(page, width, scheme)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width


def test_wide_tables_scroll_in_their_own_box_when_narrow(page):
    size(page, 400)
    boxes = page.execute_script(
        "return [...document.querySelectorAll('.scroll')].map(box => [box.scrollWidth, box.clientWidth])"
    )
    assert any(inside > outside for inside, outside in boxes)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_background(page, scheme):
    size(page, 1280, scheme)
    colours = page.execute_script(
        """const probe = document.body.appendChild(document.createElement('i'));
        const rgb = name => { probe.style.color = `var(--${name})`;
                              return getComputedStyle(probe).color.match(/\\d+/g).slice(0, 3).map(Number) };
        const found = Object.fromEntries(['page', 'soft', 'ink', 'muted', 'link', 'majority', 'frozen',
                                          'plain', 'routed', 'champion', 'other']
                                         .map(name => [name, rgb(name)]));
        probe.remove(); return found"""
    )
    for text in ("ink", "muted", "link"):
        for ground in ("page", "soft"):
            assert contrast(colours[text], colours[ground]) >= 4.5
    for line in ("majority", "frozen", "plain", "routed", "champion", "other"):
        assert contrast(colours[line], colours["page"]) >= 3


def test_print_is_light_and_leaves_the_navigation_out(page):
    size(page, 1280, "dark")
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert (
        page.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    )
    assert not page.find_element("css selector", "nav").is_displayed()


def test_nothing_is_cut_off_on_paper(page):
    size(page, 718)  # A4 in CSS pixels, less the usual margins
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert page.execute_script("return document.documentElement.scrollWidth") <= 718


def contrast(first, second):
    """WCAG 2's ratio of the relative luminances of two colours."""

    def luminance(colour):
        parts = [
            c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour
        ]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)
