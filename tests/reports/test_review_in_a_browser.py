"""The page of a hostile review as a browser shows it: filters, search, keys, both widths."""

import pytest
import reviews
from test_report_in_a_browser import BROWSER, DRIVER, FLAGS, contrast, size

from doubleroute.reports.review import write_review

pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="chromium and chromedriver are not installed: the page is not looked at"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A browser that shows the page of a hostile review."""
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    folder = tmp_path_factory.mktemp("page")
    write_review(folder, reviews.hostile())
    options = Options()
    options.binary_location = BROWSER
    for flag in [*FLAGS.split(), f"--user-data-dir={folder / 'profile'}"]:
        options.add_argument(flag)
    service = Service(DRIVER)
    browser = webdriver.Chrome(options=options, service=service)
    try:
        browser.get((folder / "review.html").as_uri())
        yield browser
    finally:
        browser.quit()
        service.stop()


@pytest.fixture
def page(browser):
    """The page as it is when it was opened."""
    browser.refresh()
    size(browser, 1280)
    return browser


def status(page):
    return page.find_element("id", "status").text


def rows(page):
    return page.find_elements("css selector", "#rows tr")


def choose(page, name, value):
    from selenium.webdriver.support.select import Select

    Select(page.find_element("name", name)).select_by_value(value)


def press(page, *keys):
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(page).send_keys(*keys).perform()


def focused(page):
    """Which row of the table has the focus, or -1."""
    return page.execute_script(
        "return [...document.getElementById('rows').children].indexOf(document.activeElement)"
    )


def test_nothing_hostile_ran_and_nothing_was_asked_for(page):
    assert page.execute_script("return window.hacked") is None
    assert page.title.endswith("review of a change of the data")
    assert page.find_elements("css selector", "img, iframe") == []
    assert len(page.find_elements("css selector", "script")) == 2
    assert page.get_log("browser") == []
    assert page.execute_script("return performance.getEntriesByType('resource').length") == 0


def test_a_script_that_slips_in_is_refused_by_the_policy(page):
    page.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.slipped = 1';"
        "document.body.append(s)"
    )
    assert page.execute_script("return window.slipped") is None
    assert any("Content Security Policy" in entry["message"] for entry in page.get_log("browser"))


def test_fifty_rows_are_shown_and_differences_are_marked(page):
    assert status(page) == "rows 1 to 50 of 420 · page 1 of 9"
    assert len(rows(page)) == 50
    first = rows(page)[0]
    assert first.find_element("css selector", "del").text == "How do I change my PIN at the cash machine?"
    assert "‹U+202E›" in first.text
    assert "</script>" in first.text


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("kind", "removed", 1),
        ("kind", "relabelled", 3),
        ("task", "entities", 1),
        ("split", "test", 1),
        ("label", "</script>", 1),
        ("label", "label 007", 1),
    ],
)
def test_a_filter_leaves_the_rows_that_match(page, name, value, found):
    choose(page, name, value)
    assert len(rows(page)) == found
    assert status(page) == f"rows 1 to {found} of {found} · page 1 of 1"
    choose(page, name, "")
    assert len(rows(page)) == 50


def test_filters_and_search_work_together_and_say_when_nothing_matches(page):
    choose(page, "kind", "added")
    page.find_element("name", "search").send_keys("QUESTION 11")
    assert status(page) == "rows 1 to 4 of 4 · page 1 of 1"  # 11, 110, 111, 112
    choose(page, "kind", "removed")
    assert status(page) == "no row matches"
    assert rows(page) == []


def test_search_finds_both_sides_of_a_difference_and_takes_markup_as_text(page):
    search = page.find_element("name", "search")
    for words in ("is there a fee for a transfer", "is there any fee for transfers", "<img src=x"):
        search.clear()
        search.send_keys(words)
        assert len(rows(page)) == 1


def test_keys_move_turn_search_and_explain(page):
    from selenium.webdriver.common.keys import Keys

    press(page, "j")
    assert focused(page) == 0
    press(page, "j", Keys.ARROW_DOWN, "k")
    assert focused(page) == 1
    press(page, "n")
    assert status(page) == "rows 51 to 100 of 420 · page 2 of 9"
    press(page, "p", "/", "nnjp")
    assert status(page) == "no row matches"  # typed into the search
    assert page.switch_to.active_element.get_attribute("name") == "search"
    press(page, Keys.ESCAPE, "?")
    assert page.find_element("id", "keys").is_displayed()
    press(page, Keys.ESCAPE)
    assert not page.find_element("id", "keys").is_displayed()


def test_moving_past_the_last_row_turns_the_page(page):
    page.execute_script("document.getElementById('rows').lastChild.focus()")
    press(page, "j")
    assert (focused(page), status(page)) == (0, "rows 51 to 100 of 420 · page 2 of 9")
    press(page, "k")
    assert (focused(page), status(page)) == (49, "rows 1 to 50 of 420 · page 1 of 9")


def test_every_control_is_reached_by_tab_and_shows_its_focus(page):
    from selenium.webdriver.common.keys import Keys

    # A browser need not show a focus that a script set: back and forth by keys.
    page.execute_script("document.querySelector('#filters select').focus()")
    page.switch_to.active_element.send_keys(Keys.SHIFT, Keys.TAB)
    press(page, Keys.TAB)
    reached = []
    for _ in range(8):
        here = page.switch_to.active_element
        reached.append(here.get_attribute("name") or here.get_attribute("id") or here.tag_name)
        style = "return getComputedStyle(document.activeElement).outlineStyle"
        assert page.execute_script(style) != "none"
        press(page, Keys.TAB)
    assert reached == ["task", "split", "kind", "label", "search", "next", "help", "tr"]


@pytest.mark.parametrize("width", [1280, 400, 320])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_never_scrolls_sideways(page, width, scheme):
    size(page, width, scheme)
    page.execute_script("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    press(page, "?")
    assert page.find_element("id", "keys").size["width"] <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_marked_words_stand_out_from_their_background(page, scheme):
    size(page, 1280, scheme)
    for tag in ("del", "ins"):
        ink, ground = page.execute_script(
            "const canvas = document.createElement('canvas').getContext('2d');"
            "const seen = (...colours) => { for (const c of colours) { canvas.fillStyle = c;"
            " canvas.fillRect(0, 0, 1, 1) } return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3) };"
            "const style = getComputedStyle(document.querySelector(`.changed ${arguments[0]}`));"
            "const page = getComputedStyle(document.body).backgroundColor;"
            "return [seen(style.color), seen(page, style.backgroundColor)]",
            tag,
        )
        assert contrast(ink, ground) >= 4.5
