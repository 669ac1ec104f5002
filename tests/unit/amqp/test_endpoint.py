"""Connecting to one of several brokers: a session that is ready for use, or nothing that is left open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pika import spec
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectionRefusedError as TCPRefused
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Factory
from twisted.logger import LogLevel, formatEvent
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from provider_gateway.amqp import endpoint
from provider_gateway.amqp.endpoint import HANDSHAKE_TIMEOUT, PREPARE_TIMEOUT
from provider_gateway.amqp.session import ConnectionLost
from provider_gateway.errors import TopologyError
from tests.unit.amqp.base import PASSWORD, Client, EndpointTestCase

if TYPE_CHECKING:
    from tests.support.amqp_peer import Peer


@implementer(IOpenSSLClientConnectionCreator)
class NoTLS:
    """A TLS configuration, with which no connection is made here."""

    def clientConnectionForTLS(self, tls_protocol: Any) -> Any:
        raise AssertionError("no TLS connection is made here")


class ConnectTests(EndpointTestCase):
    """Which broker is connected to."""

    def test_connects(self) -> None:
        """The protocol is handed over when the session is open and prepared, not before."""
        self.preparing = Deferred()
        connecting = self.connect(self.endpoint())
        peer = self.accept()
        self.assertEqual(self.prepared, [])
        peer.pump()
        self.assertEqual(len(self.prepared), 1)
        self.assertTrue(self.prepared[0].is_open)
        self.assertNoResult(connecting)
        self.preparing.callback(None)
        self.assertIsInstance(self.successResultOf(connecting), Client)
        self.assertEqual(self.ports(), [1001])

    def test_in_turn(self) -> None:
        """After a refused TCP connection, the next broker is tried."""
        connecting = self.connect(self.endpoint())
        self.refuse()
        self.assertEqual(self.ports(), [1001, 1002])
        self.accept().pump()
        self.successResultOf(connecting)

    def test_the_one_that_worked_is_tried_first(self) -> None:
        """The protocol is told the reason of a loss. Then the broker that worked last is tried first."""
        brokers = self.endpoint()
        connecting = self.connect(brokers)
        self.refuse()
        peer = self.accept()
        peer.pump()
        client = self.successResultOf(connecting)
        peer.send(spec.Connection.Close(320, "CONNECTION_FORCED", 0, 0))
        self.assertIn("320 CONNECTION_FORCED", client.lost.getErrorMessage())
        self.connect(brokers)
        self.assertEqual(self.ports(), [1001, 1002, 1002])

    def test_none_works(self) -> None:
        """When each broker was tried once, the attempt fails with the last error. There is no back-off here."""
        connecting = self.connect(self.endpoint())
        self.refuse()
        self.refuse()
        self.failureResultOf(connecting, TCPRefused)
        self.assertEqual(self.ports(), [1001, 1002])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_refused_login(self) -> None:
        """After a refused login, the next broker is tried."""
        self.connect(self.endpoint())
        peer = self.accept()
        peer.answers[spec.Connection.StartOk] = lambda _: spec.Connection.Close(403, "ACCESS_REFUSED", 0, 0)
        peer.pump()
        self.assertEqual(self.ports(), [1001, 1002])

    def test_password_is_not_logged(self) -> None:
        """The log line of a failed attempt has address and reason, and not the password."""
        self.connect(self.endpoint())
        self.refuse()
        lines = [formatEvent(event) for event in self.logged]
        self.assertTrue(any("amqp://user:***@127.0.0.1:1001/" in line and "refused" in line for line in lines), lines)
        self.assertEqual([line for line in [*lines, *map(repr, self.logged)] if PASSWORD in line], [])

    def test_close_is_in_order(self) -> None:
        """Closing the transport that was handed over sends Close to the broker. Then the protocol learns of it."""
        connecting = self.connect(self.endpoint())
        peer = self.accept()
        peer.pump()
        client = self.successResultOf(connecting)
        client.transport.loseConnection()
        self.assertIsNone(client.lost)
        peer.pump()
        self.assertEqual(len(peer.sent(spec.Connection.Close)), 1)
        client.lost.trap(ConnectionLost)


class NothingLeftTests(EndpointTestCase):
    """An attempt that fails leaves no connection and no timer behind."""

    urls = "amqp://127.0.0.1:1001"

    def test_handshake_without_end(self) -> None:
        """A handshake that does not end is aborted after its timeout, and the next broker is tried."""
        self.connect(self.endpoint())
        peer = self.accept()
        peer.frozen = peer.transport.stuck = True
        self.reactor.advance(HANDSHAKE_TIMEOUT - 0.1)
        self.assertFalse(peer.transport.aborted)
        self.reactor.advance(0.1)
        self.assertTrue(peer.transport.aborted)
        self.assertEqual(self.ports(), [1001, 1002])

    def test_no_answer_to_tcp(self) -> None:
        """A host that does not answer at all is given up after the same timeout."""
        connecting = self.connect(self.endpoint(self.urls))
        self.reactor.advance(HANDSHAKE_TIMEOUT)
        self.assertTrue(self.reactor.connectors[0].stoppedConnecting)
        self.failureResultOf(connecting)
        self.assertEqual(self.prepared, [])

    def test_failed_preparation(self) -> None:
        """If the preparation fails, the session is aborted, and the attempt fails with its error."""
        self.preparing = Deferred()
        connecting = self.connect(self.endpoint(self.urls))
        peer = self.accept()
        peer.pump()
        self.preparing.errback(TopologyError("queue 'work': refused"))
        self.assertTrue(peer.transport.aborted)
        self.failureResultOf(connecting, TopologyError)

    def test_preparation_without_end(self) -> None:
        """A preparation that does not end is given up after its timeout."""
        self.preparing = Deferred()
        connecting = self.connect(self.endpoint(self.urls))
        peer = self.accept()
        peer.pump()
        for _ in range(int(PREPARE_TIMEOUT)):
            self.assertNoResult(connecting)
            peer.receive(b"\x08\x00\x00\x00\x00\x00\x00\xce")
            self.reactor.advance(1)
        self.assertIn("no answer within", str(self.failureResultOf(connecting, ConnectionLost).value))
        self.assertTrue(peer.transport.aborted)

    def test_lost_during_preparation(self) -> None:
        """A session that is lost during its preparation is not handed over, even if the preparation succeeds."""
        self.preparing = Deferred()
        connecting = self.connect(self.endpoint(self.urls))
        peer = self.accept()
        peer.pump()
        peer.lose()
        self.preparing.callback(None)
        self.failureResultOf(connecting, ConnectionLost)

    def test_cancelled_during_tcp(self) -> None:
        """A cancel while TCP connects stops the connection."""
        connecting = self.connect(self.endpoint())
        connecting.cancel()
        self.failureResultOf(connecting)
        self.assertTrue(self.reactor.connectors[0].stoppedConnecting)
        self.assertEqual((self.ports(), self.reactor.getDelayedCalls()), ([1001], []))

    def test_cancelled_during_the_handshake(self) -> None:
        """A cancel during the handshake aborts the connection, and no other broker is tried."""
        connecting = self.connect(self.endpoint())
        peer = self.accept()
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)
        self.assertTrue(peer.transport.aborted)
        self.assertEqual(self.ports(), [1001])

    def test_cancelled_during_preparation(self) -> None:
        """A cancel during the preparation cancels it and aborts the connection."""
        self.preparing = Deferred()
        connecting = self.connect(self.endpoint())
        peer = self.accept()
        peer.pump()
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)
        self.assertTrue(self.preparing.called)
        self.assertTrue(peer.transport.aborted)
        peer.pump()
        self.assertEqual((self.ports(), self.reactor.getDelayedCalls()), ([1001], []))


class LoginTests(EndpointTestCase):
    """Login, virtual host and client properties."""

    def login(self, url: str, **arguments: Any) -> tuple[Peer, str, bytes]:
        """Connect, and return the SASL mechanism and its response."""
        self.connect(self.endpoint(url, **arguments))
        peer = self.accept()
        peer.pump()
        (start,) = peer.sent(spec.Connection.StartOk)
        return peer, start.mechanism, start.response

    def test_user(self) -> None:
        """User, password and virtual host are the URL's; the connection has our name."""
        peer, mechanism, response = self.login(f"amqp://user:{PASSWORD}@127.0.0.1:1001/models?heartbeat=7")
        self.assertEqual((mechanism, response), ("PLAIN", f"\0user\0{PASSWORD}".encode()))
        self.assertEqual(peer.sent(spec.Connection.Open)[0].virtual_host, "models")
        self.assertEqual(peer.sent(spec.Connection.TuneOk)[0].heartbeat, 7)
        properties = peer.sent(spec.Connection.StartOk)[0].client_properties
        self.assertEqual((properties["connection_name"], properties["product"]), ("host-1 publish", "provider-gateway"))

    def test_no_user(self) -> None:
        """Without a user in the URL, the user is guest. A client certificate is no login without TLS."""
        for has_certificate in (False, True):
            _, mechanism, response = self.login("amqp://127.0.0.1:1001", has_client_certificate=has_certificate)
            self.assertEqual((mechanism, response), ("PLAIN", b"\0guest\0guest"))

    def test_client_certificate(self) -> None:
        """Over TLS, a client certificate is the login (EXTERNAL), unless the URL has a user."""
        self.patch(endpoint, "TLSClientEndpoint", lambda _tls, plain, _clock: plain)
        for url, has_certificate, expected in (
            ("amqps://127.0.0.1:1001", True, "EXTERNAL"),
            ("amqps://127.0.0.1:1001", False, "PLAIN"),
            ("amqps://user:pw@127.0.0.1:1001", True, "PLAIN"),
        ):
            _, mechanism, _ = self.login(url, tls=lambda _: NoTLS(), has_client_certificate=has_certificate)
            self.assertEqual(mechanism, expected, url)

    def test_tls(self) -> None:
        """An ``amqps`` address is connected to over TLS, with the configuration for its host."""
        hosts: list[str] = []

        def tls(host: str) -> NoTLS:
            hosts.append(host)
            return NoTLS()

        self.connect(self.endpoint("amqps://localhost:1001", tls=tls))
        self.assertEqual(hosts, ["localhost"])
        factory = self.reactor.tcpClients[-1][2]
        self.assertIsInstance(factory._wrappedFactory, TLSMemoryBIOFactory)


class BlackHoleTests(EndpointTestCase):
    """A broker whose packets are lost."""

    def test_next_address(self) -> None:
        """A TCP connection without an answer is given up after its timeout, and logged. The next broker is tried."""
        connecting = self.connect(self.endpoint())
        for _ in range(int(HANDSHAKE_TIMEOUT)):
            self.assertEqual(self.ports(), [1001])
            self.reactor.advance(1)
        self.reactor.advance(0)
        self.assertEqual(self.ports(), [1001, 1002])
        self.assertIn("no answer within 10 s", [event.get("reason") for event in self.logged])
        self.accept().pump()
        self.successResultOf(connecting)


class WhateverIsRaisedTests(EndpointTestCase):
    """An attempt that raises an error of any kind has failed: one line, and the next broker is tried."""

    def reasons(self) -> list[str]:
        """The reasons in the log, and that no error is there with a traceback."""
        self.assertEqual(self.flushLoggedErrors(), [])
        return [event["reason"] for event in self.logged if "reason" in event]

    def test_tls(self) -> None:
        """TLS that cannot be made for a host."""

        def tls(host: str) -> NoTLS:
            raise KeyError(host)

        self.connect(self.endpoint("amqps://first:1001,amqp://127.0.0.1:1002", tls=tls))
        self.assertEqual((self.ports(), self.reasons()), ([1002], ["KeyError: 'first'"]))

    def test_resolver(self) -> None:
        """A resolver that raises an error."""
        error = UnicodeError("label empty or too long")
        self.patch(self.reactor.nameResolver, "resolveHostName", lambda *_: raise_(error))
        self.connect(self.endpoint("amqp://first:1001,amqp://127.0.0.1:1002"))
        self.assertEqual((self.ports(), self.reasons()), ([1002], ["UnicodeError: label empty or too long"]))

    def test_preparation(self) -> None:
        """A preparation that fails for an unforeseen reason: the connection is dropped."""
        self.preparing = Deferred()
        self.connect(self.endpoint())
        peer = self.accept()
        peer.pump()
        self.preparing.errback(ZeroDivisionError("unforeseen"))
        self.reactor.advance(0)
        self.assertTrue(peer.transport.aborted)
        self.assertEqual((self.ports(), self.reasons()), ([1001, 1002], ["ZeroDivisionError: unforeseen"]))

    def test_hand_over(self) -> None:
        """A protocol that cannot be made: the connection is dropped."""
        factory = Factory()
        factory.protocol = lambda: raise_(ValueError("no protocol"))
        self.endpoint().connect(factory)
        self.reactor.advance(0)
        peer = self.accept()
        peer.pump()
        self.reactor.advance(0)
        self.assertTrue(peer.transport.aborted)
        self.assertEqual((self.ports(), self.reasons()), ([1001, 1002], ["ValueError: no protocol"]))

    def test_all(self) -> None:
        """When all fail, the attempt fails, so that the service tries again later."""
        connecting = self.connect(self.endpoint("amqps://a,amqps://b", tls=lambda _: raise_(OSError(5, "bad disk"))))
        self.failureResultOf(connecting, OSError)
        self.assertEqual(self.reasons(), ["OSError: [Errno 5] bad disk"] * 2)

    def test_traceback(self) -> None:
        """The traceback of an unforeseen error is in the log at the level debug, and only there."""
        self.connect(self.endpoint("amqps://a", tls=lambda _: raise_(KeyError("x")))).addErrback(lambda _: None)
        (event,) = [each for each in self.logged if "Traceback" in formatEvent(each)]
        self.assertEqual(event["log_level"], LogLevel.debug)

    def test_once_a_minute(self) -> None:
        """The same reason is logged once a minute, with how often it was left out; another one at once."""
        brokers = self.endpoint("amqp://127.0.0.1:1001")
        for reason in ("refused", "refused", "refused", "unreachable", "refused"):
            connecting = self.connect(brokers)
            self.reactor.tcpClients[-1][2].clientConnectionFailed(None, Failure(ConnectError(0, reason)))
            self.failureResultOf(connecting)
        expected = ["refused", "unreachable", "refused"]
        self.assertEqual([reason.rsplit(" ")[-1].strip(".") for reason in self.reasons()], expected)
        for seconds in (59, 1):
            self.reactor.advance(seconds)
            self.connect(brokers).addErrback(lambda _: None)
            self.reactor.tcpClients[-1][2].clientConnectionFailed(None, Failure(ConnectError(0, "refused")))
        lines = [formatEvent(event) for event in self.logged if "reason" in event]
        self.assertEqual(len(lines), 4)
        self.assertTrue(lines[-1].endswith("(1 more times since the last such line)"), lines[-1])

    def test_after_success(self) -> None:
        """After a connection was open, the same reason is news."""
        brokers = self.endpoint("amqp://127.0.0.1:1001")
        for attempt in range(2):
            self.connect(brokers).addErrback(lambda _: None)
            self.refuse()
            connecting = self.connect(brokers)
            peer = self.accept()
            peer.pump()
            self.successResultOf(connecting)
            peer.lose()
            self.assertEqual(len(self.reasons()), attempt + 1)


class NamesTests(EndpointTestCase):
    """Names that are looked up."""

    def test_odd_names(self) -> None:
        """Whatever a name has in it, it is the name that is looked up, and its address that is connected to."""
        looked_up: list[str] = []
        resolver = self.reactor.nameResolver
        resolve = resolver.resolveHostName
        self.patch(
            resolver, "resolveHostName", lambda receiver, *args: (looked_up.append(args[0]), resolve(receiver, *args))
        )
        names = ["rabbit_mq", "-a-", "ab--c", "xn--mnchen-3ya.example", "xn--zz", "rabbit."]
        for name in names:
            connecting = self.connect(self.endpoint(f"amqp://{name}:1001"))
            self.accept().pump()
            self.successResultOf(connecting)
        self.assertEqual(looked_up, names)

    def test_addresses_of_a_name(self) -> None:
        """All addresses of a name are tried before the name has failed."""

        def resolve(receiver: Any, _name: str, port: int, *_: Any) -> None:
            receiver.resolutionBegan(None)
            for host in ("127.0.0.1", "127.0.0.2"):
                receiver.addressResolved(IPv4Address("TCP", host, port))
            receiver.addressResolved(IPv6Address("TCP", "::1", port))
            receiver.resolutionComplete()

        self.patch(self.reactor.nameResolver, "resolveHostName", resolve)
        connecting = self.connect(self.endpoint("amqp://rabbit_mq:1001"))
        self.refuse()
        self.refuse()
        self.accept().pump()
        self.successResultOf(connecting)
        self.assertEqual([client[0] for client in self.reactor.tcpClients], ["127.0.0.1", "127.0.0.2", "::1"])

    def test_unknown_name(self) -> None:
        """A name without an address is one line with the name."""

        def resolve(receiver: Any, *_: Any) -> None:
            receiver.resolutionBegan(None)
            receiver.resolutionComplete()

        self.patch(self.reactor.nameResolver, "resolveHostName", resolve)
        self.connect(self.endpoint("amqp://rabbit_mq,amqp://127.0.0.1:1002"))
        self.assertEqual(self.ports(), [1002])
        (reason,) = [event["reason"] for event in self.logged if "reason" in event]
        self.assertIn("there is no address for the host name 'rabbit_mq'", reason)

    def test_lookup_without_end(self) -> None:
        """A lookup without an answer is given up after the timeout; a cancel during it ends the attempt."""
        self.patch(self.reactor.nameResolver, "resolveHostName", lambda *_: None)
        self.connect(self.endpoint("amqp://rabbit_mq,amqp://127.0.0.1:1002"))
        self.reactor.advance(HANDSHAKE_TIMEOUT)
        self.reactor.advance(0)
        self.assertEqual(self.ports(), [1002])
        connecting = self.connect(self.endpoint("amqp://rabbit_mq,amqp://127.0.0.1:1003"))
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)
        self.assertEqual(self.ports(), [1002])

    def test_ipv6(self) -> None:
        """An IPv6 address is connected to without a lookup."""
        self.patch(self.reactor.nameResolver, "resolveHostName", None)
        connecting = self.connect(self.endpoint("amqp://[::1]:1001"))
        self.accept().pump()
        self.successResultOf(connecting)
        self.assertEqual(self.reactor.tcpClients[-1][:2], ("::1", 1001))


class MechanismTests(EndpointTestCase):
    """A broker that does not offer our SASL mechanism."""

    def reason(self, url: str, mechanisms: bytes, **arguments: Any) -> str:
        """The reason of the failed attempt."""
        self.patch(endpoint, "TLSClientEndpoint", lambda _tls, plain, _clock: plain)
        connecting = self.connect(self.endpoint(url, tls=lambda _: NoTLS(), **arguments))
        peer = self.accept()
        peer.mechanisms = mechanisms
        peer.pump()
        reason = str(self.failureResultOf(connecting, ConnectionLost).value)
        self.assertEqual([event["reason"] for event in self.logged if "reason" in event][-1], reason)
        self.assertNotIn(PASSWORD, reason)
        return reason

    def test_certificate(self) -> None:
        """With a client certificate and no user, at a broker that takes passwords only."""
        self.assertEqual(
            self.reason("amqps://127.0.0.1/vhost", b"AMQPLAIN PLAIN", has_client_certificate=True),
            "the broker offers AMQPLAIN PLAIN, we offer EXTERNAL (RMQ_URL has no user, and MQ_CERT is set): put user "
            "and password into RMQ_URL, or have the broker offer EXTERNAL (auth_mechanisms)",
        )

    def test_password(self) -> None:
        """With user and password, at a broker that takes certificates only."""
        for certificate in (False, True):
            self.assertEqual(
                self.reason(f"amqps://u:{PASSWORD}@127.0.0.1/", b"EXTERNAL", has_client_certificate=certificate),
                "the broker offers EXTERNAL, we offer PLAIN (RMQ_URL has a user): leave user and password out of "
                "RMQ_URL, use amqps, and set MQ_CERT and MQ_KEY, or have the broker offer PLAIN (auth_mechanisms)",
            )

    def test_guest(self) -> None:
        """Without a user and without a certificate, or without TLS for it, the user is guest."""
        for url, certificate, part in (
            ("amqps://127.0.0.1/", False, "which means guest, and MQ_CERT is not set"),
            ("amqp://127.0.0.1/", True, "which means guest, and the address is not amqps"),
        ):
            self.assertIn(part, self.reason(url, b"EXTERNAL", has_client_certificate=certificate))

    def test_neither(self) -> None:
        """At a broker that offers neither, only the broker can be changed."""
        self.assertTrue(
            self.reason(f"amqp://u:{PASSWORD}@127.0.0.1/", b"AMQPLAIN GSSAPI").endswith(
                "(RMQ_URL has a user): have the broker offer PLAIN (auth_mechanisms)"
            )
        )


def raise_(error: Exception) -> Any:
    """Raise an error, in an expression."""
    raise error
