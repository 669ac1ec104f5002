"""Submitting: the order of row, publish, confirm and accept, and requests with the same key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.errors import (
    BrokerUnavailable,
    DeadlinePassed,
    Nacked,
    NoRoute,
    OutcomeUnknown,
    PublishRefused,
    StoreUnavailable,
)
from provider_gateway.message.message import Message
from provider_gateway.results.errors import IdempotencyKeyReused, may_be_accepted
from provider_gateway.results.idempotency import ACCEPT_WITHIN, idempotency_key
from provider_gateway.results.submissions import Submissions
from provider_gateway.store.records import Record, Status
from tests.support.fakes import FakePublisher
from tests.support.memory_store import MemoryStore
from tests.unit.results.base import NOW, ResultsTestCase

if TYPE_CHECKING:
    from provider_gateway.errors import GatewayError

KEY = idempotency_key("ann", "work", "k1", "application/json", b"{}")


class FakeBrokerTestCase(SynchronousTestCase):
    """Submissions over a fake publisher."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.store = MemoryStore()
        self.publisher = FakePublisher()
        self.stored: list[Record] = []
        self.gone: list[str] = []
        self.submissions = Submissions(
            self.store,
            self.publisher,
            on_stored=self.stored.append,
            on_gone=self.gone.append,
            confirm_timeout=90,
            clock=self.clock,
            wall_clock=lambda: NOW + self.clock.seconds(),
        )

    def submit(self, id_: str = "c1", *, keyed: bool = False, body: bytes = b"{}") -> Deferred[Any]:
        key = idempotency_key("ann", "work", "k1", "application/json", body) if keyed else None
        now = NOW + self.clock.seconds()
        record = Record(
            id=id_,
            owner="ann",
            routing_key="work",
            rquid="r1",
            created=now,
            expires=now + 3600,
            key=key.digest if key else None,
            fingerprint=key.fingerprint if key else None,
            key_expires=now + 7200 if key else None,
            accept_by=now + ACCEPT_WITHIN if key else None,
        )
        message = Message(body, correlation_id=id_, reply_to="response.results")
        return Deferred.fromCoroutine(self.submissions.submit(message, "ML.MQ", record))

    def error_of(self, submitted: Deferred[Any], error: GatewayError) -> None:
        """Let the newest publish fail."""
        self.publisher.fail(error)
        self.assertIs(self.failureResultOf(submitted).value, error)


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
        self.successResultOf(submitted)
        self.assertIsNone(self.store.records["c1"].accept_by)

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
        self.assertEqual(self.gone, ["c1"] * len(errors))

    def test_maybe_accepted(self) -> None:
        """A message that the broker may have keeps its record and its key, and is not published again."""
        for number, error in enumerate((OutcomeUnknown("lost"), PublishRefused("perhaps another one"))):
            self.store.records.clear()
            self.error_of(self.submit(f"c{number}", keyed=True), error)
            self.assertIsNone(self.store.records[f"c{number}"].accept_by)
            self.clock.advance(ACCEPT_WITHIN + 1)
            self.assertTrue(self.successResultOf(self.submit("c9", keyed=True)).existing)

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
        """Without a confirm in time the record stays. A refusal that comes later makes the request fail."""
        for number, error in enumerate((None, OutcomeUnknown("lost"), NoRoute("nowhere"))):
            submitted = self.submit(f"c{number}")
            self.clock.advance(90)
            self.failureResultOf(submitted, OutcomeUnknown)
            if error is None:
                self.publisher.confirm()
            else:
                self.publisher.fail(error)
        statuses = [self.store.records[f"c{number}"].status for number in range(3)]
        self.assertEqual(statuses, [Status.PENDING, Status.PENDING, Status.FAILED])
        self.assertEqual(self.store.results["c2"].status, 404)
        self.assertEqual([record.id for record in self.stored], ["c2"])

    def test_which_errors_leave_a_record(self) -> None:
        """An answer may come after these errors, and after no others."""
        some = (DeadlinePassed(""), OutcomeUnknown(""), PublishRefused(""))
        none = (PublishRefused("", is_certain=True), NoRoute(""), StoreUnavailable(""))
        self.assertTrue(all(may_be_accepted(each) for each in some))
        self.assertFalse(any(may_be_accepted(each) for each in none))


class KeyTests(FakeBrokerTestCase):
    """Requests with the same key."""

    def test_joins(self) -> None:
        """A duplicate publishes nothing and gets the record of the first one, confirmed or not, pending or final."""
        first = self.submit("c1", keyed=True)
        for _ in range(2):
            second = self.successResultOf(self.submit("c2", keyed=True))
            self.assertEqual((second.record.id, second.existing), ("c1", True))
        self.publisher.confirm()
        self.successResultOf(first)
        self.clock.advance(ACCEPT_WITHIN + 1)
        self.assertTrue(self.successResultOf(self.submit("c3", keyed=True)).existing)
        self.assertEqual(len(self.publisher.published), 1)

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
        self.assertTrue(self.successResultOf(self.submit("c2", keyed=True)).existing)
        self.clock.advance(0.1)
        self.store.slow = {"add"}
        second, third = self.submit("c2", keyed=True), self.submit("c3", keyed=True)
        self.store.catch_up()
        self.assertEqual([each[0].correlation_id for each in self.publisher.published], ["c1", "c1"])
        self.assertNoResult(second)
        self.assertTrue(self.successResultOf(third).existing)
        self.publisher.confirm()
        submission = self.successResultOf(second)
        self.assertEqual((submission.record.id, submission.existing), ("c1", False))
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
        self.assertEqual(len({idempotency_key("", "", "", *each).fingerprint for each in bodies}), len(bodies))


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
