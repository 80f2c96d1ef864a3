"""The reference of project.yaml, made from the models: a JSON Schema for editors, Markdown for people."""

import inspect
import json
from collections.abc import Iterable
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from doubleroute.config.kinds import METRICS
from doubleroute.config.models import Project
from doubleroute.config.words import describe, is_union, unwrap

INTRODUCTION = """\
# project.yaml

<!-- Made from src/doubleroute/config/models.py by `python docs/references.py`; a test holds it. -->

One file names the tasks and how they are learned. It is read as YAML 1.2: `1e-4` is a number, and
`no`, `yes`, `on` and `off` are text. Unknown keys, keys that stand twice, wrong types and values out
of range are reported all at once, each with its line and what would be right; what does not fit between
two sections is reported once each of them is right. Paths are relative to
the folder of project.yaml. `--set KEY.PATH=VALUE` overrides one value for one run.

Editors complete and check it with [project.schema.json](project.schema.json): put
`# yaml-language-server: $schema=PATH/project.schema.json` into its first line. `doubleroute init
DATA_FILE` writes a commented one. The least that it must hold:

```yaml
name: moods
backbone: {source: sentence-transformers/all-MiniLM-L6-v2}
tasks:
  mood:
    kind: classification
    files: {train: data/train.jsonl}
```
"""


def json_schema() -> str:
    """The JSON Schema of project.yaml, for editors."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Project.model_json_schema()}
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def project_file() -> str:
    """The Markdown reference of project.yaml: one table a section."""
    parts = [INTRODUCTION]
    for title, model in _sections(Project, ""):
        parts.append(_section(title or "The top level", model))
    metrics = "\n".join(f"| {kind} | {', '.join(names)} |" for kind, names in METRICS.items())
    parts.append(
        f"## Metrics\n\nThe first of a kind is its default.\n\n| kind | metrics |\n|---|---|\n{metrics}\n"
    )
    return "\n".join(parts)


def _sections(model: type[BaseModel], title: str) -> Iterable[tuple[str, type[BaseModel]]]:
    yield title, model
    for name, info in model.model_fields.items():
        bare, _ = unwrap(info.annotation)
        named = get_origin(bare) is dict
        inner = get_args(bare)[1] if named else bare
        step = f"{title}.{name}".lstrip(".") + (".NAME" if named else "")
        sections = [
            branch
            for branch in (get_args(inner) if is_union(inner) else (inner,))
            if isinstance(branch, type) and issubclass(branch, BaseModel)
        ]
        for branch in sections:
            kind = get_args(branch.model_fields["kind"].annotation)[0] if len(sections) > 1 else None
            yield from _sections(branch, f"{step}, kind {kind}" if kind else step)


def _section(title: str, model: type[BaseModel]) -> str:
    rows = [
        f"| `{name}` | {_value(info)} | {_default(info)} | {info.description} |"
        for name, info in model.model_fields.items()
    ]
    table = "\n".join(["| key | value | default | meaning |", "|---|---|---|---|", *rows])
    heading = f"`{title}`" if title[0].islower() else title
    return f"## {heading}\n\n{_escaped(inspect.cleandoc(model.__doc__ or ''))}\n\n{table}\n"


def _value(info: FieldInfo) -> str:
    bare, metadata = unwrap(info.annotation, info.metadata)
    branches = get_args(bare) if is_union(bare) else (bare,)
    sections = [each for each in branches if isinstance(each, type) and issubclass(each, BaseModel)]
    if sections:
        kinds = " by `kind`" if len(sections) > 1 else ""
        return f"a section{kinds}" + (" or null" if type(None) in branches else "")
    return _escaped(describe(bare, metadata))


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    default: Any = info.default
    if isinstance(default, BaseModel):
        return "its defaults"
    if isinstance(default, tuple):
        default = list(default)
    return f"`{json.dumps(default)}`"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
