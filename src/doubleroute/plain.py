"""Plain JSON of what was computed."""

import math
from typing import Any


def without_nan(value: Any) -> Any:
    """The same with None for NaN and infinities, which JSON has not, inside dicts and lists too."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
