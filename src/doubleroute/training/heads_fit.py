"""The lowest rung of a ladder: heads, and a layers router with a bottleneck, solved on pooled states."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from doubleroute.config import Project
from doubleroute.data.batches import Encoded
from doubleroute.data.tokens import Packed
from doubleroute.kinds import kind
from doubleroute.kinds.regression import in_spreads
from doubleroute.modeling.answering import by_word
from doubleroute.training.encode import load_split
from doubleroute.training.encoders import Encoder, pretrained, routed
from doubleroute.training.heads import Examples, Solved, head_of, layers_router, place, solve
from doubleroute.training.history import History, gain, units_of
from doubleroute.training.known_tokens import KEYS
from doubleroute.training.machine import autocast, compute_device
from doubleroute.training.optimise import count
from doubleroute.training.plan import Plan
from doubleroute.training.pooled import Pooled, Pooling, pooled_states
from doubleroute.training.scoring import Truths, answers_of, scorer_of
from doubleroute.training.selection import read_selection
from doubleroute.training.start import begin
from doubleroute.training.variants import Variant
from doubleroute.workspace import Stage, Workspace, write_json

Progress = Callable[[dict[str, Any]], None]
#: Rows, or words, that a head is solved on: more make it no better, and fill the memory.
MOST_ITEMS = 200_000


class HeadsFit:
    """Solves the heads of the tasks that learn, which have linear ones (``Task.has_linear_head``). A
    champion's head that scores no worse on the validation rows than the new one is kept.

    ``run(folder)`` writes ``model/`` and ``history.json`` as ``fit.Learner`` does. Nothing is to be resumed:
    what takes time are the states, which are kept row by row.
    """

    def __init__(
        self,
        project: Project,
        workspace: Workspace,
        variant: Variant,
        validated: Stage,
        encoded: Stage,
        precision: str,
        plan: Plan,
    ) -> None:
        self.project, self.workspace, self.plan, self.precision = project, workspace, plan, precision
        self.encoded = encoded
        begun = begin(project, variant, encoded, plan)
        self.model, self.tokenizer, self.fresh = begun.model, begun.tokenizer, begun.fresh
        self.tasks = begun.learning
        self.rows = {split: load_split(encoded.path, split) for split in ("train", "validation")}
        self.weights = read_selection(plan.selection, self.tasks)
        #: By the layers that are read and where the pass ends.
        self.encoders: dict[tuple[Sequence[int], int], Encoder] = {}
        #: For a task with more than MOST_ITEMS training rows, or words, how many its head is solved without.
        self.left_out: dict[str, int] = {}
        self.truths = {
            task: Truths(
                validated.path,
                task,
                "validation",
                self.rows["validation"][task],
                self.model.config.tasks[task]["labels"],
            )
            for task in self.tasks
        }

    def run(self, folder: Path, progress: Progress) -> None:
        """Solve and write."""
        history = History(total=0, units=units_of(self.model.config.tasks))
        scores, solved = {}, 0
        for number, task in enumerate(self.tasks):
            scores[task] = self._fit(task, history, progress)
            part = layers_router(self.model) if self.plan.start is None else None
            solved += count(self.model.heads[task].parameters())
            if part is not None:
                read = len(part.down[number]) if part.open is None else sum(part.open[number])
                solved += part.up[number].numel() + read * part.down[number][0].numel()
        history.note_epoch(0, scores, "heads")
        self.model.cpu().eval()
        self.model.save_pretrained(folder / "model")
        self.tokenizer.save_pretrained(folder / "model")
        rows = {task: len(each) for task, each in self.rows["train"].items() if task in self.tasks}
        write_json(
            folder / "history.json",
            {
                **history.as_dict(0, rows),
                "left_out": self.left_out,
                "parameters": count(self.model.parameters()),
                "trained_parameters": solved,
                "precision": self.precision,
                "threads": 1,
            },
        )

    def _fit(self, task: str, history: History, progress: Progress) -> dict[str, float]:
        """Solve one task and give its score on the validation rows."""
        options = self.model.config.tasks[task]
        with history.paused():  # a budget is not for storing states, nor for waiting until another fit has
            train, held = (self.states(task, split, progress) for split in ("train", "validation"))
        weights = None if self.weights is None else self.weights[task]
        seed, class_weights = self.project.seed, options.get("class_weights")
        examples = examples_of(train, self.rows["train"][task], seed, weights, class_weights)
        if len(examples.targets) < len(train.last):
            self.left_out[task] = len(train.last) - len(examples.targets)
        others = examples_of(held, self.rows["validation"][task], seed)
        if options["kind"] == "regression":
            unit = self.model.kept(task)
            examples = examples._replace(targets=in_spreads(examples.targets, unit))
            others = others._replace(targets=in_spreads(others.targets, unit))
        solved = solve(options["kind"], examples, others, head_of(self.model, task).out.out_features)
        if self.plan.start is not None and task not in self.fresh:
            before, after = self._score_before(task, held), self._score(task, held, solved)
            metric = options["metric"]
            if gain(metric, before[metric]) >= gain(metric, after[metric]):
                return before
        return self._score(task, held, place(self.model, task, solved))

    def _score_before(self, task: str, states: Pooled) -> dict[str, float]:
        """The score of the champion's head. One that pools by attention may have learned to weigh the tokens:
        it is no linear model of their mean, and answers the rows themselves."""
        head = head_of(self.model, task)
        if getattr(head, "query", None) is None:
            weight, bias = (each.detach().cpu().numpy() for each in (head.out.weight, head.out.bias))
            return self._score(task, states, Solved(weight, bias, 0.0))
        model, rows = self.model.to(compute_device()).eval(), {task: self.rows["validation"][task]}
        with autocast(self.precision):
            answers = answers_of(model, rows, self.truths, self.tokenizer.pad_token_id or 0)
        return self._scored(task, answers[task])

    def states(self, task: str, split: str, progress: Progress) -> Pooled:
        """What the head of a task reads of the rows of a split."""
        rows = self.rows[split][task]
        keys = np.load(self.encoded.path / task / split / KEYS)
        encoder, depths = self._encoder(task)

        def pack(places: list[int]) -> tuple[Packed, np.ndarray]:
            return rows.packed, np.array(places, np.int64)

        def tell(done: int, total: int) -> None:
            progress({"step": done, "total": total, "unit": f"tokens of {task}, {split}"})

        return pooled_states(self.workspace, encoder, keys, pack, self._pooling(task), tell, depths)

    def _encoder(self, task: str) -> tuple[Encoder, Sequence[int]]:
        """What the head reads: of an earlier model its routed states, else those of the backbone, and of its
        layers where the router brings them to the head."""
        if self.plan.start is not None:
            return routed(self.project, self.model, task), ()
        router, own = layers_router(self.model), self.model.depths[task]
        depths = () if router is None else (*(each for each in router.reads if each < own), own)
        if (depths, own) not in self.encoders:  # loaded once, not for each task and split
            last = own if own < self.model.height else None
            self.encoders[depths, own] = pretrained(self.project, depths, last)
        return self.encoders[depths, own], depths

    def _pooling(self, task: str) -> Pooling:
        if kind(self.model.config.tasks[task]["kind"]).per_token:
            return "words"
        return "first" if self.model.config.tasks[task]["pooling"] == "first" else "mean"

    def _score(self, task: str, states: Pooled, solved: Solved) -> dict[str, float]:
        """{the task's metric: its value} on the validation rows."""
        options, truths = self.model.config.tasks[task], self.truths[task]
        flat, packed = solved.logits(states.features()), self.rows["validation"][task].packed
        logits = [flat[first:last] for first, last in zip(states.starts, states.starts[1:], strict=False)]
        if packed.words is None:
            logits = [each[0] for each in logits]
        else:
            assert truths.words is not None
            words = [
                packed.words[first:last]
                for first, last in zip(packed.starts, packed.starts[1:], strict=False)
            ]
            logits = [
                by_word(values, places[places >= 0], size)
                for values, places, size in zip(logits, words, truths.words, strict=True)
            ]
        answers = kind(options["kind"]).decode(logits, truths.labels, self.model.kept(task))
        return self._scored(task, answers)

    def _scored(self, task: str, answers: list[dict[str, Any]]) -> dict[str, float]:
        options = self.model.config.tasks[task]
        score = scorer_of(options["kind"], answers, self.truths[task]).score()
        return {options["metric"]: score[options["metric"]]}


def examples_of(
    states: Pooled,
    rows: Encoded,
    seed: int,
    weights: np.ndarray | None = None,
    class_weights: Sequence[float] | None = None,
) -> Examples:
    """Features, targets and weights of each item, a row or a word; of more than MOST_ITEMS so many, drawn,
    those that have a weight first. ``weights`` are those of the rows."""
    targets = np.asarray(rows.labels)
    sizes = np.diff(states.starts)
    if rows.packed.words is not None:
        targets = targets[np.asarray(rows.packed.words) >= 0]
    of_rows = np.ones(len(rows)) if weights is None else weights
    of_items = np.repeat(of_rows, sizes)
    if class_weights is not None:
        of_items = of_items * np.array(class_weights)[targets]
    items: slice | np.ndarray = slice(None)
    if len(of_items) > MOST_ITEMS:
        drawn = np.random.default_rng(seed).permutation(len(of_items))
        items = np.sort(drawn[np.argsort(of_items[drawn] == 0, kind="stable")][:MOST_ITEMS])
    return Examples(states.features(items), targets[items], of_items[items])
