"""The demo's listeners: the usual ones, and plain HTTP on 127.0.0.1 for a browser without a client certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provider_gateway.app.listeners import TCPListeners
from provider_gateway.demo.token_guard import TokenGuard
from provider_gateway.parking.operators import Operator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twisted.internet.interfaces import IListeningPort
    from twisted.web.resource import IResource

    from provider_gateway.config.settings import Settings

_HOST = "127.0.0.1"


class DemoListeners(TCPListeners):
    """Opens the listeners, and one more with the HTTPS listener: plain HTTP for whoever has the link.

    Both serve the same site: what is counted, limited, logged and drained is the same.

    Args:
        more: resources by path, which only the plain listener has.

    Attributes:
        link: the address of the workbench, with its token; empty until the listener is open.
        plain: the port of plain HTTP, once it is open. Whoever opened the listeners closes it.
    """

    def __init__(self, reactor: Any, settings: Settings, more: Mapping[bytes, IResource]) -> None:
        super().__init__(reactor, settings)
        self._clock = reactor
        self._more = more
        self.link = ""
        self.plain: IListeningPort | None = None

    def open_http(self, factory: Any, connections: Any) -> IListeningPort:
        """Open both listeners; returns the HTTPS one (Listeners)."""
        port = super().open_http(factory, connections)
        site = factory.wrappedFactory
        self.plain = self._clock.listenTCP(0, site, interface=_HOST)
        host: Any = self.plain.getHost()
        guard = TokenGuard(site.resource, port=host.port, operator=Operator(name="demo", host=_HOST), more=self._more)
        site.resource, self.link = guard, guard.link
        return port
