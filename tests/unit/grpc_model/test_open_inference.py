"""Tests of ``provider_gateway.grpc_model.open_inference`` against a server of grpcio."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import grpc
from twisted.internet.defer import Deferred

from provider_gateway.errors import ModelFailure, UnsupportedMediaType
from provider_gateway.grpc_model.errors import InvalidInference
from provider_gateway.grpc_model.messages import (
    ModelInferRequest,
    ModelInferResponse,
    ModelReadyRequest,
    ModelReadyResponse,
    ServerReadyResponse,
)
from provider_gateway.message.message import Message
from provider_gateway.model.model_errors import ModelErrors
from tests.support.grpc_server import GRPCTestCase

if TYPE_CHECKING:
    from provider_gateway.model.model import ModelResponse

LENGTH = "Inference-Header-Content-Length"
REQUEST = b'{"id": "7", "inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1, 2]}]}'


class InferTests(GRPCTestCase):
    """Calls of ``ModelInfer``."""

    def setUp(self) -> None:
        super().setUp()
        self.made = self.model_at(f"http://localhost:{self.server.port}", name="fraud", headers={"Authorization": "t"})
        self.response = ModelInferResponse(model_name="fraud", model_version="3", id="7")
        self.response.outputs.add(name="y", datatype="INT8", shape=[2]).contents.int_contents.extend([1, -1])
        self.server.methods["ModelInfer"] = lambda _request, _context: self.response.SerializeToString()

    async def call(self, body: bytes = REQUEST, **message: Any) -> ModelResponse:
        """Call the model."""
        return await self.made.model.call(Message(body, **message), "r1", 10)

    async def test_infer(self) -> None:
        """JSON becomes a request to the model of that name, and its answer JSON; headers go along as metadata."""
        response = await self.call(headers={"X-Tenant": "a", "x-grün": "1", "X-Latin": "grün", "authorization": "no"})
        self.assertEqual((response.status, response.content_type), (200, "application/json"))
        output = {"name": "y", "datatype": "INT8", "shape": [2], "data": [1, -1]}
        self.assertEqual(
            json.loads(response.body), {"model_name": "fraud", "model_version": "3", "id": "7", "outputs": [output]}
        )
        ((method, request, metadata),) = self.server.requests
        self.assertEqual(method, "/inference.GRPCInferenceService/ModelInfer")
        sent = ModelInferRequest.FromString(request)
        self.assertEqual((sent.model_name, sent.id, sent.inputs[0].name), ("fraud", "7", "x"))
        metadata.pop("user-agent")
        self.assertEqual(metadata, {"x-tenant": "a", "authorization": "t", "rquid": "r1"})
        self.assertEqual(self.unsafe, 2)

    async def test_binary(self) -> None:
        """The length of the JSON before binary data travels both ways, in whatever case the header is."""
        document = {
            "inputs": [{"name": "x", "datatype": "INT8", "shape": [2], "parameters": {"binary_data_size": 2}}],
            "parameters": {"binary_data_output": True},
        }
        text = json.dumps(document).encode()
        for name in (LENGTH, LENGTH.lower()):
            response = await self.call(
                text + b"\1\2", headers={name: str(len(text))}, content_type="application/octet-stream"
            )
            self.assertEqual(response.content_type, "application/octet-stream")
            self.assertEqual(response.body[int(response.headers[LENGTH]) :], b"\1\xff")
        self.assertEqual(ModelInferRequest.FromString(self.server.requests[0][1]).raw_input_contents[0], b"\1\2")
        self.assertNotIn(LENGTH.lower(), self.server.requests[0][2])

    async def test_not_sent(self) -> None:
        """What is no inference request, or has a content coding, does not reach the server."""
        for kind, body, message in (
            (InvalidInference, b"[1]", {}),
            (InvalidInference, REQUEST, {"headers": {LENGTH: "1000"}}),
            (UnsupportedMediaType, REQUEST, {"content_encoding": "gzip"}),
            (UnsupportedMediaType, REQUEST, {"content_encoding": "a b"}),
        ):
            await self.assertFailure(Deferred.fromCoroutine(self.call(body, **message)), kind)
        self.assertEqual(self.server.requests, [])

    async def test_answers_that_are_none(self) -> None:
        """A malformed answer, or one that is too large as JSON, fails; bytes that JSON cannot hold are a 400."""
        self.response.outputs[0].shape[0] = 3
        failure = await self.assertFailure(Deferred.fromCoroutine(self.call()), ModelFailure)
        self.assertEqual(failure.reason, "body")
        self.assertIn("output 'y': the shape [3] has 3 elements, and there are 2", failure.detail)
        self.response.outputs[0].shape[0] = 60_000
        self.response.outputs[0].contents.int_contents[:] = [0] * 60_000
        failure = await self.assertFailure(Deferred.fromCoroutine(self.call()), ModelFailure)
        self.assertIn("larger than 100000 bytes", failure.detail)
        del self.response.outputs[:]
        self.response.outputs.add(name="y", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"\xff")
        response = await self.call()
        self.assertEqual(response.status, 400)
        self.assertIn("binary_data", json.loads(response.body)["error"])

    async def test_rejected(self) -> None:
        """An error of the caller has the form that the protocol has over REST."""
        self.server.methods["ModelInfer"] = lambda _request, context: context.abort(
            grpc.StatusCode.INVALID_ARGUMENT, "unexpected shape"
        )
        response = await self.call()
        self.assertEqual((response.status, json.loads(response.body)), (400, {"error": "unexpected shape"}))


class ReadinessTests(GRPCTestCase):
    """``ServerReady`` and ``ModelReady``."""

    def setUp(self) -> None:
        super().setUp()
        self.made = self.model_at(f"http://localhost:{self.server.port}", name="fraud", headers={"Authorization": "t"})
        self.is_ready = {"ServerReady": True, "ModelReady": True}
        for method, kind in (("ServerReady", ServerReadyResponse), ("ModelReady", ModelReadyResponse)):
            self.server.methods[method] = lambda _request, _context, method=method, kind=kind: kind(
                ready=self.is_ready[method]
            ).SerializeToString()

    async def why_not(self) -> str | None:
        """Ask."""
        assert self.made.readiness is not None
        return await self.made.readiness.why_not()

    async def test_ready(self) -> None:
        """Both methods have to say so; the model is named, and our headers are sent."""
        self.assertIsNone(await self.why_not())
        self.assertEqual([each[0].rpartition("/")[2] for each in self.server.requests], ["ServerReady", "ModelReady"])
        self.assertEqual(ModelReadyRequest.FromString(self.server.requests[1][1]).name, "fraud")
        self.assertEqual(self.server.requests[1][2]["authorization"], "t")
        for method in ("ModelReady", "ServerReady"):
            self.is_ready[method] = False
            self.assertEqual(await self.why_not(), f"{method}: not ready")

    async def test_errors(self) -> None:
        """A status other than OK, and no connection, are reasons in one line."""
        self.server.methods["ModelReady"] = lambda _request, context: context.abort(
            grpc.StatusCode.NOT_FOUND, "no\nfraud"
        )
        self.assertEqual(await self.why_not(), "ModelReady: NOT_FOUND: no fraud")
        self.server.stop()
        self.assertIn("refused", await self.why_not() or "")


class SecretsTests(GRPCTestCase):
    """A server that repeats our credentials."""

    async def test_masked(self) -> None:
        """They are masked in reasons of readiness and of ``--check``, and in every text of a failure."""
        how: dict[str, Any] = {
            "headers": {"Authorization": "Bearer hunter22"},
            "errors": ModelErrors(secrets=["hunter22"]),
        }
        url = f"http://localhost:{self.server.port}"
        for made in (self.model_at(url, name="fraud", **how), self.model_at(url, **how)):
            for text in ("no hunter22", "connection reset: hunter22", "name resolution of hunter22"):
                for method in ("ServerReady", "ModelInfer", "Predict", "Check"):
                    self.server.methods[method] = lambda _request, context, text=text: context.abort(
                        grpc.StatusCode.UNAVAILABLE, text
                    )
                assert made.readiness is not None
                assert made.check is not None
                calling = made.model.call(Message(REQUEST), "r1", 10)
                failure = await self.assertFailure(Deferred.fromCoroutine(calling), ModelFailure)
                for said in (
                    await made.readiness.why_not(),
                    (await made.check.find()).text,
                    f"{failure} {failure.cause} {failure.model_error}",
                ):
                    self.assertIn(text.replace("hunter22", "***"), said or "")


class MLServingReadinessTests(GRPCTestCase):
    """The readiness of an interface without such a method: gRPC's health service, if the server has it."""

    async def test_health(self) -> None:
        """A server without the service has answered, so it is there; with it, it has to serve."""
        readiness = self.model_at(f"http://localhost:{self.server.port}").readiness
        assert readiness is not None
        self.assertIsNone(await readiness.why_not())
        for answer, reason in ((b"\x08\x01", None), (b"\x08\x02", "its health service says that it does not serve")):
            self.server.methods["Check"] = lambda _request, _context, answer=answer: answer
            self.assertEqual(await readiness.why_not(), reason)
        self.assertEqual(self.server.requests[-1][0], "/grpc.health.v1.Health/Check")
