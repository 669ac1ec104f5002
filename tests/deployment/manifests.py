"""Reads the files of openshift/: objects, templates, patches, and the objects of each deployment variant."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.deployment.kustomize import build
from tests.deployment.process import process, read_parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

REPOSITORY = Path(__file__).parents[2]
ROOT = REPOSITORY / "openshift"
ROLES = {"single": ("gateway", "provider"), "gateway": ("gateway",), "provider": ("provider",)}
#: Files of openshift/ that are patches, not objects of the cluster.
_PATCHES = {
    "rabbitmq/before-4.1.yaml",
    "kubernetes/components/fluentd/sidecar.yaml",
    "kubernetes/components/load-balancer/load-balancer.yaml",
    "kubernetes/components/plain-kubernetes/callers-from-anywhere.yaml",
    "kubernetes/components/plain-kubernetes/user-of-deployments.yaml",
    "kubernetes/components/password-login/no-certificate.yaml",
    "kubernetes/components/rabbitmq/user-of-rabbitmq.yaml",
    "kubernetes/components/several-pods/several-pods.yaml",
}


class _StrictLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Rejects repeated keys of a mapping: parsers silently take the last. Uses the C loader, where there is one."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        repeated = {key for key in keys if keys.count(key) > 1}
        if repeated:
            msg = f"{node.start_mark}: repeated: {repeated}"
            raise yaml.YAMLError(msg)
        return super().construct_mapping(node, deep)


@dataclass(frozen=True)
class World:
    """All objects of one deployment variant.

    Attributes:
        components: the components that run our own program.
    """

    name: str
    objects: list[dict[str, Any]]
    components: tuple[str, ...]

    def kind(self, *kinds: str) -> list[dict[str, Any]]:
        """The objects of these kinds."""
        return [each for each in self.objects if each["kind"] in kinds]

    def named(self, kind: str, name: str) -> dict[str, Any]:
        """The object of this kind and name."""
        found = [each for each in self.kind(kind) if each["metadata"]["name"] == name]
        assert len(found) == 1, f"{self.name}: expected one {kind} {name}, found {len(found)}"
        return found[0]

    def workloads(self) -> list[dict[str, Any]]:
        """The objects that run pods."""
        return self.kind("Deployment", "StatefulSet")


def documents(path: Path) -> list[Any]:
    """The YAML documents of a file."""
    return list(yaml.load_all(path.read_text(), _StrictLoader))


def relative(path: Path) -> str:
    """A file's name below openshift/."""
    return path.relative_to(ROOT).as_posix()


def yaml_files() -> list[Path]:
    """Every YAML file of openshift/."""
    return sorted(ROOT.rglob("*.yaml"))


def patch_files() -> list[Path]:
    """The files that contain patches."""
    return [path for path in yaml_files() if relative(path) in _PATCHES]


def kustomizations() -> list[Path]:
    """The kustomization.yaml files."""
    return [path for path in yaml_files() if path.name == "kustomization.yaml"]


def templates() -> dict[str, dict[str, Any]]:
    """The templates by component."""
    return {path.stem.removeprefix("template-"): documents(path)[0] for path in sorted(ROOT.glob("template-*.yaml"))}


def plain_objects() -> list[tuple[str, dict[str, Any]]]:
    """File and object, for everything that is not a template, patch or kustomization."""
    return [
        (relative(path), each)
        for path in yaml_files()
        if relative(path) not in _PATCHES and path.name != "kustomization.yaml" and "template-" not in path.name
        for each in documents(path)
    ]


def parameters() -> dict[str, str]:
    """The values of the parameter file."""
    return read_parameters((ROOT / "parameters.env").read_text())


def processed(component: str) -> list[dict[str, Any]]:
    """A template's objects, as the command in docs/openshift.md makes them."""
    return process(templates()[component], parameters(), ignore_unknown=True)["items"]


@cache
def worlds() -> tuple[World, ...]:
    """The deployment variants: templates on OpenShift and overlays on Kubernetes, with one container and with three."""
    shared = [*_built("common"), *_built("rabbitmq"), *_built("model"), *processed("model")]
    shared += documents(ROOT / "service-monitor.yaml")
    single = [*shared, *_built("single"), *processed("single")]
    single += documents(ROOT / "autoscaling/horizontal-pod-autoscaler-single.yaml")
    split = [*shared, *_built("gateway"), *_built("provider"), *processed("gateway"), *processed("provider")]
    split += _built("autoscaling")
    return (
        World("openshift single", single, ("single",)),
        World("openshift split", split, ("gateway", "provider")),
        World("kubernetes single", _built("kubernetes/overlays/single"), ("single",)),
        World("kubernetes split", _built("kubernetes/overlays/split"), ("gateway", "provider")),
    )


@cache
def own_broker_worlds() -> tuple[World, ...]:
    """The same variants without RabbitMQ, for a broker of one's own."""
    shared = [*_objects(_built, ("common", "model")), *_objects(processed, ("model", "own-broker"))]
    single = [*shared, *_built("single"), *processed("single")]
    split = [*shared, *_objects(_built, ("gateway", "provider")), *_objects(processed, ("gateway", "provider"))]
    return (
        World("openshift single", single, ("single",)),
        World("openshift split", split, ("gateway", "provider")),
        World("kubernetes single", _built("kubernetes/overlays/own-broker-single"), ("single",)),
        World("kubernetes split", _built("kubernetes/overlays/own-broker-split"), ("gateway", "provider")),
    )


def _objects(make: Callable[[str], list[dict[str, Any]]], names: Iterable[str]) -> list[dict[str, Any]]:
    return [each for name in names for each in make(name)]


def _built(folder: str) -> list[dict[str, Any]]:
    return build(ROOT / folder)


def pod(workload: dict[str, Any]) -> dict[str, Any]:
    """The pod template of a workload."""
    template: dict[str, Any] = workload["spec"]["template"]
    return template


def component_of(each: dict[str, Any]) -> str | None:
    """The component in an object's label; None if it has none."""
    component: str | None = each["metadata"].get("labels", {}).get("app.kubernetes.io/component")
    return component


def containers(workload: dict[str, Any]) -> list[dict[str, Any]]:
    """All containers of a workload."""
    spec = pod(workload)["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def environment(container: dict[str, Any]) -> dict[str, str]:
    """The variables of a container that have a literal value, or are in a config map of ours; secrets do not exist."""
    found: dict[str, str] = {}
    for each in container.get("envFrom", []):
        found |= _config_maps().get(each.get("configMapRef", {}).get("name"), {})
    return found | {each["name"]: each["value"] for each in container.get("env", []) if "value" in each}


@cache
def _config_maps() -> dict[str, dict[str, str]]:
    return {each["metadata"]["name"]: each["data"] for _, each in plain_objects() if each["kind"] == "ConfigMap"}
