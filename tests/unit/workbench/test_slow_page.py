"""A page whose look takes long."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from provider_gateway.errors import BrokerUnavailable
from provider_gateway.parking.errors import ParkingBusy
from provider_gateway.parking.looks import Progress
from tests.support.http_client import Client
from tests.unit.workbench.pages_base import PagesTestCase, parked

PATH = "/workbench/parking?queue=fib"


class SlowPageTests(PagesTestCase):
    """A parking queue whose look ends when the test says so."""

    def setUp(self) -> None:
        super().setUp()
        self.parking.messages["fib"] = [parked(number) for number in range(3)]
        self.looking: Deferred[None] = Deferred()
        self.parking.waits = self.looking

    def begin(self, head: str = f"GET {PATH} HTTP/1.1") -> Client:
        client = Client(self.workbench.site)
        client.send(f"{head}\r\nHost: a\r\n\r\n".encode())
        return client

    @staticmethod
    def body(client: Client) -> str:
        """What was sent, without chunk sizes."""
        head, _, rest = client.value().partition(b"\r\n\r\n")
        assert b"Transfer-Encoding: chunked" in head, head
        body = b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        return body.decode()

    def test_quick(self) -> None:
        """A look that is over soon is one response with a length."""
        client = self.begin()
        self.clock.advance(0.5)
        self.assertEqual(b"", client.value())
        self.looking.callback(None)
        self.assertIn("3 messages", client.response().body.decode())
        self.clock.advance(10)

    def test_slow(self) -> None:
        """After a moment the beginning is sent, then how far the look is, and in the end one whole page."""
        client = self.begin()
        self.clock.advance(0.7)
        self.assertIn("Looking at the messages", self.body(client))
        for seen in (1000, 2000, 30_000):
            self.clock.advance(0.6)
            self.parking.tell(Progress(seen, 50_000, 1))
        self.assertIn("<p>1,000 of 50,000</p>\n<p>30,000 of 50,000</p>", self.body(client))
        self.looking.callback(None)
        html = self.body(client)
        self.assertTrue(client.value().endswith(b"0\r\n\r\n"))
        for once in ("<!doctype html>", "<main", "</main>", "<h1>", "</html>", 'class="looking"'):
            self.assertEqual(1, html.count(once), once)
        self.assertIn("Messages 1 to 3 of 3", html)

    def test_fails_late(self) -> None:
        """An error after the beginning is told in the same page."""
        for error in (ParkingBusy("bob is at it."), BrokerUnavailable("The broker is away."), RuntimeError("a bug")):
            self.looking = self.parking.waits = Deferred()
            client = self.begin()
            self.clock.advance(1)
            self.looking.errback(error)
            html = self.body(client)
            self.assertEqual((1, 1), (html.count("<main"), html.count("</html>")))
            self.assertIn("An unexpected error" if isinstance(error, RuntimeError) else str(error), html)
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))

    def test_client_leaves(self) -> None:
        """If the client leaves, the look ends."""
        for seconds in (0, 1):
            cancelled: list[object] = []
            self.looking = self.parking.waits = Deferred(cancelled.append)
            client = self.begin()
            self.clock.advance(seconds)
            client.leave()
            self.assertEqual([self.looking], cancelled)
            self.parking.tell(Progress(1, 2, 1))
            self.clock.advance(5)

    def test_head(self) -> None:
        """The response to HEAD waits, and has no body."""
        client = self.begin(f"HEAD {PATH} HTTP/1.1")
        self.clock.advance(2)
        self.assertEqual(b"", client.value())
        self.looking.callback(None)
        self.assertTrue(client.value().startswith(b"HTTP/1.1 200"))
        self.assertTrue(client.value().endswith(b"\r\n\r\n"))

    def test_old_client(self) -> None:
        """For HTTP/1.0 the page ends with the connection."""
        client = self.begin(f"GET {PATH} HTTP/1.0")
        self.clock.advance(1)
        self.assertIn(b"Connection: close", client.value())
        self.looking.callback(None)
        self.assertTrue(client.value().rstrip().endswith(b"</html>"))
        self.assertTrue(client.disconnecting)

    def test_slow_reader(self) -> None:
        """A client that does not read is told nothing on the way."""
        client = self.begin()
        self.clock.advance(1)
        client.producer.pauseProducing()
        client.clear()
        self.clock.advance(2)
        self.parking.tell(Progress(1, 2, 1))
        self.assertEqual(b"", client.value())
