"""The Open Inference Protocol towards callers: ``tritonclient[http]`` and curl, through RabbitMQ to a model."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

from provider_gateway import __version__
from tests.support.integration import IntegrationTestCase
from tests.support.model_server import ModelServer
from tests.support.rabbitmq import delete_result_objects

if TYPE_CHECKING:
    from tests.support.processes import Gateway

SIZE = "Inference-Header-Content-Length"


class IdentityModel(ModelServer):
    """A model of the protocol whose outputs are its inputs, as JSON or as bytes, whichever is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = self._infer

    def _infer(self, body: bytes) -> Any:
        _, headers = self.requests[-1]
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        size = int(headers.get(SIZE.lower(), len(body)))
        document, tensors = json.loads(body[:size]), body[size:]
        status = document.get("parameters", {}).get("fail")
        if status is not None:
            return status, b'{"error": "the model says no"}'
        outputs, data = [], b""
        for tensor in document["inputs"]:
            count = tensor.get("parameters", {}).get("binary_data_size")
            if count is not None:
                data, tensors = data + tensors[:count], tensors[count:]
            outputs.append(tensor)
        answer = json.dumps({"model_name": "m", "id": document.get("id"), "outputs": outputs}).encode()
        sent = {"Content-Type": "application/octet-stream", SIZE: str(len(answer))} if data else {}
        answer += data
        if "gzip" in headers.get("accept-encoding", ""):
            answer, sent["Content-Encoding"] = gzip.compress(answer), "gzip"
        return 200, answer, sent


class OpenInferenceTests(IntegrationTestCase):
    """A gateway and a provider as processes of their own, with TLS and client certificates."""

    new_model = IdentityModel

    def queues(self) -> list[dict[str, Any]]:
        """The queue file: one entry, with the protocol."""
        model = {"name": "identity", "url": self.model_url}
        return [
            self.entry(
                bindingKey="predict.identity", model=model, openInference=True, acceptEncoding=["gzip"], prefetch=4
            )
        ]

    async def gateway(self, **variables: str) -> Gateway:
        """The gateway."""
        return await self.start("--role", "gateway", entries=self.queues(), **variables).ready()

    async def _waited(self, url: str) -> Any:
        """The result of a request, once it is there. Each wait ends after REPLY_TIMEOUT."""
        while True:
            answer = await self.client.get(url, headers={"Prefer": "wait=20"})
            if answer.code != 202:
                return answer
            await answer.content()

    async def test_tritonclient(self) -> None:
        """Every call of an unchanged tritonclient works: tensors of all kinds, as JSON and binary, gzip, errors."""
        gateway = await self.gateway()
        await self.start("--role", "provider", entries=self.queues()).ready()
        found = await self.triton(gateway, "identity")
        self.assertEqual(found["server"]["version"], __version__)
        self.assertEqual(found["server"]["extensions"], ["binary_tensor_data"])
        self.assertEqual((found["model"]["name"], found["model"]["versions"]), ("identity", ["1"]))
        self.assertEqual([found["live"], found["ready"], found["model_ready"]], [True, True, [True, True, False]])
        for name in ("binary", "json", "version", "gzip", "gzip_json", "default_outputs", "later"):
            self.assertEqual(found[name][0], True, (name, found[name]))
        self.assertEqual(found["query"], [True, "r-1"])
        self.assertEqual(found["asyncio"], [True, True])
        self.assertEqual(found["refused"], ["400", "the model says no"])
        self.assertEqual(found["failed"][0], "502")
        self.assertEqual([found[name][0] for name in ("unknown_model", "infer_unknown", "infer_version")], ["404"] * 3)
        self.assertEqual(found["deflate"][0], "415")
        self.assertIn("'none'", found["infer_unknown"][1])
        _, text = await self.admin(gateway, "/metrics")
        self.assertIn('route="/v2/models/{name}/infer"', text)
        self.assertNotIn("/v2/models/none", text)

    async def test_curl(self) -> None:
        """Curl reads about server and model, and infers with JSON and with a binary tensor, byte for byte."""
        gateway = await self.gateway()
        await self.start("--role", "provider", entries=self.queues()).ready()
        url = f"https://127.0.0.1:{await gateway.port('https')}/v2"
        for path, expected in (
            ("/health/live", {"live": True}),
            ("/health/ready", {"ready": True}),
            ("/models/identity/ready", {"name": "identity", "ready": True}),
            ("/models/identity/versions/1/ready", {"name": "identity", "ready": True}),
        ):
            status, output, errors = await self.curl("-f", url + path)
            self.assertEqual((status, errors, json.loads(output)), (0, "", expected))
        tensor = {"name": "x", "shape": [2], "datatype": "INT32"}
        plain = json.dumps({"inputs": [{**tensor, "data": [1, 2]}]})
        infer = f"{url}/models/identity/infer"
        _, output, _ = await self.curl("-H", "Content-Type: application/json", "-d", plain, infer)
        self.assertEqual(json.loads(output)["outputs"][0]["data"], [1, 2])
        document = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": 8}}]}).encode()
        data = bytes(range(248, 256))
        (self.folder / "body").write_bytes(document + data)
        output_file = self.folder / "answer"
        upload = ("-H", "Content-Type: application/octet-stream", "-H", f"{SIZE}: {len(document)}")
        arguments = (*upload, "--data-binary", f"@{(self.folder / 'body').resolve()}", "-o", str(output_file.resolve()))
        _, size, _ = await self.curl("-w", f"%header{{{SIZE.lower()}}}", *arguments, f"{url}/models/identity/infer")
        self.assertTrue(output_file.read_bytes().endswith(data))
        received, headers = self.model.requests[-1]
        self.assertEqual((received, headers[SIZE.lower()]), (document + data, str(len(document))))
        self.assertEqual(headers["content-type"], "application/octet-stream")
        if size and not size.startswith("%"):  # curl 7.83 knows headers by name
            self.assertEqual(int(size), len(output_file.read_bytes()) - len(data))

    async def test_not_served(self) -> None:
        """Without a provider the server is live, and neither server nor model is ready. The model is never asked."""
        gateway = await self.gateway()
        provider = await self.start("--role", "provider", entries=self.queues()).ready()
        url = f"https://127.0.0.1:{await gateway.port('https')}/v2"

        async def statuses() -> list[str]:
            paths = [f"{url}{each}" for each in ("/health/live", "/health/ready", "/models/identity/ready")]
            return [(await self.curl("-o", "/dev/null", "-w", "%{http_code}", path))[1] for path in paths]

        self.assertEqual(await statuses(), ["200"] * 3)
        provider.signal("TERM")
        await provider.when_ended()
        self.assertEqual(await statuses(), ["200", "503", "503"])
        found = await self.triton(gateway, "identity")
        self.assertEqual([found["live"], found["ready"], found["model_ready"]], [True, False, [False] * 3])
        self.assertEqual(self.model.requests, [])

    async def test_kept(self) -> None:
        """A late answer has a Location; async requests and keys do what they do at /v1/predict, tensors included."""
        self.addCleanup(self.on_channel, lambda channel: delete_result_objects(channel, self.output))
        store = f"sqlite://{(self.folder / 'results.db').resolve()}"
        gateway = await self.gateway(RESULT_STORE=store, REPLY_TIMEOUT="1")
        url = f"https://localhost:{await gateway.port('https')}"
        infer = f"{url}/v2/models/identity/infer"
        document = b'{"inputs":[{"name":"x","shape":[1],"datatype":"INT8","parameters":{"binary_data_size":1}}]}'
        headers = {SIZE: str(len(document))}
        late = await self.client.post(infer, data=document + b"\xff", headers=headers)
        self.assertEqual((late.code, list(await late.json())), (504, ["error"]))
        (location,) = late.headers.getRawHeaders("Location")
        asked = {**headers, "Prefer": "respond-async", "Idempotency-Key": "k"}
        accepted = await self.client.post(infer, data=document + b"\xff", headers=asked)
        self.assertEqual(
            (accepted.code, accepted.headers.getRawHeaders("Preference-Applied")), (202, ["respond-async"])
        )
        (kept,) = accepted.headers.getRawHeaders("Location")
        self.assertNotEqual(kept, location)
        await accepted.content()
        await self.start("--role", "provider", entries=self.queues()).ready()
        for target in (f"{url}{kept}/result", infer):
            if target == infer:
                answer = await self.client.post(
                    infer, data=document + b"\xff", headers={**headers, "Idempotency-Key": "k"}
                )
                self.assertEqual(answer.headers.getRawHeaders("Idempotent-Replayed"), ["true"])
            else:
                answer = await self._waited(target)
            self.assertEqual(answer.code, 200)
            (size,) = answer.headers.getRawHeaders(SIZE)
            body = await answer.content()
            self.assertEqual((body[int(size) :], json.loads(body[: int(size)])["model_name"]), (b"\xff", "m"))
        other = await self.client.post(infer, data=document + b"\xfe", headers={**headers, "Idempotency-Key": "k"})
        self.assertEqual((other.code, list(await other.json())), (422, ["error"]))
