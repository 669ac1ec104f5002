"""The network policies allow what is needed, and nothing else: every flow between every two pods is tried."""

from __future__ import annotations

from collections.abc import Iterator  # noqa: TC003 - in an annotation of a test's helper

from twisted.trial.unittest import SynchronousTestCase

from tests.deployment.components import selector_of
from tests.deployment.manifests import ROOT, World, component_of, documents, plain_objects, pod, worlds
from tests.deployment.network import EVERY_POD, OUTSIDE, PROMETHEUS, Peer, allowed, flows, matches


class NetworkTests(SynchronousTestCase):
    """All flows of each deployment variant."""

    def test_flows(self) -> None:
        """Exactly the expected flows are allowed."""
        for world in worlds():
            self.assertEqual(set(flows(world)), set(self.expected(world)), world.name)

    def expected(self, world: World) -> Iterator[tuple[str, str, int, str]]:
        """The expected flows."""
        everything = (*world.components, "rabbitmq", "model")
        for component in everything:
            for dns in ("openshift-dns", "kube-system"):
                for protocol in ("TCP", "UDP"):
                    yield component, dns, 53, protocol
                    yield component, dns, 5353, protocol
        anybody = [peer.name for peer in OUTSIDE] if world.name.startswith("kubernetes") else ["the router"]
        for component in world.components:
            yield component, "rabbitmq", 5671, "TCP"
            for monitoring in PROMETHEUS:
                yield monitoring, component, 5080, "TCP"
            if component != "provider":
                for peer in anybody:
                    yield peer, component, 5050, "TCP"
            if component != "gateway":
                yield component, "model", 8080, "TCP"
        for port in (5671, 15671):
            yield "an initiator", "rabbitmq", port, "TCP"
        for monitoring in PROMETHEUS:
            yield monitoring, "rabbitmq", 15692, "TCP"
        for port in (4369, 25672):
            yield "rabbitmq", "rabbitmq", port, "TCP"

    def test_postgresql(self) -> None:
        """The policy for PostgreSQL lets gateways out to its port, and nobody else."""
        self.check_way_out("postgresql", 5432)

    def test_webhooks(self) -> None:
        """The policy for webhooks lets gateways out to HTTPS, and nobody else."""
        self.check_way_out("webhooks", 443)

    def test_traces(self) -> None:
        """The policy for traces lets gateways and providers out to the port of OTLP over HTTP, and nobody else."""
        self.check_way_out("traces", 4318, "provider")

    def check_way_out(self, folder: str, port: int, *more: str) -> None:
        """Check that an optional policy lets gateways, and components that are named, out to one port."""
        (policy,) = documents(ROOT / folder / "network-policy.yaml")
        for world in worlds():
            policies = [policy, world.named("NetworkPolicy", "provider-gateway-default-deny")]
            for workload in world.workloads():
                source = Peer("", tuple(pod(workload)["metadata"]["labels"].items()))
                way_out = {(port, "TCP")} if component_of(workload) in {"single", "gateway", *more} else set()
                for target in OUTSIDE:
                    self.assertEqual(allowed(policies, "egress", source, target), way_out, target.name)

    def test_every_pod_is_under_the_default(self) -> None:
        """The default-deny policy selects all our pods, in both directions, and no other pods."""
        for world in worlds():
            spec = world.named("NetworkPolicy", "provider-gateway-default-deny")["spec"]
            self.assertEqual(spec.keys(), {"podSelector", "policyTypes"})
            self.assertEqual(set(spec["policyTypes"]), {"Ingress", "Egress"})
            for workload in world.workloads():
                self.assertTrue(matches(spec["podSelector"], tuple(pod(workload)["metadata"]["labels"].items())))
            for peer in OUTSIDE:
                self.assertFalse(matches(spec["podSelector"], peer.labels), peer.name)

    def test_selectors_are_narrow(self) -> None:
        """Policies select pods by application and component, even where a wider selector would allow the same flows."""
        ours = {"app.kubernetes.io/name", "app.kubernetes.io/component"}
        for file, each in plain_objects():
            if each["kind"] != "NetworkPolicy" or each["metadata"]["name"] in EVERY_POD:
                continue
            spec = each["spec"]
            peers = [peer for rule in spec.get("ingress", []) for peer in rule.get("from", [])]
            peers += [peer for rule in spec.get("egress", []) for peer in rule.get("to", [])]
            for selector in (spec["podSelector"], *(peer["podSelector"] for peer in peers if "podSelector" in peer)):
                keys = {
                    *selector.get("matchLabels", {}),
                    *(each["key"] for each in selector.get("matchExpressions", [])),
                }
                self.assertIn(keys, [ours, ours | {"app.kubernetes.io/instance"}, {"rabbitmq-client"}], file)

    def test_policies_are_of_one_component(self) -> None:
        """A component's policy selects only its pods, covers both directions, and has the workload's name."""
        for world in worlds():
            names = {component_of(each): each["metadata"]["name"] for each in world.workloads()}
            policies = {component_of(each): each for each in world.kind("NetworkPolicy") if component_of(each)}
            self.assertEqual({key: each["metadata"]["name"] for key, each in policies.items()}, names)
            for component, policy in policies.items():
                self.assertEqual(policy["spec"]["podSelector"], {"matchLabels": selector_of(str(component))})
                self.assertEqual(policy["spec"]["policyTypes"], ["Ingress", "Egress"])
