"""References between objects are correct: ports, names, keys, paths, accounts, selectors."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from twisted.trial.unittest import SynchronousTestCase

from tests.deployment.components import CALLERS, PORTS, SECRETS, SERVICES, WORKLOADS, selector_of
from tests.deployment.manifests import ROLES, World, component_of, containers, environment, pod, worlds

#: Secrets that need not exist.
OPTIONAL = {"provider-gateway-model", "provider-gateway-models", "provider-gateway-results"}


class WiringTests(SynchronousTestCase):
    """Each deployment variant, as a whole."""

    def each_workload(self) -> list[tuple[World, dict[str, Any]]]:
        return [(world, workload) for world in worlds() for workload in world.workloads()]

    def test_workloads(self) -> None:
        """Each deployment variant has the broker, the model, and our components, under their names."""
        for world in worlds():
            expected = {component: WORKLOADS[component] for component in (*world.components, "model", "rabbitmq")}
            found = {component_of(each): (each["kind"], each["metadata"]["name"]) for each in world.workloads()}
            self.assertEqual(found, expected, world.name)

    def test_pods_are_those_of_their_workload(self) -> None:
        """A workload's selector and its pods' labels are the component's; no other pods are selected."""
        for world, workload in self.each_workload():
            component = component_of(workload)
            self.assertEqual(workload["spec"]["selector"], {"matchLabels": selector_of(component)}, world.name)
            labels = pod(workload)["metadata"]["labels"]
            self.assertEqual(labels, workload["metadata"]["labels"], world.name)

    def test_ports_of_containers(self) -> None:
        """Containers declare the ports on which their program listens, with their names."""
        for world, workload in self.each_workload():
            (container,) = pod(workload)["spec"]["containers"]
            ports = {each["name"]: each["containerPort"] for each in container["ports"]}
            self.assertEqual(ports, PORTS[component_of(workload)], world.name)

    def test_services(self) -> None:
        """A service selects the pods of one component, and its ports have the name and number of the pods' ports."""
        for world in worlds():
            services = {each["metadata"]["name"]: each for each in world.kind("Service")}
            components = {*world.components, "model", "rabbitmq"}
            self.assertEqual(services.keys(), {name for name, (of, _) in SERVICES.items() if of in components})
            for name, service in services.items():
                component, ports = SERVICES[name]
                self.assertEqual(component_of(service), component, name)
                self.assertEqual(service["spec"]["selector"], selector_of(component), name)
                found = {each["name"]: (each["port"], each["targetPort"]) for each in service["spec"]["ports"]}
                self.assertEqual(found, {port: (PORTS[component][port], port) for port in ports}, name)

    def test_nothing_is_exposed_beside_https(self) -> None:
        """Services are internal to the cluster; a route or load balancer of HTTPS cannot reach the admin port."""
        for world in worlds():
            for service in world.kind("Service"):
                self.assertIn(service["spec"].get("type", "ClusterIP"), {"ClusterIP"}, service["metadata"]["name"])

    def test_headless_service(self) -> None:
        """The headless service gives addresses before nodes are ready: they need these to get ready."""
        for world in worlds():
            (workload,) = world.kind("StatefulSet")
            service = world.named("Service", workload["spec"]["serviceName"])
            self.assertEqual(service["spec"]["clusterIP"], "None")
            self.assertIs(service["spec"]["publishNotReadyAddresses"], True)
            name = environment(containers(workload)[1])["RABBITMQ_NODENAME"]
            host = f"$(POD_NAME).{service['metadata']['name']}.$(POD_NAMESPACE).svc"
            self.assertEqual(name, f"rabbit@{host}")

    def test_routes(self) -> None:
        """The route of a component with HTTPS targets its service's https port, with TLS passed through."""
        for world in worlds():
            routes = {component_of(each): each for each in world.kind("Route")}
            takes_https = {each for each in world.components if "gateway" in ROLES[each]}
            self.assertEqual(routes.keys(), takes_https if world.name.startswith("openshift") else set())
            for component, route in routes.items():
                self.assertEqual(route["metadata"]["name"], WORKLOADS[component][1])
                service = world.named("Service", route["spec"]["to"]["name"])
                self.assertEqual(service["spec"]["selector"], selector_of(component))
                ports = {each["name"] for each in service["spec"]["ports"]}
                self.assertIn(route["spec"]["port"]["targetPort"], ports)
                self.assertEqual(route["spec"]["port"]["targetPort"], "https")
                tls = {"termination": "passthrough", "insecureEdgeTerminationPolicy": "None"}
                self.assertEqual(route["spec"]["tls"], tls)
                # By default, passthrough sends all connections of one address to one pod.
                balance = route["metadata"]["annotations"]["haproxy.router.openshift.io/balance"]
                self.assertEqual(balance, "leastconn")

    def test_volumes(self) -> None:
        """Each mount has its volume and each volume its mount; whole folders are mounted, so changes are noticed."""
        for world, workload in self.each_workload():
            spec = pod(workload)["spec"]
            volumes = [each["name"] for each in spec.get("volumes", [])]
            volumes += [each["metadata"]["name"] for each in workload["spec"].get("volumeClaimTemplates", [])]
            mounts = [each for container in containers(workload) for each in container.get("volumeMounts", [])]
            self.assertEqual(sorted(set(volumes)), sorted(volumes), world.name)
            self.assertEqual({each["name"] for each in mounts}, set(volumes), world.name)
            for each in mounts:
                self.assertNotIn("subPath", each)

    def test_config_maps_and_secrets_of_volumes(self) -> None:
        """Volumes use config maps that exist and secrets that docs/openshift.md makes, readable by the group."""
        for world, workload in self.each_workload():
            for volume in pod(workload)["spec"].get("volumes", []):
                if volume.get("configMap", {}).get("name") == CALLERS:
                    self.assertEqual(volume["configMap"], {"name": CALLERS, "optional": True})
                elif "configMap" in volume:
                    self.assertEqual(volume["configMap"].keys(), {"name"})
                    world.named("ConfigMap", volume["configMap"]["name"])
                elif "secret" in volume:
                    self.assertIn(volume["secret"]["secretName"], SECRETS, world.name)
                    # Not readable by all users of the node; OpenShift and fsGroup set the pod's group.
                    self.assertEqual(volume["secret"]["defaultMode"], 0o440)
                    optional = volume["secret"].get("optional", False)
                    self.assertEqual(optional, volume["secret"]["secretName"] in OPTIONAL)
                elif "persistentVolumeClaim" in volume:
                    world.named("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"])
                else:
                    self.assertIn("emptyDir", volume)

    def test_mounts_are_read_only_where_nothing_is_written(self) -> None:
        """Secrets and config maps are mounted read-only."""
        for _, workload in self.each_workload():
            sources = {each["name"]: each for each in pod(workload)["spec"].get("volumes", [])}
            for container in containers(workload):
                for mount in container.get("volumeMounts", []):
                    source = sources.get(mount["name"], {})
                    writable = not (source.keys() & {"secret", "configMap"})
                    self.assertEqual(mount.get("readOnly", False), not writable, mount)

    def test_accounts(self) -> None:
        """Each pod runs under an account that exists; neither account nor pod mounts its token."""
        for world, workload in self.each_workload():
            spec = pod(workload)["spec"]
            component = component_of(workload)
            expected = component if component in {"rabbitmq", "model"} else "provider-gateway"
            self.assertEqual(spec["serviceAccountName"], expected)
            account = world.named("ServiceAccount", expected)
            self.assertIs(account["automountServiceAccountToken"], False)
            self.assertIs(spec["automountServiceAccountToken"], False)

    def test_no_account_hands_out_its_token(self) -> None:
        """Accounts that no pod uses do not mount their token either."""
        for world in worlds():
            for account in world.kind("ServiceAccount"):
                self.assertIs(account["automountServiceAccountToken"], False, account["metadata"]["name"])

    def test_names_of_containers(self) -> None:
        """Containers have the names of their programs: "oc logs -c" and the patches use them."""
        names = {"rabbitmq": ["cookie", "rabbitmq"], "model": ["model"]}
        for _, workload in self.each_workload():
            found = [each["name"] for each in containers(workload)]
            self.assertEqual(found, names.get(str(component_of(workload)), ["provider-gateway"]))

    def test_bindings_of_roles(self) -> None:
        """A role binding gives an existing role to an existing account."""
        for world in worlds():
            for binding in world.kind("RoleBinding"):
                world.named(binding["roleRef"]["kind"], binding["roleRef"]["name"])
                self.assertEqual(binding["roleRef"]["apiGroup"], "rbac.authorization.k8s.io")
                for subject in binding["subjects"]:
                    world.named(subject["kind"], subject["name"])

    def test_hosts_of_settings(self) -> None:
        """Hosts and ports of broker and model in the environment are services of the same deployment variant."""
        for world, workload in self.each_workload():
            if component_of(workload) not in ROLES:
                continue
            given = environment(pod(workload)["spec"]["containers"][0])
            broker = urlsplit(given["RMQ_URL"])
            self.assertEqual((broker.scheme, broker.username), ("amqps", None))
            self.check_port(world, broker.hostname, broker.port, "amqps")
            if "provider" in ROLES[component_of(workload)]:
                self.check_port(world, given["MODEL_HOST"], int(given["MODEL_PORT"]), "http")

    def check_port(self, world: World, host: str | None, port: int | None, name: str) -> None:
        """Check that a service has a port."""
        service = world.named("Service", str(host))
        self.assertIn((name, port), {(each["name"], each["port"]) for each in service["spec"]["ports"]})

    def test_anti_affinity_and_spread(self) -> None:
        """Pods of a component are spread over nodes; the broker's never share a node."""
        for _, workload in self.each_workload():
            spec, selector = pod(workload)["spec"], {"matchLabels": selector_of(component_of(workload))}
            if workload["kind"] == "StatefulSet":
                (rule,) = spec["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
            else:
                (rule,) = spec["topologySpreadConstraints"]
                self.assertEqual((rule["maxSkew"], rule["whenUnsatisfiable"]), (1, "ScheduleAnyway"))
            self.assertEqual(rule["labelSelector"], selector)
            self.assertEqual(rule["topologyKey"], "kubernetes.io/hostname")

    def test_claims(self) -> None:
        """The separate claim has the name that the stateful set uses for its first node, and is like the others."""
        for world in worlds():
            (workload,) = world.kind("StatefulSet")
            (template,) = workload["spec"]["volumeClaimTemplates"]
            name = f"{template['metadata']['name']}-{workload['metadata']['name']}-0"
            claim = world.named("PersistentVolumeClaim", name)
            self.assertEqual(claim["spec"], template["spec"])
            self.assertEqual(component_of(claim), component_of(workload))
