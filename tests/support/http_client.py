"""An HTTP client in memory, at the other end of one connection of a site."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from provider_gateway.http_server.site import GatewaySite


class Response(NamedTuple):
    """A response as a client reads it; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        """The problem document."""
        assert self.headers["content-type"] == "application/problem+json", self
        problem: dict[str, Any] = json.loads(self.body)
        return problem


class Client(StringTransport):
    """An HTTP client at the other end of one connection of a site."""

    no_delay = False
    aborted = False

    def __init__(self, site: GatewaySite) -> None:
        super().__init__()
        self.protocol = site.buildProtocol(None)
        self.protocol.makeConnection(self)

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: N802 - Twisted's name
        self.no_delay = enabled

    def abortConnection(self) -> None:  # noqa: N802 - Twisted's name
        self.aborted = True
        super().abortConnection()

    def send(self, data: bytes) -> None:
        self.protocol.dataReceived(data)

    def leave(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))

    def post(self, path: str = "/", body: bytes = b"{}", *headers: str) -> None:
        """Send a whole POST; a given header replaces the default one of its name."""
        self.request("POST", path, body, *headers)

    def request(self, method: str, path: str, body: bytes = b"", *headers: str) -> None:
        usual = [f"Content-Length: {len(body)}", "Content-Type: application/json", "Host: gateway"]
        given = {header.partition(":")[0].lower() for header in headers}
        lines = [each for each in usual if each.partition(":")[0].lower() not in given]
        self.send("\r\n".join([f"{method} {path} HTTP/1.1", *lines, *headers, "", ""]).encode("latin-1") + body)

    def responses(self) -> list[Response]:
        """All responses so far."""
        data, found = self.value(), []
        while data:
            head, _, data = data.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            size = int(headers.get("content-length", "0"))
            found.append(Response(int(first.split(" ")[1]), headers, data[:size]))
            data = data[size:]
        return found

    def response(self) -> Response:
        """The only response."""
        (response,) = self.responses()
        return response
