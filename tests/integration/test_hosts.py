"""Hosts of all kinds in real processes: names with underscores, IPv6 on every side, and brokers that cannot be used."""

from __future__ import annotations

import sys
from ipaddress import ip_address
from typing import Any

import yaml
from cryptography import x509
from twisted.internet import reactor, ssl
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.portforward import ProxyFactory
from twisted.web.server import Site

from provider_gateway.devbroker.login import common_name
from provider_gateway.devbroker.server import Broker
from tests.support.certificates import SERVER, authority, certificates, pem
from tests.support.integration import IntegrationTestCase
from tests.support.processes import Gateway, Process

#: twistd on a system whose resolver knows some more names. Python encodes names as it does for the real resolver.
_TWISTD_WITH_NAMES = """\
import socket
real = socket.getaddrinfo
def getaddrinfo(host, *arguments, **named):
    host.encode("idna")
    if host.endswith(".invalid"):  # a name server that cannot be reached would take its time
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return real("127.0.0.1" if host.endswith("_mq") or host.endswith("_model") else host, *arguments, **named)
socket.getaddrinfo = getaddrinfo
from twisted.scripts.twistd import run
run()
"""


class Noise(Protocol):
    """Another protocol than AMQP and TLS."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"SSH-2.0-OpenSSH_9.2\r\n")


class HangUp(Protocol):
    """Closes every connection at once."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.loseConnection()


class HostsTestCase(IntegrationTestCase):
    """Servers of the test's own beside RabbitMQ and the model."""

    def listen(self, factory: Any, interface: str = "::1", tls: Any = None) -> int:
        """Listen on a free port; returns it."""
        port: Any = (
            reactor.listenTCP(0, factory, interface=interface)
            if tls is None
            else reactor.listenSSL(0, factory, tls, interface=interface)
        )
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    def forward(self, port: int, interface: str = "::1") -> int:
        """Forward the connections to a free port; returns it."""
        factory = ProxyFactory("127.0.0.1", port)
        factory.noisy = False
        return self.listen(factory, interface)

    def start_with_names(self, *arguments: str, **variables: str) -> Gateway:
        """Start a gateway whose resolver knows all names that end with ``_mq`` or ``_model``: they are 127.0.0.1."""
        queues = self.folder / "queues.yaml"
        queues.write_text(yaml.safe_dump([self.entry()]))
        command = [sys.executable, "-P", "-c", _TWISTD_WITH_NAMES, "-n", "--pidfile=", "provider-gateway"]
        command += ["--queues", str(queues.resolve()), *arguments]
        gateway: Gateway = Gateway.start(self, command, self.environment(**variables), self.folder)
        return gateway

    def model_over_tls(self, *names: x509.GeneralName, interface: str) -> int:
        """The model behind HTTPS, with these names in its certificate; returns its port. ``model_ca.pem`` is the CA."""
        issuer = authority("model CA")
        (self.folder / "model_ca.pem").write_bytes(pem(issuer.certificate))
        path = issuer.issue("model", purpose=SERVER, names=names).write(self.folder / "model.pem")
        site = Site(self.model)
        site.noisy = False
        return self.listen(site, interface, ssl.PrivateCertificate.loadPEM(path.read_bytes()).options())

    async def stop(self, gateway: Gateway) -> None:
        gateway.signal("TERM")
        self.assertEqual(await gateway.when_ended(), 0)
        self.assertNotIn("Traceback", "\n".join(gateway.lines) + gateway.errors)


class UnderscoreTests(HostsTestCase):
    """Names that Compose gives."""

    async def test_served(self) -> None:
        """Broker and model (HTTPS, with its name in the certificate) have names with underscores, and so may we."""
        port = self.model_over_tls(x509.DNSName("ml_model"), interface="127.0.0.1")
        gateway = self.start_with_names(
            RMQ_URL=self.broker.plain_url.replace("127.0.0.1", "rabbit_mq"),
            MODEL_URL=f"https://ml_model:{port}/predict",
            MODEL_CACERT=str((self.folder / "model_ca.pem").resolve()),
        )
        await gateway.ready()
        for host in ("gateway_1", "gateway_1:5050", "-a-", "[::1]:5050", "xn--mnchen-3ya.example"):
            response, body = await self.post(gateway, [1], host=host)
            self.assertEqual((response.code, body), (200, [1]), host)
            self.assertEqual(self.model.requests[-1][1]["host"], f"ml_model:{port}")
        await self.stop(gateway)

    async def test_model_parts(self) -> None:
        """MODEL_HOST has an underscore; --check --connect reaches both, and prints no traceback."""
        check = self.start_with_names(
            "--check",
            "--connect",
            RMQ_URL=self.broker.plain_url.replace("127.0.0.1", "rabbit_mq"),
            MODEL_URL="",
            MODEL_HOST="ml_model",
            MODEL_PORT=self.model_url.split(":")[2].split("/")[0],
        )
        self.assertEqual(await check.when_ended(), 0, check.lines)
        output = "\n".join(check.lines)
        self.assertIn("@rabbit_mq:", output)
        self.assertIn(": connected", output)
        self.assertRegex(output, r"model http://ml_model:\d+/predict: answers")


class CertificateTests(HostsTestCase):
    """The model's certificate, for a name with an underscore and for an IPv6 address."""

    async def test_another_host(self) -> None:
        """A certificate of the right CA for another host is refused: in --check --connect, and in the log of calls."""
        other = x509.DNSName("ml-model"), x509.IPAddress(ip_address("127.0.0.1"))
        for host, interface in (("ml_model", "127.0.0.1"), ("[::1]", "::1")):
            port = self.model_over_tls(*other, interface=interface)
            variables = {
                "MODEL_URL": f"https://{host}:{port}/predict",
                "MODEL_CACERT": str((self.folder / "model_ca.pem").resolve()),
            }
            reason = f"the server's certificate is for another host, not for {host.strip('[]')}"
            check = self.start_with_names("--check", "--connect", **variables)
            self.assertEqual(await check.when_ended(), 1)
            [line] = [line for line in check.lines if line.startswith("model https:")]
            self.assertEqual(line, f"model https://{host}:{port}/predict: FAILED: {reason}")
            self.assertNotIn("Traceback", "\n".join(check.lines) + check.errors)
            gateway = await self.start_with_names("--role", "provider", **variables).ready()
            await self.on_channel(lambda channel: channel.basic_publish(self.exchange, "predict.now", b"1"))
            line = await gateway.logged("the model is away")
            self.assertIn(reason, line["cause"])
            await self.stop(gateway)
        self.assertEqual(self.model.requests, [])


class TroubleTests(HostsTestCase):
    """Addresses of brokers that cannot be used, each for its own reason, before one that can."""

    def addresses(self) -> dict[str, str]:
        """Addresses, with a part of the reason that each fails for."""
        noise, closed = (self.listen(Factory.forProtocol(each), "127.0.0.1") for each in (Noise, HangUp))
        return {
            "amqp://no_such.invalid/": "there is no address for the host name 'no_such.invalid'",
            f"amqps://rabbit_mq:{self.broker.tls_port}/": "certificate is for another host, not for rabbit_mq",
            "amqp://u:p@rabbit_mq:1/": "refused",
            f"amqps://rabbit_mq:{self.broker.port}/": "the server does not speak TLS on this port",
            f"amqp://u:p@rabbit_mq:{self.broker.tls_port}/": "the server does not speak AMQP on this port, but TLS",
            f"amqps://localhost:{noise}/": "the server does not speak TLS on this port",
            f"amqp://u:p@localhost:{noise}/": "the server does not speak AMQP on this port",
            f"amqp://u:p@localhost:{closed}/": "It had sent nothing",
        }

    async def test_next_address(self) -> None:
        """Each is one line in the log, and the last address of the list is used."""
        bad = self.addresses()
        gateway = self.start_with_names(RMQ_URL=",".join([*bad, self.broker.url]))
        await gateway.ready()
        for connection in ("publish", "consume"):
            lines = [
                line
                for line in gateway.log
                if line["level"] == "warn" and f"connection {connection}:" in line["message"]
            ]
            self.assertEqual(len(lines), len(bad), "\n".join(gateway.lines))
            for line, reason in zip(lines, bad.values(), strict=True):
                self.assertIn(reason, line["reason"])
        await self.stop(gateway)

    async def test_check(self) -> None:
        """--check --connect tries them in the same order, says the same, and is content: one address can be used."""
        bad = self.addresses()
        check = self.start_with_names(
            "--check", "--connect", RMQ_URL=",".join([*bad, self.broker.url, "amqp://rabbit_mq:1"])
        )
        self.assertEqual(await check.when_ended(), 0)
        lines = [line for line in check.lines if line.startswith("broker ")]
        self.assertEqual(len(lines), len(bad) + 1)
        for line, reason in zip(lines, bad.values(), strict=False):
            self.assertIn(": FAILED: ", line)
            self.assertIn(reason, line)
        self.assertEqual(lines[-1], f"broker {self.broker.url}: connected")
        self.assertEqual(check.errors, "")

    async def test_no_agreement(self) -> None:
        """A broker that takes passwords only, and no user in RMQ_URL: both sides' mechanisms, in log and check."""
        own = (certificates() / "broker_cert.pem").read_bytes() + (certificates() / "broker_key.pem").read_bytes()
        ca = ssl.Certificate.loadPEM((certificates() / "cacert.pem").read_bytes())
        broker = Broker({"demo": "demo"}, reactor)
        port = self.listen(broker, "127.0.0.1", ssl.PrivateCertificate.loadPEM(own).options(ca))
        expected = "the broker offers PLAIN, we offer EXTERNAL (RMQ_URL has no user, and MQ_CERT is set): put user and"
        gateway = self.start(RMQ_URL=f"amqps://localhost:{port}/vhost")
        await gateway.logged(expected)
        check = self.start("--check", "--connect", RMQ_URL=f"amqps://localhost:{port}/vhost")
        self.assertEqual(await check.when_ended(), 1)
        self.assertIn(expected, "\n".join(check.lines))
        await self.stop(gateway)
        external = Broker({"demo": "demo"}, reactor, common_name)
        external._login.mechanisms = "EXTERNAL"
        port = self.listen(external, "127.0.0.1", ssl.PrivateCertificate.loadPEM(own).options(ca))
        check = self.start("--check", "--connect", RMQ_URL=f"amqps://demo:hush-hush@localhost:{port}/")
        self.assertEqual(await check.when_ended(), 1)
        self.assertIn("the broker offers EXTERNAL, we offer PLAIN (RMQ_URL has a user)", "\n".join(check.lines))
        self.assertNotIn("hush-hush", "\n".join(check.lines) + check.errors)


class IPv6Tests(HostsTestCase):
    """``::1`` on every side."""

    async def served(self, gateway: Gateway, model_port: int) -> None:
        """Have a request served by a gateway on ``::1``, whose certificate is checked for that address."""
        line = await gateway.logged("https listener")
        self.assertEqual(line["message"], f"https listener on [::1]:{line['port']}")
        admin = await gateway.logged("admin listener")
        self.assertEqual(admin["message"], f"admin listener on [::1]:{admin['port']}")
        status, out, err = await self.curl(
            *("--cacert", "cacert.pem", "--no-insecure", "-g", "-w", "%{http_code}", "-d", "[1]"),
            *("-H", "Content-Type: application/json", "-H", "routing-key: predict.now"),
            f"https://[::1]:{line['port']}/v1/predict",
        )
        self.assertEqual((status, out), (0, "[1]200"), err)
        status, out, err = await self.curl("-g", f"http://[::1]:{admin['port']}/health/ready")
        self.assertEqual(status, 0, err)
        self.assertIn("OK", out)
        self.assertEqual(self.model.requests[-1][1]["host"], f"[::1]:{model_port}")

    async def test_tls(self) -> None:
        """The broker by amqps and the model by https, both with ``::1`` in the certificate; listeners with brackets."""
        model_port = self.model_over_tls(x509.IPAddress(ip_address("::1")), interface="::1")
        gateway = self.start(
            RMQ_URL=f"amqps://[::1]:{self.forward(self.broker.tls_port)}/",
            MODEL_URL=f"https://[::1]:{model_port}/predict",
            MODEL_CACERT=str((self.folder / "model_ca.pem").resolve()),
            HTTP_ADDR="[::1]",
            ADMIN_ADDR="[::1]",
            ACCESS_LOG="access.log",
        )
        await gateway.ready()
        await self.served(gateway, model_port)
        self.assertIn('"status": 200', (self.folder / "access.log").read_text())
        await self.stop(gateway)

    async def test_workers(self) -> None:
        """Two workers; the broker by amqp, the model by MODEL_HOST_ENV and MODEL_PORT, by http."""
        site = Site(self.model)
        site.noisy = False
        model_port = self.listen(site)
        gateway = self.start(
            RMQ_URL=self.broker.plain_url.replace(
                f"127.0.0.1:{self.broker.port}", f"[::1]:{self.forward(self.broker.port)}"
            ),
            MODEL_URL="",
            MODEL_HOST_ENV="fib_service_host",
            FIB_SERVICE_HOST="::1",
            MODEL_PORT=str(model_port),
            HTTP_ADDR="::1",
            ADMIN_ADDR="::1",
            WORKERS="2",
        )
        await gateway.ready()
        await self.served(gateway, model_port)
        await self.stop(gateway)

    async def test_address_in_use(self) -> None:
        """A port of ``::1`` that is taken ends the start with one line, which has the address in brackets."""
        port = self.listen(Factory())
        for variables in (
            {"ADMIN_ADDR": "::1", "ADMIN_PORT": str(port)},
            {"WORKERS": "2", "HTTP_ADDR": "::1", "HTTP_PORT": str(port)},
        ):
            gateway = self.start(**variables)
            self.assertEqual(await gateway.when_ended(), 1)
            self.assertIn(f"[::1]:{port}", gateway.errors)
            self.assertEqual(gateway.errors.count("\n"), 1, gateway.errors)

    async def test_sample_model(self) -> None:
        """The sample model on ``::1`` prints its URL with brackets, and answers there."""
        command = [sys.executable, "-m", "provider_gateway.demo.sample_model", "--port", "0", "--address", "[::1]"]
        model = Process.start(self, command, {"PATH": "/usr/bin:/bin"})
        await model.when(lambda: model.lines)
        self.assertRegex(model.lines[0], r"^http://\[::1\]:\d+/predict$")
        status, out, err = await self.curl(
            "-g", "-H", "Content-Type: application/json", "-d", '{"data": [5]}', model.lines[0]
        )
        self.assertEqual((status, out), (0, '{"result": 3}'), err)
