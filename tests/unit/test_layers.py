"""The package's structure: imports point downwards, modules are small and explained, one knows the reactor."""

from __future__ import annotations

import ast
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

PACKAGE = "provider_gateway"
ROOT = Path(__file__).parents[2]

#: From the top down: a module may import only those that stand after it.
LAYERS = (
    "tap",
    "demo",
    "check",
    "workers.supervisor",
    "workers.output",
    "workers.worker",
    "workers.inherited",
    "workers.control",
    "workers.merged_metrics",
    "workers.shared_port",
    "workers.connection_counts",
    "workers.lines",
    "workers.descriptors",
    "service",
    "gateway_role",
    "provider_role",
    "credentials",
    "reload",
    "watch",
    "listeners",
    "admin",
    "access",
    "api",
    "authorization",
    "json_body",
    "sample_model",
    "klein_app",
    "site",
    "http_request",
    "http_channel",
    "http_parser",
    "http_head",
    "rpc",
    "provider",
    "settlement",
    "task",
    "retry",
    "reply_address",
    "model",
    "model_client",
    "http_agent",
    "http_connection",
    "http_response",
    "amqp.consumer",
    "amqp.connection",
    "amqp.endpoint",
    "amqp.publisher",
    "amqp.topology",
    "amqp.session",
    "amqp.message_channel",
    "amqp.turn_writes",
    "amqp.frames",
    "devbroker.server",
    "devbroker.connection",
    "devbroker.channel",
    "devbroker.deliveries",
    "devbroker.confirms",
    "devbroker.topology",
    "devbroker.vhost",
    "devbroker.queue",
    "devbroker.exchange",
    "devbroker.message",
    "devbroker.arguments",
    "devbroker.login",
    "devbroker.frames",
    "devbroker.wire",
    "devbroker.faults",
    "devbroker.refusals",
    "tls_transport",
    "tls",
    "pem",
    "identity",
    "log",
    "problems",
    "routing",
    "metrics",
    "copies",
    "messages",
    "amqp.plain_properties",
    "amqp.properties",
    "settings",
    "broker_url",
    "masked_url",
    "limits",
    "objects",
    "queues",
    "yaml_file",
    "recent",
    "reasons",
    "example_certificates",
    "deadlines",
    "eager_tcp",
    "deferreds",
    "errors",
    # The packages themselves, which import nothing of ours.
    "amqp",
    "devbroker",
    "workers",
    "",
)
REACTOR = "twisted.internet.reactor"


def module_name(path: Path) -> str:
    """The name of a module within the package; the package itself is the empty string."""
    parts = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_name(path): path for path in sorted((ROOT / PACKAGE).rglob("*.py"))}


def imports(node: ast.AST) -> list[tuple[str, int]]:
    """Everything that is imported below a node, as a full name with its line; ``from a import b`` is ``a.b``."""
    found: list[tuple[str, int]] = []
    for each in ast.walk(node):
        if isinstance(each, ast.Import):
            found += [(alias.name, each.lineno) for alias in each.names]
        elif isinstance(each, ast.ImportFrom):
            prefix = "." * each.level + (each.module or "")
            found += [(f"{prefix}.{alias.name}", each.lineno) for alias in each.names]
    return found


def own_module(imported: str) -> str | None:
    """The module of ours that an import reaches; None for others."""
    top, _, rest = imported.partition(".")
    if top != PACKAGE:
        return None
    while rest and rest not in MODULES:
        rest = rest.rpartition(".")[0]
    return rest


class LayersTests(SynchronousTestCase):
    """Which module may know which."""

    def trees(self) -> list[tuple[str, ast.Module]]:
        return [(name, ast.parse(path.read_text(encoding="utf-8"))) for name, path in MODULES.items()]

    def test_every_module_has_its_place(self) -> None:
        """The list of layers has every module, once, and none that is gone."""
        self.assertEqual(sorted(MODULES), sorted(LAYERS))

    def test_imports_point_downwards(self) -> None:
        """No module imports one that stands above it, not even for the type checker."""
        wrong = [
            f"{name or PACKAGE}, line {line}: imports {target or PACKAGE}"
            for name, tree in self.trees()
            for imported, line in imports(tree)
            if (target := own_module(imported)) is not None and LAYERS.index(target) <= LAYERS.index(name)
        ]
        self.assertEqual([], wrong)

    def test_imports_are_absolute(self) -> None:
        """Imports name the package, so that the direction can be read."""
        wrong = [
            f"{name}, line {line}: {what}"
            for name, tree in self.trees()
            for what, line in imports(tree)
            if what.startswith(".")
        ]
        self.assertEqual([], wrong)

    def test_reactor(self) -> None:
        """The global reactor is imported by tap at its top, by the sample model's main, and nowhere else."""
        anywhere = [name for name, tree in self.trees() for what, _ in imports(tree) if what == REACTOR]
        self.assertEqual(["sample_model", "tap"], sorted(anywhere))
        sample_model = ast.parse(MODULES["sample_model"].read_text(encoding="utf-8"))
        (main,) = [each for each in sample_model.body if isinstance(each, ast.FunctionDef) and each.name == "main"]
        self.assertIn(REACTOR, [what for what, _ in imports(main)])


class ModulesTests(SynchronousTestCase):
    """What each module looks like."""

    def test_docstring(self) -> None:
        """Every module opens with a docstring that says what it is for."""
        for name, path in MODULES.items():
            self.assertTrue(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), name or PACKAGE)

    def test_size(self) -> None:
        """A module has fewer than 300 lines: one that outgrows them has more than one job."""
        for name, path in MODULES.items():
            self.assertLess(len(path.read_text(encoding="utf-8").splitlines()), 300, name or PACKAGE)

    def test_packaged(self) -> None:
        """A wheel gets every package: setup.py names them all."""
        setup = (ROOT / "setup.py").read_text(encoding="utf-8")
        packages = {".".join(path.relative_to(ROOT).parent.parts) for path in MODULES.values()}
        for package in packages:
            self.assertIn(f'"{package}"', setup)

    def test_plugin_folder_is_no_package(self) -> None:
        """There is no __init__.py under twisted/: it would hide Twisted itself."""
        self.assertEqual([], list((ROOT / "twisted").rglob("__init__.py")))
        self.assertTrue((ROOT / "twisted" / "plugins" / "provider_gateway_plugin.py").is_file())
