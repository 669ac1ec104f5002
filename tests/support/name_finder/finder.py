"""Finds the names of other packages that our code uses and that those packages do not promise to keep.

Private are names that begin with an underscore. Undocumented are public attributes and methods of a base class that
have no docstring, are not mentioned in the docstring of a class, and belong to no interface. Our source is read as
syntax trees; what other packages define is taken from their classes as they are installed, and from the source of
these. So a name that a new version of a base class begins to use for itself is found, too.

What is not found:

- undocumented public names of objects whose class only a type checker could tell;
- private names of such objects that a class of ours in the same module has, too.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.support.name_finder.foreign import is_documented, is_private, is_standard, names_of, path_of
from tests.support.name_finder.syntax import bindings, bound, class_nodes, imported, names_in, text_of, verb_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Names with an underscore in front that Python documents.
DOCUMENTED = frozenset({"os._exit"})
_LOOK_UPS = ("getattr", "hasattr", "setattr", "delattr")
_PRIVATE_MODULE = re.compile(r"([a-z]\w*)(\.\w+)*\._\w+")


class Finding(NamedTuple):
    """One use of a name.

    Attributes:
        owner: the class or module of another package that has the name; empty if that cannot be told.
        how: "read", "set", "deleted", "overridden", "imported", "looked up", "patched", or "not called" for an
            ``__init__`` of a base class.
    """

    owner: str
    name: str
    module: str
    line: int
    how: str

    def __str__(self) -> str:
        return f"{self.module}, line {self.line}: {self.owner or '?'}.{self.name} is {self.how}"


@dataclass
class _Module:
    """A module of ours: its source, and what its imports bind."""

    name: str
    tree: ast.Module
    value: Any
    imported: dict[str, str] = field(default_factory=dict)


class Finder:
    """Searches one package.

    Args:
        sources: texts of its modules by their full names; the modules can be imported.
        package: names that begin so are ours.
    """

    def __init__(self, sources: Mapping[str, str], package: str) -> None:
        self._package = package
        self._modules = [
            _Module(name, ast.parse(text), importlib.import_module(name)) for name, text in sources.items()
        ]
        for module in self._modules:
            for node in ast.walk(module.tree):
                module.imported |= bindings(node)
        #: Of each class of ours, itself and those that derive from it.
        self._heirs: dict[type, list[type]] = {}
        for module in self._modules:
            for kind in self._classes(module):
                for base in kind.__mro__:
                    self._heirs.setdefault(base, []).append(kind)
        #: The private names that each module defines.
        self._own = {module.name: set(self._defined(module)) for module in self._modules}

    def find(self) -> list[Finding]:
        """All uses, in the order of the source."""
        found = [each for module in self._modules for each in self._uses(module)]
        return sorted(set(found), key=lambda each: (each.module, each.line, each.name))

    def is_ours(self, module: str) -> bool:
        """True for the name of a module of the package."""
        return module == self._package or module.startswith(f"{self._package}.")

    def _classes(self, module: _Module) -> list[type]:
        return [self._class(module, node, outer) for node, outer in class_nodes(module.tree)]

    def _class(self, module: _Module, node: ast.ClassDef, outer: tuple[str, ...]) -> type:
        value: Any = module.value
        for name in (*outer, node.name):
            value = vars(value).get(name)
            if not isinstance(value, type):
                msg = f"{module.name}, line {node.lineno}: {node.name}: only classes of modules and classes can be seen"
                raise TypeError(msg)
        return value

    def _owners(self, kind: type, name: str) -> list[type]:
        """The classes of others that have a name which a class of ours uses on itself."""
        found = []
        for heir in self._heirs.get(kind, ()):
            for base in reversed(heir.__mro__[:-1]):
                if not self.is_ours(base.__module__) and name in names_of(base):
                    found.append(base)
                    break
        return found

    def _defined(self, module: _Module) -> Iterator[str]:
        """The private names that a module of ours defines and no base class of others does."""
        for node, outer in class_nodes(module.tree):
            kind = self._class(module, node, outer)
            for name, _, how in names_in(node):
                if how in ("set", "overridden") and is_private(name) and not self._owners(kind, name):
                    yield name
        for each in module.tree.body:
            yield from (name for name in bound(each) if is_private(name))

    def _uses(self, module: _Module) -> Iterator[Finding]:
        yield from self._imports(module)
        in_classes: set[ast.AST] = set()
        for node, outer in class_nodes(module.tree):
            kind = self._class(module, node, outer)
            yield from self._init(module, node, kind)
            for name, used, how in names_in(node):
                in_classes.add(used)
                line: int = used.lineno  # type: ignore[attr-defined] # of what can be used, each node has one
                owners = self._owners(kind, name)
                for owner in owners:
                    if is_private(name) or not self._is_documented(owner, kind, name):
                        yield Finding(path_of(owner), name, module.name, line, how)
                if not owners and is_private(name) and not any(name in own for own in self._own.values()):
                    yield Finding("", name, module.name, line, how)
        for node in ast.walk(module.tree):
            if node not in in_classes:
                yield from self._anywhere(module, node)

    def _is_documented(self, owner: type, kind: type, name: str) -> bool:
        if name.startswith("__") or is_standard(owner.__module__):
            return True
        bases = {base for heir in self._heirs[kind] for base in heir.__mro__}
        return is_documented(name, [base for base in bases if not self.is_ours(base.__module__) and base is not object])

    def _init(self, module: _Module, node: ast.ClassDef, kind: type) -> Iterator[Finding]:
        """An ``__init__`` that does not call that of a base class of others."""
        base = next((each for each in kind.__mro__[1:] if "__init__" in vars(each)), object)
        if self.is_ours(base.__module__) or is_standard(base.__module__):
            return
        for each in node.body:
            if isinstance(each, ast.FunctionDef) and each.name == "__init__":
                called = [part.attr for part in ast.walk(each) if isinstance(part, ast.Attribute)]
                if "__init__" not in called:
                    yield Finding(path_of(base), "__init__", module.name, each.lineno, "not called")

    def _imports(self, module: _Module) -> Iterator[Finding]:
        for node in ast.walk(module.tree):
            for path in imported(node):
                owner, _, name = path.rpartition(".")
                if any(map(is_private, path.split("."))) and not self.is_ours(path):
                    yield Finding(owner, name, module.name, node.lineno, "imported")  # type: ignore[attr-defined]

    def _anywhere(self, module: _Module, node: ast.AST) -> Iterator[Finding]:
        """A private name of an object that is not ``self``, a patch, a look-up by text, a private module's name."""
        if isinstance(node, ast.Attribute):
            owner = module.imported.get(node.value.id, "") if isinstance(node.value, ast.Name) else ""
            is_foreign = is_private(node.attr) and node.attr not in self._own[module.name] and not self.is_ours(owner)
            if is_foreign and f"{owner}.{node.attr}" not in DOCUMENTED:
                yield Finding(owner, node.attr, module.name, node.lineno, verb_of(node))
            if node.attr == "__class__" and isinstance(node.ctx, ast.Store):
                yield Finding("", "__class__", module.name, node.lineno, "set")
        if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
            yield from self._patch(module, node)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _LOOK_UPS:
            name = text_of(node.args[1])
            if is_private(name) and name not in self._own[module.name]:
                yield Finding("", name, module.name, node.lineno, "looked up")
        found = _PRIVATE_MODULE.fullmatch(text_of(node))
        if found is not None and found[1] in {path.partition(".")[0] for path in module.imported.values()}:
            owner, _, name = text_of(node).rpartition(".")
            if not self.is_ours(owner):
                yield Finding(owner, name, module.name, node.lineno, "looked up")  # type: ignore[attr-defined]

    def _patch(self, module: _Module, node: ast.Subscript | ast.Attribute) -> Iterator[Finding]:
        """What is set in a module, or in a class, of others."""
        parts: list[str] = []
        value: ast.AST = node
        while isinstance(value, ast.Subscript | ast.Attribute):
            if isinstance(value, ast.Attribute):
                parts.insert(0, value.attr)
            value = value.value
        path = module.imported.get(value.id, "") if isinstance(value, ast.Name) else ""
        if path and not self.is_ours(path) and not is_standard(path):
            *owner, name = (*path.split("."), *parts)
            yield Finding(".".join(owner), name, module.name, node.lineno, "patched")


def sources_of(package: str) -> dict[str, str]:
    """The texts of a package's modules, by their names."""
    top = importlib.import_module(package)
    names = [package, *(each.name for each in pkgutil.walk_packages(top.__path__, f"{package}."))]
    return {name: inspect.getsource(importlib.import_module(name)) for name in names if not name.endswith("__main__")}
