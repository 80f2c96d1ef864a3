"""Project files for the tests of config."""

import re
from pathlib import Path

import pytest

from doubleroute.config import Project, load_project
from doubleroute.errors import ConfigError

HEAD = "name: demo\nbackbone: {source: some/model}\n"
TASK = "tasks: {mood: {kind: classification, files: {train: a.csv}}}\n"
MINIMAL = HEAD + TASK


def load(folder: Path, text: str, *changes: str) -> Project:
    (folder / "project.yaml").write_text(text, encoding="utf-8")
    return load_project(folder, changes)


def mistakes(folder: Path, text: str, *changes: str) -> list[str]:
    """The lines of the error, without its first."""
    with pytest.raises(ConfigError) as caught:
        load(folder, text, *changes)
    first, *lines = str(caught.value).splitlines()
    count = re.search(r"has (\d+) mistakes?:", first)
    assert count
    assert int(count[1]) == len(lines)
    return [line.strip() for line in lines]
