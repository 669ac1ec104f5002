"""Settings read in an empty folder, from the variables of the test alone."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config import seed_files
from provider_gateway.config.settings import Settings, load_settings
from provider_gateway.errors import SettingsError

RMQ_URL = "amqps://user:hunter2@rabbitmq:5671/"
SEED_CERTIFICATES = (Path("/certs/gateway_mq"), Path("/certs/provider_mq"))


class SettingsTestCase(SynchronousTestCase):
    """Runs in an empty folder, with only the test's variables."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.addCleanup(os.chdir, Path.cwd())
        os.chdir(self.folder)
        # On a machine that runs the seed, its certificate folders may exist.
        self.assertEqual(SEED_CERTIFICATES, seed_files._FOLDERS)
        self.gateway_certs, self.provider_certs = folders = self.folder / "certs-1", self.folder / "certs-2"
        self.patch(seed_files, "_FOLDERS", folders)

    def load(self, env_file: Path | None = None, **variables: str) -> Settings:
        self.patch(os, "environ", {"RMQ_URL": RMQ_URL, **variables})
        return load_settings(env_file)

    def refusal(self, env_file: Path | None = None, **variables: str) -> str:
        line = str(self.assertRaises(SettingsError, self.load, env_file, **variables))
        self.assertNotIn("\n", line)
        self.assertNotIn("hunter2", line)
        return line
