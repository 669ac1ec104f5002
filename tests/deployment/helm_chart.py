"""Makes the Helm chart from the templates and folders of openshift/.

Each object is made for OpenShift and for plain Kubernetes, as the templates and Kustomize make it. Lines in which the
two differ depend on the value ``openshift``. A template's parameter ``HTTP_ACCESS`` is the value ``httpAccess``.
"""

from __future__ import annotations

import copy
import json
import re
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

from provider_gateway import __version__
from tests.deployment.kustomize import apply_patch, build, selected
from tests.deployment.manifests import ROOT, documents, parameters, templates
from tests.deployment.plain_yaml import dump
from tests.deployment.routes import ingress, tls_route

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = "charts/provider-gateway"
_MADE = "Made from openshift/ by: python -m tests.deployment.generate"
#: Values that switch parts on: default and description.
SWITCHES = {
    "openshift": (False, "OpenShift: routes, and users that the cluster chooses."),
    "split": (False, "Gateway and provider apart, instead of both in one container."),
    "rabbitmq": (True, "RabbitMQ. false: a broker of your own (brokerCidr, brokerNamespace, docs/openshift.md)."),
    "model": (True, "The model's deployment, by default the sample model. false: the model is elsewhere."),
    "postgresql": (False, "Connections of gateways to PostgreSQL, the store of results, are allowed."),
    "webhooks": (False, "Connections of gateways to the endpoints of webhooks are allowed."),
    "traces": (False, "Connections to a collector of traces are allowed (otelExporterOtlpEndpoint)."),
    "loadBalancer": (False, "The service of the HTTPS port is a load balancer (not on OpenShift)."),
    "ingress": (False, "An Ingress whose controller passes TLS through."),
    "tlsRoute": (False, "A TLSRoute of the Gateway API, 1.5 or later."),
}  # fmt: skip
#: Texts that are values: the default is in the object of this name, below this key of its data.
TEXTS = {
    "queueFile": ("ConfigMap", "provider-gateway-queues", "queue_config.yaml", "The queue file: docs/settings.md."),
    "rabbitmqDefinitions": ("ConfigMap", "rabbitmq-config", "definitions.json", "Users and rights at RabbitMQ."),
}
GATEWAY = (
    "gatewayName",
    "gateway",
    "The Gateway of tlsRoute; a listener of it has the protocol TLS and the mode Passthrough.",
)
#: Where the templates' images are by default.
IMAGE = f"registry.example.org/provider-gateway:{__version__}"
#: In an object, these stand for values: of text, and of anything else.
_TEXT, _JSON = re.compile(r"'@@(\w+)@@'"), re.compile(r"'@@@(\w+)@@@'")
_HELPERS = """\
{{- /* A value as text. Helm reads 10485760 as a floating-point number, and would write 1.048576e+07. */ -}}
{{- define "provider-gateway.text" -}}
{{- if kindIs "invalid" . }}{{ quote "" }}{{ else if kindIs "float64" . }}{{ toJson . | quote }}
{{- else }}{{ toString . | quote }}{{ end -}}
{{- end -}}
"""

Objects = list[dict[str, Any]]


def value_name(parameter: str) -> str:
    """The value for a template's parameter."""
    first, *others = parameter.lower().split("_")
    return first + "".join(map(str.capitalize, others))


def _unfilled(value: Any) -> Any:
    """A template's object with tokens in place of its references."""
    if isinstance(value, dict):
        return {key: _unfilled(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_unfilled(each) for each in value]
    if not isinstance(value, str) or "${" not in value:
        return value
    found = re.fullmatch(r"\$\{(\{)?(\w+)\}?\}", value)
    assert found is not None, f"{value}: a reference beside other text"
    token = "@@@" if found[1] else "@@"
    return f"{token}{value_name(found[2])}{token}"


def _of_template(component: str) -> Objects:
    return [_unfilled(each) for each in templates()[component]["objects"]]


def _of_folder(folder: str) -> Objects:
    objects = build(ROOT / folder)
    for name, (kind, of, key, _) in TEXTS.items():
        for each in objects:
            if (each["kind"], each["metadata"]["name"]) == (kind, of):
                each["data"] = each["data"] | {key: f"@@{name}@@"}
    return objects


def _on_kubernetes(objects: Objects) -> Objects:
    """What Kustomize makes of objects: no routes, and the patches for plain Kubernetes."""
    changed = [copy.deepcopy(each) for each in objects if each["kind"] != "Route"]
    for component in ("plain-kubernetes", "rabbitmq"):
        _patch(changed, component)
    return changed


def _with_load_balancer(objects: Objects) -> Objects:
    changed = copy.deepcopy(objects)
    _patch(changed, "load-balancer")
    return changed


def _patch(objects: Objects, component: str) -> None:
    folder = ROOT / "kubernetes/components" / component
    for patch in documents(folder / "kustomization.yaml")[0]["patches"]:
        for each in objects:
            if selected(each, patch["target"]):
                apply_patch(each, documents(folder / patch["path"])[0])


def _text(objects: Objects) -> str:
    """Objects as text of a chart."""
    text = dump(objects).replace("{{", '{{ "{{" }}')
    text = _JSON.sub(lambda found: f"{{{{ toJson {_structure(found[1])} }}}}", text)
    return _TEXT.sub(r'{{ include "provider-gateway.text" .Values.\1 }}', text)


def _structure(name: str) -> str:
    """The expression for a value that is no text. Helm would merge a mapping with its default: so that is in here."""
    _, default = _parameters()[name]
    if not isinstance(default, dict):
        return f".Values.{name}"
    return f"(default (fromJson `{json.dumps(default)}`) .Values.{name})"


def either(condition: str, one: str, other: str) -> str:
    """A text that is one of two, by a condition; lines that both have stand once."""
    lines, others = one.splitlines(keepends=True), other.splitlines(keepends=True)
    found = ""
    for kind, start, end, other_start, other_end in SequenceMatcher(None, lines, others, autojunk=False).get_opcodes():
        if kind == "equal":
            found += "".join(lines[start:end])
            continue
        first, second = "".join(lines[start:end]), "".join(others[other_start:other_end])
        if not first:
            found += f"{{{{- if not ({condition}) }}}}\n{second}{{{{- end }}}}\n"
        else:
            middle = f"{{{{- else }}}}\n{second}" if second else ""
            found += f"{{{{- if {condition} }}}}\n{first}{middle}{{{{- end }}}}\n"
    return found


def _both(objects: Objects) -> str:
    """The text for OpenShift and for plain Kubernetes."""
    kubernetes = _on_kubernetes(objects)
    plain = either(".Values.loadBalancer", _text(_with_load_balancer(kubernetes)), _text(kubernetes))
    return either(".Values.openshift", _text(objects), plain)


def _from_route(component: str, make: Callable[[dict[str, Any]], dict[str, Any]]) -> str:
    (route,) = (each for each in _of_template(component) if each["kind"] == "Route")
    return _text([make(route)])


def _to_gateway(route: dict[str, Any]) -> dict[str, Any]:
    return tls_route(route, f"@@{GATEWAY[0]}@@")


def _template(condition: str | None, text: str) -> str:
    head = f"# {_MADE}\n"
    return head + text if condition is None else f"{{{{- if {condition} }}}}\n{head}{text}{{{{- end }}}}\n"


def files() -> dict[str, str]:
    """The text of each file of the chart, by its path in it."""
    split = ".Values.split"
    parts = {
        "common": (None, _both(_of_folder("common"))),
        "rabbitmq": (".Values.rabbitmq", _both(_of_folder("rabbitmq"))),
        "own-broker": ("not .Values.rabbitmq", _both(_of_template("own-broker"))),
        "model": (".Values.model", _both(_of_folder("model") + _of_template("model"))),
        "single": (f"not {split}", _both(_of_folder("single") + _of_template("single"))),
        "gateway": (split, _both(_of_folder("gateway") + _of_template("gateway"))),
        "provider": (split, _both(_of_folder("provider") + _of_template("provider"))),
        "postgresql": (".Values.postgresql", _text(_of_folder("postgresql"))),
        "webhooks": (".Values.webhooks", _text(_of_folder("webhooks"))),
        "traces": (".Values.traces", _text(_of_folder("traces"))),
        "ingress": (".Values.ingress", either(split, *(_from_route(each, ingress) for each in ("gateway", "single")))),
        "tls-route": (
            ".Values.tlsRoute",
            either(split, *(_from_route(each, _to_gateway) for each in ("gateway", "single"))),
        ),
    }
    made = {f"templates/{name}.yaml": _template(*part) for name, part in parts.items()}
    return made | {
        "Chart.yaml": _chart(),
        "values.yaml": _values(),
        "values.schema.json": json.dumps(_schema(), indent=2) + "\n",
        "templates/_helpers.tpl": _HELPERS,
    }


def _chart() -> str:
    about = {
        "apiVersion": "v2",
        "name": "provider-gateway",
        "description": "HTTPS and AMQP in, machine-learning model out: one Twisted process around RabbitMQ",
        "type": "application",
        "version": __version__,
        "appVersion": __version__,
        "kubeVersion": ">=1.29.0-0",
    }
    return f'# {_MADE}\n# docs/openshift.md, "Helm", says how to use it.\n{dump([about])}'


def _parameters() -> dict[str, tuple[dict[str, Any], Any]]:
    """The templates' parameters, and their defaults, by the names of the values."""
    given = parameters() | {"IMAGE": IMAGE, "MODEL_IMAGE": IMAGE}
    found: dict[str, tuple[dict[str, Any], Any]] = {}
    for template in templates().values():
        for each in template["parameters"]:
            text = given.get(each["name"], each.get("value", ""))
            is_text = f"${{{{{each['name']}}}}}" not in json.dumps(template["objects"])
            found[value_name(each["name"])] = (each, text if is_text else json.loads(text))
    return found


def defaults() -> dict[str, Any]:
    """The values' defaults."""
    found: dict[str, Any] = {name: default for name, (default, _) in SWITCHES.items()}
    found[GATEWAY[0]] = GATEWAY[1]
    found |= {name: {} if isinstance(default, dict) else default for name, (_, default) in _parameters().items()}
    for name, (kind, of, key, _) in TEXTS.items():
        folder = "rabbitmq" if of.startswith("rabbitmq") else "common"
        (each,) = (each for each in build(ROOT / folder) if (each["kind"], each["metadata"]["name"]) == (kind, of))
        found[name] = each["data"][key]
    return found


def _values() -> str:
    said = {name: text for name, (_, text) in SWITCHES.items()} | {GATEWAY[0]: GATEWAY[2]}
    of_values = {each["name"]: name for name, (each, _) in _parameters().items()}
    for name, (each, _) in _parameters().items():
        # Descriptions name other parameters.
        said[name] = re.sub(r"[A-Z_]{4,}", lambda found: of_values.get(found[0], found[0]), each["description"])
    said |= {name: text for name, (*_, text) in TEXTS.items()}
    text = f"# {_MADE}\n"
    for name, default in defaults().items():
        written = f"|\n{_indented(default)}" if name in TEXTS else f"{json.dumps(default)}\n"
        text += f"\n# {said[name]}\n{name}: {written}"
    return text


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" if line else "\n" for line in text.splitlines())


def _schema() -> dict[str, Any]:
    """Refuses a misspelt value, and one of a wrong type."""
    kinds = {bool: "boolean", int: "integer", list: "array", dict: "object"}
    given = _parameters()
    properties: dict[str, Any] = {}
    for name, default in defaults().items():
        if not isinstance(default, str):
            properties[name] = {"type": kinds[type(default)]}
            continue
        properties[name] = {"type": ["string", "number", "boolean"]}
        if name in TEXTS or (name in given and given[name][0].get("required")):
            properties[name]["minLength"] = 1
    properties["global"] = {"type": "object"}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }
