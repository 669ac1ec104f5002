"""The certificates and files that a process reads for its roles and settings, and their metrics."""

from __future__ import annotations

from typing import Any

from twisted.internet.testing import MemoryReactorClock

from provider_gateway.errors import SettingsError
from provider_gateway.observability.metrics import Metrics
from provider_gateway.security.credentials import Credentials, load_credentials
from tests.support.tls_files import TLSTestCase


class CredentialsTests(TLSTestCase):
    """``load_credentials``: TLS and access rules."""

    def setUp(self) -> None:
        super().setUp()
        self.reactor, self.metrics = MemoryReactorClock(), Metrics()
        self.access = self.certs / "access.yaml"
        self.access.write_text("[]", encoding="utf-8")
        self.broker_pair = {"mq_cert": self.certs / "client_cert_mq.pem", "mq_key": self.certs / "client_key_mq.pem"}
        self.model_pair = {"model_cert": self.certs / "client_cert.pem", "model_key": self.certs / "client_key.pem"}

    def made(self, *roles: Any, **values: Any) -> Credentials:
        return load_credentials(self.reactor, self.settings(**values), roles, self.metrics, self.reactor.seconds)

    def sample(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"provider_gateway_{name}", labels)

    def test_parts(self) -> None:
        """A part is loaded, and its files are read, only if the roles and settings need it."""
        plain, tls = "amqp://a/", "amqps://a/"
        garbage = dict.fromkeys(("http_cert", "http_key", "http_cacert"), self.garbage)
        for roles, values, expected in (
            (("gateway",), {}, "server broker"),
            (("gateway",), {"http_access": self.access}, "server access_rules broker"),
            (("gateway",), {"http_tls": False, **garbage}, "broker"),
            (("gateway",), {"rmq_url": plain, "mq_cacert": self.garbage}, "server"),
            (("gateway",), {"rmq_url": f"{plain},{tls}", "model_cacert": self.garbage}, "server broker"),
            (("provider",), {"http_access": self.garbage, **garbage}, "model broker"),
            (("provider",), {"rmq_url": plain}, "model"),
            (("gateway", "provider"), {"http_access": self.access}, "server access_rules model broker"),
        ):
            credentials = self.made(*roles, **values)
            names = ("server", "access_rules", "model", "broker")
            found = [name for name in names if getattr(credentials, name) is not None]
            self.assertEqual(expected.split(), found, f"{roles}, {values}")

    def test_wrong_file(self) -> None:
        """A wrong file of a needed part is an error."""
        for values in (
            {"http_cert": self.garbage},
            {"http_access": self.garbage},
            {"model_cacert": self.garbage},
            {"mq_cacert": self.garbage},
        ):
            self.assertRaises(SettingsError, self.made, "gateway", "provider", **values)

    def test_expiry(self) -> None:
        """The metric has, for each of our certificates, the seconds until it expires."""
        self.reactor.advance(self.expiry("server_cert.pem") - 1000)
        self.made("gateway", "provider", **self.broker_pair, **self.model_pair)
        self.reactor.advance(10)
        for side, name in (
            ("server", "server_cert.pem"),
            ("broker", "client_cert_mq.pem"),
            ("model", "client_cert.pem"),
        ):
            expected = self.expiry(name) - self.reactor.seconds()
            self.assertEqual(expected, self.sample("certificate_expiry_seconds", side=side), side)
        self.assertAlmostEqual(990, self.sample("certificate_expiry_seconds", side="server") or 0, delta=1)

    def test_reload(self) -> None:
        """Each part is loaded again when its files change, and the outcome is counted under its name."""
        credentials = self.made(
            "gateway", "provider", http_access=self.access, **self.broker_pair, **self.model_pair,
            model_cacert=self.certs / "cacert.pem",
        )  # fmt: skip
        for name in ("server_key.pem", "client_key.pem", "client_key_mq.pem"):
            path = self.certs / name
            path.write_bytes(path.read_bytes() + b"\n")
        self.access.write_text("[a]", encoding="utf-8")
        self.addCleanup(self.reactor.advance, 0)  # descriptors are closed in the next turn
        self.addCleanup(credentials.reloader.stop)
        credentials.reloader.reload()
        for what, outcome in (
            ("TLS of the HTTPS listener", "loaded"),
            ("TLS towards the model", "loaded"),
            ("TLS towards the broker", "loaded"),
            ("access file", "refused"),
        ):
            self.assertEqual(1, self.sample("reloads_total", what=what, outcome=outcome), what)
