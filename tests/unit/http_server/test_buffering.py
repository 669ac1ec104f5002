"""MAX_BUFFERED_BYTES: the bytes of bodies that are being received or served are counted and limited."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.http_client import Client
from tests.unit.http_server.base import LimitsTestCase

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def head(length: int, path: str = "/") -> bytes:
    """A request up to its body."""
    return f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n".encode()


class CountTests(LimitsTestCase):
    """What is counted. One body may have 20 bytes, all bodies 30."""

    def test_received_and_served(self) -> None:
        """Bytes of all connections are counted from their arrival to the response."""
        first, second = self.clients(2)
        first.send(head(8, "/slow") + b"1234")
        self.assertEqual(4, self.site.buffered)
        first.send(b"5678")
        second.send(CHUNKED + b"3\r\n123\r\n")
        self.assertEqual(11, self.site.buffered)
        second.send(b"2\r\n45\r\n0\r\n\r\n")
        self.assertEqual(([b"12345"], 8), (self.bodies, self.site.buffered))
        self.waiting[0].callback(b"slow")
        self.assertEqual(0, self.site.buffered)

    def test_several_requests(self) -> None:
        """Each request of a connection counts for itself."""
        (client,) = self.clients(1)
        client.send((head(20) + 20 * b"1") * 3 + head(20) + b"1")
        self.assertEqual(([200] * 3, 1), (self.statuses(client), self.site.buffered))

    def test_given_back(self) -> None:
        """However a request ends, its bytes are no longer counted."""

        def slow(client: Client) -> None:
            client.send(head(4) + b"1")
            self.clock.advance(7)

        def stopped(client: Client) -> None:
            client.send(head(4, "/slow") + b"1234")
            self.site.close_connections()

        situations: tuple[Callable[[Client], object], ...] = (
            lambda client: client.send(head(4)),
            lambda client: client.send(head(4) + b"12"),
            lambda client: client.send(head(4, "/slow") + b"1234"),
            lambda client: client.send(head(4, "/slow") + b"1234" + head(4) + b"1234"),
            lambda client: client.send(head(4) + b"1234" + head(4) + b"12"),
            lambda client: client.send(head(4, "/none") + b"1234" + b"nonsense\r\n"),
            lambda client: client.send(head(21) + b"1234"),
            lambda client: client.send(CHUNKED + b"4\r\n1234\r\nnonsense\r\n"),
            lambda client: client.send(CHUNKED + 3 * b"a\r\n1234567890\r\n"),
            lambda client: client.post("/", b"1234", "Connection: close"),
            lambda client: client.post("/", b"1234", "Host: a b"),
            slow,
            stopped,
        )
        for number, situation in enumerate(situations):
            client = Client(self.site)
            situation(client)
            client.leave()
            self.assertEqual(0, self.site.buffered, f"case {number}")


class NoRoomTests(LimitsTestCase):
    """Requests over the limit of all bodies."""

    def assert_rejected(self, client: Client, size: int) -> None:
        response = client.response()
        found = (response.status, response.headers["retry-after"], response.headers["connection"])
        self.assertEqual((503, "1", "close"), found)
        self.assertEqual("urn:provider-gateway:problem:too-many-requests-in-flight", response.problem["type"])
        self.assertEqual(f"Bodies of {size} bytes are being served (MAX_BUFFERED_BYTES).", response.problem["detail"])

    def test_declared(self) -> None:
        """A declared length over the remaining room is rejected with 503 at once; one that just fits is served."""
        first, second, third = self.clients(3)
        first.send(head(20, "/slow") + 20 * b"1")
        second.send(head(11))
        self.assert_rejected(second, 20)
        third.send(head(10) + 10 * b"1")
        self.assertEqual([200], self.statuses(third))

    def test_received(self) -> None:
        """A chunked body is rejected with 503 when it exceeds the limit; other requests are served."""
        first, second = self.clients(2)
        first.send(head(20, "/slow") + 15 * b"1")
        second.send(CHUNKED + b"f\r\n123456789012345\r\n")
        self.assertEqual([], second.responses())
        second.send(b"1\r\n1\r\n0\r\n\r\n")
        self.assert_rejected(second, 31)
        second.leave()
        first.send(5 * b"1")
        self.waiting[0].callback(b"slow")
        self.assertEqual(([200], []), (self.statuses(first), self.bodies))

    def test_declared_by_two(self) -> None:
        """Of two bodies that fit alone, but not together, the one that exceeds the limit is rejected."""
        first, second = self.clients(2)
        first.send(head(20))
        second.send(head(20))
        first.send(19 * b"1")
        second.send(12 * b"1")
        self.assert_rejected(second, 31)

    def test_room_again(self) -> None:
        """After a response there is room for another body."""
        first, second = self.clients(2)
        first.send(head(20, "/slow") + 20 * b"1")
        self.waiting[0].callback(b"slow")
        second.send(head(20) + 20 * b"1")
        self.assertEqual([200], self.statuses(second))

    def test_too_large_in_any_case(self) -> None:
        """A body over the limit of one body is rejected with 413, even without room: a retry would not help."""
        first, second = self.clients(2)
        first.send(head(20, "/slow") + 20 * b"1")
        second.send(head(21))
        self.assertEqual([413], self.statuses(second))
