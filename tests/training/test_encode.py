"""The tokenise stage: labels beside the right ids, made again only for other rows."""

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import write_questions, write_tiny_project

from doubleroute.config import load_project
from doubleroute.data.batches import IGNORE
from doubleroute.data.tables import read_validated
from doubleroute.data.tokens import Packed
from doubleroute.integrations.validation import validate
from doubleroute.training.encode import encode, load_split, read_meta
from doubleroute.training.known_tokens import KEYS, KnownTokens, row_keys
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


def grow(root: Path) -> None:
    """Move a row of the entities and add one."""
    path = root / "data" / "entities.jsonl"
    rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
    new = json.dumps({"tokens": ["words", "and", "zebra"] * 30, "tags": ["O", "O", "B-number"] * 30})
    path.write_text("".join([rows[3], new + "\n", *rows[:3], *rows[4:]]), encoding="utf-8")


@pytest.mark.costly
def test_rows_that_were_tokenised_before_are_copied(tiny_backbone: Path, tmp_path: Path) -> None:
    root = write_tiny_project(tmp_path / "project", tiny_backbone)
    _, first = stages(root)
    place = first.path / "sentiment" / "train" / "ids.npy"
    ids = np.load(place)
    ids[1] = 7  # nobody would tokenise it so: where it comes again it was copied
    np.save(place, ids)
    grow(root)
    _, second = stages(root)
    assert not second.reused
    assert np.load(second.path / "sentiment" / "train" / "ids.npy").tolist() == ids.tolist()


@pytest.mark.costly
def test_what_is_copied_and_what_is_tokenised_are_the_same(tiny_backbone: Path, tmp_path: Path) -> None:
    roots = [write_tiny_project(tmp_path / name, tiny_backbone) for name in ("grown", "fresh")]
    stages(roots[0])
    for root in roots:
        grow(root)
    (_, grown), (_, fresh) = stages(roots[0]), stages(roots[1])
    assert read_meta(grown.path)["tasks"] == read_meta(fresh.path)["tasks"]
    arrays = sorted(path.relative_to(fresh.path) for path in fresh.path.rglob("*.npy"))
    assert arrays
    for name in arrays:
        assert (grown.path / name).read_bytes() == (fresh.path / name).read_bytes(), name


def test_a_question_that_was_cut_counts_once_and_not_once_a_window(tiny_project: Path) -> None:
    rows = []
    for number in range(40):
        context = f"row {number} has 42 " + "plain words " * 15
        answers = [{"text": "42", "start": context.index("42")}]
        question = "the good numbers " * (4 if number % 2 else 1)
        rows.append(json.dumps({"question": question, "context": context, "answers": answers}) + "\n")
    (tiny_project / "data" / "questions.jsonl").write_text("".join(rows), encoding="utf-8")
    _, encoded = stages(
        tiny_project,
        "tasks={place: {kind: span, files: {train: data/questions.jsonl}, columns: {text: question, "
        "text_pair: context, label: answers}, head: {overlap: 4, answer_tokens: 5}}}",
    )
    splits = read_meta(encoded.path)["tasks"]["place"]["splits"].values()
    assert sum(each["rows"] for each in splits) == 40
    assert sum(each["truncated"] for each in splits) == 20


def test_stored_answers_that_were_cut_are_counted(tiny_project: Path) -> None:
    questions = write_questions(tiny_project)
    for longest, cut in ((16, 0), (8, 60)):
        _, encoded = stages(tiny_project, questions, f"backbone.max_tokens={longest}")
        counts = read_meta(encoded.path)["tasks"]["help"]["splits"]["answers"]
        assert (counts["rows"], counts["truncated"]) == (60, cut)


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="open files are counted in /dev/fd")
def test_known_rows_are_copied_in_order_and_leave_no_file_open(tmp_path: Path) -> None:
    workspace, rows = Workspace(tmp_path), 4096

    def pack(numbers: list[int]) -> Packed:
        """Rows of 128 times their number; a file of as many as are stored is more than a small one."""
        starts = np.arange(len(numbers) + 1, dtype=np.int64) * 128
        ids = np.repeat(np.array(numbers, np.int32), 128)
        return Packed(ids, starts, None, None, np.array(numbers, int) % 2 == 0)

    def keys(numbers: list[int]) -> np.ndarray:
        return row_keys([str(number) for number in numbers], None, None)

    def make(folder: Path) -> None:
        for split in range(3):
            place, numbers = folder / str(split), [split * rows + row for row in range(rows)]
            place.mkdir()
            np.save(place / KEYS, keys(numbers))
            pack(numbers).save(place)

    workspace.build("tokenise", {"made_by": {}}, make)
    before = len(list(Path("/dev/fd").iterdir()))
    known = KnownTokens(workspace, {})
    asked = [9000, 20_000, 5, 5, 4097, 30_000]
    found = known.packed(keys(asked), lambda missing: pack([asked[row] for row in missing]))
    assert len(list(Path("/dev/fd").iterdir())) == before
    assert found.ids.tolist() == np.repeat(asked, 128).tolist()
    assert found.cut.tolist() == [number % 2 == 0 for number in asked]


def test_rows_of_a_stage_that_is_gone_are_tokenised_again(tmp_path: Path) -> None:
    workspace, asked = Workspace(tmp_path), ["one", "two", "three"]

    def pack(rows: list[int]) -> Packed:
        ids = np.array([len(asked[row]) for row in rows], np.int32)
        return Packed(ids, np.arange(len(rows) + 1), None, None, np.zeros(len(rows), bool))

    keys = row_keys(asked, None, None)
    for row in (0, 1):

        def make(folder: Path, row: int = row) -> None:
            np.save(folder / KEYS, keys[[row]])
            pack([row]).save(folder)

        workspace.build("tokenise", {"made_by": {}, "row": row}, make)
    known, computed = KnownTokens(workspace, {}), []

    def tokenise(rows: list[int]) -> Packed:
        computed.extend(rows)
        return pack(rows)

    for gone in ([], [0], [0, 1]):
        for stage in workspace.all("tokenise"):
            if stage.manifest["inputs"]["row"] in gone:
                shutil.rmtree(stage.path)
        computed.clear()
        assert known.packed(keys, tokenise).ids.tolist() == [3, 3, 5]
        assert sorted(computed) == [*gone, 2]


def test_stages_whose_rows_are_known_are_not_trimmed(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    stage = workspace.build(
        "tokenise", {"made_by": {}}, lambda folder: np.save(folder / KEYS, row_keys([""], None, None))
    )
    os.utime(stage.path, (time.time() - 2 * 86400,) * 2)
    KnownTokens(workspace, {})
    assert workspace.trim(0, time.time()) == []
