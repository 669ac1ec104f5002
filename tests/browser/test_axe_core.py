"""axe-core: it is fetched once, is what it should be, and errors say what to do."""

from __future__ import annotations

import base64
import hashlib
import os
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import requests
from twisted.trial.unittest import SynchronousTestCase

from devtools import axe_core


def package(script: bytes) -> bytes:
    """A package of npm with this script."""
    made = BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as files:
        entry = tarfile.TarInfo("package/axe.min.js")
        entry.size = len(script)
        files.addfile(entry, BytesIO(script))
    return made.getvalue()


class AxeCoreTests(SynchronousTestCase):
    """axe-core on a machine whose npm is a script, or that has none."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).resolve()
        self.bin, self.cache = self.folder / "bin", self.folder / "cache"
        self.bin.mkdir(parents=True)
        self.package = package(b"axe")
        digest = base64.b64encode(hashlib.sha512(self.package).digest()).decode()
        self.patch(axe_core, "INTEGRITY", f"sha512-{digest}")
        self.patch(os, "environ", {"PATH": f"{self.bin}:/usr/bin:/bin"})
        self.asked: list[str] = []
        self.patch(requests, "get", self.get)

    def get(self, url: str, **_: Any) -> requests.Response:
        """What the registry answers."""
        self.asked.append(url)
        response = requests.Response()
        response.status_code, response.raw = 200, BytesIO(self.package)
        return response

    def npm(self, script: str) -> None:
        """Make an npm of a shell script. It counts its calls in a file."""
        file = self.bin / "npm"
        file.write_text(f'#!/bin/sh\necho "$@" >>{self.folder}/calls\n{script}\n')
        file.chmod(0o755)

    def calls(self) -> list[str]:
        """The arguments with which npm was called."""
        return (self.folder / "calls").read_text().splitlines()

    def test_npm(self) -> None:
        """Npm fetches it once; then it is in the cache, and nothing else is asked."""
        (self.folder / "package.tgz").write_bytes(self.package)
        self.npm(f"cp {self.folder}/package.tgz axe-core-{axe_core.VERSION}.tgz")
        for _ in range(2):
            self.assertEqual("axe", axe_core.source(self.cache))
        self.assertEqual([f"pack --silent axe-core@{axe_core.VERSION}"], self.calls())
        self.assertEqual([], self.asked)

    def without_npm(self) -> None:
        """Leave no npm on the path, as on a machine without Node."""
        os.environ["PATH"] = str(self.bin)
        os.environ["NPM_CONFIG_REGISTRY"] = "https://npm.example"

    def test_registry(self) -> None:
        """Without npm it comes from the registry that npm's variable names. Without that, too, it says what to do."""
        self.without_npm()
        del os.environ["NPM_CONFIG_REGISTRY"]
        error = self.assertRaises(axe_core.NotFetched, axe_core.source, self.cache)
        self.assertIn("install npm, or name a registry in npm_config_registry", str(error))
        path = f"/axe-core/-/axe-core-{axe_core.VERSION}.tgz"
        for number, (variables, registry) in enumerate(
            (
                ({"npm_config_registry": "https://npm.example/all/"}, "https://npm.example/all"),
                ({"NPM_CONFIG_REGISTRY": "https://npm.example"}, "https://npm.example"),
            )
        ):
            os.environ.update(variables)
            self.assertEqual("axe", axe_core.source(self.cache / str(number)))
            self.assertEqual(registry + path, self.asked[-1])
            os.environ.pop(next(iter(variables), ""), None)

    def test_broken_cache(self) -> None:
        """A cache with something else is fetched anew."""
        self.without_npm()
        self.cache.mkdir()
        (self.cache / f"axe-core-{axe_core.VERSION}.tgz").write_bytes(self.package[:-1])
        self.assertEqual("axe", axe_core.source(self.cache))
        self.assertEqual(1, len(self.asked))

    def test_other_package(self) -> None:
        """A package that is not the expected one is an error, and is not kept."""
        self.without_npm()
        self.package = package(b"something else")
        error = self.assertRaises(axe_core.NotFetched, axe_core.source, self.cache)
        self.assertIn("is not what it should be", str(error))
        self.assertEqual(False, self.cache.exists())

    def test_failures(self) -> None:
        """An npm that fails, or a registry that does not answer, is an error that tells no address."""
        self.npm("echo https://user:hunter2@npm.example >&2; exit 1")
        error = self.assertRaises(axe_core.NotFetched, axe_core.source, self.cache)
        self.assertIn("through npm: CalledProcessError", str(error))
        (self.bin / "npm").unlink()
        self.without_npm()

        def fail(url: str, **_: Any) -> None:
            raise requests.ConnectionError(url)

        self.patch(requests, "get", fail)
        os.environ["NPM_CONFIG_REGISTRY"] = "https://user:hunter2@npm.example"
        error = self.assertRaises(axe_core.NotFetched, axe_core.source, self.cache)
        self.assertIn("ConnectionError", str(error))
        self.assertNotIn("hunter2", str(error))

    def test_cache_of_the_user(self) -> None:
        """Without a folder, the cache is that of the user (XDG Base Directory Specification)."""
        self.without_npm()
        os.environ["XDG_CACHE_HOME"] = str(self.folder / "xdg")
        axe_core.source()
        self.assertTrue((self.folder / "xdg/provider-gateway" / f"axe-core-{axe_core.VERSION}.tgz").exists())
