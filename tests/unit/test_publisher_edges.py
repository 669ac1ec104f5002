"""Publishing to exchanges that are gone, copies that come back, and declaring once more what is missing."""

from __future__ import annotations

from pika import spec
from pika.exceptions import AMQPError
from twisted.internet.defer import Deferred

from provider_gateway.amqp.session import ConnectionLost, Session
from provider_gateway.copies import Copy, History
from provider_gateway.errors import NoRoute, PublishRefused, TopologyError
from provider_gateway.messages import Message
from tests.unit.test_properties import decoded
from tests.unit.test_publisher import PublisherTestCase


class ReturnedTwiceTests(PublisherTestCase):
    """A message that is published again before its first publish is confirmed."""

    def test_both(self) -> None:
        """Both publishes were returned, and both say so."""
        message = Message(b"1", message_id="m")
        both = [self.publisher.publish(message, "ML.MQ", "predict.now") for _ in range(2)]
        self.peer.pump()
        for sent in self.peer.published:
            self.peer.give_back(sent)
        self.confirm(2, multiple=True)
        for each in both:
            self.failureResultOf(each, NoRoute)
        self.assertEqual(self.outcomes(), {"returned": 2})


class MissingExchangeTests(PublisherTestCase):
    """The broker closes the channel with 404."""

    def close(self, code: int = 404) -> None:
        """Close the channel, and let the next one open."""
        self.peer.send(
            spec.Channel.Close(code, "NOT_FOUND - no exchange 'ML.MQ'", 60, 40), self.peer.published[-1].channel
        )
        self.clock.advance(15)
        self.peer.pump()
        self.assertTrue(self.publisher.is_ready)

    def test_only_one(self) -> None:
        """With one unconfirmed publish it is clear which was refused: it has no route, and was not accepted."""
        published = self.publish()
        self.close()
        self.assertIn("no exchange 'ML.MQ'", self.failureResultOf(published, NoRoute).value.detail)
        self.assertEqual(self.outcomes(), {"returned": 1})

    def test_several(self) -> None:
        """With several, any of them may have been accepted before."""
        both = self.publish(), self.publish()
        self.close()
        for each in both:
            self.failureResultOf(each, PublishRefused)
        self.assertEqual(self.outcomes(), {"unknown": 2})

    def test_one_left(self) -> None:
        """Publishes that were confirmed, returned or refused do not count as unconfirmed."""
        settled = [self.publish() for _ in range(3)]
        last = self.publish()
        self.peer.give_back(self.peer.published[1])
        self.confirm(2, multiple=True)
        self.peer.send(spec.Basic.Nack(3), self.peer.published[-1].channel)
        for each in settled:
            each.addErrback(lambda _: None)
        self.close()
        self.failureResultOf(last, NoRoute)

    def test_cancelled(self) -> None:
        """A publish that nobody waits for any more still counts as unconfirmed."""
        cancelled, last = self.publish(), self.publish()
        cancelled.cancel()
        self.failureResultOf(cancelled)
        self.close()
        self.failureResultOf(last, PublishRefused)

    def test_other_codes(self) -> None:
        """Other refusals say nothing about a route."""
        published = self.publish()
        self.close(406)
        self.failureResultOf(published, PublishRefused)

    def test_next_channel(self) -> None:
        """Each channel counts from nothing; so does each session."""
        for each in (self.publish(), self.publish()):
            each.addErrback(lambda _: None)
        self.close()
        published = self.publish()
        self.close()
        self.failureResultOf(published, NoRoute)
        for each in (self.publish(), self.publish()):
            each.addErrback(lambda _: None)
        self.peer.lose()
        self.peer = self.opened()
        published = self.publish()
        self.close()
        self.failureResultOf(published, NoRoute)


class ReturnedCopyTests(PublisherTestCase):
    """Copies have the message id of their original, so that is not what they are told by."""

    def publish_copy(self) -> Deferred[None]:
        original = Message.received(decoded(b"", message_id="m"), b"1")
        published = self.publisher.publish(Copy.of(original, "work", History(), "timeout"), "ML.MQ", "work.retry")
        self.peer.pump()
        return published

    def test_same_message_id(self) -> None:
        """Of two copies with one message id, the one that came back fails, and no other."""
        for number in (0, 1):
            both = [self.publish_copy(), self.publish_copy()]
            first = len(self.peer.published) - 1
            self.peer.give_back(self.peer.published[first - 1 + number])
            self.confirm(first + 1, multiple=True)
            self.failureResultOf(both[number], NoRoute)
            self.successResultOf(both[1 - number])

    def test_beside_others(self) -> None:
        """Messages without that header are told by their message id, beside copies."""
        message = self.publisher.publish(Message(b"", message_id="m"), "ML.MQ", "predict.now")
        copy = self.publish_copy()
        self.peer.give_back(self.peer.published[0])
        self.confirm(2, multiple=True)
        self.failureResultOf(message, NoRoute)
        self.successResultOf(copy)

    def test_without_headers(self) -> None:
        """A return that has no headers at all is told by its message id."""
        published = self.publish()
        returned = self.peer.published[0]
        returned.properties = spec.BasicProperties(message_id=returned.properties.message_id)
        self.peer.give_back(returned)
        self.confirm(1)
        self.failureResultOf(published, NoRoute)


class RestoreTests(PublisherTestCase):
    """Declaring once more."""

    def setUp(self) -> None:
        self.declarations: list[Deferred[None]] | None = None
        super().setUp()

    async def declare(self, session: Session) -> None:
        await super().declare(session)
        if self.declarations is not None:
            self.declarations.append(Deferred())
            await self.declarations[-1]

    def restore(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.publisher.restore())

    def test_declares(self) -> None:
        """Everything is declared again, on the session there is; publishing goes on meanwhile."""
        self.declarations = []
        restoring = self.restore()
        self.assertEqual((self.declared, self.publisher.is_ready), (2, True))
        self.assertNoResult(restoring)
        self.declarations[0].callback(None)
        self.successResultOf(restoring)

    def test_one_at_a_time(self) -> None:
        """Who asks while it is under way does not start it again; afterwards it can be started again."""
        self.declarations = []
        first = self.restore()
        self.successResultOf(self.restore())
        self.assertEqual(self.declared, 2)
        self.declarations[0].callback(None)
        self.successResultOf(first)
        self.restore()
        self.assertEqual(self.declared, 3)

    def test_failures(self) -> None:
        """A failure is logged, not raised, and the next time it is tried again."""
        for count, error in enumerate((TopologyError("no"), AMQPError("no"), ConnectionLost("no")), 2):
            self.declarations = []
            restoring = self.restore()
            self.declarations[0].errback(error)
            self.successResultOf(restoring)
            self.assertEqual(self.declared, count)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_no_session(self) -> None:
        """Without a session there is nothing to declare on."""
        self.peer.lose()
        self.successResultOf(self.restore())
        self.assertEqual(self.declared, 1)


class SessionTests(PublisherTestCase):
    """Sessions that follow one another."""

    def test_loss_of_an_older_session(self) -> None:
        """The end of a session that was replaced does not stop publishing on the newer one."""
        older, self.peer = self.peer, self.opened()
        older.lose()
        self.assertTrue(self.publisher.is_ready)
        published = self.publish()
        self.confirm(1)
        self.successResultOf(published)
