"""gRPC is an extra: who does not use it neither needs nor loads it."""

from __future__ import annotations

import ast
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.support.folders import ROOT

#: Loads everything that a process without gRPC uses.
_LOAD = """
import sys
import provider_gateway.tap, provider_gateway.provider.models, provider_gateway.app.service, provider_gateway.app.check
print(sorted(name for name in sys.modules if name.partition(".")[0] in ("grpc", "google")))
"""


class ExtraTests(SynchronousTestCase):
    """Imports of grpcio and protobuf."""

    def test_not_loaded(self) -> None:
        """A process whose entries ask for no gRPC loads neither of them."""
        done = subprocess.run([sys.executable, "-c", _LOAD], cwd=ROOT, capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout.strip(), "[]")

    def test_one_package(self) -> None:
        """No other package imports them."""
        for file in (ROOT / "provider_gateway").rglob("*.py"):
            names = [
                name
                for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
                for name in (
                    [alias.name for alias in node.names]
                    if isinstance(node, ast.Import)
                    else [node.module or ""]
                    if isinstance(node, ast.ImportFrom)
                    else []
                )
            ]
            if file.parent.name != "grpc_model":
                self.assertEqual([name for name in names if name.split(".")[0] in ("grpc", "google")], [], file)
