"""Publishing to missing exchanges, returned copies, declaring once more, and replaced sessions."""

from __future__ import annotations

from pika.exceptions import AMQPError
from twisted.internet.defer import Deferred

from provider_gateway.amqp.session import ConnectionLost, Session
from provider_gateway.errors import NoRoute, PublishRefused, TopologyError
from provider_gateway.message.copies import Copy, History
from provider_gateway.message.message import Message
from tests.support.header_tables import decoded
from tests.unit.amqp.base import PublisherTestCase


class MissingExchangeTests(PublisherTestCase):
    """The broker closes the channel with 404."""

    def publish_nowhere(self, exchange: str = "none") -> Deferred[None]:
        """Publish to an exchange that is missing, and let the next channel open."""
        published = self.publish(exchange=exchange)
        self.advance(15)
        self.assertTrue(self.publisher.is_ready)
        return published

    def test_only_one(self) -> None:
        """A single unconfirmed publish is certainly the refused one: it fails with NoRoute."""
        published = self.publish_nowhere()
        self.assertIn("no exchange 'none'", self.failureResultOf(published, NoRoute).value.detail)
        self.assertEqual(self.outcomes(), {"returned": 1})

    def test_several(self) -> None:
        """With several unconfirmed publishes, any of them may have been accepted."""
        self.faults.hold_confirms()
        both = self.publish(), self.publish_nowhere()
        for each in both:
            self.failureResultOf(each, PublishRefused)
        self.assertEqual((self.outcomes(), self.waiting("work")), ({"unknown": 2}, 1))

    def test_one_left(self) -> None:
        """Publishes that were confirmed, returned or nacked do not count as unconfirmed."""
        self.publish()
        self.failureResultOf(self.publish(routing_key="nowhere"))
        self.faults.nack_publishes()
        self.failureResultOf(self.publish())
        self.failureResultOf(self.publish_nowhere(), NoRoute)

    def test_cancelled(self) -> None:
        """A cancelled publish counts as unconfirmed."""
        self.faults.hold_confirms()
        cancelled = self.publish()
        cancelled.cancel()
        self.failureResultOf(cancelled)
        self.failureResultOf(self.publish_nowhere(), PublishRefused)

    def test_other_codes(self) -> None:
        """A refusal with another code, for example of an internal exchange (403), is not NoRoute."""
        self.other().exchange_declare("internal", "fanout", internal=True)
        self.pump()
        self.failureResultOf(self.publish_nowhere("internal"), PublishRefused)

    def test_next_channel(self) -> None:
        """Each channel and each session begins without unconfirmed publishes."""
        self.faults.hold_confirms()
        for each in (self.publish(), self.publish_nowhere()):
            each.addErrback(lambda _: None)
        self.failureResultOf(self.publish_nowhere(), NoRoute)
        for each in (self.publish(), self.publish()):
            each.addErrback(lambda _: None)
        self.lose(self.session)
        self.opened()
        self.failureResultOf(self.publish_nowhere(), NoRoute)


class ReturnedTests(PublisherTestCase):
    """How a return is matched: several messages may have the same message id."""

    def publish_copy(self, routing_key: str) -> Deferred[None]:
        original = Message.received(decoded(b"", message_id="m").encoded, b"1")
        published = self.publisher.publish(Copy.of(original, "work", History(), "timeout"), "ML.MQ", routing_key)
        self.pump()
        return published

    def test_copies(self) -> None:
        """Of two copies with the same message id, only the returned one fails."""
        for keys in (("nowhere", "predict.now"), ("predict.now", "nowhere")):
            self.faults.hold_confirms()
            both = dict(zip(keys, map(self.publish_copy, keys), strict=True))
            self.release(multiple=True)
            self.failureResultOf(both["nowhere"], NoRoute)
            self.successResultOf(both["predict.now"])

    def test_beside_others(self) -> None:
        """Messages without ``pg-copy`` are matched by their message id, also beside copies."""
        self.faults.hold_confirms()
        message, copy = self.publish(routing_key="nowhere", message_id="m"), self.publish_copy("predict.now")
        self.release(multiple=True)
        self.failureResultOf(message, NoRoute)
        self.successResultOf(copy)

    def test_published_twice(self) -> None:
        """If a message is published twice and returned twice, both publishes fail with NoRoute."""
        self.faults.hold_confirms()
        both = [self.publish(routing_key="nowhere", message_id="m") for _ in range(2)]
        self.release(multiple=True)
        for each in both:
            self.failureResultOf(each, NoRoute)
        self.assertEqual(self.outcomes(), {"returned": 2})


class RestoreTests(PublisherTestCase):
    """restore()."""

    def setUp(self) -> None:
        self.declarations: list[Deferred[None]] | None = None
        super().setUp()

    async def declare(self, session: Session) -> None:
        if self.declarations is None:
            await super().declare(session)
        else:
            self.declared += 1
            self.declarations.append(Deferred())
            await self.declarations[-1]

    def restore(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.publisher.restore())

    def test_declares(self) -> None:
        """restore() declares everything on the open session. Publishing goes on meanwhile."""
        self.declarations = []
        restoring = self.restore()
        self.assertEqual((self.declared, self.publisher.is_ready), (2, True))
        self.assertNoResult(restoring)
        self.declarations[0].callback(None)
        self.successResultOf(restoring)

    def test_one_at_a_time(self) -> None:
        """restore() does nothing while another one is under way. Afterwards it declares again."""
        self.declarations = []
        first = self.restore()
        self.successResultOf(self.restore())
        self.assertEqual(self.declared, 2)
        self.declarations[0].callback(None)
        self.successResultOf(first)
        self.restore()
        self.assertEqual(self.declared, 3)

    def test_failures(self) -> None:
        """A failure is logged, not raised. The next restore() declares again."""
        for count, error in enumerate((TopologyError("no"), AMQPError("no"), ConnectionLost("no")), 2):
            self.declarations = []
            restoring = self.restore()
            self.declarations[0].errback(error)
            self.successResultOf(restoring)
            self.assertEqual(self.declared, count)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_no_session(self) -> None:
        """Without a session, restore() does nothing."""
        self.lose(self.session)
        self.successResultOf(self.restore())
        self.assertEqual(self.declared, 1)


class SessionTests(PublisherTestCase):
    """Sessions that follow one another."""

    def test_loss_of_an_older_session(self) -> None:
        """The loss of a replaced session does not stop publishing on the newer one."""
        older, self.session = self.session, self.opened()
        self.lose(older)
        self.assertTrue(self.publisher.is_ready)
        self.successResultOf(self.publish())
