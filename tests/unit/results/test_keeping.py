"""Records of requests that were published without one: they expire soon while their messages may be lost."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.defer import Deferred

from provider_gateway.errors import NoRoute, OutcomeUnknown, PublishRefused
from provider_gateway.message.message import Message
from provider_gateway.results.keeping import Keeping
from provider_gateway.results.unconfirmed import EXPIRES_AFTER
from provider_gateway.store.records import Record, Status
from tests.unit.results.base import NOW
from tests.unit.results.fake_broker import FakeBrokerTestCase

RECORD = Record(id="c1", owner="ann", routing_key="work", rquid="r1", created=NOW, expires=NOW + 3600)


class KeepingTests(FakeBrokerTestCase):
    """Requests that were published without a record, and whose callers got 504 with one."""

    def setUp(self) -> None:
        super().setUp()
        self.keeping = Keeping(self.store, self.submissions, self.unconfirmed)

    def again(self) -> None:
        message = Message(b"{}", correlation_id="c1", reply_to="response.host-1")
        self.keeping.publish_again(message, "ML.MQ", "work")

    def record(self, status: Status = Status.PENDING) -> None:
        self.store.records["c1"] = RECORD if status is Status.PENDING else replace(RECORD, status=status)

    def keep(self, *, is_confirmed: bool = False) -> None:
        self.assertTrue(self.successResultOf(self.keeping.keep(RECORD, is_confirmed=is_confirmed)))

    def left(self) -> float:
        """Seconds until the record expires."""
        return self.store.records["c1"].expires - NOW - self.clock.seconds()

    def test_again(self) -> None:
        """They are published again when the record is committed and the broker there, until they are confirmed."""
        adding: Deferred[None] = Deferred()
        self.patch(self.store, "add", lambda _: adding)
        kept = self.keeping.keep(RECORD, is_confirmed=False)
        self.again()
        self.record()
        adding.callback(None)
        self.assertTrue(self.successResultOf(kept))
        for number in range(2):
            self.assertEqual(len(self.publisher.published), number)
            self.clock.advance(1)
            self.publisher.waiting.pop().callback(None)
            if not number:
                self.publisher.fail(OutcomeUnknown("lost"))
        self.publisher.confirm()
        self.assertEqual([each[1:3] for each in self.publisher.published], [("ML.MQ", "work")] * 2)
        self.assertEqual((self.clock.getDelayedCalls(), self.store.records["c1"].status), ([], Status.PENDING))

    def test_refused(self) -> None:
        """If the broker refuses the message each time, the request has failed."""
        self.record()
        self.again()
        for _ in range(3):
            self.clock.advance(1)
            self.publisher.waiting.pop().callback(None)
            self.publisher.fail(PublishRefused("unreadable"))
        self.assertEqual([record.status for record in self.stored], [Status.FAILED])

    def test_not_again(self) -> None:
        """Nothing is done without a record, for nobody was promised anything; with an answer; or without the store."""
        self.again()
        self.record(Status.SUCCEEDED)
        self.again()
        self.store.go_away()
        self.again()
        self.clock.advance(60)
        self.assertEqual((self.publisher.published, self.publisher.waiting), ([], []))

    def test_confirmed(self) -> None:
        """A record whose message is confirmed expires in its time."""
        self.keep(is_confirmed=True)
        self.assertEqual((self.left(), self.clock.getDelayedCalls()), (3600, []))

    def test_unconfirmed(self) -> None:
        """Until the confirm comes, it is said again and again that the record is to live a little longer."""
        self.keep()
        self.assertEqual(self.left(), EXPIRES_AFTER)
        for _ in range(8):
            self.clock.advance(200)
            self.assertGreater(self.left(), EXPIRES_AFTER - 200)
            self.assertLessEqual(self.left(), EXPIRES_AFTER)
        self.keeping.published("c1", None)
        self.assertEqual((self.left(), self.clock.getDelayedCalls()), (2000, []))

    def test_no_longer_than_others(self) -> None:
        """The time of an unconfirmed record does not grow beyond that of others."""
        self.keep()
        for _ in range(24):
            self.clock.advance(150)
        self.assertEqual(self.left(), 0)

    def test_published_again(self) -> None:
        """A record whose message was published again until it was confirmed expires in its time."""
        self.keep()
        self.again()
        self.clock.advance(1)
        self.publisher.waiting.pop().callback(None)
        self.assertEqual(self.left(), EXPIRES_AFTER - 1)
        self.publisher.confirm()
        self.assertEqual((self.left(), self.clock.getDelayedCalls()), (3599, []))

    def test_not_accepted(self) -> None:
        """A request whose message the broker has refused, after its caller got 504, has failed."""
        self.keep()
        self.keeping.published("c1", NoRoute("nowhere"))
        self.assertEqual([(each.id, each.status) for each in self.stored], [("c1", Status.FAILED)])
        self.assertEqual((self.store.results["c1"].status, self.clock.getDelayedCalls()), (404, []))

    def test_store_away(self) -> None:
        """What the store could not note is noted once it is there."""
        self.keep()
        self.store.go_away()
        self.keeping.published("c1", None)
        self.assertEqual(self.left(), EXPIRES_AFTER)
        self.store.come_back()
        self.clock.advance(150)
        self.assertEqual((self.left(), self.clock.getDelayedCalls()), (3450, []))

    def test_others(self) -> None:
        """The outcome of a publish that has no record here changes nothing."""
        self.record()
        self.keeping.published("c1", None)
        self.keeping.published("c2", NoRoute("nowhere"))
        self.assertEqual((self.left(), self.stored), (3600, []))
