"""Brokers that refuse or swallow: replies that the broker does not take, addresses that never answer."""

from __future__ import annotations

import json

from provider_gateway.amqp.endpoint import HANDSHAKE_TIMEOUT
from provider_gateway.errors import (
    BrokerBlocked,
    BrokerUnavailable,
    Nacked,
    NoRoute,
    OutcomeUnknown,
    PublishRefused,
)
from tests.unit.test_endpoint import EndpointTestCase
from tests.unit.test_provider import ProviderTestCase
from tests.unit.test_rpc import FakeDelivery, counted


class RefusedReplyTests(ProviderTestCase):
    """The broker closes the publishing channel over a reply, as for one that is too large for it."""

    def refuse(self) -> None:
        """Refuse the reply that was published last, and be ready for another."""
        self.publisher.fail(PublishRefused("PRECONDITION_FAILED - message size"))
        if self.publisher.waiting:
            self.publisher.waiting.pop().callback(None)

    def test_another_message_was_to_blame(self) -> None:
        """After one refusal the same reply is published again: it may have been somebody else's message."""
        delivery = self.serve()
        self.model.answer(200, b"[1]")
        self.refuse()
        self.assertEqual((len(self.publisher.published), self.reply.body), (2, b"[1]"))
        self.publisher.confirm()
        self.assertEqual(delivery.acks, 1)

    def test_stand_in(self) -> None:
        """After three refusals a small error reply takes the reply's place, and the delivery is acknowledged."""
        delivery = self.serve()
        self.model.answer(200, b"[1]")
        for _ in range(3):
            self.refuse()
        self.assertEqual((self.reply.headers["pg-status"], self.reply.headers["pg-reason"]), (502, "refused"))
        self.assertEqual(json.loads(self.reply.body)["rquid"], "r1")
        self.assertEqual(self.reply.correlation_id, "c1")
        self.publisher.confirm()
        self.assertEqual(delivery.acks, 1)

    def test_nothing_is_taken(self) -> None:
        """If the small one is refused as often, the message is parked, and acknowledged once that is confirmed."""
        delivery = self.serve()
        self.model.answer(200, b"[1]")
        for _ in range(6):
            self.refuse()
        self.assertEqual(len(self.publisher.published), 7)
        copy, exchange, routing_key, _ = self.publisher.published[-1]
        self.assertEqual((exchange, routing_key), ("", "work.parking"))
        self.assertEqual((copy.body, copy.properties().headers["pg-reason"]), (b"{}", "refused"))
        self.assertEqual(delivery.acks, 0)
        self.publisher.confirm()
        self.assertEqual(delivery.acks, 1)
        self.assertEqual(counted(self.metrics.parked, "work", "refused"), 1)
        self.successResultOf(self.provider.idle())


class UndeliverableReplyTests(ProviderTestCase):
    """The reply cannot be published, for now or for good."""

    def answered(self) -> FakeDelivery:
        delivery = self.serve()
        self.model.answer()
        return delivery

    def test_nobody_takes_it(self) -> None:
        """A reply whose queue is gone is given up: the message is parked, and nothing more is published."""
        delivery = self.answered()
        self.publisher.fail(NoRoute("gone"))
        copy, exchange, routing_key, _ = self.publisher.published[-1]
        self.assertEqual((exchange, routing_key), ("", "work.parking"))
        self.assertEqual((copy.body, copy.properties().headers["pg-reason"]), (b"{}", "reply"))
        self.assertEqual(delivery.acks, 0)
        self.publisher.confirm()
        self.clock.advance(60)
        self.assertEqual(delivery.acks, 1)
        self.assertEqual(len(self.publisher.published), 2)
        self.assertEqual(counted(self.metrics.parked, "work", "reply"), 1)

    def test_broker_away(self) -> None:
        """While no reply can be published the delivery waits unacknowledged; then the same reply is published."""
        for error in (BrokerUnavailable("away"), BrokerBlocked("low on memory"), OutcomeUnknown("lost")):
            self.publisher.published.clear()
            delivery = self.answered()
            self.publisher.fail(error)
            self.clock.advance(60)
            self.assertEqual((delivery.acks, len(self.publisher.published)), (0, 1))
            self.publisher.waiting[-1].callback(None)
            self.assertEqual(len(self.publisher.published), 2)
            self.assertIs(self.publisher.published[1][0], self.publisher.published[0][0])
            self.assertEqual(delivery.acks, 0)
            self.publisher.confirm()
            self.assertEqual(delivery.acks, 1)

    def test_refused(self) -> None:
        """A reply that the broker refuses, as when its queue is full, is published again a second later."""
        delivery = self.answered()
        self.publisher.fail(Nacked("full"))
        self.clock.advance(0.9)
        self.assertEqual(len(self.publisher.published), 1)
        self.clock.advance(0.1)
        self.assertEqual(len(self.publisher.published), 2)
        self.publisher.confirm()
        self.assertEqual(delivery.acks, 1)
        self.assertEqual(len(self.model.calls), 1)

    def test_delivery_lost_meanwhile(self) -> None:
        """A delivery without an id that is lost while its reply waits is given up: the broker delivers it again."""
        delivery = self.serve(message_id=None)
        self.model.answer()
        self.publisher.fail(BrokerUnavailable("away"))
        delivery.is_lost = True
        self.publisher.waiting[-1].callback(None)
        self.assertEqual(len(self.publisher.published), 1)
        self.assertEqual(delivery.acks, 0)
        self.assertEqual(self.in_flight(), 0)

    def test_delivery_lost_during_the_call(self) -> None:
        """A delivery that is lost while the model works is answered all the same, and not acknowledged."""
        delivery = self.serve()
        delivery.is_lost = True
        self.model.answer()
        self.publisher.confirm()
        self.assertEqual(delivery.acks, 0)
        self.successResultOf(self.provider.idle())
        self.assertEqual(self.flushLoggedErrors(), [])


class BlackHoleTests(EndpointTestCase):
    """An address whose packets vanish."""

    def test_next_address(self) -> None:
        """A connect that nobody answers is given up after its time; the next address is tried, and the log says why."""
        connecting = self.connect(self.endpoint())
        for _ in range(int(HANDSHAKE_TIMEOUT)):
            self.assertEqual(self.ports(), [1001])
            self.reactor.advance(1)
        self.reactor.advance(0)
        self.assertEqual(self.ports(), [1001, 1002])
        self.assertIn("no answer within 10 s", [event.get("reason") for event in self.logged])
        self.accept().pump()
        self.successResultOf(connecting)
