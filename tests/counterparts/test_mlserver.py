"""MLServer behind us, over REST and gRPC: the same requests have the same answers."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from provider_gateway.config.masked_url import MaskedURL
from provider_gateway.grpc_model.over_grpc import over_grpc
from provider_gateway.message.message import Message
from provider_gateway.model.interface import ModelTarget
from provider_gateway.model.model_errors import ModelErrors
from provider_gateway.model.over_http import over_http
from tests.counterparts.mlserver import mlserver
from tests.support.integration import IntegrationTestCase

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider_gateway.model.interface import ConnectedModel
    from provider_gateway.model.model import ModelResponse

JSON_LENGTH = "Inference-Header-Content-Length"


def tensor(name: str, datatype: str, shape: list[int], data: Any) -> dict[str, Any]:
    """An input or output in JSON."""
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


class MLServerTests(IntegrationTestCase):
    """The two ways to MLServer."""

    async def setUp(self) -> None:
        await super().setUp()
        self.server = await deferToThread(mlserver)
        self.ways = {
            "open-inference": self.connected(over_http, self.server.rest, "echo"),
            "open-inference-grpc": self.connected(over_grpc, self.server.grpc, "echo"),
        }

    def connected(self, connect: Callable[[Any, ModelTarget], ConnectedModel], url: str, name: str) -> ConnectedModel:
        """A model of the server."""
        target = ModelTarget(
            queues=("q",),
            url=MaskedURL(url),
            protocol="open-inference" if connect is over_http else "open-inference-grpc",
            name=name,
            ready_url=None,
            tls=None,
            headers={"Connection": "close"} if connect is over_http else {},  # trial would find what is kept
            connections=1,
            max_body_bytes=1_000_000,
            wall_clock=time.time,
            on_unsafe_header=lambda: None,
            errors=ModelErrors(),
        )
        made = connect(reactor, target)
        self.addCleanup(made.close)
        return made

    async def call(self, way: str, body: bytes, **headers: str) -> ModelResponse:
        """Call the model."""
        return await self.ways[way].model.call(Message(body, headers=headers), "r1", 10)

    async def test_ready(self) -> None:
        """A model that is there is ready, one that is not is not."""
        for connect, url in ((over_http, self.server.rest), (over_grpc, self.server.grpc)):
            for name, is_ready in (("echo", True), ("none", False)):
                readiness = self.connected(connect, url, name).readiness
                assert readiness is not None
                reason = await readiness.why_not()
                self.assertEqual(reason is None, is_ready, reason)

    async def test_every_type(self) -> None:
        """Tensors of all types that MLServer has come back as they were, by both ways."""
        inputs = [
            tensor("bool", "BOOL", [2], [True, False]),
            tensor("int8", "INT8", [2], [-128, 127]),
            tensor("int16", "INT16", [2], [-(2**15), 2**15 - 1]),
            tensor("int32", "INT32", [2, 2], [-(2**31), 2**31 - 1, 0, 1]),
            tensor("int64", "INT64", [1], [2**53 + 1]),
            tensor("uint8", "UINT8", [2], [0, 255]),
            tensor("uint16", "UINT16", [1], [65535]),
            tensor("uint32", "UINT32", [1], [2**32 - 1]),
            tensor("uint64", "UINT64", [1], [2**63]),
            tensor("fp32", "FP32", [3], [0.5, -1.25, 3.5]),
            tensor("fp64", "FP64", [1], [0.1]),
            tensor("bytes", "BYTES", [2], ["a", "grün"]),
        ]
        for way in self.ways:
            response = await self.call(way, json.dumps({"id": "7", "inputs": inputs}).encode())
            self.assertEqual(response.status, 200, response.body)
            answer = json.loads(response.body)
            self.assertEqual((answer["model_name"], answer["id"]), ("echo", "7"))
            for given, found in zip(inputs, answer["outputs"], strict=True):
                self.assertEqual({name: found[name] for name in given}, given, way)

    async def test_binary(self) -> None:
        """Binary data go to MLServer by gRPC, and come back byte for byte."""
        raw = b"\0\0\xc0\x7f" + b"\0\0\x80\x3f"
        document = {
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": len(raw)}}],
            "outputs": [{"name": "x", "parameters": {"binary_data": True}}],
        }
        text = json.dumps(document).encode()
        response = await self.call("open-inference-grpc", text + raw, **{JSON_LENGTH: str(len(text))})
        self.assertEqual(response.status, 200, response.body)
        self.assertEqual(response.content_type, "application/octet-stream")
        self.assertEqual(response.body[int(response.headers[JSON_LENGTH]) :], raw)

    async def test_unknown_model(self) -> None:
        """A model that is not there is the caller's error, by both ways."""
        body = json.dumps({"inputs": [tensor("x", "INT8", [1], [1])]}).encode()
        for connect, url in ((over_http, self.server.rest), (over_grpc, self.server.grpc)):
            response = await self.connected(connect, url, "none").model.call(Message(body), "r1", 10)
            self.assertEqual(response.status, 404)
            self.assertIn("none", json.loads(response.body)["error"])

    async def test_through_the_queue(self) -> None:
        """Two queues of one process are served by two models, each by its own protocol."""
        entries = [
            self.entry(
                queueName=f"{self.queue}.{number}",
                bindingKey=f"predict.{number}",
                model={"url": url, "protocol": way, "name": "echo"},
            )
            for number, (way, url) in enumerate(
                (("open-inference", self.server.rest), ("open-inference-grpc", self.server.grpc))
            )
        ]
        for entry in entries:
            for name in (entry["queueName"], f"{entry['queueName']}.parking"):
                self.addCleanup(self.on_channel, lambda channel, name=name: channel.queue_delete(name))
        gateway = await self.start(entries=entries).ready()
        given = tensor("x", "FP64", [2], [1.5, -2])
        for number in range(2):
            response, answer = await self.post(
                gateway, {"inputs": [given]}, routing_key=f"predict.{number}", RqUID=f"r{number}"
            )
            self.assertEqual(response.code, 200, answer)
            self.assertEqual({name: answer["outputs"][0][name] for name in given}, given)
            self.assertEqual(response.headers.getRawHeaders("RqUID"), [f"r{number}"])
        response, problem = await self.post(gateway, {"inputs": [{**given, "shape": [3]}]}, routing_key="predict.1")
        self.assertEqual((response.code, problem["type"].rpartition(":")[2]), (400, "invalid-inference"))
        self.assertIn("has 3 elements", problem["detail"])

    async def test_tritonclient(self) -> None:
        """An unchanged tritonclient calls MLServer through us: JSON by REST, and JSON and binary tensors by gRPC."""
        for way, url, kinds in (
            ("open-inference", self.server.rest, ("json",)),
            ("open-inference-grpc", self.server.grpc, ("json", "binary", "version")),
        ):
            model = {"url": url, "protocol": way, "name": "echo"}
            entry = self.entry(bindingKey="predict.echo", model=model, openInference=True)
            gateway = await self.start(entries=[entry]).ready()
            found = await self.triton(gateway, "echo")
            self.assertEqual(found["model_ready"], [True, True, False])
            for kind in kinds:
                self.assertEqual(found[kind][0], True, (way, kind, found[kind]))
            gateway.signal("TERM")
            await gateway.when_ended()
