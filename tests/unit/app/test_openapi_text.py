"""``--openapi``, and the document under docs/."""

from __future__ import annotations

import json
import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.app.openapi_text import openapi_text
from provider_gateway.errors import SettingsError

ROOT = Path(__file__).parents[3]


class OpenAPITextTests(SynchronousTestCase):
    """Runs in an empty folder."""

    def setUp(self) -> None:
        before = Path.cwd()
        folder = Path(self.mktemp())
        folder.mkdir()
        os.chdir(folder)
        self.addCleanup(os.chdir, before)
        self.patch(os, "environ", {})

    def test_docs(self) -> None:
        """docs/openapi.json is that of the example files with a result store: "make documents" writes it."""
        access = str(ROOT / "examples" / "access.yaml")
        self.patch(os, "environ", {"RESULT_STORE": "sqlite:///var/results.db", "HTTP_ACCESS": access})
        made = openapi_text(None, ROOT / "examples" / "queue_config.yaml")
        self.assertEqual((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"), made, "run: make documents")

    def test_nothing_is_needed(self) -> None:
        """Without any setting it is the document of the built-in queue; a broker that is named is not asked."""
        paths = json.loads(openapi_text(None, None))["paths"]
        self.assertIn("/v1/predict", paths)
        self.assertNotIn("/v1/requests", paths)
        self.patch(os, "environ", {"RMQ_URL": "amqp://nowhere.invalid/"})
        self.assertEqual(json.loads(openapi_text(None, None))["paths"], paths)

    def test_env_file(self) -> None:
        """Settings of the env file count; a wrong one is an error."""
        Path("my.env").write_text("RMQ_URL=amqp://b/\nREPLY_TIMEOUT=7\n")
        Path("wrong.env").write_text("REPLY_TIMEOUT=soon\n")
        self.assertRaises(SettingsError, openapi_text, Path("wrong.env"), None)
        self.assertIn("waits 7 s", json.loads(openapi_text(Path("my.env"), None))["info"]["description"])

    def test_parking(self) -> None:
        """Parked messages are in it if the access file gives somebody a right on them; its secrets are not needed."""
        self.patch(os, "environ", {"HTTP_ACCESS": "access.yaml"})
        webhook = "webhooks: {w: {url: 'https://h.example/', secretFiles: [/nowhere]}}"
        for rights, is_there in (("", False), ("parking: [replay], queues: [one], ", True)):
            Path("access.yaml").write_text(f"- {{identities: [a], routingKeys: ['#'], {rights}{webhook}}}\n")
            made = json.loads(openapi_text(None, None))
            self.assertEqual("/v1/parking/{queue}/drop" in made["paths"], is_there)
        queue = made["paths"]["/v1/parking/{queue}/drop"]["post"]["parameters"][0]
        self.assertEqual(queue["schema"], {"enum": ["fib"]})

    def test_wrong_access_file(self) -> None:
        """An access file that is missing or wrong is an error that names it."""
        self.patch(os, "environ", {"HTTP_ACCESS": "access.yaml"})
        error = self.assertRaises(SettingsError, openapi_text, None, None)
        self.assertIn("access.yaml", str(error))
        Path("access.yaml").write_text("- {identities: [a], parking: [read]}\n")
        error = self.assertRaises(SettingsError, openapi_text, None, None)
        self.assertIn("parking and queues", str(error))
