"""The base of services that twistd runs."""

from __future__ import annotations

from typing import Any

from twisted.application.service import MultiService
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway import __version__
from provider_gateway.app.process_service import ProcessService


class Service(ProcessService):
    """Does nothing."""

    async def _start(self) -> None:
        pass

    async def _stop(self) -> None:
        pass

    def _start_failed(self, failure: object) -> None:
        raise AssertionError(failure)


class VersionTests(SynchronousTestCase):
    """The line with the version."""

    def lines(self, parent: MultiService | None) -> list[str]:
        """What is logged at the start of a service."""
        events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        service = Service(None)
        if parent is not None:
            service.setServiceParent(parent)
        service.startService()
        return [event["version"] for event in events if "version" in event]

    def test_once(self) -> None:
        """A process tells its version at its start; a service that another one starts does not say it again."""
        self.assertEqual(self.lines(MultiService()), [__version__])
        self.assertEqual(self.lines(None), [])
