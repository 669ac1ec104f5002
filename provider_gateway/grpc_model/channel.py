"""gRPC calls to one server: grpcio's futures as Deferreds, and connections that are replaced when they are in doubt.

grpcio works in threads of its own. What they tell goes to the reactor by ``callFromThread``; nothing else here runs in
another thread.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
from twisted.internet.defer import Deferred

from provider_gateway.grpc_model.statuses import METADATA_BYTES

if TYPE_CHECKING:
    from provider_gateway.security.tls import ClientTLS

#: Milliseconds to connect, as for HTTP.
_CONNECT_TIMEOUT = 10_000
#: Bytes of a message around the body in it: field numbers, lengths, names.
_AROUND_BODY = 65_536
#: Seconds for which grpcio may go on watching a channel that nobody watches any more.
_WATCHED = 1.0
#: Files with the CAs of the system, where Python's own OpenSSL names none.
_SYSTEM_CAS = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


class Answer(NamedTuple):
    """How a call ended.

    Attributes:
        code: name of the status, such as ``OK``.
        details: the status' text.
        body: the encoded message; empty if the status is not OK.
        metadata: of the answer, from its beginning and its end.
    """

    code: str
    details: str
    body: bytes
    metadata: tuple[tuple[str, str | bytes], ...]


class Call:
    """A call under way.

    Attributes:
        answered: fires with the :class:`Answer`. Cancelling it ends the call.
        began: when, by the reactor's clock.
    """

    __slots__ = ("answered", "began", "connection", "future")

    def __init__(self, connection: _Connection, began: float, future: grpc.Future[Any]) -> None:
        self.answered: Deferred[Answer] = Deferred(self._cancel)
        self.began = began
        self.connection = connection
        self.future = future

    def _cancel(self, _: Deferred[Answer]) -> None:
        self.future.cancel()


class _Connection:
    """A channel of grpcio, which has one connection at a time. When that ends, the next call gets another one.

    Attributes:
        pem: the certificates that the channel was made with.
        calls: how many are under way.
        answered: when the last one was answered.
        is_retired: True if no more calls begin on it.
        is_watched: True if grpcio has watched its state. It does so in a thread, which it does not end at once.
    """

    __slots__ = ("answered", "calls", "channel", "is_retired", "is_watched", "methods", "pem")

    def __init__(self, channel: grpc.Channel, pem: object) -> None:
        self.channel = channel
        self.pem = pem
        self.calls = 0
        self.answered = float("-inf")
        self.is_retired = self.is_watched = False
        self.methods: dict[str, Any] = {}

    def close_if_unused(self) -> None:
        if not self.is_retired or self.calls:
            return
        if self.is_watched:
            # To close it now would wait for the thread, which would fail. It is done later, where waiting is no harm.
            later = Timer(_WATCHED, self.channel.close)
            later.daemon = True
            later.start()
        else:
            self.channel.close()


class Channel:
    """Calls to one server.

    A connection gets no more calls, and the next call a new one, when it could not be made or was lost, when a call on
    it timed out and no other was answered meanwhile, and when the certificates were loaded anew. Calls under way stay
    on theirs.

    Args:
        target: host and port, an IPv6 address in brackets.
        tls: None for none.
        max_body_bytes: limit of the body in an answer; a message may have 64 KiB around it.
    """

    def __init__(self, reactor: Any, target: str, *, tls: ClientTLS | None, max_body_bytes: int) -> None:
        self._reactor = reactor
        self._target = f"dns:///{target}"
        self._tls = tls
        self._options = [
            ("grpc.max_receive_message_length", min(max_body_bytes + _AROUND_BODY, 2**31 - 1)),
            ("grpc.max_send_message_length", -1),  # the body's limit holds
            ("grpc.max_metadata_size", METADATA_BYTES),
            ("grpc.absolute_max_metadata_size", METADATA_BYTES),
            ("grpc.min_reconnect_backoff_ms", _CONNECT_TIMEOUT),
            ("grpc.enable_http_proxy", 0),  # nothing but the URL says where calls go: no variable, no DNS record
            ("grpc.service_config_disable_resolution", 1),
            ("grpc.use_local_subchannel_pool", 1),  # a new channel is a new connection
        ]
        self._connection: _Connection | None = None

    def begin(self, method: str, request: bytes, metadata: Any, seconds: float) -> Call:
        """Begin a call.

        Args:
            method: its path, ``/package.Service/Method``.
            metadata: from :func:`~provider_gateway.grpc_model.metadata.to_metadata`.
            seconds: the deadline that the server is told.
        """
        connection = self._current()
        send = connection.methods.get(method)
        if send is None:
            send = connection.methods[method] = connection.channel.unary_unary(method)
        began = self._reactor.seconds()  # before the server can know the deadline
        future = send.future(request, timeout=seconds, metadata=metadata)
        connection.calls += 1
        call = Call(connection, began, future)
        future.add_done_callback(lambda ended: self._reactor.callFromThread(self._ended, call, ended))
        return call

    async def was_sent(self, call: Call) -> bool:
        """Whether a call that timed out may have reached the server.

        Returns:
            False if there has been no connection: nothing was sent.
        """
        connection = call.connection
        if connection.answered >= call.began:
            return True
        connection.calls += 1  # it stays open until its state is known
        self._retire(connection)
        try:
            return await self._has_connected(connection)
        finally:
            connection.calls -= 1
            connection.close_if_unused()

    def close(self) -> None:
        """Close the connection when the calls on it have ended."""
        if self._connection is not None:
            self._retire(self._connection)

    def _current(self) -> _Connection:
        """The connection for a new call."""
        connection = self._connection
        if connection is not None and self._tls is not None and connection.pem is not self._tls.pem:
            self._retire(connection)
            connection = None
        if connection is None or connection.is_retired:
            connection = self._connection = self._open()
        return connection

    def _open(self) -> _Connection:
        if self._tls is None:
            return _Connection(grpc.insecure_channel(self._target, options=self._options), None)
        pem = self._tls.pem
        cacert = pem.cacert if pem.cacert is not None else system_cas()
        credentials = grpc.ssl_channel_credentials(cacert, pem.key, pem.cert)
        return _Connection(grpc.secure_channel(self._target, credentials, options=self._options), pem)

    def _retire(self, connection: _Connection) -> None:
        if not connection.is_retired:
            connection.is_retired = True
            connection.close_if_unused()

    async def _has_connected(self, connection: _Connection) -> bool:
        """Whether a channel with a call under way has a connection, or has had one.

        It is idle if the server has asked for no more calls on it, as before a restart: the call is still there.
        """
        told: Deferred[grpc.ChannelConnectivity] = Deferred()

        def tell(state: grpc.ChannelConnectivity) -> None:
            self._reactor.callFromThread(first, state)

        def first(state: grpc.ChannelConnectivity) -> None:
            if not told.called:
                told.callback(state)

        connection.is_watched = True
        connection.channel.subscribe(tell)
        try:
            return await told in (grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.IDLE)
        finally:
            connection.channel.unsubscribe(tell)

    def _ended(self, call: Call, future: Any) -> None:
        """Take the end of a call, which grpcio's thread has told."""
        connection, code = call.connection, future.code().name
        connection.calls -= 1
        if code == "UNAVAILABLE":
            self._retire(connection)
        elif code not in ("DEADLINE_EXCEEDED", "CANCELLED"):
            connection.answered = self._reactor.seconds()
        connection.close_if_unused()
        if not call.answered.called:
            body = future.result() if code == "OK" else b""
            metadata = (*(future.initial_metadata() or ()), *(future.trailing_metadata() or ()))
            call.answered.callback(Answer(code, future.details() or "", body, metadata))


def system_cas() -> bytes | None:
    """The CAs of the system; None if they are not found: grpcio then trusts those that it brings along."""
    named = ssl.get_default_verify_paths().cafile
    for path in (named, *_SYSTEM_CAS):
        if path is not None and (file := Path(path)).is_file():
            return file.read_bytes()
    return None
