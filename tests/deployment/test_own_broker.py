"""A broker of one's own: no RabbitMQ, connections to the broker's address alone, and no password in a Deployment."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator  # noqa: TC003 - in an annotation of a test's helper
from dataclasses import replace
from pathlib import Path

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.deployment.kustomize import build
from tests.deployment.manifests import ROLES, World, component_of, containers, own_broker_worlds, parameters, templates
from tests.deployment.network import OUTSIDE, PROMETHEUS, Peer, flows
from tests.deployment.overlays import OWN_BROKER, with_optional_components
from tests.deployment.process import process
from tests.deployment.validation import validate

BROKER = Peer("the broker", (), (), "10.20.0.7")
NEIGHBOUR = Peer("its neighbour", (), (), "10.20.1.7")
#: A broker in another project of the cluster: any pod there.
MESSAGING = Peer("messaging", (("app", "rabbitmq"),), (("kubernetes.io/metadata.name", "messaging"),))
PEERS = (*OUTSIDE, BROKER, NEIGHBOUR, MESSAGING)


def policy(**given: str) -> dict:
    """The network policy of the template."""
    (made,) = process(templates()["own-broker"], parameters() | given, ignore_unknown=True)["items"]
    return dict(made)


class OwnBrokerTests(SynchronousTestCase):
    """Templates without RabbitMQ, and the overlays for a broker of one's own."""

    def test_objects(self) -> None:
        """Nothing of RabbitMQ is left: no object, no account, no volume, no name; each object is valid."""
        for world in own_broker_worlds():
            for each in world.objects:
                validate(each, world.name)
                self.assertNotEqual(component_of(each), "rabbitmq", each["metadata"]["name"])
                self.assertNotIn("rabbitmq", json.dumps(each), world.name)
            self.assertEqual({component_of(each) for each in world.workloads()}, {*world.components, "model"})

    def test_no_password(self) -> None:
        """No Deployment has the broker's URL, which may hold a password: a secret has it, and nothing else does."""
        for world in own_broker_worlds():
            for workload in world.workloads():
                if component_of(workload) not in ROLES:
                    continue
                (container,) = containers(workload)
                self.assertNotIn("RMQ_URL", json.dumps(container["env"]))
                self.assertEqual(container["envFrom"][-1]["secretRef"]["name"], "provider-gateway-broker")
            self.assertNotIn("amqp", json.dumps(world.objects))
            names = {each["metadata"]["name"] for each in world.kind("Secret", "ConfigMap")}
            self.assertNotIn("provider-gateway-broker", names)

    def test_flows_of_templates(self) -> None:
        """With BROKER_CIDR or BROKER_NAMESPACE, our pods reach the broker's port there; without, they reach none."""
        for world in own_broker_worlds()[:2]:
            others = [each for each in world.objects if each["metadata"]["name"] != "provider-gateway-broker"]
            for given, name, port in (
                ({}, None, 5671),
                ({"BROKER_CIDR": "10.20.0.7/32"}, BROKER.name, 5671),
                ({"BROKER_CIDR": "10.20.0.0/24", "BROKER_PORT": "5672"}, BROKER.name, 5672),
                ({"BROKER_NAMESPACE": "messaging"}, MESSAGING.name, 5671),
            ):
                found = set(flows(replace(world, objects=[*others, policy(**given)]), PEERS))
                self.assertEqual(found, set(self.expected(world, name, port)), f"{world.name} {given}")

    def test_flows_of_overlays(self) -> None:
        """With an address range or a namespace set in the overlay, real Kustomize gives the same flows."""
        root = with_optional_components(Path(self.mktemp()).resolve(), only=())
        for overlay, world in zip(OWN_BROKER, own_broker_worlds()[2:], strict=True):
            folder = root / f"kubernetes/overlays/{overlay}"
            file = folder / "kustomization.yaml"
            text = file.read_text()
            for old, new, name in (
                ("192.0.2.1/32", "192.0.2.1/32", None),
                ("192.0.2.1/32", "10.20.0.7/32", BROKER.name),
                ('value: ""', "value: messaging", MESSAGING.name),
            ):
                self.assertEqual(text.count(old), 1)
                file.write_text(text.replace(old, new))
                command = [str(Path(sys.executable).with_name("kubectl")), "kustomize", str(folder)]
                ran = subprocess.run(command, capture_output=True, text=True, check=True)
                for objects in (list(yaml.safe_load_all(ran.stdout)), build(folder)):
                    found = set(flows(replace(world, objects=objects), PEERS))
                    self.assertEqual(found, set(self.expected(world, name, 5671)), f"{overlay} {new}")

    def expected(self, world: World, broker: str | None, port: int) -> Iterator[tuple[str, str, int, str]]:
        """The flows that are to be allowed."""
        for component in (*world.components, "model"):
            for dns in ("openshift-dns", "kube-system"):
                for protocol in ("TCP", "UDP"):
                    yield component, dns, 53, protocol
                    yield component, dns, 5353, protocol
        anybody = [peer.name for peer in PEERS] if world.name.startswith("kubernetes") else ["the router"]
        for component in world.components:
            if broker is not None:
                yield component, broker, port, "TCP"
            for monitoring in PROMETHEUS:
                yield monitoring, component, 5080, "TCP"
            if component != "provider":
                for peer in anybody:
                    yield peer, component, 5050, "TCP"
            if component != "gateway":
                yield component, "model", 8080, "TCP"

    def test_password_login(self) -> None:
        """The component for a login by password leaves the client certificate out, and changes nothing else."""
        root = with_optional_components(Path(self.mktemp()).resolve())
        for overlay, world in zip(OWN_BROKER, own_broker_worlds()[2:], strict=True):
            built = {each["metadata"]["name"]: each for each in build(root / f"kubernetes/overlays/{overlay}")
                     if each["kind"] == "Deployment"}  # fmt: skip
            for workload in world.workloads():
                if component_of(workload) in ROLES:
                    before, after = (containers(each) for each in (workload, built[workload["metadata"]["name"]]))
                    variables = {each["name"]: each.get("value") for each in after[-1]["env"]}
                    self.assertEqual((variables["MQ_CERT"], variables["MQ_KEY"]), ("", ""))
                    for each in before[-1]["env"]:
                        if each["name"] not in {"MQ_CERT", "MQ_KEY"}:
                            self.assertIn(each, after[-1]["env"])
