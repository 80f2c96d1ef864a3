"""The routed model: y_task = F_task(R(M(x), task)), as a transformers PreTrainedModel."""

import copy
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from doubleroute.errors import ModelError
from doubleroute.kinds import kind
from doubleroute.kinds.heads import Head, RowHead
from doubleroute.modeling.backbone import drop_pooler, refuse_bad_weights, refuse_long_texts, states_of
from doubleroute.modeling.routers import Addition, Layers, Router, Sizes, make_router
from doubleroute.modeling.trunk import caught_layers, stopping_after

#: What ``encode_layers`` gives of layers where none is read.
NO_LAYERS: Layers = MappingProxyType({})


class DoublerouteConfig(PreTrainedConfig):
    """What builds the model: the backbone's own config, the router's resolved options, and for each task, in
    order, ``{"kind", "labels", "pooling", "dropout", "weight"}``, what a kind has besides,
    ``"class_weights"`` [labels] where it learned with some, and ``"layer"`` where it reads a lower one.
    ``origin`` says which pretrained backbone it came from: {"source", "digest"}; empty where that is not
    known."""

    model_type = "doubleroute"

    def __init__(
        self,
        backbone: dict[str, Any] | None = None,
        router: dict[str, Any] | None = None,
        tasks: dict[str, dict[str, Any]] | None = None,
        max_tokens: int = 128,
        task_names: list[str] | None = None,
        origin: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.backbone = backbone or {}
        self.router = router or {"kind": "none"}
        # A saved config has its keys sorted; routers know tasks by number, so the order is kept apart.
        self.task_names = task_names or list(tasks or {})
        self.tasks = {name: (tasks or {})[name] for name in self.task_names}
        self.max_tokens = max_tokens
        self.origin = origin or {}
        super().__init__(**kwargs)


@dataclass
class RoutedOutput(ModelOutput):
    """``logits``: {task: [rows, outputs] or [rows, seq, outputs]}; ``loss``: float32 scalar or None;
    ``losses``: each task's part of it; ``penalty``: the router's, None without one."""

    loss: Tensor | None = None
    logits: dict[str, Tensor] | None = None
    losses: dict[str, Tensor] | None = None
    penalty: Tensor | None = None


class DoublerouteModel(PreTrainedModel):
    """One backbone, one router, a head for each task.

    ``height``: how many layers the backbone has. ``depths``: after which of them a task reads: what stands
    there is its H. ``reads``: those below the last one whose states the router or a task reads, lowest first.
    Made without a ``backbone`` it has a random one, into which loading reads the weights.
    """

    config_class = DoublerouteConfig
    base_model_prefix = "doubleroute"
    main_input_name = "input_ids"

    def __init__(self, config: DoublerouteConfig, backbone: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        options = copy.deepcopy(config.backbone)
        inner = AutoConfig.for_model(options.pop("model_type"), **options)
        if backbone is None:
            backbone = AutoModel.from_config(inner, attn_implementation="eager")
        self.backbone = backbone
        drop_pooler(self.backbone)
        hidden = int(inner.hidden_size)
        self.height = int(inner.num_hidden_layers)
        self.depths = {name: task.get("layer") or self.height for name, task in config.tasks.items()}
        sizes = Sizes(hidden, len(config.tasks), self.height, tuple(self.depths.values()))
        self.router: Router = make_router(config.router, sizes)
        self.reads = self._read_by(list(self.depths))
        self.heads = nn.ModuleDict(
            {
                name: kind(task["kind"]).head(hidden, task["labels"], task)
                for name, task in config.tasks.items()
            }
        )
        self.task_numbers = {name: number for number, name in enumerate(config.tasks)}
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: ``assemble`` sets every weight, and loading refuses files that lack one."""

    def forward(
        self,
        input_ids: Int[Tensor, "batch seq"],
        attention_mask: Int[Tensor, "batch seq"],
        token_type_ids: Int[Tensor, "batch seq"] | None = None,
        rows: Mapping[str, Tensor] | None = None,
        targets: Mapping[str, Tensor] | None = None,
        tasks: Sequence[str] | None = None,
        label_smoothing: float = 0.0,
    ) -> RoutedOutput:
        """One pass of the backbone over a batch, then router and head for the rows of each task.

        input_ids, attention_mask, token_type_ids: [batch, seq]. ``rows``: for each task the indices [rows] of
        the batch rows that it reads; by default every task (or those in ``tasks``) reads all. ``targets``:
        for each task the labels of those rows, [rows] or [rows, seq] as its kind says. The loss is the sum
        over tasks of weight * (targets of the task / all targets) * mean loss: each labelled row counts the
        same, times its task's weight; and, in training mode, the router's penalty where it has one.
        """
        if rows is None:
            wanted = list(tasks or self.task_numbers)
            states, layers = self.encode_layers(input_ids, attention_mask, token_type_ids, wanted)
            logits = self.answer_all(states, attention_mask, wanted, layers)
        else:
            states, layers = self.encode_layers(input_ids, attention_mask, token_type_ids, list(rows))
            logits = self.answer(states, attention_mask, rows, layers)
        penalty = self.router.take_penalty()
        if targets is None:
            return RoutedOutput(logits=logits)
        total = sum(len(each) for each in targets.values())
        losses, loss = {}, states.new_zeros((), dtype=torch.float32)
        for name, values in logits.items():
            options, given = self.config.tasks[name], targets[name]
            of_labels = options.get("class_weights")
            if of_labels is not None:
                of_labels = torch.tensor(of_labels, dtype=torch.float32, device=values.device)
            kept = self.head(name).kept()
            part = kind(options["kind"]).loss(values, given, label_smoothing, kept, of_labels)
            losses[name] = part * (options["weight"] * len(given) / total)
            loss = loss + losses[name]
        if penalty is not None:
            loss = loss + penalty
        return RoutedOutput(loss=loss, logits=logits, losses=losses, penalty=penalty)

    def head(self, task: str) -> Head:
        """F of a task."""
        found = self.heads[task]
        assert isinstance(found, Head)
        return found

    def kept(self, task: str) -> dict[str, np.ndarray]:
        """What the head of a task keeps for decoding (``Kind.decode``), as float32 arrays."""
        return {name: value.detach().float().cpu().numpy() for name, value in self.head(task).kept().items()}

    def encode(
        self,
        input_ids: Int[Tensor, "batch seq"],
        attention_mask: Int[Tensor, "batch seq"],
        token_type_ids: Int[Tensor, "batch seq"] | None = None,
    ) -> Float[Tensor, "batch seq hidden"]:
        """H = M(x): [batch, seq] ids -> [batch, seq, hidden] states."""
        return states_of(self.backbone, input_ids, attention_mask, token_type_ids)

    def encode_layers(
        self,
        input_ids: Int[Tensor, "batch seq"],
        attention_mask: Int[Tensor, "batch seq"],
        token_type_ids: Int[Tensor, "batch seq"] | None = None,
        tasks: Sequence[str] | None = None,
    ) -> tuple[Float[Tensor, "batch seq hidden"], dict[int, Float[Tensor, "batch seq hidden"]]]:
        """What these tasks (by default all) read: H = M(x), and the states of those of ``reads`` that they
        and their router read.

        The pass ends with the highest layer that one of the tasks reads; where that is not the last one, H is
        its states.
        """
        deepest, reads = self.deepest(tasks), self._read_by(list(self.depths if tasks is None else tasks))
        with caught_layers(self.backbone, reads) as found:
            if deepest == self.height:
                states = self.encode(input_ids, attention_mask, token_type_ids)
            else:
                with stopping_after(self.backbone, deepest):
                    self.encode(input_ids, attention_mask, token_type_ids)
                states = found[deepest].float()  # as the last states are, also under autocast
        return states, {depth: found[depth].to(states.dtype) for depth in reads}

    def deepest(self, tasks: Sequence[str] | None = None) -> int:
        """The highest layer that one of these tasks (by default all) reads."""
        return max(self.depths[name] for name in (self.depths if tasks is None else tasks))

    def _read_by(self, tasks: Sequence[str]) -> tuple[int, ...]:
        """The layers below the last one whose states these tasks and their router read, lowest first."""
        own = {self.depths[name] for name in tasks}
        return tuple(sorted({depth for depth in own if depth < self.height}.union(self._below(max(own)))))

    def _below(self, depth: int) -> list[int]:
        """The layers that the router reads for a task that reads after layer ``depth``."""
        return [each for each in self.router.reads if each < depth]

    def read(
        self, task: str, states: Float[Tensor, "batch seq hidden"], layers: Layers
    ) -> tuple[Float[Tensor, "batch seq hidden"], dict[int, Float[Tensor, "batch seq hidden"]]]:
        """Of what ``encode_layers`` gave for this task and others: its H, and what the router reads for it
        besides."""
        depth = self.depths[task]
        own = states if depth == self.height else layers[depth]
        return own, {each: layers[each] for each in self._below(depth)}

    def answer(
        self,
        states: Float[Tensor, "batch seq hidden"],
        mask: Int[Tensor, "batch seq"],
        rows: Mapping[str, Tensor],
        layers: Layers = NO_LAYERS,
    ) -> dict[str, Tensor]:
        """F(R(H, task)) for the rows of each task: states [batch, seq, hidden] -> logits by task.
        ``layers``: what ``encode_layers`` gave beside the states."""
        index = torch.cat([rows[name] for name in rows])
        task = torch.cat(
            [torch.full_like(rows[name], self.task_numbers[name], dtype=torch.long) for name in rows]
        )
        if len({self.depths[name] for name in rows}) == 1:
            chosen = self.read(next(iter(rows)), states, layers)[0][index]
        else:
            chosen = torch.cat([self.read(name, states, layers)[0][rows[name]] for name in rows])
        chosen_mask = mask[index]
        below = {depth: layers[depth][index] for depth in self._below(self.deepest(list(rows)))}
        routed = self.router(chosen, chosen_mask, task, below)
        logits, start = {}, 0
        for name, numbers in rows.items():
            part = slice(start, start + len(numbers))
            logits[name] = self.heads[name](routed[part], chosen_mask[part])
            start += len(numbers)
        return logits

    def answer_all(
        self,
        states: Float[Tensor, "batch seq hidden"],
        mask: Int[Tensor, "batch seq"],
        tasks: Sequence[str],
        layers: Layers = NO_LAYERS,
    ) -> dict[str, Tensor]:
        """F(R(H, task)) of every row for each of these tasks; as ``answer``."""
        shared = self.answer_shared(states, mask, tasks, layers)
        if shared is not None:
            return shared
        everything = torch.arange(len(states), device=states.device)
        return self.answer(states, mask, dict.fromkeys(tasks, everything), layers)

    def answer_shared(
        self,
        states: Float[Tensor, "batch seq hidden"],
        mask: Int[Tensor, "batch seq"],
        tasks: Sequence[str],
        layers: Layers = NO_LAYERS,
    ) -> dict[str, Tensor] | None:
        """The logits of ``answer_all`` by way of the router's ``additions``; None where it has none to give,
        and in training mode.

        A head that averages tokens does so before U: mean(H + Z U) = mean(H) + mean(Z) U, which is a product
        for each row in place of one for each token.
        """
        if self.training:
            return None
        found: dict[str, Tensor] = {}
        for depth in {self.depths[name] for name in tasks}:
            alike = [name for name in tasks if self.depths[name] == depth]
            own, _ = self.read(alike[0], states, layers)
            additions = self.router.additions(own, mask, [self.task_numbers[name] for name in alike])
            if additions is None:
                return None
            found |= self._answer_added(own, mask, alike, additions)
        return {name: found[name] for name in tasks}

    def _answer_added(
        self, states: Tensor, mask: Tensor, tasks: Sequence[str], additions: Sequence[Addition]
    ) -> dict[str, Tensor]:
        """The logits of tasks that read the same states, with what the router adds to these for each."""
        found, pooled, one = {}, dict[str, Tensor](), torch.ones_like(mask[:, :1])
        for name, (features, up) in zip(tasks, additions, strict=True):
            head, up = self.head(name), up.to(features.dtype)
            if isinstance(head, RowHead) and head.query is None:
                if head.pooling not in pooled:
                    pooled[head.pooling] = head.pool(states, mask)
                row = pooled[head.pooling] + (head.pool(features, mask) @ up).to(states.dtype)
                found[name] = head(row[:, None], one)  # what is pooled of one token is that token
            else:
                found[name] = head(states + (features @ up).to(states.dtype), mask)
        return found


def assemble(
    config: DoublerouteConfig, backbone: PreTrainedModel, seed: int, root: Path = Path()
) -> DoublerouteModel:
    """A fresh routed model on pretrained weights. ``root``: the folder of the project, where a router that
    begins with weights of its own finds them.

    Router and heads are drawn from streams of their own, named by seed and part, so that a head starts
    the same whatever the router and whatever the other tasks. Raises ConfigError when ``max_tokens`` is
    more than the backbone, or the router, has positions for.
    """
    refuse_long_texts(backbone, config.max_tokens)
    model = DoublerouteModel(config, backbone)
    refuse_long_texts(model.router, config.max_tokens)
    parts: dict[str, nn.Module] = {"router": model.router}
    parts |= {f"head {name}": head for name, head in model.heads.items()}
    for name, part in parts.items():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(zlib.crc32(f"{seed} {name}".encode()))
            for module in part.modules():
                if isinstance(module, nn.Linear):
                    nn.init.normal_(module.weight, std=0.02)
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)
    for name in model.heads:
        model.head(name).begin()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(zlib.crc32(f"{seed} token gate".encode()))
        model.router.begin(root)
    return model


def load_model(folder: Path) -> DoublerouteModel:
    """Load a saved routed model in evaluation mode. Raises ModelError for a missing folder, missing or
    unexpected tensors, and weights that are NaN or infinite."""
    if not (folder / "config.json").is_file() or not (folder / "model.safetensors").is_file():
        raise ModelError(f"{folder} holds no model: config.json and model.safetensors are expected there")
    try:
        model, info = DoublerouteModel.from_pretrained(folder, output_loading_info=True, use_safetensors=True)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise ModelError(f"{folder} cannot be loaded: {error}") from error
    refuse_bad_weights(model, info["missing_keys"], str(folder))
    lost = sorted(name for name in info["missing_keys"] if name.startswith("heads."))
    if lost:
        raise ModelError(f"{folder} lacks what a head keeps: {lost[0]}")
    if info["unexpected_keys"]:
        raise ModelError(f"{folder} holds unknown weights, such as {sorted(info['unexpected_keys'])[0]}")
    model.eval()
    return model


AutoConfig.register("doubleroute", DoublerouteConfig, exist_ok=True)
AutoModel.register(DoublerouteConfig, DoublerouteModel, exist_ok=True)
