"""The tokenise stage: labels beside the right ids, made again only for other rows."""

import json
from pathlib import Path

import pytest
from conftest import write_tiny_project

from doubleroute.config import load_project
from doubleroute.data.batches import IGNORE
from doubleroute.data.tables import read_validated
from doubleroute.integrations.validation import validate
from doubleroute.training.encode import encode, load_split, read_meta
from doubleroute.workspace import Stage, Workspace


@pytest.fixture(scope="module")
def root(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_project(tmp_path_factory.mktemp("encode") / "project", tiny_backbone)


def stages(root: Path, *changes: str) -> tuple[Stage, Stage]:
    """The validated rows and what tokenising made of them."""
    project, workspace = load_project(root, changes), Workspace(root)
    validated = validate(project, workspace)
    return validated, encode(project, workspace, validated)


def test_labels_stand_beside_the_ids_of_their_own_row(root: Path) -> None:
    validated, encoded = stages(root)
    labels = {task: about["labels"] for task, about in read_meta(encoded.path)["tasks"].items()}
    for split in ("train", "validation", "test"):
        rows = load_split(encoded.path, split)
        frame = read_validated(validated.path, "sentiment", split)
        names = [labels["sentiment"][number] for number in rows["sentiment"].labels]
        assert names == frame["label"].iloc[rows["sentiment"].index].tolist()
        tagged = rows["entities"]
        tags = read_validated(validated.path, "entities", split)["label"].iloc[tagged.index].tolist()
        for row, wanted in enumerate(tags):
            part = slice(tagged.packed.starts[row], tagged.packed.starts[row + 1])
            found = [labels["entities"][each] for each in tagged.labels[part] if each != IGNORE]
            assert found == wanted


def test_a_rule_that_leaves_every_row_as_it_was_costs_no_new_tokens(root: Path) -> None:
    before, first = stages(root)
    after, second = stages(root, "validation.max_invalid=0.5", "validation.min_rows_per_class=1")
    assert before.digest != after.digest
    assert (first.digest, second.reused) == (second.digest, True)


def test_another_row_costs_new_tokens(root: Path) -> None:
    _, first = stages(root)
    path = root / "data" / "entities.jsonl"
    row = json.dumps({"tokens": ["words", "and", "42"], "tags": ["O", "O", "B-number"]})
    path.write_text(path.read_text(encoding="utf-8") + row + "\n", encoding="utf-8")
    assert stages(root)[1].digest != first.digest
