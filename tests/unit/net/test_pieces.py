"""A body that arrives in pieces."""

from __future__ import annotations

import tracemalloc

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.net.pieces import Pieces, added, whole


def joined(data: bytes, size: int) -> bytes:
    """The data after it came in pieces of this size."""
    pieces = Pieces()
    for at in range(0, len(data), size):
        pieces.add(data[at : at + size])
    return pieces.take()


class PiecesTests(SynchronousTestCase):
    """What is added comes out as one."""

    def test_any_size(self) -> None:
        """Pieces of any size are joined in their order."""
        data = bytes(range(256)) * 1000
        for size in (7, 4095, 4096, 4097, 65_536, 300_000):
            self.assertEqual(data, joined(data, size), size)

    def test_mixed(self) -> None:
        """Small and large pieces, and views, are joined in their order."""
        data = bytes(range(256)) * 200
        pieces, at = Pieces(), 0
        for size in (1, 5000, 2, 3, 4096, 30_000, 7, 100_000):
            pieces.add(memoryview(data)[at : at + size] if size % 2 else data[at : at + size])
            at += size
        self.assertEqual(data, pieces.take())

    def test_forgotten(self) -> None:
        """What was taken is forgotten."""
        pieces = Pieces()
        pieces.add(b"1")
        self.assertEqual((b"1", b""), (pieces.take(), pieces.take()))

    def test_nothing_is_shared(self) -> None:
        """A small piece that was a view of a buffer is not changed with it."""
        buffer, pieces = bytearray(b"12"), Pieces()
        pieces.add(memoryview(buffer))
        buffer[0] = 0
        self.assertEqual(b"12", pieces.take())

    def test_one(self) -> None:
        """A body that arrives as one piece is that piece; further pieces are added to it."""
        piece = bytes(10_000)
        self.assertIs(piece, whole(piece))
        self.assertEqual(piece + b"12", whole(added(added(piece, b"1"), b"2")))

    def test_memory(self) -> None:
        """A body that comes byte by byte takes little more memory than its size, and so does one of large pieces."""
        data = bytes(300_000)
        for size, most in ((1, 400_000), (8192, 310_000)):
            pieces = Pieces()
            tracemalloc.start()
            self.addCleanup(tracemalloc.stop)
            for at in range(0, len(data), size):
                pieces.add(data[at : at + size])
            held, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            self.assertLess(held, most)
