"""Our client certificates for broker and model, and their CAs, are replaced while the process runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from tests.security.base import SecurityTestCase
from tests.security.certificates import tls_of, trusted_authority
from tests.security.client import post
from tests.security.model import Model
from tests.security.relay import BrokerRelay
from tests.security.reloading import replace
from tests.support.certificates import SERVER, authority, local_names, pem

if TYPE_CHECKING:
    from pathlib import Path

    from tests.security.base import Deployment
    from tests.support.certificates import Holder

NAMES = {"MQ": "TLS towards the broker", "MODEL": "TLS towards the model"}
#: The variables of each side, and their files.
FILES = {
    "MQ": {"MQ_CACERT": "MQ-ca.pem", "MQ_CERT": "MQ-cert.pem", "MQ_KEY": "MQ-key.pem"},
    "MODEL": {"MODEL_CACERT": "MODEL-ca.pem", "MODEL_CERT": "MODEL-cert.pem", "MODEL_KEY": "MODEL-key.pem"},
}


class OutgoingReloadTests(SecurityTestCase):
    """Both connections, each with its own files."""

    relay: ClassVar[BrokerRelay]

    @classmethod
    def variables(cls, deployment: Deployment) -> dict[str, str]:
        """A relay to the broker, and a model with TLS; both see our certificates."""
        folder = deployment.folder
        there = trusted_authority().issue("there", purpose=SERVER, names=local_names())
        cls.relay = BrokerRelay(tls_of(there))
        deployment.model.close()
        deployment.model = Model(tls_of(there))
        variables = {"RMQ_URL": cls.relay.url, "MODEL_URL": deployment.model.url}
        for prefix in NAMES:
            cls.write(folder, prefix, trusted_authority().issue("first"))
            variables |= {variable: str(folder / name) for variable, name in FILES[prefix].items()}
        return variables

    @staticmethod
    def write(folder: Path, prefix: str, holder: Holder) -> None:
        """Write the files of one side, with the CA of both servers."""
        replace(folder / f"{prefix}-ca.pem", pem(trusted_authority().certificate))
        holder.write(folder / f"{prefix}-cert.pem", folder / f"{prefix}-key.pem")

    def setUp(self) -> None:
        super().setUp()
        self.folder = self.deployment.folder
        for prefix in NAMES:
            self.renew(prefix)

    def renew(self, prefix: str) -> Holder:
        """Replace our certificate of one side and have it loaded; returns it."""
        holder, seen = trusted_authority().issue("renewed"), len(self.gateway.log)
        self.write(self.folder, prefix, holder)
        self.gateway.hang_up()
        self.gateway.logged(f"{NAMES[prefix]}: loaded again", seen)
        return holder

    def break_files(self, prefix: str) -> None:
        """Replace the files of one side with broken ones, one after the other; each is refused and logged."""
        for name in ("ca", "cert", "key"):
            seen = len(self.gateway.log)
            series = f'provider_gateway_reloads_total{{outcome="refused",what="{NAMES[prefix]}"}}'
            refused = self.metric(series)
            replace(self.folder / f"{prefix}-{name}.pem", b"nonsense")
            self.gateway.hang_up()
            line = self.gateway.logged(f"{NAMES[prefix]}: the old one stays in force: {prefix}_", seen)
            self.assertEqual(line["level"], "error")
            self.assertEqual(self.metric(series), refused + 1)

    def left(self, side: str) -> float:
        """The metric's seconds until our certificate of one side expires."""
        return self.metric(f'provider_gateway_certificate_expiry_seconds{{side="{side}"}}')

    def reconnected(self) -> list[int]:
        """Drop both connections to the broker, and wait for new ones; returns the client certificates they show."""
        seen, before = len(self.gateway.log), len(self.relay.peers)
        self.relay.cut()
        for name in ("publish", "consume"):
            self.gateway.logged(f"AMQP connection {name} is open", seen)
        return self.relay.peers[before:]

    def model_asked_anew(self) -> list[int]:
        """Drop the connections to the model, and have it called; returns the client certificate it sees."""
        self.model.break_connections()
        self.model.peers.clear()
        self.assertEqual(self.ask(post(b"1")).status, 200)
        return self.model.peers

    def test_broker(self) -> None:
        """A new certificate for the broker: open connections stay, and the next ones use it."""
        before = len(self.relay.peers)
        reconnects = self.metric("provider_gateway_amqp_reconnects_total")
        renewed = self.renew("MQ")
        self.assertEqual(self.ask(post(b"1")).status, 200)
        self.assertEqual(len(self.relay.peers), before)
        self.assertEqual(self.metric("provider_gateway_amqp_reconnects_total"), reconnects)
        self.assertEqual(self.reconnected(), [renewed.certificate.serial_number] * 2)
        self.assertEqual(self.ask(post(b"2")).status, 200)
        self.assertGreater(self.left("broker"), 3000)

    def test_broken_towards_the_broker(self) -> None:
        """Broken files for the broker are refused; the next connections use the old ones."""
        renewed = self.renew("MQ")
        self.break_files("MQ")
        self.assertEqual(self.reconnected(), [renewed.certificate.serial_number] * 2)

    def test_model(self) -> None:
        """A new certificate for the model: open connections stay, and the next ones use it."""
        self.assertEqual(self.ask(post(b"1")).status, 200)
        before = len(self.model.peers)
        renewed = self.renew("MODEL")
        self.assertEqual(self.ask(post(b"2")).status, 200)
        self.assertEqual(len(self.model.peers), before)
        self.assertEqual(self.model_asked_anew(), [renewed.certificate.serial_number])
        self.assertGreater(self.left("model"), 3000)

    def test_broken_towards_the_model(self) -> None:
        """Broken files for the model are refused; the next connections use the old ones."""
        renewed = self.renew("MODEL")
        self.break_files("MODEL")
        self.assertEqual(self.model_asked_anew(), [renewed.certificate.serial_number])

    def test_authority_of_the_model(self) -> None:
        """A new CA for the model takes effect: the model's certificate, from another CA, is refused from then on."""
        seen = len(self.gateway.log)
        replace(self.folder / "MODEL-ca.pem", pem(authority("another").certificate))
        self.gateway.logged(f"{NAMES['MODEL']}: loaded again", seen)  # without a signal
        self.model.break_connections()
        with self.connect() as connection:
            connection.send(post(b"1"))
            line = self.gateway.logged(f"{self.deployment.queue}: calls of the model pause", seen)
            self.assertIn("certificate verify failed", line["cause"])
            self.assertEqual(self.model.asked, [])
            self.renew("MODEL")
            self.assertEqual(connection.response().status, 200)
