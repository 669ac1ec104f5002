"""Metrics and access log of finished requests."""

from __future__ import annotations

import json
from io import StringIO

from provider_gateway.config.limits import Limits
from provider_gateway.http_server.access_log import AccessRecord
from provider_gateway.http_server.channel import LINGER
from provider_gateway.http_server.site import GatewaySite
from provider_gateway.message.message import Message
from tests.support.api import KEY, APITestCase
from tests.support.http_client import Client
from tests.unit.http_server.base import LimitsTestCase


class RecordTests(APITestCase):
    """Metrics and access log of a site."""

    def setUp(self) -> None:
        super().setUp()
        self.log = StringIO()
        record = AccessRecord(self.metrics, self.clock, self.log, self.clock.seconds)
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
        """A request is counted by route, method and status, and timed from its last byte to its response."""
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
        """All unknown paths and methods share one label."""
        for number in range(20):
            client = Client(self.site)
            client.request(f"M{number}", f"/wp-{number}?q={number}")
            client.request("POST", f"/wp-{number}", b"{}")
        self.assertEqual(self.requests(), {("other", "other", "404"), ("other", "POST", "404")})

    def test_added_paths(self) -> None:
        """Paths of the queue file are routes of their own; other paths below or beside them are not."""
        record = AccessRecord(self.metrics, self.clock, None, self.clock.seconds, ["/v1/fraud"])
        self.site = GatewaySite(self.api.app.resource(), self.clock, Limits(), record)
        client = Client(self.site)
        for path in ("/v1/fraud", "/v1/fraud/x", "/v1/models"):
            client.request("GET", path)
        self.assertEqual(
            self.requests(), {("/v1/fraud", "GET", "404"), ("other", "GET", "404"), ("/v1/models", "GET", "200")}
        )

    def test_line(self) -> None:
        """Each request is one JSON line with its ids; the bytes of a request cannot break the line."""
        client = self.post(KEY, "RqUID: r1", path="/v1/predict?secret=1")
        self.clock.advance(0.25)
        self.rpc.replies[0].callback(Message(b"12345"))
        client.request("GET", '/"\\%0a')
        first, second = map(json.loads, self.log.getvalue().splitlines())
        self.assertRegex(first.pop("time"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$")
        expected = {"method": "POST", "path": "/v1/predict", "status": 200, "seconds": 0.25, "bytes": 5, "rquid": "r1"}
        expected |= {"routing_key": "predict.now", "client": client.getPeer().host}
        correlation_id = self.rpc.calls[0][0].correlation_id
        self.assertEqual(first, {**expected, "correlation_id": correlation_id, "identity": None})
        self.assertIsNone(second["routing_key"])
        self.assertEqual((second["path"], second["status"], second["correlation_id"]), ('/"\\%0a', 404, None))

    def test_routing_keys(self) -> None:
        """A line has the routing key of its request, also one that is refused; none if the key was malformed."""
        for key in ("a.b", "gr\xc3\xbc\xc3\x9fe", "a.*"):
            self.post(f"routing-key: {key}", body=b"{")
        keys = [json.loads(line)["routing_key"] for line in self.log.getvalue().splitlines()]
        self.assertEqual(keys, ["a.b", "gr\u00fc\u00dfe", None])

    def test_query(self) -> None:
        """The query of a path is not recorded, even if the request is not routed."""
        for path, host in (("/v1/predict?secret=1", "a b"), ("http://a:b/v1/predict?secret=1", "a")):
            Client(self.site).request("POST", path, b"1", f"Host: {host}")
        self.assertEqual(["/v1/predict"] * 2, [json.loads(each)["path"] for each in self.log.getvalue().splitlines()])

    def test_without_a_log(self) -> None:
        """Requests are counted without an access log, too."""
        record = AccessRecord(self.metrics, self.clock, None, self.clock.seconds)
        client = Client(GatewaySite(self.api.app.resource(), self.clock, Limits(max_body_bytes=1000), record))
        client.request("GET", "/health")
        self.assertEqual(self.requests(), {("/health", "GET", "200")})
        self.assertEqual(self.log.getvalue(), "")


class FailureTests(LimitsTestCase):
    """The access log cannot be written."""

    def test_connection_goes_on(self) -> None:
        """Responses, rejections and cancelling work as ever; the failures are logged."""
        self.patch(self.site, "_on_finished", self.fail_to_record)
        client, rejected, leaving = self.clients(3)
        for _ in range(2):
            client.post("/", b"1")
        rejected.send(b"nonsense\r\n")
        leaving.post("/slow", b"1")
        leaving.leave()
        self.assertEqual(([200, 200], [400]), (self.statuses(client), self.statuses(rejected)))
        self.assertEqual(4, len(self.flushLoggedErrors(OSError)))
        self.assertTrue(self.waiting[0].called)
        self.clock.advance(LINGER)
        self.assertTrue(rejected.aborted)
        self.site.close_connections()
        self.assertTrue(client.disconnecting)

    def fail_to_record(self, _: object) -> None:
        msg = "No space left on device"
        raise OSError(msg)
