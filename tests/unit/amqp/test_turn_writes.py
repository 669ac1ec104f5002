"""Writes of one turn of the reactor."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.amqp.turn_writes import TurnWrites


class TurnWritesTests(SynchronousTestCase):
    """Which writes are sent, and when."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.sent: list[bytes] = []
        self.writes = TurnWrites(self.clock, self.sent.append)

    def write(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writes.write(piece)

    def test_turns(self) -> None:
        """In each turn, the first write is sent at once, the others together at the end."""
        self.write(b"a", b"b", b"c")
        self.assertEqual(self.sent, [b"a"])
        self.clock.advance(0)
        self.assertEqual(self.sent, [b"a", b"bc"])
        self.write(b"d")
        self.assertEqual(self.sent[2:], [b"d"])
        self.clock.advance(0)
        self.assertEqual((self.sent[2:], self.clock.getDelayedCalls()), ([b"d"], []))

    def test_many(self) -> None:
        """No more than 64,000 bytes wait. The order stays."""
        self.write(b"a", b"b" * 40_000, b"c" * 30_000, b"d", b"e")
        self.assertEqual([len(each) for each in self.sent], [1, 70_000])
        self.clock.advance(0)
        self.assertEqual(b"".join(self.sent), b"a" + b"b" * 40_000 + b"c" * 30_000 + b"de")

    def test_flush(self) -> None:
        """flush() sends waiting bytes before the turn ends, once."""
        self.write(b"a", b"b")
        self.writes.flush()
        self.assertEqual(self.sent, [b"a", b"b"])
        self.writes.flush()
        self.clock.advance(0)
        self.assertEqual(self.sent, [b"a", b"b"])

    def test_along(self) -> None:
        """What is in no hurry goes out before the next write, in the same piece."""
        self.writes.write_along(b"1")
        self.writes.write_along(b"2")
        self.assertEqual(self.sent, [])
        self.write(b"a", b"b")
        self.assertEqual(self.sent, [b"12a"])
        self.clock.advance(0)
        self.assertEqual((self.sent, self.clock.getDelayedCalls()), ([b"12a", b"b"], []))

    def test_along_in_a_turn(self) -> None:
        """In a turn with a write, it goes out with the others at the end of the turn, in its order."""
        self.write(b"a", b"b")
        self.writes.write_along(b"1")
        self.write(b"c")
        self.clock.advance(0)
        self.assertEqual(self.sent, [b"a", b"b1c"])

    def test_along_alone(self) -> None:
        """Without another write, it waits for 0.1 s from the first, and no longer."""
        self.writes.write_along(b"1")
        self.clock.advance(0.075)
        self.writes.write_along(b"2")
        self.assertEqual(self.sent, [])
        self.clock.advance(0.025)
        self.clock.advance(0)
        self.assertEqual((self.sent, self.clock.getDelayedCalls()), ([b"12"], []))

    def test_many_along(self) -> None:
        """No more than 32 wait."""
        for _ in range(31):
            self.writes.write_along(b"1")
        self.assertEqual(self.sent, [])
        self.writes.write_along(b"2")
        self.assertEqual(self.sent, [b"1" * 31 + b"2"])

    def test_clear(self) -> None:
        """After clear() nothing of what waited is sent, and no timer is left."""
        self.writes.write_along(b"1")
        self.writes.clear()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.write(b"a", b"b")
        self.writes.write_along(b"2")
        self.writes.clear()
        self.clock.advance(1)
        self.assertEqual((self.sent, self.clock.getDelayedCalls()), ([b"a"], []))
