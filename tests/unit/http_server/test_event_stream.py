"""Server-sent events: their form, and what ends a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.http_server.app import App
from provider_gateway.http_server.event_stream import EventStreams, event
from provider_gateway.http_server.problems import error_of, render
from provider_gateway.http_server.site import GatewaySite
from tests.support.http_client import Client
from tests.unit.http_server.base import LIMITS, TLSClient

if TYPE_CHECKING:
    from provider_gateway.http_server.event_stream import EventStream

GET = b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n"


class EventTests(SynchronousTestCase):
    """An event as bytes."""

    def test_form(self) -> None:
        """An event has its name, a line of data for each line of the text, and an empty line at its end."""
        self.assertEqual(b'event: figures\ndata: {"a": 1}\n\n', event("figures", '{"a": 1}'))
        self.assertEqual(b"event: a\ndata: \n\n", event("a", ""))

    def test_line_ends(self) -> None:
        """No line end in the data begins a field of its own, whichever of the three kinds that the standard has."""
        self.assertEqual(
            b"event: a\ndata: 1\ndata: event: b\ndata: 2\ndata: \ndata: id: 3\n\n",
            event("a", "1\nevent: b\r2\r\n\nid: 3"),
        )

    def test_unwritable(self) -> None:
        """A text that has no UTF-8, such as a lone surrogate, is escaped."""
        self.assertEqual(b"event: a\ndata: \\ud800\n\n", event("a", "\ud800"))


class EventStreamsTests(SynchronousTestCase):
    """The streams of a site."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.streams = EventStreams(most=2, most_of_identity=1)
        self.opened: list[EventStream] = []
        self.dropped: list[str] = []
        self.finished: list[int] = []
        app = App()

        @app.route("/events", methods=["GET"])
        async def events(request: Any) -> bytes:
            stream = self.streams.open(request)
            self.opened.append(stream)
            return await self.streams.until_end(stream)

        @app.handle_errors(Exception)
        def problem(request: Any, failure: Any) -> bytes:
            return render(request, error_of(failure), None)

        self.site = GatewaySite(
            app.resource(),
            self.clock,
            LIMITS,
            lambda request: self.finished.append(request.code),
            on_dropped=self.dropped.append,
            wall_clock=self.clock.seconds,
        )

    def connect(self, sent: bytes = GET) -> Client:
        client = Client(self.site)
        client.send(sent)
        return client

    def test_chunks(self) -> None:
        """The head is sent at once; each event is a chunk; the end of the stream is the end of the response."""
        client = self.connect()
        head, _, body = client.value().partition(b"\r\n\r\n")
        self.assertIn(b"HTTP/1.1 200 OK\r\n", head)
        self.assertIn(b"Content-Type: text/event-stream; charset=utf-8", head)
        self.assertIn(b"Transfer-Encoding: chunked", head)
        self.assertEqual(b"d\r\nretry: 2000\n\n\r\n", body)
        client.clear()
        (stream,) = self.opened
        self.assertTrue(stream.send("a", "1"))
        self.assertEqual(b"12\r\nevent: a\ndata: 1\n\n\r\n", client.value())
        client.clear()
        stream.end()
        stream.end()
        self.assertEqual(b"0\r\n\r\n", client.value())
        self.assertEqual(([200], 0), (self.finished, len(self.streams)))
        client.clear()
        client.send(GET)
        self.assertIn(b"200 OK", client.value(), "the connection is kept")

    def test_old_client(self) -> None:
        """For HTTP/1.0 there are no chunks: the response ends with the connection, whatever the client asked for."""
        client = self.connect(b"GET /events HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
        head, _, body = client.value().partition(b"\r\n\r\n")
        self.assertEqual(b"retry: 2000\n\n", body)
        self.assertIn(b"Connection: close", head)
        self.assertNotIn(b"keep-alive", head)
        self.opened[0].send("a", "1")
        self.assertTrue(client.value().endswith(b"\n\nevent: a\ndata: 1\n\n"))
        self.opened[0].end()
        self.assertTrue(client.disconnecting)

    def test_slow_reader(self) -> None:
        """A client that does not read is sent no more, and its connection ends when its time to read is over."""
        client = self.connect()
        (stream,) = self.opened
        client.producer.pauseProducing()
        client.clear()
        self.assertFalse(stream.send("a", "1"))
        self.assertEqual(b"", client.value())
        self.clock.pump([1] * (int(LIMITS.write_timeout) - 1))
        self.assertFalse(client.aborted)
        self.clock.advance(1)
        self.assertEqual((True, ["timeout"]), (client.aborted, self.dropped))
        client.leave()
        self.assertEqual(0, len(self.streams))
        self.assertFalse(stream.send("a", "1"))

    def test_reader_that_was_slow(self) -> None:
        """A client that has read everything is sent the next events."""
        client = self.connect()
        client.producer.pauseProducing()
        self.opened[0].send("a", "1")
        client.clear()
        client.producer.resumeProducing()
        self.assertTrue(self.opened[0].send("a", "2"))
        self.assertIn(b"data: 2", client.value())
        self.clock.pump([1] * 60)
        self.assertFalse(client.aborted, "a stream may last: neither idle nor too slow")

    def test_client_leaves(self) -> None:
        """A client that leaves takes its stream with it, and makes room."""
        client = self.connect()
        client.leave()
        self.assertEqual((0, [499]), (len(self.streams), self.finished))
        self.assertFalse(self.opened[0].send("a", "1"))

    def test_drain(self) -> None:
        """At drain each client is told, all streams end, and connections close: no stream holds up the stop."""
        clients = [self.connect(), self.connect()]
        self.streams.drain()
        closed = self.site.close_connections()
        for client in clients:
            self.assertTrue(client.value().endswith(b"event: stopping\ndata: \n\n\r\n0\r\n\r\n"), client.value())
            self.assertTrue(client.disconnecting)
            client.leave()
        self.successResultOf(closed)

    def test_after_drain(self) -> None:
        """While the process stops, a new stream is refused."""
        self.streams.drain()
        self.assertEqual(503, self.connect().response().status)

    def test_most(self) -> None:
        """Beyond the number of streams that there may be, a new one is refused until another has ended."""
        clients = [self.connect(), self.connect()]
        self.assertEqual(503, self.connect().response().status)
        clients[0].leave()
        self.assertIn(b"200 OK", self.connect().value())

    def test_most_of_identity(self) -> None:
        """One identity cannot take all streams."""
        statuses = []
        for name in ("a", "a", "b"):
            client = TLSClient(self.site, name)
            client.shake_hands()
            client.send(GET)
            statuses.append(client.value()[9:12])
        self.assertEqual([b"200", b"503", b"200"], statuses)

    def test_half_close(self) -> None:
        """A client that half-closes is not sent 100 Continue in the midst of the stream, where it would be data."""
        client = self.connect()
        client.clear()
        client.protocol.readConnectionLost()
        self.clock.pump([1] * 5)
        self.assertEqual(b"", client.value())
        self.assertTrue(self.opened[0].send("a", "1"))
