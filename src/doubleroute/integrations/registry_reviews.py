"""Reviews of the data in MLflow: an accepted one is a run that names its data version, and the model versions
that learned from those data name the run.

A review's key is the digest of its content, without when it was made and how long that took: whoever logs the
same review again gets the run that is there.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doubleroute.digests import digest_of
from doubleroute.errors import GateError, InputError
from doubleroute.integrations import registry_run as runs
from doubleroute.integrations.registry_version import REVIEWS, search

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from doubleroute.integrations.registry import Registry

#: The key of a review: tag of its run.
KEY = "doubleroute.review"
#: The md5 of the data that were reviewed, and of those before the change: tags of the run.
REVIEW_OF, REVIEW_BASE = "review_of", "review_base"
#: Runs that a version's tag names, the newest: MLflow takes 5,000 characters.
NAMED = 100
_UNTIMED = ("time", "seconds")


def log_review(
    registry: "Registry", document: Mapping[str, Any], files: Sequence[Path], by_hand: bool = False
) -> str:
    """Log an accepted review in the project's experiment, or find it there: the id of its run.

    ``document``: the review as review.json holds it; ``files``: what is kept with the run under its own name
    (review.json, review.html, review.md); ``by_hand``: a person accepts it where it asks for a look. Versions
    that learned from the data name the run afterwards (tag REVIEWS). Safe to kill anywhere and to run twice
    at once.

    Raises GateError for a verdict of block, of look unless a person accepted it, and for a review of a
    commit against itself; MachineError for the store.
    """
    if is_of_nothing(document):
        raise GateError(
            "base and head are one commit, so that nothing was compared and there is nothing to accept; name "
            "the two that differ"
        )
    verdict = document["verdict"]["verdict"]
    if verdict != "approve" and not (verdict == "look" and by_hand):
        right = "a person may accept it with --accept" if verdict == "look" else "nothing accepts it"
        raise GateError(f"the review says {verdict}: {'; '.join(document['verdict']['reasons'])}; {right}")
    md5 = _md5(document["head"]["dvc_md5"])
    key = digest_of({name: value for name, value in document.items() if name not in _UNTIMED})
    registry.refuse_read_only()
    with registry.locked() as client:
        experiment = runs.experiment_id(client, registry.name, registry.store.artifacts(registry.name))
        accepted = "by hand" if verdict == "look" else "by its verdict"

        def find() -> "Run | None":
            found = _search(client, experiment, f"tags.`{KEY}` = '{key}'")
            return runs.whole(client, found, lambda _: True, registry.store.shared)

        def fill(run_id: str) -> None:
            for path in files:
                client.log_artifact(run_id, str(path))
            client.set_terminated(run_id)

        run = runs.found_or_made(
            client, find, lambda: _begin(client, experiment, key, document, accepted), fill
        )
        lead(client, registry.name, md5)
    return str(run.info.run_id)


def is_of_nothing(document: Mapping[str, Any]) -> bool:
    """Whether a review compared a commit with itself."""
    base, head = (document[side]["commit"] for side in ("base", "head"))
    return base is not None and base == head


def reviews_of(registry: "Registry", dvc_md5: str) -> list[dict[str, Any]]:
    """The accepted reviews whose head is this data version, newest first: [{"run_id", "verdict", "time",
    "base", "head"}], the last two {"name", "commit", "dvc_md5"}. Creates nothing.

    Raises InputError when ``dvc_md5`` is not what data.dvc holds, MachineError for the store.
    """
    md5 = _md5(dvc_md5)
    with registry.opened() as client:
        return [] if client is None else [_told(run) for run in _reviews(client, registry.name, md5)]


def lead(client: "MlflowClient", name: str, dvc_md5: str | None) -> None:
    """Let every version of a model that learned from a data version name the reviews of it: a JSON list of
    run ids, newest first, in the tag REVIEWS. The caller holds the lock.

    It is done after a version is made and after a review is logged, so that whichever comes second, on
    whatever machine, finds the other.
    """
    versions = [each for each in search(client, name) if dvc_md5 and each.tags.get("dvc_md5") == dvc_md5]
    found = [run.info.run_id for run in _reviews(client, name, dvc_md5)] if versions and dvc_md5 else []
    text = json.dumps(found[:NAMED])
    for version in versions:
        if found and version.tags.get(REVIEWS) != text:
            client.set_model_version_tag(name, version.number, REVIEWS, text)


def _begin(
    client: "MlflowClient", experiment: str, key: str, document: Mapping[str, Any], accepted: str
) -> str:
    """Begin the run of a review, with its tags."""
    base, head = document["base"], document["head"]
    tags = {
        REVIEW_OF: head["dvc_md5"],
        REVIEW_BASE: base["dvc_md5"],
        "verdict": document["verdict"]["verdict"],
        "accepted": accepted,
        "review_time": document["time"],
        "git_commit": head["commit"],
        "git_commit_base": base["commit"],
        "head_name": head["name"],
        "base_name": base["name"],
        KEY: key,
    }
    given = {name: str(value) for name, value in tags.items() if value is not None}
    return str(client.create_run(experiment, tags=given, run_name=f"review-{key[:12]}").info.run_id)


def _reviews(client: "MlflowClient", name: str, dvc_md5: str) -> list["Run"]:
    """The finished runs of a data version's reviews, newest first."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return []
    asked = f"tags.{REVIEW_OF} = '{dvc_md5}' AND attributes.status = 'FINISHED'"
    found = [run for run in _search(client, experiment.experiment_id, asked) if KEY in run.data.tags]
    return sorted(found, key=lambda run: (run.data.tags["review_time"], run.info.run_id), reverse=True)


def _search(client: "MlflowClient", experiment: str, asked: str) -> Iterator["Run"]:
    """All runs that fit, page after page."""
    token: str | None = None
    while token is None or token:
        page = client.search_runs([experiment], asked, page_token=token)
        yield from list(page)
        token = page.token or ""


def _told(run: "Run") -> dict[str, Any]:
    tags = run.data.tags
    base = {"name": tags["base_name"], "commit": tags.get("git_commit_base"), "dvc_md5": tags[REVIEW_BASE]}
    head = {"name": tags["head_name"], "commit": tags.get("git_commit"), "dvc_md5": tags[REVIEW_OF]}
    named = {"run_id": run.info.run_id, "verdict": tags["verdict"], "time": tags["review_time"]}
    return {**named, "base": base, "head": head}


def _md5(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{32}\.dir", text or ""):
        raise InputError(f"'{text}' is no version of the data; data.dvc holds it: 32 hex digits and '.dir'")
    return text
