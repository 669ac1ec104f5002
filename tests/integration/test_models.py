"""Gateway and provider as processes of their own, with one queue file and a model for each queue."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet import reactor as global_reactor, ssl
from twisted.web.server import Site

from tests.support.certificates import certificates
from tests.support.integration import IntegrationTestCase
from tests.support.model_server import ModelServer

reactor: Any = global_reactor


class OneFileTests(IntegrationTestCase):
    """Two models: one by HTTPS that demands our certificate, one by HTTP that wants a header."""

    async def setUp(self) -> None:
        await super().setUp()
        certs = certificates()
        pair = (certs / "server_cert.pem").read_bytes() + (certs / "server_key.pem").read_bytes()
        trusted = ssl.Certificate.loadPEM((certs / "cacert.pem").read_bytes())
        self.fraud = ModelServer()
        site = Site(self.fraud)
        site.noisy = False
        port = reactor.listenSSL(0, site, ssl.PrivateCertificate.loadPEM(pair).options(trusted), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.files = {name: self.folder.resolve() / f"{name}.pem" for name in ("cacert", "cert", "key")}
        fraud = {"url": f"https://localhost:{port.getHost().port}/fraud"}
        fraud |= {name: str(path) for name, path in self.files.items()}
        image = {"url": self.model_url.replace("/predict", "/image"), "headers": {"Authorization": "Bearer ${TOKEN}"}}
        self.second = f"{self.queue}.image"
        self.entries = [
            self.entry(bindingKey="predict.fraud", paths="/v1/fraud", model=fraud),
            self.entry(queueName=self.second, bindingKey="predict.image", paths="/v1/image", model=image),
        ]

    def _delete(self, channel: Any) -> None:
        super()._delete(channel)
        for queue in (self.second, f"{self.second}.parking"):
            channel.queue_delete(queue)
        channel.exchange_delete(f"{self.second}.return")

    async def test_two_models(self) -> None:
        """Curl gets each model's answer at its path. The gateway has neither the files nor the variable."""
        gateway = await self.start("--role", "gateway", entries=self.entries).ready()
        for name, source in (("cacert", "cacert.pem"), ("cert", "client_cert.pem"), ("key", "client_key.pem")):
            self.files[name].write_bytes((certificates() / source).read_bytes())
        (self.folder / ".env").write_text("TOKEN=t0-secret\n")
        await self.start("--role", "provider", entries=self.entries).ready()
        base = f"https://127.0.0.1:{await gateway.port('https')}"
        for path, model in (("/v1/fraud", self.fraud), ("/v1/image", self.model)):
            body = json.dumps(path)
            arguments = ("-w", "\n%{http_code}", "-H", "Content-Type: application/json", "-d", body)
            _, output, _ = await self.curl(*arguments, base + path)
            self.assertEqual(output, f"{body}\n200")
            ((asked, headers),) = model.requests
            self.assertEqual(asked.decode(), body)
            self.assertEqual(headers.get("authorization"), "Bearer t0-secret" if model is self.model else None)
        _, output, _ = await self.curl(f"{base}/v1/models")
        listed = [(each["name"], each["paths"], each["routing_key"]) for each in json.loads(output)["models"]]
        expected = [(self.queue, ["/v1/fraud"], "predict.fraud"), (self.second, ["/v1/image"], "predict.image")]
        self.assertEqual(listed, expected)
