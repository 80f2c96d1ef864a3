"""What a change of the data will do to a task, on clouds of points."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from clouds import LABELS, Row, both, good, name, points, side

from doubleroute.kinds import kind
from doubleroute.review.changes import compare
from doubleroute.review.impact import draws, impact, train, with_other_answers
from doubleroute.review.rows import Changes, VersionRows
from doubleroute.review.sampling import sampled
from doubleroute.review.study import Features, Study, study

TRAIN, TEST = list(range(300)), list(range(1000, 1300))
CLOUD = points(2000)
ROWS = good("train", TRAIN) + good("test", TEST)


def quiet(*_: object) -> None:
    """Progress that nobody looks at."""


def said(found: Study, coding: str = "classification", metric: str = "accuracy") -> dict[str, Any]:
    return impact(found, None if found.same else train(found, 5, quiet), kind(coding), metric)


def flipped(rows: list[Row], label: str, to: str, every: int) -> list[Row]:
    own = [place for place, row in enumerate(rows) if row[0] == "train" and row[2] == label]
    return [(*row[:2], to) if place in own[::every] else row for place, row in enumerate(rows)]


def test_flipped_labels_are_worse_and_their_class_most() -> None:
    *_, found = both(ROWS, flipped(ROWS, "card", "loan", 2), CLOUD)
    document = said(found)
    assert document["verdict"] == "worse"
    assert document["loss"]["head"] > document["loss"]["base"]
    assert document["loss"]["difference"]["high"] < 0
    assert (document["labels"][0]["label"], document["labels"][0]["verdict"]) == ("card", "worse")
    assert (document["rows"], document["seeds"], document["learned"]) == (300, 5, {"base": 300, "head": 300})


def test_more_good_rows_are_better() -> None:
    before = good("train", range(24)) + good("test", TEST)
    *_, found = both(before, before + good("train", range(24, 300)), CLOUD)
    document = said(found)
    assert document["verdict"] == "better"
    assert document["difference"]["low"] > 0
    assert document["why"] == "the 95% interval of the change of accuracy excludes zero"


def test_another_order_is_no_change_at_all() -> None:
    after = random.Random(1).sample(ROWS, len(ROWS))
    *_, found = both(ROWS, after, CLOUD)
    assert found.same
    assert said(found)["verdict"] == "no change"


def test_rows_that_teach_the_same_beside_other_answers_are_no_certain_no_change() -> None:
    changed = [row if row[0] == "train" else (*row[:2], "loan") for row in ROWS]
    *_, found = both(ROWS, changed, CLOUD)
    assert said(found)["verdict"] == "no change"
    document = with_other_answers(said(found))
    assert document["verdict"] == "cannot tell"
    assert document["why"].endswith("the answers that are retrieved changed too, which no quick model reads")
    assert with_other_answers({"verdict": "worse", "why": "so"})["verdict"] == "worse"


def test_the_order_of_rows_does_not_touch_a_model() -> None:
    after = flipped(ROWS, "card", "loan", 5)
    first, second = (
        train(both(before, then, CLOUD)[-1], 2, quiet)
        for before, then in ((ROWS, after), (ROWS[::-1], random.Random(2).sample(after, len(after))))
    )
    assert np.array_equal(first.base, second.base)
    assert np.array_equal(first.head, second.head)
    assert np.array_equal(first.weights, second.weights)


def test_a_row_in_both_versions_is_drawn_as_often_in_either() -> None:
    *_, found = both(ROWS, flipped(ROWS, "card", "loan", 10) + good("train", range(300, 330)), CLOUD)
    trained = train(found, 3, quiet)
    same = found.base == found.head
    assert same.sum() == 290
    # Rows that were given another label are the change itself: they are there in every draw.
    assert found.settled.sum() == 20
    assert (trained.weights[:, found.settled] == 1).all()
    assert trained.weights[:, ~found.settled].mean() == pytest.approx(1, abs=0.1)


def test_draws_are_poisson_and_depend_on_unit_and_seed_alone() -> None:
    units = np.random.default_rng(1).integers(0, 2**63, 50_000).astype(np.uint64)
    first, second = draws(units, 0), draws(units, 1)
    for times, share in ((0, 0.3679), (1, 0.3679), (2, 0.1839), (3, 0.0613)):
        assert (first == times).mean() == pytest.approx(share, abs=0.01)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.02
    assert np.array_equal(draws(units[::-1], 0), first[::-1])


def test_test_rows_that_the_change_touches_do_not_judge_it() -> None:
    leaked = [("train", number, LABELS[number % 3]) for number in TEST[:4]]
    relabelled = [("test", TEST[-1], "loan" if TEST[-1] % 3 == 0 else "card")]
    *_, found = both(ROWS, ROWS[:-1] + relabelled + leaked, CLOUD)
    assert found.left_out == {"text is taught differently": 4, "changed": 1}
    assert len(found.held_rows) == 295


def test_rows_of_a_label_that_base_did_not_know_do_not_judge_it() -> None:
    before = [row for row in ROWS if row[0] == "test" or row[2] != "rate"]
    *_, found = both(before, ROWS, CLOUD)
    assert found.left_out == {"label is new": 100}
    assert set(found.truths) == {"card", "loan"}


def test_a_label_that_vanishes_is_worse() -> None:
    after = [row for row in ROWS if row[0] == "test" or row[2] != "rate"]
    *_, found = both(ROWS, after, CLOUD)
    document = said(found)
    assert document["verdict"] == "worse"
    assert document["difference"]["value"] < -0.2
    assert document["labels"][0]["label"] == "rate"


def test_a_renamed_label_alone_is_no_change() -> None:
    renamed = [(*row[:2], "interest" if row[2] == "rate" else row[2]) for row in ROWS]
    _, _, changes, _, found = both(ROWS, renamed, CLOUD)
    assert changes.renamed == {"rate": "interest"}
    assert found.same


def test_with_few_test_rows_nothing_is_said() -> None:
    before = good("train", TRAIN) + good("test", TEST[:20])
    *_, found = both(before, flipped(before, "card", "loan", 1), CLOUD)
    document = impact(found, None, kind("classification"), "accuracy")
    assert document["verdict"] == "cannot tell"
    assert document["why"] == "20 test rows are in both versions and untouched; 30 are needed"


def test_other_good_rows_of_the_same_kind_are_seldom_better_or_worse() -> None:
    alarms = 0
    for seed in range(20):
        numbers = random.Random(seed).sample(range(600), 330)
        before, after = good("train", numbers[:300]), good("train", numbers[30:])
        *_, found = both(before + ROWS[300:], after + ROWS[300:], CLOUD)
        alarms += said(found)["verdict"] != "cannot tell"
    assert alarms <= 3


def test_numbers_are_judged_by_their_squared_error_and_lower_is_better() -> None:
    weights = np.linspace(1, 2, 8)
    numbers = [(split, number, float(CLOUD[number] @ weights)) for split, number, _ in ROWS]
    after = [(*row[:2], -row[2]) if row[0] == "train" and row[1] < 100 else row for row in numbers]
    *_, found = both(numbers, after, CLOUD, "regression")
    document = said(found, "regression", "mae")
    assert document["higher_is_better"] is False
    assert document["verdict"] == "worse"
    assert document["head"]["value"] > document["base"]["value"]
    assert document["difference"]["value"] == pytest.approx(
        document["base"]["value"] - document["head"]["value"]
    )
    assert document["labels"] == []


def test_label_sets_are_judged_label_by_label() -> None:
    sets = [(split, number, sorted({label, "money"})) for split, number, label in ROWS]
    after = [(*row[:2], ["loan", "money"]) if row[0] == "train" and row[1] % 6 == 0 else row for row in sets]
    *_, found = both(sets, after, CLOUD, "multilabel")
    document = said(found, "multilabel", "micro_f1")
    assert document["verdict"] == "worse"
    assert document["labels"][0]["label"] == "card"


def tagged(before: Sequence[str], after: Sequence[str], wrong: int) -> Study:
    """Rows of three words with the tags ``before`` in base, ``after`` in head, where ``wrong`` of the 300
    training rows have none."""
    count = 600

    def version(tags: Sequence[str], without: int) -> VersionRows:
        return VersionRows(
            kind="tagging",
            splits=["train"] * 300 + ["test"] * 300,
            files=["rows.jsonl"] * count,
            numbers=list(range(count)),
            texts=[f"{name(row)} of {row}" for row in range(count)],
            pairs=[None] * count,
            labels=[["O", "O", "O"] if row < without else list(tags) for row in range(count)],
            keys=[None] * count,
            segments={},
        )

    rows = np.arange(count)
    kinds = [("relabelled",) if row < wrong else () for row in range(count)]
    changes = Changes(np.stack([rows, rows], 1), kinds, np.ones(count), {})
    features = Features(points(3 * count), rows, rows, np.arange(0, 3 * count + 1, 3))
    base, head = version(before, 0), version(after, wrong)
    return study(base, head, changes, features, sampled(base, head, changes, 10_000))


def test_words_are_judged_by_entities() -> None:
    document = said(tagged(("O", "B-x", "I-x"), ("O", "B-x", "I-x"), 150), "tagging", "entity_f1")
    assert document["verdict"] == "worse"
    assert {each["label"] for each in document["labels"][:2]} == {"B-x", "I-x"}
    assert document["rows"] == 300


def test_tags_without_beginnings_are_judged_by_the_entities_that_they_mean() -> None:
    written = ("O", "I-x", "I-y")
    found = tagged(written, written, 150)
    document = said(found, "tagging", "entity_f1")
    assert document["verdict"] == "worse"
    assert {each["label"] for each in document["labels"][:2]} == {"B-x", "B-y"}
    # Those who train for real score the tags as they are written.
    answers = [{"tags": list(truth)} for truth in found.truths]
    scorer = kind("tagging").scorer(answers, [written] * 300, found.labels)
    assert scorer.score()["entity_f1"] == 1


def test_the_same_entities_in_another_scheme_of_tags_teach_the_same() -> None:
    assert tagged(("O", "I-x", "I-y"), ("O", "B-x", "B-y"), 0).same


def test_a_few_changed_rows_among_many_are_looked_at_and_weigh_what_they_are() -> None:
    cloud = points(4300)
    before = good("train", range(4000)) + good("test", range(4000, 4300))
    after = [(*row[:2], "loan") if row[1] in range(0, 12, 6) else row for row in before]
    *_, found = both(before, after, cloud, most=400)
    assert not found.same
    assert (found.changed, found.looked_at) == (2, 2)
    assert 300 <= found.base.sum() <= 500
    assert (found.head * found.weight).sum() == pytest.approx(4000, rel=0.2)
    # Two rows in four thousand do not matter as two in four hundred do.
    document, part = (
        said(found),
        said(both(before[:400] + before[4000:], after[:400] + after[4000:], cloud)[-1]),
    )
    moved, more = (abs(each["loss"]["head"] - each["loss"]["base"]) for each in (document, part))
    assert moved < more / 3


def test_of_changed_rows_that_were_not_all_looked_at_nothing_is_certain() -> None:
    before = good("train", range(600)) + ROWS[300:]
    after: list[Row] = [*before, *(("train", number, None) for number in range(600, 800))]
    base, head = side(before), side(after)
    taken = sampled(base, head, compare(base, head, 1.0), 100).rows[1]
    passed_over = int(np.flatnonzero(~taken[len(before) :])[0])
    after[len(before) + passed_over] = ("train", 600 + passed_over, "loan")
    *_, found = both(before, after, CLOUD, most=100)
    assert found.same
    document = said(found)
    assert document["changed"] == {"rows": 200, "looked_at": 100}
    assert document["verdict"] == "cannot tell"
    assert document["why"] == (
        "of 200 changed training rows 100 were looked at, which teach the same in both versions"
    )
    assert not both(before, after, CLOUD)[-1].same


def test_rows_that_validation_takes_out_teach_nothing() -> None:
    after = flipped(ROWS, "card", "loan", 5)
    base, head, changes, features, found = both(ROWS, after, CLOUD)
    assert not found.same
    out = frozenset(("train.jsonl", place + 1) for place, row in enumerate(after) if row != ROWS[place])
    for quarantined in ((frozenset(), out), (out, frozenset())):
        one = study(base, head, changes, features, sampled(base, head, changes, 10_000, 0, quarantined))
        assert sorted((one.base.sum(), one.head.sum())) == [280, 300]
    neither = study(base, head, changes, features, sampled(base, head, changes, 10_000, 0, (out, out)))
    assert neither.same
    assert neither.changed == 0
