"""What a cluster without OpenShift's routes has in their place, for TLS that is passed through."""

from __future__ import annotations

from typing import Any

#: Ingress has no field for passing TLS through: each controller has an annotation of its own.
PASSTHROUGH = (
    "haproxy-ingress.github.io/ssl-passthrough",
    "haproxy.org/ssl-passthrough",
    "nginx.ingress.kubernetes.io/ssl-passthrough",
)


def ingress(route: dict[str, Any]) -> dict[str, Any]:
    """The Ingress for a route."""
    metadata, spec = route["metadata"], route["spec"]
    service = {"name": spec["to"]["name"], "port": {"name": spec["port"]["targetPort"]}}
    path = {"path": "/", "pathType": "Prefix", "backend": {"service": service}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {
            "name": metadata["name"],
            "labels": metadata["labels"],
            "annotations": dict.fromkeys(PASSTHROUGH, "true"),
        },
        "spec": {"rules": [{"host": spec["host"], "http": {"paths": [path]}}]},
    }


def tls_route(route: dict[str, Any], gateway: str = "gateway", port: int = 5050) -> dict[str, Any]:
    """The TLSRoute of the Gateway API (1.5 and later) for a route.

    Args:
        gateway: name of the Gateway, whose listener has the protocol TLS and the mode Passthrough.
        port: of the service.
    """
    metadata, spec = route["metadata"], route["spec"]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "TLSRoute",
        "metadata": {"name": metadata["name"], "labels": metadata["labels"]},
        "spec": {
            "parentRefs": [{"name": gateway}],
            "hostnames": [spec["host"]],
            "rules": [{"backendRefs": [{"name": spec["to"]["name"], "port": port}]}],
        },
    }
