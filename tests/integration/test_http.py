"""The HTTPS side from outside: the seed's curl call, rejected requests, and responses matched to their requests."""

from __future__ import annotations

import json
import sys

from twisted.internet.defer import Deferred, gatherResults

from tests.support.integration import IntegrationTestCase
from tests.support.processes import Process
from tests.support.rabbitmq import take


class CurlTests(IntegrationTestCase):
    """Real curl against a real process."""

    async def test_seed_call(self) -> None:
        """The seed's curl line, with another host, gets the sample model's response."""
        model = Process.start(
            self, [sys.executable, "-m", "provider_gateway.demo.sample_model", "--port", "0"], {"PATH": "/usr/bin:/bin"}
        )
        url = await model.when(lambda: model.lines and model.lines[0])
        gateway = await self.start(MODEL_URL=url).ready()
        status, output, _ = await self.curl(
            "-i", "-d", '{"data": "[29, 29]"}',
            "-H", "RqUID: 52-52-52-52", "-H", "Content-Type: application/json", "-H", "routing-key: predict.now",
            f"https://127.0.0.1:{await gateway.port('https')}/v1/predict",
        )  # fmt: skip
        self.assertEqual(status, 0)
        self.assertTrue(output.startswith("HTTP/1.1 200 "), output)
        self.assertIn("rquid: 52-52-52-52", output.lower())
        self.assertEqual(json.loads(output.split("\r\n\r\n")[1]), {"result": 500938})

    async def test_no_client_certificate(self) -> None:
        """Without a client certificate the handshake is refused; nothing reaches the API."""
        gateway = await self.start().ready()
        status, output, errors = await self.curl(
            f"https://127.0.0.1:{await gateway.port('https')}/health", certificate=False
        )
        self.assertNotEqual(status, 0)
        self.assertEqual(output, "")
        self.assertIn("certificate required", errors)

    async def test_refusals(self) -> None:
        """Wrong key, JSON, content type, path or method: each gets its status and a problem document."""
        gateway = await self.start().ready()
        base = f"https://127.0.0.1:{await gateway.port('https')}"
        is_json = ("-H", "Content-Type: application/json")
        key = ("-H", "routing-key: predict.now")
        for expected, path, arguments in (
            (404, "/v1/predict", (*is_json, "-H", "routing-key: nobody.listens", "-d", "{}")),
            (422, "/v1/predict", (*is_json, *key, "-d", '{"data": ')),
            (415, "/v1/predict", ("-H", "Content-Type: text/plain", *key, "-d", "{}")),
            (400, "/v1/predict", (*is_json, "-d", "{}")),
            (400, "/v1/predict", (*is_json, "-H", "routing-key: predict.*", "-d", "{}")),
            (404, "/v2/predict", (*is_json, *key, "-d", "{}")),
            (405, "/v1/predict", ()),
        ):
            _, output, _ = await self.curl("-w", "\n%{http_code} %{content_type}", *arguments, base + path)
            body, _, line = output.rpartition("\n")
            self.assertEqual(line, f"{expected} application/problem+json", (path, arguments))
            self.assertEqual(json.loads(body)["status"], expected)
            self.assertIn("rquid", json.loads(body))
        self.assertEqual(self.model.requests, [])

    async def test_body_over_limit(self) -> None:
        """A body over MAX_BODY_BYTES gets 413, with a declared length as well as in chunks."""
        gateway = await self.start(MAX_BODY_BYTES="1000").ready()
        url = f"https://127.0.0.1:{await gateway.port('https')}/v1/predict"
        big = self.folder / "big.json"
        big.write_text(json.dumps("x" * 200_000))
        for framing in ((), ("-H", "Transfer-Encoding: chunked")):
            _, output, _ = await self.curl(
                "-w", "\n%{http_code}", "-H", "Content-Type: application/json", *framing,
                "--data-binary", f"@{big.resolve()}", url,
            )  # fmt: skip
            self.assertTrue(output.endswith("\n413"), output)
        response, _ = await self.post(gateway, "small")
        self.assertEqual(response.code, 200)


class PredictTests(IntegrationTestCase):
    """Requests to one process with both roles."""

    async def test_forwarding(self) -> None:
        """The unchanged body and end-to-end headers reach the model; its response and headers reach the caller."""
        gateway = await self.start().ready()
        exact = b'{"n": 123456789012345678901234567890.10, "a":[1,2 ]}'
        response, _ = await self.post(gateway, exact, X_Team="blue", Cookie="secret=1", pg_status="599", RqUID="r-1")
        body, headers = self.model.requests[0]
        self.assertEqual((response.code, await response.content()), (200, exact))
        self.assertEqual(body, exact)
        self.assertEqual((headers["x-team"], headers["rquid"]), ("blue", "r-1"))
        self.assertNotIn("cookie", headers)
        self.assertNotIn("pg-status", headers)
        self.assertEqual(response.headers.getRawHeaders("X-Model"), ["test"])
        self.assertEqual(response.headers.getRawHeaders("RqUID"), ["r-1"])

    async def test_200_at_once(self) -> None:
        """200 concurrent requests with different bodies and the same RqUID: each response belongs to its request."""
        gateway = await self.start().ready()
        self.model.answer = lambda body: (200, json.dumps({"echo": json.loads(body)}).encode())
        numbers = range(200)
        answers = await gatherResults(
            [Deferred.fromCoroutine(self.post(gateway, {"n": n}, RqUID="the-same")) for n in numbers]
        )
        self.assertEqual([response.code for response, _ in answers], [200] * 200)
        self.assertEqual([body for _, body in answers], [{"echo": {"n": n}} for n in numbers])

    async def test_model_failure(self) -> None:
        """A model's 500 is a 502 problem for the caller; its own 4xx is passed through with its body."""
        gateway = await self.start().ready()
        self.model.answer = lambda body: (json.loads(body), b'{"why": "test"}')
        response, problem = await self.post(gateway, 500)
        self.assertEqual((response.code, problem["type"]), (502, "urn:provider-gateway:problem:model-failed"))
        response, body = await self.post(gateway, 404)
        self.assertEqual((response.code, body), (404, {"why": "test"}))
        _, metrics = await self.admin(gateway, "/metrics")
        self.assertIn(f'model_requests_total{{queue="{self.queue}",result="status"}} 1.0', metrics)

    async def test_deadline(self) -> None:
        """A model slower than REPLY_TIMEOUT gives 504; its late reply is counted, and affects no other caller."""
        gateway = await self.start(REPLY_TIMEOUT="0.5").ready()
        held: Deferred[tuple[int, bytes]] = Deferred()
        self.model.answer = lambda body: held if body == b'"slow"' else (200, body)
        response, problem = await self.post(gateway, "slow")
        self.assertEqual((response.code, problem["type"]), (504, "urn:provider-gateway:problem:deadline-passed"))
        held.callback((200, b'"late"'))
        response, body = await self.post(gateway, "next")
        self.assertEqual((response.code, body), (200, "next"))
        _, metrics = await self.admin(gateway, "/metrics")
        self.assertIn('replies_total{kind="late"} 1.0', metrics)

    async def test_publish(self) -> None:
        """POST /v1/publish: 202 once routed, and the reply goes to queue.out; 404 if unrouted."""
        gateway = await self.start().ready()
        response, accepted = await self.post(gateway, {"n": 1}, "/v1/publish")
        self.assertEqual(response.code, 202)

        [(properties, body)] = await self.on_channel(lambda channel: take(channel, self.output))
        self.assertEqual((properties.correlation_id, body), (accepted["correlation_id"], b'{"n": 1}'))
        response, _ = await self.post(gateway, {"n": 1}, "/v1/publish", routing_key="nobody.listens")
        self.assertEqual(response.code, 404)
