"""Which requests are answered: those of the page that this server made, from a browser of this machine.

Another site that is open in the same browser can make it send requests here. It cannot read the cookie, and the browser
says in ``Origin`` and ``Host`` whom a request is from and to: a name that was made to point at this machine is refused.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

HOST = "127.0.0.1"
MOST_BYTES = 1 << 20  # of the body of a request: a lasso has some hundred points
JSON = "application/json"
SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
# Of every answer. No other site may frame, embed or learn the address of the page.
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
OPEN_AGAIN = "Open the address that 'spikelab view' printed in its terminal: it has the token of this server."


class RefusedError(Exception):
    """Request that is answered with a status and a text, and nothing else."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class Guard:
    """The secret of one server, and the port that it listens on."""

    port: int
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    @property
    def address(self) -> str:
        """Address of the page, without the token."""
        return f"http://{HOST}:{self.port}/"

    @property
    def cookie(self) -> str:
        """Name of the cookie; a browser keeps one set of cookies for all ports of a host."""
        return f"spikelab-{self.port}"

    @property
    def set_cookie(self) -> str:
        """Header that gives the token to the browser."""
        return f"{self.cookie}={self.token}; HttpOnly; SameSite=Strict; Path=/"

    def require_host(self, headers: Mapping[str, str]) -> None:
        """Refuse a request to another host name or of another site's page."""
        hosts = {f"{HOST}:{self.port}", f"localhost:{self.port}"}
        host, origin = headers.get("Host"), headers.get("Origin")
        if host not in hosts:
            raise RefusedError(HTTPStatus.FORBIDDEN, f"this server answers as {HOST}:{self.port} only")
        if origin is not None and origin != f"http://{host}":
            raise RefusedError(HTTPStatus.FORBIDDEN, "requests of another site's pages are not answered")
        if headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise RefusedError(HTTPStatus.FORBIDDEN, "requests of another site's pages are not answered")

    def require_token(self, headers: Mapping[str, str], given: str | None) -> None:
        """Refuse a request without the token, which is in the first address, and in the cookie after."""
        kept = _cookie(headers.get("Cookie", ""), self.cookie)
        if not any(hmac.compare_digest(token.encode(), self.token.encode()) for token in (given, kept) if token):
            raise RefusedError(HTTPStatus.FORBIDDEN, OPEN_AGAIN)

    def body_length(self, headers: Mapping[str, str]) -> int:
        """Return the size of the body of a POST of our page; refuse one that is not JSON, too large, or of no size."""
        if headers.get("Origin") is None:
            raise RefusedError(HTTPStatus.FORBIDDEN, "a change needs the Origin of this server's page")
        if headers.get("Content-Type", "").partition(";")[0].strip() != JSON:
            raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"expected {JSON}")
        text = headers.get("Content-Length", "")
        if not re.fullmatch(r"[0-9]{1,18}", text) or headers.get("Transfer-Encoding"):
            raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "expected a Content-Length")
        if int(text) > MOST_BYTES:
            raise RefusedError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request has {text} bytes; at most {MOST_BYTES} are read"
            )
        return int(text)


def _cookie(text: str, name: str) -> str | None:
    try:
        found = SimpleCookie(text).get(name)
    except CookieError:
        return None
    return None if found is None else found.value


def content_policy(page: str, known: Iterable[str]) -> str:
    """Write the policy of a page: of the scripts in it those run that are `known`, and no other."""
    ours = {text.strip() for text in known}
    hashes = dict.fromkeys(_hash(text) for text in SCRIPT.findall(page) if text.strip() in ours)
    scripts = " ".join(f"'sha256-{value}'" for value in hashes) or "'none'"
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
