"""Reviews posted to a real HTTP server on the loopback interface that imitates GitHub and GitLab."""

import json
import re
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from doubleroute.errors import InputError, MachineError
from doubleroute.integrations import code_host
from doubleroute.integrations.comments import Where, comment_place, post_comment
from doubleroute.reports.review_comment import marker

TOKEN = "ghs_secretsecret"
HEAD, MERGE = "a" * 40, "b" * 40
MARKER = "<!-- doubleroute review: demo -->"
MARKDOWN = f"{MARKER}\n## The review\n\nall é good"
DOCUMENT = {
    "project": "demo",
    "head": {"name": "topic", "commit": HEAD, "dvc_md5": "m.dir"},
    "verdict": {"verdict": "approve", "reasons": [], "exit_code": 0},
}
BLOCKED = {**DOCUMENT, "verdict": {"verdict": "block", "reasons": ["40 rows\nleak"] * 20, "exit_code": 3}}
#: id and kind of the token's owner, and of somebody else.
ME, OTHER = {"id": 7, "type": "Bot"}, {"id": 8, "type": "User"}


def post(where: Where, document: Mapping[str, Any], markdown: str, environment: Mapping[str, str]) -> str:
    return post_comment(comment_place(where, environment), document, markdown)


class Server(ThreadingHTTPServer):
    """Keeps ``comments`` as both hosts would, ``me`` as owner of the token (None: 403), two comments a page.

    ``trouble``: {(method, end of the path): [(status, headers, JSON)]}, answered before anything is done.
    ``got``: (method, path, token, body); ``lost``: comments that are made and answered with a 502.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.comments: list[dict[str, Any]] = []
        self.me: dict[str, Any] | None = {**ME}
        self.trouble: dict[tuple[str, str], list[tuple[int, dict[str, str], Any]]] = {}
        self.got: list[tuple[str, str, str | None, Any]] = []
        self.lost = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def asked(self, *methods: str) -> list[tuple[str, Any]]:
        """Path and body of what came with these methods."""
        return [(path, body) for method, path, _, body in self.got if method in methods]

    def comment(self, body: str, by: dict[str, Any] = ME) -> dict[str, Any]:
        number = len(self.comments) + 1
        made = {"id": number, "body": body, "user": by, "author": by, "html_url": f"https://web/c{number}"}
        self.comments.append(made)
        return made


class Handler(BaseHTTPRequestHandler):
    server: Server

    def answer(self) -> None:
        server, parts = self.server, urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        token = self.headers.get("Authorization") or self.headers.get("PRIVATE-TOKEN")
        server.got.append((self.command, parts.path, token, body))
        for (method, end), answers in server.trouble.items():
            if method == self.command and parts.path.endswith(end) and answers:
                return self.send(*answers.pop(0))
        one = re.search(r"/(?:comments|notes)/(\d+)$", parts.path)
        if parts.path.endswith("/user"):
            if server.me is None:
                return self.send(403, {}, {"message": "Resource not accessible by integration"})
            return self.send(200, {}, server.me)
        if one and self.command in ("PATCH", "PUT"):
            changed = server.comments[int(one[1]) - 1]
            changed["body"] = body["body"]
            return self.send(200, {}, changed)
        if parts.path.endswith(("/comments", "/notes")) and self.command == "GET":
            page, link = int(parse_qs(parts.query)["page"][0]), {}
            if len(server.comments) > 2 * page:
                link = {"Link": f'<https://elsewhere.test/?page={page + 1}>; rel="next", <x>; rel="last"'}
            return self.send(200, link, server.comments[2 * (page - 1) : 2 * page])
        if parts.path.endswith(("/comments", "/notes")):
            made = server.comment(body["body"], server.me or ME)
            server.lost -= 1
            return self.send(*((502, {}, None) if server.lost >= 0 else (201, {}, made)))
        if "/statuses/" in parts.path:
            return self.send(201, {}, {"id": 1})
        if parts.path.endswith("/merge_requests/5"):
            return self.send(200, {}, {"web_url": "https://lab/group/demo/-/merge_requests/5"})
        return self.send(404, {}, {"message": "Not Found"})

    def send(self, status: int, headers: dict[str, str], value: Any) -> None:
        text = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, header in {**headers, "Content-Length": str(len(text))}.items():
            self.send_header(name, header)
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PATCH = do_PUT = answer

    def log_message(self, *_: Any) -> None:
        pass


def serving() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


server = pytest.fixture(serving)
elsewhere = pytest.fixture(serving)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_host, "PAUSES", (0.01, 0.02))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def github(server: Server, tmp_path: Path) -> dict[str, str]:
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"pull_request": {"number": 5, "head": {"sha": HEAD}}}))
    return {
        "GITHUB_API_URL": server.url,
        "GITHUB_REPOSITORY": "group/demo",
        "GITHUB_TOKEN": TOKEN,
        "GITHUB_REF": "refs/pull/5/merge",
        "GITHUB_EVENT_PATH": str(event),
        "GITHUB_SHA": MERGE,
    }


@pytest.fixture
def gitlab(server: Server) -> dict[str, str]:
    return {
        "CI_API_V4_URL": f"{server.url}/api/v4",
        "CI_PROJECT_ID": "31",
        "CI_MERGE_REQUEST_IID": "5",
        "CI_MERGE_REQUEST_PROJECT_ID": "30",
        "CI_COMMIT_SHA": MERGE,
        "CI_PIPELINE_ID": "99",
        "GITLAB_TOKEN": f"{TOKEN}\n",
    }


def test_github_gets_one_comment_that_the_next_review_changes(server: Server, github: dict[str, str]) -> None:
    first = server.comment(f"look at {MARKER}", OTHER)
    assert post("github", DOCUMENT, MARKDOWN, github) == "https://web/c2"
    assert post("github", BLOCKED, MARKDOWN.replace("good", "bad"), github) == "https://web/c2"
    assert [each["body"] for each in server.comments] == [first["body"], MARKDOWN.replace("good", "bad")]
    assert [path for path, _ in server.asked("PATCH")] == ["/repos/group/demo/issues/comments/2"]
    assert {token for *_, token, _ in server.got} == {f"Bearer {TOKEN}"}


def test_the_check_of_the_head_follows_the_verdict(server: Server, github: dict[str, str]) -> None:
    for document in (DOCUMENT, BLOCKED):
        post("github", document, MARKDOWN, github)
    (path, good), (_, bad) = [each for each in server.asked("POST") if "/statuses/" in each[0]]
    assert path == f"/repos/group/demo/statuses/{HEAD}"
    assert good == {
        "context": "doubleroute/review/demo",
        "state": "success",
        "description": "approve",
        "target_url": "https://web/c1",
    }
    assert bad["state"] == "failure"
    assert bad["description"].startswith("block: 40 rows leak; 40 rows leak; ")
    assert len(bad["description"]) == 140


def test_a_check_says_no_character_that_github_refuses(server: Server, github: dict[str, str]) -> None:
    verdict = {"verdict": "look", "reasons": ["1 label gone: '\U0001f600 é'"], "exit_code": 0}
    post("github", {**DOCUMENT, "verdict": verdict}, MARKDOWN, github)
    (check,) = [body for path, body in server.asked("POST") if "/statuses/" in path]
    assert check["description"] == "look: 1 label gone: '\ufffd é'"


def test_gitlab_gets_one_note_and_the_check_of_the_pipelines_own_commit(
    server: Server, gitlab: dict[str, str]
) -> None:
    url = "https://lab/group/demo/-/merge_requests/5#note_1"
    assert post("gitlab", DOCUMENT, MARKDOWN, gitlab) == url
    assert post("gitlab", BLOCKED, MARKDOWN, gitlab) == url
    assert [path for path, _ in server.asked("PUT")] == ["/api/v4/projects/30/merge_requests/5/notes/1"]
    (path, good), (_, bad) = [each for each in server.asked("POST") if "/statuses/" in each[0]]
    assert path == f"/api/v4/projects/31/statuses/{MERGE}"
    assert good == {
        "name": "doubleroute/review/demo",
        "state": "success",
        "description": "approve",
        "pipeline_id": 99,
        "target_url": url,
    }
    assert bad["state"] == "failed"
    assert {token for *_, token, _ in server.got} == {TOKEN}


def test_ours_is_found_on_a_later_page_and_is_neither_anothers_nor_one_that_quotes_it(
    server: Server, github: dict[str, str]
) -> None:
    for body in (f"> {MARKER}\n> quoted", f"hello\n{MARKER}", marker("another"), "", "no"):
        server.comment(body)
    server.comment(f"{MARKER}\nthe verdict is approve, believe me", OTHER)
    ours = server.comment(f"{MARKER}\r\nold")
    assert post("github", DOCUMENT, MARKDOWN, github) == ours["html_url"]
    assert ours["body"] == MARKDOWN
    assert len(server.comments) == 7
    assert [path for path, _ in server.asked("GET")].count("/repos/group/demo/issues/5/comments") == 4


def test_a_workflows_token_which_has_no_owner_knows_its_comment_by_the_bot(
    server: Server, github: dict[str, str]
) -> None:
    server.me = None
    server.comment(f"{MARKER}\nfrom a person", OTHER)
    assert post("github", DOCUMENT, MARKDOWN, github) == "https://web/c2"
    assert post("github", DOCUMENT, MARKDOWN, github) == "https://web/c2"


def test_a_comment_that_was_made_but_not_answered_is_not_made_twice(
    server: Server, github: dict[str, str]
) -> None:
    server.lost = 1
    assert post("github", DOCUMENT, MARKDOWN, github) == "https://web/c1"
    assert len(server.comments) == 1


def test_errors_of_the_server_and_short_rate_limits_are_tried_three_times(
    server: Server, github: dict[str, str], gitlab: dict[str, str]
) -> None:
    limited = (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"}, {"message": "rate limit"})
    server.trouble = {
        ("GET", "/user"): [(500, {}, None)],
        ("GET", "/comments"): [limited],
        ("POST", f"/statuses/{HEAD}"): [(503, {}, b"<html>"), (429, {"Retry-After": "0"}, None)],
    }
    post("github", DOCUMENT, MARKDOWN, github)
    assert len(server.comments) == 1
    server.trouble = {("GET", "/merge_requests/5"): [(502, {}, None)] * 9}
    with pytest.raises(
        MachineError, match=r"^GitLab \(127.0.0.1\) answered 502 Bad Gateway to GET /projects/"
    ):
        post("gitlab", DOCUMENT, MARKDOWN, gitlab)
    assert len(server.trouble["GET", "/merge_requests/5"]) == 6


def test_a_long_rate_limit_is_told_and_not_waited_for(server: Server, github: dict[str, str]) -> None:
    server.trouble = {("GET", "/user"): [(429, {"Retry-After": "3000"}, None)] * 9}
    with pytest.raises(MachineError, match=r"answered 429 .* rate limit is used up; it asks to wait 3000 s"):
        post("github", DOCUMENT, MARKDOWN, github)
    assert len(server.trouble["GET", "/user"]) == 8


@pytest.mark.parametrize(
    ("where", "status", "advice"),
    [
        ("github", 401, r"GITHUB_TOKEN is not valid"),
        ("github", 403, r"`pull-requests: write` and `statuses: write`; for a pull request from a fork"),
        ("github", 404, r"GITHUB_REPOSITORY names no repository"),
        ("github", 422, r"to POST [\w/]+: not you, \*\*\*$"),
        ("gitlab", 401, r"make a project access token with the scope `api`"),
        ("gitlab", 403, r"scope `api` and the role Developer"),
        ("gitlab", 404, r"no such merge request, comment or commit"),
    ],
)
def test_a_refusal_says_its_status_and_what_would_be_right_and_never_the_token(
    server: Server, github: dict[str, str], gitlab: dict[str, str], where: Any, status: int, advice: str
) -> None:
    refusal = (status, {}, {"message": f"not\nyou, {TOKEN}"})
    end = "/comments" if where == "github" else "/notes"
    server.trouble = {("POST", end): [refusal]}
    with pytest.raises(MachineError, match=f"answered {status} .*{advice}") as error:
        post(where, DOCUMENT, MARKDOWN, {**github, **gitlab})
    assert TOKEN not in str(error.value)
    assert [path for path, _ in server.asked("POST")][-1].rpartition("/")[0].endswith("/statuses")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_takes_the_token_to_no_other_place(
    server: Server, elsewhere: Server, github: dict[str, str], status: int
) -> None:
    server.trouble = {("GET", "/user"): [(status, {"Location": f"{elsewhere.url}/user"}, None)]}
    with pytest.raises(MachineError, match=f"answered {status} .*, where the token is not sent") as error:
        post("github", DOCUMENT, MARKDOWN, github)
    assert TOKEN not in str(error.value)
    assert elsewhere.got == []


def test_a_redirect_at_the_same_place_is_followed_with_the_same_request(
    server: Server, github: dict[str, str]
) -> None:
    moved = "/repositories/9/issues/5/comments"
    server.trouble = {
        ("GET", "demo/issues/5/comments"): [(301, {"Location": f"{moved}?page=1"}, None)],
        ("POST", "demo/issues/5/comments"): [(307, {"Location": moved}, None)],
    }
    assert post("github", DOCUMENT, MARKDOWN, github) == "https://web/c1"
    assert (moved, {"body": MARKDOWN}) in server.asked("POST")
    assert {token for *_, token, _ in server.got} == {f"Bearer {TOKEN}"}


def test_a_variable_that_is_missing_or_wrong_is_named(
    server: Server, github: dict[str, str], gitlab: dict[str, str], tmp_path: Path
) -> None:
    wrong: list[tuple[Any, dict[str, str], str]] = [
        ("github", {"GITHUB_TOKEN": ""}, r"GITHUB_TOKEN, which is not set .*github\.token"),
        ("github", {"GITHUB_TOKEN": f"a {TOKEN}"}, "token holds white space"),
        ("github", {"GITHUB_REPOSITORY": "a/b/../c"}, "GITHUB_REPOSITORY is 'a/b/../c'; it must be as OWNER"),
        ("github", {"GITHUB_API_URL": "file:///etc"}, "GitHub's address must begin with https"),
        (
            "github",
            {"GITHUB_EVENT_PATH": str(tmp_path / "none")},
            "GITHUB_EVENT_PATH: .*none is not the JSON",
        ),
        ("github", {"GITHUB_REF": "refs/heads/a", "GITHUB_EVENT_PATH": ""}, "GITHUB_REF is 'refs/heads/a'"),
        ("gitlab", {"CI_API_V4_URL": ""}, "CI_API_V4_URL, which is not set"),
        ("gitlab", {"CI_PROJECT_ID": "a/b"}, "CI_PROJECT_ID is 'a/b'; it must be a number"),
        ("gitlab", {"CI_MERGE_REQUEST_IID": ""}, "CI_MERGE_REQUEST_IID, .*only pipelines of merge requests"),
        ("gitlab", {"GITLAB_TOKEN": "", "CI_JOB_TOKEN": "j"}, "DOUBLEROUTE_GITLAB_TOKEN .*no comments"),
        ("bitbucket", {}, "write github or gitlab"),
    ]
    for where, changed, message in wrong:
        with pytest.raises(InputError, match=message) as error:
            post(where, DOCUMENT, MARKDOWN, {**github, **gitlab, **changed})
        assert TOKEN not in str(error.value)
    assert server.got == []


def test_outside_a_pipeline_the_check_is_that_of_the_reviewed_commit(
    server: Server, github: dict[str, str], gitlab: dict[str, str]
) -> None:
    post("github", DOCUMENT, MARKDOWN, {**github, "GITHUB_EVENT_PATH": ""})
    gitlab["DOUBLEROUTE_GITLAB_TOKEN"] = gitlab.pop("GITLAB_TOKEN")
    post("gitlab", DOCUMENT, MARKDOWN, {**gitlab, "CI_PIPELINE_ID": ""})
    checks = [path for path, _ in server.asked("POST") if "/statuses/" in path]
    assert checks == [f"/repos/group/demo/statuses/{HEAD}", f"/api/v4/projects/31/statuses/{HEAD}"]
    staged = {**DOCUMENT, "head": {"name": "staged", "commit": None, "dvc_md5": "m.dir"}}
    with pytest.raises(InputError, match="staged has no commit"):
        post("github", staged, MARKDOWN, {**github, "GITHUB_EVENT_PATH": ""})


def test_an_answer_that_is_no_json_is_told(server: Server, github: dict[str, str]) -> None:
    server.trouble = {("GET", "/user"): [(200, {}, b"<html>log in</html>")]}
    with pytest.raises(MachineError, match="with something else than JSON"):
        post("github", DOCUMENT, MARKDOWN, github)


def test_a_host_that_does_not_answer_is_told(github: dict[str, str]) -> None:
    with pytest.raises(
        MachineError, match=r"GitHub \(127\.0\.0\.1\) does not answer to GET /user: .*refused"
    ):
        post("github", DOCUMENT, MARKDOWN, {**github, "GITHUB_API_URL": "http://127.0.0.1:9"})
