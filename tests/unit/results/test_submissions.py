"""Submitting: the order of row, publish, confirm and accept, and requests with the same key."""

from __future__ import annotations

from provider_gateway.errors import (
    BrokerUnavailable,
    DeadlinePassed,
    Nacked,
    NoRoute,
    OutcomeUnknown,
    PublishRefused,
    StoreUnavailable,
)
from provider_gateway.results.errors import IdempotencyKeyReused, NotConfirmed, may_be_accepted
from provider_gateway.results.idempotency import ACCEPT_WITHIN, idempotency_key
from provider_gateway.results.outcomes import outcome_of
from provider_gateway.results.unconfirmed import EXPIRES_AFTER
from provider_gateway.store.records import Status
from tests.unit.results.base import NOW, ResultsTestCase
from tests.unit.results.fake_broker import FakeBrokerTestCase

KEY = idempotency_key("ann", "work", "k1", "application/json", b"{}")


class OrderTests(FakeBrokerTestCase):
    """Without and with a key."""

    def test_order(self) -> None:
        """The row is committed before the publish; the answer comes when the broker has confirmed."""
        self.store.slow = {"add"}
        submitted = self.submit()
        self.assertEqual((self.store.calls, self.publisher.published), (["add"], []))
        self.store.catch_up()
        self.assertEqual(len(self.publisher.published), 1)
        self.assertNoResult(submitted)
        self.publisher.confirm()
        submission = self.successResultOf(submitted)
        self.assertEqual((submission.record.id, submission.existing, self.store.calls), ("c1", False, ["add"]))

    def test_order_with_a_key(self) -> None:
        """With a key, it is committed that the publish is confirmed before the answer comes."""
        self.store.slow = {"accept"}
        submitted = self.submit(keyed=True)
        self.publisher.confirm()
        self.assertEqual(self.store.calls, ["add", "accept"])
        self.assertNoResult(submitted)
        self.store.catch_up()
        for record in (self.successResultOf(submitted).record, self.store.records["c1"]):
            self.assertIsNone(record.accept_by)

    def test_store_away(self) -> None:
        """Without the store nothing is published."""
        self.store.go_away()
        self.failureResultOf(self.submit(), StoreUnavailable)
        self.assertEqual(self.publisher.published, [])

    def test_not_accepted(self) -> None:
        """A message that the broker did not take leaves no record, and its key is free. Who joined is told."""
        errors = (
            NoRoute("nowhere"),
            Nacked("full"),
            BrokerUnavailable("away"),
            PublishRefused("malformed", is_certain=True),
        )
        for error in errors:
            self.error_of(self.submit(keyed=True), error)
            self.assertEqual(self.store.records, {})
        self.assertEqual(self.changed, ["c1"] * len(errors))

    def test_idle(self) -> None:
        """A stop can wait until the broker has confirmed what is published, and published again after its 504."""
        submitted = self.submit(keyed=True)
        self.publisher.fail(OutcomeUnknown("lost"))
        self.clock.advance(90)
        self.failureResultOf(submitted, OutcomeUnknown)
        idle = self.submissions.idle()
        self.store.slow = {"accept"}
        self.publisher.waiting.pop().callback(None)
        self.publisher.confirm()
        self.assertNoResult(idle)
        self.store.catch_up()
        self.successResultOf(idle)

    def test_maybe_accepted(self) -> None:
        """A message that the broker may have is published again, with the same id, until the broker confirms it."""
        submitted = self.submit(keyed=True)
        for number, error in enumerate(
            (OutcomeUnknown("lost"), NoRoute("not yet again"), PublishRefused("perhaps")), 1
        ):
            self.publisher.fail(error)
            self.assertEqual(len(self.publisher.published), number)
            self.clock.advance(1)
            self.publisher.waiting.pop().callback(None)
            self.assertEqual(len(self.publisher.published), number + 1)
        self.assertIsNotNone(self.store.records["c1"].accept_by)
        self.publisher.confirm()
        self.assertFalse(self.successResultOf(submitted).existing)
        self.assertEqual({each[0].correlation_id for each in self.publisher.published}, {"c1"})
        self.assertIsNone(self.store.records["c1"].accept_by)

    def test_was_read(self) -> None:
        """A message that the broker has certainly read is accepted, and not published again."""
        submitted = self.submit()
        self.publisher.fail(OutcomeUnknown("only the confirm was lost", was_read=True))
        self.assertFalse(self.successResultOf(submitted).existing)
        self.assertEqual((len(self.publisher.published), self.clock.getDelayedCalls()), (1, []))

    def test_always_refused(self) -> None:
        """A message over which the broker closes the channel each time is given up: it was not accepted."""
        submitted = self.submit(keyed=True)
        for _ in range(2):
            self.publisher.fail(PublishRefused("unreadable"))
            self.clock.advance(1)
            self.publisher.waiting.pop().callback(None)
        self.publisher.fail(PublishRefused("unreadable"))
        self.assertTrue(self.failureResultOf(submitted, PublishRefused).value.is_certain)
        self.assertEqual(self.store.records, {})

    def test_store_goes_away_before_the_discard(self) -> None:
        """The caller gets the broker's error even if the record cannot be deleted; its key can be taken over later."""
        submitted = self.submit(keyed=True)
        self.store.go_away()
        self.error_of(submitted, NoRoute("nowhere"))
        self.store.come_back()
        self.clock.advance(ACCEPT_WITHIN)
        again = self.submit("c2", keyed=True)
        self.publisher.confirm()
        self.assertEqual(self.successResultOf(again).record.id, "c1")

    def test_store_goes_away_before_the_acceptance(self) -> None:
        """A request that was recorded and confirmed is accepted, even if that cannot be noted."""
        submitted = self.submit(keyed=True)
        self.store.go_away()
        self.publisher.confirm()
        self.assertFalse(self.successResultOf(submitted).existing)

    def test_no_confirm(self) -> None:
        """Without a confirm in time the record stays, for a short time. A late refusal makes the request fail."""
        for number, error in enumerate((None, OutcomeUnknown("lost"), NoRoute("nowhere"))):
            submitted = self.submit(f"c{number}")
            self.clock.advance(90)
            self.assertEqual(self.failureResultOf(submitted, NotConfirmed).value.request_id, f"c{number}")
            expires = self.store.records[f"c{number}"].expires
            self.assertEqual(expires, NOW + self.clock.seconds() + EXPIRES_AFTER)
            if error is None:
                self.publisher.confirm()
            else:
                self.publisher.fail(error)
        statuses = [self.store.records[f"c{number}"].status for number in range(3)]
        self.assertEqual(statuses, [Status.PENDING, Status.PENDING, Status.FAILED])
        self.assertEqual(self.store.results["c2"].status, 404)
        self.assertEqual([record.id for record in self.stored], ["c2"])

    def test_refused_late_with_a_webhook(self) -> None:
        """A late refusal of a request with a webhook goes to the results queue, for there its webhook is sent."""
        for error in (None, NoRoute("no results queue")):
            submitted = self.submit(webhook="receiver ann")
            self.clock.advance(90)
            self.failureResultOf(submitted, NotConfirmed)
            self.publisher.fail(NoRoute("nowhere"))
            reply, exchange, routing_key, _ = self.publisher.published[-1]
            self.assertEqual((exchange, routing_key, reply.correlation_id), ("", "response.results", "c1"))
            self.assertEqual(self.store.records["c1"].status, Status.PENDING)
            outcome = outcome_of(reply, NOW, ttl=3600, max_body=1000)
            self.assertEqual((outcome.status, outcome.result.status), (Status.FAILED, 404))
            self.assertEqual(outcome.replaces, {Status.PENDING})
            if error is None:
                self.publisher.confirm()
                self.assertEqual(self.stored, [])
                del self.store.records["c1"]
            else:
                self.publisher.fail(error)
                self.assertEqual([each.status for each in self.stored], [Status.FAILED])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_confirmed_late(self) -> None:
        """Without a confirm in time a request expires soon, or with a key can be taken over, until it comes."""
        for keyed in (False, True):
            submitted = self.submit(keyed=keyed)
            whole = self.store.records["c1"].expires
            self.clock.advance(90)
            self.failureResultOf(submitted, NotConfirmed)
            self.assertEqual((self.store.records["c1"].accept_by is not None, self.expires() == whole), (keyed, keyed))
            self.publisher.confirm()
            self.assertEqual((self.store.records["c1"].accept_by, self.expires()), (None, whole))
            del self.store.records["c1"]

    def expires(self) -> float:
        return self.store.records["c1"].expires

    def test_no_confirm_without_the_store(self) -> None:
        """If the store is away when the confirm does not come, nobody is told to come back."""
        submitted = self.submit()
        self.store.go_away()
        self.clock.advance(90)
        self.assertIsNone(self.failureResultOf(submitted, NotConfirmed).value.request_id)

    def test_which_errors_leave_a_record(self) -> None:
        """An answer may come after these errors, and after no others."""
        some = (DeadlinePassed(""), OutcomeUnknown(""), PublishRefused(""))
        none = (PublishRefused("", is_certain=True), NoRoute(""), StoreUnavailable(""))
        self.assertTrue(all(may_be_accepted(each) for each in some))
        self.assertFalse(any(may_be_accepted(each) for each in none))


class KeyTests(FakeBrokerTestCase):
    """Requests with the same key."""

    def test_joins(self) -> None:
        """A duplicate publishes nothing and gets the record of the first one, once that is accepted."""
        first = self.submit("c1", keyed=True)
        early = [self.submit("c2", keyed=True) for _ in range(2)]
        for each in early:
            self.assertNoResult(each)
        self.publisher.confirm()
        self.successResultOf(first)
        self.clock.advance(ACCEPT_WITHIN + 1)
        for each in (*early, self.submit("c3", keyed=True)):
            second = self.successResultOf(each)
            self.assertEqual((second.record.id, second.existing), ("c1", True))
            self.assertIsNone(second.record.accept_by)
        self.assertEqual(len(self.publisher.published), 1)

    def test_joins_nothing(self) -> None:
        """If the first one is not accepted, a duplicate that waits takes its place, as if it had come later."""
        first, second = self.submit("c1", keyed=True), self.submit("c2", keyed=True)
        self.error_of(first, NoRoute("nowhere"))
        self.publisher.confirm()
        submission = self.successResultOf(second)
        self.assertEqual((submission.record.id, submission.existing), ("c2", False))

    def test_waits_in_vain(self) -> None:
        """A duplicate does not wait for longer than for a confirm; it is told that nothing is known yet."""
        self.submit("c1", keyed=True)
        self.submissions = self.new_submissions(confirm_timeout=10)
        second = self.submit("c2", keyed=True)
        self.clock.advance(10)
        submission = self.successResultOf(second)
        self.assertEqual((submission.record.id, submission.existing), ("c1", True))
        self.assertIsNotNone(submission.record.accept_by)

    def test_other_body(self) -> None:
        """The same key with another body is refused, before and after the time in which it may be taken over."""
        self.submit(keyed=True)
        for _ in range(2):
            self.failureResultOf(self.submit("c2", keyed=True, body=b"[]"), IdempotencyKeyReused)
            self.clock.advance(ACCEPT_WITHIN)
        self.assertEqual(len(self.publisher.published), 1)

    def test_taken_over_by_one(self) -> None:
        """After a crash between row and confirm, one duplicate publishes again, with the same id; others join."""
        crashed = self.submit("c1", keyed=True)
        self.clock.advance(ACCEPT_WITHIN - 0.1)
        early = self.submit("c2", keyed=True)
        self.assertEqual(len(self.publisher.published), 1)
        self.store.slow = {"add"}
        self.clock.advance(0.2)
        third = self.submit("c3", keyed=True)
        self.store.catch_up()
        self.assertEqual([each[0].correlation_id for each in self.publisher.published], ["c1", "c1"])
        self.store.slow = set()
        self.store.catch_up()
        for each in (early, third):
            self.assertNoResult(each)
        self.publisher.confirm()
        found = [self.successResultOf(each) for each in (early, third)]
        self.assertEqual([each.record.id for each in found], ["c1", "c1"])
        self.assertEqual([each.existing for each in found], [False, True])
        self.assertNoResult(crashed)

    def test_taken_over_again(self) -> None:
        """If whoever took over dies, too, another one takes over after as long again."""
        for number in range(3):
            self.submit(f"c{number}", keyed=True).addErrback(lambda _: None)
            self.assertEqual(len(self.publisher.published), number + 1)
            self.clock.advance(ACCEPT_WITHIN)

    def test_digests(self) -> None:
        """Owner, routing key, key, media type and body each make a difference, and no two parts run into each other."""
        values = [
            ("ann", "work", "k", "application/json", b"{}"),
            ("bob", "work", "k", "application/json", b"{}"),
            (None, "work", "k", "application/json", b"{}"),
            ("", "work", "k", "application/json", b"{}"),
            ("annw", "ork", "k", "application/json", b"{}"),
            ("ann", "workk", "", "application/json", b"{}"),
            ("ann", "w\u00f6rk", "k", "application/json", b"{}"),
            ("ann\udcff", "work", "k", "application/json", b"{}"),
        ]
        self.assertEqual(len({idempotency_key(*each).digest for each in values}), len(values))
        bodies = [("a", b"b"), ("ab", b""), ("", b"ab"), ("a", b"c")]
        prints = {idempotency_key("", "", "", *each).fingerprint for each in bodies}
        prints |= {idempotency_key("", "", "", "a", b"b", coding=coding).fingerprint for coding in ("gzip", "br")}
        self.assertEqual(len(prints), len(bodies) + 2)
        old = idempotency_key("", "", "", "application/json", b"{}").fingerprint
        self.assertEqual(old.hex()[:16], "2a9a342edd455436")  # keys that are stored already stay valid


class OnBrokerTests(ResultsTestCase):
    """Through the facade, on a broker."""

    def test_released(self) -> None:
        """A key is free after a 502 and after an expiry; it is kept after 2xx and the model's 4xx."""
        cases = [
            ({"pg_status": 502, "pg_reason": "status"}, False),
            ({"pg_status": 502, "pg_reason": "timeout", "pg_parked": "work.parking"}, False),
            ({"pg_status": 504, "pg_reason": "expired"}, False),
            ({"pg_status": "nonsense"}, False),
            ({"pg_status": 500}, False),
            ({}, True),
            ({"pg_status": 204}, True),
            ({"pg_status": 422}, True),
        ]
        for headers, is_kept in cases:
            self.store.records.clear()
            first = self.successResultOf(self.submit(self.record(key=KEY)))
            self.reply(first.record.id, **headers)
            again = self.successResultOf(self.submit(self.record(key=KEY)))
            self.assertEqual(again.existing, is_kept, headers)

    def test_released_by_erasure(self) -> None:
        """A key is free after its request was canceled, or its result erased."""
        for is_answered in (False, True):
            submission = self.successResultOf(self.submit(self.record(key=KEY)))
            self.assertFalse(submission.existing)
            if is_answered:
                self.reply(submission.record.id)
            self.successResultOf(self.results.erase(submission.record.id, "ann"))

    def test_caller_leaves(self) -> None:
        """A request whose caller leaves is submitted all the same; if it is not accepted, no record stays."""
        self.store.slow = {"add"}
        accepted, unrouted = self.record(), self.record(routing_key="nowhere")
        for each in (accepted, unrouted):
            self.submit(each).addErrback(lambda _: None).cancel()
        self.store.slow = set()
        self.store.catch_up()
        self.pump()
        self.assertEqual([message.correlation_id for message in self.take("work")], [accepted.id])
        self.assertEqual(list(self.store.records), [accepted.id])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_who_joined_is_told(self) -> None:
        """Whoever waits for a request whose message is not accepted is told, at each gateway."""
        self.store.slow = {"add"}
        record = self.record(key=KEY, routing_key="nowhere")
        submitted = self.submit(record)
        joined = self.start(self.another().results.wait(record.id, 30))
        self.store.catch_up()
        self.pump()
        self.failureResultOf(submitted, NoRoute)
        self.assertIsNone(self.successResultOf(joined))
