"""Changed rows whose label a quick model contradicts, on clouds of points."""

import numpy as np
from clouds import LABELS, Row, both, good, points, side

from doubleroute.review.changes import compare
from doubleroute.review.contradicted import Contradiction, contradicted
from doubleroute.review.sampling import sampled
from doubleroute.review.study import Features

CLOUD = points(2000, spread=0.9)
ROWS = good("train", range(600)) + good("test", range(1000, 1200))


def found(before: list[Row], after: list[Row], kind: str = "classification") -> list[Contradiction]:
    base, head, changes, features, _ = both(before, after, CLOUD, kind)
    return contradicted(base, head, changes, features, sampled(base, head, changes, 10_000))


def test_flipped_labels_are_found_and_what_they_were_is_preferred() -> None:
    flipped = set(range(0, 120, 6))
    after = [(*row[:2], LABELS[(row[1] + 1) % 3]) if row[1] in flipped else row for row in ROWS]
    lines = found(ROWS, after)
    rows = {line.row for line in lines}
    assert len(rows & flipped) >= 18
    assert rows <= flipped
    first = lines[0]
    assert (first.had, first.prefers, first.label) == ("card", "card", "loan")
    assert first.probability is not None
    assert first.probability > 0.5
    assert first.p <= 0.1


def test_wrong_new_rows_are_found_among_good_ones() -> None:
    wrong: list[Row] = [("train", number, LABELS[(number + 1) % 3]) for number in range(700, 720)]
    new = wrong + good("train", range(800, 900))
    lines = found(ROWS, ROWS + new)
    rows = {line.row - len(ROWS) for line in lines}
    assert len(rows & set(range(20))) >= 12
    assert len(rows - set(range(20))) <= 1
    assert all(line.had is None for line in lines)


def test_good_changes_raise_nothing() -> None:
    wrong = set(range(0, 90, 6))
    before = [(*row[:2], LABELS[(row[1] + 1) % 3]) if row[1] in wrong else row for row in ROWS]
    assert found(before, ROWS) == []
    assert len(found(ROWS, ROWS + good("train", range(700, 900)))) <= 1


def test_labels_that_few_rows_have_are_left_alone() -> None:
    rare: list[Row] = [("train", number, "new") for number in range(700, 705)]
    assert found(ROWS, ROWS + rare) == []


def test_a_number_far_from_what_the_model_says_is_found() -> None:
    numbers: list[Row] = [(split, number, float(CLOUD[number].sum())) for split, number, _ in ROWS]
    after = [(*row[:2], row[2] + 30) if row[1] in (5, 50) else row for row in numbers]
    lines = found(numbers, after, "regression")
    assert {line.row for line in lines} == {5, 50}
    assert abs(lines[0].prefers - numbers[lines[0].row][2]) < 2
    assert lines[0].probability is None


def test_a_label_that_is_missing_from_a_set_is_found() -> None:
    sets: list[Row] = [(split, number, [label]) for split, number, label in ROWS]
    after = [(*row[:2], ["loan"]) if row[1] in range(0, 60, 6) else row for row in sets]
    lines = found(sets, after, "multilabel")
    assert {line.row for line in lines} >= set(range(0, 54, 6)) - {0, 6}
    assert lines[0].prefers == ["card"]


def test_sets_that_all_lost_their_labels_contradict_nothing() -> None:
    before: list[Row] = [(split, number, [label] if number % 2 else []) for split, number, label in ROWS]
    assert found(before, [(*row[:2], []) for row in before], "multilabel") == []


def test_a_wrong_type_of_a_word_is_found_in_rows_of_words() -> None:
    # Row i has the words 6 i to 6 i + 5, whose points are of the clouds O, B-per, B-loc, O, B-per, B-loc; a
    # tenth of the persons are no entity in the data, so that the worst word of many a row is bad.
    draw = np.random.default_rng(2)

    def tags() -> list[str]:
        return ["O", "B-per", "B-loc", "O", "O" if draw.random() < 0.1 else "B-per", "B-loc"]

    before: list[Row] = [("train", number, tags()) for number in range(300)]
    flipped = set(range(0, 100, 5))
    after = [
        (split, number, ["O", "B-loc", *had[2:]] if number in flipped else had)
        for split, number, had in before
    ]
    base, head = side(before, "tagging"), side(after, "tagging")
    rows = np.arange(300)
    features = Features(points(1800, spread=0.9), rows, rows, 6 * np.arange(301))
    changes = compare(base, head, 1.0)
    lines = contradicted(base, head, changes, features, sampled(base, head, changes, 10_000))
    found_rows = {line.row for line in lines}
    assert len(found_rows & flipped) >= 16
    assert found_rows <= flipped
    assert {line.word for line in lines} == {1}


def test_rows_that_validation_takes_out_are_neither_learned_nor_contradicted() -> None:
    after = [(*row[:2], "loan") if row[1] in range(0, 60, 6) else row for row in ROWS]
    base, head, changes, features, _ = both(ROWS, after, CLOUD)
    assert contradicted(base, head, changes, features, sampled(base, head, changes, 10_000))
    out = frozenset(("train.jsonl", number + 1) for number in range(0, 60, 6))
    sample = sampled(base, head, changes, 10_000, quarantined=(frozenset(), out))
    assert contradicted(base, head, changes, features, sample) == []


def test_without_enough_unchanged_rows_nothing_is_said() -> None:
    before = good("train", range(60))
    assert found(before, [(*row[:2], "card") for row in before]) == []
