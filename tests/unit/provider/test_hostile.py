"""Deliveries that carry bytes where text is usual, and model calls that fail with an unforeseen error."""

from __future__ import annotations

import json

from pika import spec

from provider_gateway.amqp.consumer import Consumer
from provider_gateway.message.http_headers import headers_to_http
from tests.support.amqp_peer import content, open_peer, run
from tests.support.header_tables import BAD, Raw, decoded, header, table_of
from tests.unit.provider.base import ProviderTestCase


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
        """A message with a header name that is not UTF-8 is served: model call, reply, acknowledgement."""
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
        """A message with a header that has no Python value is served, and its copies carry that header."""
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


class UnforeseenTests(ProviderTestCase):
    """Unforeseen errors of the model call."""

    def test_reply(self) -> None:
        """The message is parked. The reply has status 500 and reason "internal", without the cause, which is logged."""
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
        """The next delivery is served as usual."""
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
        """A cancelled call is no error: no reply, no acknowledgement, no log line."""
        delivery = self.serve()
        self.provider.abandon()
        self.successResultOf(self.provider.idle())
        self.assertEqual((self.publisher.published, delivery.acks, self.in_flight()), ([], 0, 0))
        self.assertEqual(self.flushLoggedErrors(), [])
