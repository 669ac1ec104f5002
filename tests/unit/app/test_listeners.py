"""Listeners: the addresses that they take, and what errors and logs call them."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.testing import EventLoggingObserver, MemoryReactorClock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.app.listeners import TCPListeners, numeric, say_where
from provider_gateway.config.settings import Settings
from provider_gateway.workers.shared_port import bind


class NumericTests(SynchronousTestCase):
    """From a host of the settings to an address."""

    def test_addresses(self) -> None:
        """An address stays as it is, with its zone; localhost is IPv4."""
        for host, expected in (
            ("0.0.0.0", "0.0.0.0"),
            ("::", "::"),
            ("::1", "::1"),
            ("fe80::1%eth0", "fe80::1%eth0"),
            ("localhost", "127.0.0.1"),
        ):
            self.assertEqual(expected, numeric(host, 5050))

    def test_unknown_name(self) -> None:
        """A name without an address cannot be listened on; the error has the name."""

        def unknown(*_: object, **__: object) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        self.patch(socket, "getaddrinfo", unknown)
        self.assertIn("no.invalid:5050", str(self.assertRaises(CannotListenError, numeric, "no.invalid", 5050)))


class ListenersTests(SynchronousTestCase):
    """Listeners of a process, and of workers."""

    def test_both(self) -> None:
        """Admin and HTTPS listener are opened on the addresses of the settings."""
        reactor = MemoryReactorClock()
        settings = Settings(_env_file=None, rmq_url="amqp://r", http_addr="::", admin_addr="[::1]")
        listeners = TCPListeners(reactor, settings)
        listeners.open_admin(list, list, list)
        listeners.open_http(None, lambda: 0)
        self.assertEqual(["::1", "::"], [interface for *_, interface in reactor.tcpServers])

    def test_log(self) -> None:
        """The log has an IPv6 address in brackets."""
        logged = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)
        say_where("https", "::1", 5050)
        say_where("admin", "127.0.0.1", 5080)
        self.assertEqual(
            ["https listener on [::1]:5050", "admin listener on 127.0.0.1:5080"],
            [formatEvent(event) for event in logged],
        )

    def test_address_in_use(self) -> None:
        """The error of an address in use names it, with brackets; a worker's socket as well."""
        with socket.socket(socket.AF_INET6) as taken:
            taken.bind(("::1", 0))
            taken.listen()
            port = taken.getsockname()[1]

            class Reactor(MemoryReactorClock):
                """A reactor on which every address is in use."""

                def listenTCP(self, port: int, *_: Any, interface: str, **__: Any) -> Any:  # noqa: N802 - Twisted's
                    raise CannotListenError(interface, port, OSError(98, "Address already in use"))

            settings = Settings(_env_file=None, rmq_url="amqp://r", http_addr="::1", http_port=port)
            listen = TCPListeners(Reactor(), settings).open_http
            for call in (lambda: listen(None, lambda: 0), lambda: bind("::1", port)):
                error = str(self.assertRaises(CannotListenError, call))
                self.assertIn(f"[::1]:{port}", error)
                self.assertIn("Address already in use", error)

    def test_workers_socket(self) -> None:
        """The socket that workers share is of the address's family, also for a name."""
        for host, family in (("::1", socket.AF_INET6), ("127.0.0.1", socket.AF_INET), ("localhost", socket.AF_INET)):
            with bind(host, 0) as bound:
                self.assertEqual(family, bound.family)
