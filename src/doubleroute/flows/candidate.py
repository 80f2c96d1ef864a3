"""What goes with a trained model into its report and into the registry."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from doubleroute.config import Project
from doubleroute.data.arrivals import REFERENCE, ROWS, row_texts
from doubleroute.data.tables import read_validated, rows_digest
from doubleroute.data.tokens import join_tokens
from doubleroute.digests import code_digest, digest_of, versions_of
from doubleroute.integrations.registry import Candidate, DatasetUse, Registry, Version
from doubleroute.integrations.versions import DataVersion
from doubleroute.reports.evaluation import write_report
from doubleroute.serving.redaction import NotRedactedError, redactor
from doubleroute.training.evaluate import Champion, read_evaluation
from doubleroute.training.history import read_history
from doubleroute.workspace import Stage, Workspace, write_json

#: Test rows of each task whose answers a registered model must give again in a new process.
GOLDEN = 4
#: Tag of a version: the decision to retrain that it comes of.
RETRAINING_DECISION = "retraining_decision"
_REPORT = ("flows/candidate", "reports", "serving/redaction")
_LIBRARIES = (
    "torch",
    "transformers",
    "tokenizers",
    "mlflow",
    "prefect",
    "great-expectations",
    "dvc",
    "matplotlib",
)


def run_key(fit: Stage, validated: Stage) -> str:
    """What a version is known by: its model, and all rows. The same model beside other test rows is another
    version, with the scores on them: the promotion gate cannot tell it from the champion of these weights, so
    that it keeps the new test rows out of training only where a person promotes it."""
    return digest_of({"fit": fit.digest, "rows": rows_digest(validated)})


def champion_of(registry: Registry, version: Version) -> Champion:
    """A registered version as evaluation takes it; what it cost to train is not known any more."""
    about = {"router": None, "steps": 0, "parameters": 0, "trained_parameters": 0, "seconds": 0.0}
    key = version.run_key or version.source
    rows = registry.artifact(version, ROWS)
    return Champion(registry.model_folder(version), key, {**about, "version": version.number}, rows)


def report(
    project: Project,
    workspace: Workspace,
    data: DataVersion,
    validated: Stage,
    fits: Mapping[str, Stage],
    evaluated: Stage,
    counts: dict[str, Any],
    kept_out: Mapping[str, int] | None = None,
) -> Stage:
    """Give the stage with report.html, report.md and evaluation.json; texts that they quote are redacted by
    ``serving.redact``."""
    provenance = {
        "project": project.name,
        "data version": data.as_dict(),
        "backbone": project.backbone.source,
        "seed": project.seed,
        "stages": {
            "validate": validated.digest,
            **{f"fit {name}": each.digest for name, each in fits.items()},
        },
        "versions": {"python": platform.python_version(), **versions_of("doubleroute", *_LIBRARIES)},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        "configuration": project.model_dump_json(indent=1),
    }
    inputs = {"evaluation": evaluated.digest, "provenance": provenance, "code": code_digest(*_REPORT)}

    def make(folder: Path) -> None:
        histories = {name: read_history(stage.path) for name, stage in fits.items()}
        quoted = _redacted(read_evaluation(evaluated), project, validated)
        write_json(folder / "evaluation.json", quoted)
        write_report(folder, quoted, histories, provenance, counts, kept_out)

    return workspace.build("report", inputs, make)


def _redacted(evaluation: dict[str, Any], project: Project, validated: Stage) -> dict[str, Any]:
    """The evaluation with the texts of the worst errors redacted. What cannot be redacted is left out, and so
    are rows shown token by token (``ways``) that something would have to be redacted of."""
    redact = redactor(project.serving.redact, home=project.root)

    def said(value: Any) -> Any:
        return list(map(said, value)) if isinstance(value, list) else value and redact(value)

    for task in evaluation["tasks"].values():
        quoted = ("text", "truth", "answer") if task["kind"] == "span" else ("text",)
        kept = []
        for error in task["errors"]:
            with suppress(NotRedactedError):
                kept.append({**error, **{key: said(error[key]) for key in quoted}})
        task["errors"] = kept
    for task, ways in (evaluation["ways"] or {}).items():
        frame = read_validated(validated.path, task, "test")
        texts = dict(zip(zip(frame["file"], frame["row"], strict=True), row_texts(frame), strict=True))
        shown = []
        for way in ways:
            text = texts[way["file"], way["row"]]
            with suppress(NotRedactedError):
                shown += [way] if redact(text) == text else []
        evaluation["ways"][task] = shown
    return evaluation


def candidate(
    project: Project,
    data: DataVersion,
    validated: Stage,
    fits: Mapping[str, Stage],
    evaluated: Stage,
    reported: Stage,
    remembered: Stage,
    decided: str | None = None,
) -> Candidate:
    """The routed model with all that the registry keeps about it."""
    from doubleroute.modeling.inference import Answerer

    fit = fits["routed"]
    history = read_history(fit.path)
    examples = _examples(project, validated)
    decision_tags = {} if decided is None else {RETRAINING_DECISION: decided}
    data_tags = {name: str(value) for name, value in data.as_dict().items() if value is not None}
    return Candidate(
        run_key=run_key(fit, validated),
        model_folder=fit.path / "model",
        examples=examples,
        golden=Answerer(fit.path / "model").answer(examples),
        params=parameters(project),
        metrics=_metrics(read_evaluation(evaluated), history),
        history=[{"step": each["step"], "train_loss": each["loss"]} for each in history["steps"]]
        + [_flat_epoch(each) for each in history["epochs"]],
        artifacts={
            "report.html": reported.path / "report.html",
            "report.md": reported.path / "report.md",
            "evaluation.json": reported.path / "evaluation.json",
            "history.json": fit.path / "history.json",
            ROWS: remembered.path / ROWS,
            REFERENCE: remembered.path / REFERENCE,
        },
        datasets=_datasets(project, validated, data_tags),
        tags={**data_tags, **decision_tags, "seed": str(project.seed), "evaluation": evaluated.digest},
    )


def parameters(project: Project) -> dict[str, Any]:
    """What project.yaml says, nested. Weights by label are one text: no label has to be a name that MLflow
    takes, and no two are one."""
    found = project.model_dump(mode="json")
    for task in found["tasks"].values():
        if isinstance(task["class_weights"], dict):
            task["class_weights"] = json.dumps(task["class_weights"], ensure_ascii=False)
    return found


def _examples(project: Project, validated: Stage) -> list[dict[str, str]]:
    """A few test rows of every task, as the served model is asked."""
    rows = []
    for task in project.tasks:
        frame = read_validated(validated.path, task, "test").head(GOLDEN)
        texts = [join_tokens(each) for each in frame["tokens"]] if "tokens" in frame else list(frame["text"])
        pairs = list(frame["text_pair"]) if "text_pair" in frame else [None] * len(texts)
        rows += [
            {"text": text} if pair is None else {"text": text, "text_pair": pair}
            for text, pair in zip(texts, pairs, strict=True)
        ]
    return rows


def _metrics(evaluation: Mapping[str, Any], history: Mapping[str, Any]) -> dict[str, float | None]:
    """Test scores of the routed model with their bounds, and what training cost."""
    found: dict[str, float | None] = {
        "train_seconds": history["seconds"],
        "parameters": history["parameters"],
        "trained_parameters": history["trained_parameters"],
    }
    for task, about in evaluation["tasks"].items():
        routed = about["models"]["routed"]
        found[f"test/{task}/rows"] = routed["rows"]
        for metric, score in routed["scores"].items():
            found[f"test/{task}/{metric}"] = score["value"]
            found[f"test/{task}/{metric}_low"] = score["low"]
            found[f"test/{task}/{metric}_high"] = score["high"]
    return found


def _flat_epoch(epoch: Mapping[str, Any]) -> dict[str, Any]:
    scores = {
        f"validation/{task}/{metric}": value
        for task, metrics in epoch["validation"].items()
        for metric, value in metrics.items()
    }
    return {"step": epoch["step"], "validation/mean": epoch["mean"], **scores}


def _named(files: Sequence[str]) -> str:
    """The names of files, the first ones where they are many: MLflow takes 65,535 characters in JSON, where
    one may become six, twice for letters beyond 16 bits."""
    room, shown = 4000, list[str]()
    for name in files:
        room -= len(name) + 2
        if room < 0:
            return f"{', '.join(shown)} and {len(files) - len(shown):,} more"
        shown.append(name)
    return ", ".join(shown)


def _datasets(project: Project, validated: Stage, tags: Mapping[str, str]) -> list[DatasetUse]:
    files = validated.manifest["files"]
    uses = []
    for task in project.tasks:
        for split in ("train", "validation", "test"):
            frame = read_validated(validated.path, task, split)
            source = _named(sorted(set(frame["file"])))
            digest = files[f"{task}/{split}.parquet"]["sha256"]
            uses.append(
                DatasetUse(task, split, source, len(frame), tuple(frame.columns), digest[:32], dict(tags))
            )
    return uses
