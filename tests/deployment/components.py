"""The components of a deployment: their workloads, services, ports, secrets and selectors."""

from __future__ import annotations

#: Secrets that the steps of docs/openshift.md make, and their keys.
SECRETS = {
    "provider-gateway-https": {"tls.crt", "tls.key", "ca.crt"},
    "provider-gateway-mq": {"tls.crt", "tls.key", "ca.crt"},
    "provider-gateway-model": {"tls.crt", "tls.key", "ca.crt"},
    "provider-gateway-results": {"url", "ca.crt"},
    "rabbitmq-tls": {"tls.crt", "tls.key", "ca.crt"},
    "rabbitmq-erlang-cookie": {"cookie"},
}
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


def selector_of(component: str) -> dict[str, str]:
    """The labels that select the pods of a component."""
    return {"app.kubernetes.io/name": "provider-gateway", "app.kubernetes.io/component": component}
