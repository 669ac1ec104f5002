"""No file or object is missing, and the documentation names them correctly."""

from __future__ import annotations

import re
import shlex

from twisted.trial.unittest import SynchronousTestCase

from tests.deployment.components import CALLERS, CALLERS_KEYS, LIMITS, SECRETS
from tests.deployment.manifests import REPOSITORY, ROOT, documents, plain_objects, relative, templates, yaml_files
from tests.deployment.process import process, read_parameters
from tests.deployment.validation import validate

#: The objects of each file.
OBJECTS = {
    "autoscaling/horizontal-pod-autoscaler-gateway.yaml": ["HorizontalPodAutoscaler gateway"],
    "autoscaling/horizontal-pod-autoscaler-single.yaml": ["HorizontalPodAutoscaler provider-gateway"],
    "autoscaling/role-binding.yaml": ["RoleBinding provider-gateway-prometheus"],
    "autoscaling/role.yaml": ["Role provider-gateway-prometheus"],
    "autoscaling/scaled-object-provider.yaml": ["ScaledObject provider"],
    "autoscaling/service-account.yaml": ["ServiceAccount provider-gateway-prometheus"],
    "autoscaling/token.yaml": ["Secret provider-gateway-prometheus"],
    "autoscaling/trigger-authentication.yaml": ["TriggerAuthentication provider-gateway-prometheus"],
    "cert-manager/ca-broker.yaml": ["Certificate provider-gateway-ca-broker"],
    "cert-manager/ca-callers.yaml": ["Certificate provider-gateway-ca-callers"],
    "cert-manager/certificate-caller.yaml": ["Certificate caller"],
    "cert-manager/certificate-https.yaml": ["Certificate provider-gateway-https"],
    "cert-manager/certificate-initiator.yaml": ["Certificate initiator-mq"],
    "cert-manager/certificate-mq.yaml": ["Certificate provider-gateway-mq"],
    "cert-manager/certificate-rabbitmq.yaml": ["Certificate rabbitmq-tls"],
    "cert-manager/issuer-broker.yaml": ["Issuer provider-gateway-broker"],
    "cert-manager/issuer-callers.yaml": ["Issuer provider-gateway-callers"],
    "cert-manager/issuer-self-signed.yaml": ["Issuer provider-gateway-self-signed"],
    "common/network-policy-default-deny.yaml": ["NetworkPolicy provider-gateway-default-deny"],
    "common/network-policy-dns.yaml": ["NetworkPolicy provider-gateway-dns"],
    "common/queue-file.yaml": ["ConfigMap provider-gateway-queues"],
    "common/service-account.yaml": ["ServiceAccount provider-gateway"],
    "gateway/network-policy.yaml": ["NetworkPolicy gateway"],
    "gateway/pod-disruption-budget.yaml": ["PodDisruptionBudget gateway"],
    "gateway/service-admin.yaml": ["Service gateway-admin"],
    "gateway/service.yaml": ["Service gateway"],
    "kubernetes/base/model.yaml": [
        "Deployment model",
        "Service model",
        "PodDisruptionBudget model",
        "NetworkPolicy model",
    ],
    "kubernetes/components/fluentd/config-map.yaml": ["ConfigMap provider-gateway-fluentd"],
    "kubernetes/components/fluentd/network-policy.yaml": ["NetworkPolicy provider-gateway-fluentd"],
    "kubernetes/components/ingress-single/ingress.yaml": ["Ingress provider-gateway"],
    "kubernetes/components/ingress-split/ingress.yaml": ["Ingress gateway"],
    "kubernetes/components/tls-route-single/tls-route.yaml": ["TLSRoute provider-gateway"],
    "kubernetes/components/tls-route-split/tls-route.yaml": ["TLSRoute gateway"],
    "kubernetes/components/own-broker/network-policy.yaml": ["NetworkPolicy provider-gateway-broker"],
    "kubernetes/workloads/single/provider-gateway.yaml": ["Deployment provider-gateway"],
    "kubernetes/workloads/split/gateway.yaml": ["Deployment gateway"],
    "kubernetes/workloads/split/provider.yaml": ["Deployment provider"],
    "model/service-account.yaml": ["ServiceAccount model"],
    "postgresql/network-policy.yaml": ["NetworkPolicy provider-gateway-postgresql"],
    "prometheus-rules.yaml": ["PrometheusRule provider-gateway"],
    "provider/network-policy.yaml": ["NetworkPolicy provider"],
    "provider/pod-disruption-budget.yaml": ["PodDisruptionBudget provider"],
    "provider/service.yaml": ["Service provider"],
    "rabbitmq/config-map.yaml": ["ConfigMap rabbitmq-config"],
    "rabbitmq/url.yaml": ["ConfigMap provider-gateway-broker"],
    "rabbitmq/network-policy-clients.yaml": ["NetworkPolicy provider-gateway-rabbitmq"],
    "rabbitmq/network-policy-before-4.1.yaml": ["NetworkPolicy rabbitmq-peer-discovery"],
    "rabbitmq/network-policy.yaml": ["NetworkPolicy rabbitmq"],
    "rabbitmq/persistent-volume-claim.yaml": ["PersistentVolumeClaim data-rabbitmq-0"],
    "rabbitmq/pod-disruption-budget.yaml": ["PodDisruptionBudget rabbitmq"],
    "rabbitmq/role-binding.yaml": ["RoleBinding rabbitmq-peer-discovery"],
    "rabbitmq/role.yaml": ["Role rabbitmq-peer-discovery"],
    "rabbitmq/service-account.yaml": ["ServiceAccount rabbitmq"],
    "rabbitmq/service-headless.yaml": ["Service rabbitmq-headless"],
    "rabbitmq/service.yaml": ["Service rabbitmq"],
    "rabbitmq/stateful-set.yaml": ["StatefulSet rabbitmq"],
    "service-monitor.yaml": ["ServiceMonitor provider-gateway", "ServiceMonitor rabbitmq"],
    "single/network-policy.yaml": ["NetworkPolicy provider-gateway"],
    "single/persistent-volume-claim.yaml": ["PersistentVolumeClaim provider-gateway-data"],
    "single/pod-disruption-budget.yaml": ["PodDisruptionBudget provider-gateway"],
    "single/service-admin.yaml": ["Service provider-gateway-admin"],
    "single/service.yaml": ["Service provider-gateway"],
    "traces/network-policy.yaml": ["NetworkPolicy provider-gateway-traces"],
    "webhooks/network-policy.yaml": ["NetworkPolicy provider-gateway-webhooks"],
}
GUIDES = ("docs/openshift.md", "docs/scaling.md")
#: Commands that docs/openshift.md has to contain.
STEPS = (
    "oc apply -k openshift/cert-manager",
    "oc apply -k openshift/common",
    "oc apply -k openshift/rabbitmq",
    "oc apply -k openshift/model",
    "oc apply -k openshift/single",
    "oc apply -k openshift/gateway",
    "oc apply -k openshift/provider",
    "oc apply -k openshift/postgresql",
    "oc apply -k openshift/webhooks",
    "oc apply -k openshift/traces",
)


def commands(guide: str) -> list[str]:
    """The commands in a guide's code blocks, with continued lines joined."""
    text = (REPOSITORY / guide).read_text().replace("\\\n", " ")
    return [line.strip() for line in text.splitlines() if line.startswith("    ")]


class FileTests(SynchronousTestCase):
    """The folder as a whole."""

    def test_objects(self) -> None:
        """The files contain exactly these objects."""
        found: dict[str, list[str]] = {}
        for file, each in plain_objects():
            found.setdefault(file, []).append(f"{each['kind']} {each['metadata']['name']}")
        self.assertEqual(found, OBJECTS)

    def test_other_files(self) -> None:
        """Templates, parameter file and kustomizations exist."""
        for name in (
            "parameters.env",
            *(f"template-{each}.yaml" for each in ("single", "gateway", "provider", "model", "own-broker")),
        ):
            self.assertTrue((ROOT / name).is_file(), name)
        for name in ("base", "overlays/single", "overlays/split", "components/fluentd", "components/load-balancer"):
            self.assertTrue((ROOT / "kubernetes" / name / "kustomization.yaml").is_file(), name)

    def test_comments_name_files_that_are_there(self) -> None:
        """Paths in comments exist in the repository."""
        for file in (*yaml_files(), ROOT / "parameters.env"):
            comments = " ".join(re.findall(r"#(.*)", file.read_text()))
            for path in re.findall(r"\b((?:openshift|docs)/[\w./-]*\w)", comments):
                self.assertTrue((REPOSITORY / path).exists(), f"{relative(file)}: {path}")


class GuideTests(SynchronousTestCase):
    """docs/openshift.md and docs/scaling.md."""

    def test_paths(self) -> None:
        """Paths in the guides exist in the repository."""
        for guide in GUIDES:
            for path in re.findall(
                r"\b((?:openshift|docs|conf|certs-example)/[\w./-]*\w)", (REPOSITORY / guide).read_text()
            ):
                if not path.startswith("certs-example/out"):
                    self.assertTrue((REPOSITORY / path).exists(), f"{guide}: {path}")

    def test_every_folder_is_created(self) -> None:
        """The guide has a command for each folder of objects."""
        said = commands(GUIDES[0])
        for step in STEPS:
            self.assertTrue(any(line.startswith(step) for line in said), step)

    def test_every_file_is_named_or_applied(self) -> None:
        """Each file is named in a guide, or is in a folder that a guide applies as a whole."""
        text = " ".join((REPOSITORY / guide).read_text() for guide in GUIDES)
        for file in yaml_files():
            name = f"openshift/{relative(file)}"
            folder = name.rpartition("/")[0]
            listed = (
                documents(file.with_name("kustomization.yaml"))[0]
                if file.with_name("kustomization.yaml").exists()
                else {}
            )
            applied = f"-k {folder}" in text or ("openshift/kubernetes/overlays" in text and "kubernetes/" in name)
            applied = applied and (
                file.name in listed.get("resources", []) or file.name == "kustomization.yaml" or "patches" in listed
            )
            self.assertTrue(name in text or applied, name)

    def test_templates_are_processed_as_documented(self) -> None:
        """The guide's "oc process" commands cover every template, and work with the parameter file that they name."""
        lines = [line for line in commands(GUIDES[0]) if line.startswith("oc process")]
        processed = set()
        for line in lines:
            first, apply = line.split(" | ")
            words = shlex.split(first)
            options = {word.split("=")[0]: word.partition("=")[2] for word in words if word.startswith("--")}
            given = dict(words[at + 1].split("=", 1) for at, word in enumerate(words) if word == "-p")
            path = words[words.index("-f") + 1]
            self.assertEqual(options.keys(), {"--ignore-unknown-parameters", "--param-file"})
            self.assertEqual(apply, "oc apply -f -")
            template = documents(REPOSITORY / path)[0]
            values = read_parameters((REPOSITORY / options["--param-file"]).read_text())
            # Values of the command line win over those of the file.
            for each in process(template, values | given, ignore_unknown=True)["items"]:
                validate(each, line)
            self.assertLessEqual(given.keys(), {each["name"] for each in template["parameters"]})
            processed.add(path)
        self.assertEqual(processed, {f"openshift/template-{name}.yaml" for name in templates()})

    def test_every_secret_is_made(self) -> None:
        """A command makes each secret that pods mount, with the keys that they expect."""
        made: dict[str, set[str]] = {}
        for line in commands(GUIDES[0]):
            if line.startswith("oc create secret generic"):
                words = shlex.split(re.sub(r"\$\([^)]*\)", "x", line))
                keys = {word.split("=")[1] for word in words if word.startswith(("--from-file", "--from-literal"))}
                made[words[4]] = keys
        self.assertEqual(made, SECRETS)

    def test_config_map_of_callers(self) -> None:
        """A command makes the optional config map, with the keys that the templates' parameters name."""
        (line,) = (each for each in commands(GUIDES[0]) if each.startswith("oc create configmap"))
        _, _, _, name, *files = shlex.split(line)
        self.assertEqual((name, {each.partition("=")[2] for each in files}), (CALLERS, CALLERS_KEYS))

    def test_limits_are_named(self) -> None:
        """The guide names every limit that is a parameter."""
        text = (REPOSITORY / GUIDES[0]).read_text()
        for name in ("MAX_BODY_BYTES", "MAX_BUFFERED_BYTES", *LIMITS):
            self.assertIn(f"`{name}`", text)

    def test_files_of_secrets_are_those_of_the_tool(self) -> None:
        """The commands use files of certs-example/make_certs.py, each for the right secret."""
        expected = {
            "provider-gateway-https": ("server_cert.pem", "server_key.pem"),
            "provider-gateway-mq": ("client_cert_mq.pem", "client_key_mq.pem"),
            "rabbitmq-tls": ("broker_cert.pem", "broker_key.pem"),
        }
        for secret, (cert, key) in expected.items():
            (line,) = (each for each in commands(GUIDES[0]) if each.startswith(f"oc create secret generic {secret} "))
            files = dict(re.findall(r"--from-file=(\S+?)=certs-example/out/(\S+)", line))
            self.assertEqual(files, {"tls.crt": cert, "tls.key": key, "ca.crt": "cacert.pem"})

    def test_says_that_it_was_not_run(self) -> None:
        """The guide says that its commands have not been run on a cluster."""
        self.assertIn("not been run on a cluster", (REPOSITORY / GUIDES[0]).read_text())
