"""Fetching, listing and erasing; ownership; and the end of the time of records."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import deferLater

from provider_gateway.errors import NotFound
from provider_gateway.results.errors import Gone, RequestCanceled
from provider_gateway.store.records import Finished, Outcome, Status
from tests.unit.results.base import NOW, TTL, ResultsTestCase

if TYPE_CHECKING:
    from provider_gateway.store.records import Record


class OwnershipTests(ResultsTestCase):
    """Who sees what."""

    def test_own(self) -> None:
        """The owner sees the request and its result."""
        id_ = self.pending().id
        self.reply(id_, b"13", X_Model="m")
        record = self.run_(self.results.get(id_, "ann"))
        result = self.run_(self.results.result(record))
        self.assertEqual((result.status, result.body, dict(result.headers)), (200, b"13", {"X-Model": "m"}))

    def test_others(self) -> None:
        """Nobody else does, and cannot tell it from an unknown one; nor can it be erased."""
        id_ = self.pending().id
        for owner in ("bob", "", "ANN", None):
            for each in (id_, "0" * 32):
                text = str(self.failureResultOf(self.start(self.results.get(each, owner)), NotFound).value)
                self.assertEqual(text.replace(each, ""), "There is no request , or it is not yours.")
            self.failureResultOf(self.results.erase(id_, owner), NotFound)
        self.assertEqual(self.status(id_), Status.PENDING)

    def test_nobodys(self) -> None:
        """A request without an owner is seen and erased by whoever knows its id."""
        for owner in ("bob", None):
            id_ = self.pending(owner=None).id
            self.run_(self.results.get(id_, owner))
            self.successResultOf(self.results.erase(id_, owner))
            self.assertEqual(self.status(id_), Status.CANCELED)

    def test_erase_a_result(self) -> None:
        """A final request is erased: it is unknown from then on, and no provider is told."""
        id_ = self.pending().id
        self.reply(id_)
        self.make_queue("provider")
        self.other().queue_bind("provider", "response.canceled", "")
        self.assertEqual(self.successResultOf(self.results.erase(id_, "ann")).status, Status.SUCCEEDED)
        self.pump()
        self.failureResultOf(self.start(self.results.get(id_, "ann")), NotFound)
        self.assertEqual(self.waiting("provider"), 0)

    def test_canceled(self) -> None:
        """A canceled request is seen, and has no result."""
        id_ = self.pending().id
        self.successResultOf(self.results.erase(id_, "ann"))
        record = self.run_(self.results.get(id_, "ann"))
        self.failureResultOf(self.start(self.results.result(record)), RequestCanceled)

    def test_list(self) -> None:
        """An owner's own requests are listed, the newest first."""
        ids = []
        for _ in range(3):
            ids.append(self.pending().id)
            self.clock.advance(1)
        self.pending(owner="bob")
        found = self.run_(self.results.list("ann", status=None, limit=2, after=None))
        self.assertEqual([each.id for each in found], ids[:0:-1])

    def test_keep(self) -> None:
        """The record of a 504 is committed, and does not take the place of an answer that was faster."""
        record = self.record()
        self.assertTrue(self.successResultOf(self.results.keeping.keep(record, is_confirmed=True)))
        self.reply(record.id)
        self.assertTrue(self.successResultOf(self.results.keeping.keep(record, is_confirmed=True)))
        self.assertEqual(self.status(record.id), Status.SUCCEEDED)
        self.store.go_away()
        self.assertFalse(self.successResultOf(self.results.keeping.keep(self.record(), is_confirmed=True)))


class RetentionTests(ResultsTestCase):
    """What happens to records as time goes by."""

    def setUp(self) -> None:
        super().setUp()
        self.results.replies.start()

    def test_expired(self) -> None:
        """What is pending for too long expires: first the row, then its webhook. Then whoever waits is told."""
        record = self.pending(webhook="hook")
        waiting = self.wait(record.id, 2 * TTL)
        self.advance(TTL - 1)
        self.assertEqual(self.status(record.id), Status.PENDING)
        self.one.webhooks.held = []
        self.advance(31)
        self.assertEqual(self.one.webhooks.published, [self.store.records[record.id]])
        self.assertEqual(self.status(record.id), Status.EXPIRED)
        self.assertNoResult(waiting)
        self.assert_left(unacked=1)
        self.one.webhooks.held[0].callback(None)
        self.pump()
        self.assert_left()
        final = self.successResultOf(waiting)
        assert final is not None
        self.assertEqual(final.status, Status.EXPIRED)
        result = self.run_(self.results.result(final))
        self.assertEqual((result.status, result.content_type), (504, "application/problem+json"))
        self.assertIn(b"RESULT_TTL", result.body)
        self.reply(record.id)
        self.assertEqual(self.status(record.id), Status.SUCCEEDED)

    def test_same_result(self) -> None:
        """A record with a webhook ends in the same way as one without."""
        one, other = self.pending(webhook="hook"), self.pending()
        self.advance(TTL + 31)
        first, second = (self.store.results[each.id] for each in (one, other))
        self.assertEqual((first.status, first.body), (second.status, second.body))
        ended = replace(self.store.records[one.id], id="", webhook=None, finished=0, expires=0)
        self.assertEqual(ended, replace(self.store.records[other.id], id="", finished=0, expires=0))

    def test_killed_before_the_webhook(self) -> None:
        """A webhook that a gateway owes when it dies, since the row is committed, is published by another one."""
        record, other = self.pending(webhook="hook"), self.another()
        self.one.webhooks.held = other.webhooks.held = []
        self.advance(TTL + 31)
        self.assertEqual(self.status(record.id), Status.EXPIRED)
        (owing,) = [each for each in (self.one, other) if each.webhooks.published]
        (left,) = {self.one, other} - {owing}
        owing.disconnect()
        self.pump()
        self.assertEqual([each.status for each in left.webhooks.published], [Status.EXPIRED])

    def being_ended(self, webhook: str | None) -> Record:
        """A record that was found to be overdue, which the gateway learns at :meth:`.MemoryStore.catch_up`."""
        record = self.pending(webhook=webhook)
        self.store.records[record.id] = replace(record, expires=self.wall_clock())
        self.store.slow = {"overdue"}
        self.advance(31)
        return record

    def test_answered_meanwhile(self) -> None:
        """An answer that comes while a record is being ended stays, and no webhook says that it has expired."""
        answers = (
            (Status.SUCCEEDED, {}),
            (Status.FAILED, {"pg_status": 400}),
            (Status.PARKED, {"pg_status": 502, "pg_reason": "timeout", "pg_parked": "work.parking"}),
        )
        for status, headers in answers:
            for webhook in ("hook", None):
                record = self.being_ended(webhook)
                self.reply(record.id, **headers)
                self.store.slow = set()
                self.store.catch_up()
                self.pump()
                self.assertEqual(self.status(record.id), status)
                told = [each.status for each in self.one.webhooks.published if each.id == record.id and each.webhook]
                self.assertEqual(set(told), {status} if webhook else set())

    def test_canceled_meanwhile(self) -> None:
        """A request that is canceled while its record is being ended stays so, and has no webhook."""
        record = self.being_ended("hook")
        self.successResultOf(self.results.erase(record.id, "ann"))
        self.store.slow = set()
        self.store.catch_up()
        self.pump()
        self.assertEqual((self.status(record.id), self.one.webhooks.published), (Status.CANCELED, []))
        self.assert_left()

    def test_broker_away(self) -> None:
        """Without a broker, records with a webhook stay pending, one line says so, and others are ended and purged."""
        old, record, other = self.pending(), self.pending(webhook="hook"), self.pending()
        self.reply(old.id)
        self.lose(self.one.publishing)
        self.advance(TTL + 40)
        self.assertEqual([self.status(each.id) for each in (record, other)], [Status.PENDING, Status.EXPIRED])
        self.assertNotIn(old.id, self.store.results)
        self.assertEqual(self.flushLoggedErrors(), [])
        self.one.publishing = self.connect()
        self.run_(self.one.publisher.open(self.one.publishing))
        self.advance(31)
        self.assertEqual(self.status(record.id), Status.EXPIRED)

    def test_gone_and_forgotten(self) -> None:
        """A result is gone after its time, and its request unknown after as long again."""
        id_ = self.pending().id
        self.reply(id_)
        self.advance(TTL + 31)
        self.failureResultOf(self.start(self.results.get(id_, "ann")), Gone)
        self.assertEqual(self.store.results, {})
        self.advance(TTL)
        self.failureResultOf(self.start(self.results.get(id_, "ann")), NotFound)
        self.assertEqual(self.store.records, {})

    def test_many(self) -> None:
        """Many are ended in batches with pauses between, all in one go."""
        record = self.record()
        for number in range(1000):
            each = replace(record, id=f"{number:032x}", expires=NOW, webhook="hook" if number % 3 else None)
            self.store.records[each.id] = each
        self.advance(31)
        self.assertEqual({each.status for each in self.store.records.values()}, {Status.EXPIRED})
        self.assertEqual(len({each.id for each in self.one.webhooks.published if each.webhook}), 666)
        self.assertGreaterEqual(self.store.calls.count("overdue"), 5)

    def test_together(self) -> None:
        """Those of a batch share a commit: none waits for another one's."""
        for _ in range(3):
            self.pending()
        asked: list[str] = []

        def finish(outcome: Outcome) -> Deferred[Finished]:
            asked.append(outcome.id)
            return Deferred()

        self.patch(self.store, "finish", finish)
        self.advance(TTL + 31)
        self.assertEqual(len(asked), 3)

    def test_pace(self) -> None:
        """The longer the purge of a batch takes, the longer the pause after it: requests have their share."""
        begun: list[float] = []

        def purge(_now: float, limit: int) -> Deferred[int]:
            begun.append(self.clock.seconds())
            return deferLater(self.clock, 1.5, lambda: limit)

        self.patch(self.store, "purge", purge)
        self.clock.pump([0.25] * 240)
        pauses = [later - earlier - 1.5 for earlier, later in pairwise(begun)]
        self.assertGreater(len(pauses), 5)
        self.assertEqual(set(pauses), {0.75})

    def test_goes_on(self) -> None:
        """An error while a record is ended is logged, ends no other record's time, and the next look tries again."""
        one, other = self.pending(), self.pending()
        finish = self.store.finish
        broken = self.patch(
            self.store, "finish", lambda outcome: fail(ValueError()) if outcome.id == one.id else finish(outcome)
        )
        self.advance(TTL + 31)
        self.assertGreaterEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(self.status(other.id), Status.EXPIRED)
        self.assertEqual(self.status(one.id), Status.PENDING)
        broken.restore()
        self.advance(31)
        self.assertEqual(self.status(one.id), Status.EXPIRED)

    def test_store_away(self) -> None:
        """While the store is away nothing is tried, and the looks go on when it is back."""
        self.store.go_away()
        record = self.pending()
        self.advance(TTL + 31)
        self.assertEqual(self.store.calls, [])
        self.store.come_back()
        self.advance(31)
        self.assertEqual(self.status(record.id), Status.EXPIRED)

    def test_stopped(self) -> None:
        """After a close no timer is left."""
        self.run_(self.results.replies.close())
        self.assertEqual(self.clock.getDelayedCalls(), [])
