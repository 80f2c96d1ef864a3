"""The fit stage: fine-tuning of one variant of the model, resumable bit by bit on the CPU."""

import time
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from doubleroute.config import Project
from doubleroute.data.collating import Answers, Batch
from doubleroute.modeling.backbone import all_finite
from doubleroute.modeling.quick import make_quick, narrow
from doubleroute.modeling.recorded import Recorded
from doubleroute.modeling.vocabulary import cut_vocabulary
from doubleroute.training import checkpoints
from doubleroute.training.budget import Budget
from doubleroute.training.encode import ANSWERS, load_split
from doubleroute.training.feed import Feed, load_states
from doubleroute.training.history import History, read_history, units_of
from doubleroute.training.lora import adapt
from doubleroute.training.losses import Losses, diverged
from doubleroute.training.machine import autocast, compute_device, keep_freed_memory
from doubleroute.training.objective import Objective
from doubleroute.training.optimise import (
    checkpoint_gradients,
    count,
    freeze,
    freeze_all_but,
    learn_mode,
    make_optimizer,
    parameter_groups,
    schedule,
)
from doubleroute.training.plan import FROM_NOTHING, Plan
from doubleroute.training.scoring import Truths, answers_of, feeder, keep_answers, scorer_of
from doubleroute.training.selection import of_windows, read_selection
from doubleroute.training.start import begin
from doubleroute.training.variants import Variant
from doubleroute.workspace import Stage, write_json

if TYPE_CHECKING:
    from accelerate import Accelerator

    from doubleroute.modeling.answering import Before

Progress = Callable[[dict[str, Any]], None]
#: Between two checkpoints of a fit lie at least so many times the seconds that writing one takes.
_WRITING_TIMES = 20


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
        self._leave_out_unread_tokens()
        self._build_optimizer()
        self.step, self.best = 0, dict[str, Tensor]()
        self.recorded: Recorded | None = None
        self.history = History(self.total, self._go_on_from(), units_of(self.model.config.tasks))
        self.losses = Losses(self.history)
        self._note_finished()  # a rung knows from its first epoch on who finished on those before it

    def _build_model(self, variant: Variant, encoded: Stage) -> None:
        begun = begin(self.project, variant, encoded, self.plan)
        self.model, self.tokenizer = begun.model, begun.tokenizer
        self.fresh, self.learning = begun.fresh, begun.learning
        make_quick(self.model, self.model.backbone, compute_device().type)
        self.trunk = freeze(self.model, variant.depth, self.training.dropout)
        if self.plan.moved is not None:
            freeze_all_but(self.model, self.learning)
        self.adapters = None
        if self.training.lora is not None:
            self.adapters = adapt(self.model.backbone, self.training.lora, self.project.seed)
        if self.training.gradient_checkpointing:
            checkpoint_gradients(self.model.backbone)
        if self.precision == "bfloat16" and compute_device().type == "cpu":
            narrow(self.model.backbone, variant.depth or 0)
        self.model.to(compute_device())

    def _go_on_from(self) -> dict[str, Any] | None:
        """The history of the rung before this one, whose weights are the best so far."""
        rung, start = self.plan.rung, self.plan.start
        if start is None or rung is None or rung.first:
            return None
        weights = checkpoints.learned(self.model)
        self.best = {name: value.detach().clone() for name, value in weights.items()}
        return read_history(start.folder.parent)

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
        weights = of_windows(read_selection(self.plan.selection, self.learning), rows["train"])
        alone = self.plan.alone  # the batches are those of all tasks
        drawn = rows["train"] if alone is None else everything["train"]
        answers = load_split(encoded.path, ANSWERS)
        self.answers = {task: each for task, each in answers.items() if task in self.model.config.tasks}
        self.answer_states = load_states(stored, variant.stored, ANSWERS, self.answers)
        beside = Answers(self.answers, self.answer_states)
        epochs = self.plan.epochs(self.project)
        self.feed = Feed(drawn, states["train"], self.training, seed, pad_id, weights, alone, epochs, beside)
        self.validation, self.validation_states = rows["validation"], states["validation"]
        tasks = self.model.config.tasks
        self.truths = {
            task: Truths(validated.path, task, "validation", each, tasks[task]["labels"])
            for task, each in self.validation.items()
        }

    def _leave_out_unread_tokens(self) -> None:
        read = [*self.feed.encoded.values(), *self.validation.values(), *self.answers.values()]
        ids = (each.packed.ids for each in read)
        self.vocabulary = cut_vocabulary(self.model.backbone, ids, self.feed.pad_id)

    def _build_optimizer(self) -> None:
        share = self.plan.rate(self.project)
        self.objective = Objective(self.training, self.model, self.parallel)
        groups = parameter_groups(self.model, self.training, share, self.fresh) + self.objective.groups
        self.rates = [group["lr"] for group in groups]
        self.optimizer = make_optimizer(self.training, groups)
        self.parameters = [*checkpoints.learned(self.model).values()]
        self.total = max(1, round(self.plan.epochs(self.project) * self.feed.steps))
        self.factor = schedule(self.training.schedule, self.total, self.training.warmup)

    def _record(self) -> None:
        """On one GPU, let steps that learn in the backbone start their kernels at once."""
        plain = self.parallel is not None or self.objective.aggregate or self.training.gradient_checkpointing
        learns = any(each.requires_grad for each in self.model.backbone.parameters())
        if compute_device().type == "cuda" and learns and not plain:
            self.recorded = Recorded(self.model, self.trunk, self.feed.pad_id)
            self.model.encode_layers = self.recorded  # type: ignore[method-assign]

    def run(self, folder: Path, partial: Path, progress: Progress) -> None:
        """Go on from the newest checkpoint in ``partial``, or begin; write the result into ``folder``."""
        keep_freed_memory()
        torch.manual_seed(self.project.seed + self._rank)
        self._resume(partial)
        if self.trunk is not None and self.feed.states is not None:
            self.trunk.take_out()
        self._record()
        runner = self.parallel.prepare(self.model) if self.parallel else self.model
        self.history.go_on()
        self._saved, self._writing = time.monotonic(), 0.0
        seconds = None if self.plan.rung is None else self.plan.rung.seconds
        self.budget = Budget(seconds, self.step, self.parallel is not None)
        while self.step < self.total and not self._is_over:
            epoch, done = divmod(self.step, self.feed.steps)
            learn_mode(self.model)
            for chosen in self.feed.plan(epoch)[done : self.total - epoch * self.feed.steps]:
                if any(map(len, chosen.values())):
                    self._learn(runner, self.feed.batch(chosen, self._rank, self._world), progress)
                else:  # a task that learns alone has no row in this batch
                    self.step += 1
                self._keep_to_budget()
                if self.step >= self.total:
                    break
                if self.step % self.feed.steps and self._is_due:
                    self._read_losses(progress)
                    self._save(partial)
            self._read_losses(progress)
            self._end_epoch()
            if self._is_due:
                self._save(partial)
        self._finish(folder)

    def _learn(self, runner: Callable[..., Any], batch: Batch, progress: Progress) -> None:
        """One step: loss, gradients, clipping, optimizer; tell the progress now and then."""
        factor = self.factor(self.step)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        tokens = int(batch.inputs.mask.sum()) * self._world
        batch = batch.to(compute_device())
        if self.trunk is not None and batch.states is not None:
            self.trunk.feed(batch.states)
        with autocast(self.precision):
            output = runner(
                **batch.inputs.keywords,
                rows=batch.rows,
                targets=batch.targets,
                label_smoothing=self.training.label_smoothing,
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.objective.backward(output, batch.targets)
        if self.training.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.training.clip)
        self.optimizer.step()
        self.step += 1
        for point in self.losses.add(self.step, loss, tokens, self.optimizer.param_groups[0]["lr"]):
            progress(point)

    def _read_losses(self, progress: Progress) -> None:
        for point in self.losses.read():
            progress(point)

    def _keep_to_budget(self) -> None:
        """Once it is known how many steps there is time for, take no more."""
        affordable = self.budget.affordable(self.step)
        if affordable is None:
            return
        if self.parallel:  # each has a clock of its own: all take as many steps as the first one says
            affordable = said_by_the_first(affordable)
        if affordable < self.total:
            self.total = affordable
            self.factor = schedule(self.training.schedule, self.total, self.training.warmup)
            self.history.total = self.total

    def _end_epoch(self) -> None:
        """Score the validation rows and keep the weights if they are the best so far."""
        weights = checkpoints.learned(self.model)
        if not all(map(all_finite, weights.values())):
            raise diverged("weights became NaN or infinite", self.step)
        scores = self._validate() if self._rank == 0 else {}
        rung = None if self.plan.rung is None else self.plan.rung.name
        if self.parallel:  # processors may differ in the last bits: all go by what the first one saw
            scores = said_by_the_first(scores)
        if self.history.note_epoch(self.step, scores, rung):
            self.best = {name: value.detach().clone() for name, value in weights.items()}
        self._note_finished()

    def _note_finished(self) -> None:
        """Draw the tasks that have finished rarely from now on."""
        if self.training.task_early_stopping is not None and self.plan.alone is None:
            self.feed.finished = self.history.finished(self.training.task_early_stopping)

    def _validate(self) -> dict[str, dict[str, float]]:
        """{task: {its metric: value}} on the validation rows."""
        self.model.eval()
        scores = {}
        stored = {task: each for task, each in self.answers.items() if task in self.validation}
        before = {task: feeder(self.trunk, self.answer_states, task) for task in stored}
        with autocast(self.precision):
            keep_answers(self.model, stored, self.feed.pad_id, before)

        def fed(task: str) -> "Before | None":
            return feeder(self.trunk, self.validation_states, task)

        with autocast(self.precision):
            answers = answers_of(self.model, self.validation, self.truths, self.feed.pad_id, fed)
        for task in self.validation:
            options = self.model.config.tasks[task]
            score = scorer_of(options["kind"], answers.pop(task), self.truths[task]).score()
            scores[task] = {options["metric"]: score[options["metric"]]}
        return scores

    def _finish(self, folder: Path) -> None:
        """Put the best weights and the trunk back and write the model."""
        self.model.__dict__.pop("encode_layers", None)
        for name, value in checkpoints.learned(self.model).items():
            value.data.copy_(self.best[name])
        if self.trunk is not None:
            self.trunk.put_back()
        if self.vocabulary is not None:
            self.vocabulary.put_back()
        trained = count(checkpoints.learned(self.model).values())
        if self.plan.moved is None:
            trained -= self.model.router.unread
        if self.adapters is not None:
            self.adapters.merge_and_unload()
        if self._rank:
            return
        self.model.eval()
        keep_answers(self.model, self.answers, self.feed.pad_id)
        taken, drawn = self.feed.drawn(self.step)
        self.model.save_pretrained(folder / "model")
        self.tokenizer.save_pretrained(folder / "model")
        write_json(
            folder / "history.json",
            {
                **self.history.as_dict(taken, drawn),
                "finished": self.feed.finished,
                "task_weights": self.objective.as_dict(),
                "parameters": count(self.model.parameters()),
                "trained_parameters": trained,
                "precision": self.precision,
                "threads": torch.get_num_threads(),
                "recorded": self.recorded and self.recorded.as_dict(),
            },
        )

    def _resume(self, partial: Path) -> None:
        with self.parallel.main_process_first() if self.parallel else nullcontext():
            found = checkpoints.newest(partial)
        if found is None:
            return
        tensors, state = found
        self.best = checkpoints.unpack(tensors, self.model, self.optimizer)
        self.objective.put_back(tensors)
        self.step, self.total = state["step"], state["total"]
        self.factor = schedule(self.training.schedule, self.total, self.training.warmup)
        self.history.go_on(state["log"])
        self.history.total = self.total
        self._note_finished()
        # Another number of threads sums in another order: keep the one that the fit began with.
        torch.set_num_threads(state["threads"])

    def _save(self, partial: Path) -> None:
        if self._rank:
            return
        begun = time.monotonic()
        state = {
            "step": self.step,
            "total": self.total,
            "log": self.history.kept(),
            "threads": torch.get_num_threads(),
        }
        tensors = checkpoints.pack(self.model, self.optimizer, self.best) | self.objective.tensors()
        checkpoints.save(partial, self.step, tensors, state)
        self._saved = time.monotonic()
        self._writing = self._saved - begun

    @property
    def _is_over(self) -> bool:
        patience = self.training.task_early_stopping
        finished = patience is not None and set(self.learning) <= self.history.finished(patience).keys()
        return finished or self.history.is_over(self.training.early_stopping)

    @property
    def _is_due(self) -> bool:
        every = self.training.checkpoint_seconds
        return time.monotonic() - self._saved >= (max(every, _WRITING_TIMES * self._writing) if every else 0)

    @property
    def _rank(self) -> int:
        return self.parallel.process_index if self.parallel else 0

    @property
    def _world(self) -> int:
        return self.parallel.num_processes if self.parallel else 1
