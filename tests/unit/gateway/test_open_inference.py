"""The Open Inference Protocol towards callers, at the API: routes, bodies, and the form of errors."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from provider_gateway.config.limits import Limits
from provider_gateway.errors import DeadlinePassed, ModelFailure
from provider_gateway.gateway.json_body import LARGE
from provider_gateway.message.message import PG_STATUS, Message
from provider_gateway.message.problem import PROBLEM_JSON, problem_body
from tests.support.api import MAX_BODY, APITestCase
from tests.support.http_client import Client, Response
from tests.support.queue_entries import entry

SIZE = "Inference-Header-Content-Length"
INFER = "/v2/models/fraud/infer"
NO_TYPE = "Content-Type:"


class OpenInferenceTestCase(APITestCase):
    """Three entries; two models speak the protocol, one of them with an odd name."""

    entries: ClassVar = [
        entry("plain", routingKey="predict.plain", model={"name": "plain"}, accept=["image/*"]),
        entry("fraud", bindingKey="fraud.check", model={"name": "fraud"}, openInference=True, accept=["image/*"]),
        entry("odd", bindingKey="odd", model={"name": "b:ä%@"}, openInference=True, acceptEncoding=["gzip"]),
    ]

    def ask(self, path: str, method: str = "GET", *headers: str, body: bytes = b"") -> Response:
        client = Client(self.site)
        client.request(method, path, body, *headers)
        return client.response()

    def told(self, path: str) -> Any:
        response = self.ask(path)
        self.assertEqual((response.status, response.headers["content-type"]), (200, "application/json"), path)
        return json.loads(response.body)

    def assert_error(self, response: Response, status: int, words: str = "") -> None:
        """The response has the protocol's form."""
        self.assertEqual((response.status, response.headers["content-type"]), (status, "application/json"))
        document = json.loads(response.body)
        self.assertEqual(list(document), ["error"])
        self.assertIn(words, document["error"])
        self.assertIn("rquid", response.headers)

    def published(self, *headers: str, body: bytes = b"{}", path: str = INFER) -> Message:
        """The message of a request, which is answered."""
        before = len(self.rpc.calls)
        client = self.post(*(headers or ("X: x",)), body=body, path=path)
        self.assertEqual(len(self.rpc.calls), before + 1, client.value())
        self.rpc.replies[-1].callback(Message(b"1"))
        self.assertEqual(client.response().status, 200)
        return self.rpc.calls[-1][0]


class RouteTests(OpenInferenceTestCase):
    """What is told without a call of a model."""

    def test_server(self) -> None:
        """The server tells its name, version and the extension; it is live, also while it drains."""
        self.assertEqual(self.told("/v2")["extensions"], ["binary_tensor_data"])
        self.assertEqual(self.told("/v2/health/live"), {"live": True})
        self.api.drain()
        self.assertEqual(self.told("/v2/health/live"), {"live": True})
        self.assert_error(self.ask("/v2"), 503, "stopping")
        self.assert_error(self.ask("/v2/health/ready"), 503, "stopping")

    def test_model(self) -> None:
        """A model has one version, and the fields of the protocol; its name may be percent-encoded."""
        expected = {"name": "fraud", "versions": ["1"], "platform": "", "inputs": [], "outputs": []}
        for path in ("/v2/models/fraud", "/v2/models/fraud/versions/1", "/v2/models/%66raud"):
            self.assertEqual(self.told(path), expected)
        self.assertEqual(self.told("/v2/models/b%3A%C3%A4%25%40")["name"], "b:ä%@")

    def test_unknown(self) -> None:
        """Unknown models, versions and paths are 404, in the protocol's form; so are models without the protocol."""
        for path in ("/v2/models/x", "/v2/models/plain", "/v2/models/fraud/versions/2", "/v2/models/FRAUD"):
            for below, method in (("", "GET"), ("/ready", "GET"), ("/infer", "POST")):
                self.assert_error(self.ask(path + below, method), 404, "There is no model" if path[-1] != "2" else "2")
        for path in ("/v2/", "/v2/models", "/v2/models/", "/v2/models/fraud/", "/v2/repository/index"):
            self.assert_error(self.ask(path), 404)
        self.assertEqual(self.ask("/v2x").headers["content-type"], PROBLEM_JSON)
        self.assertEqual(self.rpc.calls, [])

    def test_methods(self) -> None:
        """Other methods are 405 with Allow; HEAD and OPTIONS are supported."""
        for path, method, allowed in (
            (INFER, "GET", "OPTIONS, POST"),
            ("/v2/models/%66raud/infer", "PUT", "OPTIONS, POST"),
            ("/v2", "POST", "GET, HEAD, OPTIONS"),
            ("/v2/health/ready", "POST", "GET, HEAD, OPTIONS"),
            ("/v2/models/fraud/versions/1/ready", "DELETE", "GET, HEAD, OPTIONS"),
        ):
            response = self.ask(path, method)
            self.assert_error(response, 405)
            self.assertEqual(response.headers["allow"], allowed)
            self.assertEqual(self.ask(path, "OPTIONS").headers["allow"], allowed)
        head = self.ask("/v2/models/fraud", "HEAD")
        self.assertEqual((head.status, head.body), (200, b""))

    def test_not_ready(self) -> None:
        """Without a broker neither server nor model is ready, and the error says what is missing."""
        self.lacks.append("AMQP connection consume")
        for path in ("/v2/health/ready", "/v2/models/fraud/ready", "/v2/models/fraud/versions/1/ready"):
            self.assert_error(self.ask(path), 503, "AMQP connection consume")

    def test_in_flight(self) -> None:
        """Each of them counts while it is served, and no longer."""
        for path in ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/fraud", "/v2/models/x/ready"):
            self.ask(path)
        self.assertEqual(self.metrics.registry.get_sample_value("provider_gateway_http_in_flight"), 0)


class NotOpenTests(APITestCase):
    """A queue file without the protocol."""

    def test_nothing_there(self) -> None:
        """There is nothing below /v2."""
        for path in ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/x", "/v2/models/x/ready"):
            client = Client(self.site)
            client.request("GET", path)
            self.assertEqual(client.response().status, 404)
            self.assertIn(b"openInference", client.response().body)


class InferTests(OpenInferenceTestCase):
    """Requests for a model are those of /v1/predict."""

    def test_key(self) -> None:
        """They are published under the entry's key, however the path spells the name; a header may say the same key."""
        for path, key in (
            (INFER, "fraud.check"),
            ("/v2/models/fraud/versions/1/infer", "fraud.check"),
            ("/v2/models/frau%64/infer?x=y", "fraud.check"),
            ("/v2/models/b%3A%C3%A4%25%40/infer", "odd"),
            ("/v2/models/b:%c3%a4%25@/versions/%31/infer", "odd"),
        ):
            self.published(path=path)
            self.assertEqual(self.rpc.calls[-1][1:], ("ML.MQ", key))
        self.published("routing-key: fraud.check")
        for path in (INFER, "/v2/models/frau%64/infer"):
            self.assert_error(self.post("routing-key: odd", path=path).response(), 400, "routing-key")

    def test_json(self) -> None:
        """JSON is checked; its type may be missing, or say bytes. What else the entry accepts is for other paths."""
        for header, expected in (
            (NO_TYPE, "application/json"),
            ("Content-Type: application/json; charset=utf-8", "application/json"),
            ("Content-Type: application/octet-stream", "application/octet-stream"),
        ):
            self.assertEqual(self.published(header).content_type, expected)
            self.assert_error(self.post(header, body=b"{", path=INFER).response(), 422)
        response = self.post("Content-Type: image/png", path=INFER).response()
        self.assert_error(response, 415)
        self.assertEqual(response.headers["accept"], "application/json, application/octet-stream")

    def test_binary(self) -> None:
        """With the size of the JSON the rest is any bytes; the size travels, and so does each byte."""
        for body, size in ((b'{"a":1}\xff\x00{', 7), (b"{}", 2), (b"\xff\xfe", 0)):
            message = self.published(NO_TYPE, f"{SIZE}: {size}", body=body)
            self.assertEqual((message.body, message.headers[SIZE]), (body, str(size)))
            self.assertEqual(message.content_type, "application/octet-stream")
        self.assertEqual(self.published(f"{SIZE}: 2", body=b"{}\xff").content_type, "application/json")

    def test_wrong_size(self) -> None:
        """A size that is no number, or beyond the body, is 400; JSON that is none is 422."""
        for size, status in (("3", 400), ("-1", 400), ("x", 400), ("", 400), ("1", 422), ("9" * 30, 400), ("+2", 400)):
            self.assert_error(self.post(NO_TYPE, f"{SIZE}: {size}", path=INFER).response(), status)
        self.assert_error(self.post(f"{SIZE}: 2", f"{SIZE}: 2", path=INFER).response(), 400, "once")
        self.assertEqual(self.rpc.calls, [])

    def test_large(self) -> None:
        """A large body has its JSON checked, in turns if that is large; the tensors are not looked at."""
        self.site.limits = Limits(max_body_bytes=4 * LARGE)
        text = b"[" + b"1," * (LARGE // 2) + b"1]"
        for body, size, is_valid in (
            (b"{}" + b"\xff" * LARGE, 2, True),
            (b"{]" + b"\xff" * LARGE, 2, False),
            (text + b"\xff" * LARGE, len(text), True),
            (text[:-1] + b"}" + b"\xff" * LARGE, len(text), False),
        ):
            client = self.post(NO_TYPE, f"{SIZE}: {size}", body=body, path=INFER)
            for _ in range(100):
                self.clock.advance(0)
            if is_valid:
                self.assertEqual(self.rpc.calls[-1][0].body, body)
                self.rpc.replies[-1].callback(Message(b"1"))
                self.assertEqual(client.response().status, 200)
            else:
                self.assert_error(client.response(), 422)

    def test_coded(self) -> None:
        """A coding that the entry takes is passed on, with the size of the decoded JSON; another one is 415."""
        path = "/v2/models/b%3A%C3%A4%25%40/infer"
        message = self.published(NO_TYPE, "Content-Encoding: gzip", f"{SIZE}: 5000", body=b"\x1f\x8b", path=path)
        self.assertEqual((message.content_encoding, message.headers[SIZE]), ("gzip", "5000"))
        self.assert_error(self.post("Content-Encoding: gzip", path=INFER).response(), 415)

    def test_other_path(self) -> None:
        """Elsewhere the size is a header like others, and bodies are what the entry accepts."""
        self.published("routing-key: fraud.check", "Content-Type: image/png", f"{SIZE}: x", path="/v1/predict")
        response = self.post("routing-key: fraud.check", NO_TYPE, f"{SIZE}: 2", path="/v1/predict").response()
        self.assertEqual((response.status, response.headers["content-type"]), (415, PROBLEM_JSON))

    def test_reply(self) -> None:
        """A reply comes as it is: its tensors, and the size of its JSON."""
        client = self.post("X: x", path=INFER)
        reply = Message(b"{}\xff", {SIZE: "2"}, content_type="application/octet-stream")
        self.rpc.replies[-1].callback(reply)
        response = client.response()
        self.assertEqual((response.status, response.body), (200, b"{}\xff"))
        self.assertEqual(response.headers[SIZE.lower()], "2")
        self.assertEqual(response.headers["content-type"], "application/octet-stream")


class ErrorTests(OpenInferenceTestCase):
    """The form of errors."""

    def replied(self, status: int, body: bytes, content_type: str) -> Response:
        client = self.post("X: x", path=INFER)
        self.rpc.replies[-1].callback(Message(body, {PG_STATUS: status}, content_type=content_type))
        return client.response()

    def test_reply(self) -> None:
        """A problem document in a reply becomes an error of the protocol; what the model says is in its text."""
        failure = ModelFailure("The model answered with 500.", "status")
        failure.members = {"model_error": "boom"}
        for body, words in (
            (problem_body(failure, "r"), "The model answered with 500. The model says: boom"),
            (b'{"title": "Title"}', "Title"),
            (b'{"detail": 5}', "failed"),
            (b"[1]", "failed"),
            (b"\xff{", "failed"),
        ):
            self.assert_error(self.replied(502, body, PROBLEM_JSON), 502, words)

    def test_models_own(self) -> None:
        """The model's own errors come as they are."""
        for status, content_type in ((400, "application/json"), (404, "text/plain")):
            response = self.replied(status, b'{"error": "shape"}', content_type)
            self.assertEqual((response.status, response.body), (status, b'{"error": "shape"}'))
            self.assertEqual(response.headers["content-type"], content_type)

    def test_other_path(self) -> None:
        """At /v1/predict errors for the same model are problem documents."""
        client = self.post("routing-key: odd", path="/v1/predict", body=b"{")
        self.assert_problem(client, 422)
        client = self.post("routing-key: odd", path="/v1/predict")
        body = problem_body(ModelFailure("No.", "status"), "r")
        self.rpc.replies[-1].callback(Message(body, {PG_STATUS: 502}, content_type=PROBLEM_JSON))
        self.assertEqual((client.response().status, client.response().body), (502, body))

    def test_raised(self) -> None:
        """Errors of the gateway have it, too, with the headers that belong to them."""
        client = self.post("X: x", path=INFER)
        error = DeadlinePassed("No reply.")
        error.location = "/v1/requests/1"
        self.rpc.replies[-1].errback(error)
        response = client.response()
        self.assert_error(response, 504, "No reply. Its answer is kept")
        self.assertEqual(response.headers["location"], "/v1/requests/1")
        self.api.drain()
        response = self.post("X: x", path=INFER).response()
        self.assert_error(response, 503)
        self.assertEqual(response.headers["retry-after"], "1")

    def test_rejected(self) -> None:
        """So have requests that are rejected before they are complete, once their path is known."""
        client = Client(self.site)
        client.send(b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (INFER.encode(), MAX_BODY + 1))
        self.assert_error(client.response(), 413)
        client = Client(self.site)
        client.send(b"POST %s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n" % INFER.encode())
        self.assert_error(client.response(), 400)


class CORSTests(OpenInferenceTestCase):
    """Browsers."""

    cors_origins = ("https://a.example",)

    def test_preflight(self) -> None:
        """The paths answer preflights; the size may be sent and read."""
        origin = "Origin: https://a.example"
        for path, methods in ((INFER, "POST"), ("/v2/models/frau%64/infer", "POST"), ("/v2/models/fraud", "GET, HEAD")):
            headers = self.ask(path, "OPTIONS", origin).headers
            self.assertEqual(headers["access-control-allow-methods"], methods)
            self.assertIn(SIZE, headers["access-control-allow-headers"])
        for path in ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/fraud"):
            self.assertIn(SIZE, self.ask(path, "GET", origin).headers["access-control-expose-headers"], path)

    def test_errors(self) -> None:
        """A page may read an error, and it has the caller's id: for unknown models, paths and methods, too."""
        sent = ("Origin: https://a.example", "RqUID: mine")
        for path, method, status in (
            ("/v2/models/x/infer", "POST", 404),
            ("/v2/models/x", "GET", 404),
            ("/v2/none", "GET", 404),
            (INFER, "GET", 405),
            ("/v1/predict", "GET", 405),
        ):
            response = self.ask(path, method, *sent)
            self.assertEqual((response.status, response.headers["rquid"]), (status, "mine"), path)
            self.assertEqual(response.headers["access-control-allow-origin"], "https://a.example", path)
        malformed = self.ask("/v2/models/x/infer", "POST", "RqUID: a b")
        self.assertEqual((malformed.status, " " in malformed.headers["rquid"]), (404, False))
