"""Replies that the broker refuses are published again, then replaced by an error reply; then the message is parked."""

from __future__ import annotations

import json

from provider_gateway.devbroker import channel
from tests.support.provider_on_broker import ProviderOnBrokerTestCase


class RefusedReplyTests(ProviderOnBrokerTestCase):
    """The broker closes the publishing channel over a reply that is too large for it."""

    def limit(self, size: int) -> None:
        """Let the broker refuse messages with more bytes."""
        self.patch(channel, "_MAX_MESSAGE_BYTES", size)

    def test_another_message_was_to_blame(self) -> None:
        """After one refusal the same reply is published again: another message may have been the cause."""
        self.limit(100)
        for number in (1, 2):
            self.ask(message_id=f"m{number}")
        self.model.answer(200, bytes(101), number=0)
        self.answer(200, b"[1]", number=1)
        self.assert_left(unacked=2)
        self.limit(1000)
        self.advance(1)
        self.assertEqual(
            [(reply.status, reply.body) for reply in self.take("back")], [(200, bytes(101)), (200, b"[1]")]
        )
        self.assert_left()

    def test_neighbours(self) -> None:
        """A reply that is always refused does not take others with it, however often their channel is closed."""
        self.limit(1000)
        for number in (1, 2, 3):
            self.ask(message_id=f"m{number}", correlation_id=f"c{number}")
        self.broker.faults.hold_confirms()
        self.model.answer(200, b"[1]", number=1)
        self.model.answer(200, bytes(1001), number=0)
        self.model.answer(200, b"[2]", number=2)
        self.broker.faults.release_confirms()
        self.advance(60)
        replies = self.take("back")
        told = {(reply.correlation_id, reply.status) for reply in replies}
        self.assertEqual(told, {("c1", 502), ("c2", 200), ("c3", 200)})
        self.assert_left()

    def test_stand_in(self) -> None:
        """After three refusals an error reply is published in place of the reply, and the delivery is acknowledged."""
        self.limit(1000)
        self.ask()
        self.answer(200, bytes(1001))
        self.advance(0.29)  # two channels were opened again, after 0.1 s and 0.2 s
        self.assert_left(unacked=1)
        self.advance(1)
        self.assert_left(back=1)
        reply = self.taken("back")
        self.assertEqual((reply.status, reply.headers["pg-reason"], reply.correlation_id), (502, "refused", "c1"))
        self.assertEqual(json.loads(reply.body)["rquid"], "r1")

    def test_nothing_is_taken(self) -> None:
        """If the error reply is refused as often, the message is parked, and acknowledged when that is confirmed."""
        self.limit(10)
        self.ask()
        self.answer(200, bytes(11))
        self.broker.faults.hold_confirms()
        self.advance(10)
        self.assert_left(unacked=1, parking=1)
        self.broker.faults.release_confirms()
        self.pump()
        self.assert_left(parking=1)
        parked = self.taken("work.parking")
        self.assertEqual((parked.body, parked.headers["pg-reason"], self.parked("refused")), (b"{}", "refused", 1))
        self.successResultOf(self.provider.idle())


class UndeliverableReplyTests(ProviderOnBrokerTestCase):
    """The reply cannot be published, for now or for good."""

    def test_nobody_takes_it(self) -> None:
        """A reply whose queue is deleted is given up: the message is parked, and nothing more is published."""
        self.ask()
        self.delete("back")
        self.answer()
        self.make_queue("back")
        self.advance(60)
        self.assert_left(parking=1)
        parked = self.taken("work.parking")
        self.assertEqual((parked.body, parked.headers["pg-reason"], self.parked("reply")), (b"{}", "reply", 1))

    def test_broker_away(self) -> None:
        """While the broker is away, the delivery stays unacknowledged. Then the reply is published."""
        self.ask()
        self.lose(self.publishing)
        self.answer()
        self.advance(60)
        self.assert_left(unacked=1)
        self.open_publisher()
        self.assert_left(back=1)

    def test_blocked(self) -> None:
        """The same while the broker blocks publishers."""
        self.ask()
        self.broker.faults.block()
        self.pump()
        self.answer()
        self.advance(60)
        self.assert_left(unacked=1)
        self.broker.faults.unblock()
        self.pump()
        self.assert_left(back=1)

    def test_outcome_unknown(self) -> None:
        """A reply whose confirm was lost with the connection is published again with the same message id."""
        self.ask()
        self.broker.faults.swallow_confirms()
        self.answer()
        self.lose(self.publishing)
        self.assert_left(unacked=1, back=1)
        self.open_publisher()
        self.assert_left(back=2)
        self.assertEqual(len({reply.message_id for reply in self.take("back")}), 1)

    def test_refused(self) -> None:
        """A reply that is nacked, because its queue is full, is published again a second later."""
        self.delete("back")
        self.make_queue("back", **{"x-max-length": 1, "x-overflow": "reject-publish"})
        self.put("", "back")
        self.ask()
        self.answer()
        self.take("back")
        self.advance(0.9)
        self.assert_left(unacked=1)
        self.advance(0.1)
        self.assert_left(back=1)
        self.assertEqual(len(self.model.calls), 1)

    def test_delivery_lost_meanwhile(self) -> None:
        """A message without an id is given up if its delivery is lost meanwhile: the broker delivers it again."""
        self.ask(message_id=None)
        self.lose(self.publishing)
        self.answer()
        self.lose(self.consuming)
        self.open_publisher()
        self.assert_left(ready=1)
        self.assertEqual(self.in_flight(), 0)

    def test_delivery_lost_during_the_call(self) -> None:
        """If the delivery is lost during the model call, the reply is published, and nothing is acknowledged."""
        self.ask()
        self.lose(self.consuming)
        self.answer()
        self.assert_left(ready=1, back=1)
        self.successResultOf(self.provider.idle())
        self.assertEqual(self.flushLoggedErrors(), [])
