"""The structure of package and tests: imports point one way, modules are small and explained, one knows the reactor."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

PACKAGE = "provider_gateway"
ROOT = Path(__file__).parents[2]

#: Packages and root modules, from the bottom up. A name may import names of the lines before its own, and none of its
#: own line. Within a package, reading keeps the order.
LAYERS = tuple(
    line.split()
    for line in """
        content_codings errors clocks deferreds deadlines recent net observability
        config message http_client
        topology tracing
        security amqp model devbroker store
        http_server grpc_model
        openapi
        webhooks parking
        results
        workbench
        gateway provider
        app
        workers demo commands
        tap
    """.strip().splitlines()
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


def layer(module: str) -> int:
    """The line of :data:`LAYERS` that has a module's package, or the module itself if it stands at the root."""
    top = module.partition(".")[0]
    (found,) = [index for index, names in enumerate(LAYERS) if top in names]
    return found


class LayersTests(SynchronousTestCase):
    """Which package may know which."""

    def trees(self) -> list[tuple[str, ast.Module]]:
        return [(name, ast.parse(path.read_text(encoding="utf-8"))) for name, path in MODULES.items()]

    def test_every_name_has_its_place(self) -> None:
        """The layers have every package and every module of the root, once, and none that is gone."""
        names = {name.partition(".")[0] for name in MODULES} - {""}
        self.assertEqual(sorted(names), sorted(name for line in LAYERS for name in line))

    def test_imports_point_downwards(self) -> None:
        """No package imports one of its own layer or of one above it, not even for the type checker."""
        wrong = [
            f"{name}, line {line}: imports {target}"
            for name, tree in self.trees()
            for imported, line in imports(tree)
            if (target := own_module(imported))
            and target.partition(".")[0] != name.partition(".")[0]
            and (not name or layer(target) >= layer(name))
        ]
        self.assertEqual([], wrong)

    def test_root(self) -> None:
        """The root has few modules: what every package may use, and what starts the process."""
        self.assertLessEqual(len(list((ROOT / PACKAGE).glob("*.py"))), 8)

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
        self.assertEqual(["demo.sample_model", "tap"], sorted(anywhere))
        sample_model = ast.parse(MODULES["demo.sample_model"].read_text(encoding="utf-8"))
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

    def test_documented(self) -> None:
        """docs/architecture.md lists every module with the first line of its docstring."""
        page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines()
        for name, path in MODULES.items():
            if path.name != "__init__.py":
                docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
                line = f"| `{name.rpartition('.')[2]}` | {docstring.splitlines()[0]} |"
                self.assertIn(line, page, f"{name} is not listed so in docs/architecture.md")

    def test_plugin_folder_is_no_package(self) -> None:
        """There is no __init__.py under twisted/: it would hide Twisted itself."""
        self.assertEqual([], list((ROOT / "twisted").rglob("__init__.py")))
        self.assertTrue((ROOT / "twisted" / "plugins" / "provider_gateway_plugin.py").is_file())


@cache
def imports_of_tests() -> list[tuple[Path, str, int]]:
    """File, imported name and line of each import from ``tests``, in tests and benchmarks."""
    files = sorted(file for folder in ("tests", "benchmarks") for file in (ROOT / folder).rglob("*.py"))
    return [
        (file.relative_to(ROOT), name, line)
        for file in files
        for name, line in imports(ast.parse(file.read_text(encoding="utf-8")))
        if name.split(".")[0] == "tests"
    ]


class SuitesTests(SynchronousTestCase):
    """Which modules of the tests may import which."""

    def test_nothing_is_imported_from_test_modules(self) -> None:
        """What tests share is in a module of its own: importing a test module would also run its tests again."""
        wrong = [
            f"{file}, line {line}: {name}"
            for file, name, line in imports_of_tests()
            if any(part.startswith("test_") for part in name.split("."))
        ]
        self.assertEqual([], wrong)

    def test_suites_share_by_support_alone(self) -> None:
        """A suite imports from itself and from tests.support; tests.support from itself; benchmarks from neither."""
        wrong = [
            f"{file}, line {line}: {name}"
            for file, name, line in imports_of_tests()
            if file.parts[0] != "tests" or name.split(".")[1] not in {"support", file.parts[1]}
        ]
        self.assertEqual([], wrong)

    def test_packages_of_unit_tests_share_by_support_alone(self) -> None:
        """The unit tests of a package import from that package's tests and from tests.support."""
        wrong = [
            f"{file}, line {line}: {name}"
            for file, name, line in imports_of_tests()
            if file.parts[1] == "unit" and name.split(".")[1] == "unit" and name.split(".")[2] != file.parts[2]
        ]
        self.assertEqual([], wrong)

    def test_size(self) -> None:
        """What tests share is in modules with a docstring and fewer than 300 lines."""
        for file in sorted((ROOT / "tests").rglob("*.py")):
            text = file.read_text(encoding="utf-8")
            if not file.name.startswith("test_"):
                self.assertTrue(ast.get_docstring(ast.parse(text)), file)
                self.assertLess(len(text.splitlines()), 300, file)
