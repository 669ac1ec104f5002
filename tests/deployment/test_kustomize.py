"""Kustomize builds the objects of the templates, with what plain Kubernetes needs; optional components fit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.deployment.components import ROUTES
from tests.deployment.kustomize import KustomizeError, apply_patch, build
from tests.deployment.manifests import (
    ROOT,
    containers,
    documents,
    environment,
    kustomizations,
    patch_files,
    pod,
    processed,
)
from tests.deployment.network import Peer, allowed
from tests.deployment.overlays import OWN_BROKER, with_optional_components
from tests.deployment.quantities import quantity
from tests.deployment.validation import validate

_ALWAYS = ("fluentd", "postgresql", "webhooks", "traces")


def _ways_in(variant: str) -> list[str]:
    return ["load-balancer", *(f"{each}-{variant}" for each in ROUTES)]


#: SQLite is for one pod, so the single container has one more.
OPTIONAL = {
    "single": [*_ways_in("single"), *_ALWAYS, "several-pods"],
    "split": [*_ways_in("split"), *_ALWAYS],
    "own-broker-single": ["password-login", *_ways_in("single"), *_ALWAYS, "several-pods"],
    "own-broker-split": ["password-login", *_ways_in("split"), *_ALWAYS],
}
ALL = tuple(OPTIONAL)
SIDECAR = ROOT / "kubernetes/components/fluentd/sidecar.yaml"


class KustomizeTests(SynchronousTestCase):
    """Folders, overlays, components."""

    def test_every_kustomization_builds(self) -> None:
        """Each folder with a kustomization can be applied alone, except components, which are parts of overlays."""
        for file in kustomizations():
            if documents(file)[0]["kind"] == "Kustomization":
                self.assertTrue(build(file.parent), file)

    def test_overlays_offer_the_optional_components(self) -> None:
        """The overlays list the optional components, commented out, and use those for Kubernetes and the broker."""
        for overlay in ALL:
            text = (ROOT / f"kubernetes/overlays/{overlay}/kustomization.yaml").read_text()
            self.assertEqual(re.findall(r"^  # - ../../components/(\S+)$", text, re.MULTILINE), OPTIONAL[overlay])
            broker = "own-broker" if overlay in OWN_BROKER else "rabbitmq"
            self.assertEqual(documents(ROOT / f"kubernetes/overlays/{overlay}/kustomization.yaml")[0]["components"],
                             ["../../components/plain-kubernetes", f"../../components/{broker}"])  # fmt: skip

    def test_images_are_of_one_registry(self) -> None:
        """The overlays set the image of our deployments; its version is that of the parameter file."""
        for overlay in ALL:
            for each in build(ROOT / f"kubernetes/overlays/{overlay}"):
                if each["kind"] == "Deployment":
                    image = containers(each)[0]["image"]
                    self.assertEqual(image, "registry.example.org/provider-gateway:0.2.0")

    def test_optional_components(self) -> None:
        """With the optional components, only HTTPS has a load balancer, and the pods with HTTPS have the sidecar."""
        root = with_optional_components(Path(self.mktemp()))
        for overlay, name in zip(ALL, ("provider-gateway", "gateway") * 2, strict=True):
            objects = build(root / f"kubernetes/overlays/{overlay}")
            for each in objects:
                validate(each, overlay)
            services = {each["metadata"]["name"]: each["spec"] for each in objects if each["kind"] == "Service"}
            open_ones = {key for key, spec in services.items() if spec.get("type") == "LoadBalancer"}
            self.assertEqual(open_ones, {name})
            self.assertEqual([each["port"] for each in services[name]["ports"]], [5050])
            names = {each["metadata"]["name"] for each in objects if each["kind"] == "NetworkPolicy"}
            self.assertLessEqual({f"provider-gateway-{each}" for each in ("postgresql", "webhooks", "traces")}, names)
            for each in objects:
                if each["kind"] == "Deployment":
                    self.assertEqual("initContainers" in pod(each)["spec"], each["metadata"]["name"] == name)
                    if each["metadata"]["name"] == name:
                        self.check_sidecar(each, objects)

    def test_several_pods(self) -> None:
        """The component for several pods of the single container removes what allows one pod only."""
        root = with_optional_components(Path(self.mktemp()))
        (deployment,) = (
            each
            for each in build(root / "kubernetes/overlays/single")
            if each["kind"] == "Deployment" and each["metadata"]["name"] == "provider-gateway"
        )
        spec = deployment["spec"]
        self.assertEqual(spec["replicas"], 2)
        self.assertEqual(
            spec["strategy"], {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
        )
        volumes = pod(deployment)["spec"]["volumes"]
        self.assertFalse([each for each in volumes if "persistentVolumeClaim" in each])
        self.assertIn({"name": "data", "emptyDir": {}}, volumes)

    def test_sidecar_on_openshift(self) -> None:
        """The same patch fits the deployments of the templates, for "oc patch --type=json"."""
        for component in ("single", "gateway"):
            deployment = processed(component)[0]
            apply_patch(deployment, documents(SIDECAR)[0])
            validate(deployment, component)
            self.check_sidecar(deployment, build_component(ROOT / "kubernetes/components/fluentd"))

    def check_sidecar(self, deployment: dict[str, Any], objects: list[dict[str, Any]]) -> None:
        """Check that FluentD reads the file that the gateway writes, with a configuration that exists."""
        spec = pod(deployment)["spec"]
        (sidecar,) = spec["initContainers"]
        (gateway,) = spec["containers"]
        self.assertEqual((sidecar["name"], sidecar["restartPolicy"]), ("fluentd", "Always"))
        self.assertRegex(sidecar["image"], r"^docker\.io/fluent/fluentd:v1\.\d+-debian-\d$")
        self.assertEqual(sidecar["securityContext"], gateway["securityContext"])
        volumes = {each["name"]: each for each in spec["volumes"]}
        self.assertEqual(len(volumes), len(spec["volumes"]))
        written, read = ({m["name"]: m["mountPath"] for m in each["volumeMounts"]} for each in (gateway, sidecar))
        self.assertEqual(written["access-log"], read["access-log"])
        self.assertEqual(read.keys(), {"access-log", "fluentd", "fluentd-tmp"})
        writable = {each["name"] for each in sidecar["volumeMounts"] if not each.get("readOnly", False)}
        self.assertEqual(writable, {"access-log", "fluentd-tmp"})
        self.assertEqual(read["fluentd-tmp"], "/tmp")
        log = environment(gateway)["ACCESS_LOG"]
        self.assertEqual(log.rpartition("/")[0], written["access-log"])
        (config,) = (
            each
            for each in objects
            if each["kind"] == "ConfigMap" and each["metadata"]["name"] == volumes["fluentd"]["configMap"]["name"]
        )
        self.assertIn(f"path {log}\n", config["data"]["fluent.conf"])
        self.assertIn(f"log={log}\n", config["data"]["run.sh"])
        self.assertEqual(sidecar["command"], ["sh", f"{read['fluentd']}/run.sh"])
        self.assertTrue(config["data"]["run.sh"].endswith(f"exec fluentd -c {read['fluentd']}/fluent.conf\n"))
        self.assertIn(f"pos_file {read['access-log']}/", config["data"]["fluent.conf"])
        # Truncated long before the volume is full: then the pod would be evicted.
        self.assertIn("-gt 67108864 ]", config["data"]["run.sh"])
        self.assertEqual(volumes["access-log"]["emptyDir"], {"sizeLimit": "256Mi"})
        self.assertEqual(volumes["fluentd-tmp"]["emptyDir"], {})
        for what in ("cpu", "memory"):
            asked, limit = (quantity(sidecar["resources"][kind][what]) for kind in ("requests", "limits"))
            self.assertLessEqual(asked, limit)
        self.check_way_out(deployment, config, objects)

    def check_way_out(self, deployment: dict, config: dict, objects: list[dict[str, Any]]) -> None:
        """Check that the network policies let FluentD reach the port to which it sends."""
        port = re.search(r"^ +port (\d+)$", config["data"]["fluent.conf"], re.MULTILINE)
        assert port is not None
        (policy,) = (each for each in objects if each["metadata"]["name"] == "provider-gateway-fluentd"
                     and each["kind"] == "NetworkPolicy")  # fmt: skip
        here = Peer("gateway", tuple(pod(deployment)["metadata"]["labels"].items()))
        there = Peer("aggregator", (), (("kubernetes.io/metadata.name", "logging"),))
        self.assertEqual(allowed([policy], "egress", here, there), {(int(port[1]), "TCP")})
        self.assertEqual(policy["spec"]["policyTypes"], ["Egress"])

    def test_patches_are_used(self) -> None:
        """Each patch file belongs to a kustomization, except the one for old brokers."""
        used = {
            file.parent / each["path"]
            for file in kustomizations()
            for each in documents(file)[0].get("patches", [])
            if "path" in each
        }
        self.assertEqual(set(patch_files()) - used, {ROOT / "rabbitmq/before-4.1.yaml"})

    def test_patches_look_before_they_change(self) -> None:
        """Each patch first tests that its target is the right one, except those of users, which fit every pod."""
        for file in patch_files():
            looks = documents(file)[0][0]["op"] == "test"
            self.assertEqual(looks, not file.name.startswith("user-of-"), file)


def build_component(folder: Path) -> list[dict[str, Any]]:
    """The resources of a component."""
    names = documents(folder / "kustomization.yaml")[0]["resources"]
    return [each for name in names for each in documents(folder / name)]


class ResolverTests(SynchronousTestCase):
    """The stand-in for Kustomize reports the errors that Kustomize reports."""

    def write(self, **files: str) -> Path:
        """A folder with a kustomization and other files."""
        folder = Path(self.mktemp())
        folder.mkdir()
        head = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
        for name, text in files.items():
            (folder / f"{name}.yaml").write_text(head + text if name == "kustomization" else text)
        return folder

    def test_missing_file(self) -> None:
        """A missing resource is an error."""
        self.assertRaises(KustomizeError, build, self.write(kustomization="resources: [a.yaml]\n"))

    def test_file_outside(self) -> None:
        """A single file outside the folder is an error: the reason for the layout of openshift/."""
        folder = self.write(kustomization="resources: [../b.yaml]\n")
        (folder.parent / "b.yaml").write_text("kind: A\n")
        self.assertRaises(KustomizeError, build, folder)

    def test_folder_above(self) -> None:
        """A parent folder is an error: it would contain itself."""
        self.assertRaises(KustomizeError, build, self.write(kustomization="resources: [..]\n"))

    def test_patch_without_target(self) -> None:
        """A patch without a target, such as a misspelt one, is an error."""
        thing = "apiVersion: v1\nkind: A\nmetadata: {name: a}\n"
        patches = "resources: [a.yaml]\npatches: [{path: p.yaml, target: {kind: B}}]\n"
        self.assertRaises(KustomizeError, build, self.write(kustomization=patches, a=thing, p="[]\n"))

    def test_unknown_field(self) -> None:
        """An unknown field is an error."""
        self.assertRaises(KustomizeError, build, self.write(kustomization="namePrefix: a\n"))

    def test_patch(self) -> None:
        """JSON patches add to lists and mappings, replace and remove; a failing test and a missing path are errors."""
        thing: dict[str, Any] = {"apiVersion": "v1", "kind": "A", "metadata": {"name": "a"}, "l": [1], "m": {"x": 1}}
        add = [("add", "/l/-", 2), ("add", "/l/0", 0), ("add", "/m/y~1z", 3), ("replace", "/m/x", 5)]
        apply_patch(thing, [{"op": op, "path": path, "value": value} for op, path, value in add])
        apply_patch(thing, [{"op": "remove", "path": "/l/1"}])
        self.assertEqual((thing["l"], thing["m"]), ([0, 2], {"x": 5, "y/z": 3}))
        for op, path in (("test", "/m/x"), ("replace", "/m/q"), ("remove", "/q"), ("add", "/q/r")):
            self.assertRaises(KustomizeError, apply_patch, thing, [{"op": op, "path": path, "value": 0}])
