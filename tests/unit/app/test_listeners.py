"""Listeners: the addresses that they take, and what errors and logs call them."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.testing import EventLoggingObserver, MemoryReactorClock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.app.listeners import (
    ListenerError,
    TCPListeners,
    check_listeners,
    listening,
    numeric,
    say_where,
)
from provider_gateway.config.settings import Settings
from provider_gateway.errors import SettingsError
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
            error = str(self.assertRaises(ListenerError, listen, None, lambda: 0))
            self.assertEqual(f"HTTP_PORT: cannot listen on [::1]:{port}: Address already in use", error)
            error = str(self.assertRaises(CannotListenError, bind, "::1", port))
            self.assertIn(f"[::1]:{port}", error)
            self.assertIn("Address already in use", error)

    def test_variable(self) -> None:
        """The error names the variable that would help, of the port or of the address, as the user has set it."""
        for number, variables, expected in (
            (errno.EADDRINUSE, {}, "HTTP_PORT: cannot listen on 10.0.0.9:80: Address already in use"),
            (errno.EACCES, {}, "HTTP_PORT: cannot listen on 10.0.0.9:80: Permission denied"),
            (errno.EADDRNOTAVAIL, {}, "HTTP_ADDR: cannot listen on 10.0.0.9:80: Cannot assign requested address"),
            (errno.EADDRINUSE, {"GIN_PORT": "80"}, "GIN_PORT: cannot listen on 10.0.0.9:80: Address already in use"),
        ):
            self.patch(os, "environ", variables)
            error = OSError(number, os.strerror(number))
            for raised in (error, CannotListenError("0.0.0.0", 1, error)):
                with self.assertRaises(ListenerError) as caught, listening("HTTP", "10.0.0.9", 80):
                    raise raised
                self.assertEqual(expected, str(caught.exception))

    def test_unknown_host(self) -> None:
        """For an address that is a name without an address, the error names the variable of the address."""

        def unknown(*_: object, **__: object) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        self.patch(socket, "getaddrinfo", unknown)
        settings = Settings(_env_file=None, rmq_url="amqp://r", admin_addr="no.invalid")
        error = self.assertRaises(ListenerError, TCPListeners(None, settings).open_admin, list, list, list)
        self.assertEqual("ADMIN_ADDR: cannot listen on no.invalid:5080: Name or service not known", str(error))

    def test_one_port_for_both(self) -> None:
        """Both listeners on one port are an error, unless their addresses differ, or the system chooses the ports."""
        for http, admin, port, is_wrong in (
            ("0.0.0.0", "0.0.0.0", 5050, True),
            ("127.0.0.1", "0.0.0.0", 5050, True),
            ("::", "127.0.0.1", 5050, True),
            ("::1", "::", 5050, True),
            ("localhost", "127.0.0.1", 5050, True),
            ("0.0.0.0", "0.0.0.0", 0, False),
            ("127.0.0.1", "127.0.0.2", 5050, False),
            ("0.0.0.0", "::1", 5050, False),
        ):
            settings = Settings(
                _env_file=None,
                rmq_url="amqp://r",
                http_addr=http,
                admin_addr=admin,
                http_port=port,
                admin_port=port,
            )
            if is_wrong:
                error = str(self.assertRaises(SettingsError, check_listeners, settings))
                self.assertEqual("HTTP_PORT and ADMIN_PORT: expected two different ports, found 5050 for both", error)
            else:
                check_listeners(settings)
        check_listeners(Settings(_env_file=None, rmq_url="amqp://r"))

    def test_workers_socket(self) -> None:
        """The socket that workers share is of the address's family, also for a name."""
        for host, family in (("::1", socket.AF_INET6), ("127.0.0.1", socket.AF_INET), ("localhost", socket.AF_INET)):
            with bind(host, 0) as bound:
                self.assertEqual(family, bound.family)
