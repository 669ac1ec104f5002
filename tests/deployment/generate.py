"""Writes the objects of openshift/kubernetes/ from the templates: ``python -m tests.deployment.generate``.

Kustomize reads no templates. A test checks that the files are up to date.
"""

from __future__ import annotations

from typing import Any

import yaml

from tests.deployment.manifests import ROOT, parameters, templates
from tests.deployment.process import process

#: Each file below openshift/kubernetes/, and the template that it comes from.
FILES = {
    "base/model.yaml": "model",
    "components/own-broker/network-policy.yaml": "own-broker",
    "workloads/single/provider-gateway.yaml": "single",
    "workloads/split/gateway.yaml": "gateway",
    "workloads/split/provider.yaml": "provider",
}
#: The overlays add the registry.
IMAGE = "provider-gateway"


class _Dumper(yaml.SafeDumper):
    """Indents lists, like the files written by hand."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:
        return super().increase_indent(flow, False)


def generated(component: str) -> str:
    """The objects of a template, as YAML; Kubernetes has no routes."""
    values = parameters() | {"IMAGE": IMAGE, "MODEL_IMAGE": IMAGE}
    objects = process(templates()[component], values, ignore_unknown=True)["items"]
    wanted = [each for each in objects if each["kind"] != "Route"]
    head = f"# Made from openshift/template-{component}.yaml by: python -m tests.deployment.generate\n"
    return head + yaml.dump_all(wanted, Dumper=_Dumper, sort_keys=False, width=120)


def main() -> None:
    """Write the files."""
    for name, component in FILES.items():
        (ROOT / "kubernetes" / name).write_text(generated(component))


if __name__ == "__main__":
    main()
