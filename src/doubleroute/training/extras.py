"""What a training needs beyond the project's own dependencies."""

from importlib.util import find_spec

from doubleroute.config import Training
from doubleroute.errors import ConfigError


def extras(training: Training) -> tuple[str, ...]:
    """The names of the packages, for the digest of a fit. Raises ConfigError when one is not installed."""
    found: list[str] = []
    if training.gradients != "sum":
        found.append("torchjd")
        if training.gradients == "upgrad":  # it solves a quadratic program
            found += ["qpsolvers", "quadprog"]
        _refuse_missing(f"gradients: {training.gradients}", found, "mtl")
    if training.lora is not None:
        _refuse_missing("lora", ["peft"], "lora")
        found.append("peft")
    return tuple(found)


def _refuse_missing(option: str, packages: list[str], extra: str) -> None:
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"training.{option} needs {missing[0]}, which is not there; in doubleroute's folder, "
            f"pip install -c constraints.txt -e '.[{extra}]' brings it"
        )
