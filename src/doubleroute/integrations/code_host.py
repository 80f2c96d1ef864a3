"""The JSON interface of a code host (GitHub, GitLab): requests with a token, which never leaves that host."""

import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

from doubleroute.errors import InputError, MachineError
from doubleroute.integrations.redirects import SamePlace, place

#: Seconds in which the host must take the connection, and again in which it must send something.
TIMEOUT = 20.0
#: Seconds before each further try.
PAUSES = (1.0, 4.0)
#: Seconds that a rate limit may ask us to wait before each further try; for longer ones nothing waits.
PATIENCE = 60.0
_PER_PAGE = 100
Result = TypeVar("Result")


@dataclass(frozen=True)
class CodeHost:
    """Where the interface is and how we are let in. ``address``: without a slash at its end; ``headers``:
    those that carry the ``token``; ``advice``: what would be right, by HTTP status."""

    name: str
    address: str
    token: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    advice: Mapping[int, str]

    def __post_init__(self) -> None:
        parts = place(self.address)
        if parts is None or parts[0] not in ("http", "https") or not parts[1]:
            raise InputError(f"{self.name}'s address must begin with https:// and name a host")
        if not re.fullmatch(r"[!-~]+", self.token):
            raise InputError(f"{self.name}'s token holds white space or a character that no token has")


class Refused(MachineError):
    """The host did not do what was asked. ``status``: of HTTP, None when it did not answer; ``wait``: seconds
    after which another try may do, None when none will."""

    def __init__(self, message: str, status: int | None, wait: float | None) -> None:
        super().__init__(message)
        self.status = status
        self.wait = wait


def retried(call: Callable[[], Result]) -> Result:
    """What ``call`` returns, tried again after each of PAUSES while it raises Refused with a ``wait``."""
    for pause in PAUSES:
        try:
            return call()
        except Refused as error:
            if error.wait is None or error.wait > PATIENCE:
                raise
            time.sleep(max(pause, error.wait))
    return call()


def ask(host: CodeHost, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """The JSON that the host answers to one request, made once; ``path`` follows the host's address.

    A redirect is followed at the same scheme, host and port alone, with the same method: the token goes
    nowhere else. Raises Refused for everything else than a status of 200 to 299 with JSON.
    """
    return _ask(host, method, path, body)[0]


def listed(host: CodeHost, path: str) -> Iterator[Any]:
    """The entries of a list, page after page. Raises Refused as ``ask`` does.

    The header Link says whether there is a next page; the address in it is not followed, because behind a
    proxy it may name another host.
    """
    page, more = 1, True
    while more:
        found, link = _ask(host, "GET", f"{path}?per_page={_PER_PAGE}&page={page}")
        if not isinstance(found, list):
            raise Refused(f"{host.name} answered to GET {path} with something else than a list", 200, None)
        yield from found
        page, more = page + 1, bool(found) and 'rel="next"' in link


def _ask(host: CodeHost, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[Any, str]:
    """The answer's JSON and its header Link."""
    headers = {**host.headers, "Content-Type": "application/json", "User-Agent": "doubleroute"}
    what = f"{host.name} ({urlsplit(host.address).hostname})"
    to = f"to {method} {path.partition('?')[0]}"
    try:
        data = None if body is None else json.dumps(body, allow_nan=False).encode()
        request = urllib.request.Request(host.address + path, data, headers, method=method)
        with urllib.request.build_opener(SamePlace).open(request, timeout=TIMEOUT) as answer:
            text, link = answer.read(), str(answer.headers.get("Link", ""))
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(host, error, what, to) from None
    except (http.client.InvalidURL, ValueError):  # a port that is no number, white space, not ASCII
        raise Refused(f"{what} cannot be asked: its address is not valid", None, None) from None
    except (OSError, http.client.HTTPException) as error:
        said = getattr(error, "reason", None) or error or type(error).__name__
        raise Refused(f"{what} does not answer {to}: {said}", None, 0.0) from None
    try:
        return json.loads(text), link
    except ValueError:
        raise Refused(f"{what} answered {to} with something else than JSON", 200, None) from None


def _refusal(host: CodeHost, error: urllib.error.HTTPError, what: str, to: str) -> Refused:
    """What an HTTP error means: in the host's words and ours, without the token."""
    said = f"{what} answered {error.code} {error.reason} {to}"
    if 300 <= error.code < 400:
        parts = place(error.headers.get("Location", ""))
        elsewhere = parts[1] if parts and parts[1] else "another place"
        text = f"{said}: it points to {elsewhere}, where the token is not sent; correct the host's address"
        return Refused(text, error.code, None)
    words = _message(error)
    wait = _limited(error)
    if wait is not None:
        said += f": its rate limit is used up; it asks to wait {wait:.0f} s"
    elif words:
        said += f": {words}"
    if wait is None and error.code in host.advice:
        said += f"; {host.advice[error.code]}"
    wait = 0.0 if wait is None and error.code >= 500 else wait
    return Refused(said.replace(host.token, "***"), error.code, wait)


def _message(error: urllib.error.HTTPError) -> str:
    """What the host says about an error, on one line of at most 200 characters; "" when it says nothing."""
    try:
        found = json.loads(error.read(65_536))
    except (OSError, http.client.HTTPException, ValueError):
        return ""
    said = found.get("message") or found.get("error") if isinstance(found, dict) else None
    text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False) if said else ""
    return "".join(each if each.isprintable() else " " for each in text)[:200]


def _limited(error: urllib.error.HTTPError) -> float | None:
    """Seconds until the host's rate limit lets us in again; None when that is not why it refused."""
    after, reset = error.headers.get("Retry-After", ""), error.headers.get("X-RateLimit-Reset", "")
    used_up = error.headers.get("X-RateLimit-Remaining") == "0"
    if error.code != 429 and not (error.code == 403 and (after or used_up)):
        return None
    if after.isdecimal():
        return float(after)
    return max(0.0, float(reset) - time.time()) if reset.isdecimal() else 0.0
