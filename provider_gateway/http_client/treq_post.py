"""The seam to treq: POST requests to one URL, on which treq does almost no work.

treq's HTTPClient is made for requests of all kinds. A call of the model uses none of its conveniences, and would spend
more time on them than in our agent. So treq is given objects of the types that it expects, which it passes on as they
are. Costs of a request with treq 26.7 on Python 3.11:

========================  ================================================================  ==========================
:class:`FixedURL`         for a text, treq would parse it and encode its host name          40 µs
:class:`RequestHeaders`   a dict would become Headers, which two agents copy and change     4 µs
:class:`NoCookies`        treq's own jar would be searched, and filled by the response      3 µs; 30 µs if there is one
body as ``bytes``         treq would make it a producer, for the agent to drain             3 µs
========================  ================================================================  ==========================

16 µs remain, in place of 67 µs: treq still makes two agents for each request, for cookies and for gzip. They find
nothing to do. While they waited for the response, their objects would take 2 KB. So its Deferred goes past them
(:class:`_PastTreq`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hyperlink import EncodedURL
from treq.client import HTTPClient
from treq.cookies import IndexableCookieJar
from twisted.internet.defer import succeed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from twisted.internet.defer import Deferred


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


class _PostHeaders(RequestHeaders):
    """Headers of a request whose response treq does not see.

    Attributes:
        answered: the Deferred of the response, once the request is under way.
    """

    __slots__ = ("answered",)
    answered: Deferred[Any]


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


class _NoResponse:
    """What treq gets in place of the response to a request with :class:`_PostHeaders`."""

    headers = Headers()


_NO_RESPONSE = _NoResponse()


@implementer(IAgent)
class _PastTreq:
    """An agent between treq and ours, which lets treq's agents go as soon as a request is under way."""

    def __init__(self, agent: IAgent) -> None:
        self._agent = agent

    def request(self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: Any = None) -> Any:
        """Send a request (twisted.web.iweb.IAgent)."""
        answered = self._agent.request(method, uri, headers, bodyProducer)
        if not isinstance(headers, _PostHeaders):
            return answered
        headers.answered = answered
        return succeed(_NO_RESPONSE)


_NO_COOKIES = NoCookies()


def treq_client(agent: IAgent) -> HTTPClient:
    """A treq client that keeps no cookies.

    Args:
        agent: is given bodies as bytes.
    """
    body: Any = bytes  # takes bytes and returns the same
    return HTTPClient(_PastTreq(agent), _NO_COOKIES, data_to_body_producer=body)


class TreqPost:
    """POSTs to one URL.

    Args:
        client: from :func:`treq_client`.
        url: where to.
        reactor: is what treq asks for; it sets no timer.
    """

    def __init__(self, client: HTTPClient, url: str, reactor: Any) -> None:
        self._client = client
        self._url = FixedURL.of(url)
        self._reactor = reactor

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
        sent = _PostHeaders(headers, needs_new=needs_new, codings=codings)
        self._client.request(
            "POST",
            self._url,
            data=body,
            headers=sent,
            cookies=_NO_COOKIES,
            allow_redirects=False,
            unbuffered=True,
            reactor=self._reactor,
        )
        return sent.answered
