"""Slow clients, at each stage: each stage has a time limit, and other clients are served meanwhile."""

from __future__ import annotations

import contextlib
import ssl
import time
from typing import TYPE_CHECKING

from tests.security.base import SecurityTestCase
from tests.security.client import get, post
from tests.security.model import says

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.security.base import Deployment
    from tests.security.client import Connection

#: The time limits of the gateways here, in seconds; the write timeout is longer than the stages before it.
LIMIT, WRITE_LIMIT, IDLE_LIMIT = 0.5, 1.0, 1.2
#: Seconds by which a slow machine may be late.
LATE = 2.5
#: Seconds between two pieces of a slow client: a small part of each limit.
PACE = 0.1
#: More bytes than the buffers of the sockets hold.
LARGE = b"[" + b" " * 8_000_000 + b"]"
DROPPED = 'provider_gateway_http_dropped_connections_total{reason="timeout"}'


class SlowTestCase(SecurityTestCase):
    """A gateway with short time limits."""

    @classmethod
    def variables(cls, deployment: Deployment) -> dict[str, str]:
        """Short time limits, and room for large responses."""
        return {
            "HTTP_HANDSHAKE_TIMEOUT": str(LIMIT),
            "HTTP_HEADERS_TIMEOUT": str(LIMIT),
            "HTTP_BODY_TIMEOUT": str(LIMIT),
            "HTTP_WRITE_TIMEOUT": str(WRITE_LIMIT),
            "HTTP_IDLE_TIMEOUT": str(IDLE_LIMIT),
            "MAX_BODY_BYTES": str(2 * len(LARGE)),
        }

    def drip(self, connection: Connection, pieces: Iterable[bytes]) -> None:
        """Send pieces at a slow, steady pace until the server sends something or ends the connection."""
        for piece in pieces:
            try:
                connection.send(piece)
            except OSError:
                return
            if connection.is_heard_within(PACE):
                return
        self.fail("nothing came while the pieces lasted")

    def took(self, begun: float, limit: float) -> None:
        """Check that about as many seconds as a limit have passed since then."""
        taken = time.monotonic() - begun
        self.assertTrue(limit * 0.9 <= taken <= limit + LATE, taken)


class HandshakeTests(SlowTestCase):
    """HTTP_HANDSHAKE_TIMEOUT."""

    def test_silent(self) -> None:
        """A client that sends nothing is dropped and counted."""
        dropped, begun = self.metric(DROPPED), time.monotonic()
        connection = self.connect_plainly()
        self.assertEqual(connection.read_to_end(), b"")
        self.took(begun, LIMIT)
        self.assertEqual(self.metric(DROPPED), dropped + 1)

    def test_dripping(self) -> None:
        """A handshake sent byte by byte gets no more time."""
        begun = time.monotonic()
        connection = self.connect_plainly()
        self.drip(connection, (bytes([each]) for each in b"\x16\x03\x01\x02\x00" + b"\x01" * 100))
        self.took(begun, LIMIT)
        self.assertEqual(connection.read_to_end(), b"")

    def test_half_way(self) -> None:
        """A client that stops in the middle of the handshake is dropped."""
        connection = self.connect_plainly()
        outgoing = ssl.MemoryBIO()
        client = self.deployment.tls.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
        self.assertRaises(OSError, client.do_handshake)  # the client waits for the server
        begun = time.monotonic()
        connection.send(outgoing.read())
        self.assertGreater(len(connection.read_to_end()), 100)
        self.took(begun, LIMIT)


class RequestTests(SlowTestCase):
    """HTTP_HEADERS_TIMEOUT and HTTP_BODY_TIMEOUT."""

    def assert_timed_out(self, connection: Connection, begun: float, what: str) -> None:
        """Check that the client gets 408, and that the connection ends."""
        response = connection.response()
        self.took(begun, LIMIT)
        problem = self.assert_problem(response, 408, "request-timeout")
        self.assertIn(what, problem["detail"])
        self.assertEqual(response.headers["connection"], "close")
        self.assertEqual(connection.finish(), b"")
        self.assert_serves()

    def test_headers_that_stop(self) -> None:
        """Headers that stop are 408."""
        connection = self.connect()
        begun = time.monotonic()
        connection.send(post(b"1")[:40])
        self.assert_timed_out(connection, begun, "headers")

    def test_headers_that_drip(self) -> None:
        """Headers sent byte by byte, or line by line, get no more time."""
        for pieces in ((bytes([each]) for each in post(b"1")), (b"X-%d: a\r\n" % each for each in range(100))):
            connection = self.connect()
            begun = time.monotonic()
            connection.send(b"POST /v1/predict HTTP/1.1\r\n")
            self.drip(connection, pieces)
            self.assert_timed_out(connection, begun, "headers")

    def test_body_that_stops(self) -> None:
        """A body that stops is 408, declared or chunked."""
        chunked = post(b"", b"Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b"") + b"5\r\n123"
        for request in (post(b"12", length=5), chunked):
            connection = self.connect()
            begun = time.monotonic()
            connection.send(request)
            self.assert_timed_out(connection, begun, "body")

    def test_body_that_drips(self) -> None:
        """A body sent byte by byte gets no more time."""
        connection = self.connect()
        begun = time.monotonic()
        connection.send(post(b"", length=1000))
        self.drip(connection, [b"1"] * 100)
        self.assert_timed_out(connection, begun, "body")

    def test_second_request(self) -> None:
        """The limits apply to each request, not to the connection: requests in time are served, a slow one is 408."""
        connection = self.connect()
        for number in range(4):
            half = post(b"%d" % number)
            connection.send(half[:50])
            self.assertFalse(connection.is_heard_within(LIMIT / 2))
            self.assertEqual(connection.ask(half[50:]).status, 200)
        self.model.forget()
        begun = time.monotonic()
        connection.send(post(b"1")[:50])
        self.assert_timed_out(connection, begun, "headers")

    def test_idle(self) -> None:
        """A connection without a request is ended after HTTP_IDLE_TIMEOUT, whether new or used."""
        unused, used = self.connect(), self.connect()
        used.ask(get(b"/health"))
        begun = time.monotonic()
        self.assertEqual((unused.read_to_end(), used.read_to_end()), (b"", b""))
        self.took(begun, IDLE_LIMIT)

    def test_waiting_is_not_slow(self) -> None:
        """A client that waits for its response has no limit: the model may take longer than all of them."""

        def answer(asked: object) -> bytes:
            time.sleep(2 * WRITE_LIMIT)
            return says(200, b'"late"')(asked)

        self.model.answer = answer
        self.assertEqual(self.ask(post(b"1")).body, b'"late"')


class ReaderTests(SlowTestCase):
    """HTTP_WRITE_TIMEOUT."""

    def slow_reader(self) -> Connection:
        """A client that has requested a large response, and does not read."""
        connection = self.connect(receive_buffer=10_000)
        connection.send(post(b"1"))
        return connection

    def setUp(self) -> None:
        super().setUp()
        self.model.answer = says(200, LARGE)

    def test_that_reads_nothing(self) -> None:
        """A client that does not read its response is reset and counted."""
        dropped = self.metric(DROPPED)
        reader = self.slow_reader()
        self.model.wait_for(1)
        begun = time.monotonic()
        self.assertTrue(reader.is_reset_within(WRITE_LIMIT + LATE))
        self.assertGreater(time.monotonic() - begun, 0.5 * WRITE_LIMIT)
        self.assertEqual(self.metric(DROPPED), dropped + 1)

    def test_that_reads_little(self) -> None:
        """A client that reads a little now and then gets no more time."""
        reader = self.slow_reader()
        self.model.wait_for(1)
        begun = time.monotonic()
        while time.monotonic() - begun < WRITE_LIMIT + LATE and not reader.is_reset_within(PACE):
            with contextlib.suppress(OSError):
                reader.socket.recv(1000)
        self.assertTrue(reader.is_reset_within(0))

    def test_that_reads_in_time(self) -> None:
        """A client that reads its response in time gets all of it."""
        with self.connect() as connection:
            response = connection.ask(post(b"1"))
        self.assertEqual((response.status, response.body == LARGE), (200, True))

    def test_that_pipelines(self) -> None:
        """A client that pipelines and does not read: while the first response is unread, no other request is served."""
        connection = self.connect(receive_buffer=10_000)
        connection.send(post(b"1") * 100)
        self.assertTrue(connection.is_reset_within(WRITE_LIMIT + 3 * LATE))
        self.assertLess(len(self.model.asked), 4)


class OthersTests(SlowTestCase):
    """Other clients, meanwhile."""

    def test_health(self) -> None:
        """With slow clients at every stage, health checks and requests are answered at once."""
        self.model.answer = says(200, LARGE)
        for _ in range(10):
            self.connect_plainly()
            for begin in (b"POST", post(b"", length=1000)):
                self.connect().send(begin)
        for _ in range(3):
            self.connect(receive_buffer=10_000).send(post(b"1"))
        self.model.wait_for(3)
        self.model.forget()
        begun = time.monotonic()
        self.assert_healthy()
        self.assertLess(time.monotonic() - begun, LATE)
        self.model.asked.clear()
        self.assert_serves()

    def test_all_are_forgotten(self) -> None:
        """In the end, no connection of a slow client is counted as open."""
        half_open = [self.connect_plainly() for _ in range(20)]
        for each in half_open:
            self.assertEqual(each.read_to_end(), b"")
        self.assertEqual(self.metric("provider_gateway_http_connections"), 0)
