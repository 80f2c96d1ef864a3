"""What a change of project.yaml does to what a review can see."""

import json
from typing import Any

from doubleroute.config import Project
from doubleroute.review.findings import public
from doubleroute.review.projects import Suites, project_findings


def project(tasks: dict[str, str], **sections: Any) -> Project:
    about = {
        "name": "case",
        "backbone": {"source": "nowhere"},
        "tasks": {name: {"kind": kind, "files": {"train": "a.csv"}} for name, kind in tasks.items()},
        **sections,
    }
    return Project.model_validate_json(json.dumps(about))


def found(
    before: Project, after: Project, suites: tuple[Suites, Suites] = ({}, {})
) -> list[tuple[str, int, str]]:
    return [(each.name, each.count, each.title) for each in project_findings(before, after, suites)]


def test_tasks_that_came_went_or_are_of_another_kind_are_told() -> None:
    before = project({"mood": "classification", "old": "classification", "words": "tagging"})
    after = project({"mood": "multilabel", "new": "regression", "words": "tagging"})
    title = "3 tasks changed as a whole: new is new; old is gone; mood was classification and is multilabel"
    assert ("tasks", 3, title) in found(before, after)


def test_a_change_of_the_rules_is_told_with_both_values() -> None:
    before = project({"mood": "classification"})
    after = project({"mood": "classification"}, review={"max_fall": 0.5}, validation={"max_invalid": 1.0})
    assert found(before, after) == [
        (
            "rules",
            2,
            "2 rules changed: review.max_fall from 0.0 to 0.5, validation.max_invalid from 0.02 to 1.0",
        )
    ]


def test_what_is_blotted_out_of_quoted_rows_is_a_rule() -> None:
    before = project({"mood": "classification"}, serving={"redact": ["mail", "re:secret .*"]})
    after = project({"mood": "classification"}, serving={"redact": ["mail"], "threads": 2})
    title = '1 rule changed: serving.redact from ["mail", "re:secret .*"] to ["mail"]'
    assert found(before, after) == [("rules", 1, title)]


def test_of_a_rule_within_a_rule_the_leaf_is_named() -> None:
    before = project({"mood": "classification"}, review={"severity": {"leak": "block", "worse": "look"}})
    after = project({"mood": "classification"}, review={"severity": {"leak": "note", "worse": "look"}})
    title = '1 rule changed: review.severity.leak from "block" to "note"'
    assert found(before, after) == [("rules", 1, title)]


def test_an_expectation_that_went_or_was_loosened_is_a_changed_rule() -> None:
    mood = project({"mood": "classification"})
    kept = {"type": "expect_column_to_exist", "kwargs": {"column": "source"}}
    strict = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "source"}}
    mild = {**strict, "meta": {"severity": "warning"}}
    file = "expectations/mood.json"
    assert found(mood, mood, ({file: [kept, strict]}, {file: [strict, kept]})) == []
    ((name, count, title),) = found(mood, mood, ({file: [kept, strict]}, {file: [kept, mild]}))
    assert (name, count) == ("rules", 2)
    assert title.startswith(
        '2 rules changed: expectations/mood.json: {"kwargs": {"column": "source"}, "type": '
    )
    assert found(mood, mood, ({file: [kept]}, {}))[0][2].endswith('"expect_column_to_exist"} is gone')


def test_how_bad_a_change_of_the_rules_is_does_not_say_the_change_alone() -> None:
    strict, mild = ({"rules": "block", "tasks": "look"}, {"rules": "note", "tasks": "note", "leak": "note"})
    before = project({"mood": "classification"}, review={"severity": strict})
    after = project({"mood": "classification", "new": "tagging"}, review={"severity": mild})
    for one, other in ((before, after), (after, before)):
        found = {each.name: each.severity for each in project_findings(one, other, ({}, {}))}
        assert found == {"tasks": "look", "rules": "block"}


def test_what_has_no_part_in_a_review_may_change() -> None:
    before = project({"mood": "classification"})
    assert found(before, project({"mood": "classification"}, training={"epochs": 1})) == []


def test_every_text_of_the_data_is_redacted_and_places_are_not() -> None:
    def redact(text: str) -> str:
        return text.replace("secret", "[x]")

    document = {
        "title": "1 new label: 'secret'",
        "label_counts": {"secret train": {"a secret": [0, 1], "a [x]": [2, 2]}},
        "labels": {"base": ["secret"], "head": []},
        "renamed": {"secret": "secret 2"},
        "examples": [{"file": "secret.csv", "row": 1, "label": ["secret"], "key": "secret", "other": None}],
        "acknowledged": {"reason": "a secret", "until": "secret"},
    }
    assert public(document, redact) == {
        "title": "1 new label: '[x]'",
        "label_counts": {"secret train": {"a [x]": [0, 1], "a [x] (2)": [2, 2]}},
        "labels": {"base": ["[x]"], "head": []},
        "renamed": {"[x]": "[x] 2"},
        "examples": [{"file": "secret.csv", "row": 1, "label": ["[x]"], "key": "[x]", "other": None}],
        "acknowledged": {"reason": "a [x]", "until": "secret"},
    }
