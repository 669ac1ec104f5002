"""Source distribution and wheel: built as a release is, complete, and what is installed from them runs."""

from __future__ import annotations

import email
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from functools import cache
from pathlib import Path

from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from devtools.debian13 import copy_sources
from provider_gateway import __version__
from tests.support.folders import ROOT, folder
from tests.support.processes import Process

NAME = f"provider_gateway-{__version__}"
#: What a wheel has beside the package: Twisted's plugin.
_PLUGIN = "twisted/plugins/provider_gateway_plugin.py"


def run(*command: str | Path, cwd: Path) -> None:
    """Run a command; its output is in the error if it fails."""
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"


@cache
def distributions() -> Path:
    """The folder of both files, built from a copy of the files that git has.

    ``python -m build`` makes the wheel of the source distribution: what is missing in that one is missing here.
    """
    built = folder() / "distributions"
    with tempfile.TemporaryDirectory() as sources:
        copy_sources(Path(sources))
        run(sys.executable, "-m", "build", "--outdir", built, cwd=Path(sources))
    return built


class DistributionTests(TestCase):
    """The two files."""

    timeout = 300

    async def setUp(self) -> None:
        self.built = await deferToThread(distributions)

    def test_wheel(self) -> None:
        """The wheel has each module and file of the package, the plugin, the licence, and nothing else."""
        with zipfile.ZipFile(self.built / f"{NAME}-py3-none-any.whl") as wheel:
            names = {name for name in wheel.namelist() if not name.startswith(f"{NAME}.dist-info/")}
            licence = wheel.read(f"{NAME}.dist-info/licenses/LICENSE")
        files = {path for path in (ROOT / "provider_gateway").rglob("*") if path.is_file() and path.suffix != ".pyc"}
        self.assertEqual(names, {str(path.relative_to(ROOT)) for path in files} | {_PLUGIN})
        self.assertEqual(licence, (ROOT / "LICENSE").read_bytes())

    def test_metadata(self) -> None:
        """Name, version, licence, supported versions of Python; no person or address is made up."""
        with zipfile.ZipFile(self.built / f"{NAME}-py3-none-any.whl") as wheel:
            metadata = email.message_from_bytes(wheel.read(f"{NAME}.dist-info/METADATA"))
        self.assertEqual((metadata["Name"], metadata["Version"]), ("provider-gateway", __version__))
        self.assertEqual(metadata["License-Expression"], "Apache-2.0")
        self.assertEqual(metadata["Requires-Python"], ">=3.11")
        for absent in ("Author", "Author-email", "Maintainer", "Home-page", "Project-URL"):
            self.assertIsNone(metadata[absent])

    def test_source_distribution(self) -> None:
        """The source distribution has what the tests need, and no file that is made at run time."""
        with tarfile.open(self.built / f"{NAME}.tar.gz") as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        for needed in (
            *("LICENSE", "SECURITY.md", "CHANGELOG.md", "Makefile", "constraints.txt", "conf/queue_config.yaml"),
            *("docs/openapi.json", "docs/schemas/queue-file.schema.json", "examples/queue_config.yaml"),
            *("tests/unit/test_layers.py", "devtools/run_tests.py", "openshift/parameters.env", _PLUGIN),
        ):
            self.assertIn(needed, names)
        wrong = [name for name in names if name.endswith((".pem", ".pyc", ".key", "/.env")) or "__pycache__" in name]
        self.assertEqual(wrong, [])

    def test_version(self) -> None:
        """Dockerfile and CHANGELOG have the version of the package; before the first release the CHANGELOG has none."""
        (in_image,) = re.findall(r"^ARG VERSION=(.*)$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
        self.assertEqual(in_image, __version__)
        changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
        unreleased, *released = re.findall(r"^## (.*)$", changes, re.MULTILINE)
        self.assertEqual(unreleased, "Unreleased")
        if released:
            self.assertRegex(released[0], rf"^{re.escape(__version__)} - \d{{4}}-\d\d-\d\d$")

    async def test_installed(self) -> None:
        """In a fresh virtual environment, with nothing of this folder, the demo starts, answers, and ends with 0."""
        fresh = folder() / "fresh-environment"
        fresh.mkdir()
        wheel = self.built / f"{NAME}-py3-none-any.whl"
        await deferToThread(run, sys.executable, "-m", "venv", fresh, cwd=fresh)
        pip = [fresh / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        await deferToThread(run, *pip, "--constraint", ROOT / "constraints.txt", wheel, cwd=fresh)
        environment = {"PATH": "/usr/bin:/bin", "HTTP_PORT": "0", "ADMIN_PORT": "0"}
        twistd = str(fresh / "bin" / "twistd")
        out, _, status = await getProcessOutputAndValue(
            twistd, ["-n", "provider-gateway", "--version"], env=environment, path=str(fresh)
        )
        self.assertEqual((out.decode(), status), (f"provider-gateway {__version__}\n", 0))
        demo = Process.start(self, [twistd, "-n", "--pidfile=", "provider-gateway", "--demo"], environment, fresh)
        await demo.when(lambda: "Ctrl-C ends everything." in demo.lines)
        (admin,) = [line.split()[-2] for line in demo.lines if line.startswith("Health and metrics:")]
        out, errors, status = await getProcessOutputAndValue("/usr/bin/env", ["curl", "-sS", admin], env=os.environ)
        self.assertEqual((out, status), (b'{"status": "OK"}', 0), errors)
        demo.signal("TERM")
        self.assertEqual(await demo.when_ended(), 0)
        self.assertIn('    {"result": 500938}', demo.lines)
