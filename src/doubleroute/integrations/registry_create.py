"""How a version comes to be: from a run that is whole and a model that gave its golden answers."""

from typing import TYPE_CHECKING

from doubleroute.digests import model_digest
from doubleroute.errors import DoublerouteError
from doubleroute.integrations import registry_package as package
from doubleroute.integrations import registry_run as runs
from doubleroute.integrations.registry_run import Candidate
from doubleroute.integrations.registry_store import Store
from doubleroute.integrations.registry_version import DIGEST, GOLDEN, Version, search
from doubleroute.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient


def create(
    client: "MlflowClient", store: Store, name: str, workspace: Workspace, candidate: Candidate
) -> Version:
    """Log the run unless it is there, read it back, and make the version. The caller holds the lock.

    Raises ModelError when the model does not give its golden answers in a new process.
    """
    experiment = runs.experiment_id(client, name, store.artifacts(name))
    run = runs.log(client, experiment, candidate, store.shared)
    manifest = run.data.tags[runs.MANIFEST]
    source = client.get_logged_model(run.data.tags[runs.MODEL_ID]).artifact_location
    try:
        package.try_out(package.fetch(store, source, manifest, f"run {run.info.run_id}", workspace))
    except DoublerouteError:
        runs.discard(client, run)
        raise
    tags = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")} | {
        DIGEST: model_digest(candidate.model_folder),
        GOLDEN: str(len(candidate.golden)),
    }
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    client.create_model_version(
        name,
        source,
        run_id=run.info.run_id,
        tags=tags,
        model_id=run.data.tags[runs.MODEL_ID],
        await_creation_for=30,
    )
    first = of_key(client, name, candidate.run_key)
    assert first is not None
    return first


def tidy(client: "MlflowClient", store: Store, name: str, run_key: str) -> None:
    """In a shared store, where ``create`` spares what may be another machine's, delete the runs of a key that
    a kill left and no version was made of, once they are old."""
    experiment = client.get_experiment_by_name(name) if store.shared else None
    if experiment is not None:
        kept = {version.run_id for version in search(client, name)}
        runs.tidy(client, experiment.experiment_id, run_key, kept)


def of_key(client: "MlflowClient", name: str, run_key: str) -> Version | None:
    """The version of a run key. Later ones, which another machine made at once, are deleted."""
    found = [version for version in search(client, name) if version.run_key == run_key]
    found.sort(key=lambda version: int(version.number))
    for twin in found[1:]:
        if not twin.aliases:
            client.delete_model_version(name, twin.number)
    return found[0] if found else None
