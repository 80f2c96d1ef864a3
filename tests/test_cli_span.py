"""`doubleroute train` and the commands after it on questions whose contexts are longer than a window."""

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest
from test_cli_train import call, train
from versioned import begin, branch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PROJECT = """\
name: spans
seed: 3
backbone: {{source: '{backbone}', max_tokens: 16}}
router: {{kind: experts, experts: 2, bottleneck: 4}}
tasks:
  place:
    kind: span
    files: {{train: data/questions.jsonl}}
    columns: {{text: question, text_pair: context, label: answers}}
    head: {{overlap: 4, answer_tokens: 5}}
    split: {{validation: 0.2, test: 0.2}}
  tone:
    kind: classification
    files: {{train: data/tones.jsonl}}
    split: {{validation: 0.2, test: 0.2}}
training: {{epochs: 2, batch_size: 8, trainable: 1, precision: float32, checkpoint_seconds: 0}}
evaluation: {{bootstrap: 100, baselines: [majority]}}
drift: {{min_rows: 10, permutations: 100}}
"""
QUESTION = "the good numbers"


def written(answer: str | None, words: list[str]) -> dict[str, Any]:
    """A row: blanks of all lengths between the words of its context."""
    context = "".join(word + " " * (1 + place % 3) for place, word in enumerate(words))
    answers = [] if answer is None else [{"text": answer, "start": context.index(answer)}]
    return {"question": QUESTION, "context": context, "answers": answers}


def write_project(root: Path, backbone: Path, rows: int = 60) -> Path:
    """Two questions a context; its number is the answer, and every fifth context has none."""
    draw, data = random.Random(7), root / "data"
    data.mkdir(parents=True)
    plain = ["the", "model", "reads", "this", "line", "of", "and", "words", "a", "short"]
    questions, tones = [], []
    for number in range(rows // 2):
        words = [draw.choice(plain) for _ in range(30)]
        place = draw.randrange(30)
        found = None if number % 5 == 0 else "42"
        words[place : place + 1] = ["42"] if found else []
        row = written(found, words)
        questions += [row, {**row, "question": "numbers like 42"}]
        tones += [
            {"text": f"{draw.choice(plain)} {tone} {draw.choice(plain)}", "label": tone}
            for tone in ("good", "bad")
        ]
    for name, each in (("questions", questions), ("tones", tones)):
        (data / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in each))
    (root / "project.yaml").write_text(PROJECT.format(backbone=backbone))
    return root


@pytest.fixture(scope="module")
def trained(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A project after its first `doubleroute train`, which also loads the served form and asks it."""
    project = write_project(tmp_path_factory.mktemp("spans") / "project", tiny_backbone)
    result = train(project)
    assert result.returncode == 0, result.stderr
    return project, result.stdout


def asked(project: Path) -> list[dict[str, Any]]:
    lines = (project / "data" / "questions.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def answers_to(project: Path, *arguments: str) -> list[dict[str, Any]]:
    source = str(project / "data" / "questions.jsonl")
    result = call(project, "predict", "--input", source, "--task", "place", "--json", *arguments)
    assert result.exit_code == 0, result.stderr
    return [each["answers"]["place"] for each in json.loads(result.stdout)["answers"]]


def test_spans_are_scored_beside_the_beginning_of_the_context(trained: tuple[Path, str]) -> None:
    _, printed = trained
    assert "place: answer_f1" in printed
    report = Path(printed.split("report: ")[1].splitlines()[0]).read_text(encoding="utf-8")
    assert "exact_match" in report
    assert "by what the rows have" in report


def test_questions_on_one_context_are_in_one_split(trained: tuple[Path, str]) -> None:
    import pandas as pd

    (stage,) = (trained[0] / ".doubleroute").rglob("validate*/place")
    contexts = [set(pd.read_parquet(file)["text_pair"]) for file in sorted(stage.glob("*.parquet"))]
    assert all(contexts)
    assert sum(map(len, contexts)) == len(set().union(*contexts)) == 30


def test_an_answer_is_what_stands_at_its_characters(trained: tuple[Path, str]) -> None:
    rows, answers = asked(trained[0]), answers_to(trained[0])
    assert len(answers) == len(rows)
    for row, answer in zip(rows, answers, strict=True):
        assert 0 <= answer["confidence"] <= 1
        if answer["start"] is None:
            assert answer["answer"] is None
        else:
            assert row["context"][answer["start"] : answer["end"]] == answer["answer"] != ""
            assert len(answer["answer"].split()) <= 5


def test_one_question_is_answered_for_people_and_needs_its_context(trained: tuple[Path, str]) -> None:
    context = asked(trained[0])[-1]["context"]
    words = ("predict", "--text", QUESTION, "--task", "place")
    said = call(trained[0], *words, "--text-pair", context).stdout
    assert said.startswith("place: ")
    refused = call(trained[0], *words)
    assert refused.exit_code == 2
    assert "task 'place' looks for the answer in a context: give it as 'text_pair'" in refused.stderr
    both = call(trained[0], "predict", "--text", "good words", "--json")
    assert json.loads(both.stdout)["answers"][0]["answers"]["place"]["answer"] is None


def test_a_file_is_answered_as_csv(trained: tuple[Path, str], tmp_path: Path) -> None:
    source, target = trained[0] / "data" / "questions.jsonl", tmp_path / "answers.csv"
    words = ("predict", "--input", str(source), "--output", str(target), "--text-column", "question")
    assert call(trained[0], *words).exit_code == 0
    with target.open(newline="") as file:
        first = next(csv.DictReader(file))
    assert set(first) == {"row", "id", "place", "place_confidence", "tone", "tone_probability"}


def test_a_row_is_answered_alike_whatever_stands_beside_it(trained: tuple[Path, str], tmp_path: Path) -> None:
    rows, whole = asked(trained[0]), answers_to(trained[0])
    alone = tmp_path / "one.jsonl"
    for number in (0, 7):
        alone.write_text(json.dumps(rows[number]) + "\n")
        words = ("predict", "--input", str(alone), "--task", "place", "--json")
        (found,) = json.loads(call(trained[0], *words).stdout)["answers"]
        answer = found["answers"]["place"]
        assert answer == {**whole[number], "confidence": pytest.approx(whole[number]["confidence"], abs=1e-5)}


def test_an_exported_graph_gives_the_same_answers(trained: tuple[Path, str]) -> None:
    result = call(trained[0], "export", "--json")
    assert result.exit_code == 0, result.stderr
    model, graph = (answers_to(trained[0], "--precision", each) for each in ("torch", "float32"))
    for one, other in zip(model, graph, strict=True):
        assert other == {**one, "confidence": pytest.approx(one["confidence"], abs=1e-4)}


def test_the_log_keeps_where_the_answer_stands_and_not_its_text(trained: tuple[Path, str]) -> None:
    context = asked(trained[0])[-1]["context"]
    words = ("predict", "--text", QUESTION, "--text-pair", context, "--log")
    assert call(trained[0], *words).exit_code == 0
    (file,) = (trained[0] / "requests").glob("*.jsonl")
    kept = json.loads(file.read_text().splitlines()[-1])["answers"]["place"]
    assert set(kept) == {"start", "end", "confidence"}


def test_drift_and_the_way_through_the_router_know_questions_with_their_context(
    trained: tuple[Path, str],
) -> None:
    source = str(trained[0] / "data" / "questions.jsonl")
    drift = call(trained[0], "drift", "--input", source, "--json")
    assert drift.exit_code == 0, drift.stderr
    assert "of no answer, whose mean went from 0.2 to 0.2" in drift.stdout
    context = asked(trained[0])[0]["context"]
    words = ("predict", "--text", QUESTION, "--text-pair", context, "--explain", "--json")
    explained = json.loads(call(trained[0], *words).stdout)["answers"][0]["explanation"]
    assert set(explained["tasks"]) == {"place", "tone"}


def test_a_bad_offset_is_quarantined_with_what_stands_there(tiny_backbone: Path, tmp_path: Path) -> None:
    project = write_project(tmp_path / "project", tiny_backbone)
    file = project / "data" / "questions.jsonl"
    lines = file.read_text().splitlines()
    row = json.loads(lines[12])
    right = row["answers"][0]["start"]
    row["answers"][0]["start"] = right + 1
    there = row["context"][right + 1 : right + 3]
    file.write_text("\n".join([*lines[:12], json.dumps(row), *lines[13:]]) + "\n")
    result = call(project, "validate")
    assert result.exit_code == 0, result.stderr
    said = (
        f"data/questions.jsonl row 13, column answers: answer 1 '42' is not at character {right + 1} of the "
        f"context, where '{there}' stands; it starts at {right}"
    )
    assert said in result.stdout


def test_heads_alone_cannot_be_solved_for_spans(tiny_backbone: Path, tmp_path: Path) -> None:
    project = write_project(tmp_path / "project", tiny_backbone)
    result = train(project, "--set", "training.mode=heads")
    assert result.returncode == 2
    assert "place" in result.stderr


@pytest.mark.filterwarnings("ignore:_NoneStep.value will soon:DeprecationWarning")
def test_a_review_says_what_it_did_not_look_for(tiny_backbone: Path, tmp_path: Path) -> None:
    project = begin(write_project(tmp_path / "project", tiny_backbone))

    def change(data: Path) -> None:
        lines = (data / "questions.jsonl").read_text().splitlines()
        row = json.loads(lines[12])
        row["answers"] = []
        (data / "questions.jsonl").unlink()
        (data / "questions.jsonl").write_text("\n".join([*lines[:12], json.dumps(row), *lines[14:]]) + "\n")

    branch(project, "topic", change)
    result = call(project, "review", "main", "topic", "--json")
    found = json.loads(result.stdout)
    counts = found["tasks"]["place"]["counts"].values()
    assert [sum(each[what] for each in counts) for what in ("relabelled", "removed")] == [1, 1]
    assert found["impact"]["place"]["verdict"] == "cannot tell"
    assert "no quick model looks for answers in a context" in found["impact"]["place"]["why"]
