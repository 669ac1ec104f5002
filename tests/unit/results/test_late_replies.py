"""Late replies: forwarded to the results queue with a confirm, and then acknowledged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pika
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger

from provider_gateway.amqp.consumer import Consumer
from provider_gateway.errors import Nacked
from provider_gateway.message.ids import fresh_id
from provider_gateway.results import late_replies
from provider_gateway.store.records import Status
from tests.unit.results.base import QUEUE, ResultsTestCase

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider_gateway.amqp.consumer import Delivery

MINE = "response.host-1"


class LateReplyTests(ResultsTestCase):
    """Replies at the queue of an instance for which no caller waits."""

    def setUp(self) -> None:
        super().setUp()
        self.make_queue(MINE)
        self.matched = 0
        self.consume()

    def consume(self) -> None:
        async def declare(_: object) -> None:
            pass

        consumer = Consumer(MINE, prefetch=1000, declare=declare, deliver=self.deliver, clock=self.clock)
        self.results.replies.late.on_many = consumer.renew
        self.run_(consumer.open(self.one.consuming))
        self.pump()

    def deliver(self, delivery: Delivery) -> None:
        """As the RPC client does: a caller waits for the reply to "awaited", and for no other one."""
        if delivery.message.correlation_id == "awaited":
            self.matched += 1
            delivery.ack()
        else:
            self.results.replies.late.forward(delivery)

    def assert_none_left(self) -> None:
        self.assertEqual((self.waiting(MINE), self.unacked(MINE)), (0, 0))
        self.assert_left()

    def test_stored(self) -> None:
        """A late reply is stored as one that came to the results queue, and leaves the instance's queue."""
        id_ = self.pending().id
        self.reply(id_, b"\x00\xff", MINE, X_Model="m")
        self.assertEqual((self.status(id_), self.store.results[id_].body), (Status.SUCCEEDED, b"\x00\xff"))
        self.assertEqual(dict(self.store.results[id_].headers), {"X-Model": "m"})
        self.assert_none_left()

    def test_acknowledged_after_the_confirm(self) -> None:
        """It stays at the broker until the confirm; if the connection is lost before, it is forwarded again."""
        id_ = self.pending().id
        confirm: Deferred[None] = Deferred()
        self.patch(self.one.publisher, "publish", lambda *_: confirm)
        self.reply(id_, queue=MINE)
        self.assertEqual(self.unacked(MINE), 1)
        confirm.callback(None)
        self.pump()
        self.assertEqual(self.unacked(MINE), 0)

    def test_as_it_arrived(self) -> None:
        """Any properties and headers arrive as they were; those by which the broker acts do not."""
        id_, other = self.pending().id, "response.results"
        self.lose(self.one.consuming)
        self.one.consuming = self.connect()
        self.consume()
        headers = {"X-A": "\u00e9", "n": 2**40, "t": {"a": [1, None]}, "x-death": [{"count": 1}]}
        properties = pika.BasicProperties(
            "text/plain", "gzip", headers, 1, correlation_id=id_, expiration="60000", message_id="same", type="t"
        )
        self.other().basic_publish("", MINE, b"body", properties)
        self.pump()
        self.advance(120)
        (message,) = self.take(other)
        self.assertEqual(
            (message.body, message.content_type, message.content_encoding), (b"body", "text/plain", "gzip")
        )
        self.assertEqual(message.headers, {"X-A": "\u00e9", "n": 2**40, "t": {"a": [1, None]}})

    def test_record_is_being_made(self) -> None:
        """A reply that comes while the record of its 504 is being committed is forwarded after that.

        A foreign worker's reply has no header of ours: without the record it would be dropped.
        """
        record = self.record()
        self.patch(self.store, "add", self.later_added)
        kept = self.results.keeping.keep(record, is_confirmed=True)
        self.reply(record.id, queue=MINE)
        self.assertEqual(self.unacked(MINE), 1)
        self.add()
        self.pump()
        self.assertTrue(self.successResultOf(kept))
        self.assertEqual(self.status(record.id), Status.SUCCEEDED)
        self.assert_none_left()

    def later_added(self, record: object) -> Deferred[None]:
        self.adding: Deferred[None] = Deferred()
        self.added = record
        return self.adding

    def add(self) -> None:
        self.store.records[self.added.id] = self.added  # type: ignore[attr-defined, assignment] # a record
        self.adding.callback(None)

    def test_store_away(self) -> None:
        """While the store is away, late replies leave the instance's queue all the same."""
        ids = [self.pending().id for _ in range(5)]
        self.store.go_away()
        self.pump()
        for each in ids:
            self.reply(each, queue=MINE)
        self.assertEqual((self.waiting(MINE), self.unacked(MINE), self.waiting(QUEUE)), (0, 0, 5))

    def test_queue_is_missing(self) -> None:
        """If somebody has deleted the results queue, it is declared again, and nothing is lost."""
        id_ = self.pending().id
        self.store.go_away()
        self.pump()
        self.delete(QUEUE)
        self.reply(id_, queue=MINE)
        self.advance(1)
        self.assertEqual((self.unacked(MINE), self.waiting(QUEUE)), (0, 1))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_publisher_is_away(self) -> None:
        """Without a publishing connection late replies are held; with one, they are forwarded."""
        id_ = self.pending().id
        self.lose(self.one.publishing)
        self.reply(id_, queue=MINE)
        self.advance(60)
        self.assertEqual(self.unacked(MINE), 1)
        self.one.publishing = self.connect()
        self.run_(self.one.publisher.open(self.one.publishing))
        self.pump()
        self.assertEqual(self.status(id_), Status.SUCCEEDED)
        self.assert_none_left()

    def test_bounded(self) -> None:
        """Of replies that cannot be forwarded now, no more bytes are held than allowed; none is lost."""
        self.lose(self.one.publishing)
        ids = [self.pending().id for _ in range(20)]
        deliveries = []
        late = self.results.replies.late.forward
        self.patch(self.results.replies.late, "forward", lambda each: deliveries.append(each) or late(each))
        self.one.consuming.close()
        self.pump()
        self.one.consuming = self.connect()
        self.run_(self.results.replies.open(self.one.consuming))
        self.consume()
        for each in ids:
            self.reply(each, b"x" * 900, MINE)
        self.assertEqual(sum(len(each.message.body) for each in deliveries), 2700)
        self.one.publishing = self.connect()
        self.run_(self.one.publisher.open(self.one.publishing))
        self.pump()
        self.assertEqual({len(self.store.results[each].body) for each in ids}, {900})
        self.assert_none_left()

    def refuse(self) -> Callable[[], None]:
        """Have the results queue refuse what is published to it; the returned function ends that."""
        publish, self.attempts = self.one.publisher.publish, 0
        self.addCleanup(self.results.replies.stop)

        def refuse(*_: object) -> Deferred[None]:
            self.attempts += 1
            return fail(Nacked("The broker did not take the message."))

        self.one.publisher.publish = refuse  # type: ignore[method-assign]
        return lambda: setattr(self.one.publisher, "publish", publish)

    def test_results_queue_refuses(self) -> None:
        """However many late replies the results queue refuses, awaited ones arrive; later, each late one is stored."""
        accept = self.refuse()
        ids = [self.pending().id for _ in range(2500)]
        for number, each in enumerate(ids):
            self.send(each, b"x" * (number % 3))
        self.pump()
        self.assertEqual((self.waiting(MINE), self.unacked(MINE)), (0, 2500))
        for _ in range(1500):
            self.send("awaited")
        self.pump()
        self.assertEqual((self.matched, self.unacked(MINE)), (1500, 2500))
        accept()
        self.advance(60)
        self.assertEqual([len(self.store.results[each].body) for each in ids], [n % 3 for n in range(2500)])
        self.assert_none_left()
        self.flushLoggedErrors()

    def send(self, id_: str, body: bytes = b"42") -> None:
        self.other().basic_publish("", MINE, body, pika.BasicProperties(correlation_id=id_))

    def test_publishes_at_once(self) -> None:
        """Of many replies that are refused, few are published again and again."""
        self.refuse()
        for _ in range(1000):
            self.send(fresh_id(), b"")
        self.pump()
        self.assertEqual((self.unacked(MINE), self.attempts), (1000, 200))

    def test_many_small_ones(self) -> None:
        """The number of replies that are held with their headers is bounded, too; none is lost."""
        self.patch(late_replies, "_MOST_HELD", 300)
        accept = self.refuse()
        ids = [self.pending().id for _ in range(900)]
        deliveries: list[Delivery] = []
        late = self.results.replies.late.forward
        self.patch(self.results.replies.late, "forward", lambda each: deliveries.append(each) or late(each))
        for each in ids:
            self.send(each, b"")
        self.pump()
        self.assertEqual(sum(each.message.original is not None for each in deliveries), 300)
        accept()
        self.advance(60)
        self.assertEqual({self.status(each) for each in ids}, {Status.SUCCEEDED})
        self.assert_none_left()

    def test_too_many(self) -> None:
        """What is beyond all bounds is dead-lettered to the results queue by the broker; one log line says so."""
        self.patch(late_replies, "_MOST_HELD", 100)
        self.patch(late_replies, "_MOST_LEFT_OUT", 100)
        self.delete(MINE)
        self.make_queue(MINE, **{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": QUEUE})
        self.consume()
        said: list[str] = []
        self.patch(self.results.replies.late, "_log", Logger(observer=lambda event: said.append(event["log_format"])))
        self.refuse()
        ids = [self.pending().id for _ in range(300)]
        for each in ids:
            self.send(each)
        self.pump()
        self.assertEqual(self.unacked(MINE), 200)
        self.assertEqual({self.status(each) for each in ids[200:]}, {Status.SUCCEEDED})
        self.assertEqual(len([line for line in said if "dead-letters" in line]), 1)

    def test_left_out_and_lost(self) -> None:
        """Replies that were left out and are delivered again on another connection do not count twice."""
        for name, value in (("_AT_ONCE", 10), ("_MOST_HELD", 100), ("_MOST_LEFT_OUT", 150)):
            self.patch(late_replies, name, value)
        accept = self.refuse()
        ids = [self.pending().id for _ in range(200)]
        for each in ids:
            self.send(each)
        self.pump()
        self.lose(self.one.consuming)
        self.one.consuming = self.connect()
        self.run_(self.results.replies.open(self.one.consuming))
        self.consume()
        self.assertEqual((self.waiting(MINE), self.unacked(MINE)), (0, 200))
        accept()
        self.advance(60)
        self.assertEqual({self.status(each) for each in ids}, {Status.SUCCEEDED})
        self.assert_none_left()

    def test_close_waits(self) -> None:
        """A close waits until what is being forwarded is confirmed and stored."""
        id_ = self.pending().id
        self.lose(self.one.publishing)
        self.reply(id_, queue=MINE)
        closing = self.start(self.results.replies.close())
        self.assertNoResult(closing)
        self.one.publishing = self.connect()
        self.run_(self.one.publisher.open(self.one.publishing))
        self.pump()
        self.successResultOf(closing)
