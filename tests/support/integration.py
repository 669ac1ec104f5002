"""The base of tests with real processes: RabbitMQ, gateways, a model, HTTP clients, and queues for each test."""

from __future__ import annotations

import json
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import treq
import yaml
from twisted.internet import reactor, ssl
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.iweb import IPolicyForHTTPS
from twisted.web.server import Site
from zope.interface import implementer

from tests.support.certificates import certificates, http_variables, mq_variables
from tests.support.folders import ROOT
from tests.support.model_server import ModelServer
from tests.support.processes import TWISTD, Gateway
from tests.support.rabbitmq import on_channel, shared_broker

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

    from devtools.rabbitmq import RabbitMQ


def client_tls(host: str = "localhost") -> Any:
    """Options of TLS for a client with the client certificate."""
    folder = certificates()
    pem = (folder / "client_cert.pem").read_bytes() + (folder / "client_key.pem").read_bytes()
    return ssl.optionsForClientTLS(
        host,
        trustRoot=ssl.Certificate.loadPEM((folder / "cacert.pem").read_bytes()),
        clientCertificate=ssl.PrivateCertificate.loadPEM(pem),
    )


@implementer(IPolicyForHTTPS)
class _ClientTLS:
    def creatorForNetloc(self, hostname: bytes, _port: int) -> Any:
        return client_tls(hostname.decode())


class IntegrationTestCase(TestCase):
    """Each test has its own exchange and queues: ``self.exchange``, ``self.queue``, ``self.output``."""

    timeout = 90
    #: Returns the RabbitMQ node of these tests.
    node_of_the_suite: ClassVar[Callable[[], RabbitMQ]] = staticmethod(shared_broker)
    #: Makes the model.
    new_model: ClassVar[Callable[[], ModelServer]] = ModelServer

    async def setUp(self) -> None:
        self.broker = await deferToThread(self.node_of_the_suite)
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        name = uuid.uuid4().hex[:8]
        self.exchange, self.queue, self.output = f"test.{name}", f"in.{name}", f"out.{name}"
        self.model = self.new_model()
        site = Site(self.model)
        site.noisy = False
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.model_url = f"http://127.0.0.1:{port.getHost().port}/predict"
        self.pool = HTTPConnectionPool(reactor)
        self.pool.maxPersistentPerHost = 300
        self.addCleanup(self.pool.closeCachedConnections)
        self.client = treq.client.HTTPClient(Agent(reactor, _ClientTLS(), pool=self.pool))
        self.addCleanup(on_channel, self.broker, self._delete)

    def _delete(self, channel: Any) -> None:
        for queue in (self.queue, f"{self.queue}.retry", f"{self.queue}.parking", self.output):
            channel.queue_delete(queue)
        for exchange in (self.exchange, f"{self.queue}.return"):
            channel.exchange_delete(exchange)

    def entry(self, **keys: Any) -> dict[str, Any]:
        """A queue-file entry for this test; a key set to None is left out."""
        entry = {
            "topic": self.exchange,
            "queueName": self.queue,
            "bindingKey": "predict.*",
            "replyTo": self.output,
            **keys,
        }
        return {key: value for key, value in entry.items() if value is not None}

    def environment(self, **variables: str) -> dict[str, str]:
        """The environment of a gateway; it listens on free ports."""
        certs = certificates()
        return {
            "PATH": "/usr/bin:/bin",
            "RMQ_URL": self.broker.url,
            **mq_variables(certs),
            "HTTP_ADDR": "127.0.0.1",
            "HTTP_PORT": "0",
            **http_variables(certs),
            "ADMIN_ADDR": "127.0.0.1",
            "ADMIN_PORT": "0",
            "MODEL_URL": self.model_url,
            **variables,
        }

    def start(self, *arguments: str, entries: list[dict[str, Any]] | None = None, **variables: str) -> Gateway:
        """Start ``twistd -n provider-gateway`` in the test's folder with these arguments and variables."""
        queues = self.folder / f"queues-{uuid.uuid4().hex[:6]}.yaml"
        queues.write_text(yaml.safe_dump(entries if entries is not None else [self.entry()]))
        command = [TWISTD, "-n", "--pidfile=", "provider-gateway", "--queues", str(queues.resolve()), *arguments]
        gateway: Gateway = Gateway.start(self, command, self.environment(**variables), self.folder)
        return gateway

    async def post(self, gateway: Gateway, body: object, path: str = "/v1/predict", **headers: str) -> tuple[Any, Any]:
        """POST to a gateway with the client certificate; returns the response and its decoded body."""
        sent = {"Content-Type": "application/json", "routing-key": "predict.now"}
        sent.update({name.replace("_", "-"): value for name, value in headers.items()})
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        url = f"https://localhost:{await gateway.port('https')}{path}"
        response = await self.client.post(url, data=data, headers=sent)
        return response, await response.json()

    async def admin(self, gateway: Gateway, path: str) -> tuple[int, str]:
        """GET from a gateway's admin listener; returns status and text."""
        response = await treq.get(f"http://127.0.0.1:{await gateway.port('admin')}{path}", persistent=False)
        return response.code, await response.text()

    async def curl(self, *arguments: str, certificate: bool = True) -> tuple[int, str, str]:
        """Run real curl in the certificates' folder; returns exit status, output and errors."""
        login = ["--key", "client_key.pem", "--cert", "client_cert.pem"] if certificate else []
        out, err, status = await getProcessOutputAndValue(
            "/usr/bin/env",
            ["curl", "-sS", "-k", *login, *arguments],
            env={"PATH": "/usr/bin:/bin"},
            path=str(certificates()),
        )
        return status, out.decode(), err.decode()

    async def triton(self, gateway: Gateway, model: str) -> dict[str, Any]:
        """What calls of ``tritonclient`` return, in a process of their own (:mod:`tests.support.triton_client`)."""
        files = [str(certificates() / name) for name in ("cacert.pem", "client_cert.pem", "client_key.pem")]
        url = f"localhost:{await gateway.port('https')}"
        out, errors, status = await getProcessOutputAndValue(
            sys.executable,
            ["-m", "tests.support.triton_client", model, url, *files],
            env={"PATH": "/usr/bin:/bin"},
            path=str(ROOT),
        )
        self.assertEqual(status, 0, errors.decode())
        found: dict[str, Any] = json.loads(out)
        return found

    def on_channel(self, use: Callable[[Any], Any], node: RabbitMQ | None = None) -> Deferred[Any]:
        """Run a function in a thread with a plain pika channel."""
        return on_channel(node or self.broker, use)
