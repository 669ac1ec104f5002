"""Connections to the model: which are used again, and which are dropped."""

from __future__ import annotations

import gc

from provider_gateway.http_client.response_reader import ResponseReader
from provider_gateway.model.client import model_client
from provider_gateway.model.model import Model, _Call
from tests.support.model_peer import MAX_BODY, response
from tests.unit.model.base import CHUNKED, ConnectionTestCase


class AgainTests(ConnectionTestCase):
    """Which answers leave a connection that can be used again."""

    readers_before = 0

    def setUp(self) -> None:
        self.readers_before = self.kept_readers()
        super().setUp()

    def test_complete(self) -> None:
        """A complete answer does, in whatever way its end is told; one of an error, too."""
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
        """Heads whose lines end without CR are read behind an answer in chunks, too, where they are not allowed."""
        self.transport.respond(CHUNKED + b"1\r\n1\r\n0\r\n\r\n")
        calling = self.call()
        self.transport.respond(b"HTTP/1.1 200 OK\nContent-Length: 1\n\n2")
        self.assertEqual(self.successResultOf(calling).body, b"2")

    def test_in_pieces_at_a_time(self) -> None:
        """Answers that come in turns, piece by piece, do not mix; nor does one that broke off spoil the next."""
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
        """A connection that waits for its answer has no reader yet, and one that is idle has none any more."""
        more = [self.begin() for _ in range(30)]
        self.assertEqual(self.kept_readers(), 0)
        for calling, transport in [(self.calling, self.transport), *more]:
            transport.respond(response(200, b"1"))
            self.successResultOf(calling)
        self.assertEqual(self.kept_readers(), 1)

    def kept_readers(self) -> int:
        """How many readers are in memory beyond those of other tests."""
        gc.collect()
        return sum(isinstance(each, ResponseReader) for each in gc.get_objects()) - self.readers_before

    def test_last(self) -> None:
        """An answer that says that it is the last on its connection, or whose HTTP has no more, does not."""
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
        """An answer with something behind it does not; it is an answer all the same."""
        for data in (b"x", response(200, b"2"), b"HTTP/1.1 "):
            self.calling, self.transport = self.begin()
            self.transport.respond(response(200, b"1") + data)
            self.assertEqual(self.successResultOf(self.calling).body, b"1")
            self.assertTrue(self.transport.disconnecting)
            self.assertFalse(self.goes_on())

    def test_before_the_request_is_sent(self) -> None:
        """An answer to a request that the transport still has to send does not."""
        self.transport.producer.pauseProducing()
        self.transport.respond(response(200, b"1"))
        self.assertEqual(self.successResultOf(self.calling).body, b"1")
        self.assertTrue(self.transport.disconnecting)
        self.assertFalse(self.goes_on())

    def test_after_the_request_is_sent(self) -> None:
        """An answer to a request that took the transport a while does."""
        self.transport.producer.pauseProducing()
        self.transport.producer.resumeProducing()
        self.transport.respond(response(200, b"1"))
        self.assertTrue(self.goes_on())

    def test_too_large_at_its_end(self) -> None:
        """An answer whose last bytes are too many does not, although they are its last."""
        data = response(200, b"x" * (MAX_BODY + 1))
        self.transport.respond(data[:-1])
        self.transport.respond(data[-1:])
        self.assert_failure(self.calling, "body")
        self.assertTrue(self.transport.disconnecting)
        self.assertFalse(self.goes_on())


class IdleTests(ConnectionTestCase):
    """Connections on which nothing is asked."""

    def setUp(self) -> None:
        super().setUp()
        self.transport.respond(response(200, b"1"))

    def test_closed(self) -> None:
        """One that the model closes is not used."""
        self.transport.close()
        self.assertFalse(self.goes_on())

    def test_unasked(self) -> None:
        """One on which the model sends something is dropped."""
        self.transport.respond(b"\r\n")
        self.assertTrue(self.transport.disconnecting)
        self.assertFalse(self.goes_on())

    def test_time(self) -> None:
        """One that is idle for 4 s is closed, and not before; each call begins the time anew."""
        self.reactor.advance(3.5)
        self.assertTrue(self.goes_on())
        self.reactor.advance(3.5)
        self.assertFalse(self.transport.disconnecting)
        self.reactor.advance(0.5)
        self.assertTrue(self.transport.disconnecting)
        self.assertIsNone(self.transport.producer)
        self.assertFalse(self.goes_on())

    def test_busy(self) -> None:
        """One with a call on it is not closed, however long it was used."""
        self.call()
        self.reactor.advance(20)
        self.assertFalse(self.transport.disconnecting)

    def test_number(self) -> None:
        """No more are kept than are asked for: the one that is idle for longest is closed."""
        client = model_client(self.reactor, tls=None, connections=2)
        self.model = Model(self.reactor, client, url="http://127.0.0.1:8080/predict?v=1", max_body_bytes=MAX_BODY)
        transports = [self.begin()[1] for _ in range(3)]
        for transport in transports:
            transport.respond(response(200, b"1"))
        self.assertEqual([each.disconnecting for each in transports], [True, False, False])

    def test_timers(self) -> None:
        """However many are idle, there is one timer for them."""
        self.call()
        calls = [self.begin() for _ in range(5)]
        timers = len(self.reactor.getDelayedCalls())
        for _, transport in calls:
            transport.respond(response(200, b"1"))
        self.assertEqual(len(self.reactor.getDelayedCalls()), timers + 1)


class DeadlineTests(ConnectionTestCase):
    """Deadlines of several calls."""

    def test_each(self) -> None:
        """Calls with times of their own end in their own times; one that is answered is not told of."""
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
        """A call that is answered is forgotten, long before its time is over."""
        kept = self.kept_calls()
        self.transport.respond(response(200, b"1"))
        self.assertEqual(kept - self.kept_calls(), 1)

    def kept_calls(self) -> int:
        """How many calls are in memory."""
        gc.collect()
        return sum(isinstance(each, _Call) for each in gc.get_objects())

    def test_one_timer(self) -> None:
        """Calls of the same time share a timer."""
        timers = len(self.reactor.getDelayedCalls())
        for _ in range(10):
            self.begin()
        self.assertEqual(len(self.reactor.getDelayedCalls()), timers)
