"""What the models of the queue file's entries are shown: files and variables, for providers only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.testing import MemoryReactorClock

from provider_gateway.errors import SettingsError
from provider_gateway.observability.metrics import Metrics
from provider_gateway.security.credentials import Credentials, load_credentials
from tests.support.queue_entries import entry
from tests.support.tls_files import TLSTestCase

if TYPE_CHECKING:
    from provider_gateway.config.queue_file import QueueEntry

URL = "https://m/"


class ModelCredentialsTests(TLSTestCase):
    """``load_credentials`` with entries that have models of their own."""

    def setUp(self) -> None:
        super().setUp()
        self.reactor, self.metrics = MemoryReactorClock(), Metrics()
        pair = {"cert": self.certs / "client_cert.pem", "key": self.certs / "client_key.pem"}
        self.files = {name: str(path) for name, path in {"cacert": self.certs / "cacert.pem", **pair}.items()}

    def made(self, *entries: QueueEntry, roles: Any = ("provider",), **variables: str) -> Credentials:
        settings = self.settings(rmq_url="amqp://a/")
        return load_credentials(
            self.reactor, settings, roles, self.metrics, self.reactor.seconds, entries=entries, variables=variables
        )

    def of(self, name: str, **model: Any) -> QueueEntry:
        return entry(name, model={"url": URL, **model})

    def sample(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"provider_gateway_{name}", labels)

    def test_each(self) -> None:
        """Each entry has its own TLS; those with the same files share it, and those without a URL have MODEL_URL's."""
        a = self.of("a", **self.files)
        b = self.of("b", headers={"x": "${X}"}, **self.files)
        made = self.made(entry("plain"), a, b, self.of("c"), entry("d", model={"name": "m"}), X="1")
        tls = {queue: credentials.tls for queue, credentials in made.models.items()}
        self.assertEqual(list(tls), ["a", "b", "c", "d"])
        self.assertIs(tls["a"], tls["b"])
        self.assertIs(tls["d"], made.model)
        self.assertEqual(len({id(each) for each in tls.values()}), 3)
        self.assertEqual((made.models["b"].headers, made.models["a"].headers), ({"x": "1"}, {}))

    def test_wrong_file(self) -> None:
        """A file that is missing or wrong is one line that names key, queue and path."""
        for key, path in (("cacert", self.garbage), ("cert", self.garbage), ("key", self.certs / "missing.pem")):
            line = str(self.assertRaises(SettingsError, self.made, self.of("fraud", **{**self.files, key: str(path)})))
            self.assertTrue(line.startswith(f"model.{key} of queue 'fraud': {path}: expected"), line)
            self.assertEqual(len(line.splitlines()), 1)
        other = {**self.files, "key": str(self.others / "client_key.pem")}
        self.assertIn("private key of", str(self.assertRaises(SettingsError, self.made, self.of("fraud", **other))))

    def test_gateway(self) -> None:
        """A gateway without the provider role needs neither files nor variables."""
        wrong = self.of("a", cacert="missing.pem", cert="missing.pem", key="missing.pem", headers={"x": "${X}"})
        self.assertEqual(self.made(wrong, roles=("gateway",)).models, {})
        error = self.assertRaises(SettingsError, self.made, self.of("a", headers={"x": "${X}"}))
        self.assertIn("model.headers.x of queue 'a': the environment variable X is not set", str(error))

    def test_expiry(self) -> None:
        """The metric has our certificate for each model."""
        self.made(self.of("a", **self.files), self.of("b", **self.files))
        expected = self.expiry("client_cert.pem")
        self.assertEqual(self.sample("certificate_expiry_seconds", side="model of a, b"), expected)

    def test_reload(self) -> None:
        """Files are loaded again when they change; a wrong one leaves the old in force. The outcome names the queue."""
        made = self.made(self.of("a", **self.files), self.of("c"))
        self.addCleanup(self.reactor.advance, 0)
        self.addCleanup(made.reloader.stop)
        key = self.certs / "client_key.pem"
        for content, outcome in ((key.read_bytes() + b"\n", "loaded"), (b"", "refused")):
            key.write_bytes(content)
            made.reloader.reload()
            self.assertEqual(self.sample("reloads_total", what="TLS towards the model of a", outcome=outcome), 1)
        made.models["a"].tls.to("m")
        self.assertIsNone(self.sample("reloads_total", what="TLS towards the model of c", outcome="loaded"))

    def test_secrets(self) -> None:
        """No text form shows a header; what may be repeated is known with its words. A version is no secret."""
        made = self.made(self.of("a", headers={"Authorization": "Bearer ${X}", "X-Version": "1"}), X="hunter22")
        self.assertNotIn("hunter22", repr(made))
        self.assertEqual(made.models["a"].secrets, ["Bearer hunter22", "hunter22"])
