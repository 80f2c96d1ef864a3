"""acknowledged.yaml: what it accepts, for how long, and what is wrong with it."""

from dataclasses import replace
from datetime import date

import pytest

from doubleroute.config.keeping import FINDINGS
from doubleroute.errors import InputError
from doubleroute.review.acknowledged import acknowledge, entries
from doubleroute.review.findings import Finding

TODAY = date(2026, 11, 25)
NEAR = Finding("near-leak", "look", "intent", "train", 2, "2 rows", "fix", rows=["r00000001", "r00000002"])
OTHER = replace(NEAR, task="slots", rows=["r00000003"])
FILE = """\
- finding: near-leak
  task: intent
  rows: [r00000001, r00000002]
  reason: wanted
  until: 2026-12-31
"""


def accepted(text: str, findings: list[Finding]) -> tuple[list[bool], list[str]]:
    """Which findings a file accepts, and what is said."""
    marked, said = acknowledge(findings, entries(text, ["intent", "slots"]), TODAY, FINDINGS)
    return [each.acknowledged is not None for each in marked], said


def refused(text: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        entries(text, ["intent", "slots"])
    assert caught.value.exit_code == 2
    return str(caught.value).splitlines()


def test_an_entry_accepts_the_finding_whose_rows_it_names() -> None:
    marked, said = acknowledge([NEAR, OTHER], entries(FILE, ["intent"]), TODAY, FINDINGS)
    assert marked[0].acknowledged == {"reason": "wanted", "until": "2026-12-31", "by": 0}
    assert marked[1] == OTHER
    assert said == []


def test_without_rows_or_task_all_of_that_name_are_accepted() -> None:
    whole = "- {finding: near-leak, reason: wanted, until: '2026-12-31'}\n"
    assert accepted(whole, [NEAR, OTHER, replace(NEAR, name="leak")]) == ([True, True, False], [])
    of_task = "- {finding: near-leak, task: slots, reason: wanted, until: 2026-12-31}\n"
    assert accepted(of_task, [NEAR, OTHER]) == ([False, True], [])


def test_a_finding_with_more_rows_than_are_named_is_not_accepted_and_that_is_said() -> None:
    more = replace(NEAR, rows=[*NEAR.rows, "r00000009"])
    flags, said = accepted(FILE, [more])
    assert flags == [False]
    assert said == [
        "acknowledged.yaml line 1 (near-leak of intent) leaves 1 row of near-leak in intent out, so that it "
        "does not count for this finding; name all of its rows, as findings.jsonl beside the review does, "
        "or none for all"
    ]


def test_two_entries_may_name_the_rows_between_them() -> None:
    text = """\
- {finding: near-leak, rows: [r00000001], reason: first, until: 2027-01-31}
- {finding: near-leak, rows: [r00000002], reason: second, until: 2026-12-31}
"""
    (marked,), said = acknowledge([NEAR], entries(text, []), TODAY, FINDINGS)
    assert marked.acknowledged == {"reason": "first; second", "until": "2026-12-31", "by": 0}
    assert said == []


@pytest.mark.parametrize(("until", "counts"), [("2026-11-25", True), ("2026-11-24", False)])
def test_an_entry_counts_up_to_its_day(until: str, counts: bool) -> None:
    flags, said = accepted(FILE.replace("2026-12-31", until), [NEAR])
    assert flags == [counts]
    assert len(said) == (not counts)
    if not counts:
        assert said[0].startswith("acknowledged.yaml line 1 (near-leak of intent) was over on 2026-11-24")


def test_an_entry_that_matches_nothing_is_told() -> None:
    (text,) = accepted(FILE, [OTHER])[1]
    assert text.startswith("acknowledged.yaml line 1 (near-leak of intent) matches nothing")
    assert accepted(FILE.replace("[r00000001, r00000002]", "[r12345678]"), [NEAR])[0] == [False]


def test_of_an_entry_whose_finding_was_not_looked_for_nothing_is_said() -> None:
    assert acknowledge([], entries(FILE, ["intent"]), TODAY, {"leak"}) == ([], [])


def test_what_accepts_a_change_of_the_rules_must_have_been_there_before_it() -> None:
    rules = Finding("rules", "look", None, None, 1, "1 rule changed", "look", rows=["r00000005"])
    entry = "- {finding: rules, rows: [r00000005], reason: tidied, until: 2026-12-31}\n"
    before, now = entries(entry, []), entries(f"{FILE}{entry}", ["intent"])
    (fresh,), said = acknowledge([rules], now[1:], TODAY, FINDINGS)
    assert fresh.acknowledged is None
    assert said == [
        "acknowledged.yaml line 6 (rules) came with this change and does not count: what accepts a change of "
        "the rules must have been merged before it"
    ]
    (known,), said = acknowledge([rules], now[1:], TODAY, FINDINGS, before)
    assert known.acknowledged is not None
    assert said == []
    assert acknowledge([], now[1:], TODAY, FINDINGS) == ([], [])  # merged for a change to come
    ((gone,),) = (acknowledge([], now[1:], TODAY, FINDINGS, before)[1],)
    assert gone.endswith("matches nothing that this change brought; delete it")
    (whole,) = refused(entry.replace("rows: [r00000005], ", ""))[1:]
    assert "must name the changes of the rules that it accepts" in whole


def test_an_empty_file_accepts_nothing() -> None:
    assert accepted("", [NEAR]) == ([False], [])
    assert accepted("# nothing yet\n", [NEAR]) == ([False], [])


def test_rows_that_look_like_numbers_are_taken_as_they_are_written() -> None:
    (entry,) = entries(FILE.replace("r00000001", "00000001").replace("r00000002", "1e000002"), ["intent"])
    assert entry.rows == ("00000001", "1e000002")


def test_one_more_copy_of_a_row_is_not_accepted_by_its_name() -> None:
    twice = replace(NEAR, rows=["r00000001", "r00000002", "r00000002"])
    assert accepted(FILE, [NEAR])[0] == [True]
    marked, said = accepted(FILE, [twice])
    assert marked == [False]
    assert "leaves 1 row of near-leak in intent out" in said[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("near-leak", "nearleak"), "line 1: [0].finding: there is no finding 'nearleak'; did you mean"),
        (
            ("near-leak", "xyz"),
            "line 1: [0].finding: there is no finding 'xyz'; there are: unreadable, tasks",
        ),
        (("intent", "inten"), "line 2: [0].task: there is no task 'inten'; there are: intent, slots"),
        (("2026-12-31", "'2026-13-31'"), "line 5: [0].until: must be a day in quotes or without"),
        (("2026-12-31", "next year"), "as in 2027-03-31, not next year"),
        (("2026-12-31", "2026-12-31T10:00:00"), "not 2026-12-31T10:00:00"),
        (("wanted", "' '"), "line 4: [0].reason: must be text that says why"),
        (("reason: wanted", "why: wanted"), "line 4: [0].why: unknown key; known here: finding, task, rows"),
        (("  reason: wanted\n", ""), "line 1: [0].reason: is missing; it must be text that says why"),
        (("near-leak", "{near: leak}"), "line 1: [0].finding: there is no finding"),
        (("near-leak", "unreadable"), "line 1: [0].finding: nothing accepts unreadable"),
        (("near-leak", "columns"), "line 2: [0].task: the finding columns has no task"),
        (("near-leak", "worse"), "line 3: [0].rows: the finding worse has no rows"),
        (("intent", "{a: b}"), "line 2: [0].task: there is no task"),
        (("rows:", "row:"), "line 3: [0].row: unknown key; did you mean 'rows'?"),
        (("[r00000001, r00000002]", "r00000001"), "line 3: [0].rows: must be a list of rows"),
        (("[r00000001, r00000002]", "[]"), "line 3: [0].rows: must be a list of rows"),
        (("  task: intent", "  finding: leak"), "line 2: [0].finding: stands twice, first in line 1"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_what_would_be_right(change: tuple[str, str], words: str) -> None:
    message = refused(FILE.replace(*change))
    assert message[0].startswith("acknowledged.yaml has ")
    assert any(words in line for line in message[1:]), message


def test_all_mistakes_are_told_at_once() -> None:
    message = refused("- {finding: xyz, reason: '', until: soon}\n- leak\n")
    assert message[0] == "acknowledged.yaml has 4 mistakes:"
    assert message[-1].startswith("  line 2: [1]: must be a section with the keys finding, reason, until")


@pytest.mark.parametrize("text", ["finding: leak", "- [", "just words", "- a\n---\n- b"])
def test_what_is_no_list_is_refused(text: str) -> None:
    assert refused(text)[0].startswith("acknowledged.yaml")


def test_a_day_that_there_is_not_is_told_with_its_line() -> None:
    (message,) = refused(FILE.replace("2026-12-31", "2026-13-31"))
    assert message.startswith("acknowledged.yaml: line 5: not valid YAML: '2026-13-31' is no value: month")
