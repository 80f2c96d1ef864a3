"""YAML 1.2 text -> plain values, with the line and the written form of everything in it.

ruamel.yaml reads the structure; the values are built here, in one walk, because the mistakes that YAML
passes over in silence (a key that stands twice, `010` read as 10) can only be seen in the structure.
"""

import re
from dataclasses import dataclass, field
from io import StringIO
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

KeyPath = tuple[str | int, ...]

#: Aliases can make a short file mean an endless one; no project comes near these.
MAX_VALUES, MAX_DEPTH = 100_000, 40
LEADING_ZERO = re.compile(r"[-+]?0+[0-9_]+")
HINTS = {
    "\\t": "indent with spaces, not tabs",
    "mapping values are not allowed": "text that holds ': ' must stand in quotes",
    "another document": "keep one document: no second '---'",
    "undefined alias": "text that starts with * must stand in quotes",
    "could not find expected ':'": "every key needs a ':' and a space after it",
}


class Mistake(NamedTuple):
    """One thing that is wrong with a project file; ``line`` is None for what an option brought in."""

    line: int | None
    key: str
    message: str

    def said(self, option: str = "--set") -> str:
        """Where it is, and what is wrong; ``option``: what a value that is not in the file came from."""
        place = f"line {self.line}: " if self.line else f"{option} "
        return f"{place}{self.key}: {self.message}" if self.key else f"{place}{self.message}"


class Unreadable(ValueError):
    """The text is not YAML; the message says where and why."""


@dataclass
class Notes:
    """What the plain values do not tell: where they stand and how they were written."""

    lines: dict[KeyPath, int | None] = field(default_factory=dict)
    written: dict[KeyPath, str] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    numbers: dict[KeyPath, Mistake] = field(default_factory=dict)
    values: int = 0

    def line(self, key: KeyPath) -> int | None:
        """The line of this key, or of the nearest section above it that is in the file."""
        known = (key[:length] for length in range(len(key), -1, -1) if key[:length] in self.lines)
        return self.lines[next(known, ())] if self.lines else None


def parse(text: str, notes: Notes, at: KeyPath = (), in_file: bool = True) -> Any:
    """Read one YAML 1.2 document into dicts, tuples and scalars, noting the lines under ``at``.

    Keys are text as written. Raises Unreadable; what is only doubtful goes into ``notes``.
    """
    yaml = YAML(typ="safe", pure=True)
    try:
        node = yaml.compose(StringIO(text))
        if node is None:
            return None
        return _Builder(yaml, notes, in_file).build(node, at, depth=0)
    except Unreadable:
        raise
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark and in_file else ""
        problem = str(error.problem or error.context)
        hint = next((f"; {hint}" for sign, hint in HINTS.items() if sign in problem), "")
        raise Unreadable(f"{where}not valid YAML: {problem}{hint}") from None
    except ReaderError as error:
        before = text[: text.find(chr(error.character))]
        where = f"line {before.count(chr(10)) + 1}: " if in_file else ""
        raise Unreadable(
            f"{where}not valid YAML: it holds U+{error.character:04X}, which no text file may; remove it"
        ) from None
    except (YAMLError, ValueError) as error:
        raise Unreadable(f"not valid YAML: {error}") from None
    except RecursionError:
        raise Unreadable("not valid YAML: it is nested too deeply") from None


class _Builder:
    """One walk over the nodes of a document."""

    def __init__(self, yaml: YAML, notes: Notes, in_file: bool) -> None:
        self.yaml, self.notes, self.in_file = yaml, notes, in_file

    def build(self, node: Node, path: KeyPath, depth: int) -> Any:
        self.notes.values += 1
        if depth > MAX_DEPTH or self.notes.values > MAX_VALUES:
            raise Unreadable(
                "not valid YAML: it is nested too deeply, or its aliases (&name, *name) never end"
            )
        self.notes.lines.setdefault(path, self._line(node))
        if isinstance(node, MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, SequenceNode):
            items = enumerate(node.value)
            return tuple(self.build(item, (*path, index), depth + 1) for index, item in items)
        assert isinstance(node, ScalarNode)
        return self._scalar(node, path)

    def _mapping(self, node: MappingNode, path: KeyPath, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        merged: list[Node] = []
        seen: dict[str, int | None] = {}
        for key, value in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                merged += value.value if isinstance(value, SequenceNode) else [value]
                continue
            if not isinstance(key, ScalarNode):
                message = "a key must be a plain word, not a list or a section"
                self._mistake(self._line(key), path, message)
                continue
            name, line = str(key.value), self._line(key)
            if name in seen:
                first = f", first in line {seen[name]}" if seen[name] else ""
                self._mistake(line, (*path, name), f"stands twice{first}; keep one")
                continue
            seen[name] = line
            self.notes.lines[(*path, name)] = line
            result[name] = self.build(value, (*path, name), depth + 1)
        for section in merged:
            if not isinstance(section, MappingNode):
                self._mistake(self._line(section), path, "'<<' merges sections; give it *name of one")
                continue
            for name, value in self._mapping(section, path, depth + 1).items():
                result.setdefault(name, value)
        return result

    def _scalar(self, node: ScalarNode, path: KeyPath) -> Any:
        text = str(node.value)
        plain = node.style is None
        if plain:
            self.notes.written.setdefault(path, text)
        if plain and node.tag == "tag:yaml.org,2002:int" and LEADING_ZERO.fullmatch(text):
            number = int(text.replace("_", ""))
            message = f'{text} is read as the number {number}; write {number}, or "{text}" if it is text'
            self.notes.numbers.setdefault(path, Mistake(self._line(node), dotted(path), message))
            return number
        try:
            return self.yaml.constructor.construct_object(node, deep=True)
        except ValueError as error:  # a day or an hour that there is not
            where = f"line {self._line(node)}: " if self.in_file else ""
            said = f"not valid YAML: '{text}' is no value: {error}; text must stand in quotes"
            raise Unreadable(f"{where}{said}") from None

    def _line(self, node: Node) -> int | None:
        return node.start_mark.line + 1 if self.in_file else None

    def _mistake(self, line: int | None, path: KeyPath, message: str) -> None:
        self.notes.mistakes.append(Mistake(line, dotted(path), message))


def dotted(key: KeyPath) -> str:
    """A key path as people write it: tasks.sentiment.labels[1]."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
