"""Models that speak gRPC behind a real process and a real RabbitMQ."""

from __future__ import annotations

import json
from typing import Any

import grpc
from twisted.internet.defer import Deferred

from tests.support.certificates import certificates
from tests.support.grpc_server import GRPCServer
from tests.support.integration import IntegrationTestCase


class GRPCModelTests(IntegrationTestCase):
    """From the caller to the model and back."""

    async def setUp(self) -> None:
        await super().setUp()
        certs = certificates()
        pair = ((certs / "server_key.pem").read_bytes(), (certs / "server_cert.pem").read_bytes())
        self.credentials = grpc.ssl_server_credentials(
            [pair], (certs / "cacert.pem").read_bytes(), require_client_auth=True
        )
        self.server = self.serve()

    def serve(self, port: int = 0) -> GRPCServer:
        """A server that demands our certificate, and answers with what it gets."""
        server = GRPCServer(self.credentials, port)
        self.addCleanup(server.stop)
        server.methods["Predict"] = lambda _request, _context: b"\x0a\x05[1,2]"
        return server

    def entries(self, **keys: Any) -> list[dict[str, Any]]:
        """The queue file."""
        certs = certificates()
        model = {
            "url": f"https://localhost:{self.server.port}",
            "protocol": "mlserving-grpc",
            "cacert": str(certs / "cacert.pem"),
            "cert": str(certs / "client_cert.pem"),
            "key": str(certs / "client_key.pem"),
            "headers": {"Authorization": "Bearer ${TOKEN}"},
        }
        return [self.entry(model=model, **keys)]

    async def test_predict(self) -> None:
        """Body and headers arrive, with our certificate, and the answer is the caller's. The process ends in order."""
        gateway = await self.start(entries=self.entries(), TOKEN="secret-of-the-model").ready()
        response, answer = await self.post(gateway, {"a": 1}, X_One="1", RqUID="r1")
        self.assertEqual((response.code, answer), (200, [1, 2]))
        ((method, request, metadata),) = self.server.requests
        self.assertEqual(method, "/mlserving.BaseModelInterface/Predict")
        self.assertTrue(request.endswith(b'{"a": 1}'), request)
        for name, value in ((b"RqUID", b"r1"), (b"X-One", b"1"), (b"Authorization", b"Bearer secret-of-the-model")):
            self.assertIn(name + b"\x12" + bytes([len(value)]) + value, request)
        self.assertEqual(metadata["authorization"], "Bearer secret-of-the-model")
        self.assertNotIn("secret-of-the-model", "\n".join(gateway.lines))
        gateway.signal("TERM")
        self.assertEqual(await gateway.when_ended(), 0)
        self.assertEqual(gateway.errors, "")

    async def test_states(self) -> None:
        """A busy model, and one that is away, cost no attempt: the message waits, and is answered in the end."""
        gateway = await self.start(entries=self.entries(maxPause=1), TOKEN="x").ready()
        refusals = iter([grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE])

        def predict(_request: bytes, context: grpc.ServicerContext) -> bytes:
            for code in refusals:
                context.abort(code, "later")
            return b"\x0a\x01\x31"

        self.server.methods["Predict"] = predict
        response, answer = await self.post(gateway, {"a": 1})
        self.assertEqual((response.code, answer, len(self.server.requests)), (200, 1, 3))
        self.server.stop()
        waiting = self.post(gateway, {"a": 2})
        answered = Deferred.fromCoroutine(waiting)
        await gateway.logged("cannot be reached")
        self.server = self.serve(self.server.port)
        response, answer = await answered
        self.assertEqual((response.code, answer), (200, [1, 2]))
        _, metrics = await self.admin(gateway, "/metrics")
        for line in metrics.splitlines():
            if line.startswith(("provider_gateway_parked_total{", "provider_gateway_retried_total{")):
                self.assertTrue(line.endswith(" 0.0"), line)

    async def test_rejected(self) -> None:
        """A caller's mistake is told to the caller, a failure is a 502."""
        gateway = await self.start(entries=self.entries(), TOKEN="x").ready()
        for code, status in (("INVALID_ARGUMENT", 400), ("NOT_FOUND", 404), ("INTERNAL", 502)):
            self.server.methods["Predict"] = lambda _request, context, code=code: context.abort(
                grpc.StatusCode[code], "wrong shape"
            )
            response, answer = await self.post(gateway, {"a": 1})
            self.assertEqual(response.code, status, answer)
            if status < 500:
                self.assertEqual(answer, {"error": "wrong shape"})
            else:
                self.assertIn("gRPC status INTERNAL", answer["detail"])
                self.assertIn("wrong shape", json.dumps(await gateway.logged("gRPC status INTERNAL")))

    async def test_without_the_extra(self) -> None:
        """Without grpcio, an entry that needs it ends the start with one line that says what to install."""
        process = self.start(entries=self.entries(), TOKEN="x", PYTHONPATH=self.absent())
        self.assertNotEqual(await process.when_ended(), 0)
        said = process.errors + "\n".join(process.lines)
        self.assertIn("pip install 'provider-gateway[grpc]'", said)
        self.assertIn(self.queue, said)
        self.assertNotIn("Traceback", said)

    def absent(self) -> str:
        """A folder in which grpcio is as if it were not installed."""
        package = self.folder / "absent" / "grpc"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'grpc'\")\n")
        return str(package.parent.resolve())
