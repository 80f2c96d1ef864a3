"""The whole check on samples made up for it: what it finds, what it lets pass, and when it cannot tell."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from doubleroute.config import Drift
from doubleroute.drift.characters import character_shares
from doubleroute.drift.detectors import measure, past_windows
from doubleroute.drift.label_shift import label_shift
from doubleroute.drift.sample import Sample, TaskRows
from doubleroute.errors import InputError

OPTIONS = Drift(features=64, permutations=200)
WORDS = ("a", "film", "that", "Never", "ends,", "2", "good")


def sample(seed: int, rows: int = 300, shift: float = 0.0, width: int = 8, **tasks: TaskRows) -> Sample:
    """So many rows of one source; ``shift`` moves the embeddings' mean by so many standard deviations."""
    generator = np.random.default_rng(seed)
    return Sample(
        embeddings=(generator.standard_normal((rows, width)) + shift).astype(np.float32),
        texts=[" ".join(generator.choice(WORDS, 6)) for _ in range(rows)],
        tokens=generator.integers(5, 40, rows),
        unknown=np.round(generator.random(rows) / 5, 1),
        segments={},
        times=[None] * rows,
        places=[f"rows.csv:{row}" for row in range(rows)],
        tasks=tasks,
    )


def sentiment(seed: int, rows: int, positive: float = 0.5, right: float = 0.8) -> TaskRows:
    """A classification task on all rows: labels and answers, with a share of positive rows."""
    generator = np.random.default_rng([seed, 1])
    truth = generator.random(rows) < positive
    said = np.where(generator.random(rows) < right, truth, ~truth)
    sure = generator.uniform(0.5, 1, rows)
    names = ["negative", "positive"]
    answers: list[dict[str, Any] | None] = [
        {"label": names[int(yes)], "probabilities": {names[int(yes)]: p, names[int(not yes)]: 1 - p}}
        for yes, p in zip(said, sure.tolist(), strict=True)
    ]
    return TaskRows("classification", names, np.arange(rows), [names[int(t)] for t in truth], answers)


def verdicts(document: dict[str, Any]) -> dict[tuple[str, str], str]:
    return {(test["scope"], test["what"]): test["verdict"] for test in document["tests"]}


def test_rows_of_the_same_source_have_not_moved_and_the_document_is_plain_json() -> None:
    document = measure(
        sample(1, sentiment=sentiment(1, 300)), sample(2, sentiment=sentiment(2, 300)), OPTIONS, 17
    )
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert (document["verdict"], document["moved"]) == ("not seen", [])
    assert document["rows"] == {"reference": 300, "current": 300}
    assert set(verdicts(document)) == {
        *(("inputs", what) for what in ("embeddings", "dimensions", "length", "unknown tokens", "language")),
        *(("sentiment", what) for what in ("labels", "predictions", "confidence")),
    }
    assert set(verdicts(document).values()) == {"not seen"}
    assert all(0 <= test["effect"] <= 1 for test in document["tests"])


def test_moved_embeddings_move_the_inputs_alone() -> None:
    document = measure(
        sample(1, sentiment=sentiment(1, 300)), sample(2, shift=0.5, sentiment=sentiment(2, 300)), OPTIONS, 17
    )
    assert (document["verdict"], document["moved"]) == ("moved", ["inputs"])
    assert verdicts(document)["inputs", "embeddings"] == "moved"
    assert verdicts(document)["inputs", "dimensions"] == "moved"
    assert verdicts(document)["inputs", "length"] == "not seen"


def test_more_positive_rows_move_the_task_alone_and_their_share_is_estimated_without_labels() -> None:
    reference = sample(1, 2000, sentiment=sentiment(1, 2000))
    task = sentiment(2, 1000, positive=0.8)
    unlabelled = replace(task, labels=[None] * 1000)
    document = measure(reference, sample(2, 1000, sentiment=unlabelled), OPTIONS, 17)
    assert document["moved"] == ["sentiment"]
    assert verdicts(document)["sentiment", "labels"] == "cannot tell"
    assert verdicts(document)["sentiment", "predictions"] == "moved"
    positive = document["label_shift"]["sentiment"]["labels"]["positive"]
    assert positive["reference"] == pytest.approx(0.5, abs=0.05)
    assert positive["low"] < 0.8 < positive["high"]
    assert positive["current"] == pytest.approx(0.8, abs=0.08)
    with_labels = measure(reference, sample(2, 1000, sentiment=task), OPTIONS, 17)
    assert verdicts(with_labels)["sentiment", "labels"] == "moved"


def test_less_certain_answers_move_the_task() -> None:
    task = sentiment(2, 300)
    for answer in task.answers:
        assert answer is not None
        answer["probabilities"] = {name: (p + 0.5) / 2 for name, p in answer["probabilities"].items()}
    document = measure(sample(1, sentiment=sentiment(1, 300)), sample(2, sentiment=task), OPTIONS, 17)
    assert document["moved"] == ["sentiment"]
    assert verdicts(document)["sentiment", "confidence"] == "moved"


def test_longer_rows_unknown_words_and_another_script_are_found_and_named() -> None:
    now = sample(2)
    now = replace(
        now,
        tokens=now.tokens + 8,
        unknown=now.unknown + 0.1,
        texts=["это " + text if row % 3 else text for row, text in enumerate(now.texts)],
    )
    document = measure(sample(1), now, OPTIONS, 17)
    found = {what for (_, what), verdict in verdicts(document).items() if verdict == "moved"}
    assert found == {"length", "unknown tokens", "language"}
    why = {test["what"]: test["why"] for test in document["tests"]}
    assert "of cyrillic, whose mean went from 0 to " in why["language"]
    assert "of tokens, whose mean went from 2" in why["length"]


def test_few_rows_cannot_tell_however_much_they_differ() -> None:
    for rows in (0, 1, OPTIONS.min_rows - 1):
        document = measure(
            sample(1, sentiment=sentiment(1, 300)),
            sample(2, rows, shift=9, sentiment=sentiment(2, rows)),
            OPTIONS,
            17,
        )
        assert document["verdict"] == "cannot tell"
        assert set(verdicts(document).values()) == {"cannot tell"}
        assert f"{rows} current rows" in document["tests"][0]["why"]
        assert document["tests"][0]["p"] is None


def test_few_labels_among_many_rows_cannot_tell_while_the_inputs_can() -> None:
    task = sentiment(2, 300)
    few: list[str | None] = [label if row < 20 else None for row, label in enumerate(task.labels)]
    current = sample(2, sentiment=replace(task, labels=few))
    document = measure(sample(1, sentiment=sentiment(1, 300)), current, OPTIONS, 17)
    assert verdicts(document)["sentiment", "labels"] == "cannot tell"
    assert document["verdict"] == "not seen"


def test_rows_whose_answer_would_flatter_the_champion_do_not_count() -> None:
    task = sentiment(1, 400)
    flattering = {"label": "positive", "probabilities": {"negative": 0.0, "positive": 1.0}}
    answers = [*task.answers[:200], *([flattering] * 200)]
    current = sample(2, sentiment=sentiment(2, 300))
    flattered = measure(sample(1, 400, sentiment=replace(task, answers=answers)), current, OPTIONS, 17)
    assert flattered["moved"] == ["sentiment"]
    held_out = replace(task, answers=[*task.answers[:200], *([None] * 200)])
    document = measure(sample(1, 400, sentiment=held_out), current, OPTIONS, 17)
    assert document["verdict"] == "not seen"
    rows = {test["what"]: test["rows"] for test in document["tests"] if test["scope"] == "sentiment"}
    assert rows == {"labels": [400, 300], "predictions": [200, 300], "confidence": [200, 300]}


def test_a_check_of_many_rows_compares_a_sample_that_follows_from_the_seed() -> None:
    options = Drift(features=64, max_rows=150)
    reference, current = sample(1, 700), sample(2, 400, shift=0.1)
    first = measure(reference, current, options, 17)
    assert all(test["rows"] == [150, 150] for test in first["tests"])
    assert measure(reference, current, options, 17) == first
    assert measure(reference, current, options, 18)["tests"] != first["tests"]


def test_false_alarms_of_all_tests_together_are_as_rare_as_promised() -> None:
    options, alarms = Drift(features=32), 0
    for seed in range(150):
        reference = sample(2 * seed, 150, 0, 4, a=sentiment(2 * seed, 150), b=sentiment(2 * seed + 7, 150))
        current = sample(
            2 * seed + 1, 120, 0, 4, a=sentiment(2 * seed + 1, 120), b=sentiment(2 * seed + 8, 120)
        )
        alarms += measure(reference, current, options, seed)["verdict"] == "moved"
    assert alarms / 150 <= 0.08  # 0.05, and what chance adds to it in 150 checks


def dated(given: Sample) -> Sample:
    """A row a minute."""
    times: list[str | None] = [
        f"2026-01-{1 + row // 1440:02}T{row // 60 % 24:02}:{row % 60:02}:00Z" for row in range(len(given))
    ]
    return replace(given, times=times)


def test_what_has_always_come_and_gone_is_no_drift() -> None:
    reference = sample(1, 2400)
    reference.embeddings[:] += np.sin(np.arange(2400) / 60)[:, None]  # waves of 377 rows
    wave, beyond = sample(2, 200, shift=0.5), sample(2, 200, shift=3)
    assert measure(reference, wave, OPTIONS, 17)["verdict"] == "moved"
    known = measure(dated(reference), wave, OPTIONS, 17)
    assert known["verdict"] == "not seen"
    assert "12 past windows showed effects of up to 0." in known["tests"][0]["why"]
    assert measure(dated(reference), beyond, OPTIONS, 17)["moved"] == ["inputs"]


def topics(seed: int, rows: int, rare: float = 0.014, count: int = 77) -> TaskRows:
    """A task of many labels, of which the first has this share and all others the same."""
    shares = np.r_[rare, np.full(count - 1, (1 - rare) / (count - 1))]
    names = [f"topic {number}" for number in range(count)]
    drawn = np.random.default_rng([seed, 2]).choice(count, rows, p=shares)
    return TaskRows("classification", names, np.arange(rows), [names[each] for each in drawn])


def test_a_certain_drift_is_not_hidden_by_what_chance_shows_in_small_past_windows() -> None:
    flags = [[[name] for name in topics(seed, 2000, rare).labels] for seed, rare in ((1, 0.014), (2, 0.101))]
    many = [TaskRows("multilabel", topics(1, 1).names, np.arange(2000), each) for each in flags]
    one = [topics(1, 2000), topics(2, 2000, 0.101)]
    for before, now in (one, many):
        reference = dated(sample(1, 2000, topic=before))
        document = measure(reference, sample(2, 2000, topic=now), OPTIONS, 17)
        assert document["moved"] == ["topic"]
        why = next(test["why"] for test in document["tests"] if test["what"] == "labels")
        assert "4 past windows showed no effect beyond chance" in why


def test_labels_that_have_always_come_and_gone_are_no_drift() -> None:
    labels = [
        label for season in range(12) for label in topics(season, 200, (0.02, 0.4)[season % 2], 20).labels
    ]
    task = TaskRows("classification", topics(0, 1, count=20).names, np.arange(2400), labels)
    season, beyond = (topics(40, 200, rare, 20) for rare in (0.4, 0.9))
    reference = sample(1, 2400, topic=task)
    assert measure(reference, sample(2, 200, topic=season), OPTIONS, 17)["verdict"] == "moved"
    assert measure(dated(reference), sample(2, 200, topic=season), OPTIONS, 17)["verdict"] == "not seen"
    assert measure(dated(reference), sample(2, 200, topic=beyond), OPTIONS, 17)["moved"] == ["topic"]


@pytest.mark.costly
def test_false_alarms_beside_past_windows_are_as_rare_as_promised() -> None:
    alarms = 0
    for seed in range(150):
        reference, current = (sample(2 * seed + side, 400, 0, 4) for side in (0, 1))
        tasks = [{"topic": topics(2 * seed + side, 400, 0.05, 20)} for side in (0, 1)]
        reference, current = replace(dated(reference), tasks=tasks[0]), replace(current, tasks=tasks[1])
        alarms += measure(reference, current, Drift(features=32), seed)["verdict"] == "moved"
    assert alarms / 150 <= 0.08


def test_earlier_samples_that_were_in_order_count_as_past_windows() -> None:
    reference, past = sample(1), [sample(seed, 200, shift=(seed % 3) / 2) for seed in range(10, 16)]
    wave = sample(2, 200, shift=0.7)
    assert measure(reference, wave, OPTIONS, 17)["verdict"] == "moved"
    assert measure(reference, wave, OPTIONS, 17, past)["verdict"] == "not seen"
    assert measure(reference, sample(2, 200, shift=2), OPTIONS, 17, past)["verdict"] == "moved"


def test_past_windows_are_whole_consecutive_and_of_dated_rows_alone() -> None:
    times: list[str | None] = [f"2026-01-{day:02}T00:00:00Z" for day in range(28, 0, -1)]
    times[3] = None
    windows = past_windows(times, 5, 5)
    assert [len(window) for window in windows] == [5] * 5
    # The newest row is the first; of 27 dated rows the two oldest are in no whole window.
    assert np.concatenate(windows).tolist() == [row for row in range(25, -1, -1) if row != 3]
    assert [len(window) for window in past_windows(times, 20, 5)] == [6] * 4
    assert past_windows(times, 20, 7) == []
    assert past_windows([None] * 50, 5, 5) == []
    assert len(past_windows(times, 1, 1)) == 12


def multilabel(seed: int, often: float) -> TaskRows:
    generator = np.random.default_rng(seed)
    held = [[name for name, p in (("x", 0.5), ("y", often)) if generator.random() < p] for _ in range(400)]
    answers: list[dict[str, Any] | None] = [
        {"labels": each, "probabilities": {name: 0.9 if name in each else 0.2 for name in "xy"}}
        for each in held
    ]
    return TaskRows("multilabel", ["x", "y"], np.arange(400), held, answers)


def regression(seed: int, often: float) -> TaskRows:
    values = [*(np.random.default_rng(seed).standard_normal(399) + 2 * often).tolist(), float("nan")]
    return TaskRows("regression", [], np.arange(400), values, [{"value": value} for value in values])


def tagging(seed: int, often: float) -> TaskRows:
    generator = np.random.default_rng(seed)
    tags = [["B-per", "I-per", "O"] if generator.random() < often else ["O"] * 3 for _ in range(400)]
    names = ["O", "B-per", "I-per"]
    answers: list[dict[str, Any] | None] = [{"tags": each, "entities": []} for each in tags]
    return TaskRows("tagging", names, np.arange(400), tags, answers)


@pytest.mark.parametrize("task", [multilabel, regression, tagging])
def test_labels_and_predictions_of_every_kind_are_compared(task: Any) -> None:
    reference = sample(1, 400, task=task(1, 0.3))
    same = measure(reference, sample(2, 400, task=task(2, 0.3)), OPTIONS, 17)
    assert same["verdict"] == "not seen"
    moved = measure(reference, sample(2, 400, task=task(2, 0.6)), OPTIONS, 17)
    assert moved["moved"] == ["task"]
    assert verdicts(moved)["task", "labels"] == verdicts(moved)["task", "predictions"] == "moved"
    assert json.dumps(moved, allow_nan=False)


def test_shares_of_labels_of_a_multilabel_task_are_estimated_one_by_one() -> None:
    found = measure(
        sample(1, 400, task=multilabel(1, 0.3)), sample(2, 400, task=multilabel(2, 0.6)), OPTIONS, 17
    )["label_shift"]["task"]
    assert found["labels"]["y"]["current"] == pytest.approx(0.6, abs=0.06)
    assert found["why"] is None


def test_estimated_shares_of_labels_come_with_a_warning_where_the_inputs_moved() -> None:
    reference = sample(1, 400, task=multilabel(1, 0.3))
    moved = measure(reference, sample(2, 400, shift=1, task=multilabel(2, 0.3)), OPTIONS, 17)
    assert moved["label_shift"]["task"]["why"].startswith("the inputs moved: ")
    assert moved["label_shift"]["task"]["labels"]


def test_no_shares_are_estimated_where_answers_are_labels_without_a_reference_row() -> None:
    names = ["a", "b", "c"]

    def task(said: str, true: list[str | None]) -> TaskRows:
        return TaskRows("classification", names, np.arange(200), true, [{"label": each} for each in said])

    known = task("ab" * 100, ["a", "b"] * 100)
    now = {said: task(said, [None] * 200) for said in ("ab" * 100, "c" * 100 + "ab" * 50)}
    found = [
        label_shift(sample(1, 200, topic=known), sample(2, 200, topic=each), 100, 17)["topic"]
        for each in now.values()
    ]
    assert set(found[0]["labels"]) == {"a", "b"}
    why = "100 of 200 answers are labels without a reference row (c)"
    assert found[1] == {"method": "BBSE", "labels": {}, "why": why}


def test_labels_may_be_arrays_as_tables_give_them() -> None:
    lists = multilabel(1, 0.3)
    arrays = replace(lists, labels=[np.array(label, object) for label in lists.labels])
    current = sample(2, 400, task=multilabel(2, 0.3))
    documents = [measure(sample(1, 400, task=task), current, OPTIONS, 17) for task in (lists, arrays)]
    assert documents[0] == documents[1]


def test_a_label_that_nobody_knew_moves_the_labels() -> None:
    task = sentiment(2, 300)
    new = [label if row % 4 else "mixed" for row, label in enumerate(task.labels)]
    current = sample(2, sentiment=replace(task, labels=new))
    document = measure(sample(1, sentiment=sentiment(1, 300)), current, OPTIONS, 17)
    assert verdicts(document)["sentiment", "labels"] == "moved"
    assert "'mixed' went from 0.0% to 25.0%" in next(
        test["why"] for test in document["tests"] if test["what"] == "labels"
    )


def test_nothing_breaks_on_rows_without_any_variety() -> None:
    (bare, also) = (
        replace(
            sample(seed, 150, width=1),
            embeddings=np.ones((150, 1), np.float32),
            texts=[""] * 150,
            tokens=np.full(150, 2),
            unknown=np.zeros(150),
        )
        for seed in (1, 2)
    )
    assert set(verdicts(measure(bare, also, OPTIONS, 17)).values()) == {"not seen"}
    same = sample(1, 150, sentiment=sentiment(1, 150))
    assert set(verdicts(measure(same, same, OPTIONS, 17)).values()) == {"not seen"}


def test_rows_without_finite_embeddings_are_left_out() -> None:
    current = sample(2, 250)
    current.embeddings[:100, 3] = np.nan
    current.embeddings[100, 0] = np.inf
    tests = {test["what"]: test for test in measure(sample(1), current, OPTIONS, 17)["tests"]}
    assert tests["embeddings"]["rows"] == [300, 149]
    assert tests["length"]["rows"] == [300, 250]
    assert "0 reference and 101 current rows without finite numbers left out" in tests["embeddings"]["why"]


def test_rounding_errors_of_a_dead_dimension_are_not_seen() -> None:
    reference, current = sample(1), sample(2)
    reference.embeddings[:, 0] = 1e-33
    current.embeddings[:, 0] = 2e-33
    document = measure(reference, current, OPTIONS, 17)
    assert document["verdict"] == "not seen"


def test_a_strict_alpha_gets_the_permutations_that_it_needs() -> None:
    tests = measure(sample(1), sample(2, shift=1), Drift(features=16, alpha=0.005), 17)["tests"]
    assert tests[0]["method"] == "MMD, 16 random features, 2000 permutations"
    assert tests[0]["verdict"] == "moved"


def test_embeddings_of_two_backbones_are_refused() -> None:
    with pytest.raises(InputError, match=r"have 8 and 16 numbers a row; .* embed the reference again"):
        measure(sample(1), sample(2, width=16), OPTIONS, 17)


def test_characters_are_counted_by_script_case_and_kind() -> None:
    names, (shares,) = character_shares([["Ab, 1", "é", "", "語語Я\ud800"]])
    table = [dict(zip(names, row.tolist(), strict=True)) for row in shares]
    assert {name: share for name, share in table[0].items() if share} == {
        "latin": 0.2, "latin capitals": 0.2, "punctuation": 0.2, "spaces": 0.2, "digits": 0.2
    }  # fmt: skip
    assert table[1]["latin accented"] == 1
    assert sum(table[2].values()) == 0
    assert (table[3]["cjk"], table[3]["cyrillic capitals"], table[3]["control"]) == (0.5, 0.25, 0.25)


def test_rare_classes_of_characters_are_counted_together() -> None:
    letters = "aαаאاक中あ한กაաա𐌰"
    names, (shares,) = character_shares([[letters + "a b, 1 A"]])
    assert names[-1] == "other"
    assert len(names) == 13
    assert shares.sum() == pytest.approx(1)
