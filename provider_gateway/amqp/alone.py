"""Publishes one message while no other is unconfirmed: if the broker refuses it, it is certainly to blame.

Other messages wait meanwhile, for about as long as a confirm takes. If confirms are slow, they wait two seconds at
most, and the message is not alone.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, TimeoutError as DeferredTimeoutError

from provider_gateway.deferreds import Waiters, sleep

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

#: Seconds to wait for the confirms of the messages before, and then for that of the one that is alone.
_PATIENCE = 1.0


class Alone:
    """Holds messages back while one is alone.

    Args:
        is_quiet: True if no message is unconfirmed.
        clock: limits the waits.

    Attributes:
        holds: True while messages have to be held back.
    """

    def __init__(self, is_quiet: Callable[[], bool], clock: IReactorTime) -> None:
        self._is_quiet = is_quiet
        self._clock = clock
        self._held: list[Deferred[None]] = []
        self._waiting_for_quiet: Waiters[None] = Waiters()
        self.holds = False

    async def publish(self, send: Callable[[], Deferred[None]]) -> None:
        """Publish a message, one at a time, and wait for its confirm.

        Args:
            send: sends it; returns the Deferred of its confirm.
        """
        # If the publisher has become ready just now, others that waited for it are sent first.
        await sleep(self._clock, 0)
        self.holds = True
        limit = None
        try:
            if not self._is_quiet():
                with contextlib.suppress(DeferredTimeoutError):
                    await self._waiting_for_quiet.wait().addTimeout(_PATIENCE, self._clock)
            self.holds = False
            confirm = send()
            self.holds = True
            limit = self._clock.callLater(_PATIENCE, self._let_go)
            await confirm
        finally:
            if limit is not None and limit.active():
                limit.cancel()
            self._let_go()

    def hold(self, send: Callable[[], Deferred[None]]) -> Deferred[None]:
        """Send a message when none is alone any more; returns a Deferred with its outcome."""
        held: Deferred[None] = Deferred()
        self._held.append(held)
        return held.addCallback(lambda _: send())

    def quiet(self) -> None:
        """To be called while messages are held back and none is unconfirmed any more."""
        self._waiting_for_quiet.fire(None)

    def _let_go(self) -> None:
        self.holds = False
        held, self._held = self._held, []
        for each in held:
            each.callback(None)
