"""Labelled data sets of benchmarks: folders of JSON lines in shared/data, beside this checkout."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[2] / "shared" / "data"


def missing(names: Iterable[str]) -> list[str]:
    """The data sets of these whose folder is not there, as a reader of the checkout finds them."""
    return [f"../shared/data/{name}" for name in names if not (DATA / name).is_dir()]


def rows_of(name: str, split: str) -> list[dict[str, Any]]:
    """The rows of a split of a data set, in their order."""
    lines = (DATA / name / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
