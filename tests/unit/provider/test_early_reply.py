"""A caller that does not wait until the next attempt is told of the failure at once, and gets no other reply."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from tests.support.observability import counted
from tests.support.provider_on_broker import ProviderOnBrokerTestCase
from tests.support.queue_entries import dle
from tests.unit.provider.base import death

#: What copies say of attempts and callers.
MARKS = ("pg-attempt", "pg-answered", "pg-reply-by", "pg-deadline")


class EarlyReplyTests(ProviderOnBrokerTestCase):
    """Three attempts, a minute apart."""

    def ask_until(self, seconds: float, **properties: Any) -> None:
        """Publish a request whose caller waits until a time of the clock."""
        self.ask(headers={"RqUID": "r1", "pg-deadline": int(1000 * seconds)}, **properties)

    def assert_told(self) -> None:
        """Check that the caller was told of the failure, once."""
        reply = self.taken("back")
        self.assertEqual(reply.headers, {"RqUID": "r1", "pg-status": 502, "pg-reason": "status"})
        self.assertEqual((reply.correlation_id, json.loads(reply.body)["status"]), ("c1", 502))
        self.assertIn("may be executed", json.loads(reply.body)["detail"])

    def assert_attempt(self, count: int, **marks: int) -> None:
        """Check how many calls were made, and what the message of the last one says."""
        self.assertEqual(len(self.model.calls), count)
        headers = self.model.calls[-1][0].headers
        self.assertEqual({name: headers[name] for name in MARKS if name in headers}, marks)

    def test_first_failure(self) -> None:
        """The caller is told after the first failure if the next attempt comes at its deadline or later.

        The message is tried up to the last attempt and parked, and there is no second reply.
        """
        self.ask_until(60)
        self.fail_call("status")
        self.assert_left(back=1, retry=1)
        self.assert_told()
        for attempt in (2, 3):
            self.advance(60)
            self.assert_attempt(attempt, **{"pg-attempt": attempt, "pg-answered": 1})
            self.fail_call("status")
        self.assert_left(parking=1)
        headers = self.taken("work.parking").headers
        self.assertEqual((headers["pg-attempt"], headers["pg-answered"], headers["pg-reason"]), (3, 1, "status"))
        self.assertNotIn("pg-deadline", headers)  # served again, the message must not be dropped
        self.assertEqual((counted(self.metrics.retried, "work", "status"), self.parked("status")), (2, 1))

    def test_later_failure(self) -> None:
        """A caller that waits until the next attempt is told after the failure before the one that it does not see."""
        self.ask_until(90)
        self.fail_call("status")
        self.assert_left(retry=1)
        self.advance(60)
        self.assert_attempt(2, **{"pg-attempt": 2, "pg-reply-by": 90_000})
        self.fail_call("status")
        self.assert_left(back=1, retry=1)
        self.assert_told()
        self.advance(60)
        self.assert_attempt(3, **{"pg-attempt": 3, "pg-answered": 1})

    def test_deadline_allows_all(self) -> None:
        """A caller that waits long enough gets the error of the last attempt, and nothing before."""
        self.ask_until(1000)
        for _ in range(2):
            self.fail_call()
            self.assert_left(retry=1)
            self.advance(60)
        self.fail_call()
        self.assert_left(parking=1, back=1)
        self.assertNotIn("pg-answered", self.taken("work.parking").headers)

    def test_result_after_it(self) -> None:
        """A result after the caller was told is acknowledged and not sent. A 4xx is parked, as without a caller."""
        for status, left in ((200, {}), (422, {"parking": 1})):
            self.ask_until(self.clock.seconds() + 10)
            self.fail_call("status")
            self.assert_told()
            self.advance(60)
            self.answer(status)
            self.assert_left(**left)

    def test_reply_first(self) -> None:
        """The copy, which says that the caller was told, is published when that reply is confirmed, and not before."""
        self.ask_until(10)
        self.broker.faults.hold_confirms()
        self.fail_call("status")
        self.assert_left(unacked=1, back=1)
        self.broker.faults.release_confirms()
        self.pump()
        self.assert_left(back=1, retry=1)

    def test_killed_between(self) -> None:
        """If the process dies between reply and copy, the message is served again as unanswered. Nothing is lost."""
        self.ask_until(10)
        self.broker.faults.hold_confirms()
        self.fail_call("status")
        self.die()
        self.broker.faults.release_confirms()
        self.pump()
        self.assert_told()
        self.answer(number=1)
        self.assert_left(back=1)
        self.assertEqual(self.taken("back").status, 200)

    def test_killed_afterwards(self) -> None:
        """The mark survives a redelivery of the copy: its renewed copy has it, too."""
        self.ask_until(10)
        self.fail_call("status")
        self.assert_told()
        self.advance(60)
        self.die()
        self.assert_attempt(3, **{"pg-attempt": 2, "pg-answered": 1})
        self.answer()
        self.assert_left()

    def test_no_queue_for_the_reply(self) -> None:
        """If the caller's queue is gone, nobody was told: the message is retried without the mark."""
        self.ask_until(10)
        self.delete("back")
        self.fail_call("status")
        self.assertEqual(self.waiting("work.retry"), 1)
        self.make_queue("back")
        self.advance(60)
        self.assert_attempt(2, **{"pg-attempt": 2, "pg-reply-by": 10_000})
        self.answer()
        self.assert_left(back=1)

    def test_nobody_waits(self) -> None:
        """Without a deadline, or without a reply address of its own, a message gets no early reply."""
        for properties in ({}, {"headers": {"pg-deadline": 1000}, "reply_to": None}, {"headers": {"pg-deadline": "1"}}):
            self.ask(**properties)
            self.fail_call()
            self.assert_left(retry=1)
            self.assertNotIn("pg-answered", self.taken("work.retry").headers)

    def test_forged(self) -> None:
        """Marks that a client writes suppress no reply, and do not travel in copies."""
        forged = {"pg-answered": 1, "pg-reply-by": 1, "pg-attempt": 2, "x-death": [death("work.retry")]}
        self.ask(headers=forged)
        self.answer()
        self.assert_left(back=1)
        self.taken("back")
        self.ask(headers=forged)
        self.fail_call()
        self.advance(60)
        self.assert_attempt(3, **{"pg-attempt": 2})
        self.fail_call()
        self.advance(60)
        self.fail_call()
        self.assert_left(parking=1, back=1)


class SeedRouteTests(EarlyReplyTests):
    """The same on the seed's retry route, whose delay is in ``dleArgs``."""

    keys: ClassVar[dict[str, Any]] = {
        "dle": True,
        "maxAttempts": 3,
        "retryDelay": 1,
        "dleParams": dle("work.retry"),
    }

    def test_forged(self) -> None:
        """Marks that a client writes suppress no reply, unless it forges the broker's record of the route as well."""
        self.ask(headers={"pg-answered": 1, "pg-reply-by": 1, "pg-attempt": 2})
        self.answer()
        self.assert_left(back=1)


class WithoutRetryTests(ProviderOnBrokerTestCase):
    """The entry has no ``dle``."""

    keys: ClassVar[dict[str, Any]] = {"maxAttempts": 3}

    def test_one_reply(self) -> None:
        """The error is the reply at once, with a deadline as without one, and nothing is tried again."""
        self.ask(headers={"pg-deadline": 1000})
        self.fail_call("status")
        self.assert_left(back=1)
        self.assertNotIn("may be executed", json.loads(self.taken("back").body)["detail"])
