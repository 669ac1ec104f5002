"""The image: its Dockerfile, the files after its build, and how it runs on OpenShift."""

from __future__ import annotations

import json
import pickle
import re
import stat
from importlib.metadata import Distribution, distributions
from typing import TYPE_CHECKING

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from provider_gateway import __version__
from provider_gateway.config.settings import Settings
from tests.deployment.image_build import image
from tests.deployment.image_deployment import CALL, ImageTestCase, certificates, route_host
from tests.deployment.image_dockerfile import Context, stages
from tests.deployment.image_pod import GROUP, USER
from tests.deployment.image_root import IS_ROOT
from tests.support.folders import ROOT

if TYPE_CHECKING:
    from pathlib import Path

ENVIRONMENT = "/opt/provider-gateway"
#: Words in the log if a file could not be written.
FAILED_WRITE = re.compile(r"dropin\.cache|plugin cache|Read-only file system|Permission denied|Errno (13|30)\b")


def constraints() -> dict[str, str]:
    """The versions in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


class DockerfileTests(SynchronousTestCase):
    """The Dockerfile."""

    def setUp(self) -> None:
        self.build, self.final = stages(ROOT / "Dockerfile")

    def test_base(self) -> None:
        """Both stages start from the same slim image of Python, in a version that setup.py supports."""
        self.assertEqual(self.build.base, self.final.base)
        version = re.fullmatch(r"python:(3\.\d+)-slim-[a-z]+", self.final.base)
        assert version is not None, self.final.base
        self.assertIn(f'"Programming Language :: Python :: {version[1]}"', (ROOT / "setup.py").read_text())

    def test_final_stage(self) -> None:
        """The final stage installs nothing: it copies the environment of the first stage."""
        self.assertEqual([f"--from=build {ENVIRONMENT} {ENVIRONMENT}"], [each.text for each in self.final.all("COPY")])
        for each in self.final.all("RUN"):
            self.assertNotRegex(each.text, r"\b(apt|apt-get|microdnf|curl|wget|gcc|pip (install|wheel|download))\b")

    def test_wheels(self) -> None:
        """The first stage takes wheels with known hashes, makes one of our own, and installs only these."""
        wheels, own, environment, _ = [each.text for each in self.build.all("RUN")]
        self.assertIn("pip wheel --require-hashes --only-binary :all: --requirement image-requirements.txt ", wheels)
        self.assertIn("pip install --no-cache-dir --no-index --find-links /wheels setuptools", wheels)
        self.assertIn("pip wheel --no-index --no-build-isolation --no-deps ", own)
        self.assertIn(" --no-index --find-links /wheels ", environment)

    def test_user(self) -> None:
        """The user is a number other than 0, which Kubernetes can check; the group is 0, as on OpenShift."""
        self.assertRegex(self.final.all("USER")[-1].text, r"^[1-9]\d*:0$")

    def test_base_of_another_user(self) -> None:
        """Both stages are built as root, whatever the base image's user is."""
        for stage in (self.build, self.final):
            self.assertEqual(("USER", "0"), (stage.instructions[0].name, stage.instructions[0].text))

    def test_base_with_python_elsewhere(self) -> None:
        """No instruction relies on where the base image has Python."""
        for stage in (self.build, self.final):
            for each in stage.instructions:
                if each.name != "ENV":
                    self.assertNotIn("/usr/", each.text)

    def test_entrypoint(self) -> None:
        """Twistd is the first process, without a shell, in the foreground and without a pid file."""
        self.assertEqual(["twistd", "-n", "--pidfile=", "provider-gateway"], self.final.entrypoint())
        self.assertEqual([], self.final.all("CMD"))

    def test_ports(self) -> None:
        """The exposed ports are the defaults of the settings."""
        wanted = [Settings.model_fields[name].default for name in ("http_port", "admin_port")]
        self.assertEqual(wanted, [int(port) for port in self.final.only("EXPOSE").split()])

    def test_labels(self) -> None:
        """The labels are those of OCI, with the package's version."""
        labels = {}
        for each in self.final.all("LABEL"):
            labels |= each.pairs(self.final.variables())
        self.assertTrue(all(name.startswith("org.opencontainers.image.") for name in labels), labels)
        self.assertEqual(__version__, labels["org.opencontainers.image.version"])

    def test_environment(self) -> None:
        """Python writes no bytecode and does not buffer output; the virtual environment is first in PATH."""
        found = self.final.environment()
        self.assertEqual(("1", "1"), (found["PYTHONDONTWRITEBYTECODE"], found["PYTHONUNBUFFERED"]))
        self.assertEqual(f"{ENVIRONMENT}/bin", found["PATH"].split(":")[0])


class RequirementsTests(SynchronousTestCase):
    """image-requirements.txt."""

    def setUp(self) -> None:
        text = (ROOT / "image-requirements.txt").read_text(encoding="utf-8").replace("\\\n", " ")
        self.lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]

    def test_versions(self) -> None:
        """The versions are those of constraints.txt, with which the tests run."""
        pinned = {_normal(name): version for name, version in constraints().items()}
        found = {_normal(name): version for name, version in (line.split()[0].split("==") for line in self.lines)}
        of_windows = {_normal(line.split("==")[0]) for line in self.lines if "sys_platform == 'win32'" in line}
        build = {"setuptools"}
        self.assertEqual({name: pinned.get(name) for name in found.keys() - build - of_windows},
                         {name: found[name] for name in found.keys() - build - of_windows})  # fmt: skip

    def test_hashes(self) -> None:
        """Each version has the hashes of its files."""
        for line in self.lines:
            self.assertRegex(line, r"^\S+==\S+ (; [^-]+)?( *--hash=sha256:[0-9a-f]{64})+ *$")


class ContextTests(SynchronousTestCase):
    """.dockerignore."""

    def setUp(self) -> None:
        self.context = Context(ROOT)

    def test_secrets_and_rubbish_stay(self) -> None:
        """Keys, certificates, local settings, caches and git's history are not sent to the builder."""
        for path in (
            *(
                ".git/config",
                ".env",
                ".demo/certs/client_key.pem",
                "certs-example/out/client_key.pem",
                ".venv/bin/python",
            ),
            *("provider_gateway/key.pem", "provider_gateway/.env", "provider_gateway/__pycache__/tap.cpython-311.pyc"),
            *(
                ".venv/bin/python",
                "twisted/plugins/dropin.cache",
                "tests/__init__.py",
                "Dockerfile",
                "conf/example.env",
            ),
        ):
            self.assertFalse(self.context.has(path), path)

    def test_sources_are_sent(self) -> None:
        """Every source file of the packages is sent to the builder."""
        for folder in ("provider_gateway", "twisted"):
            wanted = {path.relative_to(ROOT) for path in (ROOT / folder).rglob("*.py")}
            self.assertEqual(wanted, {path for path in self.context.files(folder) if path.suffix == ".py"})


class ContentsTests(TestCase):
    """The files of the image after its build."""

    timeout = 120

    async def setUp(self) -> None:
        self.image = await deferToThread(image)
        self.environment = self.image.root.path(ENVIRONMENT)
        (self.packages,) = self.environment.glob("lib/python3.*/site-packages")

    def installed(self) -> dict[str, Distribution]:
        return {_normal(each.name): each for each in distributions(path=[str(self.packages)])}

    def test_pinned(self) -> None:
        """Every package has the pinned version; neither pip nor development tools are installed."""
        pinned = {_normal(name): version for name, version in constraints().items()}
        pinned |= {"provider-gateway": __version__}
        installed = {name: each.version for name, each in self.installed().items()}
        self.assertEqual(installed, {name: pinned.get(name) for name in installed})
        self.assertFalse(set(installed) & {"pip", "setuptools", "wheel", "hypothesis", "mypy", "ruff"})

    def test_no_pip(self) -> None:
        """The base image's pip is gone, too, and what could install it again."""
        for root in (self.image.root.path("/usr/local"), self.environment):
            found = [path for path in root.rglob("*") if re.fullmatch(r"pip([-\d].*)?|ensurepip", path.name)]
            self.assertEqual([], found)

    def test_package_is_whole(self) -> None:
        """Every module of the packages, the plugin and py.typed are installed."""
        wanted = {path.relative_to(ROOT) for path in (ROOT / "provider_gateway").rglob("*.py")}
        wanted |= {path.relative_to(ROOT) for path in (ROOT / "twisted").rglob("*.py")}
        wanted.add((ROOT / "provider_gateway/py.typed").relative_to(ROOT))
        self.assertEqual(set(), {path for path in wanted if not (self.packages / path).is_file()})

    def test_nothing_is_writable(self) -> None:
        """Only root may write to our files, and every user may read them."""
        for path in (self.environment, *self.environment.rglob("*"), self.image.root.path(self.image.folder)):
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                continue
            self.assertFalse(mode & (stat.S_IWGRP | stat.S_IWOTH), path)
            needed = stat.S_IRGRP | stat.S_IROTH | (stat.S_IXGRP | stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
            self.assertEqual(needed, mode & needed, path)

    def assert_compiled(self, sources: list[Path]) -> None:
        self.assertGreater(len(sources), 100)
        for source in sources:
            found = list((source.parent / "__pycache__").glob(f"{source.stem}.cpython-*.pyc"))
            self.assertEqual(1, len(found), source)
            # Flags 1: with a hash of its source that Python does not check.
            self.assertEqual(1, int.from_bytes(found[0].read_bytes()[4:8], "little"), source)

    def test_compiled(self) -> None:
        """All bytecode is compiled, and stays valid when the times of its source change."""
        self.assert_compiled(list(self.packages.rglob("*.py")))
        (library,) = self.image.root.path("/usr/local/lib").glob("python3.*")
        # Also in packages such as asyncio and json; tests and the editor IDLE are not needed.
        self.assert_compiled([path for path in library.glob("[a-z]*.py") if path.name != "turtle.py"])

    def test_plugin_cache(self) -> None:
        """Twisted's plugin cache exists, knows our plugin, and is newer than every plugin, even after a fast build."""
        plugins = self.packages / "twisted/plugins"
        cache = plugins / "dropin.cache"
        self.assertIn("provider_gateway_plugin", pickle.loads(cache.read_bytes()))
        for plugin in plugins.glob("*.py"):
            self.assertLess(plugin.stat().st_mtime, cache.stat().st_mtime - 3600, plugin)


def files_of(root: Path) -> dict[str, tuple[int, int, int]]:
    """Mode, size and time of the files below a folder, except the file that the container runtime writes."""
    found = {}
    for path in root.rglob("*"):
        about = path.lstat()
        if not path.is_dir() and path != root / "etc/hosts":
            found[str(path)] = (about.st_mode, about.st_size, about.st_mtime_ns)
    return found


class LifeTests(ImageTestCase):
    """The image's command in the pods of the templates."""

    async def test_life(self) -> None:
        """Started as in the template, the image gets ready, answers the seed's request, writes no file, ends with 0.

        The console script runs beside it, with the same settings.
        """
        before = files_of(self.image.root.folder)
        await self.start_broker()
        model = self.start(self.model)
        await model.when(lambda: model.lines)
        self.assertEqual(200, await self.probe(self.model, "readinessProbe"))
        gateway = await self.start(self.workload).ready()
        for name in ("startupProbe", "livenessProbe", "readinessProbe"):
            self.assertEqual(200, await self.probe(self.workload, name), name)

        # The route passes the connection through unchanged.
        way = ["--connect-to", f"{route_host()}:443:localhost:{self.workload.port('https')}"]
        url = f"https://{route_host()}/v1/predict"
        ended, output, errors = await self.pod.curl(
            self, *CALL, "-w", "\n%{http_code}\n", *way, url, folder=certificates()
        )
        self.assertEqual((0, ""), (ended, errors))
        body, code = output.split("\n")
        self.assertEqual(("200", {"result": 500938}), (code, json.loads(body)))

        # As "oc exec deployment/provider-gateway -- provider-gateway parking list" runs it.
        command = self.start(self.workload, "provider-gateway", "parking", "list")
        self.assertEqual(0, await command.when_ended(), command.errors)
        (queue,) = map(json.loads, command.lines)
        self.assertEqual((0, ""), (queue["messages"], command.errors))

        about = gateway.status
        self.assertEqual("1", about["NSpid"][-1])
        if IS_ROOT:
            self.assertEqual([[str(USER)] * 4, [str(GROUP)] * 4], [about["Uid"], about["Gid"]])
            self.assertEqual(["0" * 16], about["CapEff"])
        self.assertEqual(0, await self.end(gateway))
        self.assertEqual(0, await self.end(model))
        self.assertEqual(("", ""), (gateway.errors, model.errors))
        self.assertEqual([], [line for line in gateway.lines + model.lines if FAILED_WRITE.search(line)])
        self.assertTrue(before == files_of(self.image.root.folder), "the image's files changed")

    async def test_ends_while_it_waits(self) -> None:
        """Without a broker the process is alive and not ready; SIGTERM ends it in order, though it is first process."""
        gateway = self.start(self.workload)
        await gateway.port("admin")
        self.assertEqual(200, await self.probe(self.workload, "livenessProbe"))
        self.assertEqual(503, await self.probe(self.workload, "readinessProbe"))
        self.assertEqual(0, await self.end(gateway))

    async def test_wrong_setting(self) -> None:
        """A wrong variable ends the container with status 1, and with one line in its log that names the variable."""
        self.workload.container["env"] = [*self.workload.container["env"], {"name": "HTTP_PORT", "value": "fifty"}]
        gateway = self.start(self.workload)
        self.assertEqual(1, await gateway.when_ended())
        self.assertIn("provider-gateway: HTTP_PORT: expected a valid integer", gateway.errors)
