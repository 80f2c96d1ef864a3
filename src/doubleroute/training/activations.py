"""The trunk's cached outputs: what the frozen lower layers make of every row, computed once.

Kept packed beside the token ids, in bfloat16, in one flat file for each layer, task and split, and
mapped into memory when it is read. A later stage of the same trunk copies the rows that it shares with
this one, so that new data cost what is new.

A copied row holds the bits that computing it would give: only rows of one length share a pass, without
padding, and a pass is filled up to some tokens. Seen so on CPUs with AVX512 in bfloat16 and float32; with
padding in it bfloat16 products differ in the last bit. Where a machine sums otherwise, what is copied and
what is computed agree to the rounding of bfloat16.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from doubleroute.config import Project
from doubleroute.data.batches import inputs_of
from doubleroute.data.shared import row_digests
from doubleroute.data.tokens import Packed
from doubleroute.digests import code_digest, file_digest, versions_of
from doubleroute.modeling.backbone import load_backbone, refuse_long_texts, states_of
from doubleroute.modeling.source import locate
from doubleroute.modeling.trunk import caught_layers, refuse_other_layers, stopping_after
from doubleroute.training.encode import ANSWERS, load_split, read_digest, read_meta
from doubleroute.training.machine import autocast, compute_device, give_back_memory, tokens_a_pass
from doubleroute.training.plan import Start
from doubleroute.training.start import trunk_weights
from doubleroute.workspace import Stage, Workspace

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: A pass of fewer tokens is filled up with its first row: so small ones are summed in another order.
_LEAST_TOKENS = 64
#: Seconds after which it is noted anew which rows are computed: what a kill costs.
_KEEP_SECONDS = 30.0
#: What a fit reads; the test rows are answered once.
LEARNED = ("train", "validation")
#: In an unfinished store: the digests of the rows whose states are on the disk.
_RECORD = "done"
_CODE = (
    "training/activations",
    "modeling/backbone",
    "modeling/source",
    "modeling/trunk",
    "data/batches",
    "data/shared",
)
#: Task and split of some rows.
Part = tuple[str, str]


def activations(
    project: Project,
    workspace: Workspace,
    encoded: Stage,
    layers: Sequence[int],
    precision: str,
    progress: Callable[[int, int], None],
    start: Start | None = None,
) -> Stage:
    """Give the stage with ``<layer>/<task>/<split>.bin``: the states after each of these layers (1 is
    the lowest), for the training and validation rows, and as a split of their own the answers of a retrieval
    task. Those of a row that an earlier stage of the same trunk has are copied; the others are computed in
    one pass, each distinct row once.

    The trunk is that of the pretrained backbone, or of ``start`` where that one's is another.
    ``progress(done, total)`` counts computed tokens. ``rows/<task>/<split>.npy``, uint64 [rows, 3], holds
    the two halves of each row's digest, and its tokens. What a run that was killed has computed is there for
    the next one.
    """
    wanted = sorted(set(layers))
    weights, start = trunk_weights(project, read_meta(encoded.path)["backbone"], wanted[-1], start)
    trunk = {
        "weights": weights,
        "precision": precision,
        "device": compute_device().type,
        "code": code_digest(*_CODE),
        "versions": versions_of("torch", "transformers"),
    }
    inputs = {"encoded": read_digest(encoded), "layers": wanted, "trunk": trunk}

    def make(folder: Path) -> None:
        backbone = _backbone(project, start)
        refuse_other_layers(backbone, wanted)
        rows = {
            (task, split): each.packed
            for split in (*LEARNED, ANSWERS)
            for task, each in load_split(encoded.path, split).items()
        }
        unfinished = workspace.partial("activations", inputs)
        try:
            sheet = _Sheet(unfinished, rows, wanted, int(backbone.config.hidden_size))
        except OSError:  # no room for all states: give back what was taken, but not what was computed
            if not (unfinished / _RECORD).exists():
                shutil.rmtree(unfinished)
            raise
        for stage in workspace.all("activations"):
            other = stage.manifest["inputs"]
            if other.get("trunk") == trunk and set(wanted) <= set(other["layers"]):
                with suppress(FileNotFoundError):  # a replay that ended removed it: what is copied is whole
                    sheet.copy(stage)
        total, done = sheet.tokens_missing, 0
        try:
            for step in _compute(backbone, sheet, precision):
                done += step
                progress(done, total)
                sheet.keep(_KEEP_SECONDS)
        finally:
            sheet.keep()
        sheet.move(folder)
        del backbone
        give_back_memory()

    stage = workspace.build("activations", inputs, make)
    shutil.rmtree(workspace.partial("activations", inputs), ignore_errors=True)
    return stage


def read(stage: Path, layer: int, split: str, packed: dict[str, Packed]) -> dict[str, np.ndarray]:
    """The stored states of every task, mapped into memory: uint16 (bfloat16 bits) [tokens, hidden]."""
    return {
        task: np.memmap(_place(stage, layer, (task, split)), np.uint16, "r").reshape(len(each.ids), -1)
        for task, each in packed.items()
    }


class _Sheet:
    """The files of a stage that is being written, and which rows are missing yet.

    ``folder`` outlives a kill; ``done`` in it has the digests of the rows whose states are on the disk.
    Raises OSError when there is no room for the states of all rows.
    """

    def __init__(self, folder: Path, rows: Mapping[Part, Packed], layers: Sequence[int], hidden: int) -> None:
        self.folder, self.layers = folder, layers
        self.record = folder / _RECORD
        self.files: dict[tuple[int, Part], np.memmap[Any, Any]] = {}
        #: For each distinct row its places: whose rows, and where its tokens are among them.
        self.missing: dict[bytes, list[tuple[Part, slice]]] = {}
        self.rows = rows
        for part, packed in rows.items():
            digests, starts = row_digests(packed), packed.starts.tolist()
            for digest, first, last in zip(digests, starts, starts[1:], strict=False):
                self.missing.setdefault(digest, []).append((part, slice(first, last)))
            _save_rows(folder, part, digests, packed.lengths)
            for layer in layers:
                place = _place(folder, layer, part)
                place.parent.mkdir(parents=True, exist_ok=True)
                self.files[layer, part] = _reserved(place, (len(packed.ids), hidden))
        record = self.record.read_bytes() if self.record.is_file() else b""
        self.done = {record[at : at + 16] for at in range(0, len(record), 16)}
        for digest in self.done:
            self.missing.pop(digest, None)
        self.kept = time.monotonic()

    @property
    def tokens_missing(self) -> int:
        """Tokens of the distinct rows that are not there yet."""
        return sum(places[0][1].stop - places[0][1].start for places in self.missing.values())

    def put(self, digest: bytes, states: Mapping[int, np.ndarray]) -> None:
        """Write a row's states, uint16 [tokens, hidden] for each layer, wherever the row stands."""
        for part, tokens in self.missing.pop(digest):
            for layer, bits in states.items():
                self.files[layer, part][tokens] = bits
        self.done.add(digest)

    def copy(self, stage: Stage) -> None:
        """Take what is missing from another stage of the same trunk; a damaged file of it is left alone."""
        sums = stage.manifest["files"]

        def whole(place: Path) -> bool:
            name = place.relative_to(stage.path).as_posix()
            return file_digest(place) == sums[name]["sha256"]

        for file in filter(whole, sorted((stage.path / "rows").rglob("*.npy"))):
            part = (file.parent.name, file.stem)
            said = np.load(file)
            shared = [row for row, each in enumerate(said[:, :2]) if each.tobytes() in self.missing]
            places = [_place(stage.path, layer, part) for layer in self.layers]
            if not shared or not all(map(whole, places)):
                continue
            ends = np.cumsum(said[:, 2]).tolist()
            states = [np.memmap(place, np.uint16, "r").reshape(ends[-1], -1) for place in places]
            for row in shared:
                tokens = slice(ends[row] - int(said[row, 2]), ends[row])
                digest = said[row, :2].tobytes()
                if digest in self.missing:  # not twice there
                    found = {layer: each[tokens] for layer, each in zip(self.layers, states, strict=True)}
                    self.put(digest, found)

    def keep(self, seconds: float = 0.0) -> None:
        """Let the disk have all states, then note whose they are; not within ``seconds`` of the last time."""
        if time.monotonic() - self.kept < seconds:
            return
        for file in self.files.values():
            file.flush()
        beside = self.record.with_suffix(".new")
        beside.write_bytes(b"".join(self.done))
        beside.replace(self.record)
        self.kept = time.monotonic()

    def move(self, folder: Path) -> None:
        """Put the files, all written, into the stage's own folder. Where the disk has hard links they stay
        here too, so that a kill before the stage is whole costs none of them."""
        for name in ("rows", *map(str, self.layers)):
            for file in filter(Path.is_file, (self.folder / name).rglob("*")):
                place = folder / file.relative_to(self.folder)
                place.parent.mkdir(parents=True, exist_ok=True)
                try:
                    place.hardlink_to(file)
                except OSError:
                    self.record.unlink(missing_ok=True)  # not all of its rows are here any more
                    file.rename(place)


def _place(stage: Path, layer: int, part: Part) -> Path:
    return stage / str(layer) / part[0] / f"{part[1]}.bin"


def _reserved(place: Path, shape: tuple[int, int]) -> "np.memmap[Any, Any]":
    """A file for uint16 [shape] mapped into memory, with room for it on the disk: writing to a hole of such a
    file ends the process with a bus error when the disk is full. Raises OSError when there is no room."""
    size = 2 * shape[0] * shape[1]
    place.touch()
    with place.open("r+b") as file:
        if hasattr(os, "posix_fallocate"):  # macOS has it not
            os.posix_fallocate(file.fileno(), 0, size)
        file.truncate(size)
    return np.memmap(place, np.uint16, "r+", shape=shape)


def _save_rows(folder: Path, part: Part, digests: Sequence[bytes], lengths: np.ndarray) -> None:
    place = folder / "rows" / part[0] / f"{part[1]}.npy"
    place.parent.mkdir(parents=True, exist_ok=True)
    halves = np.frombuffer(b"".join(digests), np.uint64).reshape(-1, 2)
    np.save(place, np.column_stack([halves, lengths.astype(np.uint64)]), allow_pickle=False)


def _backbone(project: Project, start: Start | None) -> "PreTrainedModel":
    """The pretrained backbone or that of another model, ready to run."""
    found: PreTrainedModel
    if start is None:
        found = load_backbone(locate(project.backbone.source, project.root))
    else:
        from doubleroute.modeling.model import load_model

        found = load_model(start.folder).backbone
    refuse_long_texts(found, project.backbone.max_tokens)
    return found.to(compute_device()).eval()


def _compute(backbone: "PreTrainedModel", sheet: _Sheet, precision: str) -> Iterator[int]:
    """Compute the rows that are missing, rows of one length together; give the tokens of each pass."""
    deepest = max(sheet.layers)
    with caught_layers(backbone, sheet.layers) as caught:
        for chosen in _passes({digest: places[0][1] for digest, places in sheet.missing.items()}):
            parts = [sheet.missing[digest][0] for digest in chosen]
            width = parts[0][1].stop - parts[0][1].start
            filling = [parts[0]] * max(0, -(-_LEAST_TOKENS // width) - len(parts))
            given = inputs_of([(sheet.rows[part], tokens) for part, tokens in parts + filling], pad_id=0)
            inputs = given.to(compute_device())
            with torch.inference_mode(), autocast(precision), stopping_after(backbone, deepest):
                states_of(backbone, inputs.ids, inputs.mask, inputs.types)
            bits = {layer: _bits(each) for layer, each in caught.items()}
            for row, digest in enumerate(chosen):
                sheet.put(digest, {layer: each[row] for layer, each in bits.items()})
            yield width * len(chosen)


def _bits(states: Tensor) -> np.ndarray:
    """bfloat16 as uint16."""
    found: np.ndarray = states.to(torch.bfloat16).cpu().view(torch.uint16).numpy()
    return found


def _passes(rows: Mapping[bytes, slice]) -> Iterator[list[bytes]]:
    """Rows of the same number of tokens, at most ``tokens_a_pass`` of them together, or one row."""
    by_length: dict[int, list[bytes]] = {}
    for digest, tokens in rows.items():
        by_length.setdefault(tokens.stop - tokens.start, []).append(digest)
    for width, digests in sorted(by_length.items()):
        size = max(1, tokens_a_pass(width) // width)
        yield from (digests[first : first + size] for first in range(0, len(digests), size))
