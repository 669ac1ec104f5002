"""The admin listener: health and metrics, for probes and scrapers."""

from __future__ import annotations

import json

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.app.admin import Admin
from provider_gateway.config.limits import Limits
from provider_gateway.http_server.site import GatewaySite
from provider_gateway.observability.metrics import Metrics
from tests.support.http_client import Client, Response


class AdminTests(SynchronousTestCase):
    """The admin resources, served by a site."""

    def setUp(self) -> None:
        self.metrics = Metrics()
        self.missing: list[str] = []
        self.degraded: list[str] = []
        admin = Admin(self.metrics.registry.collect, lambda: self.missing, lambda: self.degraded)
        self.site = GatewaySite(admin.app.resource(), Clock(), Limits(max_body_bytes=1000))

    def request(self, method: str, path: str, *headers: str) -> Response:
        client = Client(self.site)
        client.request(method, path, b"", *headers)
        return client.response()

    def test_live(self) -> None:
        """/health and /health/live are 200 whatever is missing: a restart would not help."""
        self.missing = ["AMQP connection publish"]
        for path in ("/health", "/health/live"):
            response = self.request("GET", path)
            self.assertEqual((response.status, json.loads(response.body)), (200, {"status": "OK"}))
            self.assertEqual(response.headers["content-type"], "application/json")

    def test_ready(self) -> None:
        """/health/ready is 200 when nothing is missing."""
        response = self.request("GET", "/health/ready")
        self.assertEqual((response.status, json.loads(response.body)), (200, {"status": "OK"}))

    def test_not_ready(self) -> None:
        """/health/ready is 503 with what is waited for, and 200 again when that is there."""
        self.missing = ["AMQP connection publish", "consumer of work"]
        response = self.request("GET", "/health/ready")
        self.assertEqual(response.status, 503)
        self.assertEqual(json.loads(response.body), {"status": "not ready", "waiting_for": self.missing})
        self.missing = []
        self.assertEqual(self.request("GET", "/health/ready").status, 200)

    def test_degraded(self) -> None:
        """/health/ready says what is degraded: it stays 200, and a 503 says it, too."""
        self.degraded = ["model of work is away"]
        response = self.request("GET", "/health/ready")
        self.assertEqual(
            (response.status, json.loads(response.body)), (200, {"status": "OK", "degraded": self.degraded})
        )
        self.missing = ["consumer of work"]
        response = self.request("GET", "/health/ready")
        expected = {"status": "not ready", "waiting_for": self.missing, "degraded": self.degraded}
        self.assertEqual((response.status, json.loads(response.body)), (503, expected))
        self.assertEqual(json.loads(self.request("GET", "/health").body), {"status": "OK"})

    def test_metrics(self) -> None:
        """/metrics has the process's own metrics and ours, in Prometheus's text format, with their values."""
        self.metrics.published.labels("ML.MQ", "confirmed").inc(3)
        self.metrics.amqp_connected.labels("publish").set(1)
        response = self.request("GET", "/metrics")
        self.assertEqual(response.status, 200)
        self.assertTrue(response.headers["content-type"].startswith("text/plain"))
        lines = response.body.decode().splitlines()
        self.assertIn('provider_gateway_published_total{exchange="ML.MQ",outcome="confirmed"} 3.0', lines)
        self.assertIn('provider_gateway_amqp_connected{connection="publish"} 1.0', lines)
        self.assertIn("provider_gateway_http_in_flight 0.0", lines)
        self.assertTrue(any(line.startswith("process_cpu_seconds_total") for line in lines))

    def test_openmetrics(self) -> None:
        """A scraper that accepts OpenMetrics gets OpenMetrics."""
        response = self.request("GET", "/metrics", "Accept: application/openmetrics-text; version=1.0.0")
        self.assertTrue(response.headers["content-type"].startswith("application/openmetrics-text"))
        self.assertTrue(response.body.endswith(b"# EOF\n"))

    def test_metric_names(self) -> None:
        """The metrics used by dashboards and alerts exist, with these names and labels."""
        ours = {
            metric.name: metric for metric in self.metrics.registry.collect() if metric.name.startswith("provider_")
        }
        names = {
            "http_requests", "http_request_seconds", "http_in_flight", "published", "consumed", "deliveries_in_flight",
            "model_requests", "model_request_seconds", "replies", "amqp_connected", "amqp_reconnects",
            "certificate_expiry_seconds",
        }  # fmt: skip
        self.assertEqual({f"provider_gateway_{name}" for name in names} - set(ours), set())

    def test_head(self) -> None:
        """HEAD gets the headers that GET gets, without a body."""
        client = Client(self.site)
        client.request("HEAD", "/health/ready")
        head, _, body = client.value().partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 200 "))
        self.assertEqual(body, b"")

    def test_method(self) -> None:
        """Methods other than GET and HEAD are answered with 405, and Allow lists the supported ones."""
        for path in ("/health", "/health/live", "/health/ready", "/metrics"):
            response = self.request("POST", path)
            self.assertEqual((response.status, response.problem["status"]), (405, 405))
            self.assertEqual(response.headers["allow"], "GET, HEAD")

    def test_unknown_path(self) -> None:
        """An unknown path is answered with a problem document, not with HTML."""
        for path in ("/", "/health/", "/metrics/x", "/v1/predict"):
            response = self.request("GET", path)
            self.assertEqual((response.status, response.problem["status"]), (404, 404), path)
