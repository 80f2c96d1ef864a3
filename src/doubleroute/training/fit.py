"""The fit stage: fine-tuning of one variant of the model, resumable bit by bit on the CPU."""

import math
import time
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from doubleroute.config import Project
from doubleroute.data.batches import Batch
from doubleroute.errors import ConfigError
from doubleroute.modeling.backbone import load_backbone, load_tokenizer, locate
from doubleroute.modeling.model import DoublerouteConfig, assemble
from doubleroute.modeling.quick import make_quick
from doubleroute.training import checkpoints
from doubleroute.training.encode import load_split, read_meta
from doubleroute.training.feed import Feed, load_states
from doubleroute.training.history import History
from doubleroute.training.machine import autocast, compute_device, keep_freed_memory
from doubleroute.training.optimise import (
    count,
    freeze,
    freeze_all_but,
    learn_mode,
    make_optimizer,
    parameter_groups,
    schedule,
)
from doubleroute.training.plan import FROM_NOTHING, Plan, task_options
from doubleroute.training.scoring import Truths, answers_of, feeder, scorer_of
from doubleroute.training.selection import read_selection
from doubleroute.training.start import origin, take_over
from doubleroute.training.variants import Variant
from doubleroute.workspace import Stage, write_json

if TYPE_CHECKING:
    from accelerate import Accelerator

Progress = Callable[[dict[str, Any]], None]


def said_by_the_first(value: Any) -> Any:
    """What the first process of accelerate's group gave here; every process must come by."""
    from accelerate.utils import broadcast_object_list

    said = [value]
    broadcast_object_list(said)
    return said[0]


class Learner:
    """One fit. ``run(folder)`` trains to the end and writes ``model/`` and ``history.json``.

    With ``plan.moved`` or ``plan.alone`` it learns from, and scores after each epoch, only the rows of the
    tasks that learn.
    Raises ConfigError when none does.
    """

    def __init__(
        self,
        project: Project,
        variant: Variant,
        validated: Stage,
        encoded: Stage,
        stored: Stage | None,
        precision: str,
        parallel: "Accelerator | None" = None,
        plan: Plan = FROM_NOTHING,
    ) -> None:
        self.project, self.training, self.plan = project, project.training, plan
        self.precision, self.parallel = precision, parallel
        self._build_model(variant, encoded)
        self._open_data(variant, validated, encoded, stored)
        self._build_optimizer()
        self.step, self.best = 0, dict[str, Tensor]()
        self.history = History(self.total)

    def _build_model(self, variant: Variant, encoded: Stage) -> None:
        source = locate(self.project.backbone.source, self.project.root)
        self.tokenizer = load_tokenizer(source)
        backbone = load_backbone(source)
        tasks = task_options(self.project, encoded.path)
        if self.plan.alone is not None:
            tasks = {self.plan.alone: tasks[self.plan.alone]}
        config = DoublerouteConfig(
            backbone=backbone.config.to_dict(),
            router=variant.router,
            tasks=tasks,
            max_tokens=self.project.backbone.max_tokens,
            origin=origin(self.project, read_meta(encoded.path)["backbone"]),
        )
        self.model = assemble(config, backbone, self.project.seed, self.project.root)
        if compute_device().type == "cpu":
            make_quick(self.model, self.model.backbone)
        self.fresh = take_over(self.model, self.plan.start) if self.plan.start else []
        self.trunk = freeze(self.model, variant.depth, self.training.dropout)
        self.learning = list(config.tasks)
        if self.plan.moved is not None:
            self.learning = [task for task in config.tasks if task in {*self.plan.moved, *self.fresh}]
            if not self.learning:
                raise ConfigError(
                    "retraining.keep_unmoved: no task of the project moved: nothing is to learn"
                )
            freeze_all_but(self.model, self.learning)
        self.model.to(compute_device())

    def _open_data(self, variant: Variant, validated: Stage, encoded: Stage, stored: Stage | None) -> None:
        everything = {split: load_split(encoded.path, split) for split in ("train", "validation")}
        rows = {
            split: {task: each for task, each in tasks.items() if task in self.learning}
            for split, tasks in everything.items()
        }
        states = {split: load_states(stored, variant.stored, split, each) for split, each in rows.items()}
        pad_id = self.tokenizer.pad_token_id or 0
        seed, start = self.project.seed, self.plan.start
        if start:  # a short training must not draw the rows again that the one before drew
            seed += zlib.crc32(start.digest.encode())
        weights = read_selection(self.plan.selection, self.learning)
        alone = self.plan.alone  # the batches are those of all tasks
        drawn = rows["train"] if alone is None else everything["train"]
        self.feed = Feed(drawn, states["train"], self.training, seed, pad_id, weights, alone)
        self.validation, self.validation_states = rows["validation"], states["validation"]
        tasks = self.model.config.tasks
        self.truths = {
            task: Truths(validated.path, task, "validation", each, tasks[task]["labels"])
            for task, each in self.validation.items()
        }

    def _build_optimizer(self) -> None:
        share = self.project.retraining.rate if self.plan.start else 1.0
        groups = parameter_groups(self.model, self.training, share, self.fresh)
        self.rates = [group["lr"] for group in groups]
        self.optimizer = make_optimizer(self.training, groups)
        self.total = max(1, round(self.plan.epochs(self.project) * self.feed.steps))
        self.factor = schedule(self.training.schedule, self.total, self.training.warmup)

    def run(self, folder: Path, partial: Path, progress: Progress) -> None:
        """Go on from the newest checkpoint in ``partial``, or begin; write the result into ``folder``."""
        keep_freed_memory()
        torch.manual_seed(self.project.seed + self._rank)
        self._resume(partial)
        if self.trunk is not None and self.feed.states is not None:
            self.trunk.take_out()
        runner = self.parallel.prepare(self.model) if self.parallel else self.model
        self.history.go_on()
        self._saved = time.monotonic()
        while self.step < self.total and not self._is_over:
            epoch, done = divmod(self.step, self.feed.steps)
            learn_mode(self.model)
            for chosen in self.feed.plan(epoch)[done : self.total - epoch * self.feed.steps]:
                if any(map(len, chosen.values())):
                    batch = self.feed.batch(chosen, self._rank, self._world).to(compute_device())
                    self._learn(runner, batch, progress)
                else:  # a task that learns alone has no row in this batch
                    self.step += 1
                if self.step % self.feed.steps and self._is_due:
                    self._save(partial)
            self._end_epoch(epoch + 1)
            self._save(partial)
        self._finish(folder)

    def _learn(self, runner: Callable[..., Any], batch: Batch, progress: Progress) -> None:
        """One step: loss, gradients, clipping, optimizer; tell the progress now and then."""
        factor = self.factor(self.step)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        if self.trunk is not None and batch.states is not None:
            self.trunk.feed(batch.states)
        with autocast(self.precision):
            loss = runner(
                **batch.inputs.keywords,
                rows=batch.rows,
                targets=batch.targets,
                label_smoothing=self.training.label_smoothing,
            ).loss
        self.optimizer.zero_grad(set_to_none=True)
        if self.parallel:
            self.parallel.backward(loss)
        else:
            loss.backward()
        if self.training.clip is not None:
            torch.nn.utils.clip_grad_norm_(checkpoints.learned(self.model).values(), self.training.clip)
        self.optimizer.step()
        self.step += 1
        value = loss.item()
        if not math.isfinite(value):
            raise self._diverged(f"the loss became {value}")
        tokens = int(batch.inputs.mask.sum()) * self._world
        point = self.history.note_step(self.step, value, tokens, self.optimizer.param_groups[0]["lr"])
        if point is not None:
            progress(point)

    def _end_epoch(self, epoch: int) -> None:
        """Score the validation rows and keep the weights if they are the best so far."""
        weights = checkpoints.learned(self.model)
        if not all(bool(torch.isfinite(value).all()) for value in weights.values()):
            raise self._diverged("weights became NaN or infinite")
        scores = self._validate() if self._rank == 0 else {}
        if self.parallel:  # processors may differ in the last bits: all go by what the first one saw
            scores = said_by_the_first(scores)
        if self.history.note_epoch(epoch, self.step, scores):
            self.best = {name: value.detach().clone() for name, value in weights.items()}

    def _diverged(self, what: str) -> ConfigError:
        return ConfigError(f"{what} at step {self.step}; lower training.learning_rate or training.clip")

    def _validate(self) -> dict[str, dict[str, float]]:
        """{task: {its metric: value}} on the validation rows."""
        self.model.eval()
        scores = {}
        for task, encoded in self.validation.items():
            options = self.model.config.tasks[task]
            before = feeder(self.trunk, self.validation_states, task)
            with autocast(self.precision):
                answers = answers_of(self.model, task, encoded, self.truths[task], self.feed.pad_id, before)
            score = scorer_of(options["kind"], answers, self.truths[task]).score()
            scores[task] = {options["metric"]: score[options["metric"]]}
        return scores

    def _finish(self, folder: Path) -> None:
        """Put the best weights and the trunk back and write the model."""
        for name, value in checkpoints.learned(self.model).items():
            value.data.copy_(self.best[name])
        if self.trunk is not None:
            self.trunk.put_back()
        if self._rank:
            return
        self.model.eval()
        taken, drawn = self.feed.drawn(self.step)
        self.model.save_pretrained(folder / "model")
        self.tokenizer.save_pretrained(folder / "model")
        write_json(
            folder / "history.json",
            {
                **self.history.as_dict(),
                "total_steps": taken,
                "rows": drawn,
                "parameters": count(self.model.parameters()),
                "trained_parameters": count(checkpoints.learned(self.model).values()),
                "precision": self.precision,
                "threads": torch.get_num_threads(),
            },
        )

    def _resume(self, partial: Path) -> None:
        with self.parallel.main_process_first() if self.parallel else nullcontext():
            found = checkpoints.newest(partial)
        if found is None:
            return
        tensors, state = found
        self.best = checkpoints.unpack(tensors, self.model, self.optimizer)
        self.step = state["step"]
        self.history.go_on(state["log"])
        # Another number of threads sums in another order: keep the one that the fit began with.
        torch.set_num_threads(state["threads"])

    def _save(self, partial: Path) -> None:
        if self._rank:
            return
        self._saved = time.monotonic()
        state = {"step": self.step, "log": self.history.kept(), "threads": torch.get_num_threads()}
        checkpoints.save(partial, self.step, checkpoints.pack(self.model, self.optimizer, self.best), state)

    @property
    def _is_over(self) -> bool:
        return self.history.is_over(self.training.early_stopping)

    @property
    def _is_due(self) -> bool:
        return time.monotonic() - self._saved >= self.training.checkpoint_seconds

    @property
    def _rank(self) -> int:
        return self.parallel.process_index if self.parallel else 0

    @property
    def _world(self) -> int:
        return self.parallel.num_processes if self.parallel else 1
