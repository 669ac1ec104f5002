"""Runs the work of a command on the reactor: signals end it in order, and warnings are lines on standard error."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any

import click
from twisted.internet import task
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogBeginner
from zope.interface import provider

from provider_gateway.clocks import make_monotonic
from provider_gateway.observability.json_log import silence_pika
from provider_gateway.workbench.texts import visible

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

#: A progress bar hides the cursor while it is there.
_SHOW_CURSOR = b"\x1b[?25h\n"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """What becomes of the work when the user interrupts it. A second signal ends the process at once.

    Args:
        cancel: ends work that has no order to end in.

    Attributes:
        signal: the number of the signal that came; None for none.
    """

    def __init__(self, cancel: Callable[[], object]) -> None:
        self.signal: int | None = None
        self._end = cancel
        self._says = ""

    @contextlib.contextmanager
    def ends(self, end: Callable[[], object], says: str) -> Iterator[None]:
        """While the work does this, the first signal has it end in order.

        Args:
            end: has it end; called on the reactor.
            says: a line for the user.
        """
        before = self._end, self._says
        self._end, self._says = end, says
        try:
            yield
        finally:
            self._end, self._says = before

    @property
    def status(self) -> int:
        """The exit status after a signal, as shells have it."""
        return 128 + (self.signal or 0)

    def come(self, number: int) -> None:
        """A signal came; called on the reactor."""
        self.signal = number
        if self._says:
            click.echo(f"\nprovider-gateway: {self._says}", err=True)
        self._end()


def run(work: Callable[[Any, Interruption], Awaitable[int]]) -> int:
    """Run a command's work on the reactor, which runs once in a process.

    Args:
        work: gets the reactor, and returns the exit status.

    Returns:
        The exit status.

    Raises:
        Exception: what the work raised.
    """
    silence_pika()
    globalLogBeginner.beginLoggingTo([_warn], redirectStandardIO=False, discardBuffer=True)
    outcome: list[int | BaseException] = []

    async def main(reactor: Any) -> None:
        make_monotonic(reactor)
        running: list[Deferred[int]] = []

        def cancel() -> None:
            for each in running:
                each.cancel()

        interruption = Interruption(cancel)
        reactor.callWhenRunning(_on_signals, reactor, interruption)
        started: Deferred[None] = Deferred()
        reactor.callWhenRunning(started.callback, None)
        await started
        running.append(Deferred.fromCoroutine(_as_coroutine(work(reactor, interruption))))
        try:
            outcome.append(await running[0])
        except CancelledError:
            outcome.append(interruption.status)
        except BaseException as error:  # noqa: BLE001 - raised again below, where the reactor has ended
            outcome.append(error if interruption.signal is None else interruption.status)

    with contextlib.suppress(SystemExit):
        task.react(main)
    (found,) = outcome
    if isinstance(found, BaseException):
        raise found
    return found


async def _as_coroutine(work: Awaitable[int]) -> int:
    return await work


def _on_signals(reactor: Any, interruption: Interruption) -> None:
    def come(number: int, _frame: object) -> None:
        if interruption.signal is not None:
            if os.isatty(2):
                os.write(2, _SHOW_CURSOR)
            os._exit(128 + number)  # whatever it waits for; nothing is lost by it
        # Noted now: the next signal may come before the reactor runs again.
        interruption.signal = number
        reactor.callFromThread(interruption.come, number)

    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as of nohup, or in the background of a script
            signal.signal(number, come)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """While the user is asked and the reactor waits, a signal ends the question.

    Raises:
        KeyboardInterrupt: a signal came.
    """
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    noticed = [number for number, handler in handlers.items() if handler is not signal.SIG_IGN]
    for number in noticed:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in noticed:
            signal.signal(number, handlers[number])


@provider(ILogObserver)
def _warn(event: LogEvent) -> None:
    """Show warnings and errors to the user, one line each."""
    if event.get("log_level", LogLevel.info) < LogLevel.warn:
        return
    failure = event.get("log_failure")
    more = f": {failure.type.__name__}: {failure.getErrorMessage()}" if failure is not None else ""
    click.echo(visible(f"provider-gateway: {formatEvent(event)}{more}"), err=True)
