"""Certificates that we show to the broker and to the model, and the CAs of theirs, replaced while we run."""

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
    """Both sides, each with files of its own."""

    relay: ClassVar[BrokerRelay]

    @classmethod
    def variables(cls, deployment: Deployment) -> dict[str, str]:
        """A relay to the broker and a model with TLS, which see our certificates."""
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
        """Write a side's files, with the CA that both servers have their certificates from."""
        replace(folder / f"{prefix}-ca.pem", pem(trusted_authority().certificate))
        holder.write(folder / f"{prefix}-cert.pem", folder / f"{prefix}-key.pem")

    def setUp(self) -> None:
        super().setUp()
        self.folder = self.deployment.folder
        for prefix in NAMES:
            self.renew(prefix)

    def renew(self, prefix: str) -> Holder:
        """Replace our certificate of a side, and have it read; returns it."""
        holder, seen = trusted_authority().issue("renewed"), len(self.gateway.log)
        self.write(self.folder, prefix, holder)
        self.gateway.hang_up()
        self.gateway.logged(f"{NAMES[prefix]}: loaded again", seen)
        return holder

    def break_files(self, prefix: str) -> None:
        """Replace the files of a side by broken ones, one after the other; each is refused, and said."""
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
        """Seconds until our certificate of a side expires, as the metric says."""
        return self.metric(f'provider_gateway_certificate_expiry_seconds{{side="{side}"}}')

    def reconnected(self) -> list[int]:
        """Cut both connections to the broker, and wait for new ones; returns who was shown to it."""
        seen, before = len(self.gateway.log), len(self.relay.peers)
        self.relay.cut()
        for name in ("publish", "consume"):
            self.gateway.logged(f"AMQP connection {name} is open", seen)
        return self.relay.peers[before:]

    def model_asked_anew(self) -> list[int]:
        """End the connections to the model, and have it asked; returns who was shown to it."""
        self.model.break_connections()
        self.model.peers.clear()
        self.assertEqual(self.ask(post(b"1")).status, 200)
        return self.model.peers

    def test_broker(self) -> None:
        """A new certificate towards the broker: connections stay, and the next ones show it."""
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
        """Broken files towards the broker are refused; the next connections are made with the old ones."""
        renewed = self.renew("MQ")
        self.break_files("MQ")
        self.assertEqual(self.reconnected(), [renewed.certificate.serial_number] * 2)

    def test_model(self) -> None:
        """A new certificate towards the model: connections stay, and the next ones show it."""
        self.assertEqual(self.ask(post(b"1")).status, 200)
        before = len(self.model.peers)
        renewed = self.renew("MODEL")
        self.assertEqual(self.ask(post(b"2")).status, 200)
        self.assertEqual(len(self.model.peers), before)
        self.assertEqual(self.model_asked_anew(), [renewed.certificate.serial_number])
        self.assertGreater(self.left("model"), 3000)

    def test_broken_towards_the_model(self) -> None:
        """Broken files towards the model are refused; the next connections are made with the old ones."""
        renewed = self.renew("MODEL")
        self.break_files("MODEL")
        self.assertEqual(self.model_asked_anew(), [renewed.certificate.serial_number])

    def test_authority_of_the_model(self) -> None:
        """Another CA for the model: one that does not know the model's certificate is believed, from then on."""
        seen = len(self.gateway.log)
        replace(self.folder / "MODEL-ca.pem", pem(authority("another").certificate))
        self.gateway.logged(f"{NAMES['MODEL']}: loaded again", seen)  # without a signal
        self.model.break_connections()
        self.assert_problem(self.ask(post(b"1")), 502, "model-failed")
        self.assertEqual(self.model.asked, [])
