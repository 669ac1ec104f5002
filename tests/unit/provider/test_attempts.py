"""Messages that the model fails on are retried, then parked; expired messages are dropped."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from tests.support.observability import counted
from tests.support.provider_on_broker import ProviderOnBrokerTestCase
from tests.support.queue_entries import dle
from tests.unit.provider.base import death


class RetryTests(ProviderOnBrokerTestCase):
    """The retry route."""

    def test_up_to_the_last(self) -> None:
        """Each copy counts one more attempt. After the last one the message is parked, and the error is the reply."""
        self.ask(headers={"RqUID": "r1", "x-tenant": "a"})
        for attempt in (1, 2):
            self.assert_left(unacked=1)
            self.fail_call("timeout")
            self.assert_left(retry=1)
            self.advance(59.9)
            self.assertEqual(len(self.model.calls), attempt)
            self.advance(0.1)
            self.assertEqual(len(self.model.calls), attempt + 1)
        self.fail_call("connection")
        self.assert_left(parking=1, back=1)
        headers = self.taken("work.parking").headers
        self.assertEqual((headers["pg-attempt"], headers["pg-reason"], headers["x-tenant"]), (3, "connection", "a"))
        reply = self.taken("back")
        self.assertEqual(reply.headers, {"RqUID": "r1", "pg-status": 502, "pg-reason": "connection"})
        self.assertEqual(reply.correlation_id, "c1")
        self.assertEqual((counted(self.metrics.retried, "work", "timeout"), self.parked("connection")), (2, 1))
        self.assertEqual(self.in_flight(), 0)
        self.successResultOf(self.provider.idle())

    def test_until_it_is_confirmed(self) -> None:
        """A message stays unacknowledged until its copy to the retry or parking queue is confirmed."""
        self.ask()
        for where in ("retry", "retry", "parking"):
            self.broker.faults.hold_confirms()
            self.fail_call()
            self.assert_left(unacked=1, **{where: 1})
            self.broker.faults.release_confirms()
            self.advance(60)
        self.assert_left(parking=1, back=1)

    def test_same_message(self) -> None:
        """Each attempt gets the same body, ids, reply address and request id. A later attempt's result is the reply."""
        self.ask(b' {"a":1} ')
        self.fail_call()
        self.advance(60)
        first, second = (call[0] for call in self.model.calls)
        for name in ("body", "correlation_id", "reply_to", "message_id"):
            self.assertEqual(getattr(first, name), getattr(second, name), name)
        self.answer()
        self.assert_left(back=1)
        reply = self.taken("back")
        self.assertEqual((reply.headers["RqUID"], reply.correlation_id, reply.body), ("r1", "c1", b"42"))

    def test_waited(self) -> None:
        """The reply to a later attempt tells no wait: most of it was not in the queue. That to a redelivery does."""
        self.ask(headers={"pg-published": 0})
        self.advance(1)
        self.die()
        self.answer()
        self.assertEqual(self.taken("back").headers["pg-waited"], 1000)
        self.ask(headers={"pg-published": 0}, message_id="m2")
        self.fail_call()
        self.advance(60)
        self.answer()
        self.assertNotIn("pg-waited", self.taken("back").headers)

    def test_claims_of_a_client(self) -> None:
        """Attempts that an initiator claims in headers do not count: its message gets all attempts."""
        self.ask(headers={"pg-attempt": 3, "pg-redeliveries": 20, "x-death": [death("work.retry")]})
        self.fail_call()
        self.assert_left(retry=1)
        self.assertEqual(self.taken("work.retry").headers["pg-attempt"], 2)

    def test_rejected(self) -> None:
        """A 4xx is a result, not a failure: it is the reply, and there is no further attempt."""
        self.ask()
        self.answer(422, b"no")
        self.assert_left(back=1)
        self.assertEqual(self.taken("back").status, 422)

    def test_no_reply_address(self) -> None:
        """A message without a reply address gets as many attempts, and is then parked. No reply is published."""
        self.ask(reply_to=None)
        for _ in range(3):
            self.fail_call()
            self.advance(60)
        self.assert_left(parking=1)
        self.assertEqual((len(self.model.calls), self.in_flight()), (3, 0))

    def test_full(self) -> None:
        """While the copy is nacked, the delivery stays unacknowledged, and ``waiting_for`` names the queue."""
        self.ask()
        self.assertEqual(self.reliable.waiting_for(), [])
        self.broker.faults.nack_publishes()
        self.fail_call()
        self.assertEqual(self.reliable.waiting_for(), ["work.retry"])
        self.assert_left(unacked=1)
        self.advance(1)
        self.assertEqual((self.reliable.waiting_for(), len(self.model.calls)), ([], 1))
        self.assert_left(retry=1)

    def test_retry_queue_deleted(self) -> None:
        """If the retry queue is deleted, it is declared again; then the copy is published, and comes back."""
        self.ask()
        self.delete("work.retry")
        self.fail_call()
        self.advance(2)
        self.assert_left(retry=1)
        self.advance(60)
        self.assertEqual(len(self.model.calls), 2)


class QuorumRetryTests(RetryTests):
    """The same tests with quorum queues."""

    keys: ClassVar[dict[str, Any]] = {**RetryTests.keys, "queueType": "quorum"}


class WithoutRetryTests(ProviderOnBrokerTestCase):
    """The entry has no ``dle``."""

    keys: ClassVar[dict[str, Any]] = {"maxAttempts": 3}

    def test_failure(self) -> None:
        """The error is the reply at once, and nothing is parked."""
        self.ask()
        self.fail_call("status")
        self.assert_left(back=1)
        self.assertEqual(self.taken("back").headers["pg-reason"], "status")

    def test_too_large(self) -> None:
        """A message over the limit is answered with 413, without a model call. One at the limit is served."""
        self.ask(b"x" * 1001)
        self.assert_left(back=1)
        reply = self.taken("back")
        self.assertEqual((reply.status, reply.headers["pg-reason"], self.model.calls), (413, "too-large", []))
        self.assertIn("1000 bytes", json.loads(reply.body)["detail"])
        self.ask(b"x" * 1000)
        self.assertEqual(len(self.model.calls), 1)

    def test_no_reply_address_and_failure(self) -> None:
        """A message without a reply address is parked at once when the model fails or answers with 4xx."""
        for reason in ("body", "rejected"):
            self.ask(reply_to=None)
            if reason == "rejected":
                self.answer(400)
            else:
                self.fail_call(reason)
            self.assert_left(parking=1)
            self.assertEqual((self.taken("work.parking").headers["pg-reason"], self.parked(reason)), (reason, 1))

    def test_no_reply_address_and_success(self) -> None:
        """After a 2xx, a message without a reply address is acknowledged, and nothing is published."""
        for status in (200, 204, 299):
            self.ask(reply_to=None)
            self.answer(status)
            self.assert_left()

    def test_no_reply_address_and_too_large(self) -> None:
        """A message over the limit without a reply address is parked unchanged."""
        self.ask(b"x" * 1001, reply_to=None)
        self.assertEqual((self.taken("work.parking").body, self.parked("too-large")), (b"x" * 1001, 1))
        self.assertEqual(self.model.calls, [])

    def test_unforeseen(self) -> None:
        """After an unforeseen error the message is parked, and the error is logged."""
        self.ask(reply_to=None)
        self.model.calls[0][2].errback(KeyError("x"))
        self.pump()
        self.assertEqual((len(self.flushLoggedErrors(KeyError)), self.parked("internal")), (1, 1))
        self.assert_left(parking=1)


class ExpiryTests(ProviderOnBrokerTestCase):
    """Messages whose reply nobody waits for any more."""

    def expired(self) -> float:
        return counted(self.metrics.expired, "work")

    def test_deadline(self) -> None:
        """At its deadline a message is dropped, acknowledged and counted. Before it, the message is served."""
        self.advance(1000)
        self.ask(headers={"pg-deadline": 1_000_000})
        self.assert_left()
        self.assertEqual((self.model.calls, self.expired(), self.in_flight()), ([], 1, 0))
        for value in (1_000_001, "1", None, [1]):
            self.ask(headers={"pg-deadline": value})
        self.assertEqual((len(self.model.calls), self.expired()), (4, 1))

    def test_caller_gave_up(self) -> None:
        """A message is dropped if its caller waited in this process and gave up. Other messages are served."""
        self.given_up.add("c1")
        self.ask()
        self.assert_left()
        self.assertEqual((self.model.calls, self.expired()), ([], 1))
        for correlation_id in ("c2", None):
            self.ask(correlation_id=correlation_id)
        self.assertEqual((len(self.model.calls), self.expired()), (2, 1))

    def test_later_attempts(self) -> None:
        """After its first attempt a message never expires: work that was begun is not lost."""
        self.ask(headers={"pg-deadline": 1000})
        self.fail_call()
        self.given_up.add("c1")
        self.advance(60)
        self.assertEqual((len(self.model.calls), self.expired()), (2, 0))
        self.ask(headers={"pg-attempt": 2})  # an initiator's claim
        self.assertEqual((len(self.model.calls), self.expired()), (2, 1))

    def test_too_large_and_late(self) -> None:
        """A message that is expired and too large is dropped; there is no reply."""
        self.ask(b"x" * 1001, headers={"pg-deadline": 0})
        self.assert_left()
        self.assertEqual(self.expired(), 1)


class SharedRouteTests(ProviderOnBrokerTestCase):
    """The seed's retry route, which leads through an exchange that another queue is bound to."""

    keys: ClassVar[dict[str, Any]] = {"dle": True, "maxAttempts": 3, "dleParams": dle("work.retry")}

    def test_copies(self) -> None:
        """After the delay each bound queue gets a copy. The one in this queue is the next attempt."""
        self.make_queue("other")
        self.other().queue_bind("other", "ML.MQ", "predict.#")
        self.ask()
        self.fail_call()
        self.advance(60)
        self.assertEqual((len(self.model.calls), self.waiting("other")), (2, 2))
        self.fail_call()
        self.assert_left(retry=1)
        copy = self.taken("work.retry")
        self.assertEqual((copy.headers["pg-attempt"], "x-death" in copy.headers), (3, False))

    def test_foreign(self) -> None:
        """A copy of another queue's message is not served but acknowledged, and counted as foreign, not as expired."""
        self.ask(exchange="dlx", headers={"pg-queue": "other", "pg-attempt": 2, "pg-deadline": 0})
        self.advance(60)
        self.assert_left()
        self.assertEqual((self.model.calls, counted(self.metrics.foreign_copies, "work")), ([], 1))
        self.assertEqual(counted(self.metrics.expired, "work"), 0)
