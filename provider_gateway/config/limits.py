"""The limits of an HTTP listener on what clients may use: time, connections, headers, bytes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one listener; docs/security.md says what happens beyond each.

    Attributes:
        handshake_timeout: seconds for the TLS handshake.
        headers_timeout: seconds from a request's first byte to the end of its headers.
        body_timeout: seconds from the end of the headers to the end of the body.
        write_timeout: seconds that a client may take to read the bytes that wait for it.
        idle_timeout: seconds that a connection may be idle between two requests.
        max_connections: open connections.
        max_connections_per_identity: open connections of one client certificate's identity.
        max_headers: header lines of a request.
        max_header_bytes: bytes of a request's header lines together, and of one line.
        max_body_bytes: bytes of a request's body.
        max_buffered_bytes: bytes of the bodies of all requests that are being received or served.
    """

    handshake_timeout: float = 10
    headers_timeout: float = 10
    body_timeout: float = 60
    write_timeout: float = 60
    idle_timeout: float = 60
    max_connections: int = 2000
    max_connections_per_identity: int = 1000
    max_headers: int = 100
    max_header_bytes: int = 16_384
    max_body_bytes: int = 10_485_760
    max_buffered_bytes: int = 268_435_456
