"""Stored states: each distinct row is computed once, and never again by the same trunk."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import write_tiny_project
from test_fit import Run

from doubleroute.config import load_project
from doubleroute.data.shared import row_digests
from doubleroute.data.tokens import Packed
from doubleroute.integrations.validation import validate
from doubleroute.training import activations as module
from doubleroute.training.activations import activations, read
from doubleroute.training.encode import encode, load_split
from doubleroute.training.plan import Plan, Start
from doubleroute.workspace import Stage, Workspace


class Rows:
    """A tiny project up to its token ids."""

    def __init__(self, root: Path) -> None:
        self.project, self.workspace = load_project(root), Workspace(root)
        self.encoded = encode(self.project, self.workspace, validate(self.project, self.workspace))


class Stored:
    """An activations stage of both layers, and how many tokens were computed for it."""

    def __init__(self, run: Rows | Run, precision: str = "float32", **given: Any) -> None:
        self.computed, self.encoded = 0, run.encoded

        def note(done: int, total: int) -> None:
            assert done <= total
            self.computed = done

        torch.set_num_threads(1)
        self.stage: Stage = activations(
            run.project, run.workspace, run.encoded, given.pop("layers", (1, 2)), precision, note, **given
        )

    def states(self) -> dict[tuple[int, bytes], np.ndarray]:
        """The bits of each distinct row by layer and digest."""
        found = {}
        for split in ("train", "validation"):
            packed = {task: each.packed for task, each in load_split(self.encoded.path, split).items()}
            for layer in (1, 2):
                for task, bits in read(self.stage.path, layer, split, packed).items():
                    starts = packed[task].starts
                    for row, digest in enumerate(row_digests(packed[task])):
                        found[layer, digest] = np.array(bits[starts[row] : starts[row + 1]])
        return found


def tokens(run: Rows | Run) -> dict[bytes, int]:
    """The tokens of each distinct row."""
    parts = [each.packed for split in module.LEARNED for each in load_split(run.encoded.path, split).values()]
    return {
        digest: int(length)
        for packed in parts
        for digest, length in zip(row_digests(packed), packed.lengths, strict=True)
    }


def add_rows(root: Path) -> None:
    """A few new texts for sentiment; one of them is that of a tweet."""
    tweet = json.loads((root / "data" / "entities.jsonl").read_text(encoding="utf-8").splitlines()[0])
    new = [" ".join(tweet["tokens"]), *(f"42 words {'and numbers ' * count}like" for count in range(1, 7))]
    with (root / "data" / "sentiment.csv").open("a", encoding="utf-8") as file:
        file.writelines(f"{text},pos,mail\n" for text in new)


@pytest.fixture
def root(tiny_backbone: Path, tmp_path: Path) -> Path:
    return write_tiny_project(tmp_path / "project", tiny_backbone)


def test_a_row_is_known_by_its_ids_and_a_second_segment() -> None:
    ids, starts = np.array([2, 5, 3, 2, 5, 3, 2, 3], np.int32), np.array([0, 3, 6, 8])
    types = np.array([0, 0, 1, 0, 0, 0, 0, 0], np.uint8)
    single, pairs = (
        row_digests(Packed(ids, starts, each, None, np.zeros(len(starts) - 1, bool)))
        for each in (None, types)
    )
    assert single[0] == single[1] != single[2]
    assert pairs[0] not in single
    assert pairs[1:] == single[1:]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_only_new_rows_are_computed_and_the_others_have_the_bits_of_computing_all(
    root: Path, precision: str
) -> None:
    before = Rows(root)
    first = Stored(before, precision)
    assert first.computed == sum(tokens(before).values())
    add_rows(root)
    after = Rows(root)
    second = Stored(after, precision)
    new = {digest: count for digest, count in tokens(after).items() if digest not in tokens(before)}
    assert 0 < second.computed == sum(new.values()) < 100
    for stage in after.workspace.all("activations"):
        shutil.rmtree(stage.path)
    alone = Stored(after, precision)
    assert alone.computed == sum(tokens(after).values())
    assert second.stage.digest == alone.stage.digest
    copied, computed = second.states(), alone.states()
    assert copied.keys() == computed.keys()
    assert all((bits == computed[key]).all() for key, bits in copied.items())


def test_a_text_of_two_tasks_is_computed_once(root: Path) -> None:
    path = root / "data" / "entities.jsonl"
    tweets = [json.loads(line)["tokens"] for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [f"{' '.join(words)},{('neg', 'pos')[number % 2]},mail" for number, words in enumerate(tweets)]
    (root / "data" / "sentiment.csv").write_text("text,label,source\n" + "\n".join(rows), encoding="utf-8")
    run = Rows(root)
    both = sum(
        len(each.packed.ids)
        for split in module.LEARNED
        for each in load_split(run.encoded.path, split).values()
    )
    stored = Stored(run)
    assert stored.computed == sum(tokens(run).values()) < 0.8 * both
    assert all((bits != 0).any() for bits in stored.states().values())


def test_a_layer_less_is_copied_and_one_more_is_computed(root: Path) -> None:
    run = Rows(root)
    assert Stored(run, layers=[2]).computed
    assert Stored(run, layers=[1, 2]).computed
    shutil.rmtree(next(each.path for each in run.workspace.all("activations") if (each.path / "1").is_dir()))
    assert Stored(run, layers=[1, 2]).computed
    assert not Stored(run, layers=[1]).computed


@pytest.mark.costly
def test_damaged_files_are_not_copied(root: Path) -> None:
    first = Stored(Rows(root))
    path = first.stage.path / "1" / "sentiment" / "train.bin"
    path.write_bytes(bytes(path.stat().st_size))
    add_rows(root)
    assert Stored(Rows(root)).computed > 150  # all of that file, where new rows alone are less than 100


@pytest.mark.costly
def test_rows_are_not_copied_where_the_file_that_names_them_is_damaged(root: Path) -> None:
    first = Stored(Rows(root))
    path = first.stage.path / "rows" / "sentiment" / "train.npy"
    np.save(path, np.load(path)[::-1])
    add_rows(root)
    assert Stored(Rows(root)).computed > 150


def test_other_number_formats_are_not_copied(root: Path) -> None:
    run = Rows(root)
    first, second = Stored(run, "float32"), Stored(run, "bfloat16")
    assert first.computed == second.computed


@pytest.mark.costly
def test_the_states_of_a_champion_are_copied_as_long_as_its_trunk_is_the_pretrained_one(
    root: Path, tmp_path: Path
) -> None:
    run = Run(root, "training.epochs=1")
    run.fit(tmp_path / "top")  # the top layer alone
    below = Stored(run, layers=[1])
    champion = Stored(run, layers=[1], start=Start(tmp_path / "top" / "model", "top"))
    assert champion.stage.digest == below.stage.digest
    whole = Stored(run, layers=[1, 2])
    changed = Stored(run, layers=[1, 2], start=Start(tmp_path / "top" / "model", "top"))
    assert changed.stage.digest != whole.stage.digest
    assert changed.computed == sum(tokens(run).values())
    same = [key for key, bits in changed.states().items() if (bits == whole.states()[key]).all()]
    assert {layer for layer, _ in same} == {1}


@pytest.mark.costly
def test_a_fit_from_a_champion_that_learned_deeper_reads_the_states_of_that_one(
    root: Path, tmp_path: Path
) -> None:
    Run(root, "training.epochs=1", "training.trainable=all").fit(tmp_path / "deep")
    run = Run(root)
    start = Start(tmp_path / "deep" / "model", "deep")
    stored = Stored(run, layers=[1], start=start).stage
    learner = run.learner(stored=stored, plan=Plan(start))
    batch = learner.feed.batch(learner.feed.plan(0)[0])
    assert batch.states is not None
    assert learner.trunk is not None
    model = learner.model.eval()
    with torch.inference_mode():
        whole = model.encode(**batch.inputs.keywords)
        learner.trunk.take_out()
        learner.trunk.feed(batch.states)
        cut = model.encode(**batch.inputs.keywords)
    kept = batch.inputs.mask.bool()
    torch.testing.assert_close(cut[kept], whole[kept], atol=0.05, rtol=0.05)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system reserves no room on a disk")
def test_the_disk_has_room_for_all_states_before_the_first_is_written(tmp_path: Path) -> None:
    packed = Packed(np.arange(20_000), np.array([0, 5000, 20_000]), None, None, np.zeros(2, bool))
    module._Sheet(tmp_path, {("sentiment", "train"): packed}, [1, 2], 16)
    files = [each.stat() for each in tmp_path.rglob("*.bin")]
    assert [each.st_size for each in files] == [640_000, 640_000]
    assert all(each.st_blocks * 512 >= each.st_size for each in files)


def test_what_a_stopped_run_has_computed_is_not_computed_again(root: Path) -> None:
    run, told = Rows(root), []

    def stop(done: int, total: int) -> None:
        told.append((done, total))
        raise KeyboardInterrupt

    torch.set_num_threads(1)
    with pytest.raises(KeyboardInterrupt):
        activations(run.project, run.workspace, run.encoded, (1, 2), "float32", stop)
    (record,) = (run.workspace.root / "partial").rglob("done")
    record.write_bytes(bytes(16) + record.read_bytes())  # one that stands for no row is passed over
    second = Stored(run)
    ((done, total),) = told
    assert second.computed == total - done > 0
    assert not list((run.workspace.root / "partial").iterdir())
    files = second.stage.manifest["files"]
    shutil.rmtree(second.stage.path)
    assert Stored(run).stage.manifest["files"] == files


def test_a_run_that_is_stopped_when_all_is_computed_loses_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Rows(root)
    for stage in run.workspace.all("activations"):
        shutil.rmtree(stage.path)

    def stop(*_: Any) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", stop)  # the files have been taken over by then, and hashed
        with pytest.raises(KeyboardInterrupt):
            Stored(run)
    second = Stored(run)
    assert second.computed == 0
    assert not list((run.workspace.root / "partial").iterdir())
