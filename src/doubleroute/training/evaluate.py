"""The evaluate stage: every model on the same test rows, with intervals, differences, slices and errors."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from doubleroute.config import LOWER_IS_BETTER, Project
from doubleroute.data.batches import Encoded
from doubleroute.data.tables import read_validated, rows_digest
from doubleroute.data.tokens import join_tokens
from doubleroute.kinds import Scorer
from doubleroute.modeling.backbone import Source, load_tokenizer
from doubleroute.modeling.inference import Answerer
from doubleroute.modeling.model import load_model
from doubleroute.training.encode import load_split, read_meta
from doubleroute.training.intervals import bootstrap, paired, slices
from doubleroute.training.machine import compute_device, cores
from doubleroute.training.majority import for_words, majority_answer
from doubleroute.training.scoring import Truths, answers_of, scorer_of
from doubleroute.workspace import Stage, Workspace, code_digest, versions_of, write_json

SPLIT = "test"
#: Rows of the worst errors that the report shows.
WORST = 20
Answers = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Champion:
    """The model that serves now: its folder, a digest that names its weights, and what else
    ``evaluation.json`` says about it."""

    folder: Path
    digest: str
    about: dict[str, Any]


def evaluate(
    project: Project,
    workspace: Workspace,
    validated: Stage,
    encoded: Stage,
    fits: Mapping[str, Stage],
    champion: Champion | None,
) -> Stage:
    """Give the stage with ``evaluation.json`` and ``answers/<model>/<task>.jsonl``.

    All models answer the same labelled test rows; the champion those of the tasks that it has, in the
    kind that they have now. Intervals are 95% percentile bootstraps over rows; differences are paired.
    """
    inputs = {
        "rows": rows_digest(validated),
        "encoded": encoded.digest,
        "fits": {name: stage.digest for name, stage in fits.items()},
        "champion": champion and champion.digest,
        "majority": "majority" in project.evaluation.baselines,
        "bootstrap": project.evaluation.bootstrap,
        "seed": project.seed,
        "tasks": {task: [options.judged_by, options.slices] for task, options in project.tasks.items()},
        "code": code_digest("kinds", "modeling", *(f"training/{name}" for name in _CODE)),
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
        answers |= {name: _fitted(stage.path / "model", rows, truths) for name, stage in fits.items()}
        if champion is not None:
            answerer = Answerer(champion.folder)
            models["champion"]["tasks"] = list(answerer.tasks)
            answers["champion"] = _champion(answerer, about, truths)
        evaluation = {
            "split": SPLIT,
            "models": models,
            "tasks": {task: _score(project, task, about[task], truths[task], answers) for task in rows},
            "tokens": {task: each["splits"] for task, each in about.items()},
        }
        write_json(folder / "evaluation.json", _without_nan(evaluation))
        _write_answers(folder / "answers", answers, truths)

    return workspace.build("evaluate", inputs, make)


_CODE = ("evaluate", "intervals", "machine", "majority", "scoring")


def read_evaluation(stage: Stage) -> dict[str, Any]:
    """What ``evaluation.json`` holds."""
    evaluation: dict[str, Any] = json.loads((stage.path / "evaluation.json").read_text(encoding="utf-8"))
    return evaluation


def _majority(validated: Path, about: dict[str, Any], truths: dict[str, Truths]) -> Answers:
    found = {}
    for task, each in truths.items():
        labels = read_validated(validated, task, "train")["label"].dropna().tolist()
        answer = majority_answer(about[task]["kind"], labels, each.labels)
        words = each.words or [0] * len(each.values)
        found[task] = [for_words(answer, count) for count in words]
    return found


def _fitted(folder: Path, rows: dict[str, Encoded], truths: dict[str, Truths]) -> Answers:
    model = load_model(folder).to(compute_device())
    pad_id = load_tokenizer(Source(str(folder), folder)).pad_token_id or 0
    return {task: answers_of(model, task, each, truths[task], pad_id) for task, each in rows.items()}


def _champion(answerer: Answerer, about: dict[str, Any], truths: dict[str, Truths]) -> Answers:
    found = {}
    for task, each in truths.items():
        if answerer.tasks.get(task, {}).get("kind") == about[task]["kind"]:
            columns = [name for name in ("text", "text_pair", "tokens") if name in each.frame]
            rows: Any = each.frame[columns].to_dict("records")
            found[task] = [answer[task] for answer in answerer.answer(rows, [task])]
    return found


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
            "router": stage.manifest["inputs"]["router"]["kind"],
            "steps": history["total_steps"],
            "parameters": history["parameters"],
            "trained_parameters": history["trained_parameters"],
            "seconds": round(history["seconds"], 1),
            "digest": stage.digest,
        }
    if champion is not None:
        found["champion"] = {**champion.about, "digest": champion.digest}
    return found


def _score(
    project: Project, task: str, about: dict[str, Any], truths: Truths, answers: Mapping[str, Answers]
) -> dict[str, Any]:
    """One task of ``evaluation.json``."""
    subject = "routed" if "routed" in answers else "champion"
    options, resamples, seed = project.tasks[task], project.evaluation.bootstrap, project.seed
    metric, rows = options.judged_by, len(truths.values)
    scorers = {
        name: scorer_of(about["kind"], each[task], truths) for name, each in answers.items() if task in each
    }
    models = {
        name: {
            "scores": {
                key: value._asdict() for key, value in bootstrap(scorer, rows, resamples, seed).items()
            },
            "details": scorer.details(),
            "slices": {
                column: {
                    value: score._asdict()
                    for value, score in slices(
                        scorer, truths.frame[f"slice_{column}"].tolist(), metric, resamples, seed
                    ).items()
                }
                for column in options.slices
            },
        }
        for name, scorer in scorers.items()
    }
    return {
        "kind": about["kind"],
        "metric": metric,
        "higher_is_better": metric not in LOWER_IS_BETTER,
        "rows": rows,
        "labels": about["labels"],
        "models": models,
        "differences": _differences(subject, scorers, rows, resamples, seed, metric),
        "errors": _errors(about["kind"], truths, answers[subject][task]) if subject in scorers else [],
    }


def _differences(
    subject: str, scorers: Mapping[str, Scorer], rows: int, resamples: int, seed: int, metric: str
) -> list[dict[str, Any]]:
    """The model that this is about against each of the others, on the same resampled rows."""
    higher = metric not in LOWER_IS_BETTER
    return [
        {
            "model": subject,
            "against": name,
            "metric": metric,
            **paired(scorers[subject], scorer, rows, resamples, seed, metric, higher)._asdict(),
        }
        for name, scorer in scorers.items()
        if name != subject and subject in scorers
    ]


def _errors(kind: str, truths: Truths, answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The worst rows of the model that this is about, worst first."""
    ranked = []
    for row, (truth, answer) in enumerate(zip(truths.values, answers, strict=True)):
        badness, given, confidence = _badness(kind, truth, answer)
        if badness > 0:
            ranked.append((-badness, row, given, confidence))
    frame = truths.frame
    found = []
    for _, row, given, confidence in sorted(ranked, key=lambda item: item[:2])[:WORST]:
        text = join_tokens(frame["tokens"][row]) if "tokens" in frame else frame["text"][row]
        if "text_pair" in frame:
            text = f"{text} | {frame['text_pair'][row]}"
        about = {"file": frame["file"][row], "row": int(frame["row"][row]), "text": text}
        found.append({**about, "truth": truths.values[row], "answer": given, "confidence": confidence})
    return found


def _badness(kind: str, truth: Any, answer: dict[str, Any]) -> tuple[float, Any, float | None]:
    """How wrong an answer is (0 = right), what it said, and how sure it was."""
    if kind == "regression":
        return abs(truth - answer["value"]), answer["value"], None
    if kind == "tagging":
        wrong = sum(first != second for first, second in zip(truth, answer["tags"], strict=True))
        return float(wrong), answer["tags"], None
    shares = answer["probabilities"]
    if kind == "multilabel":
        wrong_by = sum(abs((label in truth) - share) for label, share in shares.items())
        return (wrong_by if set(truth) != set(answer["labels"]) else 0.0), answer["labels"], None
    sure = shares[answer["label"]]
    return (sure if answer["label"] != truth else 0.0), answer["label"], sure


def _without_nan(value: Any) -> Any:
    """NaN, which JSON has not, becomes null."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write_answers(folder: Path, answers: Mapping[str, Answers], truths: Mapping[str, Truths]) -> None:
    for name, tasks in answers.items():
        (folder / name).mkdir(parents=True)
        for task, rows in tasks.items():
            frame = truths[task].frame
            with (folder / name / f"{task}.jsonl").open("w", encoding="utf-8", newline="\n") as file:
                for number, answer in enumerate(rows):
                    where = {"file": frame["file"][number], "row": int(frame["row"][number])}
                    line = {**where, "truth": truths[task].values[number], "answer": answer}
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
