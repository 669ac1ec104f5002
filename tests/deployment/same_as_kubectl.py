"""Compares our stand-in for Kustomize with the real one: ``trial tests.deployment.same_as_kubectl``."""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.deployment.kustomize import build
from tests.deployment.manifests import ROOT
from tests.deployment.overlays import OVERLAYS, ordered, with_optional_components


class SameAsKubectlTests(SynchronousTestCase):
    """Run separately, because few machines have kubectl."""

    def test_overlays(self) -> None:
        """The stand-in builds the same objects as kubectl, with and without the optional components."""
        for root in (ROOT, with_optional_components(Path(self.mktemp()).resolve())):
            for overlay in OVERLAYS:
                folder = root / f"kubernetes/overlays/{overlay}"
                ran = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
                self.assertEqual(ran.returncode, 0, ran.stderr)
                self.assertEqual(ordered(list(yaml.safe_load_all(ran.stdout))), ordered(build(folder)))
