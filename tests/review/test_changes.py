"""What happened to the rows between two versions: each kind of change, and what holds for any two."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doubleroute.config import SPLITS
from doubleroute.review.changes import compare
from doubleroute.review.rows import Changes, VersionRows

LONG = "I still have not received my new card, I ordered it over a week ago"


def version(*rows: tuple[Any, ...], kind: str = "classification", **columns: list[Any]) -> VersionRows:
    """Rows of (split, text, label) and, if it matters, the file."""
    count = len(rows)
    made = VersionRows(
        kind=kind,
        splits=[row[0] for row in rows],
        files=[row[3] if len(row) > 3 else f"data/{row[0]}.jsonl" for row in rows],
        numbers=list(range(1, count + 1)),
        texts=[row[1] for row in rows],
        pairs=[None] * count,
        labels=[row[2] for row in rows],
        keys=[None] * count,
        segments={},
    )
    return replace(made, **columns)


def happened(changes: Changes) -> list[tuple[int, int, tuple[str, ...]]]:
    """(row in base, row in head, kinds) of what changed, in the order of ``pairs``."""
    return [(*changes.pairs[place].tolist(), changes.kinds[place]) for place in changes.changed().tolist()]


def test_each_kind_of_change_is_told_apart() -> None:
    base = version(
        ("train", "stays", "a"),
        ("train", "gets another label", "a"),
        ("train", "goes away", "a"),
        ("train", "goes to the test rows", "a"),
        ("train", "goes there with another label", "a"),
        ("train", LONG, "a"),
        ("test", "SHOUTS", "a"),
    )
    head = version(
        ("train", LONG.replace("ordered", "have ordered"), "a"),
        ("test", "shouts", "b"),
        ("test", "goes there with another label", "b"),
        ("test", "goes to the test rows", "a"),
        ("train", "gets another label", "b"),
        ("train", "stays", "a"),
        ("train", "stays", "a"),
        ("train", "something new", "a"),
    )
    changes = compare(base, head, 0.9)
    assert happened(changes) == [
        (5, 0, ("edited",)),
        (6, 1, ("edited", "relabelled")),
        (4, 2, ("relabelled", "moved")),
        (3, 3, ("moved",)),
        (1, 4, ("relabelled",)),
        (-1, 6, ("duplicated",)),
        (-1, 7, ("added",)),
        (2, -1, ("removed",)),
    ]
    assert changes.renamed == {}
    by_head = dict(zip(changes.pairs[:, 1].tolist(), changes.similarity.tolist(), strict=True))
    assert (by_head[5], by_head[3], by_head[1]) == (1, 1, 1)
    assert by_head[0] == pytest.approx(2 * len(LONG) / (2 * len(LONG) + len("have ")))
    assert np.isnan([by_head[6], by_head[7], by_head[-1]]).all()


def test_an_empty_version_has_nothing_but_added_or_removed_rows() -> None:
    rows, empty = version(("train", "a", "x"), ("test", "b", "y")), version()
    assert compare(empty, rows, 0.9).kinds == [("added",)] * 2
    assert compare(rows, empty, 0.9).kinds == [("removed",)] * 2
    assert compare(empty, empty, 0.9).pairs.shape == (0, 2)


def test_a_row_in_another_file_of_its_split_is_unchanged_and_copies_keep_to_their_files() -> None:
    base = version(("train", "same", "a", "one.csv"), ("train", "same", "a", "two.csv"))
    assert compare(base, version(("train", "same", "a", "new.csv")), 0.9).kinds == [(), ("removed",)]
    kept = compare(base, version(("train", "same", "a", "two.csv")), 0.9)
    assert happened(kept) == [(0, -1, ("removed",))]


def test_a_copy_in_another_split_or_with_another_label_is_added_and_not_duplicated() -> None:
    base = version(("train", "text", "a"))
    head = version(
        ("train", "text", "a"), ("test", "text", "a"), ("train", "text", "b"), ("train", "Text", "a")
    )
    assert compare(base, head, 0.9).kinds == [(), ("added",), ("added",), ("duplicated",)]


def test_a_similar_text_needs_less_similarity_where_label_and_split_agree_and_never_agrees_on_nothing() -> (
    None
):
    base = version(("train", "How do I locate my card?", "a"))
    less = "How can I locate my card?"  # 0.898 alike
    assert compare(base, version(("train", less, "a")), 0.9).kinds == [("edited",)]
    assert compare(base, version(("train", less, "b")), 0.9).kinds == [("added",), ("removed",)]
    assert compare(base, version(("train", less, "a")), 1.0).kinds == [("added",), ("removed",)]
    more = "How do I locate my cards?"
    assert compare(base, version(("train", more, "b")), 0.9).kinds == [("edited", "relabelled")]
    assert compare(base, version(("test", more, "a")), 0.9).kinds == [("edited", "moved")]
    assert compare(base, version(("test", more, "b")), 0.9).kinds == [("added",), ("removed",)]


def test_an_edited_row_belongs_to_the_most_similar_one_and_each_row_to_one_only() -> None:
    base = version(("train", LONG, "a"), ("train", LONG + " or two", "a"))
    head = version(
        ("train", LONG + " or three", "a"), ("train", LONG + " or so", "a"), ("train", LONG + "!", "a")
    )
    changes = compare(base, head, 0.9)
    assert sorted(happened(changes)) == [(-1, 0, ("added",)), (0, 2, ("edited",)), (1, 1, ("edited",))]


def test_unique_keys_decide_before_texts_and_keys_that_repeat_decide_nothing() -> None:
    base = version(("train", "one", "a"), ("train", "two", "a"), keys=["1", "2"])
    head = version(("train", "two", "b"), ("train", "one", "a"), keys=["1", "2"])
    assert happened(compare(base, head, 0.9)) == [
        (0, 0, ("edited", "relabelled")),
        (1, 1, ("edited",)),
    ]
    again = replace(head, keys=["1", "1"])
    assert happened(compare(replace(base, keys=["1", "1"]), again, 0.9)) == [(1, 0, ("relabelled",))]


def test_a_blank_key_is_nobodys() -> None:
    base = version(("train", "one thing", "a"), keys=[""])
    head = version(("train", "quite another", "b"), ("train", "one thing", "a"), keys=["", "7"])
    assert happened(compare(base, head, 0.9)) == [(-1, 0, ("added",))]


def test_a_renamed_label_relabels_no_row() -> None:
    base = version(*(("train", f"text {row}", "old") for row in range(12)), ("train", "other", "b"))
    head = version(
        *(("train", f"text {row}", "new") for row in range(11)),
        ("train", "text 11", "b"),
        ("train", "other", "b"),
        ("train", "text 0", "new"),
    )
    changes = compare(base, head, 0.9)
    assert changes.renamed == {"old": "new"}
    assert happened(changes) == [(11, 11, ("relabelled",)), (-1, 13, ("duplicated",))]


def test_labels_that_were_merged_divided_or_taken_from_others_are_not_renamed() -> None:
    two = version(*(("train", f"text {row}", "ab"[row % 2]) for row in range(10)))
    one = version(*(("train", f"text {row}", "both") for row in range(10)))
    for base, head in ((two, one), (one, two)):
        changes = compare(base, head, 0.9)
        assert (changes.renamed, len(changes.of("relabelled"))) == ({}, 10)
    single = compare(version(("train", "text", "old")), version(("train", "text", "new")), 0.9)
    assert (single.renamed, single.kinds) == ({}, [("relabelled",)])


def test_a_label_is_renamed_although_new_rows_and_a_few_old_ones_use_its_old_name() -> None:
    base = version(*(("train", f"text {row}", "old") for row in range(20)))
    head = version(
        *(("train", f"text {row}", "new" if row else "old") for row in range(20)),
        ("train", "just made", "old"),
    )
    changes = compare(base, head, 0.9)
    assert (changes.renamed, happened(changes)) == ({"old": "new"}, [(-1, 20, ("added",))])


def test_labels_that_were_swapped_are_relabelled_rows() -> None:
    base = version(*(("train", f"text {row}", "ab"[row % 2]) for row in range(10)))
    swapped = replace(base, labels=["ba"[row % 2] for row in range(10)])
    changes = compare(base, swapped, 0.9)
    assert (changes.renamed, len(changes.of("relabelled"))) == ({}, 10)


def test_types_of_entities_and_labels_of_sets_are_renamed_too() -> None:
    texts = ("Ann Lee left", "Bob Ray saw her")
    tags = [["B-PER", "I-PER", "O"], ["B-PER", "I-PER", "O", "O"]]
    base = version(*(("train", *row) for row in zip(texts, tags, strict=True)), kind="tagging")
    new = [[tag.replace("PER", "PERSON") for tag in each] for each in tags]
    changes = compare(base, replace(base, labels=new), 0.9)
    assert changes.renamed == {"B-PER": "B-PERSON", "I-PER": "I-PERSON"}
    assert changes.kinds == [(), ()]
    sets = version(
        ("train", "x", ["old", "z"]), ("train", "y", ["old"]), ("train", "w", ["z"]), kind="multilabel"
    )
    head = replace(sets, labels=[["z", "new"], ["new"], ["z"]])
    assert compare(sets, head, 0.9).renamed == {"old": "new"}
    assert compare(sets, head, 0.9).kinds == [(), (), ()]


def test_the_order_of_a_set_of_labels_is_no_change_and_that_of_tags_is_one() -> None:
    for kind, expected in (("multilabel", ()), ("tagging", ("relabelled",))):
        base = version(("train", "two words", ["B-a", "B-b"]), kind=kind)
        assert compare(base, replace(base, labels=[["B-b", "B-a"]]), 0.9).kinds == [expected]


def test_a_word_without_a_tag_more_edits_a_tagged_row_and_another_entity_relabels_it() -> None:
    words = "the blood test of the old man showed nothing at all"
    tags = ["O", "B-test", "I-test", *["O"] * 8]
    base = version(("train", words, tags), kind="tagging")
    longer = version(("train", words + " today", [*tags, "O"]), kind="tagging")
    assert compare(base, longer, 0.9).kinds == [("edited",)]
    named = version(("train", words + " today", [*tags, "B-day"]), kind="tagging")
    assert compare(base, named, 0.9).kinds == [("edited", "relabelled")]


def test_the_second_text_of_a_pair_counts() -> None:
    base = version(("train", "a question", 1.0), kind="regression", pairs=["its answer is yes"])
    assert compare(base, replace(base, pairs=["its answer was yes"]), 0.9).kinds == [("edited",)]
    assert compare(base, replace(base, labels=[2.0]), 0.9).kinds == [("relabelled",)]


TEXTS = ["yes", "Yes", "yes ", "how do I locate my card", "how do I locate my cards", "how do I find my card"]
ROW = st.tuples(
    st.sampled_from(SPLITS), st.sampled_from(TEXTS), st.sampled_from("abc"), st.sampled_from("fg")
)
VERSIONS = st.lists(st.tuples(ROW, st.sampled_from([None, None, "1", "2", "3"])), max_size=12).map(
    lambda rows: version(*(row for row, _ in rows), keys=[key for _, key in rows])
)


def shuffled(rows: VersionRows, seed: int) -> VersionRows:
    order = np.random.default_rng(seed).permutation(len(rows)).tolist()
    names = ("splits", "files", "texts", "pairs", "labels", "keys")
    return replace(rows, **{name: [getattr(rows, name)[row] for row in order] for name in names})


def said(base: VersionRows, head: VersionRows, changes: Changes) -> Counter[Any]:
    """What happened to which content, wherever it stands."""

    def content(side: VersionRows, row: int) -> Any:
        return (side.splits[row], side.texts[row], side.labels[row], side.files[row]) if row >= 0 else None

    return Counter(
        (content(base, one), content(head, other), kinds)
        for (one, other), kinds in zip(changes.pairs.tolist(), changes.kinds, strict=True)
    )


@settings(deadline=None)
@given(VERSIONS, VERSIONS)
def test_every_row_stands_in_one_pair_and_the_kinds_say_what_differs(
    base: VersionRows, head: VersionRows
) -> None:
    changes = compare(base, head, 0.9)
    for side, rows in enumerate((base, head)):
        there = changes.pairs[:, side]
        assert sorted(there[there >= 0].tolist()) == list(range(len(rows)))
    names = {old: changes.renamed.get(old, old) for old in "abc"}
    for (one, other), kinds in zip(changes.pairs.tolist(), changes.kinds, strict=True):
        if one < 0:
            assert kinds in (("added",), ("duplicated",))
        elif other < 0:
            assert kinds == ("removed",)
        else:
            differs = (
                base.texts[one] != head.texts[other],
                head.labels[other] not in (base.labels[one], names[base.labels[one]]),
                base.splits[one] != head.splits[other],
            )
            assert kinds == tuple(
                kind for kind, yes in zip(("edited", "relabelled", "moved"), differs, strict=True) if yes
            )


@settings(deadline=None)
@given(VERSIONS, st.integers(0, 9))
def test_a_version_in_another_order_has_no_changes(rows: VersionRows, seed: int) -> None:
    for head in (rows, shuffled(rows, seed)):
        assert happened(compare(rows, head, 0.9)) == []


@settings(deadline=None)
@given(VERSIONS, VERSIONS, st.integers(0, 9))
def test_the_order_of_rows_changes_nothing(base: VersionRows, head: VersionRows, seed: int) -> None:
    other = shuffled(base, seed), shuffled(head, seed + 1)
    assert said(base, head, compare(base, head, 0.9)) == said(*other, compare(*other, 0.9))


@settings(deadline=None)
@given(VERSIONS, VERSIONS)
def test_swapping_the_versions_swaps_added_and_removed(base: VersionRows, head: VersionRows) -> None:
    there, back = compare(base, head, 0.9), compare(head, base, 0.9)
    assert len(there.of("added")) + len(there.of("duplicated")) == len(back.of("removed"))
    for kind in ("edited", "relabelled", "moved"):
        assert len(there.of(kind)) == len(back.of(kind))
    assert there.renamed == {old: new for new, old in back.renamed.items()}
