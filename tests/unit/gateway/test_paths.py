"""Paths that the queue file adds, and the list of models."""

from __future__ import annotations

import json
from typing import ClassVar

from provider_gateway.message.message import Message
from tests.support.api import APITestCase
from tests.support.http_client import Client
from tests.support.queue_entries import entry

FRAUD = {"url": "https://fraud.internal:8443/p?key=hunter2", "headers": {"X": "hunter2"}, "name": "fraud-detector"}
#: What the list says of each entry below.
LISTED = [
    {
        "name": "work",
        "paths": [],
        "routing_key": "predict.now",
        "routing_keys": ["predict.*"],
        "accept": ["application/json"],
        "open_inference": False,
    },
    {
        "name": "fraud-detector",
        "paths": ["/v1/fraud", "/v1/models/fraud:predict"],
        "routing_key": "fraud.check",
        "routing_keys": ["fraud.*", "check"],
        "accept": ["application/json", "image/*"],
        "open_inference": True,
    },
    {
        "name": "plain",
        "paths": ["/invocations"],
        "routing_key": "plain",
        "routing_keys": ["plain"],
        "accept": ["application/json"],
        "open_inference": False,
    },
    {
        "name": "all",
        "paths": [],
        "routing_key": None,
        "routing_keys": ["#"],
        "accept": ["application/json"],
        "open_inference": False,
    },
]


class PathsTestCase(APITestCase):
    """Four entries, two of them with paths."""

    entries: ClassVar = [
        entry("work", routingKey="predict.now"),
        entry(
            "fraud",
            bindingKey=["fraud.*", "check"],
            routingKey="fraud.check",
            paths=["/v1/fraud", "/v1/models/fraud:predict"],
            accept=["application/json", "image/*"],
            model=FRAUD,
            openInference=True,
        ),
        entry("plain", topic="", bindingKey=[], paths="/invocations"),
        entry("all", topic="F", exchangeType="fanout", bindingKey=[]),
    ]


class PathTests(PathsTestCase):
    """A path is ``/v1/predict`` with the routing key of its entry."""

    def published(self, path: str, *headers: str) -> tuple[str, str]:
        """Exchange and routing key of a request to a path, which is answered."""
        client = Client(self.site)
        client.post(path, b"{}", *headers)
        self.rpc.replies[-1].callback(Message(b"1"))
        self.assertEqual(client.response().status, 200)
        return self.rpc.calls[-1][1:]

    def test_key(self) -> None:
        """Requests are published under the entry's key; other paths go on as before."""
        for path, expected in (
            ("/v1/fraud", ("ML.MQ", "fraud.check")),
            ("/v1/models/fraud:predict", ("ML.MQ", "fraud.check")),
            ("/invocations", ("", "plain")),
            ("/v1/predict", ("ML.MQ", "predict.now")),
            ("/v1/fraud?query=x", ("ML.MQ", "fraud.check")),
            ("http://host/v1/fraud", ("ML.MQ", "fraud.check")),
        ):
            self.assertEqual(self.published(path), expected)

    def test_same_key_in_the_header(self) -> None:
        """The header may say the same key."""
        self.assertEqual(self.published("/v1/fraud", "routing-key: fraud.check"), ("ML.MQ", "fraud.check"))

    def test_other_key_in_the_header(self) -> None:
        """Another key, or a malformed one, is 400, also one that leads to the same queue. Nothing is published."""
        for header in ("fraud.other", "predict.now", "fraud.*", ""):
            self.assert_problem(self.post(f"routing-key: {header}", path="/v1/fraud"), 400, "bad-request")
        self.assertEqual(self.rpc.calls, [])

    def test_other_spellings(self) -> None:
        """Paths are compared byte by byte: other spellings are unknown paths, and never served with another key."""
        for path in (
            "/v1/fraud/",
            "/v1/%66raud",
            "/v1//fraud",
            "/v1/x/../fraud",
            "/V1/fraud",
            "/v1/fraud;x",
            "/v1/frau",
        ):
            client = Client(self.site)
            client.post(path, b"{}")
            self.assert_problem(client, 404, "not-found")
        self.assertEqual(self.rpc.calls, [])

    def test_methods(self) -> None:
        """Other methods get what they get on ``/v1/predict``."""
        for method in ("GET", "HEAD", "PUT", "OPTIONS"):
            answers = []
            for path in ("/v1/predict", "/v1/fraud"):
                client = Client(self.site)
                client.request(method, path, b"", "RqUID: r1")
                response = client.response()
                answers.append((response.status, response.headers["allow"], response.body.partition(b'"rquid"')[0]))
            self.assertEqual(answers[0], answers[1], method)
            self.assertEqual(answers[1][:2], (204 if method == "OPTIONS" else 405, "OPTIONS, POST"))

    def test_checks(self) -> None:
        """Bodies are checked as on ``/v1/predict``."""
        client = Client(self.site)
        client.post("/v1/fraud", b"{")
        self.assert_problem(client, 422, "invalid-json")


class ModelListTests(PathsTestCase):
    """``GET /v1/models``."""

    def listed(self, method: str = "GET") -> Client:
        client = Client(self.site)
        client.request(method, "/v1/models")
        return client

    def test_all(self) -> None:
        """Without an access file every caller sees all models, in the order of the file."""
        response = self.listed().response()
        self.assertEqual((response.status, response.headers["content-type"]), (200, "application/json"))
        self.assertEqual(json.loads(response.body), {"models": LISTED})

    def test_nothing_about_the_model(self) -> None:
        """Neither address nor headers of a model are told."""
        body = self.listed().response().body
        for part in (b"internal", b"8443", b"hunter2", b"http"):
            self.assertNotIn(part, body)

    def test_methods(self) -> None:
        """HEAD and OPTIONS are supported, POST is not."""
        self.assertEqual(self.listed("OPTIONS").response().headers["allow"], "GET, HEAD, OPTIONS")
        self.assert_problem(self.post(path="/v1/models"), 405, "method-not-allowed")

    def test_draining(self) -> None:
        """It is refused while the process drains, and counts as a request that is served."""
        self.listed()
        self.assertEqual(self.metrics.registry.get_sample_value("provider_gateway_http_in_flight"), 0)
        self.api.drain()
        self.assert_problem(self.listed(), 503, "draining")


class CORSTests(PathsTestCase):
    """Calls of browsers to added paths."""

    cors_origins = ("https://a.example",)

    def test_preflight(self) -> None:
        """A path answers preflights, and its responses allow the origin."""
        client = Client(self.site)
        client.request("OPTIONS", "/v1/fraud", b"", "Origin: https://a.example")
        response = client.response()
        found = [response.headers[f"access-control-allow-{name}"] for name in ("origin", "methods")]
        self.assertEqual((response.status, found), (204, ["https://a.example", "POST"]))
        client = self.post("Origin: https://a.example", path="/v1/fraud")
        self.rpc.replies[-1].callback(Message(b"1"))
        self.assertEqual(client.response().headers["access-control-allow-origin"], "https://a.example")
        client = Client(self.site)
        client.request("OPTIONS", "/v1/models", b"", "Origin: https://a.example")
        self.assertEqual(client.response().headers["access-control-allow-methods"], "GET, HEAD")
