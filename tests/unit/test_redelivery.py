"""Messages that come back unacknowledged: counted, known again, or parked."""

from __future__ import annotations

from provider_gateway.errors import BrokerUnavailable, Nacked
from tests.unit.test_attempts import BACK, AttemptsTestCase
from tests.unit.test_rpc import FakeDelivery, counted

AGAIN = {"redelivered": True}


class CountedTests(AttemptsTestCase):
    """A classic queue: what comes back may have killed us, and is counted."""

    def states(self) -> dict[str, float]:
        counts = {each: counted(self.metrics.redelivered, "work", each) for each in ("running", "settled", "unknown")}
        return {state: count for state, count in counts.items() if count}

    def test_renewed(self) -> None:
        """An unknown redelivery is not run, but replaced by a copy that counts it, at the end of its queue."""
        delivery = self.serve(delivery=AGAIN)
        self.assertEqual((self.targets, self.model.calls), ([("work.return", "predict.now")], []))
        self.assertEqual((self.headers["pg-attempt"], self.headers["pg-redeliveries"]), (1, 1))
        self.assertEqual((delivery.acks, self.states()), (0, {"unknown": 1}))
        self.publisher.confirm()
        self.assertEqual((delivery.acks, self.in_flight()), (1, 0))
        self.assertEqual(counted(self.metrics.retried, "work", "redelivered"), 0)
        self.come_back()
        self.assertEqual(len(self.model.calls), 1)

    def test_attempts_go_on(self) -> None:
        """Redeliveries are no attempts, and attempts no redeliveries; both are kept."""
        self.serve(headers={"pg-attempt": 2, "pg-redeliveries": 4}, delivery={**BACK, **AGAIN})
        self.assertEqual((self.headers["pg-attempt"], self.headers["pg-redeliveries"]), (2, 5))
        self.publisher.confirm()
        self.come_back()
        self.clock.advance(1)
        self.model.fail()
        self.assertEqual((self.headers["pg-attempt"], self.headers["pg-redeliveries"]), (3, 5))

    def test_parked(self) -> None:
        """What came back twenty times is parked when it comes again, and its caller told 500; before, it is not."""
        self.serve(headers={"pg-redeliveries": 19}, delivery={**BACK, **AGAIN})
        self.assertEqual(self.targets, [("work.return", "")])
        self.publisher.published.clear()
        delivery = self.serve(headers={"pg-redeliveries": 20, "RqUID": "r1"}, delivery={**BACK, **AGAIN})
        self.assertEqual((self.targets, self.headers["pg-reason"]), ([("", "work.parking")], "redelivered"))
        self.publisher.confirm()
        self.assertEqual(self.reply.headers, {"RqUID": "r1", "pg-status": 500, "pg-reason": "redelivered"})
        self.assertEqual((self.targets[1:], delivery.acks), ([("", "back")], 0))
        self.publisher.confirm()
        self.assertEqual((delivery.acks, self.parked("redelivered"), self.model.calls), (1, 1, []))

    def test_twenty_but_not_again(self) -> None:
        """What came back twenty times and is now delivered for the first time is run."""
        self.serve(headers={"pg-redeliveries": 20}, delivery=BACK)
        self.clock.advance(1)
        self.assertEqual(len(self.model.calls), 1)

    def test_expired(self) -> None:
        """A redelivery that nobody waits for any more is dropped, not renewed; so is a renewed one that is late."""
        self.serve(headers={"pg-deadline": 0}, delivery=AGAIN)
        self.assertEqual((self.targets, counted(self.metrics.expired, "work")), ([], 1))
        self.serve(headers={"pg-deadline": 5000}, delivery=AGAIN)
        self.publisher.confirm()
        self.clock.advance(5)
        delivery = self.come_back()
        self.assertEqual((delivery.acks, self.model.calls, counted(self.metrics.expired, "work")), (1, [], 2))


class SuspectTests(AttemptsTestCase):
    """What came back several times may be what kills the process."""

    def suspect(self, name: str, **headers: int) -> FakeDelivery:
        return self.serve(name.encode(), headers={"pg-redeliveries": 3, **headers}, delivery=BACK)

    def test_alone(self) -> None:
        """Suspects are served one after the other; messages that are none, at once and beside them."""
        self.suspect("a")
        self.suspect("b")
        self.clock.advance(1)
        self.assertEqual(len(self.model.calls), 1)
        self.serve(b"c", headers={"pg-redeliveries": 2}, delivery=BACK)
        self.assertEqual([message.body for message, _, _ in self.model.calls[1:]], [b"c"])
        self.model.answer(number=0)
        self.assertEqual(len(self.model.calls), 2, "before the first is settled")
        self.publisher.confirm()
        self.assertEqual({self.model.calls[number][0].body for number in (0, 2)}, {b"a", b"b"})

    def test_random_order(self) -> None:
        """Their order changes: one that kills whenever it is served must not always be the first."""
        first = set()
        for _ in range(40):
            self.setUp()
            self.suspect("a")
            self.suspect("b")
            self.clock.pump([0.01] * 100)
            first.add(self.model.calls[0][0].body)
            self.provider.abandon()
        self.assertEqual(first, {b"a", b"b"})

    def test_abandoned(self) -> None:
        """At the end of the process, suspects that wait for their turn are left to the broker."""
        waiting = [self.suspect("a"), self.suspect("b")]
        self.clock.advance(1)
        self.suspect("c")
        self.provider.abandon()
        self.assertEqual([delivery.acks for delivery in waiting], [0, 0])
        self.successResultOf(self.provider.idle())
        self.assertEqual(self.clock.getDelayedCalls(), [])


class KnownTests(AttemptsTestCase):
    """Redeliveries of messages that this process knows."""

    states = CountedTests.states

    def again(self) -> FakeDelivery:
        return self.serve(message_id="m", delivery=AGAIN)

    def lost(self) -> FakeDelivery:
        """A delivery that is lost while the model works."""
        delivery = self.serve(message_id="m")
        delivery.is_lost = True
        return delivery

    def test_running(self) -> None:
        """A message that is being served is not run again; its newest delivery is acknowledged, once."""
        first = self.lost()
        second = self.again()
        self.assertEqual((len(self.model.calls), self.targets, self.states()), (1, [], {"running": 1}))
        self.model.answer()
        self.assertEqual(second.acks, 0)
        self.publisher.confirm()
        self.assertEqual((first.acks, second.acks, len(self.publisher.published)), (0, 1, 1))
        self.assertEqual(self.in_flight(), 0)
        self.successResultOf(self.provider.idle())

    def test_running_and_lost_again(self) -> None:
        """However often the connection breaks meanwhile, the last delivery counts."""
        self.lost()
        for _ in range(3):
            delivery = self.again()
            delivery.is_lost = True
        last = self.again()
        self.model.answer()
        self.publisher.confirm()
        self.assertEqual((last.acks, len(self.model.calls), self.states()), (1, 1, {"running": 4}))

    def test_running_and_failing(self) -> None:
        """A message that comes again while it runs, and then fails, is retried once, on its newest delivery."""
        self.lost()
        second = self.again()
        self.model.fail()
        self.publisher.confirm()
        self.assertEqual((self.targets, second.acks), ([("", "work.retry")], 1))

    def test_waiting_for_the_broker(self) -> None:
        """A reply that waits for a connection goes out once, whatever order connections come back in."""
        delivery = self.serve(message_id="m")
        self.model.answer()
        self.publisher.fail(BrokerUnavailable("away"))
        delivery.is_lost = True
        again = self.again()
        self.publisher.waiting.pop().callback(None)
        self.publisher.confirm()
        self.assertEqual((again.acks, len(self.publisher.published), len(self.model.calls)), (1, 2, 1))

    def test_waiting_for_a_full_queue(self) -> None:
        """A copy that waits for a full queue is not given up if the message comes again meanwhile."""
        delivery = self.serve(message_id="m")
        self.model.fail()
        self.publisher.fail(Nacked("full"))
        delivery.is_lost = True
        again = self.again()
        self.clock.advance(1)
        self.publisher.confirm()
        self.assertEqual((again.acks, self.targets), (1, 2 * [("", "work.retry")]))

    def test_settled(self) -> None:
        """A message whose acknowledgement was lost is acknowledged when it comes again, and neither run nor copied."""
        first = self.lost()
        self.model.answer()
        self.publisher.confirm()
        self.assertEqual(first.acks, 0)
        second = self.again()
        self.assertEqual((second.acks, len(self.model.calls), len(self.publisher.published)), (1, 1, 1))
        self.assertEqual(self.states(), {"settled": 1})
        self.assertEqual(counted(self.metrics.consumed, "work"), 2)

    def test_settled_by_a_copy(self) -> None:
        """A copy of a settled message is another attempt, not the same message."""
        self.serve(message_id="m")
        self.model.fail()
        self.publisher.confirm()
        copy = self.come_back()
        self.assertEqual((len(self.model.calls), copy.acks), (2, 0))

    def test_not_redelivered(self) -> None:
        """A message that is not marked as redelivered is served, whatever its id: clients may use one twice."""
        self.serve(message_id="m")
        self.model.answer()
        self.publisher.confirm()
        self.serve(message_id="m")
        self.serve(message_id="m")
        self.assertEqual((len(self.model.calls), self.states()), (3, {}))

    def test_running_and_not_lost(self) -> None:
        """Another message of the same id that comes back does not take the delivery of the one that runs."""
        first = self.serve(message_id="m")
        again = self.again()
        self.assertEqual((self.targets, self.states()), ([("work.return", "predict.now")], {"unknown": 1}))
        self.publisher.confirm()
        self.model.answer()
        self.publisher.confirm()
        self.assertEqual((first.acks, again.acks), (1, 1))

    def test_two_of_the_same_id(self) -> None:
        """The end of one of two messages with the same id does not make the other unknown."""
        first = self.serve(message_id="m")
        second = self.serve(message_id="m")
        self.model.answer(number=0)
        self.publisher.confirm()
        second.is_lost = True
        again = self.again()
        self.assertEqual((first.acks, self.states()), (1, {"running": 1}))
        self.model.answer(number=1)
        self.publisher.confirm()
        self.assertEqual((again.acks, len(self.model.calls)), (1, 2))

    def test_without_id(self) -> None:
        """Messages without an id are never known again."""
        first = self.serve(message_id=None)
        first.is_lost = True
        again = self.serve(message_id=None, delivery=AGAIN)
        self.assertEqual(self.states(), {"unknown": 1})
        self.model.answer()
        self.publisher.confirm()
        self.publisher.confirm(0)
        self.assertEqual((first.acks, again.acks), (0, 1))


class QuorumTests(AttemptsTestCase):
    """A quorum queue counts deliveries itself."""

    keys = {"dle": True, "maxAttempts": 3, "queueType": "quorum"}  # noqa: RUF012 - as in the base class

    def test_not_renewed(self) -> None:
        """A redelivery is run at once."""
        delivery = self.serve(delivery=AGAIN)
        self.assertEqual((self.targets, len(self.model.calls)), ([], 1))
        self.model.answer()
        self.publisher.confirm()
        self.assertEqual(delivery.acks, 1)

    def test_known(self) -> None:
        """What runs, or was settled, is known again all the same."""
        first = self.serve(message_id="m")
        first.is_lost = True
        self.serve(message_id="m", delivery=AGAIN)
        self.assertEqual(len(self.model.calls), 1)

    def test_parked(self) -> None:
        """The count of another kind of queue does not park it."""
        self.serve(headers={"pg-redeliveries": 20}, delivery={**BACK, **AGAIN})
        self.assertEqual((self.targets, len(self.model.calls)), ([], 1))

    def test_suspects(self) -> None:
        """What the queue has counted three times is served alone, and later; a client's word on other queues is not."""
        self.serve(headers={"x-delivery-count": 3})
        self.assertEqual(self.model.calls, [])
        self.clock.advance(1)
        self.assertEqual(len(self.model.calls), 1)
        classic = SuspectTests("test_alone")
        classic.setUp()
        classic.serve(headers={"x-delivery-count": 3})
        self.assertEqual(len(classic.model.calls), 1)
        classic.provider.abandon()
