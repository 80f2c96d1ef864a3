"""Which rows an expectation is about (Great Expectations' row_condition): a comparison, and no code.

pandas evaluates what stands there, where an @ reaches Python's modules and a method may write files. A review
runs what a branch brings before anybody has looked at it.
"""

import ast
import re
from typing import Any

#: What may be asked of a column's values.
METHODS = (
    *("isna", "isnull", "notna", "notnull", "isin", "between", "str"),
    *("contains", "endswith", "len", "lower", "startswith", "strip", "upper"),
)
_PARTS = (
    *(ast.Expression, ast.BoolOp, ast.boolop, ast.BinOp, ast.BitAnd, ast.BitOr, ast.UnaryOp, ast.unaryop),
    *(ast.Compare, ast.cmpop, ast.Name, ast.Constant, ast.List, ast.Tuple, ast.Load),
    *(ast.Call, ast.Attribute, ast.keyword),
)
_EXAMPLE = 'as in source == "mail" and text.str.len() > 20'


def refused(condition: Any) -> str | None:
    """Why a row_condition is not taken, None for one that is: in text comparisons of columns with values,
    joined by and, or, not, and METHODS of columns; or Great Expectations' own condition as an object."""
    if isinstance(condition, str):
        return _refused_text(condition)
    if isinstance(condition, list):
        return next(filter(None, map(refused, condition)), None)
    if not isinstance(condition, dict):
        return f"must be a comparison, {_EXAMPLE}"
    column = condition.get("column")
    name = column.get("name") if isinstance(column, dict) else column
    if name is not None and not (isinstance(name, str) and re.fullmatch(r"[^`@\n]+", name)):
        return f"names the column {name!r}; a name holds no ` and no @"
    inner = (condition[key] for key in ("conditions", "pass_through_filter") if key in condition)
    return next(filter(None, map(refused, inner)), None)


def _refused_text(condition: str) -> str | None:
    bare = re.sub(r"`[^`@\n]*`", "column", condition)  # a name in backticks may hold anything else
    try:
        parts = list(ast.walk(ast.parse(bare.strip(), mode="eval")))
    except (SyntaxError, ValueError):
        return f"must be a comparison of columns with values, {_EXAMPLE}, not {condition!r}"
    for part in parts:
        method = part.attr if isinstance(part, ast.Attribute) else None
        called = isinstance(part, ast.Call) and not isinstance(part.func, ast.Attribute)
        if not isinstance(part, _PARTS) or called or (method is not None and method not in METHODS):
            what = f".{method}" if method is not None else ast.unparse(part)
            return f"has {what!r}, which is no comparison, {_EXAMPLE}; columns have {', '.join(METHODS)}"
    return None
