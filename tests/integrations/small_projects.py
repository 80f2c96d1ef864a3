"""Small projects whose rows are validated, and what became of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from doubleroute.config import Project
from doubleroute.errors import DoublerouteError
from doubleroute.integrations.validation import read_summary, validate
from doubleroute.workspace import Stage, Workspace


def jsonl(path: Path, rows: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))


def project(root: Path, tasks: dict[str, Any], **sections: Any) -> Project:
    data = {"name": "x", "backbone": {"source": "x"}, "tasks": tasks, **sections}
    made = Project.model_validate_json(json.dumps(data))
    made._root = root
    return made


def run(root: Path, tasks: dict[str, Any], **sections: Any) -> tuple[Stage, dict[str, Any]]:
    stage = validate(project(root, tasks, **sections), Workspace(root))
    return stage, read_summary(stage)


def refused(root: Path, tasks: dict[str, Any], error: type[DoublerouteError], **sections: Any) -> str:
    with pytest.raises(error) as caught:
        run(root, tasks, **sections)
    stages = root / ".doubleroute" / "stages"
    assert not stages.exists() or list(stages.iterdir()) == []
    return str(caught.value)


def reviews(count: int, prefix: str = "text") -> list[Any]:
    return [{"text": f"{prefix} {n}", "label": "good" if n % 2 else "bad"} for n in range(count)]


FILES = {"train": "data/train.jsonl", "validation": "data/dev.jsonl", "test": "data/test.jsonl"}
SENTIMENT = {"sentiment": {"kind": "classification", "files": FILES, "labels": ["bad", "good"]}}


def write_splits(root: Path, train: list[Any]) -> None:
    jsonl(root / "data/train.jsonl", train)
    jsonl(root / "data/dev.jsonl", reviews(4, "dev"))
    jsonl(root / "data/test.jsonl", reviews(4, "test"))


def quarantine(stage: Stage) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (stage.path / "quarantine.jsonl").read_text().splitlines()]
