"""Writes what is made from the templates of openshift/: ``python -m tests.deployment.generate``.

Kustomize and Helm read no templates. Tests check that the files are up to date.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from tests.deployment import helm_chart
from tests.deployment.manifests import REPOSITORY, parameters, templates
from tests.deployment.plain_yaml import dump
from tests.deployment.process import process
from tests.deployment.routes import ingress, tls_route

if TYPE_CHECKING:
    from collections.abc import Callable

_HEAD = "# Made from openshift/template-{}.yaml by: python -m tests.deployment.generate\n"
#: The overlays add the registry.
IMAGE = "provider-gateway"


def processed(component: str) -> list[dict[str, Any]]:
    """The objects of a template with the values of the parameter file, and an image that the overlays set."""
    values = parameters() | {"IMAGE": IMAGE, "MODEL_IMAGE": IMAGE}
    objects: list[dict[str, Any]] = process(templates()[component], values, ignore_unknown=True)["items"]
    return objects


def kubernetes(component: str) -> str:
    """The objects of a template, as YAML; Kubernetes has no routes."""
    wanted = [each for each in processed(component) if each["kind"] != "Route"]
    return _HEAD.format(component) + dump(wanted)


def from_route(component: str, make: Callable[[dict[str, Any]], dict[str, Any]]) -> str:
    """What Kubernetes has in place of a template's route."""
    (route,) = (each for each in processed(component) if each["kind"] == "Route")
    head = _HEAD.format(component) + "# For another host name, change ROUTE_HOST in openshift/parameters.env.\n"
    return head + dump([make(route)])


#: Each file below openshift/kubernetes/, and what makes it.
_KUBERNETES: dict[str, Callable[[], str]] = {
    "base/model.yaml": partial(kubernetes, "model"),
    "components/own-broker/network-policy.yaml": partial(kubernetes, "own-broker"),
    "components/ingress-single/ingress.yaml": partial(from_route, "single", ingress),
    "components/ingress-split/ingress.yaml": partial(from_route, "gateway", ingress),
    "components/tls-route-single/tls-route.yaml": partial(from_route, "single", tls_route),
    "components/tls-route-split/tls-route.yaml": partial(from_route, "gateway", tls_route),
    "workloads/single/provider-gateway.yaml": partial(kubernetes, "single"),
    "workloads/split/gateway.yaml": partial(kubernetes, "gateway"),
    "workloads/split/provider.yaml": partial(kubernetes, "provider"),
}


def generated() -> dict[str, str]:
    """The text of each file that is made, by its path in the repository."""
    files = {f"openshift/kubernetes/{name}": make() for name, make in _KUBERNETES.items()}
    return files | {f"{helm_chart.FOLDER}/{name}": text for name, text in helm_chart.files().items()}


def main() -> None:
    """Write the files."""
    for name, text in generated().items():
        path = REPOSITORY / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
