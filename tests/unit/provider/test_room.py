"""The room for the bodies that are in work."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.message.copies import History
from provider_gateway.message.message import Message
from provider_gateway.provider.intake import Intake
from provider_gateway.provider.room import Room
from provider_gateway.provider.task import Task
from tests.support.fakes import FakeDelivery
from tests.support.gates import new_gate
from tests.support.queue_entries import entry


def task(size: int) -> Task:
    """A message with a body of a number of bytes."""
    return Task(FakeDelivery(Message(bytes(size))), History(), "r")


class RoomTests(SynchronousTestCase):
    """A room of 100 bytes."""

    def setUp(self) -> None:
        self.room = Room(100)

    def test_requests(self) -> None:
        """Bodies of requests are taken up to the limit; one alone may be larger."""
        first, second = task(60), task(41)
        self.assertEqual([True, False, True], [self.room.take(each) for each in (first, second, task(40))])
        self.room.give(first)
        self.assertEqual(40, self.room.used)
        alone = Room(100)
        self.assertTrue(alone.take(task(500)))
        self.assertFalse(alone.take(task(1)))

    def test_responses(self) -> None:
        """A response waits until there is room for it, in the order in which they ask."""
        first, second, third = tasks = task(30), task(30), task(30)
        for each in tasks:
            self.room.take(each)
        self.assertIsNone(self.room.for_response(first, 50), "one is always let in")
        waiting = [self.room.for_response(second, 20), self.room.for_response(third, 1)]
        assert waiting[0] is not None
        assert waiting[1] is not None
        self.room.give(first)
        self.assertEqual([None, None], [self.successResultOf(each) for each in waiting])
        self.assertEqual(60 + 21, self.room.used)

    def test_one_is_let_in(self) -> None:
        """While requests take all of the room, one response at a time is let in."""
        tasks = [task(25) for _ in range(4)]
        for each in tasks:
            self.assertTrue(self.room.take(each))
        waiting = [self.room.for_response(each, 90) for each in tasks]
        self.assertIsNone(waiting[0])
        for number in (1, 2, 3):
            self.assertNoResult(waiting[number])
            self.room.give(tasks[number - 1])
            self.successResultOf(waiting[number])
        self.room.give(tasks[3])
        self.assertEqual(0, self.room.used)

    def test_smaller(self) -> None:
        """Room that a response did not need is free again."""
        one = task(10)
        self.room.take(one)
        self.room.for_response(one, 90)
        self.room.for_response(one, -70)
        self.assertEqual(30, self.room.used)
        self.room.give(one)
        self.assertEqual(0, self.room.used)

    def test_cancelled(self) -> None:
        """A response that is cancelled while it waits takes no room."""
        first, second = task(1), task(1)
        self.room.for_response(first, 100)
        waiting = self.room.for_response(second, 100)
        assert waiting is not None
        waiting.cancel()
        self.failureResultOf(waiting)
        self.room.give(first)
        self.room.give(second)
        self.assertEqual(0, self.room.used)

    def test_half_free(self) -> None:
        """Who pauses is called once, when half of the room is free."""
        told: list[int] = []
        first, second, third = task(40), task(30), task(30)
        for each in (first, second, third):
            self.room.take(each)
        self.room.pause(lambda: told.append(self.room.used), 10)
        self.room.give(second)
        self.assertEqual([], told)
        self.room.give(third)
        self.room.give(first)
        self.assertEqual([40], told)

    def test_body_of_more_than_half(self) -> None:
        """Who pauses for a large body is called when it fits, not before: it would be given back each time."""
        told: list[int] = []
        small = [task(10) for _ in range(6)]
        for each in small:
            self.room.take(each)
        self.room.pause(lambda: told.append(self.room.used), 80)
        for each in small[:3]:
            self.room.give(each)
        self.assertEqual([], told)
        self.room.give(small[3])
        self.assertEqual([20], told)


class SharedRoomTests(SynchronousTestCase):
    """Two queues share a room of 100 bytes."""

    def setUp(self) -> None:
        room = Room(100)
        self.busy, self.other = (
            Intake(each, room, new_gate(each, Clock()))
            for each in (entry(name, prefetch=20) for name in ("busy", "other"))
        )
        self.consumed: list[int] = []
        self.other.consume = self.consumed.append

    def test_no_queue_waits_for_ever(self) -> None:
        """A queue whose messages in work have all ended goes on, though another one keeps the room full."""
        one, running = task(30), [task(30), task(30)]
        for each in running:
            self.assertTrue(self.busy.take(each))
        self.assertTrue(self.other.take(one))
        self.assertFalse(self.other.take(task(30)))
        for _ in range(10):  # more than half of the room is always in use
            self.busy.give(running.pop(0))
            running.append(task(30))
            self.assertTrue(self.busy.take(running[-1]))
        self.assertEqual([0], self.consumed)
        self.other.give(one)
        self.assertEqual([0], self.consumed[:-1])
        self.assertGreater(self.consumed[-1], 0)

    def test_one_of_each_queue(self) -> None:
        """One message of a queue is let in, though another one has filled the room; a second one is not."""
        self.busy.take(task(100))
        one = task(30)
        self.assertTrue(self.other.take(one))
        self.assertFalse(self.other.take(task(30)))
        self.other.give(one)
        self.assertTrue(self.other.take(task(30)))
        self.assertEqual([0], self.consumed[:-1])
        self.assertGreater(self.consumed[-1], 0)
