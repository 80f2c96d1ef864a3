"""How rows that arrived differ from those that a model learned from, and how it does on them."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from doubleroute.config import LOWER_IS_BETTER, NAMELESS, Project
from doubleroute.data.arrivals import row_texts
from doubleroute.data.checks import unknown_label
from doubleroute.digests import code_digest, digest_of, versions_of
from doubleroute.drift.detectors import measure
from doubleroute.drift.sample import Sample, TaskRows
from doubleroute.drift.statistics import expected_accuracy
from doubleroute.drift.values import matched
from doubleroute.kinds import Scorer, kind
from doubleroute.modeling.source import locate, source_digest
from doubleroute.plain import without_nan
from doubleroute.training.answers import answers_to
from doubleroute.training.embeddings import embeddings
from doubleroute.training.intervals import interval
from doubleroute.training.intervals import sample as resample
from doubleroute.workspace import Stage, Workspace, write_json

if TYPE_CHECKING:
    import pandas as pd

#: Labelled rows of each side that a fall is told of at the least.
LEAST = 30
Frames = dict[str, "pd.DataFrame"]
Progress = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True)
class Known:
    """A model, a digest that names its weights, and rows that it was trained, chosen and tested on, with
    their split."""

    digest: str
    model: Path
    sample: Frames


_CODE = (
    *("corrections", "data/tags", "drift", "kinds", "flows/watching", "modeling"),
    *(f"training/{name}" for name in ("answers", "embeddings", "intervals", "pooled")),
)


def check(
    project: Project,
    workspace: Workspace,
    champion: Known,
    current: Frames,
    labels: Mapping[str, list[str]],
    progress: Progress,
) -> Stage:
    """Give the stage with ``check.json``: ``drift`` (see ``drift.detectors``) and ``performance``, of the
    ``current`` rows against those that the champion learned from. ``labels``: of each task, all there are.
    """
    frames = {task: frame for task, frame in current.items() if len(frame)}
    keys = {task: _digest(frame) for task, frame in frames.items()}
    inputs = {
        "champion": champion.digest,
        "reference": {task: _digest(frame) for task, frame in champion.sample.items() if task in frames},
        "current": keys,
        "labels": {task: labels[task] for task in frames},
        "drift": project.drift.model_dump(mode="json"),
        "bootstrap": project.evaluation.bootstrap,
        "metrics": {task: project.tasks[task].judged_by for task in frames},
        "backbone": project.backbone.model_dump(mode="json"),
        "files": source_digest(locate(project.backbone.source, project.root)),
        "seed": project.seed,
        "code": code_digest(*_CODE),
        "versions": versions_of("numpy", "scipy", "torch"),
    }

    def make(folder: Path) -> None:
        before, since = _pick(project, champion, frames)
        honest = {task: np.asarray(before[task]["split"] != "train") for task in since}
        answers = {
            "before": _answers(workspace, champion, {task: before[task] for task in since}, honest),
            "since": _answers(workspace, champion, since),
        }
        reference = _sample(project, workspace, before, answers["before"], labels, progress)
        now = _sample(project, workspace, since, answers["since"], labels, progress)
        drift = measure(reference, now, project.drift, project.seed)
        if project.drift.attribution and drift["verdict"] == "moved":
            from doubleroute.drift.attribution import attribute

            rows = matched(reference, now, project.seed)
            drift["attribution"] = attribute(reference.take(rows[0]), now.take(rows[1]), project.seed)
        performance = {
            task: _performance(
                project,
                task,
                labels[task],
                {"before": before[task], "since": since[task]},
                {side: given[task] for side, given in answers.items()},
            )
            for task in since
        }
        write_json(folder / "check.json", without_nan({"drift": drift, "performance": performance}))

    return workspace.build("check", inputs, make)


def _digest(frame: "pd.DataFrame") -> str:
    """Of all that a check reads of the rows: what they say to the letter, their labels, places, times and
    slices."""
    read = ("file", "row", "text", "text_pair", "tokens", "label", "time")
    names = [str(name) for name in frame]
    about = [name for name in names if name in read or name.startswith("slice_")]
    encode = json.JSONEncoder(default=str).encode
    return digest_of({name: [encode(value) for value in frame[name]] for name in about})


def short(drift: Mapping[str, Any]) -> dict[str, Any]:
    """What a policy needs of a drift document."""
    keys = ("scope", "what", "p_adjusted", "effect", "verdict")
    tests = [{key: test[key] for key in keys} for test in drift["tests"]]
    return {"verdict": drift["verdict"], "moved": drift["moved"], "rows": drift["rows"], "tests": tests}


def read_check(stage: Stage) -> dict[str, Any]:
    """What ``check.json`` holds."""
    found: dict[str, Any] = json.loads((stage.path / "check.json").read_text(encoding="utf-8"))
    return found


def _pick(project: Project, champion: Known, current: Frames) -> tuple[Frames, Frames]:
    """The rows of both sides of every task that the champion has, ``drift.max_rows`` of each at most."""
    limit, seed = project.drift.max_rows, project.seed
    known = {task: frame for task, frame in champion.sample.items() if task in current}
    return (
        {task: _some(frame, limit, seed) for task, frame in known.items()},
        {task: _some(current[task], limit, seed) for task in known},
    )


def _some(frame: "pd.DataFrame", count: int, seed: int) -> "pd.DataFrame":
    """At most ``count`` rows, at random, in their order."""
    if len(frame) <= count:
        return frame
    order = np.random.default_rng(seed).permutation(len(frame))
    return frame.iloc[np.sort(order[:count])].reset_index(drop=True)


def _answers(
    workspace: Workspace, champion: Known, frames: Frames, honest: Mapping[str, np.ndarray] | None = None
) -> dict[str, list[dict[str, Any] | None]]:
    """The champion's answers by task to the ``honest`` rows [n] bool, None to the others, which it learned
    from; to all rows without."""
    rows = {
        task: np.arange(len(frame)) if honest is None else np.flatnonzero(honest[task])
        for task, frame in frames.items()
    }
    asked = {task: frame.iloc[rows[task]] for task, frame in frames.items()}
    given = answers_to(workspace, champion.model, champion.digest, asked)
    found: dict[str, list[dict[str, Any] | None]] = {}
    for task, frame in frames.items():
        found[task] = [None] * len(frame)
        for row, answer in zip(rows[task].tolist(), given[task], strict=True):
            found[task][row] = answer
    return found


def _sample(
    project: Project,
    workspace: Workspace,
    frames: Frames,
    answers: Mapping[str, list[dict[str, Any] | None]],
    labels: Mapping[str, list[str]],
    progress: Progress,
) -> Sample:
    """The rows of all tasks, one after the other, as the detectors take them. A text that several tasks have
    is one row: the tests count rows that do not depend on each other. What one task has twice is two."""
    import pandas as pd

    slices = sorted({str(name) for frame in frames.values() for name in frame})
    slices = [name for name in slices if name.startswith("slice_")]
    parts = []
    for frame in frames.values():
        part = frame.reindex(columns=[*slices, "time", "text_pair"]).astype(object)
        part["text"] = row_texts(frame)
        part["place"] = [f"{file}:{row}" for file, row in zip(frame["file"], frame["row"], strict=True)]
        part["copy"] = part.groupby(["text", "text_pair"], dropna=False).cumcount()
        parts.append(part)
    nothing = pd.DataFrame(columns=[*slices, "time", "text_pair", "text", "place", "copy"])
    rows_of_all = pd.concat(parts, ignore_index=True) if parts else nothing
    groups = rows_of_all.groupby(["text", "text_pair", "copy"], sort=False, dropna=False)
    merged = groups.first().reset_index().astype(object)  # of each column what the first task has that has it
    merged = merged.where(merged.notna(), None)
    numbers, tasks, end = groups.ngroup().to_numpy(), {}, 0
    for task, frame in frames.items():
        rows, end = numbers[end : end + len(frame)], end + len(frame)
        known = [None if _absent(label) else label for label in frame["label"]]
        tasks[task] = TaskRows(project.tasks[task].kind, labels[task], rows, known, answers[task])
    texts = merged["text"].tolist()
    vectors, tokens, unknown = embeddings(project, workspace, texts, merged["text_pair"].tolist(), progress)
    segments = {name.removeprefix("slice_"): merged[name].tolist() for name in slices}
    times, places = merged["time"].tolist(), merged["place"].tolist()
    return Sample(vectors, texts, tokens, unknown, segments, times, places, tasks)


def _absent(label: Any) -> bool:
    return label is None or (isinstance(label, float) and math.isnan(label))


def _performance(
    project: Project,
    task: str,
    labels: list[str],
    sides: Mapping[str, "pd.DataFrame"],
    answers: Mapping[str, list[dict[str, Any] | None]],
) -> dict[str, Any]:
    """The champion's score on held-out rows that it was judged by, on labelled rows that arrived, and by
    how much it fell; the two are independent samples, so the squares of their half-widths add up. Rows
    whose label the task no longer has are not scored, and with fewer than LEAST rows on a side no fall is
    told."""
    options = project.tasks[task]
    metric, higher = options.judged_by, options.judged_by not in LOWER_IS_BETTER
    scores: dict[str, dict[str, Any] | None] = {}
    for side, frame in sides.items():
        chosen = [
            (answer, label)
            for answer, label in zip(answers[side], frame["label"], strict=True)
            if answer is not None and not _absent(label)
        ]
        if options.kind not in NAMELESS:
            gone = unknown_label([label for _, label in chosen], labels)
            chosen = [pair for pair, name in zip(chosen, gone, strict=True) if name is None]
        scores[side] = None
        if chosen:
            given, truths = zip(*chosen, strict=True)
            scorer: Scorer = kind(options.kind).scorer(given, truths, labels)
            rows = np.arange(len(chosen))
            drawn = resample(scorer, rows, project.evaluation.bootstrap, project.seed, metric)
            scores[side] = {**interval(drawn, metric)._asdict(), "rows": len(chosen)}
    estimated = _estimated(sides, answers) if metric == "accuracy" else None
    return {
        "metric": metric,
        "higher_is_better": higher,
        "reference": scores["before"],
        "current": scores["since"],
        "estimated": estimated,
        "estimate_error": None,
        "fall": _fall(scores["before"], scores["since"], 1 if higher else -1),
    }


def _estimated(
    sides: Mapping[str, "pd.DataFrame"], answers: Mapping[str, list[dict[str, Any] | None]]
) -> dict[str, Any] | None:
    """Accuracy on the rows that arrived, from the champion's confidence alone."""
    held = [
        (answer["probabilities"][answer["label"]], answer["label"] == label)
        for answer, label in zip(answers["before"], sides["before"]["label"], strict=True)
        if answer is not None and not _absent(label)
    ]
    now = [answer["probabilities"][answer["label"]] for answer in answers["since"] if answer is not None]
    if not held or not now:
        return None
    confidence, right = (np.array(values) for values in zip(*held, strict=True))
    found = expected_accuracy(confidence, right, np.array(now))
    return None if found is None else {**found._asdict(), "rows": len(now)}


def _fall(before: dict[str, Any] | None, since: dict[str, Any] | None, sign: int) -> dict[str, float] | None:
    """Positive is worse. The standard error of each side is a quarter of its interval, as of a normal."""
    if before is None or since is None or min(before["rows"], since["rows"]) < LEAST:
        return None
    value = sign * (before["value"] - since["value"])
    half = math.hypot(*((side["high"] - side["low"]) / 2 for side in (before, since)))
    return {"value": value, "low": value - half, "high": value + half} if math.isfinite(half) else None
