"""Every private or undocumented name of another package that our code uses: why, and what it relies on.

It stands among the tests because nothing needs it at run time: ``tests/unit/test_private_names.py`` compares the list
with what :mod:`tests.support.name_finder` finds in the source, and each entry with the installed package.
Before a new entry: is there a documented way? What may it cost?
"""

from __future__ import annotations

from dataclasses import dataclass
from socket import socket
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pika
from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL.SSL import TLS_METHOD, Connection, Context
from pika import spec
from pika.adapters.twisted_connection import TwistedProtocolConnection
from pika.callback import CallbackManager
from twisted.internet import tcp
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import optionsForClientTLS
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.web.server import Request, Site
from twisted.web.test.requesthelper import DummyChannel

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Name:
    """A name that we use.

    Attributes:
        owner: the full name of the class or module that has it.
        name: as Python stores it.
        why: what it is used for, and why there is no documented way.
        signature: the parameters of a function, without annotations; None for a name that is no function.
        of: makes an object that has the attribute; None if the owner itself has it.
        kind: the type of the attribute's value; None if there is no object to look at.
        module: the module of ours that uses it, for a name that cannot be found automatically; see the finder.
    """

    owner: str
    name: str
    why: str
    signature: str | None = None
    of: Callable[[], Any] | None = None
    kind: Any = None
    module: str | None = None


def tls_transport() -> Any:
    """Twisted's TLS on a transport in memory, with the handshake begun."""
    factory = TLSMemoryBIOFactory(optionsForClientTLS("localhost"), True, Factory.forProtocol(Protocol), Clock())
    transport: Any = factory.buildProtocol(None)
    transport.makeConnection(StringTransport())
    return transport


def connection() -> Any:
    """A connection of Twisted by TCP."""
    made: Any = tcp.Connection
    return made(socket(), Protocol(), Clock())


def request() -> Any:
    """Twisted's request, whose answer has begun."""
    channel: Any = DummyChannel()
    channel.site = Site(None)
    made: Any = Request(channel, False)
    made.clientproto = b"HTTP/1.1"
    made.site = channel.site
    made.write(b"1")
    return made


def amqp_connection() -> Any:
    """Pika's connection, before its handshake."""
    protocol = TwistedProtocolConnection(pika.ConnectionParameters(), custom_reactor=Clock())
    return protocol._impl


def _tls(name: str, why: str, **relied_on: Any) -> Name:
    return Name("twisted.protocols.tls.TLSMemoryBIOProtocol", name, why, **relied_on)


def _request(name: str, why: str, kind: Any) -> Name:
    return Name("twisted.web.http.Request", name, why, of=request, kind=kind)


def _property(name: str, kind: type) -> Name:
    why = "what pika has decoded, for copies; documented as an argument of the constructor only"
    values: dict[str, Any] = {"headers": {}, "message_id": "m", "cluster_id": "c", "user_id": "u", "delivery_mode": 2}
    return Name("pika.spec.BasicProperties", name, why, of=lambda: spec.BasicProperties(**values), kind=kind)


PRIVATE = (
    _tls("_flushReceiveBIO", "overridden: a peer that has sent close_notify may go on reading", signature="(self)"),
    _tls(
        "_tlsShutdownFinished",
        "overridden: Twisted's way to end on an error of OpenSSL, or on close_notify",
        signature="(self, reason)",
    ),
    Name(
        "twisted.internet.tcp.Server",
        "__class__",
        "a transport of Twisted becomes one that sends at once: there is no way to say of which class it makes them",
        of=lambda: tcp.Server.__new__(tcp.Server),
        kind=type(tcp.Server),
    ),
    Name(
        "OpenSSL.SSL.Connection",
        "_ssl",
        "OpenSSL's connection, for SSL_read and SSL_write: with pyOpenSSL's methods each record costs 1.5 µs more",
        of=lambda: Connection(Context(TLS_METHOD)),
        kind=Binding.ffi.CData,
    ),
    *(
        Name(
            "OpenSSL.SSL.Connection",
            name,
            "OpenSSL's buffer to or from the socket: it keeps the size of the handshake, and is replaced behind it",
            of=lambda: Connection(Context(TLS_METHOD)),
            kind=Binding.ffi.CData,
        )
        for name in ("_into_ssl", "_from_ssl")
    ),
    Name(
        "OpenSSL.SSL.Connection",
        "_raise_ssl_error",
        "raises pyOpenSSL's error for a call of OpenSSL that failed, as its own methods do",
        signature="(self, ssl, result)",
    ),
)

UNDOCUMENTED = (
    Name(
        "twisted.internet.epollreactor",
        "log",
        "what calls back for an event of a socket, in the log's context, which no line of ours has",
        kind=ModuleType,
    ),
    Name(
        "twisted.enterprise.adbapi.Connection",
        "rollback",
        "does nothing in our subclass, a documented connectionFactory: the engine has rolled back, and closes a "
        "connection that has failed",
        signature="(self)",
    ),
    Name("twisted.internet.protocol.BaseProtocol", "transport", "what each protocol of Twisted has", of=Protocol),
    Name("twisted.internet.protocol.Protocol", "factory", "what each protocol of Twisted's factories has", of=Protocol),
    Name("twisted.internet.protocol.Factory", "noisy", "False: Twisted logs no start and stop of factories", kind=bool),
    Name(
        "twisted.internet.abstract.FileDescriptor",
        "connected",
        "nothing is sent on a connection that is lost",
        kind=int,
    ),
    Name("twisted.internet.tcp.Connection", "socket", "is written to directly", of=connection),
    Name(
        "twisted.internet.tcp.Port",
        "numberAccepts",
        "1: a worker accepts one connection, and leaves the next one to others",
        module="provider_gateway.workers.shared_port",
    ),
    Name(
        "twisted.protocols.policies.ProtocolWrapper",
        "disconnecting",
        "true once we close or abort: Twisted then decides what may still be handed on",
        of=tls_transport,
        kind=int,
    ),
    _request("channel", "our channel: its site, its identity, its way to write", object),
    _request("clientproto", "the version that the status line of the response repeats", bytes),
    _request("code", "the status that is sent, and recorded", int),
    _request("code_message", "the words of the status line", bytes),
    _request("sentLength", "bytes of the body that were sent, for the access log", int),
    _request("startedWriting", "true once the response has begun", int),
    Name("twisted.web.server.Request", "site", "the site that the request came to", of=request, kind=Site),
    Name(
        "twisted.web.server",
        "version",
        "the value of the header Server",
        kind=bytes,
        module="provider_gateway.http_server.request",
    ),
    Name(
        "pika.spec.BasicProperties",
        "decode",
        "overridden: headers that pika cannot decode are left out",
        signature="(self, encoded, offset=0)",
    ),
    Name("pika.spec.BasicProperties", "encode", "overridden: copies keep the bytes of headers", signature="(self)"),
    _property("headers", dict),
    _property("message_id", str),
    _property("cluster_id", str),
    _property("user_id", str),
    _property("delivery_mode", int),
    Name(
        "pika.connection.Connection",
        "callbacks",
        "tells why the broker closed the connection; pika reports that as a loss like any other",
        of=amqp_connection,
        kind=CallbackManager,
        module="provider_gateway.amqp.session",
    ),
    Name(
        "pika.connection.Connection",
        "bytes_received",
        "counts the bytes of messages, which bypass pika: else pika would find the broker silent",
        of=amqp_connection,
        kind=int,
        module="provider_gateway.amqp.session",
    ),
    Name(
        "pika.connection.Connection",
        "params",
        "has heartbeat and frame size as agreed on with the broker",
        of=amqp_connection,
        kind=pika.connection.Parameters,
        module="provider_gateway.amqp.session",
    ),
    Name(
        "yaml.composer.Composer",
        "compose_mapping_node",
        "overridden: a key that stands twice is an error, and mappings are merged",
        signature="(self, anchor)",
    ),
)
NAMES = (*PRIVATE, *UNDOCUMENTED)
