"""Autoscalers, disruption budgets and monitors refer to pods, ports and queues that exist."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.queue_file import parse_queues
from tests.deployment.components import WORKLOADS, selector_of, selects
from tests.deployment.manifests import ROOT, World, component_of, documents, worlds
from tests.deployment.quantities import quantity

OPENSHIFT = "openshift"


class AutoscalingTests(SynchronousTestCase):
    """Autoscalers, disruption budgets, monitors."""

    def check_target(self, world: World, target: dict[str, str], component: str) -> None:
        """Check that an object scales the workload of a component."""
        kind, name = WORKLOADS[component]
        self.assertEqual(target, {"apiVersion": "apps/v1", "kind": kind, "name": name})
        world.named(kind, name)

    def test_disruption_budgets(self) -> None:
        """Every workload has a disruption budget of one pod at a time: with less, nodes could never be upgraded."""
        for world in worlds():
            budgets = {component_of(each): each for each in world.kind("PodDisruptionBudget")}
            self.assertEqual(budgets.keys(), {component_of(each) for each in world.workloads()}, world.name)
            for component, each in budgets.items():
                self.assertEqual(each["metadata"]["name"], WORKLOADS[component][1])
                self.assertEqual(each["spec"]["selector"], {"matchLabels": selector_of(component)})
                self.assertEqual(each["spec"]["maxUnavailable"], 1)
                # A broker node that is not ready may be synchronising.
                policy = None if component == "rabbitmq" else "AlwaysAllow"
                self.assertEqual(each["spec"].get("unhealthyPodEvictionPolicy"), policy)

    def test_horizontal_pod_autoscalers(self) -> None:
        """The component with the HTTPS listener scales by CPU, from two pods on, before it uses all of its core."""
        for world in worlds():
            scalers = {component_of(each): each for each in world.kind("HorizontalPodAutoscaler")}
            expected = set(world.components) - {"provider"} if world.name.startswith(OPENSHIFT) else set()
            self.assertEqual(scalers.keys(), expected)
            for component, each in scalers.items():
                self.check_target(world, each["spec"]["scaleTargetRef"], str(component))
                self.assertEqual(each["metadata"]["name"], WORKLOADS[str(component)][1])
                self.assertEqual((each["spec"]["minReplicas"], each["spec"]["maxReplicas"]), (2, 10))
                (metric,) = each["spec"]["metrics"]
                self.assertEqual((metric["type"], metric["resource"]["name"]), ("Resource", "cpu"))
                self.assertEqual(metric["resource"]["target"]["type"], "AverageValue")
                self.assertEqual(quantity(metric["resource"]["target"]["averageValue"]), 0.6)
                # Scaling down waits: a new pod costs every caller a handshake.
                self.assertEqual(each["spec"]["behavior"], {"scaleDown": {"stabilizationWindowSeconds": 300}})

    def test_scaled_object(self) -> None:
        """The provider scales only by the length of a work queue of the queue file."""
        for world in worlds():
            found = world.kind("ScaledObject")
            self.assertEqual(len(found), int(world.name == "openshift split"))
            for each in found:
                self.check_target(world, each["spec"]["scaleTargetRef"], "provider")
                self.assertEqual((each["metadata"]["name"], component_of(each)), ("provider", "provider"))
                self.assertEqual((each["spec"]["minReplicaCount"], each["spec"]["maxReplicaCount"]), (2, 10))
                self.assertEqual((each["spec"]["pollingInterval"], each["spec"]["cooldownPeriod"]), (15, 300))
                (trigger,) = each["spec"]["triggers"]
                query = re.fullmatch(
                    r'max\(rabbitmq_queue_messages_ready\{queue="(\w+)"\}\)', trigger["metadata"]["query"]
                )
                assert query is not None
                queues = world.named("ConfigMap", "provider-gateway-queues")["data"]["queue_config.yaml"]
                self.assertIn(query[1], {entry.queue_name for entry in parse_queues(queues, "here")})
                self.assertEqual(trigger["metadata"]["authModes"], "bearer")
                self.assertEqual(trigger["metadata"]["threshold"], "50")
                server = "https://thanos-querier.openshift-monitoring.svc.cluster.local:9092"
                self.assertEqual(trigger["metadata"]["serverAddress"], server)
                self.assertEqual(trigger["metadata"]["namespace"], "provider-gateway")

    def test_scaled_object_may_read_metrics(self) -> None:
        """KEDA authenticates with a secret that the cluster fills for an account, by the keys of such secrets."""
        (world,) = (each for each in worlds() if each.name == "openshift split")
        (scaled,) = world.kind("ScaledObject")
        name = scaled["spec"]["triggers"][0]["authenticationRef"]["name"]
        targets = world.named("TriggerAuthentication", name)["spec"]["secretTargetRef"]
        secrets = {(each["parameter"], each["key"]): each["name"] for each in targets}
        self.assertEqual(secrets.keys(), {("bearerToken", "token"), ("ca", "ca.crt")})
        for secret in secrets.values():
            token = world.named("Secret", secret)
            self.assertEqual(token["type"], "kubernetes.io/service-account-token")
            account = token["metadata"]["annotations"]["kubernetes.io/service-account.name"]
            world.named("ServiceAccount", account)
            (binding,) = world.kind("RoleBinding")
            self.assertEqual(
                [(each["kind"], each["name"]) for each in binding["subjects"]], [("ServiceAccount", account)]
            )
            rules = world.named("Role", binding["roleRef"]["name"])["rules"]
            pods, metrics = ({"apiGroups": [group], "resources": ["pods"]} for group in ("", "metrics.k8s.io"))
            self.assertEqual(rules, [pods | {"verbs": ["get"]}, metrics | {"verbs": ["get", "list", "watch"]}])

    def test_monitors(self) -> None:
        """Each scraped port belongs to a selected service; each component with metrics has one."""
        for world in worlds():
            for monitor in world.kind("ServiceMonitor"):
                selector = monitor["spec"]["selector"]
                for endpoint in monitor["spec"]["endpoints"]:
                    self.assertEqual(endpoint["path"], "/metrics")
                    scraped = [
                        component_of(service)
                        for service in world.kind("Service")
                        if selects(selector.get("matchLabels", {}), service["metadata"]["labels"])
                        and self.expressions_match(selector, service["metadata"]["labels"])
                        and endpoint["port"] in {each["name"] for each in service["spec"]["ports"]}
                    ]
                    expected = ["rabbitmq"] if endpoint["port"] == "prometheus" else list(world.components)
                    self.assertEqual(sorted(map(str, scraped)), sorted(expected), monitor["metadata"]["name"])

    def expressions_match(self, selector: dict, labels: dict[str, str]) -> bool:
        """True if the labels match the expressions of a selector."""
        return all(labels.get(each["key"]) in each["values"] for each in selector.get("matchExpressions", []))

    def test_query_needs_metrics_of_each_queue(self) -> None:
        """The broker exports metrics for each queue; without them, the query finds nothing."""
        conf = documents(ROOT / "rabbitmq/config-map.yaml")[0]["data"]["rabbitmq.conf"]
        self.assertIn("\nprometheus.return_per_object_metrics = true\n", conf)
