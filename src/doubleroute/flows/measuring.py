"""What models say of a change of the data: its impact, what is to blame, contradicted labels, drift."""

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from doubleroute.config import METRICS, Project
from doubleroute.data.arrivals import text_keys
from doubleroute.drift.detectors import measure as measure_drift
from doubleroute.drift.sample import Sample, TaskRows
from doubleroute.errors import InputError, MachineError
from doubleroute.flows.current import learned
from doubleroute.flows.timeline import FitProgress
from doubleroute.integrations.registry import Registry
from doubleroute.kinds import kind
from doubleroute.review.arrived import drift_findings
from doubleroute.review.blame import blame
from doubleroute.review.contradicted import contradicted
from doubleroute.review.doubts import doubts
from doubleroute.review.findings import Finding
from doubleroute.review.impact import cannot_tell, impact, train, with_other_answers
from doubleroute.review.limits import unlearnable
from doubleroute.review.renaming import names_of
from doubleroute.review.rows import VersionRows
from doubleroute.review.sampling import Sampled, sampled
from doubleroute.review.study import Features, Study, study
from doubleroute.review.versions import Versions
from doubleroute.review.worse import worse
from doubleroute.training.answers import answers_to
from doubleroute.training.embeddings import embeddings
from doubleroute.training.word_states import word_states
from doubleroute.workspace import Workspace

#: What brings a text that was not there before.
_CAME = {"added", "edited"}


@dataclass
class Measured:
    """What was measured, by task as review.json holds it; ``studies``: which rows of each task that changed
    were learned from and held out, for who trains for real on them; None where no quick model learns them."""

    impact: dict[str, dict[str, Any]] = field(default_factory=dict)
    blame: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    studies: dict[str, Study | None] = field(default_factory=dict)
    full: dict[str, dict[str, Any]] | None = None


def measure(
    project: Project,
    workspace: Workspace,
    tasks: Mapping[str, Versions],
    other_answers: Collection[str | None],
    progress: FitProgress,
) -> Measured:
    """Measure every task that changed at all; one that did not has no impact to speak of. Of those with
    ``other_answers`` to retrieve nobody can tell where the rows teach the same."""
    found = Measured()
    for task, versions in tasks.items():
        unchanged = len(versions.changes.changed()) == 0 and not versions.changes.renamed
        if unchanged and task in other_answers:
            found.studies[task] = None
            found.impact[task] = {
                "metric": project.tasks[task].judged_by,
                "verdict": "cannot tell",
                "why": "no row of this task changed, but the answers that it retrieves did",
            }
            continue
        if unchanged:
            found.impact[task] = {
                "metric": project.tasks[task].judged_by,
                "verdict": "no change",
                "why": "no row of this task changed",
            }
            continue
        rules, quarantined = project.review, versions.quarantined
        looked_at = sampled(
            versions.base, versions.head, versions.changes, rules.max_rows, project.seed, quarantined
        )
        why = unlearnable((versions.base, versions.head), looked_at.rows)
        if why:
            found.studies[task] = None
            found.impact[task] = {
                "metric": project.tasks[task].judged_by,
                "verdict": "cannot tell",
                "why": f"{why}; neither the effect on the score nor contradicted labels were looked for",
            }
            found.findings += _drift(project, workspace, versions, progress)
        else:
            _measure_task(project, workspace, versions, looked_at, found, progress)
        if task in other_answers:
            found.impact[task] = with_other_answers(found.impact[task])
    return found


def _measure_task(
    project: Project,
    workspace: Workspace,
    versions: Versions,
    looked_at: Sampled,
    found: Measured,
    progress: FitProgress,
) -> None:
    task, rules = versions.task, project.review
    features = _features(project, workspace, versions, looked_at.rows, progress)
    studied = study(versions.base, versions.head, versions.changes, features, looked_at)
    found.studies[task] = studied
    trained = None
    if not studied.same and not cannot_tell(studied):
        trained = train(studied, rules.seeds, progress)
    options = project.tasks[task]
    like = options.labelled_as  # the probe learns labels of that kind
    coding, metric = kind(like), options.judged_by if like == options.kind else METRICS[like][0]
    found.impact[task] = impact(studied, trained, coding, metric)
    if trained is not None and found.impact[task]["verdict"] == "worse":
        found.blame[task] = blame(
            studied, trained, versions.base, versions.head, versions.changes, features, progress
        )
    found.findings += worse(task, found.impact[task], found.blame.get(task, []), rules)
    rows = contradicted(versions.base, versions.head, versions.changes, features, looked_at)
    champion = _champion_says(project, workspace, versions, [each.row for each in rows])
    found.findings += doubts(versions, rows, champion, rules)
    found.findings += _drift(project, workspace, versions, progress)


def _features(
    project: Project,
    workspace: Workspace,
    versions: Versions,
    looked_at: Sequence[np.ndarray],
    progress: FitProgress,
) -> Features:
    """Features of the distinct texts of both versions, of the rows that are ``looked_at``."""
    sides = (versions.base, versions.head)
    numbers: dict[Any, int] = {}
    rows = [np.full(len(side), -1, np.int64) for side in sides]
    for side, mask, place in zip(sides, looked_at, rows, strict=True):
        for row in np.flatnonzero(mask).tolist():
            said = (side.texts[row], side.pairs[row]) if side.tokens is None else tuple(side.tokens[row])
            place[row] = numbers.setdefault(said, len(numbers))
    if versions.head.kind == "tagging":
        values, starts = word_states(project, workspace, [list(words) for words in numbers], progress)
        return Features(values, rows[0], rows[1], starts)
    texts, pairs = [text for text, _ in numbers], [pair for _, pair in numbers]
    vectors, _, _ = embeddings(project, workspace, texts, pairs, progress)
    return Features(vectors, rows[0], rows[1])


def _champion_says(
    project: Project, workspace: Workspace, versions: Versions, rows: list[int]
) -> dict[int, str]:
    """The champion's answers to these rows of head, in words, but for those whose text it has learned; none
    without a champion that has the task and remembers its rows."""
    if not rows:
        return {}
    try:
        champion = learned(Registry(project.root, project.model_name), project)
    except (MachineError, InputError) as error:
        print(f"warning: the champion cannot be asked: {error}", file=sys.stderr, flush=True)
        return {}
    if champion is None or versions.task not in champion.sample:
        return {}
    head = versions.head
    frame = pd.DataFrame({"text": [head.texts[row] for row in rows], "label": [None] * len(rows)})
    if head.tokens is not None:
        frame["tokens"] = [head.tokens[row] for row in rows]
    else:
        frame["text_pair"] = [head.pairs[row] for row in rows]
    fresh = np.flatnonzero(~champion.seen.knows_text(versions.task, text_keys(frame)))
    frames = {versions.task: frame.iloc[fresh]}
    given = answers_to(workspace, champion.model, champion.digest, frames)[versions.task]
    return {rows[place]: _in_words(answer) for place, answer in zip(fresh.tolist(), given, strict=True)}


def _in_words(answer: Mapping[str, Any]) -> str:
    if "answer" in answer:
        return f"{answer['answer'] or 'no answer'} ({answer['confidence']:.2f})"
    if "answers" in answer:
        return f"{answer['label']} ({answer['score']:.2f})"
    if "label" in answer:
        return f"{answer['label']} ({answer['probabilities'][answer['label']]:.2f})"
    return " ".join(map(str, answer.get("labels", answer.get("tags", [answer.get("value")]))))


def _drift(
    project: Project, workspace: Workspace, versions: Versions, progress: FitProgress
) -> list[Finding]:
    """Whether the rows that came differ from those that there were."""
    came = [row for row, kinds in enumerate(versions.kinds) if not _CAME.isdisjoint(kinds)]
    if min(len(came), len(versions.base)) < project.drift.min_rows:
        return []
    known = np.arange(len(versions.base)).tolist()
    samples = [
        _sample(project, workspace, versions.task, side, labels, rows, progress)
        for side, labels, rows in (
            (versions.base, versions.base_labels, known),
            (versions.head, versions.head_labels, came),
        )
    ]
    found = measure_drift(samples[0], samples[1], project.drift, project.seed)
    return drift_findings(found, versions.task, project.review)


def _sample(
    project: Project,
    workspace: Workspace,
    task: str,
    side: VersionRows,
    comparable: list[Any],
    rows: list[int],
    progress: FitProgress,
) -> Sample:
    """At most ``drift.max_rows`` of these rows as the detectors take them; ``comparable`` are the labels of
    all rows of the side by the names of head."""
    order = np.random.default_rng(project.seed).permutation(len(rows))[: project.drift.max_rows]
    rows = [rows[place] for place in np.sort(order).tolist()]
    texts, pairs = [side.texts[row] for row in rows], [side.pairs[row] for row in rows]
    vectors, tokens, unknown = embeddings(project, workspace, texts, pairs, progress)
    given = [comparable[row] for row in rows]
    labels = [list(label) if isinstance(label, tuple) else label for label in given]
    return Sample(
        embeddings=vectors,
        texts=texts,
        tokens=tokens,
        unknown=unknown,
        segments={name: [values[row] for row in rows] for name, values in side.segments.items()},
        times=[None] * len(rows),
        places=[side.place(row) for row in rows],
        tasks={task: TaskRows(side.kind, sorted(names_of(side.kind, labels)), np.arange(len(rows)), labels)},
    )
