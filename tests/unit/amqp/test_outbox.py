"""What is sent on a connection: in its order, large messages in pieces, as the transport takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.amqp import outbox
from provider_gateway.amqp.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Iterator


class OutboxTests(SynchronousTestCase):
    """An outbox whose transport takes as many writes as the test allows."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.sent: list[bytes] = []
        self.made: list[bytes] = []
        self.room = 10**6
        self.outbox = Outbox(self.clock, self.send)

    def send(self, data: bytes) -> None:
        self.sent.append(data)
        self.room -= len(data)
        if self.room <= 0:
            self.outbox.pause()

    def resume(self, room: int = 10**6) -> None:
        self.room = room
        self.outbox.resume()
        self.clock.advance(0)

    def pieces(self, *pieces: bytes) -> None:
        def made() -> Iterator[bytes]:
            for each in pieces:
                self.made.append(each)
                yield each

        self.outbox.write_pieces(made(), sum(map(len, pieces)))

    def stream(self) -> bytes:
        self.clock.advance(0)
        return b"".join(self.sent)

    def test_at_once(self) -> None:
        """While the transport takes them, all pieces are sent in the turn in which they are written."""
        self.pieces(b"a" * 70_000, b"b" * 70_000)
        self.assertEqual((2, 0), (len(self.sent), self.outbox.unsent))

    def test_as_the_transport_takes_them(self) -> None:
        """A piece is made when the transport has room for it, and not before; what waits is counted."""
        self.room = 1
        self.pieces(b"1" * 70_000, b"2" * 70_000, b"3" * 70_000)
        self.assertEqual((1, 140_000), (len(self.made), self.outbox.unsent))
        self.resume(1)
        self.assertEqual((2, 70_000), (len(self.made), self.outbox.unsent))
        self.resume()
        self.assertEqual((3, 0), (len(self.made), self.outbox.unsent))

    def test_order(self) -> None:
        """Everything is sent in the order in which it was written."""
        self.room = 1
        self.pieces(b"1", b"2" * 70_000)
        self.pieces(b"3", b"4" * 70_000)
        self.outbox.write(b"5")
        self.pieces(b"6" * 70_000)
        self.outbox.write(b"7")
        for _ in range(10):
            self.resume(1)
        expected = b"1" + b"2" * 70_000 + b"3" + b"4" * 70_000 + b"5" + b"6" * 70_000 + b"7"
        self.assertEqual(expected, self.stream())
        self.assertEqual(0, self.outbox.unsent)
        self.outbox.write(b"8")
        self.assertEqual(expected + b"8", self.stream())

    def test_turns(self) -> None:
        """A very large message is sent over several turns of the reactor, even if the transport takes it at once."""
        self.patch(outbox, "_PER_TURN", 200_000)
        self.pieces(*[b"x" * 100_000] * 5)
        self.outbox.write(b"y")
        self.pieces(b"z" * 100_000)
        self.assertEqual(2, len(self.made))
        self.assertEqual(b"x" * 500_000 + b"y" + b"z" * 100_000, self.stream())

    def test_small_in_a_pause(self) -> None:
        """Small writes go to the transport even if its buffer is full, and are counted until it is empty."""
        self.outbox.pause()
        self.outbox.write(b"123")
        self.outbox.write(b"45")
        self.assertEqual((b"12345", 5), (self.stream(), self.outbox.unsent))
        self.pieces(b"678")
        self.assertEqual((b"12345", 8), (self.stream(), self.outbox.unsent))
        self.resume()
        self.assertEqual((b"12345678", 0), (self.stream(), self.outbox.unsent))

    def test_stalled(self) -> None:
        """The broker is stalled after three seconds in which the transport's buffer did not become empty."""
        self.outbox.pause()
        self.clock.advance(2)
        self.outbox.pause()
        self.assertFalse(self.outbox.is_stalled)
        self.clock.advance(1)
        self.assertTrue(self.outbox.is_stalled)
        self.resume()
        self.assertFalse(self.outbox.is_stalled)

    def test_clear(self) -> None:
        """When the connection is lost, what waits is forgotten."""
        self.room = 1
        self.pieces(b"1" * 70_000, b"2")
        self.outbox.clear()
        self.resume()
        self.assertEqual((1, 0), (len(self.sent), self.outbox.unsent))

    def test_clear_along(self) -> None:
        """What is in no hurry is forgotten, too, and no timer is left."""
        self.outbox.write_along(b"1")
        self.outbox.clear()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(1)
        self.assertEqual(self.sent, [])

    def test_along_behind_what_waits(self) -> None:
        """Behind a message in pieces, what is in no hurry has its place as everything else."""
        self.room = 1
        self.pieces(b"1" * 70_000, b"2")
        self.outbox.write_along(b"3")
        self.outbox.write(b"4")
        self.resume()
        self.assertEqual(self.stream(), b"1" * 70_000 + b"234")
