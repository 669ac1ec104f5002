"""Messages whose answer is kept: where their replies go, what those say, and what becomes of unstarted ones."""

from __future__ import annotations

import json
from typing import Any

from tests.support.observability import counted
from tests.support.provider_on_broker import ProviderOnBrokerTestCase

RESULTS = "replies.results"


class KeptTestCase(ProviderOnBrokerTestCase):
    """A provider, the reply queue of an instance (``back``), and the results queue."""

    def setUp(self) -> None:
        super().setUp()
        self.make_queue(RESULTS)

    def ask_kept(self, *, headers: dict[str, Any] | None = None, **properties: Any) -> None:
        """Publish a request as a gateway with a store does."""
        kept = {"RqUID": "r1", "pg-results": RESULTS, "pg-owner": "alice", "pg-published": 0}
        self.ask(headers={**kept, **(headers or {})}, **properties)

    def reply(self, queue: str = "back") -> dict[str, Any]:
        """The headers that begin with ``pg-`` of the only reply in a queue."""
        return {name: value for name, value in self.taken(queue).headers.items() if name.startswith("pg-")}

    def shovel(self) -> None:
        """Move the parked message back to its queue, as RabbitMQ's shovel does: as it is."""
        message = self.taken("work.parking")
        self.put(
            "",
            "work",
            message.body,
            headers=dict(message.headers),
            reply_to=message.reply_to,
            correlation_id=message.correlation_id,
            message_id=message.message_id,
        )


RECORD = {"pg-owner": "alice", "pg-routing-key": "predict.now", "pg-published": 0}


class ReplyHeadersTests(KeptTestCase):
    """What a reply says of its message: a record can be made of it."""

    def test_result(self) -> None:
        """A result has owner, routing key, time of publishing and number of attempts."""
        self.ask_kept()
        self.answer()
        expected = {**RECORD, "pg-status": 200, "pg-waited": 0, "pg-attempts": 1}
        self.assertEqual(self.reply(), expected)

    def test_not_kept(self) -> None:
        """Any other reply has none of this, whatever else the message brings."""
        for results in ({}, {"pg-results": ""}, {"pg-results": 7}, {"pg-results": None}):
            self.ask(headers={"RqUID": "r1", "pg-owner": "alice", "pg-routing-key": "x", **results})
            self.answer()
            self.assertEqual(self.reply(), {"pg-status": 200})

    def test_odd_headers(self) -> None:
        """What is no text, or no number, is left out; the routing key is then the one that brought the message."""
        self.ask_kept(headers={"pg-owner": 7, "pg-published": "then", "pg-routing-key": ["x"]})
        self.answer()
        self.assertEqual(self.reply(), {"pg-status": 200, "pg-routing-key": "predict.now", "pg-attempts": 1})

    def test_no_owner(self) -> None:
        """An empty owner is one, too: whoever knows the id may see the record."""
        self.ask_kept(headers={"pg-owner": ""})
        self.answer()
        self.assertEqual(self.reply()["pg-owner"], "")

    def test_before_a_call(self) -> None:
        """An error before the model is called says that it was not."""
        self.ask_kept(body=b"x" * 1001)
        reply = self.reply()
        self.assertEqual((reply["pg-status"], reply["pg-attempts"]), (413, 0))

    def test_attempts(self) -> None:
        """A retried message keeps owner, routing key and time, and counts its attempts; it tells no wait."""
        self.ask_kept()
        for _ in range(2):
            self.fail_call()
            self.advance(60)
        self.answer()
        self.assertEqual(self.reply(), {**RECORD, "pg-status": 200, "pg-attempts": 3})

    def test_held(self) -> None:
        """A message that is given back to its queue while the model is away keeps them, too."""
        self.ask_kept(headers={"pg-deadline": 10**9})
        while "pg-copy" not in self.model.calls[-1][0].headers:
            if not self.model.calls[-1][2].called:
                self.model.be_away()
            self.clock.advance(1)
            self.pump()
        self.answer()
        reply = self.reply()
        self.assertEqual({name: reply[name] for name in RECORD}, RECORD)

    def test_parked(self) -> None:
        """The error reply of a parked message names the parking queue; the copy there keeps all, to be replayed."""
        self.ask_kept()
        for _ in range(3):
            self.fail_call()
            self.advance(60)
        expected = {**RECORD, "pg-status": 502, "pg-reason": "timeout", "pg-attempts": 3, "pg-parked": "work.parking"}
        self.assertEqual(self.reply("back"), expected)
        parked = self.taken("work.parking").headers
        self.assertEqual({name: parked[name] for name in RECORD}, RECORD)
        self.assertEqual((parked["pg-results"], parked["pg-parked"]), (RESULTS, "work.parking"))


class RouteTests(KeptTestCase):
    """Where a reply goes."""

    def test_dead_instance(self) -> None:
        """A reply whose address has no queue goes to the results queue, and the message is not parked."""
        self.ask_kept(reply_to="replies.dead")
        self.answer()
        self.assertEqual(self.reply(RESULTS)["pg-status"], 200)
        self.assert_left()

    def test_dead_instance_and_error(self) -> None:
        """So does the error of a message that is parked."""
        self.ask_kept(reply_to="replies.dead")
        for _ in range(3):
            self.fail_call()
            self.advance(60)
        self.assertEqual(self.reply(RESULTS)["pg-parked"], "work.parking")
        self.assert_left(parking=1)

    def test_results_queue_is_missing(self) -> None:
        """If there is no results queue either, the message is parked, and its answer is not lost unseen."""
        self.delete(RESULTS)
        self.ask_kept(reply_to="replies.dead")
        self.answer()
        self.assert_left(parking=1)
        self.assertEqual(self.parked("reply"), 1)

    def test_no_reply_address(self) -> None:
        """A message without a reply address that names a results queue is answered there."""
        self.ask_kept(reply_to=None)
        self.answer()
        self.assertEqual(self.reply(RESULTS)["pg-status"], 200)
        self.assert_left()

    def test_address_that_is_not_utf_8(self) -> None:
        """A reply address that is no text cannot be a queue's name; the results queue is."""
        self.ask_kept(reply_to=b"\xff")
        self.answer()
        self.assertEqual(self.reply(RESULTS)["pg-status"], 200)

    def test_long_after_its_caller(self) -> None:
        """A reply that comes a minute after its caller gave up goes to the results queue at once.

        The queue of an instance that died passes replies on only until it expires itself: then they would be lost.
        """
        for late, queue in ((59, "back"), (61, RESULTS)):
            now = self.clock.seconds()
            self.ask_kept(headers={"pg-deadline": int(1000 * (now + 90))})
            self.advance(90 + late)
            self.answer()
            self.assertEqual(self.reply(queue)["pg-status"], 200)
            self.assert_left()

    def test_long_after_its_caller_retried(self) -> None:
        """The time of the caller counts for a retried message, too."""
        self.ask_kept(headers={"pg-deadline": 90_000})
        self.fail_call()
        self.advance(60)
        self.advance(91)
        self.answer()
        self.assertEqual(self.reply(RESULTS)["pg-attempts"], 2)

    def test_failure_is_not_told_early(self) -> None:
        """A caller who cannot wait for the next attempt is told of no failure: it can fetch what comes of that."""
        self.ask_kept(headers={"pg-deadline": 30_000})
        self.fail_call()
        self.assertEqual(self.take("back"), [])
        self.advance(60)
        self.answer()
        self.assertEqual(self.reply()["pg-status"], 200)

    def test_replayed(self) -> None:
        """A parked message that is moved back to its queue is served, and its answer goes to the results queue."""
        self.ask_kept(headers={"pg-deadline": 90_000})
        for _ in range(3):
            self.fail_call()
            self.advance(60)
        self.take("back")
        self.given_up.add("c1")  # in the process that the caller asked
        self.advance(1000)
        self.shovel()
        self.answer()
        self.assertEqual(self.reply(RESULTS), {**RECORD, "pg-status": 200, "pg-attempts": 1, "pg-waited": 1_180_000})
        self.assert_left()

    def test_replayed_and_parked_again(self) -> None:
        """A replayed message that fails again is parked again, and the results queue learns it."""
        self.ask_kept()
        for _ in range(2):
            for _ in range(3):
                self.fail_call()
                self.advance(60)
            self.shovel()
        self.take("back")
        self.assertEqual(self.reply(RESULTS)["pg-parked"], "work.parking")

    def test_not_allowed(self) -> None:
        """A message that names a queue of ours, or an impossible one, as its results queue is parked unanswered."""
        for results in ("work", "work.retry", "work.parking", "x" * 256):
            self.ask_kept(headers={"pg-results": results})
            self.assert_left(parking=1)
            self.take("work.parking")
        self.assertEqual(self.parked("reply-to"), 4)
        self.assertEqual(self.model.calls, [])

    def test_not_allowed_and_expired(self) -> None:
        """It gets no word of an expiry either: that would be a request message for the queue that it names."""
        self.ask_kept(headers={"pg-results": "work", "pg-deadline": 0})
        self.assert_left(parking=1)


class UnstartedTests(KeptTestCase):
    """Messages that are dropped before their call."""

    def test_expired(self) -> None:
        """The drop of an expired message is told to the results queue, with a problem document."""
        self.clock.advance(100)
        self.ask_kept(headers={"pg-deadline": 90_000})
        reply = self.taken(RESULTS)
        self.assertEqual(reply.correlation_id, "c1")
        problem = json.loads(reply.body)
        self.assertEqual((problem["status"], problem["rquid"]), (504, "r1"))
        headers = {name: value for name, value in reply.headers.items() if name.startswith("pg-")}
        self.assertEqual(headers, {**RECORD, "pg-status": 504, "pg-reason": "expired", "pg-attempts": 0})
        self.assert_left()
        self.assertEqual(counted(self.metrics.expired, "work"), 1)

    def test_expired_unconfirmed(self) -> None:
        """The message is acknowledged only when that word is confirmed."""
        self.broker.faults.hold_confirms()
        self.clock.advance(100)
        self.ask_kept(headers={"pg-deadline": 90_000})
        self.assert_left(unacked=1)
        self.broker.faults.release_confirms()
        self.pump()
        self.assert_left()

    def test_expired_without_results_queue(self) -> None:
        """If nobody takes that word, the message is dropped all the same."""
        self.delete(RESULTS)
        self.clock.advance(100)
        self.ask_kept(headers={"pg-deadline": 90_000})
        self.assert_left()

    def test_expired_of_others(self) -> None:
        """An expired message whose answer is not kept is dropped without a word, as ever."""
        self.clock.advance(100)
        self.ask(headers={"pg-deadline": 90_000})
        self.assert_left()
        self.assertEqual(self.waiting(RESULTS), 0)

    def test_caller_is_gone(self) -> None:
        """A caller of this process that is gone makes its message expire, unless it will fetch the answer."""
        self.given_up.add("c1")
        self.ask_kept(headers={"pg-deadline": 90_000})
        self.assertEqual(self.reply(RESULTS)["pg-reason"], "expired")
        self.ask_kept(message_id="m2")
        self.answer()
        self.assertEqual(self.reply()["pg-status"], 200)

    def test_canceled(self) -> None:
        """A canceled request is not started: its message is dropped without a reply, and counted."""
        self.canceled.add("c1")
        self.ask_kept()
        self.assertEqual(self.model.calls, [])
        self.assert_left()
        self.assertEqual(self.waiting(RESULTS), 0)
        self.assertEqual(counted(self.metrics.canceled, "work"), 1)
        self.assertEqual(counted(self.metrics.expired, "work"), 0)

    def test_canceled_between_attempts(self) -> None:
        """Neither is its next attempt."""
        self.ask_kept()
        self.fail_call()
        self.canceled.add("c1")
        self.advance(60)
        self.assertEqual(len(self.model.calls), 1)
        self.assert_left()
        self.assertEqual(counted(self.metrics.canceled, "work"), 1)

    def test_canceled_in_its_call(self) -> None:
        """A call that has begun goes on; its reply is for the store to judge."""
        self.ask_kept()
        self.canceled.add("c1")
        self.answer()
        self.assertEqual(self.reply()["pg-status"], 200)

    def test_canceled_of_others(self) -> None:
        """A message whose answer is not kept cannot be canceled: its id may be anybody's choice."""
        self.canceled |= {"c1", None}
        self.ask()
        self.answer()
        self.assertEqual(self.taken("back").body, b"42")
