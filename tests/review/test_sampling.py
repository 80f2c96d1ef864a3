"""Which rows models look at, where there are more than they may."""

from clouds import Row, good, side

from doubleroute.review.changes import compare
from doubleroute.review.rows import VersionRows
from doubleroute.review.sampling import Sampled, sampled

ROWS = good("train", range(600)) + good("test", range(1000, 1300))


def drawn(
    before: list[Row], after: list[Row], most: int, seed: int = 0
) -> tuple[VersionRows, VersionRows, Sampled]:
    base, head = side(before), side(after)
    return base, head, sampled(base, head, compare(base, head, 1.0), most, seed)


def test_the_same_texts_are_taken_from_both_versions() -> None:
    base, head, found = drawn(ROWS, ROWS[50:] + good("train", range(600, 650)), 100)
    assert 70 <= found.rows[0][50:600].sum() <= 130
    picked, again = (
        {text for text, taken in zip(each.texts, rows, strict=True) if taken}
        for each, rows in zip((base, head), found.rows, strict=True)
    )
    assert picked & set(head.texts) == again & set(base.texts)


def test_few_changed_rows_are_all_taken_and_stand_for_themselves() -> None:
    _, _, found = drawn(ROWS, ROWS[5:] + good("train", range(600, 605)), 100)
    assert found.rows[0][:5].all()
    assert found.rows[1][-5:].all()
    assert (found.weights[1][-5:] == 1).all()
    assert set(found.weights[1][:595][found.rows[1][:595]]) == {6}
    assert (found.changed, found.looked_at) == (10, 10)


def test_of_many_changed_rows_no_more_are_taken_than_may_be() -> None:
    _, head, found = drawn(ROWS, ROWS + good("train", range(2000, 2400)), 100)
    assert found.rows[1][-400:].sum() == 100
    assert (found.weights[1][-400:][found.rows[1][-400:]] == 4).all()
    assert (found.changed, found.looked_at) == (400, 100)
    assert found.rows[1].sum() < 100 + 250
    assert len(head) == 1300


def test_another_seed_takes_other_rows_and_the_same_one_the_same() -> None:
    after = ROWS + good("train", range(2000, 2400))
    first, again, other = (drawn(ROWS, after, 100, seed)[2] for seed in (1, 1, 2))
    assert (first.rows[1] == again.rows[1]).all()
    assert (first.rows[1][-400:] != other.rows[1][-400:]).any()


def test_all_rows_are_taken_where_there_are_no_more_than_may_be() -> None:
    _, _, found = drawn(ROWS, ROWS[5:], 1000)
    assert all(rows.all() for rows in found.rows)
    assert all((weights == 1).all() for weights in found.weights)
