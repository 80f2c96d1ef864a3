"""Decision records: written once, read by id, decided again."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from doubleroute.config import Retraining
from doubleroute.drift import records
from doubleroute.drift.policy import moment
from doubleroute.errors import DataError, InputError

DATA = {"git_commit": "1f0c", "git_dirty": False, "dvc_md5": "abc.dir", "digest": "abc"}


def facts(now: str = "2026-03-10T02:00:00", rows: int = 200) -> dict[str, Any]:
    """A day on which many labels are new."""
    return {
        "now": now,
        "champion": {"version": "1", "registered": "2026-03-01T00:00:00", "age_days": 9.1},
        "drift": None,
        "performance": {},
        "new_labels": {"mood": rows},
        "learned_from": {"mood": 300},
        "retrainings": [],
        "expected_seconds": 3.5,
    }


POLICY = Retraining()
#: As doubleroute wrote it before policies had max_falls and numbers had tasks.
FORMER = json.loads((Path(__file__).parent / "former_record.json").read_text(encoding="utf-8"))


def record(now: str = "2026-03-10T02:00:00", rows: int = 200) -> dict[str, Any]:
    return records.make("tiny", facts(now, rows), POLICY, DATA, "report.html")


def test_a_record_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    made = record()
    path = records.write(tmp_path, made)

    assert path == tmp_path / "decisions" / f"{made['id']}.json"
    assert made["id"].startswith("20260310T020000-")
    assert records.read(tmp_path, made["id"]) == made == records.read(tmp_path, "20260310")
    assert (made["verdict"], made["outcome"]) == ("retrain", None)


def test_the_same_decision_is_written_once_and_keeps_its_outcome(tmp_path: Path) -> None:
    made = record()
    records.write(tmp_path, made)
    records.set_outcome(tmp_path, made["id"], {"version": "2", "verdict": "promote"})
    records.write(tmp_path, made)

    outcome = records.read(tmp_path, made["id"])["outcome"]
    nothing = {"began": None, "reasons": [], "seconds": None, "error": None, "attempts": 0, "failed": False}
    nothing |= {"forced": False}
    assert outcome == {**nothing, "version": "2", "verdict": "promote"}
    assert len(list((tmp_path / "decisions").iterdir())) == 1


def test_attempts_are_counted_since_the_last_error(tmp_path: Path) -> None:
    made = record()
    records.write(tmp_path, made)
    counted = [records.begin(tmp_path, made["id"])["outcome"]["attempts"] for _ in range(2)]
    records.set_outcome(tmp_path, made["id"], {"error": "no space is left on the disk"})
    counted.append(records.begin(tmp_path, made["id"])["outcome"]["attempts"])
    assert counted == [1, 2, 1]


def test_the_most_attempts_are_of_any_decision_about_the_same_until_one_made_a_version(
    tmp_path: Path,
) -> None:
    old, new = record(), record("2026-03-11T02:00:00")
    for each in (old, new):
        records.write(tmp_path, each)
    for _ in range(3):
        records.begin(tmp_path, old["id"])
    records.set_outcome(tmp_path, old["id"], {"error": "began 3 times"})
    assert records.most_attempts(tmp_path, DATA, "1", POLICY) == 3
    assert records.most_attempts(tmp_path, {**DATA, "digest": "other"}, "1", POLICY) == 0
    assert records.most_attempts(tmp_path, DATA, "2", POLICY) == 0
    records.begin(tmp_path, new["id"])
    records.set_outcome(tmp_path, new["id"], {"version": "2", "verdict": "refuse"})
    assert records.most_attempts(tmp_path, DATA, "1", POLICY) == 0


def test_another_decision_under_the_same_id_is_refused(tmp_path: Path) -> None:
    made = record()
    path = records.write(tmp_path, made)
    before = path.read_bytes()

    with pytest.raises(DataError, match="holds another decision"):
        records.write(tmp_path, {**made, "facts": facts(rows=1)})
    assert path.read_bytes() == before


def test_an_unknown_id_is_answered_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none yet"):
        records.read(tmp_path, "20260310")
    first, last = record(), record("2026-03-11T02:00:00")
    for each in (first, last):
        records.write(tmp_path, each)

    with pytest.raises(InputError, match=f"the newest are: {last['id']}, {first['id']}"):
        records.read(tmp_path, "2025")
    with pytest.raises(InputError, match="begins 2 decisions"):
        records.read(tmp_path, "202603")
    with pytest.raises(InputError, match="there is no decision"):
        records.read(tmp_path, "../../etc/passwd")


def test_records_are_listed_newest_first_and_a_damaged_file_is_named(tmp_path: Path) -> None:
    made = [record(f"2026-03-{day}T02:00:00") for day in ("10", "12", "11")]
    for each in made:
        records.write(tmp_path, each)
    (tmp_path / "decisions" / "20260313T000000-00000000.json").write_text('{"id": "cut', encoding="utf-8")
    (tmp_path / "decisions" / "20260314T000000-00000000.json").write_text("[1]", encoding="utf-8")

    found, damaged = records.read_all(tmp_path)

    assert [each["time"][8:10] for each in found] == ["12", "11", "10"]
    assert ["20260314" in damaged[0], "20260313" in damaged[1], len(damaged)] == [True, True, 2]
    assert records.read_all(tmp_path / "nowhere") == ([], [])


def test_an_outcome_of_another_shape_is_refused(tmp_path: Path) -> None:
    made = record()
    records.write(tmp_path, made)

    with pytest.raises(InputError, match="an outcome has no 'score'"):
        records.set_outcome(tmp_path, made["id"], {"score": 1})


def test_retrainings_are_decisions_that_were_carried_out_but_for_the_first_of_errors_in_a_row(
    tmp_path: Path,
) -> None:
    outcomes: dict[str, dict[str, Any]] = {
        "10": {"error": "the tracking server does not answer"},
        "11": {"version": "2", "verdict": "refuse"},
        "12": {"error": "no space is left on the disk"},
        "13": {"error": "no space is left on the disk"},
        "14": {"error": "no space is left on the disk"},
        "15": {},
    }
    waiting, untouched = record("2026-03-16T02:00:00", rows=1), record("2026-03-17T02:00:00")
    for each in (waiting, untouched):
        records.write(tmp_path, each)
    for day, outcome in outcomes.items():
        made = record(f"2026-03-{day}T02:00:00")
        records.write(tmp_path, made)
        records.set_outcome(tmp_path, made["id"], {"began": made["time"], **outcome})
    given_up = record("2026-03-18T02:00:00")
    records.write(tmp_path, given_up)
    records.set_outcome(tmp_path, given_up["id"], {"error": "began 5 times and never ended"})

    assert waiting["verdict"] == "wait"
    found = [time[8:10] for time in records.retrainings(records.read_all(tmp_path)[0])]
    assert found == ["15", "14", "13", "11"]


def test_a_decision_of_the_future_hides_no_unfinished_one(tmp_path: Path) -> None:
    ahead, made = record("2039-03-10T02:00:00"), record("2026-03-10T02:00:00")
    for each in (ahead, made):
        records.write(tmp_path, each)
    found = records.unfinished(tmp_path, DATA, "1", POLICY)
    assert found is not None
    assert found["id"] == made["id"]


def test_a_retraining_began_when_it_was_begun_and_not_when_it_was_decided(tmp_path: Path) -> None:
    made, old = record(), record("2026-03-09T02:00:00")
    for each in (made, old):
        records.write(tmp_path, each)
    before = datetime.now(UTC).replace(microsecond=0)
    records.begin(tmp_path, made["id"])
    records.set_outcome(tmp_path, made["id"], {"version": "2", "verdict": "promote"})
    path = tmp_path / "decisions" / f"{old['id']}.json"
    outcome = {"version": "1", "verdict": "promote", "reasons": [], "seconds": 9.0, "error": None}
    path.write_text(json.dumps({**old, "outcome": outcome}), encoding="utf-8")  # by an older version

    began, older = records.retrainings(records.read_all(tmp_path)[0])
    assert before <= moment(began) <= datetime.now(UTC)
    assert older == "2026-03-09T02:00:00"


def test_a_decision_that_fails_each_time_it_is_carried_out_counts_from_the_second_time_on(
    tmp_path: Path,
) -> None:
    made = record()
    records.write(tmp_path, made)
    counted = []
    for _ in range(3):
        records.begin(tmp_path, made["id"])
        records.set_outcome(tmp_path, made["id"], {"error": "no space is left on the disk"})
        counted.append(len(records.retrainings(records.read_all(tmp_path)[0])))
    assert counted == [0, 1, 1]


def test_the_newest_decision_to_retrain_is_unfinished_until_something_came_of_it(tmp_path: Path) -> None:
    old, new = record(), record("2026-03-11T02:00:00")
    assert records.unfinished(tmp_path, DATA, "1", POLICY) is None
    for each in (old, new):
        records.write(tmp_path, each)

    assert records.unfinished(tmp_path, DATA, "1", POLICY) == new
    assert records.unfinished(tmp_path, {**DATA, "digest": "other"}, "1", POLICY) is None, "the data moved on"
    assert records.unfinished(tmp_path, DATA, "2", POLICY) is None, "another champion serves"
    stricter = Retraining(max_per_week=1)
    assert records.unfinished(tmp_path, DATA, "1", stricter) is None, "it was decided by another policy"
    under_way = records.set_outcome(tmp_path, new["id"], {})
    assert records.is_under_way(under_way)
    assert records.unfinished(tmp_path, DATA, "1", POLICY) == under_way
    records.set_outcome(tmp_path, new["id"], {"version": "2"})
    assert records.unfinished(tmp_path, DATA, "1", POLICY) is None


def test_what_was_tried_is_the_newest_version_of_this_champion_data_and_policy(tmp_path: Path) -> None:
    days = {"10": {"version": "2", "verdict": "refuse"}, "11": {"version": "3", "verdict": "cannot tell"}}
    for day, outcome in {**days, "12": {"error": "the disk is full"}}.items():
        made = record(f"2026-03-{day}T02:00:00")
        records.write(tmp_path, made)
        records.set_outcome(tmp_path, made["id"], outcome)
    past, _ = records.read_all(tmp_path)

    found = records.tried(past, {**DATA, "git_commit": "77aa"}, facts(), POLICY)
    assert found == {"decision": past[1]["id"], **days["11"]}
    assert records.tried(past, {**DATA, "digest": "other"}, facts(), POLICY) is None, "the data moved on"
    other = {**facts(), "champion": {"version": "3", "age_days": 1.0}}
    assert records.tried(past, DATA, other, POLICY) is None, "another champion serves"
    assert records.tried(past, DATA, facts(), Retraining(max_per_week=1)) is None, "the policy is another"


@pytest.mark.parametrize("only", [True, False])
def test_what_was_tried_with_other_heads_may_be_tried_with_these(tmp_path: Path, only: bool) -> None:
    policy = Retraining(keep_unmoved=True, only_new_tasks=only, max_age_days=30.0)
    spoke = {**facts(), "new_tasks": ["topic"], "new_labels": {"mood": 200, "topic": 20}}
    made = records.make("tiny", spoke, policy, DATA)
    assert made["numbers"]["tasks"] == ["mood", "topic"]
    records.write(tmp_path, made)
    records.set_outcome(tmp_path, made["id"], {"version": "2", "verdict": "refuse"})
    past, _ = records.read_all(tmp_path)

    again = records.tried(past, DATA, spoke, policy)
    assert again is not None
    aged = {**spoke, "champion": {**spoke["champion"], "age_days": 31.0}}
    later = records.tried(past, DATA, aged, policy)
    assert later == (again if only else None), "where age speaks everything learns, but with only_new_tasks"
    added = {**spoke, "new_tasks": ["topic", "length"]}
    assert records.tried(past, DATA, added, policy) is None, "a task was added that reads the same files"


def test_what_a_record_of_the_former_form_tried_is_known() -> None:
    policy = Retraining(keep_unmoved=True, max_seconds=300.0, webhook="https://example.org/hook/secret")
    past = [{**FORMER, "outcome": {"version": "2", "verdict": "refuse"}}]
    now = {**FORMER["facts"], "new_tasks": []}

    assert records.tried(past, DATA, now, policy) is not None
    assert records.tried(past, DATA, {**now, "drift": None}, policy) is None, "nothing of stars speaks"


def test_a_commit_that_changes_no_row_leaves_a_decision_unfinished(tmp_path: Path) -> None:
    made = record()
    records.write(tmp_path, made)
    later = {**DATA, "git_commit": "77aa", "git_dirty": True}
    assert records.unfinished(tmp_path, later, "1", POLICY) == made


def test_a_decision_is_reproduced_exactly_from_its_file(tmp_path: Path) -> None:
    made = record()
    records.write(tmp_path, made)

    again = records.reproduce(records.read(tmp_path, made["id"]))

    assert (again.same, again.differences) == (True, ())
    assert again.decision.as_dict() == {key: made[key] for key in ("verdict", "reasons", "numbers")}


def test_a_record_that_was_changed_is_not_reproduced_and_the_difference_is_said() -> None:
    made = json.loads(json.dumps(record()))
    made["facts"]["new_labels"]["mood"] = 1

    again = records.reproduce(made)

    assert not again.same
    assert any(
        each.startswith('verdict: recorded "retrain", decided again "wait"') for each in again.differences
    )


def test_a_record_of_the_former_form_is_reproduced_and_gone_on_with(tmp_path: Path) -> None:
    again = records.reproduce(FORMER)
    assert (again.same, again.differences) == (True, ())
    assert "tasks" not in FORMER["numbers"]
    assert "max_falls" not in {**FORMER["policy"], **FORMER["numbers"]["policy"]}

    records.write(tmp_path, FORMER)
    policy = Retraining(keep_unmoved=True, max_seconds=300.0, webhook="https://example.org/hook/secret")
    assert records.unfinished(tmp_path, DATA, "1", policy) == FORMER
    assert records.unfinished(tmp_path, DATA, "1", policy.model_copy(update={"max_falls": {"a": 1}})) is None
    (tmp_path / "decisions" / f"{FORMER['id']}.json").write_text(
        json.dumps({**FORMER, "policy": {"patience": 3}}), encoding="utf-8"
    )
    assert records.unfinished(tmp_path, DATA, "1", policy) is None, "a policy of another version"


def test_a_number_that_the_record_has_must_be_the_same() -> None:
    numbers = {**FORMER["numbers"], "policy": {**FORMER["numbers"]["policy"], "max_fall": 0.5}}
    assert not records.reproduce({**FORMER, "numbers": numbers}).same
    assert not records.reproduce({**FORMER, "numbers": {**FORMER["numbers"], "gone": 1}}).same


def test_a_policy_of_another_version_is_named() -> None:
    made = record()
    made["policy"]["patience"] = 3

    with pytest.raises(InputError, match=r"another version of doubleroute \(patience\)"):
        records.reproduce(made)
