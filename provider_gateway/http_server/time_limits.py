"""The time limits of one connection, and what the connections of a site share of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from provider_gateway.deadlines import Deadlines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twisted.internet.interfaces import IDelayedCall

    from provider_gateway.config.limits import Limits


class Timed(Protocol):
    """A connection whose time is limited."""

    transport: Any

    def too_slow(self, state: str, seconds: float) -> None:
        """A state takes longer than its limit."""

    def not_read(self) -> None:
        """The client has not read in time what was sent."""


class SiteLimits:
    """The time limits that all connections of a site have.

    Args:
        clock: the reactor.
        limits: the time limits, in seconds.

    Attributes:
        clock, limits: as given.
        states: for each state with a limit, the connections in it. A timer for each connection, which Twisted keeps for
            long after it was cancelled, would take 300 bytes.
    """

    def __init__(self, clock: Any, limits: Limits) -> None:
        self.clock = clock
        self.limits = limits
        seconds = {
            "handshake": limits.handshake_timeout,
            "headers": limits.headers_timeout,
            "body": limits.body_timeout,
        }
        self.states = {state: Deadlines(clock, each, TimeLimits.expired) for state, each in seconds.items()}


class TimeLimits:
    """Limits how long a client may take for handshake, headers, body, reading and closing.

    The time between two requests is limited by the site, with one timer for all connections.

    Args:
        site: the limits.
        connection: is told when one is over, and aborted when the client has not closed in time. To know its methods
            would take 300 bytes more.

    Attributes:
        state: the state whose time limit runs; None if none does.
    """

    __slots__ = ("_connection", "_linger", "_others", "_site", "_write", "state")

    def __init__(self, site: SiteLimits, connection: Timed) -> None:
        self._site = site
        self._connection = connection
        self.state: str | None = None
        self._write: IDelayedCall | None = None
        self._linger: IDelayedCall | None = None
        self._others: tuple[IDelayedCall, ...] = ()

    def enter(self, state: str) -> None:
        """Begin the time limit of a state, and end that of the state before. The limit of the same state goes on."""
        states = self._site.states
        timed = state if state in states else None
        if timed == self.state:
            return
        if self.state is not None:
            states[self.state].stop(self)
        self.state = timed
        if timed is not None:
            states[timed].start(self)

    def expired(self) -> None:
        """Tell the connection that its state takes too long."""
        state = self.state
        assert state is not None, "only a state with a limit is timed"
        self._connection.too_slow(state, self._site.states[state].seconds)

    @property
    def is_writing(self) -> bool:
        """True while the transport's buffer is full: the client does not read."""
        return self._write is not None

    def begin_writing(self) -> None:
        """Begin the time limit for reading, unless it runs."""
        if self._write is None:
            self._write = self._site.clock.callLater(self._site.limits.write_timeout, self._connection.not_read)

    def end_writing(self) -> None:
        """End the time limit for reading."""
        if self._write is not None and self._write.active():
            self._write.cancel()
        self._write = None

    def abort_after(self, seconds: float) -> None:
        """Abort the connection after some seconds. Only the first call counts."""
        if self._linger is None:
            self._linger = self._site.clock.callLater(seconds, self._connection.transport.abortConnection)

    def call_after(self, times: Iterable[float], function: Callable[[], object]) -> None:
        """Call a function at some times, in seconds from now, unless the connection ends before."""
        calls = [self._site.clock.callLater(seconds, function) for seconds in times]
        self._others = (*(each for each in self._others if each.active()), *calls)

    def close(self) -> None:
        """Stop all timers."""
        self.enter("closing")
        for timer in (self._write, self._linger, *self._others):
            if timer is not None and timer.active():
                timer.cancel()
