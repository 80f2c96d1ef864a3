"""A registered model's answers to rows, kept: a text that it answered once is not answered again."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doubleroute.digests import code_digest, digest_of, versions_of
from doubleroute.workspace import Stage, Workspace

if TYPE_CHECKING:
    import pandas as pd

_FILE = "answers.jsonl"


def answers_to(
    workspace: Workspace, model: Path, digest: str, task: str, frame: "pd.DataFrame"
) -> list[dict[str, Any]]:
    """The model's answer to ``task`` for each row of ``frame`` (columns text or tokens, text_pair).

    ``model`` is its folder and ``digest`` the name of its weights. Raises ModelError when the folder does
    not hold a whole model.
    """
    asked = [_asked(row) for row in frame[_columns(frame)].to_dict("records")]
    wanted = list(dict.fromkeys(asked))
    common = {
        "model": digest,
        "task": task,
        "code": code_digest("kinds", "modeling", "data/tags", "data/tokens", "data/windows", "data/batches"),
        "versions": versions_of("torch", "transformers", "tokenizers"),
    }
    inputs = {**common, "rows": digest_of(wanted)}

    def make(folder: Path) -> None:
        known = _known(workspace, common, set(wanted))
        missing = [row for row in wanted if row not in known]
        if missing:
            from doubleroute.modeling.inference import Answerer

            rows = [json.loads(row) for row in missing]
            given = Answerer(model).answer(rows, [task])
            known |= {row: answer[task] for row, answer in zip(missing, given, strict=True)}
        with (folder / _FILE).open("w", encoding="utf-8", newline="\n") as file:
            for row in wanted:
                file.write(json.dumps({"row": row, "answer": known[row]}, ensure_ascii=False) + "\n")

    found = _read(workspace.build("answers", inputs, make))
    return [found[row] for row in asked]


def _columns(frame: "pd.DataFrame") -> list[str]:
    names = ("tokens",) if "tokens" in frame else ("text", "text_pair")
    return [name for name in names if name in frame]


def _asked(row: dict[Any, Any]) -> str:
    """What is asked, as one line of JSON."""
    return json.dumps({name: value for name, value in row.items() if value is not None}, ensure_ascii=False)


def _known(workspace: Workspace, common: dict[str, Any], wanted: set[str]) -> dict[str, dict[str, Any]]:
    """Answers that earlier stages of the same model and task hold: the newest, until none is missing."""
    found: dict[str, dict[str, Any]] = {}
    for stage in workspace.all("answers"):
        if len(found) == len(wanted):
            break
        if common.items() <= stage.manifest["inputs"].items():
            with suppress(FileNotFoundError):  # another run trimmed it
                found |= {row: answer for row, answer in _read(stage).items() if row in wanted}
    return found


def _read(stage: Stage) -> dict[str, dict[str, Any]]:
    lines: Sequence[str] = (stage.path / _FILE).read_text(encoding="utf-8").split("\n")
    entries = [json.loads(line) for line in lines if line]
    return {entry["row"]: entry["answer"] for entry in entries}
