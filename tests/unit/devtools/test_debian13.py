"""The run in Debian 13: what it takes from this machine, and what it says where it cannot run."""

from __future__ import annotations

import configparser
import os
from pathlib import Path
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from devtools import debian13, pip_settings, root_file_system
from devtools.root_file_system import MissingError


class PipTests(SynchronousTestCase):
    """pip behaves in the root file system as on this machine."""

    def test_configuration(self) -> None:
        """The settings of all files become one file; variables are handed on as variables."""
        listing = (
            ":env:.cert='/here.pem'\nglobal.cert='/there.pem'\nglobal.index-url='http://index/%7Eme/'\n"
            "install.timeout='9'\nglobal.find-links='\\n/one\\n/two'\n"
        )
        parser = configparser.RawConfigParser()
        parser.read_string(pip_settings.merged(listing))
        found = {section: dict(parser[section]) for section in parser.sections()}
        expected = {"cert": "/there.pem", "index-url": "http://index/%7Eme/", "find-links": "\n/one\n/two"}
        self.assertEqual(found, {"global": expected, "install": {"timeout": "9"}})
        with patch.dict(os.environ, {"PIP_CERT": "/here.pem", "PIP_CONFIG_FILE": "/conf", "HTTPS_PROXY": "http://p/"}):
            settings = pip_settings.variables()
        self.assertEqual((settings["PIP_CERT"], settings["HTTPS_PROXY"]), ("/here.pem", "http://p/"))
        self.assertNotIn("PIP_CONFIG_FILE", settings)

    def test_no_configuration(self) -> None:
        """Without settings the file is empty."""
        self.assertEqual(pip_settings.merged(""), "")

    def test_paths(self) -> None:
        """Files and folders that variables name are mounted; of an index in a folder, what lies beside it, too."""
        folder = Path(self.mktemp()).resolve()
        (folder / "index/simple").mkdir(parents=True)
        (folder / "cert.pem").touch()
        values = (
            f"[global]\ncert = {folder}/cert.pem\n",
            f"http://index/simple file://{folder}/index/simple",
            f"\n{folder}/index\n{folder}/gone\n/",
        )
        self.assertEqual(pip_settings.paths_of(*values), [f"{folder}/cert.pem", f"{folder}/index"])


class SourcesTests(SynchronousTestCase):
    """What of the sources is tested."""

    def test_no_clone(self) -> None:
        """Sources that git does not know are an error with its reason, not an empty run."""
        with patch.object(debian13, "ROOT", Path("/")):
            error = self.assertRaises(MissingError, debian13.copy_sources, Path(self.mktemp()))
        self.assertIn("git", str(error))


class MirrorTests(SynchronousTestCase):
    """Where Debian's packages come from."""

    def mirror(self, *told: str) -> str:
        """The mirror, when apt answers like this, once before its update and once after it."""
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        for number, each in enumerate(told):
            (folder / f"told{number}").write_text(each)
        script = f'#!/bin/sh\nif [ "$1" = update ]; then : >{folder}/updated; exit; fi\n'
        script += f"if [ -e {folder}/updated ]; then cat {folder}/told1; else cat {folder}/told0; fi\n"
        (folder / "apt-get").write_text(script)
        (folder / "apt-get").chmod(0o755)
        with patch.dict(os.environ, {"PATH": f"{folder}:{os.environ['PATH']}"}):
            return root_file_system.mirror()

    def test_of_apt(self) -> None:
        """It is the first that apt uses."""
        self.assertEqual(self.mirror("http://first/debian/\nhttp://second/debian/\n", ""), "http://first/debian/")

    def test_after_an_update(self) -> None:
        """A machine whose apt has never been updated updates it."""
        self.assertEqual(self.mirror("", "http://first/debian/\n"), "http://first/debian/")

    def test_none(self) -> None:
        """Where apt has none, the error says how to name one."""
        error = self.assertRaises(MissingError, self.mirror, "", "")
        self.assertIn("DEBIAN_MIRROR=", str(error))

    def test_chosen(self) -> None:
        """One that is named is used."""
        with patch.dict(os.environ, {"DEBIAN_MIRROR": "http://own/"}):
            self.assertEqual(self.mirror("http://first/", ""), "http://own/")


class MachineTests(SynchronousTestCase):
    """A machine that cannot run the tests says so, and the run fails."""

    def run_main(self) -> int:
        """Run the program; its standard error is in ``self.said``."""
        said = Path(self.mktemp())
        with said.open("w") as file, patch("sys.stderr", file), patch("sys.argv", ["debian13"]), patch("signal.signal"):
            status = debian13.main()
        self.said = said.read_text()
        return status

    def test_not_root(self) -> None:
        """Another user than root gets one line, and a status that is a failure."""
        with patch("os.geteuid", return_value=1000):
            self.assertEqual(self.run_main(), 1)
        self.assertEqual(
            self.said,
            "The tests did not run in Debian 13: only root can make a root file system. Run it as root: "
            "sudo make test-debian13\n",
        )

    def test_no_mounts(self) -> None:
        """Root that may not mount gets one line, and a status that is a failure."""
        with patch("os.geteuid", return_value=0), patch.object(root_file_system, "NAMESPACE", ("false",)):
            self.assertEqual(self.run_main(), 1)
        self.assertIn("mounting is not allowed here", self.said)
        self.assertEqual(self.said.count("\n"), 1)

    def test_failed_making(self) -> None:
        """If debootstrap fails, nothing is left that a later run would take for a root file system."""
        folder = Path(self.mktemp()).resolve() / "made"
        with (
            patch.object(root_file_system, "NAMESPACE", ("env",)),
            patch.object(root_file_system, "DEBOOTSTRAP", ("false",)),
            patch.object(root_file_system, "proxies", dict),
            patch.object(root_file_system, "mirror", lambda: "http://none.invalid/"),
            patch("builtins.print"),
        ):
            error = self.assertRaises(MissingError, root_file_system.make, folder)
        self.assertIn("http://none.invalid/", str(error))
        self.assertFalse(folder.exists())
