"""Lets few at a time look into parking queues; some more wait for their turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import DeferredSemaphore

from provider_gateway.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


class Turns:
    """Each look has a connection to the broker, and reads a whole queue.

    Args:
        at_once: looks at a time.
        waiting: that wait for their turn, at most.
    """

    def __init__(self, at_once: int, waiting: int) -> None:
        self._semaphore = DeferredSemaphore(at_once)
        self._most = at_once + waiting
        self._count = 0

    async def run(self, look: Callable[[], Awaitable[T]]) -> T:
        """Have a look when it is its turn.

        Raises:
            Overloaded: too many wait.
        """
        if self._count >= self._most:
            msg = f"{self._count} looks into parking queues are under way, or wait."
            raise Overloaded(msg)
        self._count += 1
        try:
            await self._semaphore.acquire()
            try:
                return await look()
            finally:
                self._semaphore.release()
        finally:
            self._count -= 1
