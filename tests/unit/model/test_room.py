"""Large responses wait until there is room for them, and the time limit with them."""

from __future__ import annotations

import gc
import weakref

from twisted.internet.defer import CancelledError, Deferred

from provider_gateway.http_client.body import SMALL
from provider_gateway.message.message import Message
from provider_gateway.model.client import model_client
from provider_gateway.model.model import Model, ModelResponse
from tests.support.model_peer import ModelTestCase, ModelTransport, response

MAX_BODY = 1_000_000
BODY = b"x" * 200_000


class RoomTests(ModelTestCase):
    """Calls of a model that answers with large bodies; the test has the room."""

    def setUp(self) -> None:
        super().setUp()
        client = model_client(self.reactor, tls=None, connections=10)
        self.model = Model(
            self.reactor, client, url="http://127.0.0.1:8080/", max_body_bytes=MAX_BODY, wall_clock=self.reactor.seconds
        )
        self.asked: list[int] = []
        self.transports: list[ModelTransport] = []
        self.waiting: Deferred[None] | None = Deferred()

    def room(self, size: int) -> Deferred[None] | None:
        self.asked.append(size)
        return self.waiting

    def begin(self) -> tuple[Deferred[ModelResponse], ModelTransport]:
        calling = Deferred.fromCoroutine(self.model.call(Message(b"1"), "r1", 30, self.room))
        self.reactor.advance(0)
        return calling, self.accept()

    def test_small(self) -> None:
        """No room is asked for a small response, in however many pieces it arrives."""
        calling, transport = self.begin()
        whole = response(200, b"x" * SMALL)
        for at in range(0, len(whole), 10_000):
            transport.respond(whole[at : at + 10_000])
        self.assertEqual((SMALL, []), (len(self.successResultOf(calling).body), self.asked))

    def test_waits(self) -> None:
        """Room is asked for the declared size. Until there is some, nothing is read, and no time limit runs."""
        calling, transport = self.begin()
        whole = response(200, BODY)
        transport.respond(whole[:100_000])
        self.assertEqual(([200_000], "paused"), (self.asked, transport.producerState))
        self.reactor.advance(100)
        self.assertNoResult(calling)
        assert self.waiting is not None
        self.waiting.callback(None)
        self.assertEqual("producing", transport.producerState)
        transport.respond(whole[100_000:])
        self.assertEqual((BODY, [200_000]), (self.successResultOf(calling).body, self.asked))

    def test_limit_afterwards(self) -> None:
        """When there is room, the time limit begins anew."""
        calling, transport = self.begin()
        transport.respond(response(200, BODY)[:100_000])
        self.reactor.advance(29)
        assert self.waiting is not None
        self.waiting.callback(None)
        self.reactor.advance(29)
        self.assertNoResult(calling)
        self.reactor.advance(2)
        self.assert_failure(calling, "timeout")

    def test_unknown_size(self) -> None:
        """For a response without a declared size, the limit is asked for. What it did not need is given back."""
        self.waiting = None
        calling, transport = self.begin()
        transport.respond(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(BODY), BODY))
        transport.respond(b"0\r\n\r\n")
        self.assertEqual(BODY, self.successResultOf(calling).body)
        self.assertEqual([MAX_BODY, len(BODY) - MAX_BODY], self.asked)

    def test_cancelled(self) -> None:
        """A call that is cancelled while its response waits wants no room any more, and drops its connection."""
        calling, transport = self.begin()
        transport.respond(response(200, BODY)[:100_000])
        calling.cancel()
        self.failureResultOf(calling, CancelledError)
        assert self.waiting is not None
        self.failureResultOf(self.waiting.addCallback(lambda _: self.fail("there was room")), Exception)
        self.assertTrue(transport.disconnecting or transport.disconnected)

    def test_broken_off(self) -> None:
        """A response that breaks off while it waits is a failure at once."""
        calling, transport = self.begin()
        transport.respond(response(200, BODY)[:100_000])
        transport.close()
        self.assert_failure(calling, "body")

    def test_complete(self) -> None:
        """A response that had arrived before there was room is complete."""
        calling, transport = self.begin()
        transport.respond(response(200, BODY))
        self.assertEqual(BODY, self.successResultOf(calling).body)

    def test_complete_in_its_last_bytes(self) -> None:
        """After a response for whose last bytes room was asked, the connection is read on, and serves another call."""
        calling, transport = self.begin()
        whole = response(200, b"x" * (SMALL + 1000))
        transport.respond(whole[:SMALL])
        transport.respond(whole[SMALL:])
        self.assertEqual(SMALL + 1000, len(self.successResultOf(calling).body))
        self.assertEqual("producing", transport.producerState)
        again = Deferred.fromCoroutine(self.model.call(Message(b"1"), "r1", 30, self.room))
        transport.respond(response(200, b"2"))
        self.assertEqual(b"2", self.successResultOf(again).body)

    def test_freed(self) -> None:
        """After a call nothing holds its message: a cycle would keep large bodies until the garbage collector comes."""

        class Room:
            def __call__(self, _: int) -> None:
                return None

        gc.disable()
        self.addCleanup(gc.enable)
        for end in (response(200, BODY), response(200, b"1"), response(200, bytes(MAX_BODY + 1)), None):
            room = Room()
            held = weakref.ref(room)
            calling = Deferred.fromCoroutine(self.model.call(Message(b"1"), "r1", 30, room))
            del room
            self.reactor.advance(0)
            if len(self.reactor.tcpClients) > len(self.transports):
                self.transports.append(self.accept())
            transport = self.transports[-1]
            if end is None:
                transport.respond(response(200, BODY)[:100_000])
                self.reactor.advance(31)
            else:
                transport.respond(end)
            calling.addErrback(lambda _: None)
            del calling
            self.assertIsNone(held(), end and len(end))
