"""A message that is published alone: what waits for what, and for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError

from provider_gateway.errors import BrokerUnavailable, PublishRefused
from provider_gateway.message.message import Message
from tests.unit.amqp.base import PublisherTestCase

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred


class AloneTests(PublisherTestCase):
    """``Publisher.publish_alone``."""

    def alone(self, body: bytes = b"alone") -> Deferred[None]:
        published = self.publisher.publish_alone(Message(body), "ML.MQ", "predict.now")
        self.pump()
        return published

    def bodies(self) -> list[bytes]:
        return [message.body for message in self.take("work")]

    def test_quiet(self) -> None:
        """With no other message unconfirmed, it is sent at once."""
        self.successResultOf(self.alone())
        self.assertEqual(self.bodies(), [b"alone"])

    def test_before(self) -> None:
        """It waits for the confirms of the messages before it."""
        self.faults.hold_confirms()
        before = self.publish(b"before")
        alone = self.alone()
        self.assertEqual(self.bodies(), [b"before"])
        self.release()
        self.successResultOf(before)
        self.successResultOf(alone)
        self.assertEqual(self.bodies(), [b"alone"])

    def test_after(self) -> None:
        """Messages after it wait for its confirm, and have outcomes of their own."""
        self.faults.hold_confirms()
        alone = self.alone()
        after = [self.publish(b"after"), self.publish(b"nowhere", "nowhere")]
        self.assertEqual(self.bodies(), [b"alone"])
        self.release()
        self.successResultOf(alone)
        self.successResultOf(after[0])
        self.failureResultOf(after[1])
        self.assertEqual(self.bodies(), [b"after"])

    def test_refused(self) -> None:
        """If it is refused, it is certainly to blame, and the messages after it were not sent."""
        self.faults.refusal = lambda body: 541 if body == b"alone" else 0
        self.faults.hold_confirms()
        before = self.publish(b"before")
        alone = self.alone()
        after = self.publish(b"after")
        self.release()
        self.successResultOf(before)
        self.assertTrue(self.failureResultOf(alone, PublishRefused).value.is_certain)
        self.failureResultOf(after, BrokerUnavailable)
        self.assertEqual(self.bodies(), [b"before"])

    def test_slow_confirms(self) -> None:
        """Nobody waits longer than a second for confirms before it, and one more for its own."""
        self.faults.hold_confirms()
        self.publish(b"before")
        alone = self.alone()
        after = self.publish(b"after")
        self.advance(0.9)
        self.assertEqual(self.bodies(), [b"before"])
        self.advance(0.2)
        self.assertEqual(self.bodies(), [b"alone"])
        self.advance(1)
        self.assertEqual(self.bodies(), [b"after"])
        self.release()
        for each in (alone, after):
            self.successResultOf(each)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_connection_lost(self) -> None:
        """If the connection is lost while it waits, it and the messages after it fail at once: nothing was sent."""
        self.faults.hold_confirms()
        self.publish(b"before").addErrback(lambda _: None)
        both = [self.alone(), self.publish(b"after")]
        self.lose(self.session)
        for each in both:
            self.failureResultOf(each, BrokerUnavailable)
        self.release()
        self.opened()
        self.successResultOf(self.publish())

    def test_cancelled(self) -> None:
        """If it is cancelled, or a message that waits for it, the others go on."""
        self.faults.hold_confirms()
        alone, cancelled, after = self.alone(), self.publish(b"cancelled"), self.publish(b"after")
        cancelled.cancel()
        alone.cancel()
        for each in (alone, cancelled):
            self.failureResultOf(each, CancelledError)
        self.pump()
        self.assertEqual(self.bodies(), [b"alone", b"after"])
        self.release()
        self.successResultOf(after)

    def test_ready_just_now(self) -> None:
        """Of those that waited for the publisher, it is sent last: the others have outcomes of their own."""
        self.lose(self.session)
        self.faults.refusal = lambda body: 501 if body == b"alone" else 0
        outcomes = []
        for publish, body in ((self.publisher.publish_alone, b"alone"), (self.publisher.publish, b"other")):
            ready = self.publisher.when_ready()
            ready.addCallback(lambda _, publish=publish, body=body: publish(Message(body), "ML.MQ", "predict.now"))
            outcomes.append(ready)
        self.session = self.opened()
        self.failureResultOf(outcomes[0], PublishRefused)
        self.successResultOf(outcomes[1])
