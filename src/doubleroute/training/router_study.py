"""What a router's gate is worth: the scores on the test rows with something else in its place; and the way of
a few of them through it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from doubleroute.config import LOWER_IS_BETTER, Project
from doubleroute.data.batches import Encoded
from doubleroute.kinds import NOTHING
from doubleroute.modeling.diagnostics import gated, logits_by_gate
from doubleroute.modeling.explain import gate_by_token
from doubleroute.modeling.model import DoublerouteModel
from doubleroute.training.intervals import difference, sample
from doubleroute.training.scoring import Truths, decoded, scorer_of, shared_passes

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: Test rows of each task whose tokens are shown by expert: the first that have no more than so many tokens.
EXAMPLES, LONGEST = 3, 64


def study_router(
    project: Project,
    model: DoublerouteModel,
    pad_id: int,
    rows: Mapping[str, Encoded],
    truths: Mapping[str, Truths],
    answers: Mapping[str, Encoded],
) -> dict[str, list[dict[str, Any]]] | None:
    """{task: [{"gate", "metric", "score", "value", "low", "high", "verdict"}]}: for each replacement of the
    gate (``modeling.diagnostics``) its score in the metric that the task is judged by, and how much better
    the learned gate is on the same test rows, with a paired 95% interval; None for a router without a gate.

    ``answers``: the stored ones of each retrieval task, which go through the same gate as the queries. The
    verdict is on the learned gate: "cannot tell" where zero lies in the interval. One interval a task and
    replacement, not corrected for their number.
    """
    router = gated(model)
    if router is None:
        return None
    found = {}
    for tasks, leader in shared_passes(rows, truths, model.depths):
        given = (rows[leader].packed, tasks, pad_id, truths[leader].words)
        logits = logits_by_gate(model, router, *given)
        for task in tasks:
            kept: dict[str, dict[str, np.ndarray]] = {}
            if task in answers:
                vectors = logits_by_gate(model, router, answers[task].packed, [task], pad_id)[task]
                kept = {by: {"vectors": np.stack(each)} for by, each in vectors.items()}
            found[task] = _by_gate(project, model, task, truths[task], logits.pop(task), kept)
    return {task: found[task] for task in rows}


def _by_gate(
    project: Project,
    model: DoublerouteModel,
    task: str,
    truth: Truths,
    logits: Mapping[str, list[np.ndarray]],
    kept: Mapping[str, Mapping[str, np.ndarray]],
) -> list[dict[str, Any]]:
    """The entries of a task, from its logits by gate; ``kept``: the vectors of its stored answers by gate."""
    metric, name = project.tasks[task].judged_by, model.config.tasks[task]["kind"]
    samples = {}
    for by, values in logits.items():
        scorer = scorer_of(name, decoded(model, task, values, truth, kept.get(by, NOTHING)), truth)
        every = np.arange(len(truth.values))
        samples[by] = sample(scorer, every, project.evaluation.bootstrap, project.seed, metric)
    learned = samples.pop("learned")
    return [
        {
            "gate": by,
            "metric": metric,
            "score": each.values[metric],
            **difference(learned, each, metric, metric not in LOWER_IS_BETTER)._asdict(),
        }
        for by, each in samples.items()
    ]


def example_ways(
    model: DoublerouteModel,
    tokenizer: "PreTrainedTokenizerBase",
    rows: Mapping[str, Encoded],
    truths: Mapping[str, Truths],
) -> dict[str, list[dict[str, Any]]] | None:
    """{task: [{"file", "row", "tokens", "experts", "weights" [tokens, experts]}]}: what the gate gives each
    token of the first few short test rows of each task; None for a router without a gate."""
    if gated(model) is None:
        return None
    found = {}
    for task, encoded in rows.items():
        short = np.flatnonzero(encoded.packed.lengths <= LONGEST)[:EXAMPLES].tolist()
        ways = gate_by_token(model, encoded.packed, short, [task], tokenizer.pad_token_id or 0)
        frame, owners = truths[task].frame, encoded.packed.owners
        rows_of = short if owners is None else owners[short].tolist()
        found[task] = [
            {
                "file": frame["file"][row],
                "row": int(frame["row"][row]),
                "tokens": tokenizer.convert_ids_to_tokens(way["ids"]),
                "experts": way["experts"],
                "weights": way["tasks"][task]["weights"],
            }
            for row, way in zip(rows_of, ways, strict=True)
        ]
    return found
