"""Brokers that refuse or swallow: replies that the broker does not take, addresses that never answer."""

from __future__ import annotations

import json

from provider_gateway.amqp.endpoint import HANDSHAKE_TIMEOUT
from provider_gateway.errors import PublishRefused
from tests.unit.test_endpoint import EndpointTestCase
from tests.unit.test_provider import ProviderTestCase


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
        """If the small one is refused as often, publishing ends; the delivery stays unacknowledged."""
        delivery = self.serve()
        self.model.answer(200, b"[1]")
        for _ in range(6):
            self.refuse()
        self.assertEqual((len(self.publisher.published), delivery.acks), (6, 0))
        self.successResultOf(self.provider.idle())


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
