"""The walk of docs/parking.md: every command, with its output, on a node with the shipped configuration and rights."""

from __future__ import annotations

import json
import os
import re
import ssl
import sys
from pathlib import Path
from typing import Any

import pika
import yaml
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from twisted.web.server import Site

from devtools.ports import free_ports
from provider_gateway.demo.certificates import add_caller, make_certificates
from tests.support.certificates import http_variables, mq_variables
from tests.support.documented_commands import Step, Terminal, steps
from tests.support.folders import ROOT
from tests.support.model_server import ModelServer
from tests.support.processes import TWISTD, Gateway
from tests.support.shipped_broker import ShippedBroker

PAGE = ROOT / "docs/parking.md"
#: The page's host; the test puts its own address in its place.
HOST = "https://mlx.apps.example.org"
MESSAGES, HANGING, BAD = 300, 12, 5
#: Stands for OpenShift: a shell in a pod is one here, and a restarted model is mended.
OC = """#!/bin/sh
case "$1 $2" in
"rsh deployment/provider-gateway") ;;
"rollout restart") touch mended; echo "deployment.apps/model restarted" ;;
*) echo "oc: unexpected: $*" >&2; exit 1 ;;
esac
"""
#: The test's terminal is a pipe: it asks for what a terminal gets.
COMMAND = """#!/bin/sh
case "$2" in list|show|replay|drop) set -- "$@" --output table ;; esac
exec {program} "$@"
"""


class WalkTests(TestCase):
    """300 messages that a broken model has failed on."""

    timeout = 240

    async def setUp(self) -> None:
        self.make_folder()
        self.node = ShippedBroker(self.folder / "broker", self.certificates)
        await deferToThread(self.node.start)
        self.addCleanup(deferToThread, self.node.stop)
        self.https, admin = free_ports(2)
        self.environment = self.variables(self.serve_model(), admin)
        command = [TWISTD, "-n", "--pidfile=", "provider-gateway"]
        gateway: Gateway = Gateway.start(self, command, self.environment, self.folder)
        self.gateway = await gateway.ready()
        self.terminals: dict[str, Terminal] = {}

    def make_folder(self) -> None:
        """The folder of a clone: certificates, and the programs that commands call."""
        self.folder = Path(self.mktemp()).resolve()
        self.certificates = self.folder / "certs-example/out"
        make_certificates(self.certificates, 1, keep_key=True)
        add_caller(self.certificates, "ann")
        program = Path(sys.executable).with_name("provider-gateway")
        (self.folder / "bin").mkdir()
        for name, text in (("oc", OC), ("provider-gateway", COMMAND.format(program=program))):
            (self.folder / "bin" / name).write_text(text)
            (self.folder / "bin" / name).chmod(0o755)

    def serve_model(self) -> str:
        """A model that has no memory left, or does not answer, until it is restarted; then it has one bug."""

        def answer(body: bytes) -> Any:
            number = json.loads(body)["n"]
            if not (self.folder / "mended").exists():
                return (500, b'{"error": "CUDA out of memory"}') if number % 25 else Deferred()
            return (500, b'{"error": "division by zero"}') if number % 60 == 7 else (200, b'{"ok": true}')

        model = ModelServer()
        model.answer = answer
        port: Any = reactor.listenTCP(0, Site(model), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return f"http://127.0.0.1:{port.getHost().port}/predict"

    def variables(self, model: str, admin: int) -> dict[str, str]:
        """The environment of the pod."""
        shipped = yaml.safe_load((ROOT / "openshift/common/queue-file.yaml").read_text())
        (entry,) = yaml.safe_load(shipped["data"]["queue_config.yaml"])
        # Nobody waits five minutes for the messages to be parked.
        entry |= {"maxAttempts": 2, "retryDelay": 500}
        (self.folder / "queues.yaml").write_text(yaml.safe_dump([entry]))
        return {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.folder / "home"),
            "LANG": "C.UTF-8",
            "COLUMNS": "140",
            "RMQ_URL": self.node.url,
            **mq_variables(self.certificates),
            **http_variables(self.certificates),
            "HTTP_ACCESS": str(ROOT / "conf/access.yaml"),
            "HTTP_ADDR": "127.0.0.1",
            "HTTP_PORT": str(self.https),
            "ADMIN_PORT": str(admin),
            "QUEUES_CONF": str(self.folder / "queues.yaml"),
            "MODEL_URL": model,
            "MODEL_TIMEOUT": "1",
        }

    def channel(self) -> Any:
        """A channel of an initiator."""
        context = ssl.create_default_context(cafile=str(self.certificates / "cacert.pem"))
        context.load_cert_chain(self.certificates / "client_cert.pem", self.certificates / "client_key.pem")
        parameters = pika.ConnectionParameters(
            "localhost",
            self.node.tls_port,
            ssl_options=pika.SSLOptions(context, "localhost"),
            credentials=pika.credentials.ExternalCredentials(),
        )
        connection = pika.BlockingConnection(parameters)
        self.addCleanup(deferToThread, connection.close)
        return connection.channel()

    def publish(self) -> None:
        """Last night."""
        channel = self.channel()
        channel.confirm_delivery()
        for number in range(MESSAGES):
            properties = pika.BasicProperties(
                content_type="application/json",
                delivery_mode=2,
                message_id=f"order-{number}",
                user_id="initiator",
                headers={"RqUID": f"{number:08d}"},
            )
            channel.basic_publish(
                "ML.MQ", "predict.now", json.dumps({"n": number}).encode(), properties, mandatory=True
            )

    def replies(self, count: int) -> list[bytes]:
        """This many replies to the initiator."""
        found = []
        for method, _properties, body in self.channel().consume("response", auto_ack=True, inactivity_timeout=20):
            if method is None:
                break
            found.append(body)
            if len(found) == count:
                break
        return found

    async def run_step(self, step: Step) -> None:
        """Run one command of the page."""
        if step.terminal not in self.terminals:
            self.terminals[step.terminal] = Terminal.open(self, self.environment, self.folder)
        command = step.command.replace(HOST, f"https://localhost:{self.https}")
        wrong = await self.terminals[step.terminal].run(Step(step.terminal, command, step.output))
        if wrong is not None:
            self.fail(f"{step.terminal}$ {command}\nexpected:\n" + "\n".join(step.output) + f"\nfound:\n{wrong}")

    async def test_walk(self) -> None:
        """Every command does what the page shows. At the end all but the bad messages have their result."""
        await deferToThread(self.publish)
        await self.gateway.when(lambda: sum("parked in" in line for line in self.gateway.lines) == MESSAGES)
        section = re.search(r"^## Last night.*?(?=^## (?!Last night)|\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
        assert section is not None
        for step in steps(section[0]):
            await self.run_step(step)
        # An error each when they were parked, and what came of the replay.
        found = await deferToThread(self.replies, 2 * MESSAGES)
        self.assertEqual(sum(body == b'{"ok": true}' for body in found), MESSAGES - BAD)
        self.assertEqual(len(found), 2 * MESSAGES)
