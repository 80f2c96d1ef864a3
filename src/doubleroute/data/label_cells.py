"""Several labels in one text cell: a list as JSON or Python writes it, or labels with a separator between."""

import ast
import json
import re
from contextlib import suppress
from typing import Any

#: A list of texts and numbers as Python writes it. What numpy writes, with blanks between the texts, is none:
#: Python would join them into one.
_ITEM = r"""'(?:[^'\\\n]|\\[\\'"nrtxuU])*'|"(?:[^"\\\n]|\\[\\'"nrtxuU])*"|-?\d+|True|False"""
_PYTHON = re.compile(rf"\[\s*(?:(?:{_ITEM})\s*(?:,\s*|(?=\])))*\]")


def read_labels(cell: str, separator: str) -> list[Any]:
    """The labels of a cell, some of them blank perhaps. Raises ValueError that says what is wrong with one in
    brackets."""
    return read_list(cell) if in_brackets(cell) else [part.strip() for part in cell.split(separator)]


def in_brackets(cell: str) -> bool:
    """Whether a cell begins and ends as a list does."""
    return cell.strip().startswith("[") and cell.strip().endswith("]")


def read_list(cell: str) -> list[Any]:
    """The items of the list that a cell holds. Raises ValueError for any other."""
    if in_brackets(cell):
        with suppress(ValueError, RecursionError):
            return json.loads(cell)
    if _PYTHON.fullmatch(cell.strip()):
        with suppress(ValueError, SyntaxError):
            return ast.literal_eval(cell.strip())
    raise ValueError('is in brackets, but no list as JSON or Python writes it; write ["billing", "refund"]')
