"""The base class of services that twistd runs: start and stop as coroutines, and the log observer."""

from __future__ import annotations

import platform
from abc import ABC, abstractmethod
from enum import Enum
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, TimeoutError as DeferredTimeoutError
from twisted.logger import Logger

import twisted
from provider_gateway import __version__
from provider_gateway.observability.json_log import use_observer

if TYPE_CHECKING:
    from twisted.logger import ILogObserver
    from twisted.python.failure import Failure


_log = Logger()


class State(Enum):
    """The state of the process."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"


class ProcessService(ABC, Service):
    """A service that starts and stops in coroutines. Who inherits it sets ``_reactor``.

    Args:
        observer: log observer for twistd to use; None leaves twistd's own.
    """

    _log = Logger()
    _reactor: Any

    def __init__(self, observer: ILogObserver | None) -> None:
        self._observer = observer
        self._starting: Deferred[None] | None = None

    def setServiceParent(self, parent: Any) -> None:
        """Join the application, and make it log through our observer (twisted.application.service.IService)."""
        use_observer(parent, self._observer)
        super().setServiceParent(parent)

    def startService(self) -> None:
        """Start (twisted.application.service.IService)."""
        super().startService()
        if self.parent is not None:  # the demo has a service of its own below it
            _log.info(
                "provider-gateway {version} starts, on Python {python} and Twisted {twisted}",
                version=__version__,
                python=platform.python_version(),
                twisted=twisted.__version__,
            )
        self._starting = Deferred.fromCoroutine(self._start())
        self._starting.addErrback(self._start_failed)

    def stopService(self) -> Deferred[None]:
        """Cancel a start that is under way, then stop (twisted.application.service.IService).

        Returns:
            A Deferred that fires when everything is stopped.
        """
        super().stopService()
        if self._starting is not None:
            self._starting.cancel()
        return Deferred.fromCoroutine(self._stop())

    @abstractmethod
    async def _start(self) -> None:
        """Start. Cancelled if the service is stopped meanwhile."""

    @abstractmethod
    def _start_failed(self, failure: Failure) -> None:
        """Handle the failure of the start, which is a CancelledError if the service was stopped meanwhile."""

    @abstractmethod
    async def _stop(self) -> None:
        """Stop everything that :meth:`_start` has started."""

    async def _until(self, finished: Deferred[None], seconds: float) -> None:
        """Wait for a Deferred for at most some seconds; log what goes wrong."""
        try:
            await finished.addTimeout(max(seconds, 0), self._reactor)
        except DeferredTimeoutError:
            self._log.warn("not everything was finished in time")
        except Exception:  # noqa: BLE001 - a broken connection must not keep the process from stopping
            self._log.failure("a part could not be stopped in order")
