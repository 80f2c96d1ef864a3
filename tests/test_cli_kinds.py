"""`doubleroute train`, `predict` and `export` with the kinds that are more than a linear layer on a row."""

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest
from test_cli_train import call, train

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ANSWERS = {"7": "a good film", "words": "plain words", "numbers": "numbers like 42"}
#: The word of a query that tells its answer.
TOLD_BY = {"7": "film", "words": "plain", "numbers": "42"}
STARS = {"1": "bad", "2": "short", "3": "good"}
PROJECT = """\
name: kinds
seed: 3
backbone: {{source: '{backbone}', max_tokens: 16}}
router: {{kind: experts, experts: 2, bottleneck: 4}}
tasks:
  entities:
    kind: tagging
    files: {{train: data/entities.jsonl}}
    head: {{crf: true}}
    split: {{validation: 0.2, test: 0.2}}
  stars:
    kind: ordinal
    files: {{train: data/stars.jsonl}}
    labels: ["1", "2", "3"]
    split: {{validation: 0.2, test: 0.2}}
  help:
    kind: retrieval
    files: {{train: data/help.jsonl}}
    answers: {{file: data/answers.csv}}
    split: {{validation: 0.2, test: 0.2}}
training: {{epochs: 2, batch_size: 8, trainable: 1, precision: float32, checkpoint_seconds: 0}}
evaluation: {{bootstrap: 100, baselines: [majority]}}
"""


def write_project(root: Path, backbone: Path, rows: int = 60) -> Path:
    """A project whose labels can be learned from single words."""
    draw, data = random.Random(7), root / "data"
    data.mkdir(parents=True)
    plain = ["the", "model", "reads", "this", "line", "of", "and", "numbers", "a", "words"]
    lines: dict[str, list[Any]] = {"entities": [], "stars": [], "help": []}
    for number in range(rows):
        words = draw.sample(plain, 5)
        tokens = [*words[:3], "42", "like", *words[3:]]
        tags = [{"42": "B-number", "like": "I-number"}.get(token, "O") for token in tokens]
        lines["entities"].append({"tokens": tokens, "tags": tags})
        for task, told_by in (("stars", STARS), ("help", TOLD_BY)):
            label = list(told_by)[number % 3]
            text = " ".join(draw.sample([*words, told_by[label]], 6))
            lines[task].append({"text": text, "label": label})
    for task, each in lines.items():
        (data / f"{task}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in each))
    table = "".join(f"{name},{text}\n" for name, text in ANSWERS.items())
    (data / "answers.csv").write_text(f"id,text\n{table}")
    (root / "project.yaml").write_text(PROJECT.format(backbone=backbone))
    return root


@pytest.fixture(scope="module")
def trained(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A project after its first `doubleroute train`, which also loads the served form and asks it."""
    project = write_project(tmp_path_factory.mktemp("kinds") / "project", tiny_backbone)
    result = train(project)
    assert result.returncode == 0, result.stderr
    return project, result.stdout


def test_every_kind_is_scored_in_its_metric(trained: tuple[Path, str]) -> None:
    _, printed = trained
    for scored in ("entities: entity_f1", "stars: quadratic_kappa", "help: mrr_at_10"):
        assert scored in printed
    report = Path(printed.split("report: ")[1].splitlines()[0]).read_text(encoding="utf-8")
    assert "recall_at_5" in report


def test_a_query_is_answered_with_the_stored_answers_for_people_and_programs(
    trained: tuple[Path, str],
) -> None:
    said = call(trained[0], "predict", "--text", "this film").stdout.splitlines()
    assert [line.split(":")[0] for line in said] == ["entities", "stars", "help"]
    assert any(text in said[2] for text in ANSWERS.values())
    found = json.loads(call(trained[0], "predict", "--text", "this film", "--json").stdout)
    answers = found["answers"][0]["answers"]["help"]["answers"]
    assert {each["id"]: each["text"] for each in answers} == ANSWERS
    scores = [each["score"] for each in answers]
    assert scores == sorted(scores, reverse=True)


def test_a_file_is_answered_as_csv(trained: tuple[Path, str], tmp_path: Path) -> None:
    target = tmp_path / "answers.csv"
    source = trained[0] / "data" / "stars.jsonl"
    assert call(trained[0], "predict", "--input", str(source), "--output", str(target)).exit_code == 0
    with target.open(newline="") as file:
        first = next(csv.DictReader(file))
    assert set(first) == {
        "row", "id", "entities", "stars", "stars_probability", "help", "help_score",
    }  # fmt: skip
    assert (first["stars"] in STARS, first["help"] in ANSWERS) == (True, True)


def test_what_was_asked_is_kept_without_the_texts_of_the_answers(trained: tuple[Path, str]) -> None:
    assert call(trained[0], "predict", "--text", "a line", "--log").exit_code == 0
    (file,) = (trained[0] / "requests").glob("*.jsonl")
    kept = json.loads(file.read_text().splitlines()[-1])["answers"]["help"]
    assert {"id", "score", "rank"} == set(kept["answers"][0])


def test_an_exported_graph_answers_with_what_the_heads_keep(trained: tuple[Path, str]) -> None:
    result = call(trained[0], "export", "--json")
    assert result.exit_code == 0, result.stderr
    answers = [
        call(trained[0], "predict", "--text", "a film like 42", "--precision", precision).stdout
        for precision in ("torch", "float32")
    ]
    assert answers[0] == answers[1]
