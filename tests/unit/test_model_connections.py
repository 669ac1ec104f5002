"""Connections to the model: which are used again, which are dropped, and what is no answer on any of them."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.client import URI, ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss

from provider_gateway.http_agent import ImmediateBody, PersistentAgent, RequestHeaders
from provider_gateway.http_response import MAX_HEAD_BYTES, ResponseReader
from provider_gateway.model import Answer, Model, _Call
from provider_gateway.model_client import ModelEndpoints, model_client
from tests.unit.test_model import MAX_BODY, ModelTestCase, ModelTransport, response

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class ConnectionTestCase(ModelTestCase):
    """A call that is under way on the first connection."""

    def setUp(self) -> None:
        super().setUp()
        self.calling, self.transport = self.begin()

    def begin(self) -> tuple[Deferred[Answer], ModelTransport]:
        """A call on a new connection."""
        calling = self.call()
        return calling, self.accept()

    def goes_on(self) -> bool:
        """True if the next call is made on the same connection, and is answered there."""
        connections = len(self.reactor.tcpClients)
        self.transport.clear()
        calling = self.call()
        if len(self.reactor.tcpClients) > connections:
            self.assertEqual(self.transport.value(), b"")
            return False
        self.assertEqual(self.transport.request()[0], b"POST /predict?v=1 HTTP/1.1")
        self.transport.respond(response(200, b"next"))
        self.assertEqual(self.successResultOf(calling).body, b"next")
        return True


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
        self.model = Model(self.reactor, client, "http://127.0.0.1:8080/predict?v=1", MAX_BODY)
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


class NoAnswerTests(ConnectionTestCase):
    """What is no valid answer: a failure of the connection at once, which is dropped."""

    def assert_refused(self, *segments: bytes, reason: str = "connection") -> None:
        calling, self.transport = self.begin()
        for segment in segments:
            self.transport.respond(segment)
        self.assert_failure(calling, reason)
        self.assertTrue(self.transport.disconnecting)
        self.assertFalse(self.goes_on())
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_framing(self) -> None:
        """A body whose end could be read in two ways, or is told in none that we know, is not read at all."""
        for header in (
            b"Transfer-Encoding: gzip, chunked",
            b"Transfer-Encoding: gzip",
            b"Transfer-Encoding: chunked\r\nContent-Length: 3",
            b"Content-Length: 3\r\nContent-Length: 2",
            b"Content-Length: +3",
            b"Content-Length: 3 3",
        ):
            self.assert_refused(b"HTTP/1.1 200 OK\r\n%s\r\n\r\n3\r\nabc\r\n0\r\n\r\n" % header)

    def test_chunks(self) -> None:
        """Chunks that are not as large as they say are a body that broke off."""
        for chunks in (b"2\r\n1\r\n", b"1\r\n12\r\n", b"1\r\n1\n0\r\n\r\n", b"x\r\n", b"1" * 20 + b"\r\n"):
            self.assert_refused(CHUNKED + chunks + b"0\r\n\r\n", reason="body")

    def test_header(self) -> None:
        """Control characters in a header, or a name with a space, are no HTTP."""
        for header in (b"X: a\0b", b"X: a\x01b", b"X : a", b"X: a\rY: b", b"X: a\r\n b"):
            self.assert_refused(b"HTTP/1.1 200 OK\r\n%s\r\nContent-Length: 0\r\n\r\n" % header)

    def test_switched(self) -> None:
        """A protocol that nobody asked to switch to is no answer; nor is a 1xx with a body."""
        self.assert_refused(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
        self.assert_refused(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        self.assert_refused(b"HTTP/1.1 110 What\r\nContent-Length: 1\r\n\r\n1")

    def test_endless(self) -> None:
        """Headers, a header, a status line or 1xx answers that do not end are given up, and so are trailers."""
        piece = b"x" * 4000
        count = MAX_HEAD_BYTES // len(piece) + 1
        self.assert_refused(b"HTTP/1.1 200 OK\r\n", *count * [b"X: %s\r\n" % piece])
        self.assert_refused(b"HTTP/1.1 200 OK\r\nX: ", *count * [piece])
        self.assert_refused(b"HTTP/1.1 200 O", *count * [piece])
        self.assert_refused(*(count + 1) * [b"HTTP/1.1 103 Early Hints\r\nX: %s\r\n\r\n" % piece])
        self.assert_refused(CHUNKED + b"1\r\n1\r\n0\r\nX: ", *count * [piece], reason="body")
        self.assert_refused(CHUNKED + b"1;", *count * [piece], reason="body")

    def test_huge(self) -> None:
        """Headers that are too large are refused even when they come at once; just so many are not."""
        size = MAX_HEAD_BYTES - len(response(200, b"", "Set-Cookie: "))
        self.assert_refused(response(200, b"1", f"Set-Cookie: {'x' * (size + 1)}"))
        calling, transport = self.begin()
        transport.respond(response(200, b"1", f"Set-Cookie: {'x' * size}"))
        self.assertEqual(self.successResultOf(calling).body, b"1")

    def test_many_small_chunks(self) -> None:
        """What frames a body of many chunks does not count towards that."""
        client = model_client(self.reactor, tls=None, connections=2)
        self.model = Model(self.reactor, client, "http://127.0.0.1:8080/predict?v=1", 100_000)
        calling, transport = self.begin()
        transport.respond(CHUNKED)
        for _ in range(40):
            transport.respond(1000 * b"1\r\n7\r\n")
        transport.respond(b"0\r\n\r\n")
        self.assertEqual(len(self.successResultOf(calling).body), 40_000)


class ReadingTests(ConnectionTestCase):
    """What is read of an answer."""

    def answer(self, *segments: bytes) -> Answer:
        for segment in segments:
            self.transport.respond(segment)
        return self.successResultOf(self.calling)

    def test_interim(self) -> None:
        """Answers with a status of 1xx are skipped, with their headers."""
        interim = b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nX-Early: 1\r\n\r\n"
        answer = self.answer(*interim, interim[1] + response(200, b"1", "X-Late: 1"))
        self.assertEqual((answer.status, answer.body, answer.headers), (200, b"1", {"X-Late": "1"}))
        self.assertTrue(self.goes_on())

    def test_trailers(self) -> None:
        """Trailers are dropped."""
        answer = self.answer(CHUNKED + b"1\r\n1\r\n0\r\nX-Trailer: 1\r\n\r\n")
        self.assertEqual((answer.body, answer.headers), (b"1", {}))

    def test_no_body(self) -> None:
        """A 204 has none, whatever its headers say, and does not wait for one."""
        self.assertEqual(self.answer(b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n").body, b"")

    def test_headers(self) -> None:
        """Values are without the spaces around them, those of one name together; names as HTTP writes them."""
        answer = self.answer(response(200, b"1", "x-model:  m1 \t", "X-MODEL: m2", "X-Empty:"))
        self.assertEqual(answer.headers, {"X-Model": "m1, m2", "X-Empty": ""})

    def test_until_a_reset(self) -> None:
        """A body without a length ends with its connection, however that ends: as it was with Twisted's client."""
        self.transport.respond(b"HTTP/1.1 200 OK\r\n\r\n42")
        self.transport.close(ConnectionLost())
        self.assertEqual(self.successResultOf(self.calling).body, b"42")

    def test_same_names_in_the_message(self) -> None:
        """Of names that are the same but for their case, the last one is sent."""
        self.call(headers={"X-A": "1", "x-a": "2"})
        self.assertEqual(self.accept().request()[1][b"x-a"], [b"2"])

    def test_injection(self) -> None:
        """What could break a request's lines is refused where they are put together, too."""
        for headers in ({"X": "a\r\nY: b"}, {"X": "a\nb"}, {"X": "a\rb"}, {"X": "a\0"}, {"X\r\nY": "a"}, {"X": "\n\r"}):
            self.assertRaises(ValueError, RequestHeaders, headers)


class Collector(Protocol):
    """Keeps a body, and how it ended."""

    def __init__(self) -> None:
        self.data = b""
        self.end: Any = None

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008 - as Twisted's own
        self.end = reason.type


class ClientTests(ModelTestCase):
    """The client as others of its kind: treq's other calls work with it."""

    def setUp(self) -> None:
        super().setUp()
        self.client = model_client(self.reactor, tls=None, connections=10)

    def get(self, url: str = "http://127.0.0.1:8080/") -> tuple[Deferred[Any], ModelTransport]:
        getting = self.client.get(url, allow_redirects=False, unbuffered=True, reactor=self.reactor)
        self.reactor.advance(0)
        return getting, self.accept()

    def test_get(self) -> None:
        """A GET has no body, no length of one, and one header of each name."""
        getting, transport = self.get()
        first, headers, body = transport.request()
        self.assertEqual((first, body), (b"GET / HTTP/1.1", b""))
        self.assertEqual(headers, {b"host": [b"127.0.0.1:8080"], b"accept-encoding": [b"identity"]})
        transport.respond(response(200, b"1"))
        got = self.successResultOf(getting)
        self.assertEqual((got.code, got.length, self.successResultOf(got.content())), (200, 1, b"1"))

    def test_given_headers(self) -> None:
        """Headers that are given are sent, but for those that the client says itself."""
        given = {"X-A": ["1", "2"], "Host": "elsewhere", "Content-Length": "7", "Accept-Encoding": "br"}
        self.client.post("http://127.0.0.1:8080/", data=b"12", headers=given, reactor=self.reactor)
        self.reactor.advance(0)
        expected = {b"x-a": [b"1", b"2"], b"host": [b"127.0.0.1:8080"], b"content-length": [b"2"]}
        self.assertEqual(self.accept().request()[1], {**expected, b"accept-encoding": [b"identity"]})

    def test_empty_post(self) -> None:
        """A POST without a body says so."""
        self.client.post("http://127.0.0.1:8080/", reactor=self.reactor)
        self.reactor.advance(0)
        self.assertEqual(self.accept().request()[1][b"content-length"], [b"0"])

    def test_unread(self) -> None:
        """A body that nobody reads is left in the network; reading it goes on where it was."""
        getting, transport = self.get()
        transport.respond(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n12")
        got = self.successResultOf(getting)
        self.assertEqual(transport.producerState, "paused")
        collector = Collector()
        got.deliverBody(collector)
        self.assertEqual((transport.producerState, collector.data), ("producing", b"12"))
        transport.respond(b"34")
        self.assertEqual((collector.data, collector.end), (b"1234", ResponseDone))

    def test_until_the_end(self) -> None:
        """A body without a length may be incomplete, and its reader is told so."""
        getting, transport = self.get()
        transport.respond(b"HTTP/1.1 200 OK\r\n\r\n12")
        collector = Collector()
        self.successResultOf(getting).deliverBody(collector)
        transport.close()
        self.assertEqual((collector.data, collector.end), (b"12", PotentialDataLoss))

    def test_late_reader(self) -> None:
        """The connection of a complete answer is another's: its reader cannot end it."""
        getting, transport = self.get()
        transport.respond(response(200, b"1"))
        collector = Collector()
        self.successResultOf(getting).deliverBody(collector)
        collector.transport.loseConnection()
        self.assertFalse(transport.disconnecting)

    def test_reader_that_has_enough(self) -> None:
        """A reader that ends the connection gets no more of the body, although some may still arrive."""
        getting, transport = self.get()
        transport.respond(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n12")
        collector = Collector()
        self.successResultOf(getting).deliverBody(collector)
        collector.transport.loseConnection()
        transport.respond(b"34")
        self.assertEqual((transport.disconnecting, collector.data, collector.end), (True, b"12", None))
        transport.close()
        self.assertEqual(collector.end, ResponseFailed)

    def test_urls(self) -> None:
        """The Host header names the port unless it is the scheme's own; a literal address of IPv6 is in brackets."""
        agent = PersistentAgent(self.reactor, ModelEndpoints(self.reactor, None), connections=1, keep_alive=1)
        for url, host, port in (
            (b"http://127.0.0.1/", b"127.0.0.1", 80),
            (b"http://127.0.0.1:81/", b"127.0.0.1:81", 81),
            (b"http://[::1]:82/", b"[::1]:82", 82),
        ):
            agent.request(b"GET", url)
            self.reactor.advance(0)
            _, found, factory, _, _ = self.reactor.tcpClients[-1]
            transport = ModelTransport(factory.buildProtocol(None))
            transport.protocol.makeConnection(transport)
            self.assertEqual((found, transport.request()[1][b"host"]), (port, [host]))
        self.assertRaises(ValueError, agent.request, b"GET", b"http://127.0.0.1/a b")

    def test_addresses(self) -> None:
        """An address is connected to as it is, without asking the resolver; a name is looked up."""
        endpoints = ModelEndpoints(self.reactor, None)
        kinds = {
            url: type(endpoints.endpointForURI(URI.fromBytes(url)))
            for url in (b"http://127.0.0.1:80/", b"http://[::1]/", b"http://model:80/", b"http://1.2.3.example/")
        }
        self.assertEqual(
            [TCP4ClientEndpoint, TCP6ClientEndpoint, HostnameEndpoint, HostnameEndpoint], list(kinds.values())
        )

    def test_body_as_a_producer(self) -> None:
        """A body that is there writes itself in one go, for agents that are not ours."""
        written: list[bytes] = []

        class Consumer:
            write = written.append

        body = ImmediateBody(b"12")
        self.successResultOf(body.startProducing(Consumer()))  # type: ignore[arg-type]
        self.assertEqual((body.length, written), (2, [b"12"]))
