"""One registered model, its aliases and tags, and how all of them are read from MLflow."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from doubleroute.integrations.registry_run import RUN_KEY

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION = "champion"
CHALLENGER = "challenger"
DIGEST = "doubleroute.model_digest"
VERDICT = "doubleroute.verdict"
DECISION = "doubleroute.decision"
GOLDEN = "doubleroute.golden_answers"
#: A JSON list of the runs of its data's accepted reviews, newest first.
REVIEWS = "doubleroute.reviews"
#: Characters that MLflow takes as the value of a version's tag.
_MOST = 100_000


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
    #: Where the files are read from, when the registry was read without MLflow.
    place: str | None = field(default=None, compare=False)

    @property
    def run_key(self) -> str | None:
        """The digest of all that the model was made of and judged by."""
        return self.tags.get(RUN_KEY)

    @property
    def digest(self) -> str | None:
        """``digests.model_digest`` of the model's files: equal digests are equal models."""
        return self.tags.get(DIGEST)

    @property
    def decision(self) -> dict[str, Any] | None:
        """What the promotion gate said: verdict, reasons, numbers and ``against``, the number of the
        champion that it was compared with (None: there was none). None before the gate has decided."""
        found: dict[str, Any] | None = json.loads(self.tags[DECISION]) if DECISION in self.tags else None
        return found

    @property
    def golden(self) -> int:
        """How many golden answers it gave in a new process when it was registered."""
        return int(self.tags.get(GOLDEN, 0))

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON for `doubleroute status`."""
        return {
            "version": self.number,
            "run_id": self.run_id,
            "aliases": list(self.aliases),
            "run_key": self.run_key,
            "model_digest": self.digest,
            "verdict": self.tags.get(VERDICT),
            "reasons": (self.decision or {}).get("reasons", []),
            "source": self.source,
        }


class Registered(NamedTuple):
    """A registered model: its tags, and its versions, newest first."""

    tags: dict[str, str]
    versions: list[Version]

    def with_alias(self, alias: str) -> Version | None:
        """The version that has this alias."""
        return next((version for version in self.versions if alias in version.aliases), None)


def registered(client: "MlflowClient", name: str) -> Registered:
    """A registered model as MLflow has it; without tags and versions where there is none."""
    if not client.search_registered_models(f"name = '{name}'"):
        return Registered({}, [])
    model = client.get_registered_model(name)
    aliases: dict[str, list[str]] = {}
    for alias, number in model.aliases.items():  # a search of versions leaves them out
        aliases.setdefault(str(number), []).append(alias)
    found: list[ModelVersion] = []
    token: str | None = None
    while token is None or token:
        page = client.search_model_versions(f"name = '{name}'", max_results=1000, page_token=token or None)
        found += page
        token = page.token or ""
    versions = [_version(each, aliases.get(str(each.version), [])) for each in found]
    return Registered(
        dict(model.tags), sorted(versions, key=lambda version: int(version.number), reverse=True)
    )


def search(client: "MlflowClient", name: str) -> list[Version]:
    """All versions, newest first."""
    return registered(client, name).versions


def with_alias(client: "MlflowClient", name: str, alias: str) -> Version | None:
    """The version that has this alias."""
    return registered(client, name).with_alias(alias)


def note(
    client: "MlflowClient", name: str, number: str, decision: Mapping[str, Any], against: str | None
) -> None:
    """Write a decision on a version, and the number of the champion that it was compared with.

    Slices that a tag cannot hold are left out and counted; those that refused stay first, then those that
    lost most.
    """
    client.set_model_version_tag(name, number, DECISION, _text({**decision, "against": against}))
    client.set_model_version_tag(name, number, VERDICT, str(decision.get("verdict")))


def _text(decision: Mapping[str, Any]) -> str:
    """A decision as the value of its tag."""
    text = json.dumps(decision, ensure_ascii=False)
    slices = (decision.get("numbers") or {}).get("slices", ())
    kept = sorted(slices, key=lambda each: (not each["refused"], each["difference"] or 0))
    while len(text) > _MOST and kept:
        del kept[len(kept) // 2 :]
        numbers = {**decision["numbers"], "slices": kept, "slices_left_out": len(slices) - len(kept)}
        text = json.dumps({**decision, "numbers": numbers}, ensure_ascii=False)
    return text


def _version(found: "ModelVersion", aliases: list[str]) -> Version:
    return Version(
        number=str(found.version),
        run_id=found.run_id or "",
        aliases=tuple(sorted(aliases)),
        tags=dict(found.tags),
        source=found.source,
        created=int(found.creation_timestamp or 0),
    )
