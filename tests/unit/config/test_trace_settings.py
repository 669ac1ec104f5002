"""The settings of traces."""

from __future__ import annotations

import os
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.app.check import effective_settings
from provider_gateway.config.settings import Settings, load_settings
from provider_gateway.errors import SettingsError
from tests.support.queue_entries import entry

BASE, TRACES = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"


class TraceSettingsTests(SynchronousTestCase):
    """Variables of OpenTelemetry, as a user sets them."""

    def load(self, **variables: str) -> Settings:
        self.patch(os, "environ", {"RMQ_URL": "amqp://localhost", **variables})
        return load_settings()

    def error(self, **variables: str) -> str:
        return str(self.assertRaises(SettingsError, self.load, **variables))

    def test_url(self) -> None:
        """``/v1/traces`` is added to the endpoint for all signals; that for traces is taken as it is."""
        for given, expected in (
            ({BASE: "http://c:4318"}, "http://c:4318/v1/traces"),
            ({BASE: "http://c:4318/"}, "http://c:4318/v1/traces"),
            ({BASE: "https://c/otlp/?key=x"}, "https://c/otlp/v1/traces?key=x"),
            ({BASE: "http://c", TRACES: "http://d/x"}, "http://d/x"),
        ):
            url = self.load(**given).traces_url
            assert url is not None
            self.assertEqual(url.reveal(), expected)

    def test_headers(self) -> None:
        """Values of headers are percent-encoded; those for traces win; spaces around the items do not matter."""
        settings = self.load(OTEL_EXPORTER_OTLP_HEADERS="a=1")
        self.assertEqual(settings.otel_exporter_otlp_headers, {"a": "1"})
        settings = self.load(OTEL_EXPORTER_OTLP_TRACES_HEADERS="api-key=k%3D1 , x = y,")
        self.assertEqual(settings.otel_exporter_otlp_headers, {"api-key": "k=1", "x": "y"})

    def test_wrong(self) -> None:
        """A wrong value is one line that names the variable, and quotes nothing that may be secret."""
        for name, value in (
            *((BASE, "collector:4318/secret"), (TRACES, "ftp://secret"), ("OTEL_EXPORTER_OTLP_HEADERS", "secret")),
            *(("OTEL_EXPORTER_OTLP_HEADERS", "a=sec%0Aret"), ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "=secret")),
        ):
            error = self.error(**{name: value})
            self.assertTrue(error.startswith(f"{name}: expected "), error)
            self.assertNotIn("sec", error)
        for name, value in (
            *(("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_TRACES_SAMPLER", "jaeger_remote")),
            *(("OTEL_TRACES_SAMPLER_ARG", "2"), ("OTEL_BSP_MAX_QUEUE_SIZE", "0"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "x")),
        ):
            self.assertTrue(self.error(**{name: value}).startswith(f"{name}: expected "), name)

    def test_pair(self) -> None:
        """A client certificate needs its key."""
        self.assertIn("expected both or neither", self.error(OTEL_EXPORTER_OTLP_CLIENT_KEY="/key.pem"))

    def test_masked(self) -> None:
        """``--check`` shows names of headers without their values, and the URL without its query."""
        values: dict[str, Any] = {BASE: "https://c?key=secret", "OTEL_EXPORTER_OTLP_HEADERS": "api-key=secret"}
        values["OTEL_RESOURCE_ATTRIBUTES"] = "a=b,c=d"
        shown = effective_settings(self.load(**values), [entry()], "x", ["gateway"])
        self.assertNotIn("secret", shown)
        self.assertIn("OTEL_EXPORTER_OTLP_HEADERS: api-key=***", shown)
        self.assertIn("OTEL_RESOURCE_ATTRIBUTES: a=b,c=d", shown)
