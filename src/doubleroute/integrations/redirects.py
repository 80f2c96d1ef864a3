"""Redirects that an HTTP request with something secret in it may follow."""

import http.client
import urllib.request
from typing import IO
from urllib.parse import urlsplit


class SamePlace(urllib.request.HTTPRedirectHandler):
    """Follows what repeats the request at the same place; every other redirect is an error of its status.

    The same place: scheme, host and port, or that host's https instead of its http. What repeats the request:
    307 and 308, and 301 and 302 for a GET.
    """

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],  # noqa: ARG002  the signature of a handler
        code: int,
        msg: str,  # noqa: ARG002
        headers: http.client.HTTPMessage,  # noqa: ARG002
        newurl: str,
    ) -> urllib.request.Request | None:
        """The same request at the new address; None makes the redirect an HTTPError."""
        method = req.get_method()
        kept = code in (307, 308) or (method == "GET" and code in (301, 302))
        old, new = place(req.full_url), place(newurl)
        safer = old is not None and new == ("https", old[1], 443) and old[0] == "http" and old[2] == 80
        if not kept or not (new == old or safer):
            return None
        return urllib.request.Request(newurl, req.data, dict(req.headers), method=method)


def place(address: str) -> tuple[str, str | None, int | None] | None:
    """Scheme, host and port of an address; None for what is none."""
    try:
        parts = urlsplit(address)
        return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None
