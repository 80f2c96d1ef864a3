"""Frozen models whose states are pooled: the pretrained backbone, or an earlier model with its router."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from doubleroute.config import Project
from doubleroute.data.batches import Inputs
from doubleroute.modeling.backbone import load_tokenizer
from doubleroute.modeling.source import Source, locate, source_digest
from doubleroute.training.machine import compute_device, resolve_precision

if TYPE_CHECKING:
    from doubleroute.modeling.model import DoublerouteModel

#: A batch's inputs -> the last states [batch, seq, hidden] and those of layers below, by depth.
Run = Callable[[Inputs[Tensor]], tuple[Tensor, dict[int, Tensor]]]


class Loaded(NamedTuple):
    """A frozen model in memory: one pass of it, its width, the tokenizer's ids of padding and of what it does
    not know (None: it knows all), and how many special tokens it adds to a text and to a pair."""

    run: Run
    hidden: int
    pad_id: int
    unknown_id: int | None
    special: tuple[int, int]


@dataclass(frozen=True)
class Encoder:
    """Which frozen model. ``weights``: a digest of all that its states depend on; ``precision`` of its
    products; ``load`` is called only when a row is new."""

    weights: str
    max_tokens: int
    precision: str
    load: Callable[[], Loaded]


def pretrained(project: Project, depths: Sequence[int] = (), last: int | None = None) -> Encoder:
    """The project's backbone before any training, and its layers of these ``depths`` (0: the embeddings; the
    number of its layers: the last states, after whatever norm follows the last layer). With ``last`` it ends
    with that layer."""
    source = locate(project.backbone.source, project.root)
    max_tokens = project.backbone.max_tokens

    @cache  # for every task and split
    def load() -> Loaded:
        from doubleroute.modeling.backbone import load_backbone, refuse_long_texts, states_of
        from doubleroute.modeling.trunk import caught_layers, refuse_other_layers, stopping_after

        backbone = load_backbone(source)
        refuse_long_texts(backbone, max_tokens)
        layers = int(backbone.config.num_hidden_layers)
        end = layers if last is None else last
        below = sorted({depth for depth in (*depths, end) if depth < layers})
        refuse_other_layers(backbone, below[-1:])
        backbone.to(compute_device()).eval()

        def run(inputs: Inputs[Tensor]) -> tuple[Tensor, dict[int, Tensor]]:
            given = (backbone, inputs.ids, inputs.mask, inputs.types)
            with caught_layers(backbone, below) as caught:
                if end == layers:
                    caught[end] = states_of(*given)
                else:
                    with stopping_after(backbone, end):
                        states_of(*given)
            return caught[end], caught

        return _loaded(run, int(backbone.config.hidden_size), source)

    weights = source_digest(source) + ("" if last is None else f"-{last}")
    return Encoder(weights, max_tokens, resolve_precision(project.training.precision), load)


def routed(project: Project, model: "DoublerouteModel", task: str) -> Encoder:
    """What the head of ``task`` reads in an earlier model, from which ``model`` has taken its weights, at the
    layer that the task reads in ``model``."""
    source = locate(project.backbone.source, project.root)
    number = model.task_numbers[task]

    def run(inputs: Inputs[Tensor]) -> tuple[Tensor, dict[int, Tensor]]:
        states, layers = model.encode_layers(**inputs.keywords, tasks=[task])
        asked = torch.full((len(states),), number, device=states.device)
        own, below = model.read(task, states, layers)
        return model.router(own, inputs.mask, asked, below), {}

    def load() -> Loaded:
        model.to(compute_device()).eval()
        return _loaded(run, int(model.backbone.config.hidden_size), source)

    return Encoder(
        f"{_weights(model)}-{task}-{model.depths[task]}",
        project.backbone.max_tokens,
        resolve_precision(project.training.precision),
        load,
    )


def _weights(model: "DoublerouteModel") -> str:
    """A digest of backbone and router: models that differ in their heads alone have the same states of each
    layer."""
    import xxhash

    sha = xxhash.xxh3_128()
    for part in (model.backbone, model.router):
        for name, value in part.state_dict().items():
            sha.update(name.encode())
            sha.update(value.detach().cpu().numpy().tobytes())
    return sha.hexdigest()


def _loaded(run: Run, hidden: int, source: Source) -> Loaded:
    tokenizer = load_tokenizer(source)
    special = (
        tokenizer.num_special_tokens_to_add(pair=False),
        tokenizer.num_special_tokens_to_add(pair=True),
    )
    return Loaded(run, hidden, tokenizer.pad_token_id or 0, tokenizer.unk_token_id, special)
