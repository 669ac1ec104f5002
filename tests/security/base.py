"""The base of the security tests: a gateway process that classes with the same settings share, a model, clients."""

from __future__ import annotations

import atexit
import contextlib
import http.client
import json
import uuid
from typing import TYPE_CHECKING, Any, ClassVar

import pika
import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.security.certificates import caller, server, trusted_file
from tests.security.client import Connection, Response, get, post, tls_for
from tests.security.model import Model
from tests.security.processes import PATIENCE, GatewayProcess
from tests.support.certificates import certificates, mq_variables
from tests.support.folders import ROOT, folder
from tests.support.rabbitmq import delete_result_objects, shared_broker

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from tests.support.certificates import Holder


class Deployment:
    """A running gateway with its model, and its own exchange and queues.

    Args:
        test_class: the test class whose settings it has.

    Attributes:
        folder: the folder of the gateway's files.
        access_log: the gateway's access log.
        first_lines: the number of lines that the gateway had written when it was ready.
        checked: the number of log lines already searched for failures.
    """

    def __init__(self, test_class: type[SecurityTestCase]) -> None:
        self.test_class = test_class
        name = uuid.uuid4().hex[:8]
        self.folder = folder() / f"security-{name}"
        self.folder.mkdir()
        self.access_log = self.folder / "access.log"
        self.exchange, self.queue, self.output = f"test.{name}", f"in.{name}", f"out.{name}"
        self.model = Model()
        self.checked = 0
        self.tls = tls_for(caller(), self.folder)
        self._environment = self._make_environment()
        self.gateway = self.run(*test_class.arguments)
        try:
            self.gateway.ready()
        except AssertionError:
            self.gateway.stop()
            raise
        self.first_lines = len(self.gateway.lines)

    def _make_environment(self) -> dict[str, str]:
        """The environment of the gateway; it listens on free ports."""
        cert, key = self.folder / "server_cert.pem", self.folder / "server_key.pem"
        server().write(cert, key)
        return {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "RMQ_URL": shared_broker().url,
            **mq_variables(certificates()),
            "HTTP_ADDR": "127.0.0.1",
            "HTTP_PORT": "0",
            "HTTP_CERT": str(cert),
            "HTTP_KEY": str(key),
            "HTTP_CACERT": str(trusted_file()),
            "ADMIN_ADDR": "127.0.0.1",
            "ADMIN_PORT": "0",
            "MODEL_URL": self.model.url,
            "ACCESS_LOG": str(self.access_log),
            **self.test_class.variables(self),
        }

    def run(self, *arguments: str, **variables: str) -> GatewayProcess:
        """Start ``provider-gateway`` with the settings of the test class and these variables."""
        entry = {
            "topic": self.exchange,
            "queueName": self.queue,
            "bindingKey": ["predict.*", "other.#"],
            "replyTo": self.output,
        }
        self.entries = self.test_class.entries(self, entry)
        queues = self.folder / "queues.yaml"
        queues.write_text(yaml.safe_dump(self.entries), encoding="utf-8")
        return GatewayProcess(["--queues", str(queues), *arguments], {**self._environment, **variables}, self.folder)

    def accesses(self) -> list[dict[str, Any]]:
        """The lines of the access log that are whole."""
        whole = self.access_log.read_text(encoding="utf-8").rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def end(self) -> None:
        """End the gateway, and remove its queues."""
        atexit.unregister(self.end)
        status = self.gateway.stop()
        self.model.close()
        with channel() as opened:
            opened.queue_delete(self.output)
            delete_result_objects(opened, self.output)
            opened.exchange_delete(self.exchange)
            for name in (entry["queueName"] for entry in self.entries):
                for queue in (name, f"{name}.retry", f"{name}.parking"):
                    opened.queue_delete(queue)
                opened.exchange_delete(f"{name}.return")
        assert status == 0, f"exit status {status}:\n{self.gateway.output[-3000:]}"


@contextlib.contextmanager
def channel() -> Iterator[Any]:
    """A channel of a plain, blocking connection to the broker."""
    connection = pika.BlockingConnection(pika.URLParameters(shared_broker().plain_url))
    try:
        opened = connection.channel()
        opened.confirm_delivery()
        yield opened
    finally:
        connection.close()


class _Current:
    """Holds the running deployment; there is one at a time."""

    deployment: Deployment | None = None


def _settings_of(test_class: type[SecurityTestCase]) -> tuple[object, ...]:
    """Classes for which this is equal share a deployment."""
    return (test_class.variables.__func__, test_class.entries.__func__, test_class.arguments)


def deployment_of(test_class: type[SecurityTestCase]) -> Deployment:
    """The deployment with the settings of a class; ends a running one with other settings."""
    current = _Current.deployment
    if current is not None and _settings_of(current.test_class) == _settings_of(test_class):
        return current
    if current is not None:
        _Current.deployment = None
        current.end()
    made = _Current.deployment = Deployment(test_class)
    atexit.register(made.end)
    return made


class SecurityTestCase(SynchronousTestCase):
    """Tests that share one gateway, which must be alive and have logged no unforeseen error after each test.

    Attributes:
        arguments: command-line arguments of provider-gateway.
    """

    arguments: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def variables(cls, deployment: Deployment) -> dict[str, str]:
        """The settings that these tests need."""
        return {}

    @classmethod
    def entries(cls, deployment: Deployment, entry: dict[str, Any]) -> list[dict[str, Any]]:
        """The entries of the queue file."""
        return [entry]

    def setUp(self) -> None:
        self.deployment = deployment_of(type(self))
        self.gateway, self.model = self.deployment.gateway, self.deployment.model
        self.model.forget()
        self.log_begin = len(self.gateway.log)
        self.good: list[bytes] = []
        self.addCleanup(self._check_process)

    def _check_process(self) -> None:
        log = self.gateway.log
        failures = [
            line for line in log[self.deployment.checked :] if "traceback" in line or line["level"] == "critical"
        ]
        self.deployment.checked = len(log)
        self.assertEqual(failures, [])
        self.assertEqual(self.gateway.errors, [])
        self.assertTrue(self.gateway.is_running)

    # Actions

    def tls_of(self, holder: Holder | None, **how: Any) -> ssl.SSLContext:
        """TLS of a client with this certificate; see :func:`tls_for`."""
        return tls_for(holder, self.deployment.folder, **how)

    def connect(self, tls: ssl.SSLContext | None = None, **how: Any) -> Connection:
        """Connect to the HTTPS listener, by default with a trusted certificate."""
        connection = Connection(self.gateway.port("https"), tls or self.deployment.tls, **how)
        self.addCleanup(connection.close)
        return connection

    def connect_plainly(self) -> Connection:
        """A connection to the HTTPS listener without TLS."""
        connection = Connection(self.gateway.port("https"), None)
        self.addCleanup(connection.close)
        return connection

    def ask(self, request: bytes, holder: Holder | None = None) -> Response:
        """Send a request on a new connection; returns the response."""
        with self.connect(self.tls_of(holder) if holder is not None else None) as connection:
            return connection.ask(request)

    def admin(self, target: str) -> tuple[int, str]:
        """GET from the admin listener; returns status and text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway.port("admin"), timeout=PATIENCE)
        try:
            connection.request("GET", target)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def metric(self, name: str) -> float:
        """The value of a series, given as name with labels; 0 if there is none."""
        lines = self.admin("/metrics")[1].splitlines()
        return next(
            (float(value) for series, _, value in (line.rpartition(" ") for line in lines) if series == name), 0.0
        )

    def until_metric(self, name: str, value: float) -> None:
        """Read a series until it has this value: the gateway may count an event after the client has seen it."""
        found = self.metric(name)
        for _ in range(300):
            if found == value:
                return
            found = self.metric(name)
        self.assertEqual(found, value, name)

    def recorded(self, **wanted: object) -> dict[str, Any]:
        """The first line of the access log with these fields: the client may have its response before it is written.

        Each request on the admin listener is served after what the gateway had begun before.
        """
        for _ in range(300):
            for line in self.deployment.accesses():
                if wanted.items() <= line.items():
                    return line
            self.admin("/health")
        msg = f"the access log has no line with {wanted}"
        raise AssertionError(msg)

    def logged_since(self) -> list[dict[str, Any]]:
        """The log lines since this test began."""
        return self.gateway.log[self.log_begin :]

    # Checks

    def assert_problem(self, response: Response, status: int, problem: str) -> dict[str, Any]:
        """Check that a response is a problem document of this type, and return it."""
        document = response.problem
        self.assertEqual((response.status, document["status"]), (status, status), response)
        self.assertEqual(document["type"], f"urn:provider-gateway:problem:{problem}")
        self.assertEqual(document["rquid"], response.headers["rquid"])
        return document

    def assert_refused(self, status: int, problem: str, *requests: bytes) -> None:
        """Check that each of these requests gets one problem document, and that nothing behind it is served.

        Each is sent on a new connection, with a good request behind it, and another one after the response.
        """
        follower = post(b'{"follows": "a refused request"}')
        for request in requests:
            with self.connect() as connection:
                response = connection.ask(request + follower)
                connection.send(follower)
                rest = connection.finish()
            self.assertEqual((response.status, rest), (status, b""), request[:2000])
            self.assert_problem(response, status, problem)
            self.assertEqual(response.headers["connection"], "close", request[:2000])
        self.assert_serves()

    def assert_serves(self) -> None:
        """Check that a good request is served, and that the model got only good requests in this test."""
        self.good.append(b'{"good": "%s"}' % uuid.uuid4().hex.encode())
        response = self.ask(post(self.good[-1]))
        self.assertEqual((response.status, response.body), (200, self.good[-1]))
        self.assertEqual(self.model.bodies, self.good)

    def assert_healthy(self) -> None:
        """Check that both listeners report health."""
        self.assertEqual(self.ask(get(b"/health")).status, 200)
        self.assertEqual(self.admin("/health/ready")[0], 200)
