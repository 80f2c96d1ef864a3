"""The model registry (MLflow): versions, champion and challenger. The only door to MLflow.

One training is one version: it carries the digest of all that went in (the run key), and whoever comes
with the same key gets the version that is there. A version is made only from a run that is whole, whose
files have the digests that were noted when it was packed, and whose model gave the golden answers in a
process of its own. Aliases move under the project's lock; MLflow itself has no compare-and-set, so on a
shared server promotion belongs to one machine at a time.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doubleroute.errors import DoublerouteError, GateError, InputError, MachineError
from doubleroute.integrations import registry_package as package
from doubleroute.integrations import registry_run as runs
from doubleroute.integrations import registry_store as stores
from doubleroute.integrations.registry_package import model_digest
from doubleroute.integrations.registry_run import Candidate, DatasetUse
from doubleroute.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "VERDICT",
    "Candidate",
    "DatasetUse",
    "Registry",
    "Version",
    "model_digest",
]

CHAMPION = "champion"
CHALLENGER = "challenger"
DIGEST = "doubleroute.model_digest"
VERDICT = "doubleroute.verdict"
DECISION = "doubleroute.decision"


@dataclass(frozen=True)
class Version:
    """One registered model. ``source`` is where its files are, ``created`` when it was registered
    (milliseconds since 1970)."""

    number: str
    run_id: str
    aliases: tuple[str, ...]
    tags: dict[str, str]
    source: str
    created: int

    @property
    def run_key(self) -> str | None:
        """The digest of all that the model was made of."""
        return self.tags.get(runs.RUN_KEY)

    @property
    def digest(self) -> str | None:
        """``model_digest`` of the model's files: equal digests are equal models."""
        return self.tags.get(DIGEST)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON for `doubleroute status`."""
        return {
            "version": self.number,
            "run_id": self.run_id,
            "aliases": list(self.aliases),
            "run_key": self.run_key,
            "model_digest": self.digest,
            "verdict": self.tags.get(VERDICT),
            "source": self.source,
        }


class Registry:
    """The versions of one model of a project. Every method may raise MachineError for the store."""

    def __init__(self, project_root: Path, model_name: str) -> None:
        if not model_name.strip() or set(model_name) & set("/:'\"`"):
            raise InputError(f"promotion.model_name: '{model_name}' must not be empty or hold / : ' \" `")
        self.name = model_name
        self.store = stores.locate(project_root)
        self.workspace = Workspace(project_root.resolve())
        self._client: MlflowClient | None = None

    @property
    def tracking_uri(self) -> str:
        """Where runs are kept, for people: without a password."""
        return stores.shown(self.store.tracking_uri)

    def refuse_read_only(self) -> None:
        """Raise MachineError when nothing could be registered; to be asked before hours of training."""
        stores.refuse_read_only(self.store)

    def champion(self) -> Version | None:
        """The version that serves; None before the first promotion. Creates nothing."""
        return self._aliased(CHAMPION)

    def challenger(self) -> Version | None:
        """The version that was registered last and wants to serve. Creates nothing."""
        return self._aliased(CHALLENGER)

    def version(self, alias_or_number: str) -> Version:
        """The version of this alias or number. Raises InputError naming those that there are."""
        versions = self.versions()
        for version in versions:
            if alias_or_number == version.number or alias_or_number in version.aliases:
                return version
        known = [name for version in versions for name in (version.number, *version.aliases)]
        there = f"there are: {', '.join(known)}" if known else "nothing is registered yet"
        raise InputError(f"model '{self.name}' has no version or alias '{alias_or_number}'; {there}")

    def versions(self) -> list[Version]:
        """All versions, newest first."""
        with self._opened() as client:
            return [] if client is None else self._search(client)

    def model_folder(self, version: Version) -> Path:
        """The local folder with the model's files, every digest checked; downloaded from a server once.

        Raises MachineError when files are missing or damaged, InputError for a version that something
        else than doubleroute registered.
        """
        with self._opened() as client:
            if client is None:
                raise MachineError(f"{self._what(version)}: the store {self.tracking_uri} is gone")
            return self._verified(client, version) / package.MODEL

    def artifact(self, version: Version, name: str) -> Path | None:
        """A file that was logged beside the version's model, fetched once; None when the run has none."""
        place = self.workspace.root / "registry" / f"{version.run_id}-{name}"
        if place.is_file():
            return place
        with self._opened() as client:
            if client is None or name not in {each.path for each in client.list_artifacts(version.run_id)}:
                return None
            place.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".download-", dir=place.parent) as scratch:
                Path(client.download_artifacts(version.run_id, name, scratch)).replace(place)
        return place

    def register(self, candidate: Candidate) -> Version:
        """Make the candidate a version and ``challenger``, or find the version that it already is.

        Safe to kill anywhere and to run twice at once. Raises ModelError when the model does not give
        its golden answers in a new process; no version is made then.
        """
        with self._locked() as client:
            version = self._of_key(client, candidate.run_key)
            if version is None:
                version = self._create(client, candidate)
            else:
                self._verified(client, version)
            if CHAMPION not in version.aliases:
                client.set_registered_model_alias(self.name, CHALLENGER, version.number)
            return self._get(client, version.number)

    def promote(
        self, version: Version, expected_champion: str | None, decision: Mapping[str, Any]
    ) -> Version:
        """Make ``version`` the champion and note the decision on it; doing it again changes nothing.

        ``expected_champion``: number of the champion that it was compared with. Raises GateError when
        another one has become champion since, MachineError when the version's files are damaged.
        """
        with self._locked() as client:
            self._verified(client, version)
            champion = self._aliased_in(client, CHAMPION)
            current = champion.number if champion else None
            if current not in (version.number, expected_champion):
                compared = f"version {expected_champion}" if expected_champion else "no champion"
                now = f"version {current} is champion" if current else "there is no champion"
                raise GateError(
                    f"model '{self.name}': version {version.number} was compared with {compared}, and now "
                    f"{now}; run again to compare with that"
                )
            if current != version.number:
                client.set_registered_model_alias(self.name, CHAMPION, version.number)
            self._note(client, version, decision)
            challenger = self._aliased_in(client, CHALLENGER)
            if challenger and challenger.number == version.number:
                client.delete_registered_model_alias(self.name, CHALLENGER)
            return self._get(client, version.number)

    def record(self, version: Version, decision: Mapping[str, Any]) -> None:
        """Note on a version the decision that kept it from becoming champion."""
        with self._locked() as client:
            self._note(client, version, decision)

    def describe(self) -> dict[str, Any]:
        """Champion, challenger and versions as plain JSON for `doubleroute status`. Creates nothing."""
        versions = self.versions()
        by_alias = {alias: version for version in versions for alias in version.aliases}
        return {
            "model": self.name,
            "tracking_uri": self.tracking_uri,
            "registry_uri": stores.shown(self.store.registry_uri),
            "embedded": self.store.folder is not None,
            "exists": self.store.exists,
            "champion": by_alias[CHAMPION].as_dict() if CHAMPION in by_alias else None,
            "challenger": by_alias[CHALLENGER].as_dict() if CHALLENGER in by_alias else None,
            "versions": [version.as_dict() for version in versions],
        }

    def _create(self, client: "MlflowClient", candidate: Candidate) -> Version:
        """Log the run unless it is there, read it back, and make the version."""
        experiment = runs.experiment_id(client, self.name, self.store.artifacts(self.name))
        run = runs.whole_run(client, experiment, candidate.run_key)
        run = run or runs.log(client, experiment, candidate)
        manifest = run.data.tags[runs.MANIFEST]
        source = client.get_logged_model(run.data.tags[runs.MODEL_ID]).artifact_location
        try:
            folder = package.fetch(self.store, source, manifest, f"run {run.info.run_id}", self.workspace)
            package.check_answers(folder, candidate.examples, candidate.golden)
        except DoublerouteError:
            runs.discard(client, run)
            raise
        tags = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")} | {
            DIGEST: model_digest(candidate.model_folder)
        }
        if not client.search_registered_models(f"name = '{self.name}'"):
            client.create_registered_model(self.name)
        client.create_model_version(
            self.name,
            source,
            run_id=run.info.run_id,
            tags=tags,
            model_id=run.data.tags[runs.MODEL_ID],
            await_creation_for=30,
        )
        first = self._of_key(client, candidate.run_key)
        assert first is not None
        return first

    def _of_key(self, client: "MlflowClient", run_key: str) -> Version | None:
        """The version of a run key. Later ones, which another machine made at once, are deleted."""
        found = [version for version in self._search(client) if version.run_key == run_key]
        found.sort(key=lambda version: int(version.number))
        for twin in found[1:]:
            if not twin.aliases:
                client.delete_model_version(self.name, twin.number)
        return found[0] if found else None

    def _note(self, client: "MlflowClient", version: Version, decision: Mapping[str, Any]) -> None:
        text = json.dumps(decision, ensure_ascii=False)
        client.set_model_version_tag(self.name, version.number, VERDICT, str(decision.get("verdict")))
        client.set_model_version_tag(self.name, version.number, DECISION, text)

    def _verified(self, client: "MlflowClient", version: Version) -> Path:
        """The version's pyfunc folder on this machine, every file checked."""
        manifest = version.tags.get(runs.MANIFEST)
        if manifest is None:
            raise InputError(
                f"{self._what(version)} was not registered by doubleroute (no tag {runs.MANIFEST})"
            )
        source = client.get_model_version_download_uri(self.name, version.number)
        return package.fetch(self.store, source, manifest, self._what(version), self.workspace)

    def _aliased(self, alias: str) -> Version | None:
        with self._opened() as client:
            return None if client is None else self._aliased_in(client, alias)

    def _aliased_in(self, client: "MlflowClient", alias: str) -> Version | None:
        return next((version for version in self._search(client) if alias in version.aliases), None)

    def _search(self, client: "MlflowClient") -> list[Version]:
        """All versions, newest first, with their aliases (which a search of versions leaves out)."""
        models = client.search_registered_models(f"name = '{self.name}'")
        if not models:
            return []
        aliases: dict[str, list[str]] = {}
        for alias, number in client.get_registered_model(self.name).aliases.items():
            aliases.setdefault(str(number), []).append(alias)
        found: list[ModelVersion] = []
        token: str | None = None
        while token is None or token:
            page = client.search_model_versions(
                f"name = '{self.name}'", max_results=1000, page_token=token or None
            )
            found += page
            token = page.token or ""
        versions = [_version(each, aliases.get(str(each.version), [])) for each in found]
        return sorted(versions, key=lambda version: int(version.number), reverse=True)

    def _get(self, client: "MlflowClient", number: str) -> Version:
        return next(version for version in self._search(client) if version.number == number)

    def _what(self, version: Version) -> str:
        return f"model '{self.name}', version {version.number}"

    @contextmanager
    def _opened(self) -> Iterator["MlflowClient | None"]:
        """The client for reading; None when the project's embedded store was never made."""
        if not self.store.exists:
            yield None
            return
        with stores.errors(self.store):
            yield self._connect()

    @contextmanager
    def _locked(self) -> Iterator["MlflowClient"]:
        """The client for writing, under the project's lock; makes the embedded store if need be."""
        with self.workspace.lock("registry"), stores.errors(self.store):
            yield self._connect()

    def _connect(self) -> "MlflowClient":
        if self._client is None:
            self._client = stores.connect(self.store, self.name)
        return self._client


def _version(found: "ModelVersion", aliases: list[str]) -> Version:
    return Version(
        number=str(found.version),
        run_id=found.run_id or "",
        aliases=tuple(sorted(aliases)),
        tags=dict(found.tags),
        source=found.source,
        created=int(found.creation_timestamp or 0),
    )
