"""The seam to treq: POST requests to one URL, which treq's agent is given directly.

treq's HTTPClient is made for requests of all kinds. For each request it reads the URL and makes two agents, for cookies
and for gzip. A call of the model has neither, and always the same URL. So its URL is encoded once, and each request
goes to the client's agent at once (twisted.web.iweb.IAgent), which saves a sixth of the CPU time of a request.

What is asked seldom goes through treq: whether a model is ready, and whether its URL exists. treq is given objects of
the types that it expects, which it passes on as they are. Costs of a request with treq 26.7 on Python 3.11:

========================  ================================================================  ==========================
:class:`FixedURL`         for a text, treq would parse it and encode its host name          40 µs
:class:`RequestHeaders`   a dict would become Headers, which two agents copy and change     4 µs
:class:`NoCookies`        treq's own jar would be searched, and filled by the response      3 µs; 30 µs if there is one
body as ``bytes``         treq would make it a producer, for the agent to drain             3 µs
========================  ================================================================  ==========================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hyperlink import EncodedURL
from treq.client import HTTPClient
from treq.cookies import IndexableCookieJar
from twisted.web.http_headers import Headers

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from twisted.internet.defer import Deferred
    from twisted.web.iweb import IAgent


class FixedURL(EncodedURL):
    """A URL whose text is made once."""

    _text = ""

    @classmethod
    def of(cls, text: str) -> FixedURL:
        """The URL for a text, with a host in any script, with underscores, or an IPv6 address in brackets."""
        given = EncodedURL.from_text(text)
        if given.host.isascii():
            # hyperlink would refuse underscores and IPv6 addresses: idna has no place for them.
            encoded = given.replace(host="host").to_uri().replace(host=given.host)
        else:
            encoded = given.to_uri()
        url: Any = cls.from_text(encoded.to_text())
        url._text = EncodedURL.to_text(url)
        return url  # type: ignore[no-any-return] # hyperlink makes it of our class

    def to_uri(self) -> FixedURL:
        """The URL itself: it is encoded (hyperlink.EncodedURL)."""
        return self

    def to_text(self, with_password: bool = False) -> str:  # noqa: ARG002 - hyperlink's signature; there is none
        """The text that was made once (hyperlink.EncodedURL)."""
        return self._text


class NoCookies(IndexableCookieJar):
    """An empty jar that stays empty."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Keep none (http.cookiejar.CookieJar)."""


class RequestHeaders(Headers):
    """Headers of one request, in the form in which they are written. treq can neither read nor change them.

    Args:
        headers: names and values. Of names that differ in their case only, the last one is sent.
        needs_new: True if the request must not go out on a connection that has served another one.
        codings: content codings, in canonical form, to ask for; without any, none is asked for.

    Raises:
        ValueError: a header contains a line end or NUL. The caller checks everything else.

    Attributes:
        lines: all headers, each with its line end.
        needs_new: as given.
        codings: as given.
    """

    __slots__ = ("codings", "lines", "needs_new")

    def __init__(self, headers: Mapping[str, str], *, needs_new: bool = False, codings: Collection[str] = ()) -> None:
        super().__init__()
        self.needs_new = needs_new
        self.codings = codings
        lines = {name.lower(): f"{name}: {value}\r\n" for name, value in headers.items()}
        # Lone surrogates stand for bytes that are not UTF-8 (PEP 383).
        self.lines = "".join(lines.values()).encode("utf-8", "surrogateescape")
        if b"\0" in self.lines or not self.lines.count(b"\r") == self.lines.count(b"\n") == len(lines):
            msg = "A header has a line end or NUL in it."
            raise ValueError(msg)

    def copy(self) -> RequestHeaders:
        """The headers themselves: the agent that decodes content copies before it adds a header."""
        return self

    def addRawHeader(self, name: str | bytes, value: str | bytes) -> None:
        """Add nothing: the agent that decodes content would ask for gzip."""

    def hasHeader(self, name: bytes | str) -> bool:  # noqa: ARG002 - Twisted's signature
        """Say yes: the agent that keeps cookies adds none to a request that has a Cookie header."""
        return True


class CodedHeaders(Headers):
    """Headers of a response whose body has content codings that were asked for.

    treq does not see the codings: the agent that decodes content would decode, and hand on what is broken as it is.

    Attributes:
        coding: the codings, as Content-Encoding has them.
    """

    __slots__ = ("coding",)

    def __init__(self, headers: Headers, coding: str) -> None:
        super().__init__(dict(headers.getAllRawHeaders()))
        self.removeHeader(b"content-encoding")
        self.coding = coding


class TreqClient(HTTPClient):
    """A treq client that keeps no cookies, and whose agent can be asked directly.

    Attributes:
        agent: sends the requests. It is given bodies as bytes.
    """

    def __init__(self, agent: IAgent) -> None:
        body: Any = bytes  # takes bytes and returns the same
        super().__init__(agent, NoCookies(), data_to_body_producer=body)
        self.agent = agent


class TreqPost:
    """POSTs to one URL.

    Args:
        client: whose agent sends them.
        url: where to.
    """

    def __init__(self, client: TreqClient, url: str) -> None:
        self._agent = client.agent
        self._url = FixedURL.of(url).to_text().encode("ascii")

    def send(
        self, headers: Mapping[str, str], body: bytes, *, needs_new: bool = False, codings: Collection[str] = ()
    ) -> Deferred[Any]:
        """Send a request. Redirects are not followed.

        Args:
            headers: see :class:`RequestHeaders`.
            needs_new: as there.
            codings: as there. The response's headers are CodedHeaders if it has some.

        Returns:
            A Deferred of the response when its headers are there.

        Raises:
            ValueError: a header contains a line end or NUL.
        """
        lines: Any = RequestHeaders(headers, needs_new=needs_new, codings=codings)
        content: Any = body or None
        return self._agent.request(b"POST", self._url, lines, content)
