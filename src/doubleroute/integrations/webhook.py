"""A document sent to an address that the project names: one POST with JSON."""

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from doubleroute.errors import MachineError
from doubleroute.integrations.redirects import SamePlace

#: Seconds in which the other side must take the connection, and again in which it must answer.
TIMEOUT = 10.0
#: Seconds before each further try.
PAUSES = (1.0, 4.0)


def post(url: str, document: Mapping[str, Any]) -> None:
    """POST a plain JSON document; the answer's body is not read.

    No connection, no answer in TIMEOUT or a status of 500 and above is tried again after each of PAUSES,
    so that the other side may get a document twice. A redirect is followed with the same POST when it is
    one of 307 and 308 to the same place (``SamePlace``). Raises MachineError for everything
    else than a status of 200 to 299; it names the host alone, as the rest of an address is often a secret.
    """
    host = _host(url)
    body = json.dumps(document, allow_nan=False).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "doubleroute"}
    opener = urllib.request.build_opener(SamePlace)
    for pause in (*PAUSES, None):
        try:
            request = urllib.request.Request(url, body, headers, method="POST")
            with opener.open(request, timeout=TIMEOUT):
                return
        except urllib.error.HTTPError as error:
            again, said = error.code >= 500, f"answered {error.code} {error.reason}".strip()
            error.close()
        except (http.client.InvalidURL, ValueError):  # a port that is no number, white space, not ASCII
            again, said = False, "cannot be asked: its address is not valid"
        except (OSError, http.client.HTTPException) as error:
            again, said = True, f"does not answer: {getattr(error, 'reason', None) or error!r}"
        if not again or pause is None:
            raise MachineError(f"the webhook at {host} {said}")
        time.sleep(pause)


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise MachineError("the webhook's address must begin with http:// or https:// and name a host")
    return parts.hostname
