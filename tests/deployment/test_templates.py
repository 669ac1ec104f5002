"""The templates use their parameters as the commands of docs/openshift.md expect."""

from __future__ import annotations

import json
import re
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway import __version__
from tests.deployment.components import LIMITS, selector_of, selects
from tests.deployment.manifests import ROOT, parameters, pod, processed, templates, worlds
from tests.deployment.network import Peer, allowed
from tests.deployment.process import ProcessError, process, references
from tests.deployment.validation import validate

#: Parameters without a default: every cluster has its own values.
WITHOUT_DEFAULT = {
    "single": {"IMAGE", "ROUTE_HOST"},
    "gateway": {"IMAGE", "ROUTE_HOST"},
    "provider": {"IMAGE"},
    "model": {"MODEL_IMAGE"},
    "own-broker": set(),
}
#: Parameters that may be empty: for an https model, for optional files, for a broker of one's own, for traces, and
#: limits with the program's defaults.
OPTIONAL = {
    *("MODEL_URL", "MODEL_READY_URL", "MODEL_CACERT", "MODEL_CERT", "MODEL_KEY"),
    *("HTTP_ACCESS", "HTTP_CRL"),
    *("MQ_CERT", "MQ_KEY", "BROKER_NAMESPACE"),
    *("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"),
    *("MAX_BODY_BYTES", "MAX_BUFFERED_BYTES", *LIMITS),
}
#: Values that are JSON: the parameter file has plain values. A whole volume; a command; rules of a network policy.
VOLUME, COMMAND, EGRESS = JSON = ("DATA_VOLUME", "MODEL_COMMAND", "MODEL_EGRESS")
#: Parameters that change several places; they have tests of their own.
SEVERAL = ("MODEL_NAME", "MODEL_HEALTH_PATH")
RESOURCES_OF_MODEL = re.compile("MODEL_(CPU|MEMORY)_")
#: Values other than the defaults, all different, to see where they arrive.
OTHER = {
    "REPLICAS": "7",
    "SINGLE_REPLICAS": "6",
    "PROVIDER_REPLICAS": "8",
    "MODEL_REPLICAS": "9",
    "TERMINATION_GRACE_PERIOD": "77",
    "ROUTE_HOST": "other.example.org",
    "BROKER_PORT": "5999",
}
PLACES = {
    "REPLICAS": "Deployment.spec.replicas",
    "SINGLE_REPLICAS": "Deployment.spec.replicas",
    "SINGLE_STRATEGY": "Deployment.spec.strategy.type",
    "PROVIDER_REPLICAS": "Deployment.spec.replicas",
    "MODEL_REPLICAS": "Deployment.spec.replicas",
    "TERMINATION_GRACE_PERIOD": "Deployment.spec.template.spec.terminationGracePeriodSeconds",
    "IMAGE": "Deployment.spec.template.spec.containers.0.image",
    "MODEL_IMAGE": "Deployment.spec.template.spec.containers.0.image",
    "ROUTE_HOST": "Route.spec.host",
    "BROKER_CIDR": "NetworkPolicy.spec.egress.0.to.0.ipBlock.cidr",
    "BROKER_NAMESPACE": ("NetworkPolicy.spec.egress.0.to.1.namespaceSelector.matchLabels.kubernetes.io/metadata.name"),
    "BROKER_PORT": "NetworkPolicy.spec.egress.0.ports.0.port",
    **{
        f"{prefix}{what}_{kind}": f"Deployment.spec.template.spec.containers.0.resources.{kind.lower()}s.{what.lower()}"
        for prefix in ("", "MODEL_")
        for what in ("CPU", "MEMORY")
        for kind in ("REQUEST", "LIMIT")
    },
}


def leaves(value: object, way: str) -> dict[str, object]:
    """Every value in a document, by path; environment variables by name."""
    if isinstance(value, dict):
        return {path: leaf for key, each in value.items() for path, leaf in leaves(each, f"{way}.{key}").items()}
    if isinstance(value, list):
        named = all(isinstance(each, dict) and "name" in each for each in value) and way.endswith("env")
        names = [each["name"] if named else index for index, each in enumerate(value)]
        return {
            p: leaf
            for name, each in zip(names, value, strict=True)
            for p, leaf in leaves(each, f"{way}.{name}").items()
        }
    return {way: value}


def all_leaves(template: dict[str, Any], given: dict[str, str]) -> dict[str, object]:
    """Every value in a template's objects, by path."""
    items = process(template, given, ignore_unknown=True)["items"]
    return {path: leaf for each in items for path, leaf in leaves(each, each["kind"]).items()}


class TemplateTests(SynchronousTestCase):
    """Each template by itself."""

    def test_components(self) -> None:
        """There is one template for the single container, one for each application, one for a broker of one's own."""
        self.assertEqual(templates().keys(), {"single", "gateway", "provider", "model", "own-broker"})
        for component, template in templates().items():
            self.assertEqual(template["metadata"]["name"], f"provider-gateway-{component}")
            kinds = ["Deployment", "Route"] if component in {"single", "gateway"} else ["Deployment"]
            if component not in {"model", "own-broker"}:
                self.assertEqual([each["kind"] for each in template["objects"]], kinds)

    def test_every_reference_is_a_parameter(self) -> None:
        """Every parameter that objects refer to is declared, and every declared parameter is used."""
        for component, template in templates().items():
            names = [each["name"] for each in template["parameters"]]
            self.assertEqual(len(names), len(set(names)))
            self.assertEqual(references(template), set(names), component)

    def test_nothing_is_left(self) -> None:
        """After processing, the objects contain no references."""
        for component in templates():
            self.assertNotIn("${", json.dumps(processed(component)))

    def test_required(self) -> None:
        """Parameters are required unless they may be empty; only cluster-specific ones have no default."""
        for component, template in templates().items():
            for each in template["parameters"]:
                self.assertEqual(each.get("required", False), each["name"] not in OPTIONAL, each)
            without = {each["name"] for each in template["parameters"] if "value" not in each}
            self.assertEqual(without, WITHOUT_DEFAULT[component])

    def test_missing(self) -> None:
        """Without a value for a parameter that has no default, the command fails and names it."""
        for component, template in templates().items():
            for name in WITHOUT_DEFAULT[component]:
                given = {key: value for key, value in parameters().items() if key != name}
                error = self.assertRaises(ProcessError, process, template, given, ignore_unknown=True)
                self.assertIn(name, str(error))

    def test_each_value_arrives(self) -> None:
        """A parameter's value changes exactly one place, the right one."""
        given = parameters()
        for component, template in templates().items():
            before = all_leaves(template, given)
            for name in (each["name"] for each in template["parameters"] if each["name"] not in (*JSON, *SEVERAL)):
                value = OTHER.get(name, "other")
                after = all_leaves(template, given | {name: value})
                changed = {path: str(after[path]) for path in before if before[path] != after[path]}
                environment = f"Deployment.spec.template.spec.containers.0.env.{name}.value"
                self.assertEqual(changed, {PLACES.get(name, environment): value}, f"{component} {name}")

    def test_volume(self) -> None:
        """The single container's volume is the claim, or what its parameter's description has for several pods."""
        template = templates()["single"]
        (parameter,) = (each for each in template["parameters"] if each["name"] == VOLUME)
        for text in (parameter["value"], re.findall(r"{.*}", parameter["description"])[0]):
            deployment = process(template, parameters() | {VOLUME: text}, ignore_unknown=True)["items"][0]
            self.assertIn(json.loads(text), deployment["spec"]["template"]["spec"]["volumes"])

    def test_models(self) -> None:
        """Two models, made from the template with two names, share no object, no selector and no pod."""
        one, two = (self.model(MODEL_NAME=name) for name in ("model", "images"))
        self.assertEqual(
            [each["kind"] for each in one], ["Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"]
        )
        for first, second in zip(one, two, strict=True):
            self.assertEqual((first["metadata"]["name"], second["metadata"]["name"]), ("model", "images"))
            text = json.dumps(second)
            self.assertNotIn('instance": "model"', text)
            self.assertEqual(text.replace('"images"', '"model"'), json.dumps(first))
        for objects, other in ((one, two), (two, one)):
            deployment, service, budget, policy = objects
            selector = deployment["spec"]["selector"]["matchLabels"]
            self.assertEqual(service["spec"]["selector"], selector)
            self.assertEqual(budget["spec"]["selector"]["matchLabels"], selector)
            self.assertEqual(policy["spec"]["podSelector"]["matchLabels"], selector)
            self.assertTrue(selects(selector, pod(deployment)["metadata"]["labels"]))
            self.assertFalse(selects(selector, pod(other[0])["metadata"]["labels"]))

    def test_both_models_are_reached(self) -> None:
        """The provider's policy lets it call models of every name, and each model's own policy lets it in."""
        for name in ("model", "images"):
            deployment, *_, policy = self.model(MODEL_NAME=name)
            model = Peer(name, tuple(pod(deployment)["metadata"]["labels"].items()))
            for world in worlds():
                for component in set(world.components) & {"single", "provider"}:
                    caller = Peer(component, tuple(selector_of(component).items()))
                    policies = world.kind("NetworkPolicy")
                    self.assertIn((8080, "TCP"), allowed(policies, "egress", caller, model))
                    self.assertEqual(allowed([policy], "ingress", model, caller), {(8080, "TCP")})

    def test_egress(self) -> None:
        """By default a model connects to nothing; with what the parameter's description has, to port 443 anywhere."""
        *_, policy = self.model()
        self.assertEqual((policy["spec"]["egress"], policy["spec"]["policyTypes"]), ([], ["Ingress", "Egress"]))
        (parameter,) = (each for each in templates()["model"]["parameters"] if each["name"] == EGRESS)
        text = re.findall(r"\[{.*}\]", parameter["description"])[0]
        *_, policy = self.model(MODEL_EGRESS=text)
        validate(policy, EGRESS)
        ports = [{"protocol": "TCP", "port": 443}]
        self.assertEqual(policy["spec"]["egress"], [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}], "ports": ports}])

    def test_command_and_probes(self) -> None:
        """A model of one's own needs no change of the template: its command or the image's, its probes."""
        for command in (["uvicorn", "app:app", "--port", "8080"], []):
            deployment, *_ = self.model(MODEL_COMMAND=json.dumps(command), MODEL_HEALTH_PATH="/v2/health/ready")
            validate(deployment, COMMAND)
            (container,) = pod(deployment)["spec"]["containers"]
            self.assertEqual(container["command"], command)
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                self.assertEqual(container[probe]["httpGet"], {"path": "/v2/health/ready", "port": "http"})

    def model(self, **given: str) -> list[dict[str, Any]]:
        """The objects of the model's template, with other values than those of the parameter file."""
        items: list[dict[str, Any]] = process(templates()["model"], parameters() | given, ignore_unknown=True)["items"]
        return items

    def test_numbers(self) -> None:
        """Numbers are numbers where the cluster expects them, and text in an environment."""
        for deployment in (processed(each)[0] for each in templates() if each != "own-broker"):
            self.assertIsInstance(deployment["spec"]["replicas"], int)
            for each in deployment["spec"]["template"]["spec"]["containers"][0].get("env", []):
                self.assertIsInstance(each.get("value", ""), str)


class ParameterFileTests(SynchronousTestCase):
    """openshift/parameters.env, the parameter file of all templates."""

    def test_names(self) -> None:
        """The file has the parameters of all templates, except optional ones, JSON and a model's resources."""
        known = {each["name"] for template in templates().values() for each in template["parameters"]}
        self.assertEqual(
            parameters().keys(), {name for name in known - OPTIONAL - set(JSON) if not RESOURCES_OF_MODEL.match(name)}
        )

    def test_image(self) -> None:
        """The image is the one that docs/openshift.md builds: this version, in the cluster's own registry."""
        guide = (ROOT.parent / "docs/openshift.md").read_text()
        tagged = re.search(r"^    oc tag provider-gateway:latest (\S+)$", guide, re.MULTILINE)
        project = re.search(r"^    oc new-project (\S+)$", guide, re.MULTILINE)
        assert tagged is not None
        assert project is not None
        self.assertEqual(tagged[1], f"provider-gateway:{__version__}")
        image = f"image-registry.openshift-image-registry.svc:5000/{project[1]}/{tagged[1]}"
        self.assertEqual((parameters()["IMAGE"], parameters()["MODEL_IMAGE"]), (image, image))

    def test_values(self) -> None:
        """The file has the values that templates need, and repeats their defaults, for readers."""
        for component, template in templates().items():
            self.assertLessEqual(WITHOUT_DEFAULT[component], parameters().keys())
            for each in template["parameters"]:
                if each["name"] in parameters() and "value" in each:
                    self.assertEqual(parameters()[each["name"]], each["value"], f"{component} {each['name']}")

    def test_defaults_agree(self) -> None:
        """A parameter has the same default in all templates."""
        defaults: dict[str, str] = {}
        for component, template in templates().items():
            for each in template["parameters"]:
                value = each.get("value", "")
                self.assertEqual(defaults.setdefault(each["name"], value), value, component)

    def test_unknown_parameters_have_to_be_ignored(self) -> None:
        """No template has all parameters: hence --ignore-unknown-parameters in the command."""
        for template in templates().values():
            self.assertRaises(ProcessError, process, template, parameters())

    def test_host_is_an_example(self) -> None:
        """The host name is an example, and the example HTTPS certificate is for it."""
        self.assertEqual(parameters()["ROUTE_HOST"], "mlx.apps.example.org")

    def test_names_of_deployments_and_components(self) -> None:
        """The command in the first comment names a template that exists."""
        command = re.search(r"oc process -f (\S+)", (ROOT / "parameters.env").read_text())
        assert command is not None
        self.assertTrue((ROOT.parent / command[1]).is_file())
