"""Pods start, are probed and end so that nothing is lost, with no more rights than they need."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.app.admin import Admin
from provider_gateway.config.limits import Limits
from provider_gateway.demo.sample_model import SampleModel
from tests.deployment.manifests import ROLES, World, component_of, containers, environment, pod, worlds
from tests.deployment.quantities import quantity

#: For each probe: period, timeout (both in seconds), failure threshold. None: Kubernetes' defaults 10, 1 and 3.
TIMES = {
    "ours": {"startupProbe": (2, None, 30), "readinessProbe": (5, 2, 2), "livenessProbe": (10, 5, 3)},
    "model": {"startupProbe": (2, None, 30), "readinessProbe": (5, 2, None), "livenessProbe": (10, 5, None)},
    "rabbitmq": {"startupProbe": (10, 15, 60), "readinessProbe": (20, 15, None), "livenessProbe": (60, 30, 3)},
}


def paths(klein: Any) -> set[str]:
    """The paths of a Klein application."""
    return {rule.rule for rule in klein.app.url_map.iter_rules()}


class PodTests(SynchronousTestCase):
    """Every workload of every deployment variant."""

    def each_workload(self) -> list[tuple[World, dict[str, Any]]]:
        return [(world, workload) for world in worlds() for workload in world.workloads()]

    def test_probes_of_ours(self) -> None:
        """All three probes use paths of the admin port; only readiness depends on the broker."""
        ready, live = "/health/ready", "/health/live"
        self.assertLessEqual({ready, live}, paths(Admin))
        for world, workload in self.each_workload():
            (container,) = pod(workload)["spec"]["containers"]
            if component_of(workload) in ROLES:
                for probe, path in (("startupProbe", live), ("readinessProbe", ready), ("livenessProbe", live)):
                    self.assertEqual(container[probe]["httpGet"], {"path": path, "port": "admin"}, world.name)

    def test_probes_of_the_model(self) -> None:
        """The sample model has the path of its probes, and the gateway's default path."""
        self.assertLessEqual({"/health", "/predict"}, paths(SampleModel))
        for world in worlds():
            (container,) = pod(world.named("Deployment", "model"))["spec"]["containers"]
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                self.assertEqual(container[probe]["httpGet"], {"path": "/health", "port": "http"})

    def test_probes_of_the_broker(self) -> None:
        """The broker is ready when its ports can be reached, and alive while its runtime answers."""
        for world in worlds():
            _, container = containers(world.kind("StatefulSet")[0])
            ping = ["rabbitmq-diagnostics", "-q", "ping"]
            self.assertEqual(container["startupProbe"]["exec"]["command"], ping)
            self.assertEqual(container["livenessProbe"]["exec"]["command"], ping)
            reachable = ["rabbitmq-diagnostics", "-q", "check_port_connectivity"]
            self.assertEqual(container["readinessProbe"]["exec"]["command"], reachable)

    def test_times_of_probes(self) -> None:
        """Periods, timeouts and thresholds of the probes: our start may take a minute, the broker's ten."""
        times = ("periodSeconds", "timeoutSeconds", "failureThreshold")
        for _, workload in self.each_workload():
            (container,) = pod(workload)["spec"]["containers"]
            component = component_of(workload)
            found = {
                name: tuple(container[name].get(each) for each in times)
                for name in ("startupProbe", "readinessProbe", "livenessProbe")
            }
            self.assertEqual(found, TIMES.get(str(component), TIMES["ours"]))
            allowed = {"httpGet", "exec", *times}
            self.assertLessEqual({key for name in found for key in container[name]}, allowed)

    def test_drain_fits_into_the_grace_period(self) -> None:
        """The preStop sleep, the drain and a margin end before the pod is killed."""
        for world, workload in self.each_workload():
            spec = pod(workload)["spec"]
            (container,) = spec["containers"]
            if component_of(workload) not in ROLES:
                continue
            sleep, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
            self.assertEqual(sleep, "sleep")
            self.assertGreaterEqual(int(seconds), 5, world.name)
            needed = float(environment(container)["DRAIN_TIMEOUT"]) + int(seconds)
            self.assertGreaterEqual(spec["terminationGracePeriodSeconds"], needed + 5, world.name)

    def test_model_ends_after_its_callers_have_noticed(self) -> None:
        """The model, too, serves for a moment after it was told to end."""
        for world in worlds():
            (container,) = pod(world.named("Deployment", "model"))["spec"]["containers"]
            self.assertEqual(container["lifecycle"]["preStop"], {"exec": {"command": ["sleep", "5"]}})

    def test_broker_hands_over(self) -> None:
        """A broker node has time to wait for the others and to hand over its queues before it is killed."""
        for world in worlds():
            (workload,) = world.kind("StatefulSet")
            command = containers(workload)[1]["lifecycle"]["preStop"]["exec"]["command"]
            wait = "rabbitmq-upgrade -t 90 await_online_quorum_plus_one; rabbitmq-upgrade -t 30 drain; true"
            self.assertEqual(command, ["sh", "-c", wait])
            self.assertEqual(pod(workload)["spec"]["terminationGracePeriodSeconds"], 2 * (90 + 30))
            self.assertEqual(workload["spec"]["podManagementPolicy"], "Parallel")
            self.assertEqual(workload["spec"]["replicas"] % 2, 1)

    def test_roll_out_keeps_all_pods(self) -> None:
        """A new pod is ready before an old one ends, but for SQLite: there, an old one ends first, and there is one."""
        for world, workload in self.each_workload():
            if component_of(workload) == "single":
                self.assertEqual(workload["spec"]["strategy"], {"type": "Recreate"})
                self.assertEqual(workload["spec"]["replicas"], 1, world.name)
            elif component_of(workload) in ROLES:
                rolling = {"maxUnavailable": 0, "maxSurge": 1}
                self.assertEqual(workload["spec"]["strategy"], {"type": "RollingUpdate", "rollingUpdate": rolling})
                self.assertEqual(workload["spec"]["replicas"], 2, world.name)

    def test_commands(self) -> None:
        """Our containers run the image's own command with their roles; the sample model's module exists."""
        for world, workload in self.each_workload():
            (container,) = pod(workload)["spec"]["containers"]
            component = component_of(workload)
            if component in ROLES:
                self.assertEqual(container["args"], ["--role", ",".join(ROLES[component])], world.name)
                self.assertNotIn("command", container)
            if component == "model":
                module, *options = container["command"][2:]
                self.assertEqual(container["command"][:2], ["python", "-m"])
                self.assertEqual(module, SampleModel.__module__)
                self.assertEqual(options, ["--port", "8080", "--address", "0.0.0.0"])

    def test_restricted(self) -> None:
        """Every pod meets OpenShift's restricted-v2 and Kubernetes' "restricted": no root, no privileges, no host."""
        for world, workload in self.each_workload():
            spec = pod(workload)["spec"]
            self.assertIs(spec["securityContext"]["runAsNonRoot"], True)
            self.assertEqual(spec["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
            self.assertEqual(spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}, set())
            for container in containers(workload):
                context = {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                }
                self.assertEqual(container["securityContext"], context, world.name)

    def test_users(self) -> None:
        """On OpenShift no user is set; elsewhere it is the image's, with a group for the secrets."""
        for world, workload in self.each_workload():
            context = dict(pod(workload)["spec"]["securityContext"])
            del context["runAsNonRoot"], context["seccompProfile"]
            if world.name.startswith("openshift"):
                self.assertEqual(context, {})
            elif workload["kind"] == "StatefulSet":
                self.assertEqual(context, {"runAsUser": 999, "runAsGroup": 999, "fsGroup": 999})
            else:
                self.assertEqual(context, {"runAsUser": 1001, "runAsGroup": 0, "fsGroup": 1001})

    def test_service_links_are_off(self) -> None:
        """The cluster adds no variables: a service "model" would set MODEL_PORT=tcp://…, a wrong setting."""
        for _, workload in self.each_workload():
            self.assertIs(pod(workload)["spec"]["enableServiceLinks"], False)

    def test_resources(self) -> None:
        """Every container requests CPU and memory, and its limits are not below its requests."""
        for _, workload in self.each_workload():
            for container in containers(workload):
                for what in ("cpu", "memory"):
                    asked = quantity(container["resources"]["requests"][what])
                    self.assertGreater(asked, 0)
                    self.assertGreaterEqual(quantity(container["resources"]["limits"][what]), asked)

    def test_memory_holds_the_bodies(self) -> None:
        """The memory limit allows for the process, twice the bodies that a gateway may buffer, and a provider's."""
        shares = {"gateway": 2, "provider": 1}
        for _, workload in self.each_workload():
            roles = ROLES.get(component_of(workload), ())
            if roles:
                limit = quantity(containers(workload)[0]["resources"]["limits"]["memory"])
                bodies = sum(shares[role] for role in roles) * Limits().max_buffered_bytes
                self.assertGreaterEqual(limit, bodies + 192 * 2**20)

    def test_one_core(self) -> None:
        """The CPU limit is one core: one process cannot use more, and needs no less."""
        for _, workload in self.each_workload():
            if component_of(workload) in ROLES:
                self.assertEqual(quantity(containers(workload)[0]["resources"]["limits"]["cpu"]), 1)
