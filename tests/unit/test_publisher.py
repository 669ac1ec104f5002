"""What becomes of each publish: confirmed, returned, refused, unknown, or never sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pika import spec
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.amqp.publisher import Publisher
from provider_gateway.errors import BrokerBlocked, BrokerUnavailable, Nacked, NoRoute, OutcomeUnknown, PublishRefused
from provider_gateway.messages import Message
from provider_gateway.metrics import Metrics
from tests.unit.amqp_peer import Peer, open_peer, run

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    from provider_gateway.amqp.session import Session


class PublisherTestCase(SynchronousTestCase):
    """A publisher on an open session."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.declared = 0
        self.publisher = Publisher(self.declare, max_unsent=1000, clock=self.clock, metrics=self.metrics)
        self.peer = self.opened()

    async def declare(self, _session: Session) -> None:
        self.declared += 1

    def opened(self) -> Peer:
        """A new session that the publisher is open on."""
        peer = open_peer(self.clock)
        run(peer, self.publisher.open(peer.protocol))
        return peer

    def publish(self, body: bytes = b"1", routing_key: str = "predict.now") -> Deferred[None]:
        published = self.publisher.publish(Message(body), "ML.MQ", routing_key)
        self.peer.pump()
        return published

    def confirm(self, tag: int, *, multiple: bool = False) -> None:
        self.peer.send(spec.Basic.Ack(tag, multiple), self.peer.published[-1].channel)

    def outcomes(self) -> dict[str, float]:
        """How often each outcome was counted."""
        return {
            sample.labels["outcome"]: sample.value
            for metric in self.metrics.published.collect()
            for sample in metric.samples
            if sample.name.endswith("_total") and sample.labels["exchange"] == "ML.MQ"
        }


class OutcomeTests(PublisherTestCase):
    """What the broker says, and what the publish makes of it."""

    def test_what_is_sent(self) -> None:
        """A message goes out mandatory and persistent, with its ids and headers, on a channel with confirms."""
        message = Message(b"{}", {"RqUID": "r"}, correlation_id="c", reply_to="q", message_id="m")
        self.publisher.publish(message, "ML.MQ", "predict.now")
        self.peer.pump()
        (sent,) = self.peer.published
        self.assertEqual((sent.method.exchange, sent.method.routing_key), ("ML.MQ", "predict.now"))
        self.assertTrue(sent.method.mandatory)
        self.assertEqual(sent.body, b"{}")
        properties = sent.properties
        self.assertEqual(properties.delivery_mode, 2)
        self.assertEqual((properties.message_id, properties.correlation_id, properties.reply_to), ("m", "c", "q"))
        self.assertEqual(properties.headers, {"RqUID": "r"})
        self.assertEqual(sent.channel, self.peer.channel_of(spec.Confirm.Select))

    def test_confirmed(self) -> None:
        """A publish succeeds when its confirm arrives, and not before."""
        published = self.publish()
        self.assertNoResult(published)
        self.confirm(1)
        self.assertIsNone(self.successResultOf(published))
        self.assertEqual(self.outcomes(), {"confirmed": 1})

    def test_confirmed_together(self) -> None:
        """One confirm with ``multiple`` settles every publish up to it, and no later one."""
        published = [self.publish() for _ in range(4)]
        self.confirm(3, multiple=True)
        for each in published[:3]:
            self.successResultOf(each)
        self.assertNoResult(published[3])
        self.assertEqual(self.outcomes(), {"confirmed": 3})

    def test_returned(self) -> None:
        """A returned message fails as NoRoute once its confirm arrives; the text names key and exchange."""
        published = self.publish(routing_key="nowhere")
        self.peer.give_back(self.peer.published[0])
        self.assertNoResult(published)
        self.confirm(1)
        text = str(self.failureResultOf(published, NoRoute).value)
        self.assertIn("'nowhere'", text)
        self.assertIn("'ML.MQ'", text)
        self.assertEqual(self.outcomes(), {"returned": 1})

    def test_returned_among_others(self) -> None:
        """A return is charged to the message that came back, whatever else is in flight."""
        published = [self.publish(str(number).encode()) for number in range(10)]
        self.peer.give_back(self.peer.published[3])
        self.peer.give_back(self.peer.published[7])
        self.confirm(10, multiple=True)
        for number, each in enumerate(published):
            if number in {3, 7}:
                self.failureResultOf(each, NoRoute)
            else:
                self.successResultOf(each)
        self.assertEqual(self.outcomes(), {"confirmed": 8, "returned": 2})

    def test_returned_then_others_confirmed_first(self) -> None:
        """Confirms of other messages between a return and its own confirm are not taken for it."""
        first, second, third = (self.publish() for _ in range(3))
        self.peer.give_back(self.peer.published[2])
        self.confirm(1)
        self.successResultOf(first)
        self.confirm(2)
        self.successResultOf(second)
        self.assertNoResult(third)
        self.confirm(3)
        self.failureResultOf(third, NoRoute)

    def test_refused(self) -> None:
        """A nack, as of a full queue, fails as Nacked."""
        published = self.publish()
        self.peer.send(spec.Basic.Nack(1), self.peer.published[0].channel)
        self.failureResultOf(published, Nacked)
        self.assertEqual(self.outcomes(), {"nacked": 1})

    def test_lost_before_the_confirm(self) -> None:
        """Publishes without a confirm fail as OutcomeUnknown when the connection breaks; confirmed ones do not."""
        confirmed, *unconfirmed = (self.publish() for _ in range(3))
        self.confirm(1)
        self.peer.lose()
        self.successResultOf(confirmed)
        for each in unconfirmed:
            self.failureResultOf(each, OutcomeUnknown)
        self.assertEqual(self.outcomes(), {"confirmed": 1, "unknown": 2})

    def test_cancelled(self) -> None:
        """Cancelling a publish leaves the message alone: its confirm and those of others are taken as usual."""
        cancelled, other = self.publish(), self.publish()
        cancelled.cancel()
        self.failureResultOf(cancelled)
        self.confirm(2, multiple=True)
        self.successResultOf(other)
        self.assertEqual(self.outcomes(), {"confirmed": 2})
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_cancelled_and_returned(self) -> None:
        """A cancelled publish that comes back leaves no unhandled error."""
        cancelled = self.publish()
        cancelled.cancel()
        self.failureResultOf(cancelled)
        self.peer.give_back(self.peer.published[0])
        self.confirm(1)
        self.assertEqual(self.outcomes(), {"returned": 1})
        self.assertEqual(self.flushLoggedErrors(), [])


class ReadinessTests(PublisherTestCase):
    """Publishing while the broker is away or does not want messages."""

    def test_never_opened(self) -> None:
        """Without a session nothing is sent, and the publish fails as BrokerUnavailable."""
        publisher = Publisher(self.declare, max_unsent=1000, clock=self.clock, metrics=self.metrics)
        self.assertFalse(publisher.is_ready)
        self.failureResultOf(publisher.publish(Message(b""), "", "q"), BrokerUnavailable)

    def test_after_the_loss(self) -> None:
        """After a loss nothing is sent, and the publish fails as BrokerUnavailable."""
        self.peer.lose()
        self.assertFalse(self.publisher.is_ready)
        self.failureResultOf(self.publish(), BrokerUnavailable)
        self.assertEqual(self.outcomes(), {})

    def test_blocked(self) -> None:
        """While the broker blocks publishers nothing is sent, and the publish fails as BrokerBlocked."""
        self.peer.send(spec.Connection.Blocked("low on disk"))
        self.assertFalse(self.publisher.is_ready)
        self.failureResultOf(self.publish(), BrokerBlocked)
        self.assertEqual(self.peer.published, [])

    def test_blocked_with_publishes_in_flight(self) -> None:
        """Publishes that were sent before the block are still confirmed during it."""
        published = self.publish()
        self.peer.send(spec.Connection.Blocked("low on disk"))
        self.assertNoResult(published)
        self.confirm(1)
        self.successResultOf(published)

    def test_when_ready_at_once(self) -> None:
        """when_ready() has fired already if a publish would be sent."""
        self.successResultOf(self.publisher.when_ready())

    def test_when_ready_after_unblocking(self) -> None:
        """when_ready() fires when the broker takes messages again."""
        self.peer.send(spec.Connection.Blocked("low on disk"))
        waiting = self.publisher.when_ready()
        self.assertNoResult(waiting)
        self.peer.send(spec.Connection.Unblocked())
        self.successResultOf(waiting)
        self.assertTrue(self.publisher.is_ready)

    def test_when_ready_after_reopening(self) -> None:
        """when_ready() fires when the publisher is open on a new session, and publishes go there."""
        self.peer.lose()
        waiting = self.publisher.when_ready()
        self.assertNoResult(waiting)
        self.peer = self.opened()
        self.successResultOf(waiting)
        published = self.publish()
        self.confirm(1)
        self.successResultOf(published)

    def test_cancelled_wait(self) -> None:
        """A cancelled wait is forgotten; the others still fire."""
        self.peer.lose()
        cancelled, other = self.publisher.when_ready(), self.publisher.when_ready()
        cancelled.cancel()
        self.failureResultOf(cancelled)
        self.opened()
        self.successResultOf(other)

    def test_publish_again_from_the_failure(self) -> None:
        """A caller that publishes again within the failure of its confirm is refused, and pika is not entered again."""
        again: list[Deferred[None]] = []

        def publish_again(_: Failure) -> None:
            again.append(self.publisher.publish(Message(b"2"), "ML.MQ", "predict.now"))

        for _ in range(3):
            self.publish().addErrback(publish_again)
        self.peer.lose()
        self.assertEqual(len(again), 3)
        for each in again:
            self.failureResultOf(each, BrokerUnavailable)

    def test_publish_again_from_the_failure_of_a_closed_channel(self) -> None:
        """The same holds when it was the channel that the broker closed, not the connection."""
        again: list[Deferred[None]] = []
        self.publish().addErrback(lambda _: again.append(self.publisher.publish(Message(b"2"), "ML.MQ", "a")))
        self.peer.send(spec.Channel.Close(404, "NOT_FOUND", 60, 40), self.peer.published[0].channel)
        self.failureResultOf(again[0], BrokerUnavailable)

    def test_channel_closed_by_the_broker(self) -> None:
        """A message that closes the channel ends the publishes on it; another channel is opened after declaring."""
        both = self.publish(), self.publish()
        self.close_channel()
        for each in both:
            self.assertIn("no exchange", self.failureResultOf(each, PublishRefused).value.detail)
        self.assertEqual(self.outcomes(), {"unknown": 2})
        self.assertFalse(self.publisher.is_ready)
        ready = self.publisher.when_ready()
        self.clock.advance(0.1)
        self.peer.pump()
        self.successResultOf(ready)
        self.assertEqual((self.declared, self.peer.sent(spec.Connection.Close)), (2, []))
        published = self.publish()
        self.confirm(1)
        self.successResultOf(published)

    def test_channel_closed_again_and_again(self) -> None:
        """A message that is refused again and again is waited for longer and longer, until something is confirmed."""
        for seconds in (0.1, 0.2, 0.4, 0.8):
            self.publish().addErrback(lambda _: None)
            self.close_channel()
            self.clock.advance(seconds - 0.01)
            self.peer.pump()
            self.assertFalse(self.publisher.is_ready)
            self.clock.advance(0.01)
            self.peer.pump()
            self.assertTrue(self.publisher.is_ready)
        self.publish()
        self.confirm(1)
        self.publish().addErrback(lambda _: None)
        self.close_channel()
        self.clock.advance(0.1)
        self.peer.pump()
        self.assertTrue(self.publisher.is_ready)

    def close_channel(self) -> None:
        closed = spec.Channel.Close(404, "no exchange 'ML.MQ'", 60, 40)
        self.peer.send(closed, self.peer.published[-1].channel)
