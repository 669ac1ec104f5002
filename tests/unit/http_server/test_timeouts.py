"""Time limits: for handshake, headers, body, between requests, and for reading responses."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from provider_gateway.config.limits import Limits
from tests.support.http_client import Client
from tests.unit.http_server.base import LIMITS, LimitsTestCase, TLSClient

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"
POST = HEAD + b"Content-Length: 1\r\n\r\n1"
BODILESS = HEAD + b"\r\n"
SLOW = b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"


class HandshakeTests(LimitsTestCase):
    """From the TCP connection to the end of the handshake."""

    def test_too_slow(self) -> None:
        """A connection whose handshake takes too long is aborted, and counted once, as a timeout."""
        client = TLSClient(self.site)
        self.assert_ends(client, 3, None, ["timeout"])
        client.leave()
        self.assertEqual(["timeout"], self.dropped)

    def test_failed(self) -> None:
        """A connection that is lost during its handshake is counted; one that is lost later is not."""
        TLSClient(self.site).leave()
        self.assertEqual(["handshake"], self.dropped)
        for client in (self.handshaken(), Client(self.site)):
            client.leave()
        self.assertEqual(["handshake"], self.dropped)

    def test_done(self) -> None:
        """After the handshake the time limit between requests applies."""
        client = TLSClient(self.site)
        self.pass_seconds(2)
        client.shake_hands()
        self.pass_seconds(10)
        self.assertEqual((False, False), (client.aborted, client.disconnecting))

    def test_plain(self) -> None:
        """Without TLS there is no time limit for a handshake."""
        (client,) = self.clients(1)
        self.pass_seconds(12)
        self.assertEqual((False, []), (client.aborted, self.dropped))


class HeadersTests(LimitsTestCase):
    """From a request's first byte to the end of its headers."""

    def test_too_slow(self) -> None:
        """A request whose headers take too long is rejected with 408, whatever part of them has arrived."""
        for first in (b"P", b"POST / HTTP/1.1\r\n", HEAD, HEAD + b"X: 1\r"):
            for client in (Client(self.site), self.handshaken()):
                self.pass_seconds(2)
                client.send(first)
                self.assert_ends(client, 5, 408, [])
                problem = client.response().problem
                self.assertEqual("The request's headers did not arrive within 5 s.", problem["detail"])
                self.assertEqual("close", client.response().headers["connection"])
                client.leave()

    def test_dribbled(self) -> None:
        """A client that sends a byte each second gets no more time."""
        (client,) = self.clients(1)
        for number in range(5):
            self.assertEqual([], client.responses())
            client.send(HEAD[number : number + 1])
            self.pass_seconds(1)
        self.assertEqual([408], self.statuses(client))

    def test_in_time(self) -> None:
        """A request whose headers arrive in pieces, and in time, is served."""
        (client,) = self.clients(1)
        for part in (POST[:10], POST[10:20], POST[20:]):
            client.send(part)
            self.pass_seconds(2)
        self.assertEqual([200], self.statuses(client))
        self.pass_seconds(8)
        self.assertEqual(([200], False), (self.statuses(client), client.disconnecting))

    def test_pipelined(self) -> None:
        """The time limit of a pipelined second request begins at the end of the first one."""
        for first, second in ((POST, HEAD), (POST, b"P"), (BODILESS, HEAD), (SLOW, b"P"), (SLOW, HEAD)):
            (client,) = self.clients(1)
            client.send(first + second)
            self.pass_seconds(8 if first is SLOW else 0)
            if first is SLOW:
                self.waiting[-1].callback(b"slow")
            self.assert_ends(client, 5, 408, [])
            client.leave()

    def test_first_byte_behind_a_request_without_a_body(self) -> None:
        """The first byte of a second request begins its time limit, even in the segment of a request without a body."""
        (client,) = self.clients(1)
        client.send(BODILESS + b"P")
        self.assert_ends(client, 5, 408, [])

    def test_pipelined_behind_slow_headers(self) -> None:
        """The second request has the whole time limit for its headers, however long the first one took."""
        (client,) = self.clients(1)
        client.send(POST[:10])
        self.pass_seconds(4)
        client.send(POST[10:] + HEAD)
        self.assert_ends(client, 5, 408, [])

    def test_idle_time_that_is_shorter(self) -> None:
        """A time limit between requests that is shorter does not end a request that has begun."""
        self.site = self.with_limits(replace(LIMITS, headers_timeout=20))
        (client,) = self.clients(1)
        client.send(b"P")
        self.assert_ends(client, 20, 408, [])


class BodyTests(LimitsTestCase):
    """From the end of the headers to the end of the body."""

    def test_too_slow(self) -> None:
        """A request whose body takes too long is rejected with 408, even if a piece arrives each second."""
        chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
        for head, bit in ((HEAD + b"Content-Length: 20\r\n\r\n", b"1"), (chunked, b"1\r\n1\r\n"), (chunked, b"")):
            (client,) = self.clients(1)
            client.send(HEAD[:5])
            self.pass_seconds(3)
            client.send(head[5:])
            for _ in range(7):
                self.assertEqual([], client.responses())
                client.send(bit)
                self.pass_seconds(1)
            self.assertEqual("The request's body did not arrive within 7 s.", client.response().problem["detail"])
            self.assertEqual((408, []), (client.response().status, self.bodies))
            client.leave()

    def test_pipelined_behind_a_slow_body(self) -> None:
        """The second request has the whole time limit for its body, however long the first one took."""
        (client,) = self.clients(1)
        client.send(POST[:-1])
        self.pass_seconds(6)
        client.send(b"1" + POST[:-1])
        self.assert_ends(client, 7, 408, [])

    def test_serving(self) -> None:
        """No time limit runs while a request is served, even if the client sends its next request."""
        (client,) = self.clients(1)
        client.send(SLOW)
        for _ in range(3):
            self.pass_seconds(100)
            client.send(b"P")
        self.assertEqual(([], False, False), (client.responses(), client.aborted, client.disconnecting))


class DefaultsTests(LimitsTestCase):
    """The default limits, with the same number of seconds for a body and between requests."""

    limits = Limits()

    def test_body(self) -> None:
        """A request whose body does not arrive is rejected with 408."""
        (client,) = self.clients(1)
        client.send(POST[:-1])
        self.assert_ends(client, 60, 408, [])


class IdleTests(LimitsTestCase):
    """Between two requests."""

    def test_before_and_between(self) -> None:
        """An idle connection is closed after the time limit, which begins with the connection or the last response."""
        fresh, served, slow = Client(self.site), self.handshaken(), self.handshaken("b")
        served.send(POST)
        slow.send(SLOW)
        self.pass_seconds(12)
        self.waiting[0].callback(b"slow")
        self.assertEqual((False, False), (fresh.disconnecting, served.disconnecting))
        self.pass_seconds(1)
        self.assertEqual((True, True, False), (fresh.disconnecting, served.disconnecting, slow.disconnecting))
        self.pass_seconds(12)
        self.assertTrue(slow.disconnecting)
        self.assertEqual([[], [200], [200]], [self.statuses(each) for each in (fresh, served, slow)])

    def test_empty_line(self) -> None:
        """An empty line, which some clients send behind a body, is no beginning of a request (RFC 9112, 2.2)."""
        for pieces in ((POST + b"\r\n",), (POST, b"\r\n"), (POST + b"\r", b"\n")):
            (client,) = self.clients(1)
            for piece in pieces:
                client.send(piece)
            self.pass_seconds(12)
            client.send(POST)
            self.assertEqual([200, 200], self.statuses(client))
            client.send(b"\r\n")
            self.pass_seconds(13)
            self.assertEqual(([200, 200], True), (self.statuses(client), client.disconnecting))
            client.leave()

    def test_second_empty_line(self) -> None:
        """Only one empty line is ignored, whenever the second one arrives."""
        (client,) = self.clients(1)
        client.send(b"\r\n")
        self.pass_seconds(1)
        client.send(b"\r\n")
        self.assertEqual([400], self.statuses(client))

    def test_one_timer(self) -> None:
        """One timer serves the idle times of all connections; requests leave it alone, the last connection stops it."""
        clients = self.clients(3)
        (timer,) = self.clock.getDelayedCalls()
        for client in clients:
            client.send(POST)
        self.assertEqual([timer], self.clock.getDelayedCalls())
        for client in clients:
            client.leave()
        self.assertEqual([], self.clock.getDelayedCalls())


class WriteTests(LimitsTestCase):
    """How long a client may take to read responses."""

    def test_too_slow(self) -> None:
        """A client that does not read is disconnected; a second pause gives it no more time."""
        (client,) = self.clients(1)
        client.send(SLOW)
        client.protocol.pauseProducing()
        self.pass_seconds(5)
        client.protocol.pauseProducing()
        self.assert_ends(client, 6, None, ["timeout"])

    def test_in_time(self) -> None:
        """A client that has read everything in time has the whole time limit for the next response."""
        (client,) = self.clients(1)
        client.send(SLOW)
        for _ in range(3):
            client.protocol.pauseProducing()
            self.pass_seconds(5)
            client.protocol.pauseProducing()
            self.pass_seconds(5)
            client.protocol.resumeProducing()
        self.pass_seconds(100)
        client.protocol.pauseProducing()
        self.assert_ends(client, 11, None, ["timeout"])

    def reading(self) -> Client:
        """A client that has not read its response to the end, and none of whose requests is being served."""
        (client,) = self.clients(1)
        client.send(SLOW)
        client.protocol.pauseProducing()
        self.waiting[-1].callback(b"slow")
        return client

    def test_longer_than_the_idle_limit(self) -> None:
        """While a client reads, the time limit between requests does not run. It begins when all is read."""
        self.site = self.with_limits(replace(LIMITS, write_timeout=100))
        client = self.reading()
        self.pass_seconds(99)
        self.assertEqual((False, False), (client.disconnecting, client.aborted))
        client.protocol.resumeProducing()
        self.pass_seconds(12)
        self.assertFalse(client.disconnecting)
        self.pass_seconds(1)
        self.assertTrue(client.disconnecting)

    def test_drain(self) -> None:
        """When the site closes its connections, a client that reads has its whole time limit."""
        client = self.reading()
        self.site.close_connections()
        self.assertTrue(client.disconnecting)
        self.pass_seconds(10)
        self.assertFalse(client.aborted)
        self.pass_seconds(1)
        self.assertTrue(client.aborted)

    def test_closed_by_us(self) -> None:
        """A connection that is closed is aborted if the client does not read the response in time."""
        (client,) = self.clients(1)
        client.post("/", b"1", "Connection: close")
        self.assertTrue(client.disconnecting)
        self.pass_seconds(10)
        self.assertFalse(client.aborted)
        self.pass_seconds(1)
        self.assertTrue(client.aborted)


class EndTests(LimitsTestCase):
    """What is left when a connection has ended."""

    def test_no_timer_is_left(self) -> None:
        """However a connection ends, none of its timers is left, and nothing more is sent."""

        def timed_out(client: Client) -> None:
            client.send(b"P")
            self.clock.advance(5)

        def stalled(client: Client) -> None:
            client.send(SLOW)
            client.protocol.pauseProducing()

        situations: tuple[Callable[[Client], object], ...] = (
            lambda _: None,
            lambda client: client.send(b"P"),
            lambda client: client.send(POST[:-1]),
            lambda client: client.send(SLOW),
            lambda client: client.send(SLOW + POST),
            lambda client: client.send(POST + b"P"),
            lambda client: client.send(b"nonsense\r\n"),
            lambda client: client.post("/", b"1", "Connection: close"),
            lambda client: client.protocol.drop("timeout"),
            lambda _: self.site.close_connections(),
            lambda _: self.clock.advance(13),
            timed_out,
            stalled,
        )
        for number, situation in enumerate(situations):
            for connect in (TLSClient, Client):
                client = connect(self.site)
                situation(client)
                client.leave()
                self.assertEqual(([], set()), (self.clock.getDelayedCalls(), self.site.channels), f"case {number}")
                sent = client.value()
                self.pass_seconds(20)
                self.assertEqual(sent, client.value())

    def test_one_answer(self) -> None:
        """A rejected client has two seconds to close; no time limit causes a second response meanwhile."""
        self.site = self.with_limits(replace(LIMITS, headers_timeout=1, body_timeout=1))
        for first in (b"nonsense\r\n", HEAD + b"Content-Length: 21\r\n\r\n", b"P"):
            (client,) = self.clients(1)
            client.send(first)
            self.clock.advance(1 if first == b"P" else 0)
            count = len(client.responses())
            client.send(b"P")
            self.clock.advance(1.9)
            self.assertEqual((1, 1, False), (count, len(client.responses()), client.aborted))
            self.clock.advance(0.1)
            self.assertEqual((1, True), (len(client.responses()), client.aborted))
            client.leave()

    def test_closing(self) -> None:
        """When the site closes its connections, an idle one is closed, and aborted two seconds later."""
        (client,) = self.clients(1)
        closed = self.site.close_connections()
        self.assertEqual((True, False), (client.disconnecting, client.aborted))
        self.clock.advance(2)
        self.assertTrue(client.aborted)
        self.assertNoResult(closed)
        client.leave()
        self.successResultOf(closed)
