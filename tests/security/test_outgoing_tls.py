"""Brokers and models with a wrong certificate: refused in the handshake, and named clearly in the log."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from cryptography import x509

from tests.security.base import SecurityTestCase
from tests.security.certificates import tls_of, trusted_authority, trusted_file
from tests.security.client import post
from tests.security.model import Model
from tests.support.certificates import CLIENT, HOUR, SERVER, authority, local_names

if TYPE_CHECKING:
    from tests.security.base import Deployment
    from tests.security.processes import GatewayProcess
    from tests.support.certificates import Holder

ELSEWHERE = (x509.DNSName("elsewhere.example"),)


@cache
def impostors() -> dict[str, Holder]:
    """Wrong server certificates, by what is wrong with them."""
    trusted = trusted_authority()
    return {
        "another host": trusted.issue("localhost", purpose=SERVER, names=ELSEWHERE),
        "an unknown CA": authority("security tests CA").issue("localhost", purpose=SERVER, names=local_names()),
        "expired": trusted.issue("localhost", purpose=SERVER, names=local_names(), ends=-HOUR / 60),
        "no host at all": trusted.issue("localhost", purpose=SERVER),
        "for clients only": trusted.issue("localhost", purpose=CLIENT, names=local_names()),
    }


class OutgoingTestCase(SecurityTestCase):
    """Checks of what is logged about a wrong certificate."""

    def assert_clear(self, text: str, what: str) -> None:
        """Check that a text says in plain words what is wrong with a certificate."""
        self.assertIn("certificate", text, what)
        if what == "another host":
            self.assertIn("localhost", text)
        self.assertNotRegex(text, r"\[\(|Failure|errors=|<")


class BrokerTests(OutgoingTestCase):
    """The TLS connection to the broker."""

    def impostor(self, holder: Holder) -> tuple[Model, GatewayProcess]:
        """Start a broker with this certificate, and a gateway that tries to connect to it."""
        server = Model(tls_of(holder))
        self.addCleanup(server.close)
        url = server.url.replace("https", "amqps").replace("/predict", "/")
        gateway = self.deployment.run(RMQ_URL=url, MQ_CACERT=str(trusted_file()))
        self.addCleanup(gateway.stop)
        return server, gateway

    def test_impostors(self) -> None:
        """A broker with a wrong certificate gets no login; a warning names its address and what is wrong."""
        started = {what: self.impostor(holder) for what, holder in impostors().items()}
        said = {}
        for what, (server, gateway) in started.items():
            line = gateway.logged("amqps://localhost")
            self.assertEqual((line["level"], server.peers), ("warn", []), what)  # no handshake was completed
            self.assertNotIn("Traceback", gateway.output)
            said[what] = line["message"]
        for what, message in said.items():
            self.assert_clear(message, what)


class ModelTests(OutgoingTestCase):
    """The TLS connection to the model."""

    @classmethod
    def variables(cls, deployment: Deployment) -> dict[str, str]:
        """A model with TLS, and a client certificate for it."""
        cls.holder = trusted_authority().issue("towards the model")
        cert, key = deployment.folder / "model_client.pem", deployment.folder / "model_client_key.pem"
        cls.holder.write(cert, key)
        cls.right = tls_of(trusted_authority().issue("model", purpose=SERVER, names=local_names()))
        deployment.model.close()
        deployment.model = Model(cls.right)
        return {
            "MODEL_URL": deployment.model.url,
            "MODEL_CACERT": str(trusted_file()),
            "MODEL_CERT": str(cert),
            "MODEL_KEY": str(key),
        }

    def setUp(self) -> None:
        super().setUp()
        self.model.break_connections()
        self.model.tls = self.right
        self.model.peers.clear()

    def test_right_one(self) -> None:
        """A model with the right certificate is called, and sees ours."""
        self.assertEqual(self.ask(post(b"1")).status, 200)
        self.assertEqual(set(self.model.peers), {self.holder.certificate.serial_number})

    def test_impostors(self) -> None:
        """A model with a wrong certificate gets no request: its message waits. The log says what is wrong."""
        for holder in impostors().values():
            self.model.break_connections()
            self.model.tls = tls_of(holder)
            with self.connect() as connection:
                connection.send(post(b'"secret"'))
                self.model.wait_until_refused()
                self.assertEqual(self.model.asked, [])
                self.model.tls = self.right
                self.assertEqual(connection.response().status, 200)
            self.model.forget()
        seen = f"{self.deployment.queue}: calls of the model pause"
        causes = [line["cause"] for line in self.gateway.log if seen in line["message"]]
        # To OpenSSL an expired certificate is the same as one of an unknown CA, which was logged just before.
        self.assertEqual(len(causes), 4)
        for what, cause in zip(
            ("another host", "an unknown CA", "no host at all", "for clients only"), causes, strict=True
        ):
            self.assert_clear(cause, what)
