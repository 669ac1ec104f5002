"""A whole process on real sockets: both roles, TLS with client certificates on both sides, and a model over HTTP.

Broker (the embedded one), model and client are on the other reactor of :mod:`tests.support.stepped_reactors`.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import ssl
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory

from provider_gateway.app.service import GatewayService
from provider_gateway.config.queue_file import QueueEntry
from provider_gateway.config.settings import ROLES, Settings
from provider_gateway.devbroker.login import common_name
from provider_gateway.devbroker.server import Broker
from provider_gateway.observability.metrics import Metrics
from provider_gateway.security.credentials import load_credentials
from tests.support.certificates import certificates
from tests.support.model_peer import response
from tests.support.stepped_reactors import SteppedReactorsTestCase

_ANSWER = response(200, b"42", "Content-Type: application/json")


def _split(data: bytes) -> tuple[bytes, int | None]:
    """The head of an HTTP message, and how many bytes of its body are missing; None without a whole head."""
    head, end, body = data.partition(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return head, int(length) - len(body) if end else None


class InstantModel(Protocol):
    """Answers a call when its last byte has arrived."""

    def connectionMade(self) -> None:
        self._begun, self._missing = b"", 0

    def dataReceived(self, data: bytes) -> None:
        if self._missing:
            self._missing -= len(data)
        else:
            self._begun += data
            _, missing = _split(self._begun)
            if missing is None:
                return
            self._begun, self._missing = b"", missing
        if not self._missing:
            self.transport.write(_ANSWER)


class HTTPSClient(Protocol):
    """Sends requests on one connection.

    Attributes:
        received: what has come of an answer; None before the connection is open.
    """

    received: bytes | None = None

    def connectionMade(self) -> None:
        self.received = b""

    def dataReceived(self, data: bytes) -> None:
        assert self.received is not None
        self.received += data

    def post(self, body: bytes, media_type: str) -> None:
        """Send a request."""
        self.received = b""
        head = "POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nrouting-key: predict.now\r\nRqUID: r1\r\n"
        head += f"Content-Type: {media_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)

    @property
    def is_answered(self) -> bool:
        """True if an answer is complete."""
        return _split(self.received or b"")[1] == 0


class SocketServiceTestCase(SteppedReactorsTestCase):
    """A process with one queue that is ready, and a client that has connected to it."""

    def setUp(self) -> None:
        super().setUp()
        self._listening: list[Any] = []
        certs = certificates()
        broker = Broker({"provider-gateway": None}, self.others, common_name)
        tls = self._identity("server").options(ssl.Certificate.loadPEM((certs / "cacert.pem").read_bytes()))
        amqp = self._listen(TLSMemoryBIOFactory(tls, False, broker, self.others))
        model = self._listen(Factory.forProtocol(InstantModel))
        self.settings = Settings(
            _env_file=None,
            rmq_url=f"amqps://127.0.0.1:{amqp}/?heartbeat=3600",
            mq_cacert=certs / "cacert.pem",
            mq_cert=certs / "client_cert_mq.pem",
            mq_key=certs / "client_key_mq.pem",
            http_addr="127.0.0.1",
            http_port=0,
            admin_addr="127.0.0.1",
            admin_port=0,
            http_cacert=certs / "cacert.pem",
            http_cert=certs / "server_cert.pem",
            http_key=certs / "server_key.pem",
            model_url=f"http://127.0.0.1:{model}/predict",
        )
        self._service = self._start()
        self.client = self._connect()
        self.addCleanup(self.client.transport.abortConnection)

    def _start(self) -> GatewayService:
        keys = {"topic": "ML.MQ", "queueName": "work", "bindingKey": "predict.*", "accept": "*/*", "prefetch": 2}
        metrics, fatal = Metrics(), list[str]()
        service = GatewayService(
            self.counted,
            self.settings,
            [QueueEntry.model_validate(keys)],
            ROLES,
            metrics=metrics,
            credentials=load_credentials(self.counted, self.settings, ROLES, metrics, self._wall_clock),
            access_log=None,
            observer=None,
            fatal=fatal.append,
            wall_clock=self._wall_clock,
        )
        service.startService()
        self.addCleanup(self._stop, service)
        self.until(lambda: fatal or not service.waiting_for())
        self.assertEqual(fatal, [])
        return service

    def _wall_clock(self) -> float:
        return self.now

    def _stop(self, service: GatewayService) -> None:
        stopped: list[object] = []
        service.stopService().addBoth(stopped.append)
        for each in self._listening:
            each.stopListening()
        self.until(lambda: stopped)

    def _listen(self, factory: Any) -> int:
        self._listening.append(self.others.listenTCP(0, factory, interface="127.0.0.1"))
        return int(self._listening[-1].getHost().port)

    @staticmethod
    def _identity(name: str) -> ssl.PrivateCertificate:
        pem = b"".join((certificates() / f"{name}_{part}.pem").read_bytes() for part in ("cert", "key"))
        return ssl.PrivateCertificate.loadPEM(pem)

    def _connect(self) -> HTTPSClient:
        client = HTTPSClient()
        factory: Any = ClientFactory.forProtocol(lambda: client)
        tls = TLSMemoryBIOFactory(self._identity("client").options(), True, factory, self.others)
        self.others.connectTCP("127.0.0.1", self._service.port("https"), tls)
        self.until(lambda: client.received is not None)
        return client

    def request(self, body: bytes, media_type: str = "application/json") -> None:
        """A request, from its first byte until all is quiet after its answer."""
        self.client.post(body, media_type)
        self.until(lambda: self.client.is_answered)
        self.settle()
        assert self.client.received is not None
        self.assertEqual(self.client.received.partition(b" ")[2][:3], b"200", self.client.received)
