"""What holds for the findings of any two versions, however faulty the rows are."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from two_versions import Row, side

from doubleroute.config import SPLITS, Review
from doubleroute.review.changes import compare
from doubleroute.review.finders import row_findings
from doubleroute.review.versions import Versions

REVIEW = Review()
#: Copies, near copies, empty texts and personal data.
TEXTS = ["", "where is my card", "Where is  my card", "where is my cards", "top up", "ann@example.org", "x"]
ROWS = st.lists(
    st.tuples(st.sampled_from(SPLITS), st.sampled_from(TEXTS), st.sampled_from(["card", "fee", None])),
    max_size=12,
)


def found(base: list[Any], head: list[Any]) -> set[str]:
    """The names of the findings."""

    def rows(each: list[Any]) -> list[Row]:
        return [("", *row) for row in each]

    old, new = side(rows(base), "classification"), side(rows(head), "classification")
    versions = Versions("intent", old, new, compare(old, new, REVIEW.near))
    finders = {"mail": lambda text: "@" in text}
    return {each.name for each in row_findings([versions], finders, 2, REVIEW)}


@given(ROWS, st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_rows_in_another_order_raise_nothing(rows: list[Any], random: Any) -> None:
    shuffled = random.sample(rows, len(rows))
    assert found(rows, shuffled) == set()


@given(ROWS, st.data())
@settings(max_examples=150, deadline=None)
def test_rows_that_are_taken_out_bring_no_copies_leaks_and_contradictions(
    rows: list[Any], data: st.DataObject
) -> None:
    kept = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    head = [row for row, stays in zip(rows, kept, strict=True) if stays]
    assert found(rows, head) <= {"held-out", "vanished-label", "imbalance"}
