"""The registry of metrics."""

from __future__ import annotations

import platform

from twisted.trial.unittest import SynchronousTestCase

import twisted
from provider_gateway import __version__
from provider_gateway.observability.metrics import Metrics


class BuildInfoTests(SynchronousTestCase):
    """``build_info``."""

    def test_versions(self) -> None:
        """It is 1, and its labels have the versions that run."""
        labels = {"version": __version__, "python": platform.python_version(), "twisted": twisted.__version__}
        found = Metrics().registry.get_sample_value("provider_gateway_build_info", labels)
        self.assertEqual(found, 1)
