"""Events of sockets without the context of Twisted's log, which costs ten function calls for each of them.

Before an event, Twisted writes down whose it is (``system``), for programs that log with ``log.msg``. We log with
``Logger``, and the context is in no line of ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet import epollreactor
from twisted.python import log

if TYPE_CHECKING:
    from collections.abc import Callable


class _PlainLog:
    """Stands for Twisted's log in the module of the reactor, which uses one function of it."""

    @staticmethod
    def callWithLogger(  # noqa: N802 - Twisted's name
        _whose: object, function: Callable[..., object], *arguments: Any
    ) -> None:
        """Call a function, and log what it raises (twisted.python.log.callWithLogger)."""
        try:
            function(*arguments)
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001 - as Twisted does: an error in one connection ends no other
            log.err()


def without_log_context() -> None:
    """Leave the log's context out from now on. A reactor other than epoll keeps it."""
    epollreactor.log = _PlainLog  # type: ignore[attr-defined, assignment] # a class in place of the module
