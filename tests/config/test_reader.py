"""project.yaml is read as YAML 1.2 into frozen models; what cannot be read says why."""

from pathlib import Path

import pytest
from project_files import HEAD, MINIMAL, load

from doubleroute.config import ExpertsRouter, LinearRouter, MlpRouter, NoRouter, load_project
from doubleroute.errors import ConfigError


def test_a_minimal_file_gets_every_default(tmp_path: Path) -> None:
    project = load(tmp_path, MINIMAL)
    assert (project.seed, project.training.epochs, project.validation.max_invalid) == (17, 3, 0.02)
    assert project.router == NoRouter()
    assert project.tasks["mood"].judged_by == "accuracy"
    assert project.model_name == "demo"
    assert project.root == tmp_path.resolve()
    assert project.paths("mood", "train") == (tmp_path.resolve() / "a.csv",)
    assert project.paths("mood", "test") == ()


@pytest.mark.parametrize(
    ("text", "router"),
    [
        ("{kind: none}", NoRouter()),
        ("{kind: linear, learning_rate: 1e-4}", LinearRouter(kind="linear", learning_rate=1e-4)),
        ("{kind: mlp, width: 7}", MlpRouter(kind="mlp", width=7)),
        ("{kind: experts, top_k: 2}", ExpertsRouter(kind="experts", top_k=2)),
    ],
)
def test_every_router_is_chosen_by_its_kind(tmp_path: Path, text: str, router: object) -> None:
    assert load(tmp_path, f"{MINIMAL}router: {text}\n").router == router


def test_margins_of_a_task_may_be_in_the_unit_of_its_label(tmp_path: Path) -> None:
    text = MINIMAL.replace("kind: classification", "kind: regression, metric: mae")
    changes = [
        "promotion.margins={mood: 250}",
        "promotion.slice_margin=500",
        "retraining.max_falls={mood: 99}",
    ]
    project = load(tmp_path, text, *changes)
    assert (project.promotion.margins, project.retraining.max_falls) == ({"mood": 250}, {"mood": 99})


def test_numbers_and_words_are_those_of_yaml_1_2(tmp_path: Path) -> None:
    text = (
        MINIMAL.replace("files:", "labels: [no, yes, on, NA], files:") + "training: {learning_rate: 1e-4}\n"
    )
    project = load(tmp_path, text)
    assert project.training.learning_rate == 0.0001
    assert project.tasks["mood"].labels == ("no", "yes", "on", "NA")


def test_anchors_and_merge_keys_work_and_a_merged_key_may_be_overridden(tmp_path: Path) -> None:
    text = HEAD + (
        "tasks:\n  a: &a {kind: classification, files: {train: a.csv}, weight: 2}\n"
        "  b:\n    <<: *a\n    weight: 3\n  c:\n    <<: [*a]\n"
    )
    project = load(tmp_path, text)
    assert [task.weight for task in project.tasks.values()] == [2, 3, 2]


def test_a_byte_order_mark_and_windows_line_ends_are_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "project.yaml").write_bytes(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())
    assert load_project(tmp_path).name == "demo"


def test_the_project_is_immutable(tmp_path: Path) -> None:
    project = load(tmp_path, MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        project.seed = 3


def test_set_overrides_values_and_makes_sections(tmp_path: Path) -> None:
    project = load(
        tmp_path,
        MINIMAL + "seed: 010\n",
        "seed=10", "training.learning_rate=3e-5", "router={kind: mlp, width: 9}",
        "tasks.mood.labels=[a, b]", "tasks.mood.files.test=[x.csv, y.csv]",
    )  # fmt: skip
    assert project.seed == 10
    assert project.training.learning_rate == 3e-5
    assert project.router == MlpRouter(kind="mlp", width=9)
    assert project.tasks["mood"].labels == ("a", "b")
    assert [path.name for path in project.paths("mood", "test")] == ["x.csv", "y.csv"]


UNREADABLE = {
    "empty": ("", "is empty; it must hold the keys name, backbone and tasks"),
    "only comments": ("# nothing\n", "is empty; it must hold"),
    "a list": ("- a\n", "is not a set of keys"),
    "a tab": ("training:\n\tepochs: 3\n", "line 2, column 1: not valid YAML: .*indent with spaces, not tabs"),
    "an open bracket": ("name: [\n", "line 2, column 1: not valid YAML"),
    "a colon in text": ("name: a: b\n", "line 1, column 8: .*text that holds ': ' must stand in quotes"),
    "a loop": ("name: &a [*a]\n", "nested too deeply, or its aliases"),
    "deep nesting": ("name: " + "[" * 300 + "]" * 300, "nested too deeply"),
    "two documents": ("name: a\n---\nname: b\n", "keep one document"),
    "a day that there is not": (
        "name: 2026-13-31\n",
        "line 1: not valid YAML: '2026-13-31' is no value: month",
    ),
    "a Python object": ("name: !!python/object:os.system {}\n", "name"),
}


@pytest.mark.parametrize(("text", "message"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_not_a_project_file_is_refused_with_the_reason(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "project.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_project(tmp_path)


def test_endless_aliases_are_refused_in_time(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    (tmp_path / "project.yaml").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ConfigError, match="aliases"):
        load_project(tmp_path)


def test_a_missing_file_or_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`doubleroute init DATA_FILE` writes one"):
        load_project(tmp_path)
    with pytest.raises(ConfigError, match=r"folder .*gone does not exist"):
        load_project(tmp_path / "gone")


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_file_in_another_encoding_is_named(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "project.yaml").write_bytes(f"# Größe\n{MINIMAL}".encode(encoding))
    with pytest.raises(ConfigError, match=r"not UTF-8; save"):
        load_project(tmp_path)


def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "project.yaml").mkdir()
    with pytest.raises(ConfigError, match="is a folder; it must be a file"):
        load_project(tmp_path)


def test_what_is_written_down_of_a_project_does_not_hold_the_webhook_s_secret(tmp_path: Path) -> None:
    text = f"{MINIMAL}retraining: {{webhook: 'https://chat.example.org/hooks/s3cret'}}\n"
    project = load(tmp_path, text)
    assert project.retraining.webhook == "https://chat.example.org/hooks/s3cret"
    assert "s3cret" not in project.model_dump_json()
    assert project.model_dump(mode="json")["retraining"]["webhook"] == "https://chat.example.org/..."
    assert type(project).model_validate_json(project.model_dump_json()).name == "demo"
