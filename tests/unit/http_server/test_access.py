"""Access to the HTTP API: who is admitted, which origins may read the answer, what is recorded of each request."""

from __future__ import annotations

import json
from io import StringIO

from provider_gateway.config.limits import Limits
from provider_gateway.http_server.access_log import AccessRecord
from provider_gateway.http_server.site import GatewaySite
from provider_gateway.message.message import Message
from tests.unit.gateway.test_api import KEY, APITestCase
from tests.unit.gateway.test_rpc import counted
from tests.unit.http_server.test_site import Client


class AdmissionTests(APITestCase):
    """Two requests are served at a time here."""

    def in_flight(self) -> float:
        return counted(self.metrics.http_in_flight)

    def test_too_many(self) -> None:
        """One request more than MAX_IN_FLIGHT is 503 with Retry-After; with a place free again it is served."""
        first, _ = self.post(), self.post()
        self.assertEqual(self.in_flight(), 2)
        response = self.assert_problem(self.post(), 503, "too-many-requests-in-flight")
        self.assertEqual(response.headers["retry-after"], "1")
        self.rpc.replies[0].callback(Message(b"1"))
        self.assertEqual(first.response().status, 200)
        self.assertEqual(self.in_flight(), 1)
        self.post()
        self.assertEqual(len(self.rpc.calls), 3)

    def test_places_after_failures(self) -> None:
        """Requests that fail, or that are wrong, give their places back."""
        for _ in range(5):
            self.assert_problem(self.post(KEY, body=b"{"), 422)
            client = self.post()
            self.rpc.replies[-1].errback(KeyError("x"))
            self.assert_problem(client, 500)
        self.assertEqual(self.in_flight(), 0)
        self.flushLoggedErrors(KeyError)

    def test_client_that_leaves(self) -> None:
        """A client that leaves cancels its call and gives its place back, without an error."""
        client = self.post()
        client.leave()
        self.assertEqual(self.rpc.cancelled, 1)
        self.assertEqual(self.in_flight(), 0)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_client_that_leaves_after_publishing(self) -> None:
        """A client of /v1/publish that leaves gives its place back; the message is on its way all the same."""
        client = self.post(path="/v1/publish")
        client.leave()
        self.assertEqual(len(self.publisher.published), 1)
        self.assertEqual(self.in_flight(), 0)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_drain(self) -> None:
        """While draining new requests are 503, and those under way are finished."""
        client = self.post()
        self.api.drain()
        self.assert_problem(self.post(), 503, "draining")
        self.rpc.replies[0].callback(Message(b"1"))
        self.assertEqual(client.response().status, 200)
        self.assertEqual(self.in_flight(), 0)

    def test_cors_is_off(self) -> None:
        """Without CORS_ORIGINS no origin is named, in no answer, so no browser lets a page call."""
        client = self.post(KEY, "Origin: https://a.example")
        self.rpc.replies[0].callback(Message(b"1"))
        self.assertEqual([name for name in client.response().headers if name.startswith("access-control")], [])
        preflight = Client(self.site)
        preflight.request("OPTIONS", "/v1/predict", b"", "Origin: https://a.example")
        response = preflight.response()
        self.assertEqual((response.status, response.headers["allow"]), (204, "OPTIONS, POST"))
        self.assertEqual([name for name in response.headers if name.startswith("access-control")], [])


class DefaultRoutingKeyTests(APITestCase):
    """The queue file names a routing key for requests that bring none."""

    routing_key = "predict.default"

    def test_default(self) -> None:
        """Without a routing-key header the queue file's is used; a header wins."""
        self.post("X-Other: 1")
        self.post(KEY)
        self.assertEqual([call[2] for call in self.rpc.calls], ["predict.default", "predict.now"])

    def test_empty(self) -> None:
        """An empty routing-key header is wrong all the same."""
        self.assert_problem(self.post("routing-key:"), 400, "bad-request")


class OriginTests(APITestCase):
    """Two origins may call from a browser."""

    cors_origins = ("https://a.example", "https://b.example")

    def preflight(self, *headers: str) -> Client:
        client = Client(self.site)
        client.request("OPTIONS", "/v1/predict", b"", *headers)
        return client

    def test_listed(self) -> None:
        """A listed origin may read the answer, and the RqUID in it, also that of a failure."""
        for body, status in ((b"1", 200), (b"{", 422)):
            client = self.post(KEY, "Origin: https://b.example", body=body)
            if status == 200:
                self.rpc.replies[0].callback(Message(b"1"))
            response = client.response()
            self.assertEqual(response.status, status)
            self.assertEqual(response.headers["access-control-allow-origin"], "https://b.example")
            self.assertEqual(response.headers["access-control-expose-headers"], "RqUID")
            self.assertEqual(response.headers["vary"], "Origin")

    def test_not_listed(self) -> None:
        """An origin that is not listed is not named, but Vary keeps caches from mixing the answers up."""
        client = self.post(KEY, "Origin: https://a.example.evil")
        self.rpc.replies[0].callback(Message(b"1"))
        self.assertNotIn("access-control-allow-origin", client.response().headers)
        self.assertEqual(client.response().headers["vary"], "Origin")

    def test_preflight(self) -> None:
        """A preflight of a listed origin is told method and headers; one of another is told nothing of the kind."""
        response = self.preflight("Origin: https://a.example").response()
        self.assertEqual((response.status, response.body), (204, b""))
        self.assertEqual(response.headers["access-control-allow-origin"], "https://a.example")
        self.assertEqual(response.headers["access-control-allow-methods"], "POST")
        self.assertIn("routing-key", response.headers["access-control-allow-headers"])
        for headers in (("Origin: https://c.example",), ()):
            response = self.preflight(*headers).response()
            self.assertEqual([name for name in response.headers if name.startswith("access-control")], [])


class EveryOriginTests(APITestCase):
    """``*`` stands for every origin."""

    cors_origins = ("*",)

    def test_every_origin(self) -> None:
        """Any origin is named, and a request without one is no browser's."""
        for headers, named in (((KEY, "Origin: null"), "null"), ((KEY,), None)):
            client = self.post(*headers)
            self.rpc.replies[-1].callback(Message(b"1"))
            self.assertEqual(client.response().headers.get("access-control-allow-origin"), named)


class RecordTests(APITestCase):
    """Metrics and access log of a site."""

    def setUp(self) -> None:
        super().setUp()
        self.log = StringIO()
        record = AccessRecord(self.metrics, self.clock, self.log)
        self.site = GatewaySite(self.api.app.resource(), self.clock, Limits(max_body_bytes=1000), record)

    def requests(self) -> set[tuple[str, ...]]:
        """Route, method and code of each series."""
        return {
            (sample.labels["route"], sample.labels["method"], sample.labels["code"])
            for metric in self.metrics.http_requests.collect()
            for sample in metric.samples
            if sample.name.endswith("_total")
        }

    def test_counted(self) -> None:
        """A request is counted by route, method and code, and its time observed from its last byte to its answer."""
        self.clock.advance(100)
        self.post()
        self.clock.advance(3)
        self.assertEqual(self.requests(), set())
        self.rpc.replies[0].callback(Message(b"1", {"pg-status": 201}))
        self.assertEqual(self.requests(), {("/v1/predict", "POST", "201")})
        seconds = {
            sample.labels["route"]: sample.value
            for metric in self.metrics.http_request_seconds.collect()
            for sample in metric.samples
            if sample.name.endswith("_sum")
        }
        self.assertEqual(seconds, {"/v1/predict": 3})

    def test_bounded_labels(self) -> None:
        """Whatever paths and methods a scanner tries, they share one label."""
        for number in range(20):
            client = Client(self.site)
            client.request(f"M{number}", f"/wp-{number}?q={number}")
            client.request("POST", f"/wp-{number}", b"{}")
        self.assertEqual(self.requests(), {("other", "other", "404"), ("other", "POST", "404")})

    def test_line(self) -> None:
        """Each request is one JSON line with its ids; what a client sends cannot break the line."""
        client = self.post(KEY, "RqUID: r1", path="/v1/predict?secret=1")
        self.clock.advance(0.25)
        self.rpc.replies[0].callback(Message(b"12345"))
        client.request("GET", '/"\\%0a')
        first, second = map(json.loads, self.log.getvalue().splitlines())
        self.assertRegex(first.pop("time"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$")
        expected = {"method": "POST", "path": "/v1/predict", "status": 200, "seconds": 0.25, "bytes": 5, "rquid": "r1"}
        correlation_id = self.rpc.calls[0][0].correlation_id
        self.assertEqual(first, {**expected, "correlation_id": correlation_id, "identity": None})
        self.assertEqual((second["path"], second["status"], second["correlation_id"]), ('/"\\%0a', 404, None))

    def test_without_a_log(self) -> None:
        """Without an access log requests are counted all the same."""
        record = AccessRecord(self.metrics, self.clock, None)
        client = Client(GatewaySite(self.api.app.resource(), self.clock, Limits(max_body_bytes=1000), record))
        client.request("GET", "/health")
        self.assertEqual(self.requests(), {("/health", "GET", "200")})
        self.assertEqual(self.log.getvalue(), "")
