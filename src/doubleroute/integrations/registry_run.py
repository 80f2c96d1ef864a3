"""One MLflow run of a training: its parameters, metrics, data, artifacts and the model that came out."""

import json
import math
import re
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doubleroute.integrations import registry_package as package

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run

RUN_KEY = "doubleroute.run_key"
MODEL_ID = "doubleroute.model_id"
MANIFEST = "doubleroute.manifest"
#: Seconds within which nobody but this machine's own lock says that a run is not written to any more.
_AT_WORK = 3600


@dataclass(frozen=True)
class DatasetUse:
    """One table that a run read. ``tags`` say where it came from (DVC md5, git commit)."""

    name: str
    split: str
    source: str
    rows: int
    columns: Sequence[str]
    digest: str
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Candidate:
    """A trained and evaluated model that wants to be a version.

    ``run_key``: a digest of all that went in; the same key is the same version. ``params`` may be nested;
    ``history``: mappings with ``step`` (or ``epoch``) whose numbers are logged at that step.
    ``artifacts``: name in the run -> file or folder. ``examples``: rows ``{"text", "text_pair"?}``, and
    ``golden``: what ``modeling.inference.Answerer`` answered to them.
    """

    run_key: str
    model_folder: Path
    examples: Sequence[Mapping[str, Any]]
    golden: Sequence[Mapping[str, Any]]
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    artifacts: Mapping[str, Path] = field(default_factory=dict)
    datasets: Sequence[DatasetUse] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


def experiment_id(client: "MlflowClient", name: str, location: str | None) -> str:
    """The experiment of this name, made if it is not there."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    return str(client.create_experiment(name, artifact_location=location))


def log(client: "MlflowClient", experiment: str, candidate: Candidate, shared: bool) -> "Run":
    """The finished run of a candidate, logged unless it is there. ``shared``: see ``whole``."""

    def find() -> "Run | None":
        found = client.search_runs([experiment], f"tags.`{RUN_KEY}` = '{candidate.run_key}'")
        return whole(client, found, lambda run: bool(run.data.tags.get(MANIFEST)), shared)

    def begin() -> str:
        tags = {**_tags(candidate.tags), RUN_KEY: candidate.run_key}
        made = client.create_run(experiment, tags=tags, run_name=candidate.run_key[:12])
        return str(made.info.run_id)

    return found_or_made(client, find, begin, lambda run_id: _fill(client, experiment, candidate, run_id))


def whole(
    client: "MlflowClient", runs: Iterable["Run"], complete: Callable[["Run"], bool], shared: bool
) -> "Run | None":
    """Of the runs of one key the finished and ``complete`` one that began first. Halves that a kill left
    behind are marked deleted, with their models; in a ``shared`` store only what no other machine can be
    writing to, or making a version of."""
    found: Run | None = None
    for run in sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id)):
        if found is None and run.info.status == "FINISHED" and complete(run):
            found = run
        elif not shared or not _is_at_work(run):
            discard(client, run)
    return found


def tidy(client: "MlflowClient", experiment: str, run_key: str, kept: Collection[str]) -> None:
    """Mark the runs of a key as deleted, with their models, but for those that are ``kept`` and what another
    machine can be writing to, or making a version of."""
    for run in client.search_runs([experiment], f"tags.`{RUN_KEY}` = '{run_key}'"):
        if run.info.run_id not in kept and not _is_at_work(run):
            discard(client, run)


def _is_at_work(run: "Run") -> bool:
    since = (run.info.end_time or run.info.start_time) / 1000
    return run.info.status in ("RUNNING", "FINISHED") and time.time() - since < _AT_WORK


def found_or_made(
    client: "MlflowClient",
    find: "Callable[[], Run | None]",
    begin: Callable[[], str],
    fill: Callable[[str], None],
    tries: int = 3,
) -> "Run":
    """What ``find`` finds, else the run that ``begin`` begins and ``fill`` makes whole. Where another machine
    deletes that meanwhile, it is looked for again, ``tries`` times in all."""
    from mlflow.exceptions import MlflowException

    found = find()
    if found is not None:
        return found
    run_id = begin()
    try:
        fill(run_id)
    except MlflowException:
        if tries == 1 or not _is_deleted(client, run_id):
            raise
        return found_or_made(client, find, begin, fill, tries - 1)
    return client.get_run(run_id)


def discard(client: "MlflowClient", run: "Run") -> None:
    """Mark a run and the model that it logged as deleted; ``mlflow gc`` may then remove their files. Another
    machine may do so at the same time."""
    from mlflow.exceptions import MlflowException

    query = f"source_run_id = '{run.info.run_id}'"
    try:
        for model in client.search_logged_models([run.info.experiment_id], query):
            client.delete_logged_model(model.model_id)
        client.delete_run(run.info.run_id)
    except MlflowException:
        if not _is_deleted(client, run.info.run_id):
            raise


def _is_deleted(client: "MlflowClient", run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "deleted")
    except MlflowException as error:
        return bool(error.error_code == "RESOURCE_DOES_NOT_EXIST")


def _fill(client: "MlflowClient", experiment: str, candidate: Candidate, run_id: str) -> None:
    """Log everything about a candidate; the tag MANIFEST and the status FINISHED come last."""
    tags = {**_tags(candidate.tags), RUN_KEY: candidate.run_key}
    model = client.create_logged_model(
        experiment, name="model", source_run_id=run_id, tags=tags, model_type="doubleroute"
    )
    with tempfile.TemporaryDirectory(prefix="doubleroute-") as scratch:
        folder = Path(scratch) / "pyfunc"
        rows = (candidate.examples, candidate.golden)
        manifest = package.package(candidate.model_folder, folder, *rows, run_id, model.model_id)
        client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, "READY")
    _log_numbers(client, run_id, model.model_id, candidate)
    if candidate.datasets:
        client.log_inputs(run_id, datasets=[_dataset(each) for each in candidate.datasets])
    for name, path in candidate.artifacts.items():
        _log_artifact(client, run_id, name, path)
    client.set_tag(run_id, MODEL_ID, model.model_id)
    client.set_tag(run_id, MANIFEST, manifest)
    client.set_terminated(run_id)


def _log_numbers(client: "MlflowClient", run_id: str, model_id: str, candidate: Candidate) -> None:
    """Log parameters, final metrics (also of the model) and the metrics of every epoch, in batches."""
    from mlflow.entities import LoggedModelOutput, Metric, Param

    now = int(time.time() * 1000)
    params = [Param(_key(name), _text(value)) for name, value in _flat(candidate.params, ".")]
    metrics = [
        Metric(_key(name), value, now, 0, model_id=model_id, run_id=run_id)
        for name, value in _numbers(candidate.metrics)
    ]
    for place, entry in enumerate(candidate.history):
        step = int(entry.get("step", entry.get("epoch", place)))
        metrics += [Metric(_key(name), value, now, step) for name, value in _numbers(entry) if name != "step"]
    for start in range(0, len(params), 100):
        client.log_batch(run_id, params=params[start : start + 100])
    for start in range(0, len(metrics), 1000):
        client.log_batch(run_id, metrics=metrics[start : start + 1000])
    client.log_outputs(run_id, [LoggedModelOutput(model_id, 0)])


def _dataset(use: DatasetUse) -> "DatasetInput":
    """MLflow's record of a table that went in."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    schema = [{"type": "string", "name": name, "required": True} for name in use.columns]
    dataset = Dataset(
        name=use.name,
        digest=use.digest[:36],
        source_type="local",
        source=json.dumps({"uri": use.source}),
        schema=json.dumps({"mlflow_colspec": schema}),
        profile=json.dumps({"num_rows": use.rows}),
    )
    tags = {**_tags(use.tags), "mlflow.data.context": use.split}
    return DatasetInput(dataset, [InputTag(key, value) for key, value in tags.items()])


def _log_artifact(client: "MlflowClient", run_id: str, name: str, path: Path) -> None:
    """Store a file or folder of the run under ``name`` ("report.html", "data_docs", "answers/a.jsonl")."""
    if path.is_dir():
        client.log_artifacts(run_id, str(path), name)
        return
    *parents, last = name.split("/")
    inside = "/".join(parents) or None
    if last == path.name:
        client.log_artifact(run_id, str(path), inside)
        return
    with tempfile.TemporaryDirectory(prefix="doubleroute-") as scratch:
        renamed = Path(scratch) / last
        renamed.symlink_to(path.resolve())
        client.log_artifact(run_id, str(renamed), inside)


def _numbers(value: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The finite numbers of a nested mapping; undefined ones (None, NaN) have no place in a metric."""
    for name, number in _flat(value, "/"):
        if isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number):
            yield name, float(number)


def _flat(value: Mapping[str, Any], separator: str, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a nested mapping with their paths."""
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield from _flat(item, separator, f"{prefix}{key}{separator}")
        else:
            yield f"{prefix}{key}", item


def _tags(tags: Mapping[str, Any]) -> dict[str, str]:
    """Tags that have a value, as text."""
    return {_key(key): _text(value) for key, value in tags.items() if value is not None}


def _key(name: str) -> str:
    """A name that MLflow takes: letters, digits and ``_-. :/``, at most 250 characters."""
    return re.sub(r"[^\w\-. :/]", "_", name)[:250]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
