"""What a process holds in memory: modules of features that its settings do not ask for are not imported."""

from __future__ import annotations

import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

#: Modules of optional features.
OPTIONAL = (
    "jinja2",  # pages of the workbench
    "sqlite3",  # RESULT_STORE
    "provider_gateway.devbroker",  # --demo
    "provider_gateway.demo",
    "provider_gateway.store.sql_store",
    "grpc",  # models that are called by gRPC
    "psycopg",  # RESULT_STORE of PostgreSQL
)
_START = """
import sys
from provider_gateway import tap
options = tap.Options()
options.parseOptions([])
tap.makeService(options)
print(*sorted(sys.modules))
"""


class ImportsOfAStartTests(SynchronousTestCase):
    """What makes the service, in a process of its own."""

    def test_plain_start_imports_no_optional_feature(self) -> None:
        """A service with neither result store nor demo, whose page nobody has opened, does without their modules."""
        settings = {"RMQ_URL": "amqp://user:password@127.0.0.1/", "HTTP_TLS": "false", "PATH": os.environ["PATH"]}
        ran = subprocess.run([sys.executable, "-c", _START], env=settings, capture_output=True, text=True, check=False)
        self.assertEqual("", ran.stderr)
        imported = ran.stdout.split()
        self.assertIn("provider_gateway.gateway.role", imported)
        self.assertEqual([], [name for name in OPTIONAL if name in imported])
