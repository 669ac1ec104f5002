"""Messages that come back unacknowledged: counted, known again, or parked."""

from __future__ import annotations

from typing import Any, ClassVar

from tests.support.observability import counted
from tests.support.provider_on_broker import ProviderOnBrokerTestCase


class RedeliveryTestCase(ProviderOnBrokerTestCase):
    """A provider, and what it counts and knows of what comes back."""

    def states(self) -> dict[str, float]:
        """How often which kind of redelivery was counted."""
        counts = {each: counted(self.metrics.redelivered, "work", each) for each in ("running", "settled", "unknown")}
        return {state: count for state, count in counts.items() if count}

    def histories(self) -> list[tuple[Any, ...]]:
        """Attempts and redeliveries that the messages which the model was called with say they had."""
        names = ("pg-attempt", "pg-redeliveries")
        return [tuple(message.headers.get(name) for name in names) for message, _, _ in self.model.calls]


class CountedTests(RedeliveryTestCase):
    """A classic queue: what comes back may have killed us, and is counted."""

    def test_renewed(self) -> None:
        """An unknown redelivery is replaced by a copy that counts it, behind the others; only that is run."""
        self.ask()
        self.kill()
        self.ask(b"[]", message_id="m2")
        self.begin()
        self.assertEqual([message.body for message, _, _ in self.model.calls], [b"{}", b"[]", b"{}"])
        self.assertEqual(self.histories()[1:], [(None, None), (1, 1)])
        self.assertEqual(self.states(), {"unknown": 1})
        self.assertEqual(counted(self.metrics.retried, "work", "redelivered"), 0)
        self.assert_left(unacked=2)

    def test_until_it_is_confirmed(self) -> None:
        """The redelivery is acknowledged when its copy is confirmed, and not before."""
        self.ask()
        self.broker.faults.hold_confirms()
        self.die()
        self.assert_left(unacked=2)
        self.broker.faults.release_confirms()
        self.pump()
        self.assert_left(unacked=1)

    def test_attempts_go_on(self) -> None:
        """Redeliveries are no attempts, and attempts no redeliveries; both are kept."""
        self.ask()
        self.die()
        self.fail_call()
        self.advance(60)
        self.die()
        self.assertEqual(self.histories(), [(None, None), (1, 1), (2, 1), (2, 2)])
        self.fail_call()
        headers = self.taken("work.retry").headers
        self.assertEqual((headers["pg-attempt"], headers["pg-redeliveries"]), (3, 2))

    def test_parked(self) -> None:
        """What has killed twenty-one processes is parked when it comes again, and its caller told 500."""
        self.ask()
        for _ in range(20):
            self.die()
            self.advance(1)
        self.assertEqual((len(self.model.calls), self.histories()[-1]), (21, (1, 20)))
        self.die()
        self.assert_left(parking=1, back=1)
        self.assertEqual(self.taken("work.parking").headers["pg-reason"], "redelivered")
        self.assertEqual(self.taken("back").headers, {"RqUID": "r1", "pg-status": 500, "pg-reason": "redelivered"})
        self.assertEqual((len(self.model.calls), self.parked("redelivered")), (21, 1))

    def test_expired(self) -> None:
        """A redelivery that nobody waits for any more is dropped, not renewed; so is a renewed one that is late."""
        for deadline, when in ((10_000, 10), (30_000, 20)):
            self.ask(headers={"pg-deadline": deadline})
            if deadline == 30_000:
                self.die()
            self.kill()
            self.advance(when)
            self.begin()
        self.assert_left()
        self.assertEqual((len(self.model.calls), counted(self.metrics.expired, "work")), (3, 2))


class SuspectTests(RedeliveryTestCase):
    """What came back several times may be what kills the process."""

    def suspect(self, name: str, redeliveries: int = 3) -> None:
        self.ask(name.encode(), "work.return", "", headers={"pg-redeliveries": redeliveries}, message_id=name)

    def bodies(self) -> list[bytes]:
        return [message.body for message, _, _ in self.model.calls]

    def test_alone(self) -> None:
        """Suspects are served one after the other; messages that are none, at once and beside them."""
        self.suspect("a")
        self.suspect("b")
        self.assertEqual(self.model.calls, [])
        self.advance(1)
        self.assertEqual(len(self.model.calls), 1)
        self.suspect("c", 2)
        self.assertEqual(self.bodies()[1:], [b"c"])
        self.broker.faults.hold_confirms()
        self.answer(number=0)
        self.assertEqual(len(self.model.calls), 2, "before the first is settled")
        self.broker.faults.release_confirms()
        self.pump()
        self.assertEqual({self.bodies()[number] for number in (0, 2)}, {b"a", b"b"})

    def test_random_order(self) -> None:
        """Their order changes: one that kills whenever it is served must not always be the first."""
        first = set()
        for number in range(0, 80, 2):
            self.suspect("a")
            self.suspect("b")
            self.advance(1)
            first.add(self.bodies()[number])
            self.answer()
            self.answer()
        self.assertEqual(first, {b"a", b"b"})

    def test_claims_of_a_client(self) -> None:
        """A client's word on the count that quorum queues keep makes no suspect."""
        self.ask(headers={"x-delivery-count": 3})
        self.assertEqual(len(self.model.calls), 1)

    def test_abandoned(self) -> None:
        """At the end of the process, suspects that wait for their turn are left to the broker."""
        for name in ("a", "b", "c"):
            self.suspect(name)
            self.advance(1)
        self.provider.abandon()
        self.pump()
        self.assert_left(unacked=3)
        self.successResultOf(self.provider.idle())
        self.assertEqual(self.clock.getDelayedCalls(), [])


class KnownTests(RedeliveryTestCase):
    """Redeliveries of messages that this process knows."""

    def test_running(self) -> None:
        """A message that is being served is not run again, however often it comes; it is answered and settled once."""
        self.ask()
        for count in range(1, 5):
            self.reconnect()
            self.assertEqual((len(self.model.calls), self.states()), (1, {"running": count}))
        self.answer()
        self.assert_left(back=1)
        self.assertEqual(self.in_flight(), 0)
        self.successResultOf(self.provider.idle())

    def test_running_and_failing(self) -> None:
        """A message that comes again while it runs, and then fails, is retried once, on its newest delivery."""
        self.ask()
        self.reconnect()
        self.fail_call()
        self.assert_left(retry=1)

    def test_waiting_for_the_broker(self) -> None:
        """A reply that waits for a connection goes out once, whatever order connections come back in."""
        for consuming_first in (True, False):
            self.ask(message_id=f"m{consuming_first}")
            self.lose(self.publishing)
            self.answer()
            self.lose(self.consuming)
            for open_again in (self.consume, self.open_publisher)[:: 1 if consuming_first else -1]:
                open_again()
            self.assert_left(back=1)
            self.take("back")
        self.assertEqual(len(self.model.calls), 2)

    def test_waiting_for_a_full_queue(self) -> None:
        """A copy that waits for a full queue is not given up if the message comes again meanwhile."""
        self.ask()
        self.broker.faults.nack_publishes()
        self.fail_call()
        self.reconnect()
        self.assert_left(unacked=1)
        self.advance(1)
        self.assert_left(retry=1)

    def test_settled(self) -> None:
        """A message whose acknowledgement was lost is acknowledged when it comes again, and neither run nor copied."""
        self.ask()
        self.lose(self.consuming)
        self.answer()
        self.assert_left(ready=1, back=1)
        self.consume()
        self.assert_left(back=1)
        self.assertEqual((len(self.model.calls), self.states()), (1, {"settled": 1}))
        self.assertEqual(counted(self.metrics.consumed, "work"), 2)

    def test_settled_by_a_copy(self) -> None:
        """A message whose copy waits for another attempt is settled; the copy is another message, and is run."""
        self.ask()
        self.lose(self.consuming)
        self.fail_call()
        self.consume()
        self.assert_left(retry=1)
        self.advance(60)
        self.assertEqual((len(self.model.calls), self.states()), (2, {"settled": 1}))

    def test_not_redelivered(self) -> None:
        """A message that is not marked as redelivered is served, whatever its id: clients may use one twice."""
        self.ask()
        self.answer()
        self.ask()
        self.ask()
        self.assertEqual((len(self.model.calls), self.states()), (3, {}))

    def test_running_and_not_lost(self) -> None:
        """Another message of the same id that comes back does not take the delivery of the one that runs."""
        self.lose(self.consuming)
        self.ask()
        self.other().basic_get("work")
        self.pump()
        self.consume()
        self.ask()
        self.other().basic_nack(1)
        self.pump()
        self.assertEqual((len(self.model.calls), self.states()), (2, {"unknown": 1}))
        self.answer(number=0)
        self.assert_left(unacked=1, back=1)
        self.answer(number=1)
        self.assert_left(back=2)

    def test_two_of_the_same_id(self) -> None:
        """The end of one of two messages with the same id does not make the other unknown."""
        self.ask()
        self.ask()
        self.answer(number=0)
        self.reconnect()
        self.assertEqual(self.states(), {"running": 1})
        self.answer(number=1)
        self.assert_left(back=2)
        self.assertEqual(len(self.model.calls), 2)

    def test_without_id(self) -> None:
        """Messages without an id are never known again."""
        self.ask(message_id=None)
        self.reconnect()
        self.assertEqual((len(self.model.calls), self.states()), (2, {"unknown": 1}))
        self.answer(number=0)
        self.answer(number=1)
        self.assert_left(back=2)


class QuorumTests(RedeliveryTestCase):
    """A quorum queue counts deliveries itself."""

    keys: ClassVar[dict[str, Any]] = {"dle": True, "maxAttempts": 3, "queueType": "quorum"}

    def test_not_renewed(self) -> None:
        """A redelivery is run at once, with the queue's own count."""
        self.ask()
        self.die()
        self.assertEqual((len(self.model.calls), self.histories()[-1]), (2, (None, None)))
        self.assertEqual(self.model.calls[-1][0].headers["x-delivery-count"], 1)
        self.answer()
        self.assert_left(back=1)

    def test_known(self) -> None:
        """What runs is known again all the same."""
        self.ask()
        self.reconnect()
        self.assertEqual((len(self.model.calls), self.states()), (1, {"running": 1}))

    def test_count_of_others(self) -> None:
        """The count of another kind of queue does not park it."""
        self.ask(exchange="work.return", headers={"pg-redeliveries": 20})
        self.die()
        self.assertEqual(len(self.model.calls), 2)
        self.assert_left(unacked=1)

    def test_suspects(self) -> None:
        """What the queue has counted three times is served alone, and later."""
        self.ask()
        for _ in range(3):
            self.assertEqual(self.in_flight(), 1)
            self.die()
        self.assertEqual(len(self.model.calls), 3)
        self.advance(1)
        self.assertEqual(len(self.model.calls), 4)

    def test_given_up(self) -> None:
        """What comes back more than twenty times is put into the parking queue by the work queue itself."""
        self.ask()
        for _ in range(20):
            self.die()
        self.assert_left(unacked=1)
        self.die()
        self.assert_left(parking=1)
        (death,) = self.taken("work.parking").headers["x-death"]
        self.assertEqual((death["queue"], death["reason"]), ("work", "delivery_limit"))
