"""The guard of the demo's plain listener: a token in the link, then a cookie; ``Host`` and ``Origin`` are checked.

As Jupyter does it: whoever has the link that the demo prints may use the page. The token is taken out of the address at
once, so that no history, ``Referer`` or log has it. ``Host`` has to name this machine: a page of somebody else whose
name resolves to 127.0.0.1 (DNS rebinding) is refused. A request that a page of another origin makes is refused, too,
another port of this machine included.
"""

from __future__ import annotations

import hmac
import secrets
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote_to_bytes

from twisted.web.resource import Resource, getChildForRequest

from provider_gateway.errors import GatewayError
from provider_gateway.http_server.problems import with_length

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twisted.web.resource import IResource

    from provider_gateway.http_server.request import BoundedRequest

#: Host names of the listener.
_NAMES = (b"127.0.0.1", b"localhost")
_TOKEN = b"token"
_READS = frozenset({b"GET", b"HEAD"})

_PAGE = b"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Open the link of the demo</title>
</head>
<body>
<main>
<h1>Open the link of the demo</h1>
<p>This page needs the token of the demo that is running now. Open the whole link that <code>make demo</code> has
printed in its terminal: it ends with <code>?token=</code> and the token. Each start makes a new one.</p>
<p>If you have just opened that link: <a href="/workbench">go on to the workbench</a>.</p>
</main>
</body>
</html>
"""


class NotLetIn(GatewayError):
    """The request lacks the token, or is made by somebody else's page."""

    status, problem, title = 403, "not-let-in", "Not allowed without the link of the demo"


class TokenGuard(Resource):
    """Serves requests of the HTTPS listener as before, and those of the plain listener if they prove the token.

    A request with an identity has come over TLS with a client certificate, and is passed on as it is.

    Args:
        resource: serves what is let in.
        port: of the plain listener.
        operator: who has the token; let-in requests get it as ``operator``.
        more: resources by path, which only the plain listener has.
        token: a secret; a fresh one by default.
    """

    isLeaf = True

    def __init__(
        self,
        resource: IResource,
        *,
        port: int,
        operator: object,
        more: Mapping[bytes, IResource] = MappingProxyType({}),
        token: str | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # Twisted's has no types
        self._resource = resource
        self._more = more
        self._operator = operator
        self._token = (token or secrets.token_urlsafe(32)).encode()
        self._hosts = frozenset(b"%s:%d" % (name, port) for name in _NAMES)
        #: Cookies do not tell ports apart: two demos would overwrite each other's.
        self._cookie = b"provider-gateway-demo-%d" % port
        self._port = port

    @property
    def link(self) -> str:
        """The address of the workbench, with the token."""
        return f"http://127.0.0.1:{self._port}/workbench?token={quote(self._token)}"

    def render(self, request: BoundedRequest) -> Any:
        """Serve a request, or refuse it (twisted.web.resource.IResource)."""
        resource = self._resource
        if request.identity is None:
            self._check_origin(request)
            given = self._given(request)
            if given is not None:
                return self._enter(request, given)
            if not self._has_cookie(request):
                return self._refuse(request)
            request.operator, request.beside = self._operator, self._more.keys()
            resource = self._more.get(request.path, resource)
        return getChildForRequest(resource, request).render(request)

    def _check_origin(self, request: BoundedRequest) -> None:
        """Check that a request is for this listener, and not made by a page of another origin.

        Raises:
            NotLetIn: it is not.
        """
        headers = request.requestHeaders
        hosts = headers.getRawHeaders(b"Host", ())
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            msg = (
                f"Expected the Host 127.0.0.1:{self._port} or localhost:{self._port}: this listener has no other name."
            )
            raise NotLetIn(msg)
        sites = headers.getRawHeaders(b"Sec-Fetch-Site", [b"none"])
        own = {b"http://" + hosts[0].lower()}
        if sites == [b"same-origin"]:
            # A form of a page with "Referrer-Policy: no-referrer" has the origin "null" (Fetch standard, 3.2). No page
            # can set Sec-Fetch-Site.
            own.add(b"null")
        is_link = request.method in _READS and headers.getRawHeaders(b"Sec-Fetch-Mode") == [b"navigate"]
        if not {origin.lower() for origin in headers.getRawHeaders(b"Origin", ())} <= own or not (
            sites in ([b"same-origin"], [b"none"]) or is_link
        ):
            msg = "The request comes from a page of another origin."
            raise NotLetIn(msg)

    def _given(self, request: BoundedRequest) -> bytes | None:
        """The token in the query; None without one."""
        pairs = map(self._split, request.uri.partition(b"?")[2].split(b"&"))
        return next((value for name, value in pairs if name == _TOKEN), None)

    @staticmethod
    def _split(pair: bytes) -> tuple[bytes, bytes]:
        name, _, value = pair.partition(b"=")
        return unquote_to_bytes(name), unquote_to_bytes(value)

    def _is_token(self, given: bytes) -> bool:
        return hmac.compare_digest(given, self._token)

    def _has_cookie(self, request: BoundedRequest) -> bool:
        cookies = (
            cookie.strip(b" \t").partition(b"=")
            for header in request.requestHeaders.getRawHeaders(b"Cookie", ())
            for cookie in header.split(b";")
        )
        return any(name == self._cookie and self._is_token(value) for name, _, value in cookies)

    def _enter(self, request: Any, given: bytes) -> bytes:
        """Exchange the token in the address for a cookie."""
        if request.method not in _READS or not self._is_token(given):
            return self._refuse(request)
        pairs = request.uri.partition(b"?")[2].split(b"&")
        query = b"&".join(pair for pair in pairs if self._split(pair)[0] != _TOKEN)
        (host,) = request.requestHeaders.getRawHeaders(b"Host")
        # With the host: a path that begins with two slashes would name another one.
        location = b"http://" + host + request.path + (b"?" + query if query else b"")
        request.setResponseCode(303)
        request.setHeader(b"Location", location)
        request.setHeader(b"Set-Cookie", b"%s=%s; Path=/; HttpOnly; SameSite=Strict" % (self._cookie, self._token))
        self._harden(request)
        return with_length(request, "text/plain; charset=utf-8", b"")

    def _refuse(self, request: Any) -> bytes:
        """Answer with a page that says what is missing, or with a problem document if no page is wanted."""
        (accept,) = request.requestHeaders.getRawHeaders(b"Accept", (b"",))[:1]
        if b"text/html" not in accept:
            msg = "This listener needs the token of the demo that is running now: open the link that it has printed."
            raise NotLetIn(msg)
        request.setResponseCode(403)
        self._harden(request)
        request.setHeader(b"Content-Security-Policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'")
        return with_length(request, "text/html; charset=utf-8", _PAGE)

    @staticmethod
    def _harden(request: Any) -> None:
        request.setHeader(b"Referrer-Policy", b"no-referrer")
        request.setHeader(b"Cache-Control", b"no-store")
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
