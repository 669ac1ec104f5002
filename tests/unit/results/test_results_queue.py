"""The results queue: what is stored, in which order, and what happens while the store is away."""

from __future__ import annotations

import pika
from twisted.internet.defer import Deferred

from provider_gateway.amqp.consumer import Delivery
from provider_gateway.store.records import Status
from tests.support.observability import counted
from tests.unit.results.base import DONE, NOW, ResultsTestCase


class StoringTests(ResultsTestCase):
    """One reply."""

    def kinds(self) -> dict[str, float]:
        kinds = {kind: counted(self.one.metrics.replies, kind) for kind in ("stored", "repeated", "dropped")}
        return {kind: count for kind, count in kinds.items() if count}

    def test_order(self) -> None:
        """Commit, webhook, notice, acknowledgement: each only after the one before."""
        id_, steps = self.pending(webhook="hook").id, self.one.steps
        ack = Delivery.ack
        self.patch(self.one.notices, "notify", lambda exchange, key: steps.append(f"{exchange} {key}"))
        self.patch(Delivery, "ack", lambda delivery: steps.append("ack") or ack(delivery))
        self.store.slow, self.one.webhooks.held = {"finish"}, []
        self.reply(id_)
        self.assertEqual(steps, ["finish"])
        self.store.catch_up()
        self.pump()
        self.assertEqual(steps, ["finish", "webhook"])
        self.assert_left(unacked=1)
        self.one.webhooks.held[0].callback(None)
        self.assertEqual(steps, ["finish", "webhook", f"{DONE} {id_}", "ack"])
        self.pump()
        self.assert_left()
        self.assertEqual(self.kinds(), {"stored": 1})

    def test_killed_before_the_commit(self) -> None:
        """A gateway that dies before the commit leaves the reply to another one."""
        id_ = self.pending().id
        self.patch(self.store, "finish", lambda _: Deferred())
        self.reply(id_)
        other = self.another()
        self.assertEqual(other.steps, [])
        self.one.disconnect()
        self.assertEqual((self.status(id_), other.steps), (Status.SUCCEEDED, ["finish", "webhook"]))

    def test_repeated(self) -> None:
        """A reply that was stored before is acknowledged; webhook and notice are repeated, the answer stays."""
        id_ = self.pending(webhook="hook").id
        told: list[str] = []
        self.patch(self.one.notices, "notify", lambda _, key: told.append(key))
        self.reply(id_)
        self.reply(id_, b"43")
        self.assertEqual(told, [id_, id_])
        self.assert_left()
        self.assertEqual((self.store.results[id_].body, len(self.one.webhooks.published)), (b"42", 2))
        self.assertEqual(self.kinds(), {"stored": 1, "repeated": 1})

    def test_canceled(self) -> None:
        """A reply to a canceled request is acknowledged, and there is no webhook of it."""
        record = self.pending(webhook="hook")
        self.successResultOf(self.results.erase(record.id, "ann"))
        self.reply(record.id)
        self.assertEqual((self.status(record.id), self.one.webhooks.published), (Status.CANCELED, []))
        self.assert_left()

    def test_unknown(self) -> None:
        """A reply to an unknown id is dropped and counted: a foreign one, one with a forged id, one without an id."""
        self.reply("0" * 32)
        self.reply("not-ours", pg_owner="ann")
        self.put("", "response.results", b"42")
        self.assertEqual((self.store.records, self.kinds()), ({}, {"dropped": 3}))
        self.assert_left()

    def test_restored(self) -> None:
        """An unknown id with our header is a request whose record was lost: it is made anew, for its owner."""
        id_ = "0123456789abcdef" * 2
        published = int(1000 * (NOW - 5))
        self.reply(id_, pg_owner="ann", pg_routing_key="work", pg_published=published, pg_attempts=2, RqUID="r9")
        record = self.store.records[id_]
        self.assertEqual((record.owner, record.routing_key, record.rquid), ("ann", "work", "r9"))
        self.assertEqual((record.created, record.attempts, record.status), (NOW - 5, 2, Status.SUCCEEDED))
        self.assertEqual(self.kinds(), {"stored": 1})

    def test_restored_without_an_owner(self) -> None:
        """An empty owner means that whoever knows the id may see the request."""
        self.reply("a" * 32, pg_owner="")
        self.assertIsNone(self.store.records["a" * 32].owner)

    def test_parked_then_replayed(self) -> None:
        """What comes of a parked message that is sent again takes the place of "parked"."""
        id_ = self.pending().id
        self.reply(id_, pg_status=502, pg_reason="timeout", pg_parked="work.parking")
        self.assertEqual(self.status(id_), Status.PARKED)
        self.reply(id_)
        self.assertEqual(self.status(id_), Status.SUCCEEDED)


class StoreAwayTests(ResultsTestCase):
    """The store goes away."""

    def test_pause(self) -> None:
        """While the store is away, nothing is acknowledged or held; it goes on when the store says that it is back."""
        ids = [self.pending().id for _ in range(3)]
        self.store.go_away()
        self.pump()
        for each in ids:
            self.reply(each)
        self.assert_left(waiting=3)
        self.assertEqual((self.store.calls, self.clock.getDelayedCalls()), ([], []))
        self.advance(600)
        self.assertEqual(self.store.calls, [])
        self.store.come_back()
        self.pump()
        self.assert_left()
        self.assertEqual({self.status(each) for each in ids}, {Status.SUCCEEDED})

    def test_noticed_by_a_reply(self) -> None:
        """A store that has gone without a word is noticed when a reply comes, which is given back."""
        id_ = self.pending().id
        self.store.is_up = False
        self.reply(id_)
        self.assert_left(waiting=1)
        self.store.come_back()
        self.pump()
        self.assertEqual(self.status(id_), Status.SUCCEEDED)

    def test_held_ones_are_given_back(self) -> None:
        """Replies whose commit has not come are given back, for another gateway may reach the store."""
        id_, other = self.pending().id, self.another()
        self.store.is_up = True
        self.store.slow = {"finish"}
        other.store.is_up = False
        other.store.on_change()
        self.pump()
        self.reply(id_)
        self.assert_left(unacked=1)
        other.store.come_back()
        self.store.go_away()
        self.pump()
        self.assert_left()
        self.assertEqual(other.steps, ["finish", "webhook"])

    def test_away_from_the_beginning(self) -> None:
        """A gateway that starts without its store is ready, says what is wrong, and stores once it can."""
        self.one.disconnect()
        self.store.is_up = False
        late = self.another()
        late.store.is_up = False
        late.store.on_change()
        self.pump()
        id_ = self.pending().id
        self.reply(id_)
        self.assert_left(waiting=1)
        self.assertEqual(late.results.replies.waiting_for(), [])
        self.assertEqual(late.results.replies.degraded(), ["the result store is away"])
        late.store.come_back()
        self.pump()
        self.assertEqual(self.status(id_), Status.SUCCEEDED)

    def test_reconnect_while_away(self) -> None:
        """The pause lasts over a new connection to the broker."""
        self.store.go_away()
        self.pump()
        self.one.disconnect()
        self.one.connect()
        self.reply(self.pending().id)
        self.assert_left(waiting=1)
        self.store.come_back()
        self.pump()
        self.assert_left()


class BoundsTests(ResultsTestCase):
    """What is held in memory."""

    def test_bytes(self) -> None:
        """Of replies that wait for a commit, no more bytes are held than allowed; the rest follows."""
        self.store.slow = {"finish"}
        ids = [self.pending().id for _ in range(8)]
        for each in ids:
            self.reply(each, b"x" * 1000)
        self.assertEqual(self.store.calls, ["finish"] * 3)
        self.assert_left(unacked=3, waiting=5)
        while self.waiting("response.results") or self.unacked("response.results"):
            self.store.catch_up()
            self.pump()
            self.assertLessEqual(self.unacked("response.results"), 3)
        self.assertEqual({self.status(each) for each in ids}, {Status.SUCCEEDED})

    def test_count(self) -> None:
        """So many small replies are held, and no more."""
        self.store.slow = {"finish"}
        for _ in range(600):
            self.other().basic_publish(
                "", "response.results", b"", pika.BasicProperties(correlation_id=self.pending().id)
            )
        self.pump()
        self.assert_left(unacked=500, waiting=100)
        self.store.slow = set()
        self.store.catch_up()
        self.pump()
        self.assert_left()

    def test_larger_than_all_room(self) -> None:
        """One reply is taken whatever its size. It is over the limit of a body, so the request has failed."""
        record = self.pending()
        self.reply(record.id, b"x" * 5000)
        self.assertEqual(self.status(record.id), Status.FAILED)
        self.assertIn(b"result-too-large", self.store.results[record.id].body)
        self.reply(record.id)
        self.assert_left()

    def test_close(self) -> None:
        """A close waits for what is held, and takes no more."""
        self.store.slow = {"finish"}
        first, second = self.pending().id, self.pending().id
        self.reply(first)
        closing = self.start(self.results.replies.close())
        self.reply(second)
        self.assertNoResult(closing)
        self.store.catch_up()
        self.pump()
        self.successResultOf(closing)
        self.assert_left(waiting=1)
        self.assertEqual(self.status(second), Status.PENDING)

    def test_close_without_a_connection(self) -> None:
        """A connection that is lost while the consumer is being cancelled does not break the close."""
        closing = Deferred.fromCoroutine(self.results.replies.close())
        self.lose(self.one.consuming)
        self.successResultOf(closing)
