"""Errors of the HTTP client: why a server's response cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.web.client import ResponseFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.python.failure import Failure
    from twisted.web.http_headers import Headers


class ResponseError(Exception):
    """Base: a TCP connection to the server was made, and there is no response that can be used."""


class InvalidResponse(ResponseError):
    """The response is malformed, or uses a part of HTTP that this client does not support. The text names the rule."""


class HeadTooLarge(InvalidResponse):
    """The bytes around the body exceed :data:`~provider_gateway.http_client.response_reader.MAX_HEAD_BYTES`."""


class UnrequestedCoding(ResponseError):
    """The body has a content coding that the request did not ask for (RFC 9110, 12.5.3).

    Attributes:
        codings: the values of Content-Encoding, as received.
        status: of the response.
        headers: all of the response's.
    """

    def __init__(self, codings: Sequence[bytes], status: int, headers: Headers) -> None:
        super().__init__(codings)
        self.codings = codings
        self.status = status
        self.headers = headers


class BodyOverLimit(ResponseError):
    """The body is larger than the caller accepts.

    Attributes:
        max_bytes: the limit.
    """

    def __init__(self, max_bytes: int) -> None:
        super().__init__(max_bytes)
        self.max_bytes = max_bytes


class ResponseCutOff(ResponseError, ResponseFailed):
    """The connection ended before the response did. Twisted's agents raise a ResponseFailed here; this is one.

    Args:
        reason: why the connection ended.

    Attributes:
        missing: what is missing of the response, in words; empty if its headers had not arrived.
        reasons: a list with that reason, as ResponseFailed has it.
    """

    def __init__(self, reason: Failure, missing: str = "") -> None:
        super().__init__([reason])  # type: ignore[no-untyped-call] # Twisted does not annotate it
        self.missing = missing


class HandshakeFailed(ResponseCutOff):
    """The connection ended with its TLS handshake, by whichever side. The server has not seen the request.

    With TLS 1.3 this includes an alert before the first byte of the first response.
    """


class ClosedBeforeResponse(ResponseCutOff):
    """The server closed or reset a connection that had served other requests, before the first byte of a response.

    It may have been about to close the idle connection when the request was sent. Whether it has seen the request is
    not known.
    """
