"""The steps of a review as Prefect tasks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from doubleroute.flows import reviewing
from doubleroute.flows.steps import step
from doubleroute.integrations.registry import Registry
from doubleroute.integrations.registry_reviews import is_of_nothing, log_review


def _log_approved(found: reviewing.Review, document: Mapping[str, Any], folder: Path) -> str | None:
    """Log an approved review with its data version: the id of its run, None for another verdict and where
    nothing was compared."""
    if document["verdict"]["verdict"] != "approve" or is_of_nothing(document):
        return None
    files = [folder / name for name in ("review.json", "review.html", "review.md")]
    return log_review(Registry(found.root, found.project.model_name), document, files)


read_versions = step(reviewing.read, "read", retries=1)
compare_rows = step(reviewing.compare, "compare")
find_faults = step(reviewing.find, "find")
measure_impact = step(reviewing.measure, "measure")
conclude_review = step(reviewing.conclude, "conclude")
log_approved = step(_log_approved, "log", retries=1)
