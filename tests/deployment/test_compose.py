"""docker-compose.yml: a trial of the image whose names, paths and ports fit the program, the image and the broker."""

from __future__ import annotations

import re
import shlex
from typing import Any
from urllib.parse import urlsplit

import yaml
from pydantic import AliasChoices
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.queue_file import load_queues
from provider_gateway.config.settings import Settings
from provider_gateway.demo.certificates import make_certificates
from tests.deployment.image_deployment import CALL
from tests.deployment.image_dockerfile import stages
from tests.deployment.image_workload import OPENSHIFT
from tests.support.folders import ROOT, folder

OURS = ("certificates", "model", "gateway")
#: The keys of a service that docker-compose.yml uses.
KEYS = {
    *("build", "cap_drop", "command", "configs", "depends_on", "entrypoint", "environment", "healthcheck", "hostname"),
    *("image", "network_mode", "ports", "read_only", "security_opt", "stop_grace_period", "user", "volumes"),
    "working_dir",
}


def names_of_settings() -> set[str]:
    """Every variable that the program reads."""
    found = set()
    for name, each in Settings.model_fields.items():
        alias = each.validation_alias
        found |= set(map(str, alias.choices)) if isinstance(alias, AliasChoices) else {name.upper()}
    return found


def configuration(text: str) -> dict[str, str]:
    """The settings of a rabbitmq.conf."""
    lines = [line.split("=", 1) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return {name.strip(): value.strip() for name, value in lines}


class ComposeTests(SynchronousTestCase):
    """docker-compose.yml."""

    def setUp(self) -> None:
        self.text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
        self.document: dict[str, Any] = yaml.safe_load(self.text)
        self.services: dict[str, Any] = self.document["services"]
        self.gateway = self.services["gateway"]
        self.environment: dict[str, str] = self.gateway["environment"]

    def volumes(self, service: str) -> dict[str, str]:
        """Mount points, each with its folder of this repository."""
        found = {}
        for each in self.services[service].get("volumes", []):
            source, target, *_ = each.split(":")
            found[target] = source.removeprefix("./")
        return found

    def test_shape(self) -> None:
        """Services have keys that Compose knows, wait for services that exist, and use configs that exist."""
        self.assertEqual({"certificates", "rabbitmq", "model", "gateway"}, set(self.services))
        for name, service in self.services.items():
            self.assertLessEqual(set(service), KEYS, name)
            for other, how in service.get("depends_on", {}).items():
                self.assertIn(other, self.services)
                if how["condition"] == "service_healthy":
                    self.assertIn("healthcheck", self.services[other])
            for each in service.get("configs", []):
                self.assertIn(each["source"], self.document["configs"])
        for each in self.document["configs"].values():
            self.assertTrue("content" in each or (ROOT / each["file"]).is_file(), each)

    def test_restricted(self) -> None:
        """The image runs read-only and without new privileges; gateway and model run as an unnamed user of group 0."""
        for name in OURS:
            service = self.services[name]
            self.assertEqual((".", True), (service["build"], service["read_only"]), name)
            self.assertEqual(["no-new-privileges:true"], service["security_opt"], name)
            if name != "certificates":
                self.assertEqual(["ALL"], service["cap_drop"], name)
                self.assertRegex(service["user"], r"^\d{5,}:0$", name)

    def test_variables(self) -> None:
        """Every variable is one that the program reads; their values are valid."""
        self.assertLessEqual(set(self.environment), names_of_settings())
        Settings(_env_file=None, **{name.lower(): value for name, value in self.environment.items()})  # type: ignore[call-arg]

    def test_certificates(self) -> None:
        """Each certificate that gateway and broker read is one that the script makes, in the folder that they mount."""
        made = folder() / "compose-certificates"
        make_certificates(made)
        files = {path.name for path in made.iterdir()}
        self.assertEqual({"/certs-example": "certs-example"}, self.volumes("certificates"))
        self.assertTrue((ROOT / "certs-example/make_certs.py").is_file())
        self.assertIn("make_certs.py out", self.services["certificates"]["command"][0])
        paths = [value for name, value in self.environment.items() if re.search(r"_(CACERT|CERT|KEY)$", name)]
        self.assertEqual(6, len(paths))
        broker = configuration(self.document["configs"]["rabbitmq_conf"]["content"])
        for service, named in (("gateway", paths), ("rabbitmq", [v for v in broker.values() if v.endswith(".pem")])):
            for path in named:
                where, _, name = path.rpartition("/")
                self.assertEqual("certs-example/out", self.volumes(service)[where], path)
                self.assertIn(name, files)

    def test_queue_file(self) -> None:
        """The queue file is where the variable says, and is valid."""
        where, _, name = self.environment["QUEUES_CONF"].rpartition("/")
        load_queues(ROOT / self.volumes("gateway")[where] / name)

    def test_addresses(self) -> None:
        """Broker and model have the names of services, and the ports that these listen on."""
        broker, model = (urlsplit(self.environment[name]) for name in ("RMQ_URL", "MODEL_URL"))
        listens = configuration(self.document["configs"]["rabbitmq_conf"]["content"])["listeners.ssl.default"]
        self.assertEqual(("amqps", "rabbitmq", int(listens)), (broker.scheme, broker.hostname, broker.port))
        self.assertIn(listens, self.services["rabbitmq"]["healthcheck"]["test"])
        command = self.services["model"]["command"]
        self.assertEqual(("model", int(command[command.index("--port") + 1])), (model.hostname, model.port))
        self.assertIn("0.0.0.0", command)

    def test_ports(self) -> None:
        """The ports that the image exposes are published on this machine only."""
        exposed = stages(ROOT / "Dockerfile")[-1].only("EXPOSE").split()
        self.assertEqual([f"127.0.0.1:{port}:{port}" for port in exposed], self.gateway["ports"])
        self.assertIn(f"http://localhost:{exposed[1]}/health/ready", self.gateway["healthcheck"]["test"][-1])

    def test_time_to_stop(self) -> None:
        """Compose waits longer than the gateway drains."""
        seconds = int(self.gateway["stop_grace_period"].removesuffix("s"))
        self.assertGreater(seconds, Settings.model_fields["drain_timeout"].default)

    def test_broker(self) -> None:
        """The broker is configured like conf/rabbitmq.conf, and has the version of the stateful set."""
        ours = configuration(self.document["configs"]["rabbitmq_conf"]["content"])
        given = configuration((ROOT / "conf/rabbitmq.conf").read_text(encoding="utf-8"))
        moved = {
            name: re.sub(r"^/etc/rabbitmq/(\w+\.pem)$", r"/certs/rabbitmq/\1", each) for name, each in given.items()
        }
        self.assertEqual(moved, ours)
        self.assertIn("rabbitmq_auth_mechanism_ssl", self.document["configs"]["rabbitmq_plugins"]["content"])
        manifest = yaml.safe_load((OPENSHIFT / "rabbitmq/stateful-set.yaml").read_text(encoding="utf-8"))
        (image,) = {each["image"] for each in manifest["spec"]["template"]["spec"]["containers"]}
        self.assertEqual(image.rpartition("/")[2].removesuffix("-management"), self.services["rabbitmq"]["image"])

    def test_call(self) -> None:
        """The call in the comment is the one that the tests of the image make."""
        comment = "\n".join(line.removeprefix("#") for line in self.text.splitlines() if line.startswith("#"))
        found = re.search(r"curl (.+?https://\S+)", comment.replace("\\\n", " "), re.DOTALL)
        assert found is not None
        words = shlex.split(found[1])
        exposed = stages(ROOT / "Dockerfile")[-1].only("EXPOSE").split()
        self.assertEqual([*CALL, f"https://localhost:{exposed[0]}/v1/predict"], words)
