"""The evaluate stage: every model on the same test rows, with intervals, differences, slices and errors."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from doubleroute.config import Project
from doubleroute.data.arrivals import Seen, row_keys, text_keys
from doubleroute.data.batches import Encoded
from doubleroute.data.tables import read_validated, rows_digest
from doubleroute.digests import code_digest, digest_of, model_digest, versions_of
from doubleroute.linear import cores
from doubleroute.modeling.backbone import load_tokenizer
from doubleroute.modeling.routers import kinds_of
from doubleroute.modeling.source import Source
from doubleroute.plain import without_nan
from doubleroute.training.comparison import TEXTS, costs
from doubleroute.training.encode import ANSWERS, load_split, read_meta
from doubleroute.training.machine import compute_device, give_back_memory
from doubleroute.training.majority import for_context, for_words, majority_answer
from doubleroute.training.plan import is_of_champion
from doubleroute.training.scoring import Truths, answers_of, grouped
from doubleroute.training.task_scores import draws_for, score_task
from doubleroute.workspace import Stage, Workspace, write_json

if TYPE_CHECKING:  # what brings transformers is imported where a model is loaded
    from transformers import PreTrainedTokenizerBase

    from doubleroute.modeling.inference import Answerer
    from doubleroute.modeling.model import DoublerouteModel

SPLIT = "test"
Answers = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Champion:
    """The model that serves now: its folder, a ``key`` that names its version, what else
    ``evaluation.json`` says about it, and its ``rows.parquet`` (None: nobody knows its rows)."""

    folder: Path
    key: str
    about: dict[str, Any]
    rows: Path | None = None


def evaluate(
    project: Project,
    workspace: Workspace,
    validated: Stage,
    encoded: Stage,
    fits: Mapping[str, Stage],
    champion: Champion | None,
    start: Path | None = None,
) -> Stage:
    """Give the stage with ``evaluation.json`` and ``answers/<model>/<task>.jsonl``.

    All models answer the same labelled test rows; the champion those of the tasks that it has, in the
    kind that they have now. ``start``: the ``rows.parquet`` of the version that fits of a retraining began
    with, which may not be the champion any more. The champion and these fits are not scored on rows that the
    weights of either learned from, and nobody is compared with them there. Intervals are those of
    ``training.intervals``; differences are paired.
    A routed model and a champion are also compared by slices, calibration and costs, and ``held_out`` says
    which rows they answered. ``models[name]["gate"]`` is what a router's gate did and ``["layers"]`` what its
    mixture of layers is (``modeling.diagnostics``), ``router`` what the routed model scores without its gate,
    and ``ways`` what the gate gives each token of a few rows (``router_study``).
    """
    inputs = {
        "rows": rows_digest(validated),
        "encoded": encoded.digest,
        "fits": {name: stage.digest for name, stage in fits.items()},
        "champion": champion and champion.key,
        "majority": "majority" in project.evaluation.baselines,
        "bootstrap": project.evaluation.bootstrap,
        "seed": project.seed,
        "tasks": {task: [options.judged_by, options.slices] for task, options in project.tasks.items()},
        "code": code_digest("kinds", "modeling", *_CODE),
        "versions": versions_of("torch", "transformers", "numpy"),
    }

    def make(folder: Path) -> None:
        torch.set_num_threads(cores())
        rows, about = load_split(encoded.path, SPLIT), read_meta(encoded.path)["tasks"]
        truths = {
            task: Truths(validated.path, task, SPLIT, each, about[task]["labels"])
            for task, each in rows.items()
        }
        models = _models(fits, champion, majority=bool(inputs["majority"]))
        answers: dict[str, Answers] = {}
        if inputs["majority"]:
            answers["majority"] = _majority(validated.path, about, truths)
        for name, stage in fits.items():
            answers[name], about_router = _fitted(stage.path / "model", rows, truths)
            models[name] |= about_router
        found: dict[str, Any] = {"split": SPLIT, "models": models, "router": None, "ways": None}
        if "routed" in fits:
            stored = load_split(encoded.path, ANSWERS)
            found |= _studied(project, fits["routed"].path / "model", rows, truths, stored)
        if champion is not None:
            answerer, answers["champion"] = _asked(champion, models["champion"], about, truths)
            if "routed" in fits:
                found["costs"] = _costs(fits["routed"].path / "model", champion.folder, answerer, truths)
        warm = [name for name, stage in fits.items() if is_of_champion(stage.manifest["inputs"])]
        learned = _learned(truths, champion, start)
        found["tasks"] = _scored(project, about, truths, answers, learned, ["champion", *warm])
        found["held_out"] = {task: _held_out(each) for task, each in truths.items()}
        found["tokens"] = {task: each["splits"] for task, each in about.items()}
        write_json(folder / "evaluation.json", without_nan(found))
        _write_answers(folder / "answers", answers, truths)
        give_back_memory()

    return workspace.build("evaluate", inputs, make)


_CODE = (
    *(f"data/{name}" for name in ("arrivals", "splits", "tags")),
    *(
        f"training/{name}"
        for name in (
            "comparison",
            "evaluate",
            "intervals",
            "machine",
            "majority",
            "plan",
            "router_study",
            "scoring",
            "task_scores",
            "worst",
        )
    ),
)


def read_evaluation(stage: Stage) -> dict[str, Any]:
    """What ``evaluation.json`` holds."""
    evaluation: dict[str, Any] = json.loads((stage.path / "evaluation.json").read_text(encoding="utf-8"))
    return evaluation


def _scored(
    project: Project,
    about: Mapping[str, Any],
    truths: Mapping[str, Truths],
    answers: Mapping[str, Answers],
    learned: Mapping[str, np.ndarray],
    taught: Collection[str],
) -> dict[str, Any]:
    """Each task, as ``score_task`` has it; ``learned``: of each the rows that those ``taught`` learned."""
    draws = draws_for(project, truths)
    return {
        task: score_task(project, task, about[task], each, answers, draws, learned.get(task), taught)
        for task, each in truths.items()
    }


def _learned(
    truths: Mapping[str, Truths], champion: Champion | None, start: Path | None
) -> dict[str, np.ndarray]:
    """Of each task which test rows the champion or the weights of ``start`` learned from, bool [rows]; no
    task where that is known of neither. Marks the rows that arrived since the champion: ``_mark_arrived``."""
    learned: dict[str, np.ndarray] = {}
    if champion is not None and champion.rows is not None:
        learned = _mark_arrived(truths, Seen.read(champion.rows))
    if start is not None:
        begun = Seen.read(start)
        for task, each in truths.items():
            taught = begun.was_taught(task, text_keys(each.frame))
            learned[task] = taught | learned.get(task, np.zeros(len(taught), bool))
    return learned


def _mark_arrived(truths: Mapping[str, Truths], seen: Seen) -> dict[str, np.ndarray]:
    """Make slices of the test rows that were there ``before``, those that came ``since`` the champion
    learned, and those whose text it has ``learned``; no slices where all were there before. Gives for each
    task which ones it has learned: bool [rows]."""
    learned = {}
    for task, each in truths.items():
        texts = text_keys(each.frame)
        known = seen.knows(task, row_keys(each.frame, texts))
        arrived = np.where(known, "before", "since").astype(object)  # text of any length
        learned[task] = seen.was_taught(task, texts)
        arrived[learned[task]] = "learned"
        if "slice_arrived" not in each.frame and (arrived != "before").any():  # a user may slice by it
            each.frame["slice_arrived"] = arrived.tolist()
    return learned


def _majority(validated: Path, about: dict[str, Any], truths: dict[str, Truths]) -> Answers:
    found = {}
    for task, each in truths.items():
        labels = read_validated(validated, task, "train")["label"].dropna().tolist()
        answer = majority_answer(about[task]["kind"], labels, each.labels)
        if each.windows is not None:
            found[task] = [for_context(answer, context) for context in each.frame["text_pair"]]
            continue
        words = each.words or [0] * len(each.values)
        found[task] = [for_words(answer, count) for count in words]
    return found


def _fitted(
    folder: Path, rows: dict[str, Encoded], truths: dict[str, Truths]
) -> tuple[Answers, dict[str, Any]]:
    """A model's answers, and {"gate": what its router's gate did meanwhile, "layers": its mixture of them},
    each None without one."""
    from doubleroute.modeling.diagnostics import layer_mixture, watched_gate

    model, tokenizer = _loaded(folder)
    pad_id = tokenizer.pad_token_id or 0
    with watched_gate(model) as watch:
        found = answers_of(model, rows, truths, pad_id)
    return found, {"gate": watch and watch.as_dict(), "layers": layer_mixture(model)}


def _loaded(folder: Path) -> "tuple[DoublerouteModel, PreTrainedTokenizerBase]":
    """A saved model and its tokenizer."""
    from doubleroute.modeling.model import load_model

    return load_model(folder).to(compute_device()), load_tokenizer(Source(str(folder), folder))


def _studied(
    project: Project,
    folder: Path,
    rows: dict[str, Encoded],
    truths: dict[str, Truths],
    stored: dict[str, Encoded],
) -> dict[str, Any]:
    from doubleroute.training.router_study import example_ways, study_router

    model, tokenizer = _loaded(folder)
    return {
        "router": study_router(project, model, tokenizer.pad_token_id or 0, rows, truths, stored),
        "ways": example_ways(model, tokenizer, rows, truths),
    }


def _asked(
    champion: Champion, entry: dict[str, Any], about: dict[str, Any], truths: dict[str, Truths]
) -> "tuple[Answerer, Answers]":
    """The champion and its answers; notes in its ``entry`` its tasks and what its router did."""
    from doubleroute.modeling.diagnostics import layer_mixture, watched_gate
    from doubleroute.modeling.inference import Answerer

    answerer = Answerer(champion.folder)
    entry["tasks"] = list(answerer.tasks)
    with watched_gate(answerer.model) as watch:
        answers = _champion(answerer, about, truths)
    entry |= {"gate": watch and watch.as_dict(), "layers": layer_mixture(answerer.model)}
    return answerer, answers


def _costs(
    routed: Path, folder: Path, champion: "Answerer", truths: dict[str, Truths]
) -> dict[str, Any] | None:
    from doubleroute.modeling.inference import Answerer

    answerers = {"routed": Answerer(routed), "champion": champion}
    return costs(answerers, {"routed": routed, "champion": folder}, _texts(truths))


def _champion(answerer: "Answerer", about: dict[str, Any], truths: dict[str, Truths]) -> Answers:
    rows: dict[str, Any] = {}
    for task, each in truths.items():
        if answerer.tasks.get(task, {}).get("kind") == about[task]["kind"]:
            columns = [name for name in ("text", "text_pair", "tokens") if name in each.frame]
            rows[task] = each.frame[columns].to_dict("records")
    found: Answers = {}
    for tasks in grouped(rows, lambda one, other: rows[one] == rows[other]):
        given = answerer.answer(rows[tasks[0]], tasks)
        found |= {task: [answer[task] for answer in given] for task in tasks}
    return {task: found[task] for task in rows}


def _models(
    fits: Mapping[str, Stage], champion: Champion | None, majority: bool
) -> dict[str, dict[str, Any]]:
    """What is known about each model apart from its answers."""
    found: dict[str, dict[str, Any]] = {}
    if majority:
        found["majority"] = {
            "router": None,
            "steps": 0,
            "parameters": 0,
            "trained_parameters": 0,
            "seconds": 0.0,
        }
    for name, stage in fits.items():
        history = json.loads((stage.path / "history.json").read_text(encoding="utf-8"))
        found[name] = {
            "router": kinds_of(stage.manifest["inputs"]["router"]),
            "steps": history["total_steps"],
            "parameters": history["parameters"],
            "trained_parameters": history["trained_parameters"],
            "seconds": round(history["seconds"], 1),
            "digest": model_digest(stage.path / "model"),
        }
    if champion is not None:
        found["champion"] = {**champion.about, "digest": model_digest(champion.folder)}
    return found


def _held_out(truths: Truths) -> dict[str, Any]:
    """Which rows were answered: how many, and a digest of their texts' keys."""
    keys = sorted(text_keys(truths.frame).tolist())
    return {"rows": len(keys), "digest": digest_of([f"{key:016x}" for key in keys])}


def _texts(truths: Mapping[str, Truths]) -> list[dict[str, Any]]:
    """The first test rows of every task in turns, as a model is asked."""
    asked: list[list[dict[str, Any]]] = []
    for each in truths.values():
        columns = [name for name in ("text", "text_pair", "tokens") if name in each.frame]
        rows: Any = each.frame[columns].head(TEXTS).to_dict("records")
        asked.append(rows)
    return [row for turn in zip_longest(*asked) for row in turn if row is not None]


def _write_answers(folder: Path, answers: Mapping[str, Answers], truths: Mapping[str, Truths]) -> None:
    for name, tasks in answers.items():
        (folder / name).mkdir(parents=True)
        for task, rows in tasks.items():
            frame, encode = truths[task].frame, json.JSONEncoder(ensure_ascii=False).encode
            whole = zip(frame["file"].tolist(), frame["row"].tolist(), truths[task].values, rows, strict=True)
            with (folder / name / f"{task}.jsonl").open("w", encoding="utf-8", newline="\n") as file:
                for place, row, truth, answer in whole:
                    line = {"file": place, "row": row, "truth": truth, "answer": answer}
                    file.write(encode(line) + "\n")
