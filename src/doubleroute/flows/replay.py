"""Policies over a project's own dated history. No Prefect: one command, one answer."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from doubleroute.config import LOWER_IS_BETTER, SPLITS, Project, Retraining
from doubleroute.data.arrivals import reference_rows
from doubleroute.data.past import dated
from doubleroute.drift import replay as plays
from doubleroute.drift.expected import expected_seconds
from doubleroute.drift.replay import Model, Policy, Window, World
from doubleroute.drift.windows import cut
from doubleroute.errors import InputError, ModelError
from doubleroute.flows import watching
from doubleroute.flows.pages import with_page
from doubleroute.flows.timeline import FitProgress
from doubleroute.integrations.validation import read_summary, validate
from doubleroute.integrations.versions import pull
from doubleroute.kinds import kind
from doubleroute.plain import without_nan
from doubleroute.reports.replay import write_replay
from doubleroute.training.answers import answers_to
from doubleroute.training.intervals import Sample, difference, interval, sample
from doubleroute.training.past_models import PastModels
from doubleroute.training.selection import weights
from doubleroute.workspace import Stage, Workspace

if TYPE_CHECKING:
    import pandas as pd


def policies_of(project: Project, variants: Mapping[str, Retraining]) -> list[Policy]:
    """Never, always (from the pretrained weights), the project's policy, and what tells its parts apart:
    where it starts from the champion, always from the champion and the same decisions from nothing. Then
    the variants. Raises InputError for a variant with the name of one of these."""
    own = project.retraining
    fresh = own.model_copy(update={"start": "pretrained"})
    found = [Policy("never", "never", fresh), Policy("always", "always", fresh)]
    found.append(Policy("policy", "decide", own))
    if own.start == "champion":
        found.append(Policy("always, from the champion", "always", own))
        found.append(Policy("policy, from nothing", "decide", fresh))
    names = {each.name for each in found}
    for name, retraining in variants.items():
        if name in names:
            raise InputError(f"--policy {name}: the name is taken; taken are: {', '.join(sorted(names))}")
        found.append(Policy(name, "decide", retraining))
    return found


def replay(project: Project, policies: Sequence[Policy], every: str, first: str) -> dict[str, Any]:
    """Play the policies over the history of a project whose tasks all have ``columns.time``.

    1. pull and validate, once, and cut the rows into windows (``drift.windows``)
    2. play each policy (``drift.replay``); a model is trained when a policy first needs it, on the rows
       that there were, with the splits of today: held-out rows stay held out
    3. compare, with paired intervals over all windows against never and always; write the report

    Gives what ``drift.replay.compare`` gives and "project", "data_version", "counts", "folder". Raises
    InputError for a task without ``columns.time`` and for what ``cut`` refuses.
    """
    without = [name for name, task in project.tasks.items() if task.columns.time is None]
    if without:
        raise InputError(
            f"tasks.{without[0]}.columns.time is not set: a replay needs to know when each row was made"
        )
    workspace = Workspace(project.root)
    data = pull(project.root, project.all_paths)
    with workspace.lock("replay"), FitProgress() as progress:
        validated = validate(project, workspace)
        history = History(project, workspace, validated, every, first, progress)
        try:
            found = without_nan(plays.compare(policies, history.world()))
        finally:
            history.models.clear()
    found |= {
        "project": project.name,
        "every": every,
        "first": first,
        "metrics": {name: task.judged_by for name, task in project.tasks.items()},
        "data_version": data.as_dict(),
        "counts": read_summary(validated)["tasks"],
        "validated": validated.digest,
    }
    return found | {"folder": str(with_page(workspace, "replay", "replay.json", found, write_replay))}


class History:
    """What happened to a project: its rows in windows, and what models of the past make of them."""

    def __init__(
        self,
        project: Project,
        workspace: Workspace,
        validated: Stage,
        every: str,
        first: str,
        progress: FitProgress,
    ) -> None:
        quiet = project.drift.model_copy(update={"attribution": False})
        self.project = project.model_copy(update={"drift": quiet})
        self.workspace, self.progress = workspace, progress
        self.frames = {task: dated(validated, task) for task in project.tasks}
        self.frames = {task: frame[frame["label"].notna()] for task, frame in self.frames.items()}
        times = [time for frame in self.frames.values() for time in frame["time"]]
        self.windows: list[Window] = cut(times, every, first)
        self._check_first()
        self.labels = json.loads((validated.path / "labels.json").read_text(encoding="utf-8"))
        begins = [window.begin for window in self.windows]
        self.models = PastModels(self.project, workspace, validated, begins, progress)
        self.answers = cache(self._answers)
        self.samples = cache(self._samples)

    def world(self) -> World:
        """As ``drift.replay`` asks."""
        return World(
            self.windows,
            self.score,
            self.total,
            self.difference,
            self.facts,
            self.cost,
            self.expected,
            self._higher(),
        )

    def score(self, model: Model, window: int) -> dict[str, dict[str, Any]]:
        """Each task's metric with its interval on the rows of one window."""
        return self._scores(self.samples((model,), (window,)))

    def total(self, models: Sequence[Model]) -> dict[str, dict[str, Any]]:
        """The same over all windows."""
        return self._scores(self.samples(tuple(models), tuple(range(len(models)))))

    def difference(self, models: Sequence[Model], others: Sequence[Model]) -> dict[str, dict[str, Any]]:
        """How much better the first models' answers to all windows are, by task; positive is better."""
        windows, higher = tuple(range(len(models))), self._higher()
        ours, theirs = (self.samples(tuple(each), windows) for each in (models, others))
        return {
            task: difference(
                ours[task], theirs[task], self.project.tasks[task].judged_by, higher[task]
            )._asdict()
            for task in ours
        }

    def cost(self, model: Model) -> dict[str, float]:
        """Of the last of the model's trainings: seconds and steps."""
        found = self.models.get(model)
        return {"seconds": found.seconds, "steps": found.steps}

    def expected(self, model: Model, window: int, retraining: Retraining) -> float | None:
        """What a retraining after this window should cost (``expected_seconds``); new rows are those since
        the model was trained."""
        begin, end = self.windows[model.at[-1]].begin, self.windows[window].end
        known, rows = self.models.get(model), 0.0
        for task in self.frames:
            times = _train(self._between(task, "", end))["time"]
            rows += float(weights(times.tolist(), (times < begin).to_numpy(), retraining).sum())
        heads = None if known.steps else known.seconds  # what is solved takes no steps
        return expected_seconds(self.project.training, retraining, rows, known.seconds, known.steps, heads)

    def facts(self, model: Model, window: int) -> dict[str, Any]:
        """What the same check as of a live project finds: the rows since the model was trained against those
        before, of which as many are compared as a version keeps (``reference``)."""
        begin, end = self.windows[model.at[-1]].begin, self.windows[window].end
        known = self.models.get(model)
        current = {task: self._between(task, begin, end) for task in self.frames}
        self.answers(model)
        sample = {task: self.reference(task, begin) for task in self.frames}
        champion = watching.Known(known.digest, known.folder, sample)
        stage = watching.check(self.project, self.workspace, champion, current, self.labels, self.progress)
        found = watching.read_check(stage)
        return {
            "drift": watching.short(found["drift"]),
            "performance": found["performance"],
            "new_labels": {task: len(_train(frame)) for task, frame in current.items()},
            "learned_from": {task: len(_train(self._between(task, "", begin))) for task in self.frames},
        }

    def reference(self, task: str, begin: str) -> "pd.DataFrame":
        """The rows from before then that a model trained then would have kept, held-out rows first."""
        import pandas as pd

        before = self._between(task, "", begin)
        splits = {split: before[before["split"] == split] for split in SPLITS}
        return pd.concat([part for _, part in reference_rows(splits, self.project.seed)])

    def _check_first(self) -> None:
        """Raise InputError for a task that the first model could not learn, choose or be tested on."""
        begin = self.windows[0].begin
        for task in self.frames:
            there = set(self._between(task, "", begin)["split"])
            lacking = next((split for split in SPLITS if split not in there), None)
            if lacking:
                raise InputError(
                    f"tasks.{task}: no labelled {lacking} row comes before {begin}, where the replay begins; "
                    "give a later --first"
                )

    def _higher(self) -> dict[str, bool]:
        return {name: task.judged_by not in LOWER_IS_BETTER for name, task in self.project.tasks.items()}

    def _scores(self, samples: Mapping[str, Sample]) -> dict[str, dict[str, Any]]:
        return {
            task: {**interval(found, self.project.tasks[task].judged_by)._asdict(), "rows": found.rows}
            for task, found in samples.items()
        }

    def _samples(self, models: tuple[Model, ...], windows: tuple[int, ...]) -> dict[str, Sample]:
        """Scores and their resamples of the answers of these models to these windows, by task; a task
        without rows there is left out."""
        project, found = self.project, {}
        for task, about in project.tasks.items():
            answers: list[dict[str, Any]] = []
            truths: list[Any] = []
            for model, place in zip(models, windows, strict=True):
                window = self.windows[place]
                frame = self._between(task, window.begin, window.end)
                given = self.answers(model)[task]
                answers += [given[row] for row in frame.index]
                truths += frame["label"].tolist()
            if truths:
                scorer = kind(about.kind).scorer(answers, truths, self.labels[task])
                rows = np.arange(len(truths))
                found[task] = sample(scorer, rows, project.evaluation.bootstrap, project.seed)
        return found

    def _answers(self, model: Model) -> dict[str, dict[int, dict[str, Any]]]:
        """The model's answers to all rows that it did not learn from, by their number in the frame."""
        known, begin = self.models.get(model), self.windows[model.at[-1]].begin
        found = {}
        for task, frame in self.frames.items():
            asked = frame[(frame["time"] >= begin) | (frame["split"] != "train")]
            try:
                given = answers_to(self.workspace, known.folder, known.digest, {task: asked})[task]
            except ModelError:
                if known.folder.is_dir():
                    raise
                self.models.restore(model)  # an earlier replay cleared it, and knew fewer rows
                given = answers_to(self.workspace, known.folder, known.digest, {task: asked})[task]
            found[task] = dict(zip(asked.index.tolist(), given, strict=True))
        return found

    def _between(self, task: str, begin: str, end: str) -> "pd.DataFrame":
        frame = self.frames[task]
        return frame[(frame["time"] >= begin) & (frame["time"] < end)]


def _train(frame: "pd.DataFrame") -> "pd.DataFrame":
    return frame[frame["split"] == "train"]
