"""A registered model's answers to rows, kept: a text that it answered once is not answered again."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doubleroute.digests import code_digest, digest_of, versions_of
from doubleroute.workspace import Stage, Workspace

if TYPE_CHECKING:
    import pandas as pd

_FILE = "answers.jsonl"


def answers_to(
    workspace: Workspace, model: Path, digest: str, frames: "Mapping[str, pd.DataFrame]"
) -> dict[str, list[dict[str, Any]]]:
    """The model's answers by task for each row of its frame (columns text or tokens, text_pair).

    ``model`` is its folder and ``digest`` the name of its weights; it is loaded once, where any row is new,
    and tasks that lack the answers to the same rows share its passes. Raises ModelError when the folder does
    not hold a whole model.
    """
    asked = {
        task: [_asked(row) for row in frame[_columns(frame)].to_dict("records")]
        for task, frame in frames.items()
    }
    wanted = {task: list(dict.fromkeys(rows)) for task, rows in asked.items()}
    made_by = {
        "code": code_digest("kinds", "modeling", "data/tags", "data/tokens", "data/windows", "data/batches"),
        "versions": versions_of("torch", "transformers", "tokenizers"),
    }
    common = {task: {"model": digest, "task": task, **made_by} for task in frames}
    inputs = {task: {**common[task], "rows": digest_of(rows)} for task, rows in wanted.items()}
    stages = {task: workspace.find("answers", each) for task, each in inputs.items()}
    known = _known(workspace, {task: common[task] for task, stage in stages.items() if stage is None}, wanted)
    missing = {task: [row for row in wanted[task] if row not in answers] for task, answers in known.items()}
    kept: dict[str, Stage] = {task: stage for task, stage in stages.items() if stage is not None}

    def keep(task: str) -> None:
        def make(folder: Path) -> None:
            with (folder / _FILE).open("w", encoding="utf-8", newline="\n") as file:
                for row in wanted[task]:
                    entry = {"row": row, "answer": known[task][row]}
                    file.write(json.dumps(entry, ensure_ascii=False) + "\n")

        kept[task] = workspace.build("answers", inputs[task], make)

    if any(missing.values()):
        from doubleroute.modeling.inference import Answerer
        from doubleroute.training.scoring import grouped

        answerer = Answerer(model)
        lacking = [task for task, rows in missing.items() if rows]
        for tasks in grouped(lacking, lambda one, other: missing[one] == missing[other]):
            rows = missing[tasks[0]]
            given = answerer.answer([json.loads(row) for row in rows], tasks)
            for task in tasks:
                known[task] |= {row: answer[task] for row, answer in zip(rows, given, strict=True)}
                keep(task)  # what a kill comes after is not asked again
    for task in frames:
        if task not in kept:
            keep(task)
    found = {}
    for task, rows in asked.items():
        answers = _read(kept[task])
        found[task] = [answers[row] for row in rows]
    return found


def _columns(frame: "pd.DataFrame") -> list[str]:
    names = ("tokens",) if "tokens" in frame else ("text", "text_pair")
    return [name for name in names if name in frame]


def _asked(row: dict[Any, Any]) -> str:
    """What is asked, as one line of JSON."""
    return json.dumps({name: value for name, value in row.items() if value is not None}, ensure_ascii=False)


def _known(
    workspace: Workspace, common: Mapping[str, dict[str, Any]], wanted: Mapping[str, list[str]]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Answers by task that earlier stages of the same model and task (``common``) hold: the newest, until
    none is missing."""
    found: dict[str, dict[str, dict[str, Any]]] = {task: {} for task in common}
    rows = {task: set(wanted[task]) for task in common}
    for stage in workspace.all("answers") if common else ():
        about = stage.manifest["inputs"]
        task = about.get("task")
        if task in common and len(found[task]) < len(rows[task]) and common[task].items() <= about.items():
            with suppress(FileNotFoundError):  # another run trimmed it
                found[task] |= {row: answer for row, answer in _read(stage).items() if row in rows[task]}
    return found


def _read(stage: Stage) -> dict[str, dict[str, Any]]:
    lines: Sequence[str] = (stage.path / _FILE).read_text(encoding="utf-8").split("\n")
    entries = [json.loads(line) for line in lines if line]
    return {entry["row"]: entry["answer"] for entry in entries}
