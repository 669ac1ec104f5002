"""The single container's environment against a real RabbitMQ with the config map's configuration and rights."""

from __future__ import annotations

import json
import re
import ssl
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pika
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.deployment.manifests import ROOT, containers, documents, environment, processed
from tests.support.certificates import certificates, http_variables, mq_variables
from tests.support.processes import TWISTD, Gateway, Process
from tests.support.shipped_broker import LEFT_OUT, SINCE, ShippedBroker, shipped_files


class BrokerTests(TestCase):
    """One node, one process with both roles, one model."""

    timeout = 120

    def test_serves_with_the_rights_that_it_has(self) -> Deferred[None]:
        """Everything is declared, a request is answered, an initiator gets its reply, and no other client gets in."""
        return Deferred.fromCoroutine(self.serve())

    async def serve(self) -> None:
        """Gateway, provider and initiator on one node of the broker."""
        node = ShippedBroker(self.folder(), certificates())
        await deferToThread(node.start)
        self.addCleanup(deferToThread, node.stop)
        gateway = await (await self.start_gateway(node)).ready()
        await self.check_curl(gateway)
        await deferToThread(self.check_initiator, node)
        await deferToThread(self.check_nobody_else, node)
        await deferToThread(self.check_metrics, node)
        await deferToThread(self.check_commands, node)

    def folder(self) -> Path:
        """The absolute path of a new folder."""
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        return folder

    async def start_gateway(self, node: ShippedBroker) -> Gateway:
        """The process with the pod's arguments and environment; files and hosts are those of this machine."""
        model: Process = Process.start(
            self, [sys.executable, "-m", "provider_gateway.demo.sample_model", "--port", "0"], {"PATH": "/usr/bin:/bin"}
        )
        url = await model.when(lambda: next(iter(model.lines), None))
        container = containers(processed("single")[0])[0]
        folder = self.folder()
        (folder / "queue_config.yaml").write_text(
            documents(ROOT / "common/queue-file.yaml")[0]["data"]["queue_config.yaml"]
        )
        here = environment(container) | {
            "PATH": "/usr/bin:/bin",
            "RMQ_URL": node.url,
            "MODEL_URL": url,
            "HTTP_PORT": "0",
            "ADMIN_PORT": "0",
            "QUEUES_CONF": str(folder / "queue_config.yaml"),
            **mq_variables(certificates()),
            **http_variables(certificates()),
        }
        command = [TWISTD, "-n", "--pidfile=", "provider-gateway", *container["args"]]
        gateway: Gateway = Gateway.start(self, command, here, folder)
        return gateway

    async def check_curl(self, gateway: Gateway) -> None:
        """The request of docs/openshift.md is answered."""
        made, port = certificates(), await gateway.port("https")
        names = ["--cacert", "cacert.pem", "--cert", "client_cert.pem", "--key", "client_key.pem"]
        arguments = [str(made / each) if each.endswith(".pem") else each for each in names]
        headers = ["-H", "Content-Type: application/json", "-H", "routing-key: predict.now", "-H", "RqUID: 52-52-52-52"]
        request = ["-d", '{"data": "[29, 29]"}', f"https://localhost:{port}/v1/predict"]
        out, err, status = await getProcessOutputAndValue("/usr/bin/curl", ["-sS", *arguments, *headers, *request], {})
        self.assertEqual((status, out), (0, b'{"result": 500938}'), err)

    def connect(self, node: ShippedBroker, credentials: Any, certificate: str | None) -> Any:
        """An AMQP connection, with or without a client certificate."""
        made = certificates()
        context = ssl.create_default_context(cafile=str(made / "cacert.pem"))
        if certificate is not None:
            context.load_cert_chain(made / f"{certificate}_cert.pem", made / f"{certificate}_key.pem")
        options = pika.SSLOptions(context, "localhost")
        parameters = pika.ConnectionParameters("localhost", node.tls_port, ssl_options=options, credentials=credentials)
        return pika.BlockingConnection(parameters)

    def check_initiator(self, node: ShippedBroker) -> None:
        """An initiator with its own certificate publishes and gets the reply, but has no rights on our queues."""
        connection = self.connect(node, pika.credentials.ExternalCredentials(), "client")
        channel = connection.channel()
        own = channel.queue_declare("", exclusive=True).method.queue
        channel.confirm_delivery()
        properties = pika.BasicProperties(content_type="application/json", correlation_id="1", reply_to=own)
        channel.basic_publish("ML.MQ", "predict.now", b'{"data": [29, 29]}', properties, mandatory=True)
        _, _, body = next(channel.consume(own, inactivity_timeout=20))
        self.assertEqual(json.loads(body), {"result": 500938})
        channel.cancel()
        for refused in (
            lambda c: c.basic_get("fib.parking"),
            lambda c: c.queue_delete("fib"),
            lambda c: c.queue_purge("fib"),
        ):
            error = self.assertRaises(pika.exceptions.ChannelClosedByBroker, refused, connection.channel())
            self.assertEqual(error.reply_code, 403)
        connection.close()

    def check_nobody_else(self, node: ShippedBroker) -> None:
        """A password, no certificate, or a certificate whose name is not a user's: none opens a connection."""
        external = pika.credentials.ExternalCredentials()
        for credentials, certificate in (
            (pika.PlainCredentials("guest", "guest"), "client"),
            (external, None),
            (external, "model"),
        ):
            with self.assertRaises(Exception) as caught:
                self.connect(node, credentials, certificate)
            self.assertNotIsInstance(caught.exception, AssertionError)

    def check_metrics(self, node: ShippedBroker) -> None:
        """The broker exports the length of each queue, by the metric name in the scaled object's query."""
        name = re.compile(r'^rabbitmq_queue_messages_ready\{[^}]*queue="fib"', re.MULTILINE)
        until = time.monotonic() + 30
        # The broker counts every few seconds, and sends no event.
        while not self.has_metric(node, name):
            self.assertLess(time.monotonic(), until, "the broker does not export it")
            time.sleep(0.5)

    def has_metric(self, node: ShippedBroker, name: re.Pattern[str]) -> bool:
        """True if the broker exports it now."""
        with urllib.request.urlopen(f"http://localhost:{node.metrics_port}/metrics") as answer:
            return name.search(answer.read().decode()) is not None

    def check_commands(self, node: ShippedBroker) -> None:
        """The probes' commands succeed; after the preStop command, the readiness probe fails."""
        container = containers(documents(ROOT / "rabbitmq/stateful-set.yaml")[0])[1]
        command = container["readinessProbe"]["exec"]["command"]
        for each in (container["livenessProbe"]["exec"]["command"], command):
            ran = node.run(each)
            self.assertEqual(ran.returncode, 0, ran.stdout + ran.stderr)
        for line in container["lifecycle"]["preStop"]["exec"]["command"][2].split("; ")[:-1]:
            ran = node.run(line.split())
            self.assertEqual(ran.returncode, 0, ran.stdout + ran.stderr)
        self.assertNotEqual(node.run(command).returncode, 0)


def settings_of(text: str) -> dict[str, str]:
    """The settings of a rabbitmq.conf."""
    return dict(line.split(" = ") for line in text.splitlines() if " = " in line and not line.startswith("#"))


class FilesTests(SynchronousTestCase):
    """The files of the node that this test and others start."""

    def setUp(self) -> None:
        self.node = ShippedBroker(Path(self.mktemp()), certificates())
        self.node.configure()
        self.files = shipped_files()

    def here(self, name: str) -> str:
        """A file of the node."""
        return (self.node.folder / name).read_text()

    def test_users_and_plugins(self) -> None:
        """Users, rights and plugins are the shipped ones, byte for byte."""
        self.assertEqual(self.here("definitions.json"), self.files["definitions.json"])
        self.assertEqual(self.here("enabled_plugins"), self.files["enabled_plugins"])

    def test_settings(self) -> None:
        """The configuration lacks only the listed lines, adds none, and changes only ports and paths."""
        shipped, here = settings_of(self.files["rabbitmq.conf"]), settings_of(self.here("rabbitmq.conf"))
        listed = settings_of("\n".join([*LEFT_OUT, *SINCE]))
        self.assertLessEqual(listed.items(), shipped.items())
        newer = [line for line, since in SINCE.items() if self.node.version() < since]
        self.assertEqual(shipped.keys() - here.keys(), settings_of("\n".join([*LEFT_OUT, *newer])).keys())
        self.assertEqual(here.keys() - shipped.keys(), set())
        changed = {key for key in here if here[key] != shipped[key]}
        for key in changed:  # a port, or a file elsewhere
            self.assertRegex(shipped[key], r"^(5671|15671|15692|/certs/rabbitmq/.*|/etc/rabbitmq/.*)$", key)
            self.assertRegex(here[key], r"^\d+$" if shipped[key].isdigit() else r"^/.+\.(pem|json)$", key)
