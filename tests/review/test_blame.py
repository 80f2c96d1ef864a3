"""Which changed rows are behind a fall, on clouds of points."""

from typing import Any

from clouds import LABELS, Row, both, good, points

from doubleroute.review.blame import MOST_GROUPS, blame, changed_rows, undone
from doubleroute.review.groups import groups_of
from doubleroute.review.impact import train

CLOUD = points(2000)
TEST = good("test", range(1000, 1300))
ROWS = good("train", range(300)) + TEST


def quiet(*_: object) -> None:
    """Progress that nobody looks at."""


def blamed(before: list[Row], after: list[Row]) -> list[dict[str, Any]]:
    base, head, changes, features, found = both(before, after, CLOUD)
    return blame(found, train(found, 4, quiet), base, head, changes, features, quiet)


def flips(rows: list[Row]) -> list[Row]:
    """Every second training row of card becomes one of loan."""
    return [(*row[:2], "loan") if row[0] == "train" and row[1] % 6 == 0 else row for row in rows]


def test_flipped_labels_are_to_blame_beside_good_new_rows() -> None:
    found = blamed(ROWS, flips(ROWS) + good("train", range(300, 340)))
    worst = found[0]
    assert (worst["by"], worst["group"], worst["rows"]) == ("label", "card -> loan", 50)
    assert worst["verdict"] == "harms"
    assert worst["low"] > 0
    assert len(found) <= MOST_GROUPS
    assert [each["value"] for each in found] == sorted((each["value"] for each in found), reverse=True)


def test_bad_new_rows_are_found_by_their_source() -> None:
    # Odd points come from "chat": those that are new there have the label of another cloud.
    bad = [("train", number, LABELS[(number + 1) % 3]) for number in range(301, 541, 2)]
    found = blamed(ROWS, ROWS + bad + good("train", range(300, 540, 2)))
    verdicts = {each["group"]: each["verdict"] for each in found}
    assert verdicts["source = chat"] == "harms"
    assert verdicts["source = mail"] != "harms"


def test_undoing_a_group_gives_back_what_base_teaches() -> None:
    after = [*flips(ROWS)[20:], *good("train", range(300, 310))]
    _, _, changes, _, found = both(ROWS, after, CLOUD)
    everything = changed_rows(found, changes)
    assert (undone(found, changes, everything) == found.base).all()
    assert (undone(found, changes, everything[:0]) == found.head).all()


def test_groups_with_the_same_rows_are_one() -> None:
    base, head, changes, features, found = both(ROWS, flips(ROWS), CLOUD)
    groups = groups_of(base, head, changes, changed_rows(found, changes), features)
    assert (groups[0].by, groups[0].name) == ("label", "card -> loan")
    rows = [tuple(group.places.tolist()) for group in groups]
    assert len(set(rows)) == len(rows)
    assert not [group for group in groups if group.by in ("file", "kind", "source column")]


def test_what_teaches_the_same_has_no_one_to_blame() -> None:
    base, head, changes, features, found = both(ROWS, ROWS[::-1], CLOUD)
    assert groups_of(base, head, changes, changed_rows(found, changes), features) == []
