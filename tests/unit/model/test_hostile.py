"""Models and messages that mean no good, or break: each call ends in an answer or a failure with its reason."""

from __future__ import annotations

import gzip
import json

from pika import spec
from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.amqp.consumer import Consumer
from provider_gateway.message.http_headers import MAX_HEADERS, headers_to_http
from tests.support.amqp_peer import content, open_peer, run
from tests.unit.message.test_properties import BAD, Raw, decoded, header, table_of
from tests.unit.model.test_model import ModelTestCase, response
from tests.unit.provider.test_provider import ProviderTestCase


class ConnectingTests(ModelTestCase):
    """The end of a call whose TCP connection is not there yet."""

    def test_timeout(self) -> None:
        """The deadline covers connecting: a call that has no connection by then is a timeout, and nothing is left."""
        calling = self.call(timeout=5)
        self.reactor.advance(4.9)
        self.assertNoResult(calling)
        self.reactor.advance(0.1)
        self.assertIn("5 s", self.assert_failure(calling, "timeout").detail)
        self.assertEqual(len(self.reactor.tcpClients), 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_cancelled(self) -> None:
        """A call that is cancelled while it connects is no failure of the model."""
        calling = self.call()
        calling.cancel()
        self.failureResultOf(calling, CancelledError)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.flushLoggedErrors(), [])


class AnswerHeadersTests(ModelTestCase):
    """Headers of an answer that cannot travel in a message."""

    def assert_too_large(self, *headers: str) -> None:
        failure = self.assert_failure(self.answered(response(200, b"1", *headers)), "body")
        self.assertIn("cannot be passed on", failure.detail)

    def test_long_name(self) -> None:
        """A header name over AMQP's 255 bytes makes the answer a failure; one of 255 bytes travels."""
        self.assert_too_large("X" * 256 + ": 1")
        answer = self.successResultOf(self.answered(response(200, b"1", "X" * 255 + ": 1")))
        self.assertEqual(list(answer.headers.values()), ["1"])

    def test_too_large_together(self) -> None:
        """Headers over 100,000 bytes make the answer a failure: four for each character, and six for each header."""
        names = [f"X-{number}" for number in range(8)]
        characters = (MAX_HEADERS - 8 * 6) // 4 - sum(map(len, names))
        lines = [f"{name}: {'v' * (characters // 8)}" for name in names]
        lines[-1] += "v" * (characters % 8)
        answer = self.successResultOf(self.answered(response(200, b"1", *lines)))
        self.assertEqual(len(answer.headers), 8)
        self.assert_too_large(*lines[:-1], lines[-1] + "v")

    def test_content_type_that_is_not_utf_8(self) -> None:
        """An answer whose Content-Type is not UTF-8 is used all the same, as JSON."""
        data = response(200, b"1", "Content-Type: text/@").replace(b"@", b"\xff")
        answer = self.successResultOf(self.answered(data))
        self.assertEqual((answer.status, answer.body, answer.content_type), (200, b"1", "application/json"))

    def test_long_content_type(self) -> None:
        """A Content-Type over AMQP's 255 bytes is replaced by JSON's; one of 255 bytes is kept."""
        for size, expected in ((256, "application/json"), (255, "text/" + "x" * 250)):
            content_type = "text/" + "x" * (size - 5)
            answer = self.successResultOf(self.answered(response(200, b"1", f"Content-Type: {content_type}")))
            self.assertEqual(answer.content_type, expected)


class ContentCodingTests(ModelTestCase):
    """Bodies are asked for as they are, and taken so or not at all."""

    def test_asked_for(self) -> None:
        """The request asks for no content coding, whatever the message asks for."""
        for headers in ({}, {"Accept-Encoding": "gzip"}):
            self.call(headers=headers)
            self.assertEqual(self.accept().request()[1][b"accept-encoding"], [b"identity"])

    def test_coded(self) -> None:
        """An answer in a content coding is a failure as soon as its headers are there; its connection is dropped."""
        for coding in ("gzip", "GZIP", "br", "identity, gzip"):
            calling = self.call()
            transport = self.accept()
            head, end, body = response(200, gzip.compress(b"1"), f"Content-Encoding: {coding}").partition(b"\r\n\r\n")
            transport.respond(head + end)
            self.assertIn(coding.lower(), self.assert_failure(calling, "body").detail)
            self.assertTrue(transport.disconnecting)
            transport.respond(body)
            transport.close()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_broken_coding(self) -> None:
        """A body that is not in the coding it says is no empty success."""
        calling = self.call()
        transport = self.accept()
        transport.respond(response(200, b"not gzip", "Content-Encoding: gzip"))
        self.assert_failure(calling, "body")

    def test_coding_that_is_not_utf_8(self) -> None:
        """A Content-Encoding that is not UTF-8 is a content coding like any other."""
        data = response(200, b"1", "Content-Encoding: @").replace(b"@", b"\xff")
        self.assert_failure(self.answered(data), "body")

    def test_identity(self) -> None:
        """An answer that says that it is not coded is taken."""
        calling = self.answered(response(200, b"1", "Content-Encoding: Identity"))
        self.assertEqual(self.successResultOf(calling).body, b"1")


class HeaderNameTests(SynchronousTestCase):
    """Message headers whose names are no text."""

    def test_bytes(self) -> None:
        """A name that pika leaves as bytes, since it is not UTF-8, does not travel; the others do."""
        headers = {b"ab\xff\xfe": "v", b"X-B": "v", "X-Good": "v"}
        self.assertEqual(headers_to_http(headers), {"X-Good": "v"})


class UndecodableDeliveryTests(ProviderTestCase):
    """Deliveries from the wire that carry bytes where text is usual."""

    def setUp(self) -> None:
        super().setUp()
        self.peer = open_peer(self.clock)

        async def declare(_: object) -> None:
            pass

        consumer = Consumer("work", prefetch=1, declare=declare, deliver=self.provider.serve, clock=self.clock)
        run(self.peer, consumer.open(self.peer.protocol))

    def test_header_name(self) -> None:
        """A message with a header name that is not UTF-8 is served: called, answered and acknowledged."""
        number = self.peer.channel_of(spec.Basic.Consume)
        properties = spec.BasicProperties(headers={"abcd": "v", "RqUID": "r1"}, reply_to="back", correlation_id="c1")
        frames = b"".join(each.marshal() for each in content(number, b"{}", properties))
        tag = self.peer.sent(spec.Basic.Consume)[0].consumer_tag
        deliver = self.peer.marshal(spec.Basic.Deliver(tag, 1, False, "", "work"), number)
        self.peer.receive(deliver + frames.replace(b"abcd", b"ab\xff\xfe"))
        ((message, _, _),) = self.model.calls
        self.assertEqual(message.headers, {b"ab\xff\xfe": "v", "RqUID": "r1"})
        self.assertEqual(headers_to_http(message.headers), {})
        self.model.answer()
        self.assertEqual((self.reply.correlation_id, self.reply.headers["RqUID"]), ("c1", "r1"))
        self.publisher.confirm()
        self.peer.pump()
        self.assertEqual([each.delivery_tag for each in self.peer.sent(spec.Basic.Ack)], [1])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_values_that_cannot_be_decoded(self) -> None:
        """A message with a header that Python has no value for is served, and its copies carry that header on."""
        for tag, bad in enumerate(BAD.values(), 1):
            table = header("bad", bad) + header("RqUID", b"S\x00\x00\x00\x02r1")
            self.peer.deliver(b"{}", tag, Raw(table))
            message = self.model.calls[-1][0]
            self.assertEqual(message.headers, {"RqUID": "r1"})
            self.model.calls[-1][2].errback(KeyError("x"))
            self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
            copy = decoded(table_of(self.reply.properties()))
            self.assertEqual(copy.headers_that(lambda name: not name.startswith("pg-")), table)
        self.assertFalse(self.peer.transport.disconnecting)


class BytesToTheModelTests(ModelTestCase):
    """A message with a header name of bytes, on its way to the model."""

    def test_call(self) -> None:
        """The model is called without that header."""
        calling = self.call(headers={b"x-\xff": "a", "X-Good": "b"})
        transport = self.accept()
        headers = transport.request()[1]
        self.assertEqual(headers[b"x-good"], [b"b"])
        self.assertNotIn(b"\xff", transport.value())
        transport.respond(response(200, b"1"))
        self.assertEqual(self.successResultOf(calling).body, b"1")


class UnforeseenTests(ProviderTestCase):
    """Errors of the model call that nobody thought of."""

    def test_reply(self) -> None:
        """The message is parked; then its caller is told 500 "internal", and nothing of the cause, which is logged."""
        delivery = self.serve()
        self.model.calls[0][2].errback(KeyError("secret"))
        ((copy, exchange, routing_key, _),) = self.publisher.published
        self.assertEqual((exchange, routing_key, copy.body), ("", "work.parking", b"{}"))
        self.publisher.confirm()
        _, (_, exchange, routing_key, _) = self.publisher.published
        self.assertEqual((exchange, routing_key), ("", "back"))
        self.assertEqual(self.reply.content_type, "application/problem+json")
        self.assertEqual(self.reply.headers, {"RqUID": "r1", "pg-status": 500, "pg-reason": "internal"})
        self.assertEqual(self.reply.correlation_id, "c1")
        problem = json.loads(self.reply.body)
        self.assertEqual((problem["status"], problem["rquid"]), (500, "r1"))
        self.assertNotIn(b"secret", self.reply.body)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assertEqual(delivery.acks, 0)
        self.publisher.confirm()
        self.assertEqual((delivery.acks, self.in_flight()), (1, 0))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_others_go_on(self) -> None:
        """The next delivery is served as if nothing had been."""
        self.serve()
        self.model.calls[0][2].errback(KeyError("secret"))
        self.publisher.confirm()
        self.publisher.confirm()
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        delivery = self.serve()
        self.model.answer()
        self.publisher.confirm()
        self.assertEqual((delivery.acks, self.reply.headers["pg-status"]), (1, 200))

    def test_abandoned(self) -> None:
        """A call that is cancelled is no error: no reply, no acknowledgement, no word in the log."""
        delivery = self.serve()
        self.provider.abandon()
        self.successResultOf(self.provider.idle())
        self.assertEqual((self.publisher.published, delivery.acks, self.in_flight()), ([], 0, 0))
        self.assertEqual(self.flushLoggedErrors(), [])
