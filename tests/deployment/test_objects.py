"""A current cluster accepts every object of openshift/."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from tests.deployment import generate
from tests.deployment.helm_chart import FOLDER
from tests.deployment.manifests import (
    REPOSITORY,
    ROLES,
    ROOT,
    component_of,
    containers,
    documents,
    kustomizations,
    plain_objects,
    processed,
    templates,
    worlds,
    yaml_files,
)
from tests.deployment.validation import VERSIONS, InvalidObject, validate

#: Current API versions; all others are old, or not known to the tests.
CURRENT = {
    "v1",
    "apps/v1",
    "autoscaling/v2",
    "gateway.networking.k8s.io/v1",
    "networking.k8s.io/v1",
    "policy/v1",
    "rbac.authorization.k8s.io/v1",
    "template.openshift.io/v1",
    "route.openshift.io/v1",
    "cert-manager.io/v1",
    "keda.sh/v1alpha1",
    "monitoring.coreos.com/v1",
}
#: A host name of one label (RFC 1123), as objects with a DNS name need.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


class ObjectTests(SynchronousTestCase):
    """Files, and the objects made from them."""

    def test_plain_objects_are_valid(self) -> None:
        """Each object matches the schema of its kind in the oldest and the newest version, without unknown fields."""
        for file, each in plain_objects():
            validate(each, file)

    def test_templates_are_valid(self) -> None:
        """Each template matches its schema."""
        for name, each in templates().items():
            validate(each, f"template-{name}.yaml")

    def test_processed_objects_are_valid(self) -> None:
        """Each object of a template, processed with the parameter file, matches its schema: numbers are numbers."""
        for name in templates():
            for each in processed(name):
                validate(each, f"template-{name}.yaml")

    def test_built_objects_are_valid(self) -> None:
        """Each object of a deployment variant, after Kustomize's patches, matches its schema."""
        for world in worlds():
            for each in world.objects:
                validate(each, world.name)

    def test_versions_are_current(self) -> None:
        """API versions are current: none of the seed's beta versions and no DeploymentConfig is left."""
        for file in yaml_files():
            for each in documents(file):
                if isinstance(each, dict) and "kustomize" not in each["apiVersion"]:
                    self.assertIn(each["apiVersion"], CURRENT, file)
        for world in worlds():
            for each in world.objects:
                self.assertIn(each["apiVersion"], CURRENT, world.name)

    def test_names_and_namespaces(self) -> None:
        """Names are host names, unique for each kind; no object sets a namespace, which the user chooses."""
        for world in worlds():
            names = [(each["kind"], each["metadata"]["name"]) for each in world.objects]
            self.assertEqual(len(names), len(set(names)), world.name)
            for each in world.objects:
                self.assertTrue(_NAME.fullmatch(each["metadata"]["name"]), each["metadata"]["name"])
                self.assertNotIn("namespace", each["metadata"])

    def test_labels(self) -> None:
        """Every object has the project's labels, and the label of its component if it belongs to one."""
        objects = [each for _, each in plain_objects()] + [each for name in templates() for each in processed(name)]
        for each in objects:
            labels = each["metadata"]["labels"]
            self.assertEqual(labels["app.kubernetes.io/name"], "provider-gateway", each["metadata"]["name"])
            self.assertEqual(labels["app.kubernetes.io/part-of"], "provider-gateway", each["metadata"]["name"])
            allowed = {*ROLES, "rabbitmq", "model", None}
            self.assertIn(labels.get("app.kubernetes.io/component"), allowed, each["metadata"]["name"])
            self.assertLessEqual({key.partition("/")[0] for key in labels}, {"app.kubernetes.io"})

    def test_component_is_the_folder(self) -> None:
        """Objects in a component's folder have the component's label, except those that are for its clients."""
        for file, each in plain_objects():
            folder = file.partition("/")[0]
            if file == "rabbitmq/network-policy-clients.yaml":
                self.assertIsNone(component_of(each))
            elif folder in {*ROLES, "rabbitmq", "model"}:
                self.assertEqual(component_of(each), folder, file)

    def test_files_begin_with_why(self) -> None:
        """Each file begins with a comment."""
        for file in (*yaml_files(), ROOT / "parameters.env"):
            self.assertTrue(file.read_text().startswith("# "), file)

    def test_no_secret_is_kept(self) -> None:
        """No file contains a secret's contents, a key or a password."""
        for file in (path for path in ROOT.rglob("*") if path.is_file()):
            self.assertNotIn("PRIVATE KEY", file.read_text(), file)
            self.assertFalse(re.search(r"://[^/\s:]+:[^/\s@]+@", file.read_text()), file)
        for file, each in plain_objects():
            if each["kind"] == "Secret":
                self.assertEqual(each.keys() & {"data", "stringData"}, set(), file)

    def test_images_are_pinned(self) -> None:
        """Every image has a tag, and it is not "latest"."""
        for world in worlds():
            for workload in world.workloads():
                for container in containers(workload):
                    tag = container["image"].rpartition("/")[2].partition(":")[2]
                    self.assertRegex(tag, r"\d", container["image"])

    def test_generated_files_are_those_of_the_templates(self) -> None:
        """What Kustomize and Helm use is what python -m tests.deployment.generate makes from the templates."""
        made = generate.generated()
        for name, text in made.items():
            self.assertEqual((REPOSITORY / name).read_text(), text, name)
        chart = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / FOLDER).rglob("*") if path.is_file()}
        self.assertEqual(chart, {name for name in made if name.startswith(FOLDER)})

    def test_kustomizations_have_no_stray_files(self) -> None:
        """Each file beside a kustomization is part of it, or is listed here as a special case."""
        aside = {
            "rabbitmq/role.yaml",
            "rabbitmq/role-binding.yaml",
            "rabbitmq/before-4.1.yaml",
            "rabbitmq/network-policy-before-4.1.yaml",
            "autoscaling/horizontal-pod-autoscaler-single.yaml",
        }
        for file in kustomizations():
            content = documents(file)[0]
            listed = {*content.get("resources", []), *(each.get("path", "") for each in content.get("patches", []))} - {
                ""
            }
            beside = {path.name for path in file.parent.glob("*.yaml")} - {file.name}
            beside -= {name.rpartition("/")[2] for name in aside if name.startswith(f"{file.parent.name}/")}
            self.assertEqual({name for name in listed if "/" not in name}, beside, file)


class ValidationTests(SynchronousTestCase):
    """The validation itself finds errors."""

    def test_unknown_field(self) -> None:
        """A misspelt field is an error, in a kind of Kubernetes and in one of OpenShift."""
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"selectors": {}}}
        self.assertRaises(InvalidObject, validate, service, "here")
        spec = {"host": "a", "to": {"kind": "Service", "name": "a"}, "tsl": {}}
        route = {"apiVersion": "route.openshift.io/v1", "kind": "Route", "metadata": {"name": "a"}, "spec": spec}
        self.assertRaises(InvalidObject, validate, route, "here")

    def test_old_version(self) -> None:
        """The API versions of the seed are not accepted."""
        role = {"apiVersion": "rbac.authorization.k8s.io/v1beta1", "kind": "Role", "metadata": {"name": "a"}}
        self.assertRaises(InvalidObject, validate, role, "here")
        config = {"apiVersion": "apps.openshift.io/v1", "kind": "DeploymentConfig", "metadata": {"name": "a"}}
        self.assertRaises(InvalidObject, validate, config, "here")

    def test_versions(self) -> None:
        """The two checked versions of Kubernetes differ."""
        self.assertEqual(len(set(VERSIONS)), 2)
