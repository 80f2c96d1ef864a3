"""Texts that a change brought to both sides of train and test."""

from two_versions import Row, only, places, versions

from doubleroute.config import Review
from doubleroute.review.leaks import leaks, leaks_across_tasks, near_leaks

REVIEW = Review()
OLD: list[Row] = [
    ("a", "train", "where is my new card", "card"),
    ("b", "train", "how do I top up by cheque", "top-up"),
    ("c", "validation", "the machine took my money", "cash"),
    ("d", "test", "please tell me the exchange rate of today", "rate"),
    ("e", "test", "I cannot open the application any more", "app"),
]


def test_a_test_row_that_is_copied_into_train_is_a_leak_and_quoted_beside_it() -> None:
    copies = [
        ("x", "train", "PLEASE tell me  the exchange rate of today", "rate"),
        ("y", "train", "the machine took my money", "cash"),
        ("z", "train", "what is quite another thing", "other"),
    ]
    finding = only(leaks(versions(OLD, [*OLD, *copies]), REVIEW))

    assert (finding.name, finding.severity, finding.task, finding.split) == (
        "leak",
        "block",
        "intent",
        "train",
    )
    assert finding.count == len(finding.rows) == 2
    assert places(finding) == [("train 3", "test 1"), ("train 4", "validation 1")]
    assert finding.title == "2 rows of train with the text of a row of test or validation"
    assert "data/train.jsonl" in finding.fix
    assert "dvc add data" in finding.fix


def test_a_new_test_row_makes_a_leak_of_the_training_row_that_says_the_same() -> None:
    head = [*OLD, ("x", "test", "where is my new card", "card")]
    assert places(only(leaks(versions(OLD, head), REVIEW))) == [("train 1", "test 3")]


def test_a_validation_row_leaks_where_test_has_its_text() -> None:
    finding = only(leaks(versions(OLD, [*OLD, ("x", "validation", OLD[3][2], "rate")]), REVIEW))
    assert (finding.split, places(finding)) == ("validation", [("validation 2", "test 1")])


def test_what_leaked_before_is_a_number_and_no_finding() -> None:
    before = [*OLD, ("x", "train", OLD[3][2], "rate")]
    # One more row, in front of the old ones, so that all of them have other numbers.
    fresh = ("f", "train", "a fresh row about nothing", "card")
    assert leaks(versions(before, [fresh, *before]), REVIEW) == []
    assert near_leaks(versions(before, [fresh, *before]), REVIEW) == []
    twice = only(leaks(versions(before, [*before, ("y", "train", OLD[3][2], "rate")]), REVIEW))
    assert (twice.count, twice.numbers) == (1, {"already_there": 1})
    assert places(twice) == [("train 4", "test 1")]


def test_a_row_that_moves_from_test_to_train_does_not_leak() -> None:
    moved = [*OLD[:3], ("d", "train", *OLD[3][2:]), OLD[4]]
    assert leaks(versions(OLD, moved), REVIEW) == []


def test_empty_texts_are_nobodys_copies() -> None:
    head = [*OLD, ("x", "train", " ", "card"), ("y", "test", "", "card")]
    assert leaks(versions(OLD, head), REVIEW) == []
    assert near_leaks(versions(OLD, head), REVIEW) == []


def test_nearly_a_test_row_is_a_near_leak_and_an_exact_copy_is_none() -> None:
    head = [
        *OLD,
        ("x", "train", "please tell me the exchange rates of today", "rate"),
        ("y", "train", OLD[4][2], "app"),
        ("z", "train", "what is quite another thing", "other"),
    ]
    finding = only(near_leaks(versions(OLD, head), REVIEW))
    assert (finding.name, finding.severity, finding.split, finding.count) == ("near-leak", "look", "train", 1)
    assert places(finding) == [("train 3", "test 1")]
    assert finding.examples[0]["note"] == "similarity 0.99"


def test_a_new_test_row_that_is_nearly_a_training_row_is_a_near_leak() -> None:
    head = [*OLD, ("x", "test", "how do I top up by a cheque", "top-up")]
    assert places(only(near_leaks(versions(OLD, head), REVIEW))) == [("train 2", "test 3")]


def test_two_new_rows_that_are_near_make_one_near_leak() -> None:
    head = [
        *OLD,
        ("x", "test", "my bank says that it knows nothing", "bank"),
        ("y", "train", "my bank says that it knew nothing", "bank"),
    ]
    assert places(only(near_leaks(versions(OLD, head), REVIEW))) == [("train 3", "test 3")]


def test_a_near_leak_that_was_there_before_an_edit_is_not_new() -> None:
    before = [*OLD, ("x", "train", "please tell me the exchange rates of today", "rate")]
    after = [*OLD, ("x", "train", "please tell me that exchange rate of today", "rate")]
    assert near_leaks(versions(before, after), REVIEW) == []


def test_how_near_counts_as_near_is_the_projects_word() -> None:
    head = [*OLD, ("x", "train", "please tell me the exchange rate of the dollar", "rate")]
    assert near_leaks(versions(OLD, head), REVIEW) == []
    loose = only(near_leaks(versions(OLD, head), Review(near=0.75, severity={"near-leak": "block"})))
    assert (loose.count, loose.severity) == (1, "block")


def test_a_training_row_of_one_task_that_another_tests_is_a_leak_across_tasks() -> None:
    slots: list[Row] = [("s", "train", "from here to there", "go"), ("t", "test", "book a table", "book")]
    intent = [*OLD, ("x", "train", "book a table", "other"), ("y", "train", "no such text", "other")]
    mine, other = versions(OLD, intent), versions(slots, slots, task="slots")

    finding = only(leaks_across_tasks([mine, other], REVIEW))
    assert (finding.name, finding.task, finding.split, finding.count) == (
        "leak-across-tasks",
        "intent",
        "train",
        1,
    )
    assert places(finding) == [("train 3", "test 1")]
    assert finding.title == "1 training row with the text of a test row of slots"
    assert leaks_across_tasks([versions(intent, intent), other], REVIEW) == []


def test_a_leak_within_the_task_or_without_a_label_is_none_across_tasks() -> None:
    shared = versions(OLD, [*OLD, ("x", "train", OLD[3][2], "rate"), ("y", "train", OLD[4][2], None)])
    slots = versions(OLD, OLD, task="slots")
    assert leaks_across_tasks([shared, slots], REVIEW) == []
    unlabelled = [("s", "test", "book a table", "book")]
    mine = versions(OLD, [*OLD, ("x", "train", "book a table", None)])
    assert leaks_across_tasks([mine, versions(unlabelled, unlabelled, task="slots")], REVIEW) == []
