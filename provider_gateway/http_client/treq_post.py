"""The seam to treq: its interface, whose requests go to the agent at once.

treq's HTTPClient is made for requests of all kinds. For each one it reads the URL, and makes agents for cookies and for
gzip, which wait for the response. Our requests have neither, and few URLs. So a URL is encoded once, and the client's
``request``, which all its other methods call, hands what it is given to the agent (twisted.web.iweb.IAgent). That saves
a sixth of the CPU time of a whole request through gateway, broker and model, and 2 KB while the model is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hyperlink import EncodedURL
from treq.client import HTTPClient
from twisted.web.http_headers import Headers

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from twisted.internet.defer import Deferred
    from twisted.web.iweb import IAgent


class FixedURL(EncodedURL):
    """A URL that is encoded once.

    Attributes:
        encoded: as it is requested.
    """

    encoded = b""

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
        url.encoded = url.to_text().encode("ascii")
        return url  # type: ignore[no-any-return] # hyperlink makes it of our class


class RequestHeaders(Headers):
    """Headers of one request, in the form in which they are written.

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
    """A treq client without redirects, cookies, and decoding of contents.

    Args:
        agent: sends the requests. It is given bodies as bytes.
    """

    def __init__(self, agent: IAgent) -> None:
        super().__init__(agent)
        self._send: Any = agent.request

    def request(  # type: ignore[override] # takes less than treq's
        self,
        method: str,
        url: FixedURL,
        *,
        headers: RequestHeaders,
        data: bytes | None = None,
        _stacklevel: int = 0,  # treq's, for its warnings
    ) -> Deferred[Any]:
        """Send a request (treq.client.HTTPClient).

        Returns:
            A Deferred of the agent's response when its headers are there.
        """
        return self._send(method.encode(), url.encoded, headers, data or None)  # type: ignore[no-any-return] # a Deferred


class TreqPost:
    """POSTs to one URL.

    Args:
        client: sends them.
        url: where to.
    """

    def __init__(self, client: TreqClient, url: str) -> None:
        self._client = client
        self._url = FixedURL.of(url)

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
        lines = RequestHeaders(headers, needs_new=needs_new, codings=codings)
        return self._client.post(self._url, data=body, headers=lines)
