"""The components of a deployment: their workloads, services, ports, secrets and selectors."""

from __future__ import annotations

#: Secrets that the steps of docs/openshift.md make, and their keys.
SECRETS = {
    "provider-gateway-broker": {"RMQ_URL"},
    "provider-gateway-https": {"tls.crt", "tls.key", "ca.crt"},
    "provider-gateway-mq": {"tls.crt", "tls.key", "ca.crt"},
    "provider-gateway-model": {"tls.crt", "tls.key", "ca.crt"},
    "provider-gateway-model-headers": {"IMAGES_TOKEN"},
    "provider-gateway-models": {"images-ca.pem"},
    "provider-gateway-results": {"url", "ca.crt"},
    "rabbitmq-tls": {"tls.crt", "tls.key", "ca.crt"},
    "rabbitmq-erlang-cookie": {"cookie"},
}
#: The optional config map that a step of docs/openshift.md makes, and its keys.
CALLERS, CALLERS_KEYS = "provider-gateway-callers", {"access.yaml", "crl.pem"}
#: Components that lead callers to a service of plain Kubernetes; each has a variant for each overlay.
ROUTES = ("ingress", "tls-route")
#: Limits of the HTTPS listener and of results; empty: the program's defaults.
LIMITS = (
    "HTTP_BODY_TIMEOUT",
    "HTTP_HANDSHAKE_TIMEOUT",
    "HTTP_HEADERS_TIMEOUT",
    "HTTP_IDLE_TIMEOUT",
    "HTTP_MAX_CONNECTIONS",
    "HTTP_MAX_CONNECTIONS_PER_IDENTITY",
    "HTTP_MAX_HEADERS",
    "HTTP_MAX_HEADER_BYTES",
    "HTTP_WRITE_TIMEOUT",
    "MAX_IN_FLIGHT",
    "MAX_JSON_DEPTH",
    "RESULT_MAX_BYTES",
)
#: Ports by component: those of docs/settings.md, RabbitMQ and the sample model.
PORTS = {
    "single": {"https": 5050, "admin": 5080},
    "gateway": {"https": 5050, "admin": 5080},
    "provider": {"admin": 5080},
    "model": {"http": 8080},
    "rabbitmq": {"amqps": 5671, "management": 15671, "prometheus": 15692, "epmd": 4369, "distribution": 25672},
}
#: Services by name: component and ports.
SERVICES = {
    "provider-gateway": ("single", {"https"}),
    "provider-gateway-admin": ("single", {"admin"}),
    "gateway": ("gateway", {"https"}),
    "gateway-admin": ("gateway", {"admin"}),
    "provider": ("provider", {"admin"}),
    "model": ("model", {"http"}),
    "rabbitmq": ("rabbitmq", {"amqps", "management", "prometheus"}),
    "rabbitmq-headless": ("rabbitmq", {"epmd", "distribution"}),
}
WORKLOADS = {
    "single": ("Deployment", "provider-gateway"),
    "gateway": ("Deployment", "gateway"),
    "provider": ("Deployment", "provider"),
    "model": ("Deployment", "model"),
    "rabbitmq": ("StatefulSet", "rabbitmq"),
}


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    """True if a label selector matches these labels."""
    return bool(selector) and selector.items() <= labels.items()


def selector_of(component: str, model: str = "model") -> dict[str, str]:
    """The labels that select the pods of a component; models have a name each."""
    labels = {"app.kubernetes.io/name": "provider-gateway", "app.kubernetes.io/component": component}
    return labels | ({"app.kubernetes.io/instance": model} if component == "model" else {})
