"""Which kind of task `doubleroute init` takes the columns of labels and answers for."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_starter import TEXTS, jsonl, labelled, started

from doubleroute.data.roles import find_roles
from doubleroute.data.starter import look
from doubleroute.errors import DataError


@pytest.mark.parametrize(
    "names",
    [("text_a", "text_b"), ("sentence1", "sentence2"), ("premise", "hypothesis"), ("text", "text_pair")],
)
def test_two_texts_and_a_number_become_a_regression_of_a_pair(tmp_path: Path, names: tuple[str, str]) -> None:
    rows = [{names[0]: TEXTS[n], names[1]: TEXTS[-n], "score": n / 8} for n in range(40)]
    project, _ = started(tmp_path, jsonl(tmp_path / "train.jsonl", rows))
    task = project.tasks["score"]
    assert (task.kind, task.columns.text, task.columns.text_pair) == ("regression", *names)


def test_lists_of_labels_become_multilabel(tmp_path: Path) -> None:
    rows = [{"text": TEXTS[n], "topics": ["war", "love"][: 1 + n % 2]} for n in range(40)]
    project, _ = started(tmp_path, jsonl(tmp_path / "train.jsonl", rows))
    assert project.tasks["topics"].kind == "multilabel"
    assert project.tasks["topics"].labels == ("love", "war")


@pytest.mark.parametrize("form", [str, json.dumps])
def test_lists_of_labels_in_text_cells_become_multilabel(tmp_path: Path, form: Callable[[Any], str]) -> None:
    topics = [["war", "love"], ["war"], [], ["love", "a, b"]]
    with (tmp_path / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("text", "topics"), *((TEXTS[n], form(topics[n % 4])) for n in range(40))]
        )
    project, starter = started(tmp_path, tmp_path / "train.csv")
    (task,) = project.tasks.values()
    assert (task.kind, task.columns.label, task.labels) == ("multilabel", "topics", ("a, b", "love", "war"))
    assert starter.doubts == []


def test_cells_in_brackets_that_are_no_lists_are_a_doubt(tmp_path: Path) -> None:
    rows = [{"text": TEXTS[n], "topics": ["['war' 'love']", "['war']"][n % 2]} for n in range(40)]
    project, starter = started(tmp_path, jsonl(tmp_path / "train.jsonl", rows))
    assert project.tasks["topics"].kind == "classification"
    assert "they are kind: multilabel" in starter.doubts[0]


def test_numbers_beside_a_few_words_are_a_doubt(tmp_path: Path) -> None:
    score = [f"{n % 23 / 10}" if n % 20 else "n/a" for n in range(80)]
    rows = [{"text": f"{TEXTS[n % 40]} {n}", "score": score[n]} for n in range(80)]
    project, starter = started(tmp_path, jsonl(tmp_path / "train.jsonl", rows))
    assert project.tasks["score"].kind == "classification"
    (doubt,) = starter.doubts
    assert doubt.startswith("'score' holds numbers, but 4 times 'n/a'; leave the cells of these blank")


def test_no_label_at_all_is_an_answer_where_there_may_be_several(tmp_path: Path) -> None:
    topics: list[list[str] | None] = [["war", "love"], [], ["love"], ["war"]]
    rows = [{"text": TEXTS[n], "topics": topics[n % 4]} for n in range(40)]
    _, starter = started(tmp_path, jsonl(tmp_path / "train.jsonl", rows))
    assert starter.doubts == []


def test_blank_labels_are_not_listed(tmp_path: Path) -> None:
    topics = [["war", "love"], ["war"], [""], ["love", " "]]
    rows = [{"text": TEXTS[n], "topics": topics[n % 4]} for n in range(40)]
    project, _ = started(tmp_path, jsonl(tmp_path / "train.jsonl", rows))
    assert project.tasks["topics"].labels == ("love", "war")
    rows = [{"text": TEXTS[n], "label": ["good", "bad", " "][n % 3]} for n in range(40)]
    project, starter = started(tmp_path, jsonl(tmp_path / "train.jsonl", rows))
    assert [task.labels for task in project.tasks.values()] == [("bad", "good")]
    assert starter.doubts == ["13 rows have no 'label'"]


def test_a_column_without_a_name_plays_no_part(tmp_path: Path) -> None:
    lines = "".join(f"{n % 2},{TEXTS[n]},{['good', 'bad'][n % 3 == 0]}\n" for n in range(40))
    (tmp_path / "train.csv").write_text(f",text,label\n{lines}")
    project, starter = started(tmp_path, tmp_path / "train.csv")
    assert [task.columns.label for task in project.tasks.values()] == ["label"]
    assert "'' is not used" in starter.mapping
    (tmp_path / "train.csv").write_text(f",text, \n{lines}")
    with pytest.raises(DataError, match=r", text, . . \(one without a name plays no part: give it one\)"):
        look([tmp_path / "train.csv"], tmp_path)


def test_labels_that_are_true_or_false_are_named_as_validation_names_them(tmp_path: Path) -> None:
    rows = [{"text": TEXTS[n], "spam": n % 2 == 0} for n in range(40)]
    project, _ = started(tmp_path, jsonl(tmp_path / "train.jsonl", rows))
    assert project.tasks["spam"].labels == ("false", "true")


def test_lists_of_whole_numbers_become_multilabel_and_sequences_of_numbers_do_not(tmp_path: Path) -> None:
    rows = [{"text": TEXTS[n], "topics": [3, 27][: 1 + n % 2], "ids": [n % 2, 5, 5]} for n in range(40)]
    project, starter = started(tmp_path, jsonl(tmp_path / "train.jsonl", rows))
    assert project.tasks["topics"].kind == "multilabel"
    assert project.tasks["topics"].labels == ("27", "3")
    assert starter.doubts == []


def test_separated_labels_become_multilabel_with_their_separator(tmp_path: Path) -> None:
    rows = [{"text": TEXTS[n], "topics": ["war|love", "love", "war"][n % 3]} for n in range(40)]
    project, starter = started(tmp_path, jsonl(tmp_path / "train.jsonl", rows))
    task = project.tasks["topics"]
    assert (task.kind, task.separator, task.labels) == ("multilabel", "|", ("love", "war"))
    assert "several labels separated by '|'" in starter.doubts[0]


def test_numbers_of_a_csv_stay_labels_as_written(tmp_path: Path) -> None:
    lines = "".join(f'"{TEXTS[n]}",{["01", "NA", "true"][n % 3]},imdb\n' for n in range(30))
    (tmp_path / "train.csv").write_text(f"review,label,source\n{lines}")
    project, _ = started(tmp_path, tmp_path / "train.csv")
    (task,) = project.tasks.values()
    assert task.labels == ("01", "NA", "true")
    assert task.columns.text == "review"


def test_a_few_whole_numbers_named_rating_are_places_of_an_order_with_a_doubt(tmp_path: Path) -> None:
    rows = [{"text": TEXTS[n], "rating": 10 - n % 4} for n in range(40)]
    project, starter = started(tmp_path, jsonl(tmp_path / "train.jsonl", rows))
    task = project.tasks["rating"]
    assert (task.kind, task.labels) == ("ordinal", ("7", "8", "9", "10"))
    assert "as a quantity it is kind: regression" in starter.doubts[0]


def test_many_whole_numbers_named_rating_are_a_quantity_with_a_doubt(tmp_path: Path) -> None:
    rows = [{"text": TEXTS[n], "rating": n % 11} for n in range(40)]
    project, starter = started(tmp_path, jsonl(tmp_path / "train.jsonl", rows))
    assert project.tasks["rating"].kind == "regression"
    assert "as classes they are kind: classification" in starter.doubts[0]


def test_one_number_in_two_ways_is_no_order_and_no_two_classes(tmp_path: Path) -> None:
    lines = "".join(f'"{TEXTS[n]}",{["1", "2", "1.0", "3"][n % 4]}\n' for n in range(40))
    (tmp_path / "train.csv").write_text(f"text,rating\n{lines}")
    project, starter = started(tmp_path, tmp_path / "train.csv")
    assert project.tasks["rating"].kind == "regression"
    assert "a quantity, as '1' and '1.0' are one number" in starter.doubts[0]


def test_half_of_a_surrogate_pair_is_no_label(tmp_path: Path) -> None:
    rows = [{"text": TEXTS[n], "label": ["a", "b", "\ud800"][n % 3]} for n in range(39)]
    project, _ = started(tmp_path, jsonl(tmp_path / "train.jsonl", rows))
    (task,) = project.tasks.values()
    assert task.labels == ("a", "b")


def test_numbers_with_a_decimal_comma_are_a_quantity_with_a_doubt(tmp_path: Path) -> None:
    lines = "".join(f'"{TEXTS[n]}","{["4,5", "3", "2,25"][n % 3]}"\n' for n in range(39))
    (tmp_path / "train.csv").write_text(f"text,score\n{lines}")
    project, starter = started(tmp_path, tmp_path / "train.csv")
    assert project.tasks["score"].kind == "regression"
    assert starter.doubts == [
        "'score' holds numbers with a comma, which cannot be read; write 4.5 for 4,5; as several labels they "
        "are kind: multilabel"
    ]


ANSWERS = [f"Answer {n}: open the settings and choose the page of that name." for n in range(8)]


def questions(**more: Any) -> list[dict[str, Any]]:
    rows = [{"question": TEXTS[n], "answer": ANSWERS[n % 8]} for n in range(40)]
    return [{**row, **{key: value(n) for key, value in more.items()}} for n, row in enumerate(rows)]


def test_questions_and_answers_in_words_become_a_retrieval_among_the_answers(tmp_path: Path) -> None:
    project, starter = started(tmp_path, jsonl(tmp_path / "faq.jsonl", questions()))
    task = project.tasks["answer"]
    assert (task.kind, task.columns.text, task.columns.label) == ("retrieval", "question", "answer")
    assert (task.answers.file, task.answers.id, task.answers.text) == ("faq.jsonl", "answer", "answer")
    assert starter.doubts == [
        "'answer' is taken as one of the file's answers, which is found for a question; as classes they are "
        "classification"
    ]


def test_the_tokens_of_a_retrieval_are_enough_for_its_answers(tmp_path: Path) -> None:
    rows = [{"question": TEXTS[n], "answer": f"{n % 8} " + "word " * 100} for n in range(40)]
    project, _ = started(tmp_path, jsonl(tmp_path / "faq.jsonl", rows))
    assert project.backbone.max_tokens == 256


@pytest.mark.parametrize(
    ("column", "value", "kind"),
    [
        ("label", lambda n: ["right", "wrong"][n % 2], "classification"),
        ("context", lambda n: f"{n} pages say: {ANSWERS[n % 8]}", "classification"),
    ],
)
def test_with_a_label_or_a_context_an_answer_is_not_to_be_found(
    tmp_path: Path, column: str, value: Callable[[int], str], kind: str
) -> None:
    project, _ = started(tmp_path, jsonl(tmp_path / "faq.jsonl", questions(**{column: value})))
    assert [task.kind for task in project.tasks.values()] == [kind]


def test_where_answers_lack_or_stand_in_several_files_init_says_so(tmp_path: Path) -> None:
    lacking = [*questions(), {"question": "And this one?", "answer": None}]
    project, _ = started(tmp_path, jsonl(tmp_path / "lacking.jsonl", lacking))
    assert [task.kind for task in project.tasks.values()] == ["classification"]
    other = [{"question": f"{TEXTS[n]} again", "answer": f"Another {ANSWERS[n]}"} for n in range(8)]
    files = jsonl(tmp_path / "train.jsonl", questions()), jsonl(tmp_path / "test.jsonl", other)
    _, starter = started(tmp_path, *files)
    assert "answers.file is train.jsonl alone, and other files have answers too" in starter.doubts[1]


def test_numbered_label_columns_are_no_pair_of_texts(tmp_path: Path) -> None:
    rows = labelled(l1=lambda n: ["goods", "people"][n % 2], l2=lambda n: ["shop", "staff"][n % 2])
    project, _ = started(tmp_path, jsonl(tmp_path / "train.jsonl", rows))
    (task,) = project.tasks.values()
    assert (task.columns.text, task.columns.text_pair, task.columns.label) == ("text", None, "label")


def test_labels_of_several_types_are_classes() -> None:
    rows = [{"text": TEXTS[n], "label": [0, 1, "unknown", True][n % 4]} for n in range(40)]
    roles = find_roles({name: [row[name] for row in rows] for name in ("text", "label")})
    assert (roles.text, roles.label, roles.kind) == ("text", "label", "classification")


def test_more_labels_than_fit_are_left_to_the_training_rows(tmp_path: Path) -> None:
    rows = [{"text": f"{text} {n}", "label": f"l{n}"} for n in range(35) for text in TEXTS[:3]]
    project, starter = started(tmp_path, jsonl(tmp_path / "train.jsonl", rows))
    assert next(iter(project.tasks.values())).labels is None
    assert "# labels: 35 of them, taken from the training rows" in starter.text
