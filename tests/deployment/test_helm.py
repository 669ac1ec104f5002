"""Real Helm renders from the chart what templates and Kustomize make, and refuses wrong values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway import __version__
from tests.deployment import helm_chart
from tests.deployment.components import ROUTES
from tests.deployment.helm_chart import SWITCHES, TEXTS, defaults, either, value_name
from tests.deployment.helm_render import render
from tests.deployment.kustomize import build
from tests.deployment.manifests import REPOSITORY, ROOT, parameters, templates
from tests.deployment.overlays import ordered, with_optional_components
from tests.deployment.process import process
from tests.deployment.validation import validate

CHART = REPOSITORY / helm_chart.FOLDER
#: Values for the images of the parameter file.
IMAGES = {"image": parameters()["IMAGE"], "modelImage": parameters()["MODEL_IMAGE"]}
#: Switches, and the component of Kustomize that does the same; ``{}`` is the variant.
COMPONENTS = {
    "postgresql": "postgresql",
    "webhooks": "webhooks",
    "traces": "traces",
    "loadBalancer": "load-balancer",
    "ingress": "ingress-{}",
    "tlsRoute": "tls-route-{}",
}


def processed(names: list[str], given: dict[str, str]) -> list[dict[str, Any]]:
    """The objects of templates."""
    return [each for name in names for each in process(templates()[name], given, ignore_unknown=True)["items"]]


class EqualTests(SynchronousTestCase):
    """The same objects as in the other ways to deploy."""

    def check(self, *cases: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
        """Render values, and compare the objects with those that are expected."""
        for (values, expected), found in zip(
            cases, render(CHART, *(values for values, _ in cases))["rendered"], strict=True
        ):
            self.assertNotIn("error", found, values)
            for each in found["objects"]:
                validate(each, f"chart {values}")
            self.assertEqual(ordered(found["objects"]), ordered(expected), values)

    def openshift(self, variant: str, broker: str, **given: str) -> list[dict[str, Any]]:
        """What the guide's commands create on OpenShift."""
        roles = ["single"] if variant == "single" else ["gateway", "provider"]
        folders = ["common", "model", *roles, *(["rabbitmq"] if broker == "rabbitmq" else [])]
        made = processed(["model", *roles, *(["own-broker"] if broker != "rabbitmq" else [])], parameters() | given)
        return [*(each for folder in folders for each in build(ROOT / folder)), *made]

    def test_openshift(self) -> None:
        """On OpenShift: the folders and templates of the guide, with RabbitMQ and with a broker of one's own."""
        self.check(
            *(
                (
                    {**IMAGES, "openshift": True, "split": variant == "split", "rabbitmq": broker == "rabbitmq"},
                    self.openshift(variant, broker),
                )
                for variant in ("single", "split")
                for broker in ("rabbitmq", "own")
            )
        )

    def test_kubernetes(self) -> None:
        """On plain Kubernetes: the overlays, without values at all for the single container."""
        overlays = ROOT / "kubernetes/overlays"
        self.check(
            ({}, build(overlays / "single")),
            ({"split": True}, build(overlays / "split")),
            ({"rabbitmq": False}, build(overlays / "own-broker-single")),
            ({"split": True, "rabbitmq": False}, build(overlays / "own-broker-split")),
        )

    def test_components(self) -> None:
        """Each switch does what the optional component of its name does, alone and together with the others."""
        cases = []
        for variant in ("single", "split"):
            for switches in (*([name] for name in COMPONENTS), list(COMPONENTS)):
                only = [COMPONENTS[name].format(variant) for name in switches]
                root = with_optional_components(Path(self.mktemp()), only=only)
                expected = build(root / f"kubernetes/overlays/{variant}")
                cases.append(({"split": variant == "split", **dict.fromkeys(switches, True)}, expected))
        self.check(*cases)

    def test_without_model(self) -> None:
        """Without the model, nothing of it is left."""
        (found,) = render(CHART, {"model": False})["rendered"]
        self.assertEqual(
            ordered(found["objects"]),
            ordered(
                [
                    each
                    for each in build(ROOT / "kubernetes/overlays/single")
                    if each["metadata"]["labels"].get("app.kubernetes.io/component") != "model"
                ]
            ),
        )

    def test_every_value(self) -> None:
        """Each value arrives where the parameter of its name does in the templates."""
        given: dict[str, str] = {}
        values: dict[str, Any] = {"openshift": True, "rabbitmq": False}
        for template in templates().values():
            for each in template["parameters"]:
                name, default = each["name"], defaults()[value_name(each["name"])]
                if isinstance(default, str):
                    given[name] = values[value_name(name)] = f"other.{name.lower()}"
                elif isinstance(default, int):
                    given[name], values[value_name(name)] = str(1000 + len(given)), 1000 + len(given)
                else:
                    values[value_name(name)] = {"a": name} if isinstance(default, dict) else [{"a": name}]
                    given[name] = json.dumps(values[value_name(name)])
        self.assertEqual(values.keys() | SWITCHES.keys() | TEXTS.keys() | {"gatewayName"}, defaults().keys())
        for split in (False, True):
            (found,) = render(CHART, {**values, "split": split})["rendered"]
            expected = self.openshift("split" if split else "single", "own", **given)
            self.assertEqual(ordered(found["objects"]), ordered(expected))

    def test_texts(self) -> None:
        """The queue file, and RabbitMQ's users and rights, may be values."""
        values = {name: f"a: 'b'\n\n# {{{{ {name} }}}}\n" for name in TEXTS}
        (found,) = render(CHART, values)["rendered"]
        data = {each["metadata"]["name"]: each["data"] for each in found["objects"] if each["kind"] == "ConfigMap"}
        for name, (_, of, key, _) in TEXTS.items():
            self.assertEqual(data[of][key], values[name])

    def test_gateway_of_route(self) -> None:
        """The TLSRoute names the Gateway that is given."""
        (found,) = render(CHART, {"tlsRoute": True, "gatewayName": "public"})["rendered"]
        (route,) = (each for each in found["objects"] if each["kind"] == "TLSRoute")
        self.assertEqual(route["spec"]["parentRefs"], [{"name": "public"}])


class ValuesTests(SynchronousTestCase):
    """Values as users write them."""

    def test_numbers(self) -> None:
        """A number is written as such, however large; true, and nothing at all, are texts in an environment."""
        values = {"maxBodyBytes": 1048576000, "httpIdleTimeout": 2.5, "cancellations": False, "replyTimeout": "120"}
        (found,) = render(CHART, values)["rendered"]
        (deployment,) = (
            each
            for each in found["objects"]
            if (each["kind"], each["metadata"]["name"]) == ("Deployment", "provider-gateway")
        )
        variables = {
            each["name"]: each.get("value") for each in deployment["spec"]["template"]["spec"]["containers"][0]["env"]
        }
        expected = {
            "MAX_BODY_BYTES": "1048576000",
            "HTTP_IDLE_TIMEOUT": "2.5",
            "CANCELLATIONS": "false",
            "REPLY_TIMEOUT": "120",
            "HTTP_ACCESS": "",
        }
        self.assertEqual({name: variables[name] for name in expected}, expected)

    def test_refused(self) -> None:
        """A misspelt value, an empty one that is needed, and one of a wrong type are errors that name it."""
        wrong: tuple[tuple[dict[str, Any], str], ...] = (
            ({"httpAcess": "/etc/callers/access.yaml"}, "httpAcess"),
            ({"image": ""}, "image"),
            ({"replicas": "two"}, "replicas"),
            ({"modelCommand": "python"}, "modelCommand"),
            ({"openshift": "yes"}, "openshift"),
            ({"queueFile": ""}, "queueFile"),
        )
        for (_, name), found in zip(wrong, render(CHART, *(each for each, _ in wrong))["rendered"], strict=True):
            self.assertIn(name, found["error"])

    def test_lint(self) -> None:
        """``helm lint`` finds nothing but that there is no icon."""
        lint = render(CHART)["lint"]
        self.assertEqual([], lint["errors"])
        self.assertEqual(["icon is recommended"], [each["error"] for each in lint["messages"]])

    def test_about(self) -> None:
        """The chart has the program's version, and describes each value."""
        about = yaml.safe_load((CHART / "Chart.yaml").read_text())
        self.assertEqual((__version__, __version__), (about["version"], about["appVersion"]))
        text = (CHART / "values.yaml").read_text()
        self.assertEqual(yaml.safe_load(text), defaults())
        for name in defaults():
            self.assertRegex(text, rf"(?m)^# .+\n{name}: ")


class EitherTests(SynchronousTestCase):
    """Two texts in one."""

    def test_lines(self) -> None:
        """Common lines stand once; the others depend on the condition."""
        for one, other, expected in (
            ("a\nb\n", "a\nb\n", "a\nb\n"),
            ("a\nb\nc\n", "a\nc\n", "a\n{{- if X }}\nb\n{{- end }}\nc\n"),
            ("a\nc\n", "a\nb\nc\n", "a\n{{- if not (X) }}\nb\n{{- end }}\nc\n"),
            ("a\nb\n", "a\nc\n", "a\n{{- if X }}\nb\n{{- else }}\nc\n{{- end }}\n"),
        ):
            self.assertEqual(expected, either("X", one, other))


class RoutesTests(SynchronousTestCase):
    """Ingress and TLSRoute."""

    def test_they_pass_tls_through(self) -> None:
        """Both lead the host of the route to the service's HTTPS port, and nothing terminates TLS."""
        for variant, name in (("single", "provider-gateway"), ("split", "gateway")):
            root = with_optional_components(Path(self.mktemp()), only=[f"{each}-{variant}" for each in ROUTES])
            objects = {each["kind"]: each for each in build(root / f"kubernetes/overlays/{variant}")}
            ingress, route = objects["Ingress"], objects["TLSRoute"]
            self.assertNotIn("tls", ingress["spec"])
            self.assertTrue(all(each == "true" for each in ingress["metadata"]["annotations"].values()))
            (rule,) = ingress["spec"]["rules"]
            (path,) = rule["http"]["paths"]
            self.assertEqual(path["backend"]["service"], {"name": name, "port": {"name": "https"}})
            self.assertEqual([rule["host"]], route["spec"]["hostnames"])
            self.assertEqual(rule["host"], parameters()["ROUTE_HOST"])
            self.assertEqual(route["spec"]["rules"], [{"backendRefs": [{"name": name, "port": 5050}]}])
