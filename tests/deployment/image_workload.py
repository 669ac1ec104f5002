"""Environment, arguments and mounts of a container, as its pod template says."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

import yaml

from tests.deployment.image_root import Mount
from tests.deployment.process import process, read_parameters
from tests.support.folders import ROOT, folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

OPENSHIFT = ROOT / "openshift"
#: Contents of a secret or a config map, by file name.
Files = dict[str, bytes]


@cache
def config_maps() -> Mapping[str, Files]:
    """The config maps of openshift/, by name."""
    found = {}
    for path in sorted(OPENSHIFT.rglob("*.yaml")):
        for each in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if isinstance(each, dict) and each.get("kind") == "ConfigMap":
                found[each["metadata"]["name"]] = {name: text.encode() for name, text in each["data"].items()}
    return found


class Workload:
    """The first container of a Deployment or StatefulSet.

    Args:
        secrets: contents of the existing secrets, by name.
        changed: config maps that replace those of openshift/.
    """

    def __init__(
        self, manifest: dict[str, Any], secrets: Mapping[str, Files], changed: Mapping[str, Files] | None = None
    ) -> None:
        self._name = manifest["metadata"]["name"]
        self._spec = manifest["spec"]["template"]["spec"]
        self.container = self._spec["containers"][0]
        self._secrets = secrets
        self._config_maps = {**config_maps(), **(changed or {})}

    @property
    def arguments(self) -> list[str]:
        """Arguments after the entry point."""
        return list(self.container.get("args", []))

    @property
    def command(self) -> list[str] | None:
        """The command that replaces the entry point; None if there is none."""
        return self.container.get("command")

    @property
    def environment(self) -> dict[str, str]:
        """Its variables; the names of pod and namespace are invented."""
        made_up = {"metadata.name": f"{self._name}-0", "metadata.namespace": "ml"}
        found: dict[str, str] = {}
        for each in self.container.get("envFrom", []):
            (kind, reference) = next(iter(each.items()))
            files = (self._secrets if kind == "secretRef" else self._config_maps).get(reference["name"], {})
            assert files or reference["optional"], f"no {kind} {reference['name']}"
            found |= {name: text.decode() for name, text in files.items()}
        for each in self.container.get("env", []):
            if "secretKeyRef" in each.get("valueFrom", {}):
                reference = each["valueFrom"]["secretKeyRef"]
                files = self._secrets.get(reference["name"], {})
                assert files or reference["optional"], f"no secret {reference['name']}"
                if reference["key"] in files:
                    found[each["name"]] = files[reference["key"]].decode()
            elif "valueFrom" in each:
                found[each["name"]] = made_up[each["valueFrom"]["fieldRef"]["fieldPath"]]
            else:
                found[each["name"]] = re.sub(r"\$\((\w+)\)", lambda match: found[match[1]], each["value"])
        return found

    def port(self, name: str) -> int:
        """The number of the port with this name."""
        return next(int(each["containerPort"]) for each in self.container["ports"] if each["name"] == name)

    def mounts(self) -> list[Mount]:
        """Its volumes, at the paths of the container."""
        return list(self._mounts())

    def _mounts(self) -> Iterator[Mount]:
        # Volumes can also come from "volumeClaimTemplates".
        volumes = {each["name"]: each for each in self._spec.get("volumes", [])}
        for each in self.container.get("volumeMounts", []):
            volume = volumes.get(each["name"], {"emptyDir": {}})
            if volume.keys() & {"emptyDir", "persistentVolumeClaim"}:
                yield Mount(each["mountPath"])
                continue
            source = folder() / "volumes" / self._name / each["name"]
            self._fill(source, volume)
            yield Mount(each["mountPath"], source, read_only=True)

    def _fill(self, source: Path, volume: dict[str, Any]) -> None:
        source.mkdir(parents=True, exist_ok=True)
        if "secret" in volume:
            secret, mode = volume["secret"], 0o644
            assert secret["secretName"] in self._secrets or secret.get("optional"), f"no secret {secret['secretName']}"
            files = self._secrets.get(secret["secretName"], {})
        else:
            secret, mode = volume["configMap"], 0o644
            assert secret["name"] in self._config_maps or secret.get("optional"), f"no config map {secret['name']}"
            files = self._config_maps.get(secret["name"], {})
        for name, contents in files.items():
            (source / name).unlink(missing_ok=True)  # a file of an earlier test may be read-only
            (source / name).write_bytes(contents)
            # On a cluster, the owner is root and the group is the pod's.
            (source / name).chmod(secret.get("defaultMode", mode))


def processed(template: str, kind: str) -> dict[str, Any]:
    """The object of this kind in a template of openshift/, with the values of parameters.env."""
    document = yaml.safe_load((OPENSHIFT / template).read_text(encoding="utf-8"))
    given = read_parameters((OPENSHIFT / "parameters.env").read_text(encoding="utf-8"))
    objects = process(document, given, ignore_unknown=True)["items"]
    found: dict[str, Any] = next(each for each in objects if each["kind"] == kind)
    return found
