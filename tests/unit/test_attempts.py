"""What becomes of messages that the model fails on, that nobody waits for, or that come back unacknowledged."""

from __future__ import annotations

import json
from typing import Any

from provider_gateway.errors import Nacked
from provider_gateway.messages import Message
from tests.unit.test_messages import over_the_wire
from tests.unit.test_provider import ProviderTestCase
from tests.unit.test_retry import death, dle
from tests.unit.test_rpc import FakeDelivery, counted

#: Of a delivery that comes back on the queue's own route.
BACK = {"exchange": "work.return", "routing_key": ""}


class AttemptsTestCase(ProviderTestCase):
    """A provider with three attempts."""

    keys = {"dle": True, "maxAttempts": 3}  # noqa: RUF012 - as in the base class

    @property
    def targets(self) -> list[tuple[str, str]]:
        """Exchange and routing key of each publish."""
        return [(exchange, key) for _, exchange, key, _ in self.publisher.published]

    @property
    def headers(self) -> dict[str, Any]:
        """The headers that were published last."""
        return dict(over_the_wire(self.reply.properties()).headers)

    def parked(self, reason: str) -> float:
        return counted(self.metrics.parked, "work", reason)

    def come_back(self) -> FakeDelivery:
        """Deliver the copy that was published last, as the return exchange does."""
        copy = self.reply
        properties = over_the_wire(copy.properties())
        properties.headers["x-death"] = [death("work.retry")]
        made = FakeDelivery(Message.received(properties, copy.body), **BACK)
        self.provider.serve(made)
        return made


class RetryTests(AttemptsTestCase):
    """Attempt after attempt."""

    def test_up_to_the_last(self) -> None:
        """Attempts are counted over the copies; after the last one the message is parked, then the error replied."""
        delivery = self.serve(headers={"RqUID": "r1", "x-tenant": "a"})
        for attempt in (2, 3):
            self.model.fail("timeout")
            self.assertEqual(self.targets[-1], ("", "work.retry"))
            self.assertEqual((self.headers["pg-attempt"], self.headers["pg-reason"]), (attempt, "timeout"))
            self.assertEqual(delivery.acks, 0)
            self.publisher.confirm()
            self.assertEqual(delivery.acks, 1)
            delivery = self.come_back()
        self.model.fail("connection")
        self.assertEqual(self.targets[2:], [("", "work.parking")])
        self.assertEqual((self.headers["pg-attempt"], self.headers["pg-reason"]), (3, "connection"))
        self.publisher.confirm()
        self.assertEqual((self.targets[3:], delivery.acks), ([("", "back")], 0))
        self.assertEqual(self.reply.headers, {"RqUID": "r1", "pg-status": 502, "pg-reason": "connection"})
        self.assertEqual(self.reply.correlation_id, "c1")
        self.publisher.confirm()
        self.assertEqual(delivery.acks, 1)
        self.assertEqual((len(self.model.calls), self.in_flight()), (3, 0))
        self.assertEqual(counted(self.metrics.retried, "work", "timeout"), 2)
        self.assertEqual(self.parked("connection"), 1)
        self.successResultOf(self.provider.idle())

    def test_same_message(self) -> None:
        """Each attempt gets the same body, ids, reply address and request id."""
        self.serve(body=b' {"a":1} ', message_id="m")
        self.model.fail()
        self.publisher.confirm()
        self.come_back()
        first, second = (call[0] for call in self.model.calls)
        for name in ("body", "correlation_id", "reply_to", "message_id"):
            self.assertEqual(getattr(first, name), getattr(second, name), name)
        self.model.answer()
        self.assertEqual((self.reply.headers["RqUID"], self.reply.correlation_id), ("r1", "c1"))

    def test_answer_of_a_later_attempt(self) -> None:
        """An answer of a later attempt is the reply like any other."""
        self.serve()
        self.model.fail()
        self.publisher.confirm()
        delivery = self.come_back()
        self.model.answer()
        self.assertEqual((self.targets[-1], self.reply.body), (("", "back"), b"42"))
        self.publisher.confirm()
        self.assertEqual(delivery.acks, 1)

    def test_claims_of_a_client(self) -> None:
        """A number of attempts that a client sends counts for nothing: its message has all of them."""
        self.serve(headers={"pg-attempt": 3, "pg-redeliveries": 20, "x-death": [death("work.retry")]})
        self.model.fail()
        self.assertEqual((self.targets, self.headers["pg-attempt"]), ([("", "work.retry")], 2))

    def test_rejected(self) -> None:
        """A 4xx is an answer, not a failure: there is no other attempt."""
        delivery = self.serve()
        self.model.answer(422, b"no")
        self.assertEqual((self.targets, self.reply.headers["pg-status"]), ([("", "back")], 422))
        self.publisher.confirm()
        self.assertEqual(delivery.acks, 1)

    def test_worker(self) -> None:
        """A worker's message is tried as often, and then parked, without a reply."""
        self.keys = {**self.keys, "replyTo": None}
        self.setUp()
        delivery = self.serve(reply_to=None)
        for _ in range(2):
            self.model.fail()
            self.publisher.confirm()
            delivery = self.come_back()
        self.model.fail()
        self.publisher.confirm()
        self.assertEqual(self.targets, [("", "work.retry"), ("", "work.retry"), ("", "work.parking")])
        self.assertEqual((delivery.acks, self.in_flight()), (1, 0))

    def test_full(self) -> None:
        """While a copy waits for its queue, the delivery stays open, and the queue is named as what is waited for."""
        delivery = self.serve()
        self.model.fail()
        self.assertEqual(self.provider.waiting_for(), [])
        self.publisher.fail(Nacked("full"))
        self.assertEqual((self.provider.waiting_for(), delivery.acks), (["queue work.retry"], 0))
        self.clock.advance(1)
        self.publisher.confirm()
        self.assertEqual((self.provider.waiting_for(), delivery.acks), ([], 1))
        self.assertEqual(len(self.model.calls), 1)


class WithoutRetryTests(AttemptsTestCase):
    """The entry has no ``dle``."""

    keys = {"maxAttempts": 3}  # noqa: RUF012 - as in the base class

    def test_failure(self) -> None:
        """The error is replied at once, and nothing is parked."""
        delivery = self.serve()
        self.model.fail("status")
        self.assertEqual((self.targets, self.headers["pg-reason"]), ([("", "back")], "status"))
        self.publisher.confirm()
        self.assertEqual((delivery.acks, len(self.publisher.published)), (1, 1))

    def test_too_large(self) -> None:
        """A message over the limit is answered with 413 and never shown to the model; one at the limit is served."""
        delivery = self.serve(body=b"x" * 1001)
        self.assertEqual((self.targets, self.model.calls), ([("", "back")], []))
        self.assertEqual((self.headers["pg-status"], self.headers["pg-reason"]), (413, "too-large"))
        self.assertIn("1000 bytes", json.loads(self.reply.body)["detail"])
        self.publisher.confirm()
        self.assertEqual(delivery.acks, 1)
        self.serve(body=b"x" * 1000)
        self.assertEqual(len(self.model.calls), 1)


class WorkerTests(AttemptsTestCase):
    """No ``dle``, and nobody to reply to."""

    reply_to = None
    keys = {}  # noqa: RUF012 - as in the base class

    def assert_parked(self, delivery: FakeDelivery, reason: str) -> None:
        self.assertEqual((self.targets, delivery.acks), ([("", "work.parking")], 0))
        self.assertEqual(self.headers["pg-reason"], reason)
        self.publisher.confirm()
        self.assertEqual((delivery.acks, len(self.publisher.published)), (1, 1))
        self.assertEqual(self.parked(reason), 1)

    def test_failure(self) -> None:
        """A message that the model failed on is parked at once."""
        delivery = self.serve(reply_to=None)
        self.model.fail("body")
        self.assert_parked(delivery, "body")

    def test_rejected(self) -> None:
        """A message that the model answers with 4xx is parked: nobody would see the answer."""
        delivery = self.serve(reply_to=None)
        self.model.answer(400)
        self.assert_parked(delivery, "rejected")

    def test_success(self) -> None:
        """A message that the model answers with 2xx is acknowledged, and nothing is published."""
        for status in (200, 204, 299):
            delivery = self.serve(reply_to=None)
            self.model.answer(status)
            self.assertEqual((self.targets, delivery.acks), ([], 1))

    def test_too_large(self) -> None:
        """A message over the limit is parked as it is."""
        delivery = self.serve(body=b"x" * 1001, reply_to=None)
        self.assertEqual(self.model.calls, [])
        self.assert_parked(delivery, "too-large")
        self.assertEqual(self.reply.body, b"x" * 1001)

    def test_unforeseen(self) -> None:
        """A message that an unforeseen error befell is parked, and the error logged."""
        delivery = self.serve(reply_to=None)
        self.model.calls[0][2].errback(KeyError("x"))
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assert_parked(delivery, "internal")


class ExpiryTests(AttemptsTestCase):
    """Messages that nobody waits for any more."""

    def expired(self) -> float:
        return counted(self.metrics.expired, "work")

    def test_deadline(self) -> None:
        """At its deadline a message is dropped, acknowledged and counted; before it, it is served."""
        self.clock.advance(1000)
        delivery = self.serve(headers={"pg-deadline": 1_000_000})
        self.assertEqual((delivery.acks, self.model.calls, self.targets, self.expired()), (1, [], [], 1))
        self.assertEqual(self.in_flight(), 0)
        for value in (1_000_001, "1", None, 5.5, [1]):
            self.serve(headers={"pg-deadline": value})
        self.assertEqual((len(self.model.calls), self.expired()), (5, 1))

    def test_caller_gave_up(self) -> None:
        """A message whose caller waited in this process and is gone is dropped; others' are served."""
        self.given_up.add("c1")
        delivery = self.serve()
        self.assertEqual((delivery.acks, self.model.calls, self.expired()), (1, [], 1))
        self.serve(correlation_id="c2")
        self.serve(correlation_id=None)
        self.assertEqual((len(self.model.calls), self.expired()), (2, 1))

    def test_later_attempts(self) -> None:
        """What was tried before is tried again, whoever waits: dropping it would lose work that was begun."""
        self.given_up.add("c1")
        self.clock.advance(1000)
        headers = {"pg-attempt": 2, "pg-deadline": 1}
        delivery = self.serve(headers=headers, delivery=BACK)
        self.assertEqual((delivery.acks, len(self.model.calls), self.expired()), (0, 1, 0))
        self.serve(headers=headers)  # a client's claim
        self.assertEqual((len(self.model.calls), self.expired()), (1, 1))

    def test_too_large_and_late(self) -> None:
        """Nobody is told that a message is too large if nobody waits."""
        self.serve(body=b"x" * 1001, headers={"pg-deadline": 0})
        self.assertEqual((self.targets, self.expired()), ([], 1))


class ForeignCopyTests(AttemptsTestCase):
    """The seed's retry route, on an exchange that others share."""

    keys = {"dle": True, "maxAttempts": 3, "dleParams": dle()}  # noqa: RUF012 - as in the base class

    def test_dropped(self) -> None:
        """A copy of another queue's message is acknowledged and counted, not run, and not taken for expired."""
        headers = {"pg-queue": "other", "pg-attempt": 2, "x-death": [death()], "pg-deadline": 0}
        delivery = self.serve(headers=headers)
        self.assertEqual((delivery.acks, self.model.calls, self.targets), (1, [], []))
        self.assertEqual(counted(self.metrics.foreign_copies, "work"), 1)
        self.assertEqual(counted(self.metrics.expired, "work"), 0)

    def test_own(self) -> None:
        """This queue's own copy is the next attempt, and its failure goes the same way with the same key."""
        self.serve(headers={"pg-queue": "work", "pg-attempt": 2, "x-death": [death()]})
        self.model.fail()
        self.assertEqual((self.targets, self.headers["pg-attempt"]), ([("dlx", "predict.now")], 3))
        self.assertNotIn("x-death", self.headers)
        self.assertEqual(counted(self.metrics.foreign_copies, "work"), 0)
