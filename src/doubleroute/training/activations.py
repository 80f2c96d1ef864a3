"""The trunk's cached outputs: what the frozen lower layers make of every row, computed once.

Kept packed beside the token ids, in bfloat16, in one flat file for each layer, task and split, and
mapped into memory when it is read.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from doubleroute.config import Project
from doubleroute.data.batches import by_tokens, inputs_of, parts_of
from doubleroute.data.tokens import Packed
from doubleroute.modeling.backbone import (
    load_backbone,
    load_tokenizer,
    locate,
    refuse_long_texts,
    states_of,
)
from doubleroute.modeling.trunk import Trunk, first_of, layers_of
from doubleroute.training.encode import load_split
from doubleroute.training.machine import autocast, compute_device
from doubleroute.workspace import Stage, Workspace, code_digest, versions_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: Tokens a forward pass: enough to fill the matrix units, small enough for the caches.
TOKENS_A_PASS = 4096
SPLITS = ("train", "validation")


def activations(
    project: Project,
    workspace: Workspace,
    encoded: Stage,
    layers: Sequence[int],
    precision: str,
    progress: Callable[[int, int], None],
) -> Stage:
    """Give the stage with ``<layer>/<task>/<split>.bin``: the states after each of these layers (1 is
    the lowest), for the training and validation rows, from one pass over them.

    ``progress(done, total)`` counts tokens.
    """
    wanted = sorted(set(layers))
    inputs = {
        "encoded": encoded.digest,
        "layers": wanted,
        "precision": precision,
        "code": code_digest("training/activations", "modeling/backbone", "modeling/trunk", "data/batches"),
        "versions": versions_of("torch", "transformers"),
    }

    def make(folder: Path) -> None:
        source = locate(project.backbone.source, project.root)
        backbone = load_backbone(source).to(compute_device()).eval()
        refuse_long_texts(backbone, project.backbone.max_tokens)
        for layer in wanted:
            Trunk(backbone, layer)  # refuses a backbone that cannot be cut there
        pad_id = load_tokenizer(source).pad_token_id or 0
        rows = {split: load_split(encoded.path, split) for split in SPLITS}
        total = sum(len(each.packed.ids) for tasks in rows.values() for each in tasks.values())
        done = 0
        for split, tasks in rows.items():
            for task, each in tasks.items():
                places = {layer: folder / str(layer) / task / f"{split}.bin" for layer in wanted}
                for step in _write(backbone, each.packed, places, pad_id, precision):
                    done += step
                    progress(done, total)

    return workspace.build("activations", inputs, make)


def read(stage: Path, layer: int, split: str, packed: dict[str, Packed]) -> dict[str, np.ndarray]:
    """The stored states of every task, mapped into memory: uint16 (bfloat16 bits) [tokens, hidden]."""
    return {
        task: np.memmap(stage / str(layer) / task / f"{split}.bin", np.uint16, "r").reshape(len(each.ids), -1)
        for task, each in packed.items()
    }


def _write(
    backbone: "PreTrainedModel", packed: Packed, places: dict[int, Path], pad_id: int, precision: str
) -> Iterator[int]:
    """Fill one file a layer with the states of all rows; give the tokens of each pass as it is done."""
    stack = layers_of(backbone)
    caught: dict[int, Tensor] = {}
    hooks = [stack[layer - 1].register_forward_hook(_catch(caught, layer)) for layer in places]
    shape = (len(packed.ids), int(backbone.config.hidden_size))
    files = {}
    for layer, path in places.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        files[layer] = np.memmap(path, np.uint16, "w+", shape=shape)
    for chosen in by_tokens(packed.lengths, TOKENS_A_PASS):
        parts = parts_of(packed, chosen)
        with torch.inference_mode(), autocast(precision):
            inputs = inputs_of(parts, pad_id).to(compute_device())
            states_of(backbone, inputs.ids, inputs.mask, inputs.types)
        for layer, states in caught.items():
            bits = states.to(torch.bfloat16).cpu().view(torch.uint16).numpy()
            for row, (_, part) in enumerate(parts):
                files[layer][part] = bits[row, : part.stop - part.start]
        yield sum(part.stop - part.start for _, part in parts)
    for file in files.values():
        file.flush()
    for hook in hooks:
        hook.remove()


def _catch(caught: dict[int, Tensor], layer: int) -> Callable[..., None]:
    def hook(_: nn.Module, __: object, output: Tensor | tuple[Any, ...]) -> None:
        caught[layer] = first_of(output)

    return hook
