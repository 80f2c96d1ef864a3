"""What models say of a change of the data: its impact, who is to blame, labels that they contradict, drift."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from doubleroute.config import Project
from doubleroute.drift.detectors import measure as measure_drift
from doubleroute.drift.sample import Sample, TaskRows
from doubleroute.flows.timeline import FitProgress
from doubleroute.kinds import kind
from doubleroute.review.arrived import drift_findings
from doubleroute.review.blame import blame
from doubleroute.review.contradicted import contradicted
from doubleroute.review.findings import Finding
from doubleroute.review.impact import cannot_tell, impact, train
from doubleroute.review.rows import VersionRows
from doubleroute.review.study import Features, Study, chosen, study
from doubleroute.review.versions import Versions
from doubleroute.review.worse import worse
from doubleroute.training.embeddings import embeddings
from doubleroute.training.word_states import word_states
from doubleroute.workspace import Workspace

#: What brings a text that was not there before.
_CAME = {"added", "edited"}


@dataclass
class Measured:
    """What was measured, by task as review.json holds it; ``studies``: which rows were learned from and
    held out, for who trains for real on them."""

    impact: dict[str, dict[str, Any]] = field(default_factory=dict)
    blame: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    studies: dict[str, Study] = field(default_factory=dict)
    full: dict[str, dict[str, Any]] | None = None


def measure(
    project: Project, workspace: Workspace, tasks: Mapping[str, Versions], progress: FitProgress
) -> Measured:
    """Measure every task that changed at all; one that did not has no impact to speak of."""
    found = Measured()
    for task, versions in tasks.items():
        if len(versions.changes.changed()) == 0 and not versions.changes.renamed:
            found.impact[task] = {
                "metric": project.tasks[task].judged_by,
                "verdict": "no change",
                "why": "no row of this task changed",
            }
            continue
        _measure_task(project, workspace, versions, found, progress)
    return found
