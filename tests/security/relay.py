"""A TLS relay between a gateway and the broker: records client certificates, and can cut connections."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress

from tests.security.processes import PATIENCE
from tests.support.certificates import certificates
from tests.support.rabbitmq import shared_broker


def _copy(source: ssl.SSLSocket, sink: ssl.SSLSocket) -> None:
    """Copy until one side ends."""
    with suppress(OSError, ValueError):
        while data := source.recv(65536):
            sink.sendall(data)
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


class BrokerRelay:
    """Listens with its own certificate; forwards each connection to the shared broker with the demo's certificate.

    Args:
        tls: TLS of the listener.

    Attributes:
        peers: serial number of the client certificate of each connection.
    """

    def __init__(self, tls: ssl.SSLContext) -> None:
        self.peers: list[int] = []
        self._tls = tls
        certs = certificates()
        self._to_broker = ssl.create_default_context(cafile=str(certs / "cacert.pem"))
        self._to_broker.load_cert_chain(certs / "client_cert_mq.pem", certs / "client_key_mq.pem")
        self._open: list[ssl.SSLSocket] = []
        self._changed = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """The relay's address, as a broker URL."""
        return f"amqps://localhost:{self._listener.getsockname()[1]}/"

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                accepted, _ = self._listener.accept()
                threading.Thread(target=self._relay, args=(accepted,), daemon=True).start()

    def _relay(self, accepted: socket.socket) -> None:
        with suppress(OSError):
            inner = self._tls.wrap_socket(accepted, server_side=True)
            raw = socket.create_connection(("127.0.0.1", shared_broker().tls_port))
            outer = self._to_broker.wrap_socket(raw, server_hostname="localhost")
            certificate = inner.getpeercert() or {}
            with self._changed:
                self.peers.append(int(str(certificate.get("serialNumber", "0")), 16))
                self._open += [inner, outer]
                self._changed.notify_all()
            threading.Thread(target=_copy, args=(outer, inner), daemon=True).start()
            _copy(inner, outer)

    def wait_for(self, count: int) -> None:
        """Wait until there have been this many connections."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.peers) >= count, PATIENCE):
                msg = f"there were {len(self.peers)} connections, not {count}"
                raise AssertionError(msg)

    def cut(self) -> None:
        """Drop every connection."""
        with self._changed:
            ended, self._open = self._open, []
        for each in ended:
            with suppress(OSError):
                socket.socket.shutdown(each, socket.SHUT_RDWR)

    def close(self) -> None:
        """Stop listening, and drop every connection."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
