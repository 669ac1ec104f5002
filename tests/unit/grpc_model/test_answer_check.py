"""What ``--check --connect`` finds of models that are called by gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from provider_gateway.grpc_model.messages import ModelReadyResponse, ServerReadyResponse
from provider_gateway.model.interface import Finding
from tests.support.grpc_server import GRPCTestCase

if TYPE_CHECKING:
    from provider_gateway.model.interface import ConnectedModel


class AnswerTests(GRPCTestCase):
    """Real servers of grpcio."""

    async def find(self, connected: ConnectedModel) -> Finding:
        assert connected.check is not None
        return await connected.check.find()

    async def test_open_inference(self) -> None:
        """A model that the server knows is right, ready or not; another name, or no such service, is wrong."""
        url = f"http://127.0.0.1:{self.server.port}"
        _, is_wrong = await self.find(self.model_at(url, name="iris"))
        self.assertTrue(is_wrong)  # no such service
        ready = True

        def model_ready(request: bytes, context: grpc.ServicerContext) -> bytes:
            if b"iris" not in request:
                context.abort(grpc.StatusCode.NOT_FOUND, "Model is not known\n")
            return ModelReadyResponse(ready=ready).SerializeToString()

        self.server.methods["ServerReady"] = lambda *_: ServerReadyResponse(ready=True).SerializeToString()
        self.server.methods["ModelReady"] = model_ready
        self.assertEqual(await self.find(self.model_at(url, name="iris")), Finding("answers by gRPC"))
        text, is_wrong = await self.find(self.model_at(url, name="other"))
        self.assertEqual((text, is_wrong), ("ModelReady: NOT_FOUND: Model is not known", True))
        ready = False
        text, is_wrong = await self.find(self.model_at(url, name="iris"))
        self.assertEqual((text, is_wrong), ("answers by gRPC: ModelReady: not ready", False))
        self.assertEqual(
            {method.rpartition("/")[2] for method, *_ in self.server.requests}, {"ServerReady", "ModelReady"}
        )

    async def test_mlserving(self) -> None:
        """A server that answers is right. One that is away is wrong, though a ready URL may be asked instead."""
        url = f"http://127.0.0.1:{self.server.port}"
        self.assertEqual(await self.find(self.model_at(url)), Finding("answers by gRPC"))
        text, is_wrong = await self.find(self.model_at("http://127.0.0.1:1"))
        self.assertTrue(is_wrong)
        self.assertIn("refused", text.lower())
        self.assertTrue(text.isprintable())
