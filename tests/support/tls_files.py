"""Certificate files of two CAs, of which one is trusted, and TLS contexts made from them."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.clocks import WALL_CLOCK
from provider_gateway.config.settings import Settings
from provider_gateway.demo.certificates import make_certificates
from provider_gateway.errors import SettingsError
from provider_gateway.security.server_tls import ServerTLS
from provider_gateway.security.tls import broker_tls

if TYPE_CHECKING:
    from collections.abc import Callable


def server_tls(settings: Settings, on_expiry: Callable[[str, float], object], clock: Any = None) -> ServerTLS:
    """The server's TLS, by a clock that stands still unless another one is given."""
    return ServerTLS(settings, on_expiry, clock=clock or Clock(), wall_clock=WALL_CLOCK)


class TLSTestCase(SynchronousTestCase):
    """Certificates of the trusted CA in ``certs``, of the other one in ``others``."""

    def setUp(self) -> None:
        self.patch(os, "environ", {})
        self.certs, self.others = Path(self.mktemp()), Path(self.mktemp())
        for folder in (self.certs, self.others):
            make_certificates(folder)
        self.garbage = Path(self.mktemp())
        self.garbage.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n", encoding="utf-8")
        self.told: list[tuple[str, float]] = []

    def settings(self, **values: Any) -> Settings:
        fitting = {
            "rmq_url": "amqps://rabbitmq/",
            "http_cert": self.certs / "server_cert.pem",
            "http_key": self.certs / "server_key.pem",
            "http_cacert": self.certs / "cacert.pem",
            "mq_cacert": self.certs / "cacert.pem",
        }
        return Settings(_env_file=None, **{**fitting, **values})

    def on_expiry(self, side: str, when: float) -> None:
        self.told.append((side, when))

    def server(self, **values: Any) -> Any:
        return server_tls(self.settings(**values), self.on_expiry)

    def client(self, host: str = "localhost", folder: Path | None = None, stem: str = "client", **values: Any) -> Any:
        """TLS of a client with certificate and key of a folder, or without a certificate."""
        if folder is not None:
            values = {"mq_cert": folder / f"{stem}_cert.pem", "mq_key": folder / f"{stem}_key.pem", **values}
        return broker_tls(self.settings(**values), lambda *_: None).to(host)

    def expiry(self, name: str) -> float:
        """When a certificate expires, as a timestamp; checks that it has not expired."""
        certificate = x509.load_pem_x509_certificate((self.certs / name).read_bytes())
        self.assertGreater(certificate.not_valid_after_utc, datetime.now(UTC))
        return certificate.not_valid_after_utc.timestamp()

    def refusal(self, build: Any, **values: Any) -> str:
        line = str(self.assertRaises(SettingsError, build, self.settings(**values), self.on_expiry))
        self.assertNotIn("\n", line)
        return line

    def assert_wrong_files_are_refused(self, build: Any, pairs: dict[str, str], **fitting: Any) -> None:
        """Check that each file is refused by its variable's name if it is missing, a folder, or not PEM.

        Args:
            build: makes the TLS side under test.
            pairs: names of settings, and what the error says of a file that is not PEM.
            fitting: all other settings.
        """
        missing = self.certs / "missing.pem"
        for name, expected in pairs.items():
            for path, part in ((missing, "No such file"), (self.certs, "directory"), (self.garbage, expected)):
                line = self.refusal(build, **{**fitting, name: path})
                self.assertTrue(line.startswith(f"{name.upper()}: {path}: expected"), line)
                self.assertIn(part, line)
