"""The verdict: a pure function of what review.json holds."""

import json
from datetime import date
from typing import Any

import pytest

from doubleroute.config import Review
from doubleroute.review.findings import Finding
from doubleroute.review.verdict import decide

TODAY = date(2026, 11, 25)
REVIEW = Review()
IMPACT = {
    "intent": {
        "metric": "accuracy",
        "higher_is_better": True,
        "rows": 3080,
        "base": {"value": 0.812},
        "head": {"value": 0.8},
        "difference": {"value": -0.012, "low": -0.02, "high": -0.004, "verdict": "worse"},
        "verdict": "worse",
        "why": "",
    },
    "slots": {"verdict": "cannot tell", "why": "no held-out row is left"},
}


def finding(name: str, severity: Any, accepted: str | None = None) -> dict[str, Any]:
    said = {"reason": "it is wanted", "until": accepted, "by": 0} if accepted else None
    made = Finding(name, severity, "intent", "train", 40, "40 rows of train", "fix", acknowledged=said)
    return made.as_dict()


def verdict(findings: list[dict[str, Any]], review: Review = REVIEW, today: date = TODAY) -> tuple[str, int]:
    found = decide(findings, IMPACT, review, today)
    return found["verdict"], found["exit_code"]


LEAK, LOOK, NOTE = finding("leak", "block"), finding("conflict", "look"), finding("drift", "note")


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ([], ("approve", 0)),
        ([NOTE], ("approve", 0)),
        ([NOTE, LOOK], ("look", 0)),
        ([LOOK, LEAK, NOTE], ("block", 3)),
    ],
)
def test_the_worst_finding_decides(findings: list[dict[str, Any]], expected: tuple[str, int]) -> None:
    assert verdict(findings) == expected


def test_what_is_acknowledged_does_not_count_until_it_is_over() -> None:
    accepted = finding("leak", "block", "2026-11-25")
    assert verdict([accepted]) == ("approve", 0)
    assert verdict([accepted], today=date(2026, 11, 26)) == ("block", 3)
    assert verdict([accepted, LOOK]) == ("look", 0)


def test_the_projects_severity_counts_also_in_a_replay_with_other_rules() -> None:
    assert verdict([LOOK], Review(severity={"conflict": "block"})) == ("block", 3)
    assert verdict([LEAK], Review(severity={"leak": "note"})) == ("approve", 0)


def test_a_change_does_not_say_alone_how_bad_its_change_of_the_rules_is() -> None:
    mild = Review(severity={"rules": "note", "leak": "note"})
    found = decide([finding("rules", "look"), LEAK], IMPACT, mild, TODAY, before=REVIEW)
    assert found["verdict"] == "look"
    assert found["reasons"][0].startswith("needs a look: rules")


def test_the_reasons_tell_everything_with_numbers_the_worst_first() -> None:
    accepted = finding("near-leak", "look", "2026-12-31")
    found = decide([LEAK, LOOK, NOTE, accepted], IMPACT, REVIEW, TODAY, ["acknowledged.yaml line 9 is over"])
    assert found["reasons"] == [
        "blocks: leak in intent: 40 rows of train",
        "needs a look: conflict in intent: 40 rows of train",
        "notes, which stand in nobody's way: drift",
        "acknowledged until 2026-12-31, because it is wanted: near-leak in intent: 40 rows of train",
        "acknowledged.yaml line 9 is over",
        "intent: accuracy 0.812 before, 0.800 after, -0.0120 (95% interval -0.0200 to -0.0040; above zero is "
        "better) on 3,080 held-out rows: worse",
        "slots: cannot tell: no held-out row is left",
    ]
    assert json.loads(json.dumps(found)) == found


def test_nothing_found_and_nothing_measured_is_said() -> None:
    assert decide([], None, REVIEW, TODAY)["reasons"] == [
        "nothing that counts was found",
        "what the change does to the scores was not measured",
    ]


def test_what_was_trained_for_real_is_told_beside_what_is_predicted() -> None:
    full = {"intent": IMPACT["intent"], "slots": {"verdict": "cannot tell", "why": "in one version alone"}}
    reasons = decide([], IMPACT, REVIEW, TODAY, full=full)["reasons"]
    assert reasons[-2].startswith("trained for real, intent: accuracy 0.812 before, 0.800 after, -0.0120")
    assert reasons[-1] == "trained for real, slots: cannot tell: in one version alone"
