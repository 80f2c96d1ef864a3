"""A review on the page where a change is discussed: one comment on a pull request (GitHub) or merge request
(GitLab), made by the first review and changed by every later one, and the check of the commit.

Everything is read from the variables that the host's own runners set; see docs/reviews.md.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from doubleroute.errors import InputError, MachineError
from doubleroute.integrations.code_host import CodeHost, Refused, ask, listed, retried
from doubleroute.reports.review_comment import marker

Where = Literal["github", "gitlab"]
#: Characters of a check's description, GitHub's limit.
DESCRIPTION = 140

_GITHUB_RIGHTS = (
    "the workflow needs `permissions:` with `pull-requests: write` and `statuses: write`; for a pull request "
    "from a fork the token can only read, so leave --comment out there"
)
_GITHUB = {
    401: "GITHUB_TOKEN is not valid (any more); in a workflow `env: GITHUB_TOKEN: ${{ github.token }}`",
    403: _GITHUB_RIGHTS,
    404: f"GITHUB_REPOSITORY names no repository with this pull request or commit that the token sees, or "
    f"{_GITHUB_RIGHTS}",
}
_GITLAB_RIGHTS = "the token needs the scope `api` and the role Developer, Maintainer for a protected branch"
_GITLAB = {
    401: "the token is not valid or has expired; make a project access token with the scope `api`",
    403: _GITLAB_RIGHTS,
    404: f"the token sees no such merge request, comment or commit; {_GITLAB_RIGHTS}",
}


@dataclass(frozen=True)
class Place:
    """A pull or merge request in the words of its host.

    ``comments``, ``comment`` and ``checks``: paths of the list, of one (its id follows) and of checks (the
    commit follows); ``change``: the method that changes a comment; ``author``: its key for who wrote it;
    ``request``: the path of what knows the page that shows comments, where a comment does not say it;
    ``commit``: the one whose check is set, None for the reviewed one; ``check``: the words of the host for a
    check's name, failure and success; ``more``: what else it takes.
    """

    host: CodeHost
    comments: str
    comment: str
    change: Literal["PATCH", "PUT"]
    author: Literal["user", "author"]
    request: str | None
    checks: str
    commit: str | None
    check: tuple[str, str, str]
    more: dict[str, Any]


def comment_place(where: Where, environment: Mapping[str, str]) -> Place:
    """The pull request (github) or merge request (gitlab) that the variables of the host's runner name. Asks
    nobody. Raises InputError naming a variable that is missing or wrong."""
    if where not in ("github", "gitlab"):
        raise InputError(f"--comment: '{where}' is not known; write github or gitlab")
    return (_on_github if where == "github" else _on_gitlab)(environment)


def post_comment(place: Place, document: Mapping[str, Any], markdown: str) -> str:
    """Write a review into the one comment of its project, set the commit's check by the verdict, and give
    the comment's URL.

    ``document``: the review; ``markdown``: what ``review_comment`` makes of it. A comment is ours when it
    begins with the marker and the token's owner wrote it; where the host does not say who that is (GitHub's
    own workflow token), when a bot did. The check is named ``doubleroute/review/PROJECT`` and fails when the
    verdict's exit code is not 0; it is set even where no comment may be written. Server errors and rate
    limits are tried three times.

    Raises InputError for a review of what has no commit, MachineError with the HTTP status and what would be
    right.
    """
    first = marker(document["project"])
    named, failed, passed = place.check
    body = {
        named: f"doubleroute/review/{document['project']}",
        "state": failed if document["verdict"]["exit_code"] else passed,
        "description": _description(document),
        **place.more,
    }
    check = f"{place.checks}/{place.commit or _reviewed(document)}"
    try:
        url = retried(lambda: _write(place, first, markdown))
    except MachineError:
        with suppress(MachineError):  # what kept us from writing is told, not what it led to
            retried(lambda: ask(place.host, "POST", check, body))
        raise
    retried(lambda: ask(place.host, "POST", check, {**body, "target_url": url}))
    return url


def _write(place: Place, first: str, text: str) -> str:
    """Change our comment or make it; its URL. Looking and writing are tried again together, so that a comment
    whose making was not answered is found and not made twice."""
    me = _me(place.host)
    ours = next(
        (each for each in listed(place.host, place.comments) if _is_ours(each, place, first, me)), None
    )
    if ours is None:
        written = ask(place.host, "POST", place.comments, {"body": text})
    else:
        written = ask(place.host, place.change, f"{place.comment}/{ours['id']}", {"body": text})
    if place.request is None:
        return str(written["html_url"])
    return f"{ask(place.host, 'GET', place.request)['web_url']}#note_{written['id']}"


def _me(host: CodeHost) -> int | None:
    """The id of the token's owner; None for an app's token, to which GitHub does not say it."""
    try:
        return int(ask(host, "GET", "/user")["id"])
    except Refused as error:
        if error.status == 403 and error.wait is None:
            return None
        raise


def _is_ours(comment: Mapping[str, Any], place: Place, first: str, me: int | None) -> bool:
    """Whether we wrote it: anybody may write a comment that begins with the marker, and change it later."""
    author = comment.get(place.author) or {}
    written = author.get("type") == "Bot" if me is None else author.get("id") == me
    return written and _first_line(comment.get("body") or "") == first


def _first_line(text: str) -> str:
    return text.partition("\n")[0].strip()


def _on_github(environment: Mapping[str, str]) -> Place:
    token = _needed(environment, "GITHUB_TOKEN", "in a workflow: `env: GITHUB_TOKEN: ${{ github.token }}`")
    name = _needed(environment, "GITHUB_REPOSITORY", "as OWNER/NAME", r"[\w.-]+/[\w.-]+")
    number, head = _pull_request(environment)
    host = CodeHost(
        "GitHub",
        environment.get("GITHUB_API_URL", "").rstrip("/") or "https://api.github.com",
        token,
        {
            "Authorization": f"Bearer {token}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
        },
        _GITHUB,
    )
    return Place(
        host,
        comments=f"/repos/{name}/issues/{number}/comments",
        comment=f"/repos/{name}/issues/comments",
        change="PATCH",
        author="user",
        request=None,
        checks=f"/repos/{name}/statuses",
        commit=head,
        check=("context", "failure", "success"),
        more={},
    )


def _pull_request(environment: Mapping[str, str]) -> tuple[int, str | None]:
    """The pull request's number, and its head commit if the event of the workflow tells it: a workflow stands
    at the merge of head and base, whose check nobody sees."""
    place = environment.get("GITHUB_EVENT_PATH", "")
    pull: dict[str, Any] = {}
    if place:
        try:
            pull = json.loads(Path(place).read_text(encoding="utf-8")).get("pull_request") or {}
        except (OSError, ValueError, AttributeError):
            raise InputError(f"GITHUB_EVENT_PATH: {place} is not the JSON of a workflow's event") from None
    ref = environment.get("GITHUB_REF", "")
    found = re.fullmatch(r"refs/pull/(\d+)/(?:merge|head)", ref)
    number = int(found[1]) if found else pull.get("number")
    if not isinstance(number, int):
        raise InputError(
            f"GITHUB_REF is '{ref}' and GITHUB_EVENT_PATH names no pull request: --comment github "
            "belongs into a workflow `on: pull_request`; elsewhere set GITHUB_REF=refs/pull/NUMBER/merge"
        )
    return number, (pull.get("head") or {}).get("sha")


def _on_gitlab(environment: Mapping[str, str]) -> Place:
    address = _needed(environment, "CI_API_V4_URL", "as https://HOST/api/v4")
    source = _needed(environment, "CI_PROJECT_ID", "a number", r"\d+")
    only = "only pipelines of merge requests have it: `rules: [{if: $CI_MERGE_REQUEST_IID}]`"
    number = _needed(environment, "CI_MERGE_REQUEST_IID", only, r"\d+")
    # In a pipeline of a fork the merge request is the parent's, the commit and its pipeline are the fork's.
    target = environment.get("CI_MERGE_REQUEST_PROJECT_ID", "").strip() or source
    token = _gitlab_token(environment)
    host = CodeHost("GitLab", address.rstrip("/"), token, {"PRIVATE-TOKEN": token}, _GITLAB)
    request = f"/projects/{target}/merge_requests/{number}"
    # The pipeline's own commit, be it of a merged result, and its pipeline: without it GitLab would begin
    # another one, which the merge request may take for its own.
    pipeline, commit = environment.get("CI_PIPELINE_ID", ""), environment.get("CI_COMMIT_SHA", "")
    known = pipeline.isdecimal() and bool(commit)
    return Place(
        host,
        comments=f"{request}/notes",
        comment=f"{request}/notes",
        change="PUT",
        author="author",
        request=request,
        checks=f"/projects/{source}/statuses",
        commit=commit if known else None,
        check=("name", "failed", "success"),
        more={"pipeline_id": int(pipeline)} if known else {},
    )


def _gitlab_token(environment: Mapping[str, str]) -> str:
    for name in ("DOUBLEROUTE_GITLAB_TOKEN", "GITLAB_TOKEN"):
        if environment.get(name, "").strip():
            return environment[name].strip()
    job = "; GitLab lets CI_JOB_TOKEN write no comments" if "CI_JOB_TOKEN" in environment else ""
    raise InputError(
        "--comment gitlab needs the variable DOUBLEROUTE_GITLAB_TOKEN or GITLAB_TOKEN: a project access "
        f"token with the scope `api` and the role Developer, as a masked CI/CD variable{job}"
    )


def _needed(environment: Mapping[str, str], name: str, right: str, pattern: str = r"(?s).+") -> str:
    """The value of a variable, without white space around it."""
    value = environment.get(name, "").strip()
    if not value:
        raise InputError(f"--comment needs the variable {name}, which is not set ({right})")
    if not re.fullmatch(pattern, value):
        raise InputError(f"the variable {name} is '{value}'; it must be {right}")
    return value


def _reviewed(document: Mapping[str, Any]) -> str:
    """The commit that was reviewed, whose check is to be set."""
    commit = document["head"]["commit"]
    if not commit:
        raise InputError("what is staged has no commit yet, and so no check; review a commit with --comment")
    return str(commit)


def _description(document: Mapping[str, Any]) -> str:
    """The verdict and its reasons on one line of at most DESCRIPTION characters. GitHub takes none above
    U+FFFF there, an emoji say: U+FFFD stands for it."""
    verdict = document["verdict"]
    reasons = "; ".join(verdict["reasons"])
    text = " ".join(f"{verdict['verdict']}: {reasons}".split()) if reasons else str(verdict["verdict"])
    text = re.sub("[\U00010000-\U0010ffff]", "\ufffd", text)
    return text if len(text) <= DESCRIPTION else f"{text[: DESCRIPTION - 1]}…"
