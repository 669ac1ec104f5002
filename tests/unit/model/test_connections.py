"""Connections to the model: which are used again, and which are dropped."""

from __future__ import annotations

import gc

from twisted.internet.defer import Deferred

from provider_gateway.http_client.response_reader import ResponseReader
from provider_gateway.message.message import Message
from provider_gateway.model.client import model_client
from provider_gateway.model.model import Model, _Call
from tests.support.model_peer import MAX_BODY, response
from tests.unit.model.base import CHUNKED, ConnectionTestCase


class AgainTests(ConnectionTestCase):
    """After which responses a connection is used again."""

    readers_before = 0

    def setUp(self) -> None:
        self.readers_before = self.kept_readers()
        super().setUp()

    def test_complete(self) -> None:
        """It is used again after a complete response, whatever its status and however its end is given."""
        for data in (
            response(200, b"1"),
            response(422),
            response(500, b"1"),
            CHUNKED + b"1\r\n1\r\n0\r\n\r\n",
            CHUNKED + b"1;a=b\r\n1\r\n0\r\nX-Trailer: 1\r\nOther: 2\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\n\r\n",
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n1",
            b"HTTP/1.1 200 OK\nContent-Length: 1\n\n1",
        ):
            self.calling, self.transport = self.begin()
            self.transport.respond(data)
            self.calling.addErrback(lambda _: None)
            self.successResultOf(self.calling)
            self.assertTrue(self.goes_on(), data)
            self.transport.close()

    def test_lone_line_feeds(self) -> None:
        """A head whose lines end without CR is accepted after a chunked response; in chunks they are not."""
        self.transport.respond(CHUNKED + b"1\r\n1\r\n0\r\n\r\n")
        calling = self.call()
        self.transport.respond(b"HTTP/1.1 200 OK\nContent-Length: 1\n\n2")
        self.assertEqual(self.successResultOf(calling).body, b"2")

    def test_in_pieces_at_a_time(self) -> None:
        """Responses that arrive byte by byte in turns do not mix; one that breaks off does not affect the others."""
        calls = [(self.calling, self.transport), *(self.begin() for _ in range(3))]
        broken, broken_transport = calls.pop()
        broken_transport.respond(response(200, b"lost")[:-2])
        whole = [response(200, b"%d" % number, f"X-N: {number}") for number in range(3)]
        for at in range(max(map(len, whole))):
            for (_, transport), data in zip(calls, whole, strict=True):
                transport.respond(data[at : at + 1])
            if at == 30:
                broken_transport.close()
        self.assert_failure(broken, "body")
        answers = [self.successResultOf(calling) for calling, _ in calls]
        self.assertEqual(
            [(answer.body, answer.headers) for answer in answers],
            [(b"%d" % number, {"X-N": str(number)}) for number in range(3)],
        )

    def test_waiting(self) -> None:
        """A connection that waits for its response has no reader yet, and an idle one has none any more."""
        more = [self.begin() for _ in range(30)]
        self.assertEqual(self.kept_readers(), 0)
        for calling, transport in [(self.calling, self.transport), *more]:
            transport.respond(response(200, b"1"))
            self.successResultOf(calling)
        self.assertEqual(self.kept_readers(), 1)

    def kept_readers(self) -> int:
        """Count the readers in memory, without those of other tests."""
        gc.collect()
        return sum(isinstance(each, ResponseReader) for each in gc.get_objects()) - self.readers_before

    def test_last(self) -> None:
        """It is closed after a response with Connection: close, and after one of HTTP/1.0 without keep-alive."""
        for data in (
            response(200, b"1", "Connection: close"),
            response(200, b"1", "Connection: x, Close"),
            b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n1",
        ):
            self.calling, self.transport = self.begin()
            self.transport.respond(data)
            self.assertEqual(self.successResultOf(self.calling).body, b"1")
            self.assertTrue(self.transport.disconnecting)
            self.assertFalse(self.goes_on())

    def test_data_behind(self) -> None:
        """It is closed if bytes follow the response; the response is valid all the same."""
        for data in (b"x", response(200, b"2"), b"HTTP/1.1 "):
            self.calling, self.transport = self.begin()
            self.transport.respond(response(200, b"1") + data)
            self.assertEqual(self.successResultOf(self.calling).body, b"1")
            self.assertTrue(self.transport.disconnecting)
            self.assertFalse(self.goes_on())

    def test_before_the_request_is_sent(self) -> None:
        """It is dropped if the response arrives before the request was sent completely."""
        self.transport.producer.pauseProducing()
        self.transport.respond(response(200, b"1"))
        self.assertEqual(self.successResultOf(self.calling).body, b"1")
        self.assertTrue(self.transport.disconnecting)
        self.assertFalse(self.goes_on())

    def test_end_before_the_request_is_sent(self) -> None:
        """A response without a length that ends before the request was sent completely is the model's word, too."""
        self.transport.producer.pauseProducing()
        self.transport.respond(b"HTTP/1.1 413 Too Large\r\n\r\nno")
        self.transport.close()
        answer = self.successResultOf(self.calling)
        self.assertEqual((answer.status, answer.body), (413, b"no"))
        self.assertFalse(self.goes_on())

    def test_after_the_request_is_sent(self) -> None:
        """It is used again if the request was sent late, but before the response."""
        self.transport.producer.pauseProducing()
        self.transport.producer.resumeProducing()
        self.transport.respond(response(200, b"1"))
        self.assertTrue(self.goes_on())

    def test_too_large_at_its_end(self) -> None:
        """It is dropped if the body exceeds its limit, even by the last byte of the response."""
        data = response(200, b"x" * (MAX_BODY + 1))
        self.transport.respond(data[:-1])
        self.transport.respond(data[-1:])
        self.assert_failure(self.calling, "body")
        self.assertTrue(self.transport.disconnecting)
        self.assertFalse(self.goes_on())


class IdleTests(ConnectionTestCase):
    """Idle connections: no request is under way."""

    def setUp(self) -> None:
        super().setUp()
        self.transport.respond(response(200, b"1"))

    def test_closed(self) -> None:
        """An idle connection that the model closes is not used."""
        self.transport.close()
        self.assertFalse(self.goes_on())

    def test_unasked(self) -> None:
        """An idle connection on which the model sends something is dropped."""
        self.transport.respond(b"\r\n")
        self.assertTrue(self.transport.disconnecting)
        self.assertFalse(self.goes_on())

    def test_time(self) -> None:
        """A connection is closed after 4 s without a call, and not before."""
        self.reactor.advance(3.5)
        self.assertTrue(self.goes_on())
        self.reactor.advance(3.5)
        self.assertFalse(self.transport.disconnecting)
        self.reactor.advance(0.5)
        self.assertTrue(self.transport.disconnecting)
        self.assertIsNone(self.transport.producer)
        self.assertFalse(self.goes_on())

    def test_busy(self) -> None:
        """A connection with a call on it is not closed, however long the call takes."""
        self.call()
        self.reactor.advance(20)
        self.assertFalse(self.transport.disconnecting)

    def test_number(self) -> None:
        """No more idle connections are kept than configured: the one that was idle longest is closed."""
        self.model = self.new_model(connections=2)
        transports = [self.begin()[1] for _ in range(3)]
        for transport in transports:
            transport.respond(response(200, b"1"))
        self.assertEqual([each.disconnecting for each in transports], [True, False, False])

    def test_timers(self) -> None:
        """All calls share one timer, and all idle connections share it, too."""
        self.call()
        calls = [self.begin() for _ in range(5)]
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        for _, transport in calls:
            transport.respond(response(200, b"1"))
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)

    def test_sent_again(self) -> None:
        """A call that is sent again goes out on a new connection, though there are idle ones."""
        self.call()
        _, transport = self.begin()
        for each in (self.transport, transport):
            each.respond(response(200, b"1"))
        count = len(self.reactor.tcpClients)
        calling = Deferred.fromCoroutine(self.model.call(Message(b"[1]"), "r1", 30, may_repeat=True))
        self.assertEqual(count, len(self.reactor.tcpClients))
        transport.close()
        self.assertNoResult(calling)
        self.assertEqual(count + 1, len(self.reactor.tcpClients))
        self.accept().respond(response(200, b"2"))
        self.assertEqual(b"2", self.successResultOf(calling).body)

    def test_unsafe_headers_count_once(self) -> None:
        """A header that is not sent is counted once, though the call is sent again."""
        counted: list[None] = []
        client = model_client(self.reactor, tls=None, connections=2)
        self.model = Model(
            self.reactor,
            client,
            url="http://127.0.0.1:8080/",
            max_body_bytes=MAX_BODY,
            wall_clock=self.reactor.seconds,
            on_unsafe_header=lambda: counted.append(None),
        )
        _, transport = self.begin()
        transport.respond(response(200, b"1"))
        self.assertEqual([], counted)
        message = Message(b"[1]", headers={"x": "a\nb"})
        calling = Deferred.fromCoroutine(self.model.call(message, "r1", 30, may_repeat=True))
        transport.close()
        self.accept().respond(response(200, b"2"))
        self.assertEqual((b"2", 1), (self.successResultOf(calling).body, len(counted)))


class KeepAliveTests(ConnectionTestCase):
    """The seconds for which the model says that it keeps an idle connection (Keep-Alive: timeout)."""

    def setUp(self) -> None:
        super().setUp()
        self.transport.respond(response(200, b"1", "Connection: close"))

    def assert_kept_for(self, seconds: float, *headers: str) -> None:
        """Check for how long a connection is kept after a response with these headers."""
        self.calling, self.transport = self.begin()
        self.transport.respond(response(200, b"1", *headers))
        self.assertEqual(self.successResultOf(self.calling).body, b"1")
        if seconds:
            self.assertFalse(self.transport.disconnecting, headers)
            self.reactor.advance(seconds - 0.01)
            self.assertFalse(self.transport.disconnecting, headers)
            self.reactor.advance(0.01)
        self.assertTrue(self.transport.disconnecting, headers)

    def test_shorter(self) -> None:
        """It is closed 1 s before the model would close it; of 1 s, half is used."""
        self.assert_kept_for(0.5, "Keep-Alive: timeout=1")
        self.assert_kept_for(1, "Keep-Alive: timeout=2")
        self.assert_kept_for(2, "keep-alive: max=100, timeout=3")
        self.assert_kept_for(3, "KEEP-ALIVE:TIMEOUT=4;max=7")
        self.assert_kept_for(1, "Keep-Alive: timeout = 2 ")
        self.assert_kept_for(1, 'Keep-Alive: timeout="2"')
        self.assert_kept_for(1, "Keep-Alive: timeout=002")

    def test_longer(self) -> None:
        """A model that keeps it for 5 s or longer changes nothing."""
        for seconds in ("5", "60", "999999999", 5000 * "9"):
            self.assert_kept_for(4, f"Keep-Alive: timeout={seconds}")

    def test_none(self) -> None:
        """With 0 it is closed after the response."""
        self.assert_kept_for(0, "Connection: keep-alive", "Keep-Alive: timeout=0, max=5")

    def test_several(self) -> None:
        """The shortest of several times counts."""
        self.assert_kept_for(1, "Keep-Alive: timeout=9", "Keep-Alive: timeout=2")
        self.assert_kept_for(1, "Keep-Alive: timeout=2, timeout=3")
        self.assert_kept_for(0, "Keep-Alive: timeout=2", "Keep-Alive: timeout=0")

    def test_nonsense(self) -> None:
        """What is no number of seconds is ignored."""
        for value in ("", "timeout", "timeout=", "timeout=-1", "timeout=1.5", "timeout=1s", "timeout=x", "xtimeout=1"):
            self.assert_kept_for(4, f"Keep-Alive: {value}")
        for value in (
            "max=1",
            "1",
            "timeout=1 max=2",
            'timeout="1',
            "timeout=0x1",
            "timeout=\u0661",
            "header=timeout=1",
        ):
            self.assert_kept_for(4, f"Keep-Alive: {value}")
        self.assert_kept_for(4, "X-Keep-Alive: timeout=1", "Keep-Alives: timeout=1")

    def test_each_response(self) -> None:
        """Each response speaks for itself; interim responses and trailers do not count."""
        _, self.transport = self.begin()
        self.transport.respond(response(200, b"1", "Keep-Alive: timeout=2"))
        self.assertTrue(self.goes_on())
        self.reactor.advance(3.9)
        self.assertFalse(self.transport.disconnecting)
        self.reactor.advance(0.1)
        self.assertTrue(self.transport.disconnecting)
        for data in (
            b"HTTP/1.1 103 Early Hints\r\nKeep-Alive: timeout=1\r\n\r\n" + response(200, b"1"),
            CHUNKED + b"1\r\n1\r\n0\r\nKeep-Alive: timeout=1\r\n\r\n",
        ):
            _, transport = self.begin()
            transport.respond(data)
            self.reactor.advance(3.9)
            self.assertFalse(transport.disconnecting)
            transport.close()

    def test_several_connections(self) -> None:
        """Connections with different times end at their own."""
        transports = []
        for headers in ([], ["Keep-Alive: timeout=2"], ["Keep-Alive: timeout=3"]):
            calling, transport = self.begin()
            transports.append((calling, transport, headers))
        for calling, transport, headers in transports:
            transport.respond(response(200, b"1", *headers))
            self.successResultOf(calling)
        for expected in ([False, True, False], [False, True, True]):
            self.reactor.advance(1)
            self.assertEqual([transport.disconnecting for _, transport, _ in transports], expected)


class DeadlineTests(ConnectionTestCase):
    """Time limits of several calls."""

    def test_each(self) -> None:
        """Calls with different time limits end at their own; a call whose response arrived does not."""
        short, long = self.call(timeout=2), self.call(timeout=7)
        answered, transport = self.begin()
        transport.respond(response(200, b"1"))
        self.reactor.advance(2)
        self.assertIn("2 s", self.assert_failure(short, "timeout").detail)
        self.reactor.advance(4.9)
        self.assertNoResult(long)
        self.reactor.advance(0.1)
        self.assert_failure(long, "timeout")
        self.assertNoResult(self.calling)
        self.reactor.advance(23)
        self.assert_failure(self.calling, "timeout")
        self.assertEqual(self.successResultOf(answered).body, b"1")

    def test_nothing_is_kept(self) -> None:
        """A call is forgotten when its response has arrived, long before its time limit."""
        kept = self.kept_calls()
        self.transport.respond(response(200, b"1"))
        self.assertEqual(kept - self.kept_calls(), 1)

    def kept_calls(self) -> int:
        """Count the calls in memory."""
        gc.collect()
        return sum(isinstance(each, _Call) for each in gc.get_objects())

    def test_one_timer(self) -> None:
        """Calls with the same time limit share a timer."""
        timers = len(self.reactor.getDelayedCalls())
        for _ in range(10):
            self.begin()
        self.assertEqual(len(self.reactor.getDelayedCalls()), timers)
