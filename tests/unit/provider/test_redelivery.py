"""Messages that come back unacknowledged are counted, recognised, or parked."""

from __future__ import annotations

from typing import Any, ClassVar

from tests.support.observability import counted
from tests.support.provider_on_broker import ProviderOnBrokerTestCase


class RedeliveryTestCase(ProviderOnBrokerTestCase):
    """A provider on the embedded broker, with what it counts of redeliveries."""

    def states(self) -> dict[str, float]:
        """The counts of redeliveries by state, without zeros."""
        counts = {each: counted(self.metrics.redelivered, "work", each) for each in ("running", "settled", "unknown")}
        return {state: count for state, count in counts.items() if count}

    def histories(self) -> list[tuple[Any, ...]]:
        """``pg-attempt`` and ``pg-redeliveries`` of the message of each model call."""
        names = ("pg-attempt", "pg-redeliveries")
        return [tuple(message.headers.get(name) for name in names) for message, _, _ in self.model.calls]


class CountedTests(RedeliveryTestCase):
    """A classic queue: each redelivery is counted, since the message may have killed the process."""

    def test_renewed(self) -> None:
        """A redelivery of an unknown message is replaced by a copy that counts it, at the end of the queue."""
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
        """The redelivery is acknowledged when the copy is confirmed, not before; only then is the copy served."""
        self.ask()
        self.broker.faults.hold_confirms()
        self.die()
        self.assert_left(unacked=2)
        self.assertEqual(
            len(self.model.calls), 1, "the copy could kill the process while its original is unacknowledged"
        )
        self.broker.faults.release_confirms()
        self.pump()
        self.assert_left(unacked=1)
        self.assertEqual(self.histories()[1:], [(1, 1)])

    def test_original_is_lost(self) -> None:
        """If its connection is lost before the confirm, original and copy are recognised: one call, one reply."""
        self.ask()
        self.broker.faults.hold_confirms()
        self.die()
        self.reconnect()
        self.broker.faults.release_confirms()
        self.pump()
        self.assertEqual(self.histories()[1:], [(1, 1)])
        self.answer(number=1)
        self.assert_left(back=1)

    def test_attempts_go_on(self) -> None:
        """Redeliveries and attempts are counted apart, and both counts survive each copy."""
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
        """A message that has killed 21 processes is parked at its next redelivery, and answered with 500."""
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
        """An expired redelivery is dropped, not renewed. So is a renewed message that is expired."""
        for deadline, when in ((10_000, 10), (30_000, 20)):
            self.ask(headers={"pg-deadline": deadline})
            if deadline == 30_000:
                self.die()
            self.kill()
            self.advance(when)
            self.begin()
        self.assert_left()
        self.assertEqual((len(self.model.calls), counted(self.metrics.expired, "work")), (3, 2))

    def test_full_queue(self) -> None:
        """A full queue takes no copies: redeliveries are served uncounted, one at a time, until there is room."""
        for body in (b"{}", b"[]"):
            self.ask(body, message_id=body.decode())
        self.kill()
        self.broker.faults.nack_publishes(2)
        self.begin()
        self.advance(1)  # suspects wait for a random time
        self.assertEqual((2 + 1, (None, None)), (len(self.model.calls), self.histories()[2]))
        self.assert_left(unacked=2)
        self.answer()
        self.answer()
        self.assertEqual((2 + 2, (None, None)), (len(self.model.calls), self.histories()[3]))
        self.assert_left(back=2)


class SuspectTests(RedeliveryTestCase):
    """A message that came back several times may be the one that kills the process."""

    def suspect(self, name: str, redeliveries: int = 3) -> None:
        self.ask(name.encode(), "work.return", "", headers={"pg-redeliveries": redeliveries}, message_id=name)

    def bodies(self) -> list[bytes]:
        return [message.body for message, _, _ in self.model.calls]

    def test_alone(self) -> None:
        """Suspects are served one after the other. Other messages are served at once, beside them."""
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
        """Suspects are served in random order, so that one that kills the process is not always the first."""
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
        """An initiator's ``x-delivery-count`` makes no message of a classic queue a suspect."""
        self.ask(headers={"x-delivery-count": 3})
        self.assertEqual(len(self.model.calls), 1)

    def test_abandoned(self) -> None:
        """abandon() leaves suspects that wait for their turn unacknowledged."""
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
        """A message in service that is redelivered, however often, is called, answered and settled once."""
        self.ask()
        for count in range(1, 5):
            self.reconnect()
            self.assertEqual((len(self.model.calls), self.states()), (1, {"running": count}))
        self.answer()
        self.assert_left(back=1)
        self.assertEqual(self.in_flight(), 0)
        self.successResultOf(self.provider.idle())

    def test_running_and_failing(self) -> None:
        """A message that is redelivered during its call, and then fails, is retried once, on its newest delivery."""
        self.ask()
        self.reconnect()
        self.fail_call()
        self.assert_left(retry=1)

    def test_waiting_for_the_broker(self) -> None:
        """A reply that waits for a connection is published once, in whatever order the connections come back."""
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
        """A copy that waits for a full queue is not given up if the message is redelivered meanwhile."""
        self.ask()
        self.broker.faults.nack_publishes()
        self.fail_call()
        self.reconnect()
        self.assert_left(unacked=1)
        self.advance(1)
        self.assert_left(retry=1)

    def test_settled(self) -> None:
        """A redelivery of a message whose acknowledgement was lost is acknowledged, and neither served nor copied."""
        self.ask()
        self.lose(self.consuming)
        self.answer()
        self.assert_left(ready=1, back=1)
        self.consume()
        self.assert_left(back=1)
        self.assertEqual((len(self.model.calls), self.states()), (1, {"settled": 1}))
        self.assertEqual(counted(self.metrics.consumed, "work"), 2)

    def test_settled_by_a_copy(self) -> None:
        """A message whose copy waits in the retry queue is settled. The copy is another message, and is served."""
        self.ask()
        self.lose(self.consuming)
        self.fail_call()
        self.consume()
        self.assert_left(retry=1)
        self.advance(60)
        self.assertEqual((len(self.model.calls), self.states()), (2, {"settled": 1}))

    def test_not_redelivered(self) -> None:
        """A message that is not marked as redelivered is served, whatever its id: an initiator may use an id twice."""
        self.ask()
        self.answer()
        self.ask()
        self.ask()
        self.assertEqual((len(self.model.calls), self.states()), (3, {}))

    def test_running_and_not_lost(self) -> None:
        """A redelivery does not replace the delivery of a message in service while that one is not lost."""
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
        """When one of two messages with the same id is settled, the other is still recognised."""
        self.ask()
        self.ask()
        self.answer(number=0)
        self.reconnect()
        self.assertEqual(self.states(), {"running": 1})
        self.answer(number=1)
        self.assert_left(back=2)
        self.assertEqual(len(self.model.calls), 2)

    def test_without_id(self) -> None:
        """Messages without an id are never recognised."""
        self.ask(message_id=None)
        self.reconnect()
        self.assertEqual((len(self.model.calls), self.states()), (2, {"unknown": 1}))
        self.answer(number=0)
        self.answer(number=1)
        self.assert_left(back=2)


class QuorumTests(RedeliveryTestCase):
    """A quorum queue, which counts redeliveries itself."""

    keys: ClassVar[dict[str, Any]] = {"dle": True, "maxAttempts": 3, "queueType": "quorum"}

    def test_not_renewed(self) -> None:
        """A redelivery is served at once, and has the queue's own count."""
        self.ask()
        self.die()
        self.assertEqual((len(self.model.calls), self.histories()[-1]), (2, (None, None)))
        self.assertEqual(self.model.calls[-1][0].headers["x-delivery-count"], 1)
        self.answer()
        self.assert_left(back=1)

    def test_known(self) -> None:
        """A message in service is recognised as on a classic queue."""
        self.ask()
        self.reconnect()
        self.assertEqual((len(self.model.calls), self.states()), (1, {"running": 1}))

    def test_count_of_others(self) -> None:
        """``pg-redeliveries``, which classic queues need, does not park a message. It makes it a suspect."""
        self.ask(exchange="work.return", headers={"pg-redeliveries": 20})
        self.advance(1)
        self.die()
        self.assertEqual(len(self.model.calls), 1)
        self.advance(1)
        self.assertEqual(len(self.model.calls), 2)
        self.assert_left(unacked=1)

    def test_suspects(self) -> None:
        """A message that the queue has redelivered three times is a suspect: it is served alone, after a delay."""
        self.ask()
        for _ in range(3):
            self.assertEqual(self.in_flight(), 1)
            self.die()
        self.assertEqual(len(self.model.calls), 3)
        self.advance(1)
        self.assertEqual(len(self.model.calls), 4)

    def test_given_up(self) -> None:
        """The work queue itself moves a message to the parking queue after more than 20 redeliveries."""
        self.ask()
        for _ in range(20):
            self.die()
        self.assert_left(unacked=1)
        self.die()
        self.assert_left(parking=1)
        (death,) = self.taken("work.parking").headers["x-death"]
        self.assertEqual((death["queue"], death["reason"]), ("work", "delivery_limit"))
