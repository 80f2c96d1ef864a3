"""Checkpoints of a fit: whole or not there, tensors in safetensors, no pickle.

A checkpoint is a folder ``<step>`` with ``tensors.safetensors``, ``state.json`` and, written last,
``manifest.json`` with the sha256 of both; it is made beside its place and renamed. Reading takes the
newest one that is whole, by step and not by time.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from doubleroute.digests import file_digest
from doubleroute.modeling.model import DoublerouteModel
from doubleroute.workspace import MANIFEST, write_json

_KEPT = 2


def save(folder: Path, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write the checkpoint of ``step`` and remove all but the newest two."""
    beside = Path(tempfile.mkdtemp(prefix=".new-", dir=folder))
    try:
        save_file(
            {name: value.contiguous() for name, value in tensors.items()}, beside / "tensors.safetensors"
        )
        write_json(beside / "state.json", state)
        names = ("tensors.safetensors", "state.json")
        write_json(beside / MANIFEST, {name: file_digest(beside / name) for name in names})
        place = folder / f"{step:09d}"
        shutil.rmtree(place, ignore_errors=True)
        beside.rename(place)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    for old in _steps(folder)[:-_KEPT]:
        shutil.rmtree(old)


def newest(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and state of the newest whole checkpoint; None when there is none. Damaged ones and
    leftovers of a kill are removed."""
    for leftover in folder.glob(".new-*"):
        shutil.rmtree(leftover)
    for place in reversed(_steps(folder)):
        if _is_whole(place):
            state: dict[str, Any] = json.loads((place / "state.json").read_text(encoding="utf-8"))
            return load_file(place / "tensors.safetensors"), state
        shutil.rmtree(place)
    return None


def _steps(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name.isdigit())


def _is_whole(place: Path) -> bool:
    try:
        manifest = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        return bool(manifest) and all(file_digest(place / name) == sha for name, sha in manifest.items())
    except (OSError, ValueError):
        return False


def pack(
    model: DoublerouteModel, optimizer: torch.optim.Optimizer, best: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Everything that learning changes: trained weights, optimizer moments, random state, best weights."""
    tensors = {f"model.{name}": value.detach() for name, value in learned(model).items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    for number, moments in optimizer.state_dict()["state"].items():
        tensors |= {
            f"optimizer.{number}.{name}": value for name, value in moments.items() if value is not None
        }
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    return tensors


def unpack(
    tensors: dict[str, Tensor], model: DoublerouteModel, optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Put back what ``pack`` took; give the best weights."""
    moments: dict[int, dict[str, Tensor]] = {}
    best = {}
    weights = learned(model)
    for key, value in tensors.items():
        part, _, name = key.partition(".")
        if part == "model":
            weights[name].data.copy_(value)
        elif part == "best":
            best[name] = value
        elif part == "optimizer":
            number, _, moment = name.partition(".")
            moments.setdefault(int(number), {})[moment] = value
    packed = optimizer.state_dict()
    optimizer.load_state_dict({**packed, "state": moments})
    torch.set_rng_state(tensors["random.cpu"])
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])
    return best


def learned(model: DoublerouteModel) -> dict[str, torch.nn.Parameter]:
    """The parameters that learn, by name."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}
