"""The model registry (MLflow): versions, champion and challenger. The only door to MLflow.

One training is one version: it carries the digest of all that went in (the run key), and whoever comes
with the same key gets the version that is there. A version is made only from a run that is whole, whose
files have the digests that were noted when it was packed, and whose model gave the golden answers in a
process of its own. Aliases move under the project's lock; MLflow itself has no compare-and-set, so on a
shared server promotion belongs to one machine at a time.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doubleroute.errors import DoublerouteError, GateError, InputError, MachineError
from doubleroute.integrations import registry_create as create
from doubleroute.integrations import registry_moves as moves
from doubleroute.integrations import registry_package as package
from doubleroute.integrations import registry_read as by_itself
from doubleroute.integrations import registry_reviews as reviews
from doubleroute.integrations import registry_run as runs
from doubleroute.integrations import registry_store as stores
from doubleroute.integrations.registry_run import Candidate, DatasetUse
from doubleroute.integrations.registry_version import (
    CHALLENGER,
    CHAMPION,
    DECISION,
    VERDICT,
    Registered,
    Version,
    note,
    registered,
    search,
    with_alias,
)
from doubleroute.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "DECISION",
    "VERDICT",
    "Candidate",
    "DatasetUse",
    "Registry",
    "Version",
]


class Registry:
    """The versions of one model of a project. Every method may raise MachineError for the store."""

    def __init__(self, project_root: Path, model_name: str) -> None:
        if not model_name.strip() or set(model_name) & set("/:'\"`"):
            raise InputError(f"promotion.model_name: '{model_name}' must not be empty or hold / : ' \" `")
        self.name = model_name
        self.store = stores.locate(project_root)
        self.workspace = Workspace(project_root.resolve())
        self._client: MlflowClient | None = None
        #: Versions that answered in a new process when this object registered them.
        self._answered: set[str] = set()

    @property
    def tracking_uri(self) -> str:
        """Where runs are kept, for people: without a password."""
        return stores.shown(self.store.tracking_uri)

    @property
    def page(self) -> str:
        """How people look at the runs: the address of a server, or the command that shows them."""
        return stores.page(self.store)

    def refuse_read_only(self) -> None:
        """Raise MachineError when nothing could be registered; to be asked before hours of training."""
        stores.refuse_read_only(self.store)

    def champion(self) -> Version | None:
        """The version that serves; None before the first promotion. Creates nothing."""
        return self._registered().with_alias(CHAMPION)

    def challenger(self) -> Version | None:
        """The version that was registered last and wants to serve. Creates nothing."""
        return self._registered().with_alias(CHALLENGER)

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
        return self._registered().versions

    def model_folder(self, version: Version) -> Path:
        """The local folder with the model's files, every digest checked; downloaded from a server once.

        Raises MachineError when files are missing or damaged, InputError for a version that something
        else than doubleroute registered.
        """
        if version.place is not None:
            with stores.errors(self.store):
                return self._fetch(version, version.place) / package.MODEL
        with self.opened() as client:
            if client is None:
                raise MachineError(f"{self._what(version)}: the store {self.tracking_uri} is gone")
            return self._verified(client, version) / package.MODEL

    def artifact(self, version: Version, name: str) -> Path | None:
        """A file that was logged beside the version's model, fetched once; None when the run has none."""
        place = self.workspace.root / "registry" / f"{version.run_id}-{name}"
        with suppress(FileNotFoundError):
            os.utime(place)  # copies that nobody uses any more are removed after a training
            return place
        with self.opened() as client:
            if client is None or name not in {each.path for each in client.list_artifacts(version.run_id)}:
                return None
            place.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".download-", dir=place.parent) as scratch:
                got = Path(client.download_artifacts(version.run_id, name, scratch))
                os.utime(got)  # some stores give it the time that it has there
                got.replace(place)
        return place

    def register(self, candidate: Candidate) -> Version:
        """Make the candidate a version and ``challenger``, or find the version that it already is.

        Safe to kill anywhere and to run twice at once. Raises ModelError when the model does not give
        its golden answers in a new process; no version is made then.
        """
        with self.locked() as client:
            version = self._again(client, candidate.run_key)
            if version is None:
                version = create.create(client, self.store, self.name, self.workspace, candidate)
                self._answered.add(version.number)
            return self._challenge(client, version)

    def register_again(self, run_key: str) -> Version | None:
        """``register`` for a candidate that is a version already, which need not be made then; None where it
        is not."""
        with self.locked() as client:
            version = self._again(client, run_key)
            return None if version is None else self._challenge(client, version)

    def promote(
        self,
        version: Version,
        expected_champion: str | None,
        decision: Mapping[str, Any],
        by: moves.By = "promotion",
    ) -> Version:
        """Make ``version`` the champion and note why; doing it again changes nothing.

        ``expected_champion``: number of the champion that it was compared with; ``decision``: its verdict
        and reasons, which become the version's unless somebody promotes ``by`` hand. The new champion is
        loaded in a new process, unless ``register`` did that a moment ago and its files are still those.
        Raises GateError when another one has become champion since, MachineError when the version's files
        are damaged, and when it does not give its golden answers as champion: the alias is back then.
        """
        with self.locked() as client:
            self._verified(client, version)
            self._settle(client)
            champion = with_alias(client, self.name, CHAMPION)
            current = champion.number if champion else None
            if current not in (version.number, expected_champion):
                compared = f"version {expected_champion}" if expected_champion else "no champion"
                now = f"version {current} is champion" if current else "there is no champion"
                raise GateError(
                    f"model '{self.name}': version {version.number} was compared with {compared}, and now "
                    f"{now}; run again to compare with that"
                )
            if current != version.number:
                if by == "promotion":
                    note(client, self.name, version.number, decision, expected_champion)
                self._move(client, version, current, decision, by, version.number in self._answered)
            return self._get(client, version.number)

    def rollback(self, reason: str, to: str | None = None) -> dict[str, Any]:
        """Make the champion before this one champion again, or the version ``to``: plain JSON {"version",
        "from", "reasons", "skipped"}, the last with what is wrong with champions that could not be taken.

        A version is taken when its files have their digests and it gives its golden answers in a new
        process. Raises GateError when there is none, InputError for a ``to`` that never was champion.
        """
        with self.locked() as client:
            known = {version.number: version for version in search(client, self.name)}
            if known:
                self._settle(client)
            champion = with_alias(client, self.name, CHAMPION)
            current = champion.number if champion else None
            skipped: list[str] = []
            for number in moves.goals(moves.read(registered(client, self.name)), current, to):
                try:
                    if number not in known:
                        raise MachineError(f"model '{self.name}', version {number} was deleted")
                    self._try_out(client, number)
                except DoublerouteError as error:
                    skipped.append(str(error))
                    continue
                decision = {"verdict": None, "reasons": [reason, *(f"skipped: {each}" for each in skipped)]}
                self._move(client, known[number], current, decision, "rollback", tried=True)
                return {"version": number, "from": current, **decision, "skipped": skipped}
            why = f": {'; '.join(skipped)}" if skipped else ""
            raise GateError(f"model '{self.name}': there is no earlier champion to go back to{why}")

    def settle(self) -> None:
        """End what a killed promotion or rollback began."""
        with self.locked() as client:
            self._settle(client)

    def history(self) -> list[dict[str, Any]]:
        """Who was champion when, and why, newest first: [{"time" (UTC, ISO; None: nobody noted it),
        "version", "from", "verdict", "reasons", "by": promotion, rollback or by hand}]."""
        return [each.as_dict() for each in reversed(self._moves())]

    def taken_back(self, version: Version) -> dict[str, Any] | None:
        """The entry of the history by which this version ceased to be champion, if it was a rollback."""
        found = moves.taken_back(self._moves(), version.number)
        return found.as_dict() if found else None

    def record(self, version: Version, decision: Mapping[str, Any], against: str | None = None) -> None:
        """Note on a version the decision that kept it from becoming champion in place of ``against``."""
        with self.locked() as client:
            note(client, self.name, version.number, decision, against)

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

    @contextmanager
    def opened(self) -> Iterator["MlflowClient | None"]:
        """The client for reading; None when the project's embedded store was never made."""
        if not self.store.exists:
            yield None
            return
        with stores.errors(self.store):
            self._follow_move()
            yield self._connect()

    @contextmanager
    def locked(self) -> Iterator["MlflowClient"]:
        """The client for writing, under the project's lock; makes the embedded store if need be."""
        with self.workspace.lock("registry"), stores.errors(self.store):
            yield self._connect()

    def _move(
        self,
        client: "MlflowClient",
        version: Version,
        before: str | None,
        decision: Mapping[str, Any],
        by: moves.By,
        tried: bool = False,
    ) -> None:
        """Move the champion's alias to a version; ``tried``: it was loaded a moment ago."""
        reasons = tuple(str(reason) for reason in decision.get("reasons", ()))
        wanted = moves.Move(moves.now(), version.number, before, decision.get("verdict"), reasons, by)

        def check(number: str) -> None:
            if tried:
                self._verified(client, self._get(client, number))
            else:
                self._try_out(client, number)

        moves.move(client, self.name, wanted, check)

    def _settle(self, client: "MlflowClient") -> None:
        moves.settle(client, self.name, lambda number: self._try_out(client, number))

    def _try_out(self, client: "MlflowClient", number: str) -> None:
        """Check the files of a version and its golden answers in a new process."""
        package.try_out(self._verified(client, self._get(client, number)))

    def _again(self, client: "MlflowClient", run_key: str) -> Version | None:
        """The version of a run key, its files checked."""
        version = create.of_key(client, self.name, run_key)
        if version is not None:
            self._verified(client, version)
            create.tidy(client, self.store, self.name, run_key)
        return version

    def _challenge(self, client: "MlflowClient", version: Version) -> Version:
        if CHAMPION not in version.aliases:
            client.set_registered_model_alias(self.name, CHALLENGER, version.number)
        reviews.lead(client, self.name, version.tags.get("dvc_md5"))
        return self._get(client, version.number)

    def _moves(self) -> list[moves.Move]:
        return moves.read(self._registered())

    def _registered(self) -> Registered:
        """What the store says of the model; without MLflow where its database can be read by itself."""
        database = self.store.database
        if database is not None and self.store.exists:
            with stores.errors(self.store):
                if by_itself.readable(database):
                    self._follow_move()
                    return by_itself.read(database, self.name)
        with self.opened() as client:
            return Registered({}, []) if client is None else registered(client, self.name)

    def _follow_move(self) -> None:
        if stores.moved(self.store, self.name):
            with self.workspace.lock("registry"):  # the database is about to be written
                stores.follow_move(self.store, self.name)

    def _verified(self, client: "MlflowClient", version: Version) -> Path:
        """The version's pyfunc folder on this machine, every file checked."""
        return self._fetch(version, client.get_model_version_download_uri(self.name, version.number))

    def _fetch(self, version: Version, source: str) -> Path:
        """The same from where its files are."""
        manifest = version.tags.get(runs.MANIFEST)
        if manifest is None:
            raise InputError(
                f"{self._what(version)} was not registered by doubleroute (no tag {runs.MANIFEST})"
            )
        return package.fetch(self.store, source, manifest, self._what(version), self.workspace)

    def _get(self, client: "MlflowClient", number: str) -> Version:
        return next(version for version in search(client, self.name) if version.number == number)

    def _what(self, version: Version) -> str:
        return f"model '{self.name}', version {version.number}"

    def _connect(self) -> "MlflowClient":
        if self._client is None:
            self._client = stores.connect(self.store, self.name)
        return self._client
