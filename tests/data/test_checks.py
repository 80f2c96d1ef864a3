"""The facts that expectations are put on."""

from typing import Any

from doubleroute.config import Validation
from doubleroute.data import checks


def rows(texts: list[str], labels: list[Any], file: str = "a.csv") -> dict[str, list[Any]]:
    return {
        "file": [file] * len(texts),
        "row": list(range(1, len(texts) + 1)),
        "text": texts,
        "label": labels,
    }


def test_the_copy_in_the_less_protected_split_is_the_leak() -> None:
    splits = {
        "train": rows(["A  b", "v", "c", ""], ["x"] * 4, "train.csv"),
        "validation": rows(["v", "t"], ["x"] * 2, "dev.csv"),
        "test": rows(["a B", "t"], ["x"] * 2, "test.csv"),
    }
    found = checks.facts(splits, "classification")
    assert found["train"][checks.ALSO_IN] == [
        "test (test.csv row 1)",
        "validation (dev.csv row 1)",
        None,
        None,
    ]
    assert found["validation"][checks.ALSO_IN] == [None, "test (test.csv row 2)"]
    assert found["test"][checks.ALSO_IN] == [None, None]


def test_a_duplicate_names_the_first_and_a_conflict_names_the_other_label() -> None:
    data = rows(["a", "A ", "a", "b", "b", ""], ["x", "x", "y", "z", None, "x"])
    found = checks.facts({"train": data}, "classification")["train"]
    assert found[checks.DUPLICATE_OF] == [None, "a.csv row 1", None, None, None, None]
    assert found[checks.CONFLICTS_WITH] == [
        "'y' (a.csv row 3)",
        "'y' (a.csv row 3)",
        "'x' (a.csv row 1)",
        None,
        None,
        None,
    ]


def test_tags_have_a_form_and_a_set() -> None:
    tags = [["O", "B-x"], ["O", "b-x", "X"], ["I-"], None, ["I-y"]]
    assert checks.malformed_tag(tags) == [None, "b-x", "I-", None, None]
    assert checks.unknown_label(tags, ["O", "B-x", "I-x"]) == [None, "b-x", "I-", None, "I-y"]


def test_an_inside_tag_that_begins_an_entity_is_found() -> None:
    tags = [["O", "B-x", "I-x"], ["O", "I-x"], ["B-y", "I-x"], ["I-x", "I-x"], None]
    assert checks.misplaced_tag(tags) == [None, "I-x", "I-x", "I-x", None]


def test_inferred_tags_begin_with_o_and_every_type_has_both_sides() -> None:
    tags = [["O", "I-y"], ["B-x"], ["junk"], None]
    assert checks.task_labels(tags, "tagging", None) == ["O", "B-x", "B-y", "I-x", "I-y"]
    assert checks.task_labels([], "tagging", ("I-x", "O")) == ["O", "I-x", "B-x"]


def test_inferred_labels_are_sorted_and_given_ones_keep_their_order() -> None:
    assert checks.task_labels(["b", None, "a", "b"], "classification", None) == ["a", "b"]
    assert checks.task_labels([["b"], [], None, ["a"]], "multilabel", None) == ["a", "b"]
    assert checks.task_labels(["a"], "classification", ("z", "a")) == ["z", "a"]
    assert checks.task_labels([1.0], "regression", None) == []


def test_rows_of_a_label_are_counted_by_row() -> None:
    assert checks.label_counts(["a", "b", "a", None], "classification") == {"a": 2, "b": 1}
    assert checks.label_counts([["B-x", "I-x", "O", "B-x"], ["I-y"], None], "tagging") == {"x": 1, "y": 1}
    assert checks.rows_of_rarest([["a", "b"], ["a"], [], None], "multilabel") == [1, 2, None, None]


def test_an_unknown_label_suggests_the_one_that_was_meant() -> None:
    said = checks.unknown_reason("postive", ["negative", "positive"], "label")
    assert said == "label 'postive' is not one of negative, positive, did you mean 'positive'?"
    assert checks.unknown_reason("zzz", ["a", "b"], "tag") == "tag 'zzz' is not one of a, b"
    assert checks.unknown_reason("postive", ["negative", "positive"], "label", split_off="test") == (
        "label 'postive' is in no row that is left for train once test is split off: give more rows of it or "
        "list it under labels, or did you mean 'positive'?"
    )


def test_labels_are_taken_from_rows_that_stay() -> None:
    rules = Validation(max_characters=5)
    splits = {
        "train": rows(["a", " ", "long text", "leak", "b"], ["x"] * 5),
        "test": rows(["LEAK"], ["x"]),
    }
    found = checks.facts(splits, "classification")["train"]
    assert checks.sound(splits["train"], found, rules) == [0, 4]
    tagged: dict[str, list[Any]] = {"file": ["a"] * 4, "row": [1, 2, 3, 4]}
    tagged["tokens"] = [["a"], ["b"], ["c", "d"], ["e"]]
    tagged["label"] = [["O"], ["b"], ["O"], None]
    found = checks.facts({"train": tagged}, "tagging")["train"]
    assert checks.sound(tagged, found, rules) == [0, 3]


def test_labelled_test_rows_that_another_task_learns_from_are_counted_once_for_each_task() -> None:
    def splits(train: list[str], test: list[str], file: str, labels: Any = "x") -> dict[str, Any]:
        return {
            "train": rows(train, [labels] * len(train), f"{file}-train.csv"),
            "test": rows(test, ["x"] * len(test), f"{file}-test.csv"),
        }

    mood = splits(["one", "two"], ["A  b", "three", "a B"], "mood")
    topic = splits(["a b", "four", ""], ["one", ""], "topic")
    assert checks.learned_elsewhere({"mood": mood, "topic": topic}) == [
        "mood test: the training rows of topic hold 2 of 3 texts too (mood-test.csv row 1 and more), "
        "and both train one backbone",
        "topic test: the training rows of mood hold 1 of 1 texts too (topic-test.csv row 1), "
        "and both train one backbone",
    ]
    unlabelled = splits(["A  b"], ["five"], "topic", labels=None)
    assert checks.learned_elsewhere({"mood": mood, "topic": unlabelled}) == []
    assert checks.learned_elsewhere({"mood": splits(["a"], ["a"], "mood")}) == []


def asked(contexts: list[str], file: str) -> dict[str, list[Any]]:
    """Rows with a question of their own each."""
    questions = [f"{file} {number}" for number in range(len(contexts))]
    return {**rows(questions, [["0:a"]] * len(contexts), file), "text_pair": contexts}


def test_an_answer_that_is_not_at_its_place_is_a_fact_of_its_row() -> None:
    found = checks.facts({"train": asked(["a b", "b a"], "a.jsonl")}, "span")["train"]
    assert found[checks.MISPLACED_ANSWER] == [
        None,
        "answer 1 'a' is not at character 0 of the context, where 'b' stands; it starts at 2",
    ]


def test_held_out_questions_on_a_context_of_train_are_told() -> None:
    train, validation = asked(["a b", "a c"], "train.jsonl"), asked(["a d"], "validation.jsonl")
    test = asked(["A  b", "a e"], "test.jsonl")
    assert checks.shared_contexts("qa", {"train": train, "validation": validation, "test": test}) == [
        "qa test: 1 of 2 rows ask about a context that train holds too (test.jsonl row 1): their scores say "
        "little of other contexts"
    ]


def test_questions_on_one_context_are_split_together() -> None:
    assert checks.split_keys(asked(["A  b", "a b"], "a.jsonl"), "span") == ["a b", "a b"]
    assert len(set(checks.split_keys(asked(["a b", "a b"], "a.jsonl"), "classification"))) == 2
