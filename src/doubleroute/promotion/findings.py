"""What one part of the rule says about a challenger."""

import math
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["promote", "refuse", "cannot tell"]


@dataclass(frozen=True)
class Finding:
    """What one part of the rule says; no verdict means that it does not stand in the way."""

    verdict: Verdict | None
    reason: str


def finite(value: Any) -> float | None:
    """The number, or None where it is undefined."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
